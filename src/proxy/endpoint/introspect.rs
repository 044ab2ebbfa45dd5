//! `POST {prefix}/introspect` (RFC 7662): is this token good now, and whose is it? For clients that
//! `may_introspect`, and for nobody else: not even whether a token exists.
//!
//! An access token is active when a gateway would let it through: revocations included, and those
//! of other issuers too. A refresh token is active only to whoever says that it asks about one
//! (`token_type_hint=refresh_token`): a service that takes any active token for an access token
//! must not be led to take a stolen refresh token for one.

use http::Response;
use serde::Serialize;
use serde_json::Value;

use super::client::authenticate_registered;
use super::grant::json;
use super::oauth::Code;
use super::parameters::Parameters;
use super::{Call, judged, limits, unavailable};
use crate::auth::{ISSUER_OFF, Verified};
use crate::body::Body;
use crate::issuer::Introspected;
use crate::proxy::measure::Decision;
use crate::proxy::{Rejection, Trip};
use crate::time::UnixTime;

/// The hint for refresh tokens (RFC 7009 §2.1).
const REFRESH_TOKEN: &str = "refresh_token";

/// RFC 7662 §2.2, and the roles and permissions that Postern's tokens have.
#[derive(Default, Serialize)]
struct Answer<'a> {
    active: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exp: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    iat: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    nbf: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sub: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    aud: Option<&'a Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    iss: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    jti: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sid: Option<&'a str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    roles: &'a [Box<str>],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    permissions: &'a [Box<str>],
}

/// Says whether a token is active.
///
/// # Errors
///
/// 401 for a client that is not accepted, 403 for one that may not ask, 429; 503 when nobody knows.
pub(super) async fn answer(trip: &mut Trip, call: Call<'_>) -> Result<Response<Body>, Rejection> {
    limits::may_try(trip)?;
    let headers = &call.parts.headers;
    let parameters = Parameters::read(trip, call).await?;
    let now = UnixTime::now();
    let client = authenticate_registered(trip, headers, &parameters, now).await?;
    if !client.may_introspect {
        limits::note_failed(trip);
        return Err(Code::AccessDenied.because("client_introspection"));
    }
    let token = parameters.text("token");
    let token = token.ok_or_else(|| Code::InvalidRequest.because("client_form"))?;
    let response = if parameters.text("token_type_hint") == Some(REFRESH_TOKEN) {
        let found = refresh_token(trip, token, now).await?;
        json(&found.as_ref().map_or_else(Answer::default, |found| of_login(trip, found)))
    } else {
        let verified = judged::judge(trip, token, now).await?;
        json(&verified.as_deref().map_or_else(Answer::default, of_access_token))
    };
    trip.decide(Decision::Allowed("introspection"));
    Ok(response)
}

async fn refresh_token(
    trip: &Trip,
    token: &str,
    now: UnixTime,
) -> Result<Option<Introspected>, Rejection> {
    let issuing = trip.policy.issuing.as_ref().ok_or(Rejection::NotFound)?;
    let families = trip.worker.gateway.authorization_server.families(issuing);
    let families = families.ok_or(Rejection::NotFound)?;
    let found = families.introspect(token, now).await.map_err(|error| {
        tracing::warn!(%error, "a refresh token cannot be asked about");
        unavailable("store_unavailable")
    })?;
    // A browser's session goes by its cookie alone.
    Ok(found.filter(|found| found.login.session.is_none()))
}

fn of_login<'a>(trip: &'a Trip, found: &'a Introspected) -> Answer<'a> {
    let issuing = trip.policy.issuing.as_ref();
    Answer {
        active: true,
        client_id: Some(&found.login.client),
        exp: Some(found.until.seconds()),
        iat: Some(found.login.at.seconds()),
        sub: Some(&found.login.subject),
        iss: issuing.map(|issuing| issuing.issuer.as_str()),
        sid: Some(&found.login.sid),
        ..Answer::default()
    }
}

fn of_access_token(verified: &Verified) -> Answer<'_> {
    let seconds = |time: Option<UnixTime>| time.map(UnixTime::seconds);
    let scope = verified.scopes.join(" ");
    Answer {
        active: true,
        scope: (!scope.is_empty()).then_some(scope),
        client_id: verified.clients.first().map(|client| &**client),
        token_type: Some("Bearer"),
        exp: seconds(verified.token_expires_at()),
        iat: seconds(verified.issued_at),
        nbf: seconds(verified.not_before),
        sub: verified.subject.as_deref(),
        aud: verified.claims.get("aud"),
        iss: Some(&*verified.issuer).filter(|issuer| *issuer != ISSUER_OFF),
        jti: verified.jti.as_deref(),
        sid: verified.session.as_deref(),
        roles: &verified.roles,
        permissions: &verified.permissions,
    }
}
