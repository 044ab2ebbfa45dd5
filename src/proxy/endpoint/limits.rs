//! `login_limits` and `refresh_limits`: how often somebody may try at the endpoints.
//!
//! It must never tell whether an account exists: names are counted, whoever bears them.

use std::net::IpAddr;
use std::num::NonZeroU32;

use http::HeaderMap;

use super::errand::Errand;
use crate::limit::{
    self, Count, Decision, FieldError, Flight, Key, Limit, Reservation, retry_after,
};
use crate::policy::Issuing;
use crate::proxy::limits::given_back;
use crate::proxy::reject::Limited;
use crate::proxy::{Rejection, Trip};

/// What the limits on logins wait to hear. Dropped, it was a failure: hanging up must not buy
/// another guess.
#[must_use = "dropping it counts as a failure"]
#[derive(Default)]
pub(super) struct Attempts {
    reservations: Vec<Reservation>,
    flights: Vec<Flight>,
}

/// Asks `login_limits` and counts the try where all of them count; `account` as it was typed.
///
/// # Errors
///
/// 429; 503 when the store, where they are kept, cannot be asked: no login could come of it.
pub(super) async fn may_log_in(errand: &Errand, account: &str) -> Result<Attempts, Rejection> {
    let mut attempts = Attempts::default();
    for limit in &errand.issuing.login_limits {
        if let Err(rejection) = attempts.ask(errand, limit, account).await {
            // Refused here, it is nobody's failed login.
            attempts.succeeded().await;
            return Err(rejection);
        }
    }
    Ok(attempts)
}

impl Attempts {
    async fn ask(
        &mut self,
        errand: &Errand,
        limit: &Limit,
        account: &str,
    ) -> Result<(), Rejection> {
        let key = key(limit, errand.client, Some(account))?;
        let taken = match &limit.shared {
            Some(shared) => {
                let counter = errand.worker.blocklist.store().lasting_counter();
                let taken = limit.take_kept(shared, counter, key).await;
                taken.map_err(|error| Rejection::StoreUnavailable(error.reason()))?
            }
            None => limit.take(key),
        };
        self.reservations.extend(taken.reservation);
        self.flights.extend(taken.flight);
        if taken.decision.allowed {
            return Ok(());
        }
        errand.worker.gateway.metrics.unrouted.limited("login_limits");
        Err(Rejection::Limited(Box::new(Limited {
            by: "login_limits",
            retry_after: retry_after(&taken.decision),
            fields: Vec::new(),
        })))
    }

    /// Nobody guessed wrong: limits on failures count nothing.
    pub(super) async fn succeeded(mut self) {
        self.reservations.drain(..).for_each(Reservation::succeeded);
        given_back(self.flights.drain(..).filter_map(Flight::give_back).collect()).await;
    }

    /// The password was wrong.
    pub(super) fn failed(self) {}
}

/// Asks `refresh_limits`: before a token or a secret is looked at, at refresh, token, revoke and
/// introspect. Each gateway counts for itself: what is guessed there has 256 bits, the limit is on
/// the work.
///
/// # Errors
///
/// 429.
pub(super) fn may_try(trip: &Trip) -> Result<(), Rejection> {
    let limits = trip.policy.issuing.iter().flat_map(|issuing| &issuing.refresh_limits);
    for limit in limits {
        let key = key(limit, trip.client, None)?;
        let decision = match limit.count {
            Count::All => limit.limiter.admit(key),
            Count::Failures => limit.limiter.ask(key, NonZeroU32::MIN),
        };
        if !decision.allowed {
            return Err(too_often(trip, &decision));
        }
    }
    Ok(())
}

/// Counts a failure there: what was presented was not accepted.
pub(super) fn note_failed(trip: &Trip) {
    if let Some(issuing) = &trip.policy.issuing {
        note_failure_of(issuing, trip.client);
    }
}

/// The same for work that goes on without the request.
pub(super) fn note_failure_of(issuing: &Issuing, client: IpAddr) {
    let limits = issuing.refresh_limits.iter();
    for limit in limits.filter(|limit| limit.count == Count::Failures) {
        if let Ok(key) = key(limit, client, None) {
            let _ = limit.limiter.admit(key);
        }
    }
}

fn too_often(trip: &Trip, decision: &Decision) -> Rejection {
    trip.series().limited("refresh_limits");
    Rejection::Limited(Box::new(Limited {
        by: "refresh_limits",
        retry_after: retry_after(decision),
        fields: Vec::new(),
    }))
}

fn key(limit: &Limit, client: IpAddr, account: Option<&str>) -> Result<Key, Rejection> {
    let headers = &HeaderMap::new();
    let parts = limit::Parts { client, headers, body: None, claims: None, account };
    limit.key(&parts).map_err(|error| match error {
        FieldError::Malformed | FieldError::Unsupported => Rejection::BadRequest("limit_field"),
    })
}
