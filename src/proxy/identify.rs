//! Who is calling, in the words that the route's upstream wants: identity headers, a token that is
//! made for it, or both.
//!
//! What a client said under these names is gone already (`super::guard`).

use http::HeaderMap;

use super::authenticate::Caller;
use super::{Rejection, Trip};
use crate::auth::VerifyError;
use crate::issuer::AssertionError;
use crate::policy::Route;
use crate::policy::assertion::RouteAssertion;
use crate::time::UnixTime;

/// Tells the upstream of the caller.
///
/// # Errors
///
/// As [`assertion`].
pub(super) fn identify(
    trip: &Trip,
    route: &Route,
    caller: &Caller,
    headers: &mut HeaderMap,
) -> Result<(), Rejection> {
    if route.identity_headers {
        caller.tell(headers);
    }
    match &route.assertion {
        None => Ok(()),
        Some(wanted) => assertion(trip, wanted, caller, headers),
    }
}

/// Sets the token that is made for the upstream.
///
/// # Errors
///
/// 401 when the caller's token is past its `exp`, leeway or not; 503 when none can be signed. A
/// request never goes on without.
fn assertion(
    trip: &Trip,
    wanted: &RouteAssertion,
    caller: &Caller,
    headers: &mut HeaderMap,
) -> Result<(), Rejection> {
    // The blocklist may have taken its time since the token's own times were looked at.
    let now = UnixTime::now();
    let assertion = trip.worker.gateway.assertions.of(wanted, &caller.verified, now);
    let assertion = assertion.map_err(|error| match error {
        AssertionError::Expired => Rejection::InvalidToken(VerifyError::Expired),
        AssertionError::NoKey | AssertionError::Sign(_) => {
            tracing::error!(%error, audience = wanted.settings.audience, "no assertion was made");
            Rejection::AssertionUnavailable
        }
    })?;
    headers.insert(&wanted.settings.header, assertion);
    Ok(())
}
