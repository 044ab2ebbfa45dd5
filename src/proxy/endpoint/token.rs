//! `POST {prefix}/token` (RFC 6749 §3.2): `client_credentials` for registered clients,
//! `refresh_token` for the public client of logins. Nothing else: no password ever comes here
//! (RFC 9700 §2.4).

use http::Response;

use super::client::{Asker, authenticate};
use super::oauth::{Code, document};
use super::parameters::Parameters;
use super::{Call, client_credentials, limits};
use crate::body::Body;
use crate::proxy::measure::Decision;
use crate::proxy::{Rejection, Trip};
use crate::time::UnixTime;

/// Gives tokens for a grant.
///
/// # Errors
///
/// 400 and 401 with RFC 6749 §5.2's codes; 413, 408; 429; 503 when nothing can be said.
pub(super) async fn answer(trip: &mut Trip, call: Call<'_>) -> Result<Response<Body>, Rejection> {
    limits::may_try(trip)?;
    let idle = trip.policy.timeouts.body_idle;
    let parameters = Parameters::read(call.parts, call.inbound, call.bytes_max, idle).await?;
    let grant = parameters.text("grant_type");
    let grant = grant.ok_or_else(|| Code::InvalidRequest.because("client_form"))?;
    if !["client_credentials", "refresh_token"].contains(&grant) {
        return Err(Code::UnsupportedGrantType.because("client_grant_type"));
    }
    let now = UnixTime::now();
    let asker = authenticate(trip, &call.parts.headers, &parameters, now).await?;
    match (grant, asker) {
        ("client_credentials", Asker::Registered(client)) => {
            let granted = client_credentials::grant(trip, &client, &parameters, now).await?;
            trip.decide(Decision::Allowed("client_credentials"));
            Ok(document(&granted))
        }
        ("client_credentials", Asker::OfLogins) => {
            limits::note_failed(trip);
            Err(Code::InvalidClient.because("client_missing"))
        }
        _ => Err(Code::InvalidGrant.because("refresh_client")),
    }
}
