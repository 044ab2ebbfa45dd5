//! `login_limits` and `refresh_limits`: how often somebody may try at the endpoints.
//!
//! It must never tell whether an account exists: names are counted, whoever bears them.

use std::net::IpAddr;
use std::num::NonZeroU32;

use http::HeaderMap;

use super::errand::Errand;
use crate::limit::{
    self, Count, Decision, FieldError, Flight, Key, Limit, Reservation, Taken, retry_after,
};
use crate::policy::Issuing;
use crate::proxy::limits::given_back;
use crate::proxy::reject::Limited;
use crate::proxy::{Rejection, Trip};

/// What the limits on logins wait to hear. Dropped, it was a failure: hanging up must not buy
/// another guess.
#[must_use = "dropping it counts as a failure"]
#[derive(Default)]
pub(super) struct Attempts(Vec<Held>);

/// What one limit holds for a try.
struct Held {
    counts: Count,
    reservation: Option<Reservation>,
    flight: Option<Flight>,
}

/// Asks `login_limits`; `account` as it was typed.
///
/// # Errors
///
/// 429; 503 when the store, where they are kept, cannot be asked: no login could come of it.
pub(super) async fn may_log_in(errand: &Errand, account: &str) -> Result<Attempts, Rejection> {
    let mut attempts = Attempts::default();
    for limit in &errand.issuing.login_limits {
        if let Err(rejection) = attempts.ask(errand, limit, account).await {
            attempts.not_made().await;
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
                let taken = limit.hold_kept(shared, counter, key).await;
                taken.map_err(|error| Rejection::StoreUnavailable(error.reason()))?
            }
            None => limit.hold(key),
        };
        let Taken { decision, reservation, flight } = taken;
        self.0.push(Held { counts: limit.count, reservation, flight });
        if decision.allowed {
            return Ok(());
        }
        errand.worker.gateway.metrics.unrouted.limited("login_limits");
        Err(Rejection::Limited(Box::new(Limited {
            by: "login_limits",
            retry_after: retry_after(&decision),
            fields: Vec::new(),
        })))
    }

    /// The password was right: limits on failures count nothing.
    pub(super) async fn succeeded(self) {
        self.settle(|held| held.counts == Count::All).await;
    }

    /// The password was wrong. It is counted when this returns.
    pub(super) async fn failed(self) {
        self.settle(|_| true).await;
    }

    /// No password was looked at: nothing counts, neither the try itself.
    pub(super) async fn not_made(self) {
        self.settle(|_| false).await;
    }

    async fn settle(self, counts: impl Fn(&Held) -> bool) {
        let mut told = Vec::new();
        for held in self.0 {
            let counts = counts(&held);
            let end = if counts { Reservation::failed } else { Reservation::succeeded };
            held.reservation.into_iter().for_each(end);
            let tell = if counts { Flight::count } else { Flight::give_back };
            told.extend(held.flight.and_then(tell));
        }
        given_back(told).await;
    }
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
