//! `POST {prefix}/token` (RFC 6749 §3.2): `client_credentials` for registered clients,
//! `refresh_token` for the public client of logins. Nothing else: no password ever comes here
//! (RFC 9700 §2.4).

use http::Response;

use super::client::{Asker, authenticate};
use super::errand::{Errand, to_its_end};
use super::grant::{Tokens, json};
use super::oauth::{Code, in_oauth_words};
use super::parameters::Parameters;
use super::refresh::exchange;
use super::{Call, client_credentials, limits};
use crate::body::Body;
use crate::issuer::{Login, Rights};
use crate::observe::audit::{Kind, Outcome};
use crate::proxy::measure::Decision;
use crate::proxy::{Rejection, Trip};
use crate::secret::Secret;
use crate::time::UnixTime;

/// Gives tokens for a grant.
///
/// # Errors
///
/// 400 and 401 with RFC 6749 §5.2's codes; 413, 408; 429; 503 when nothing can be said.
pub(super) async fn answer(trip: &mut Trip, call: Call<'_>) -> Result<Response<Body>, Rejection> {
    limits::may_try(trip)?;
    let headers = &call.parts.headers;
    let parameters = Parameters::read(trip, call).await?;
    let grant = parameters.text("grant_type");
    let grant = grant.ok_or_else(|| Code::InvalidRequest.because("client_form"))?;
    if !["client_credentials", "refresh_token"].contains(&grant) {
        return Err(Code::UnsupportedGrantType.because("client_grant_type"));
    }
    let now = UnixTime::now();
    let asker = authenticate(trip, headers, &parameters, now).await?;
    if grant == "refresh_token" {
        let errand = Errand::of(trip, headers)?;
        let tokens = renew(errand, &asker, &parameters).await;
        if matches!(&tokens, Err(Rejection::OAuth(refusal)) if refusal.status.is_client_error()) {
            limits::note_failed(trip);
        }
        let tokens = tokens?;
        trip.decide(Decision::Allowed("refresh"));
        return Ok(tokens.answer());
    }
    let Asker::Registered(client) = asker else {
        limits::note_failed(trip);
        return Err(Code::InvalidClient.because("client_missing"));
    };
    let granted = client_credentials::grant(trip, &client, &parameters, now).await?;
    trip.decide(Decision::Allowed("client_credentials"));
    Ok(json(&granted))
}

/// RFC 6749 §6: the refresh token of the client that asks. Logins belong to a public client, and so
/// does the token: rotation and its being used once are what binds it (RFC 9700 §2.2.2).
async fn renew(
    errand: Errand,
    asker: &Asker,
    parameters: &Parameters,
) -> Result<Tokens, Rejection> {
    let presented = parameters.get("refresh_token").cloned();
    let presented = presented.ok_or_else(|| Code::InvalidRequest.because("client_form"))?;
    let found = errand.families.find(presented.expose()).await;
    let found = found.map_err(|error| in_oauth_words(errand.unavailable(&error)))?;
    if let Ok(login) = &found {
        if login.client != asker.id(&errand.issuing.client_id) {
            let event = errand.event_of(Kind::Refresh, Outcome::Refused, login);
            let written = errand.record_refusal(event.reason("refresh_client")).await;
            written.map_err(in_oauth_words)?;
            return Err(Code::InvalidGrant.because("refresh_client"));
        }
        unchanged(&errand, login, parameters)?;
    }
    to_its_end(exchange(errand, presented)).await.map_err(in_oauth_words)
}

/// A login's tokens are for all its audiences, with all its scopes: what is asked for beside them
/// may be exactly that. More is not given (RFC 6749 §6), and less would not be less.
fn unchanged(errand: &Errand, login: &Login, parameters: &Parameters) -> Result<(), Rejection> {
    if let Some(scope) = parameters.text("scope") {
        let known = Rights::at_login(login).claims;
        let known = known.get("scope").and_then(|scope| scope.as_str()).unwrap_or_default();
        if !same(scope.split(' '), known.split(' ')) {
            return Err(Code::InvalidScope.because("client_scope"));
        }
    }
    let asked = parameters.all("resource").chain(parameters.all("audience"));
    let asked: Vec<&str> = asked.map(|audience: &Secret<String>| &**audience.expose()).collect();
    let audiences = errand.issuing.audiences.iter().map(String::as_str);
    if !asked.is_empty() && !same(asked.iter().copied(), audiences) {
        return Err(Code::InvalidTarget.because("client_audience"));
    }
    Ok(())
}

/// Whether both are the same words, in whatever order.
fn same<'w>(one: impl Iterator<Item = &'w str>, two: impl Iterator<Item = &'w str>) -> bool {
    let sorted = |words: Vec<&'w str>| {
        let mut words = words;
        words.sort_unstable();
        words.dedup();
        words
    };
    sorted(one.collect()) == sorted(two.collect())
}
