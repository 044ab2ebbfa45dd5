//! Limits that count failures only, exactly, although whether a request failed is known only after
//! it went through.
//!
//! governor cannot give back what it counted, and a give-back by our own arithmetic would also
//! return units that time has returned already. So nothing is counted before it is known:
//!
//! * at admission the limiter is asked, without counting, whether one unit *more than all requests
//!   of this key now in flight* would fit; if so the request joins those in flight;
//! * on failure one unit is counted and the request leaves those in flight;
//! * on success it only leaves.
//!
//! Admission and outcome of a limiter happen under one lock, so failures counted plus requests in
//! flight never exceed the quota: a burst of a thousand simultaneous guesses gets as many tries as
//! a thousand in a row. The map of requests in flight is bounded by the requests in flight.

use std::collections::HashMap;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use governor::clock::{Clock, DefaultClock};

use super::key::Key;
use super::limiter::{Decision, Limiter, Quota};

/// A request in flight whose outcome decides whether it counts. Dropped without an outcome (the
/// client went away, the upstream broke off) it counts as a failure: hanging up must not buy
/// another guess.
#[must_use = "dropping a reservation counts as a failure"]
pub struct Reservation<C: Clock = DefaultClock> {
    limiter: Arc<Limiter<C>>,
    key: Key,
    succeeded: bool,
}

impl<C: Clock> Reservation<C> {
    /// The request did not fail: its unit is given back.
    pub fn succeeded(mut self) {
        self.succeeded = true;
    }

    /// The request failed: its unit is counted.
    pub fn failed(self) {}
}

impl<C: Clock> Drop for Reservation<C> {
    fn drop(&mut self) {
        let mut in_flight = self.limiter.in_flight.lock();
        if !self.succeeded {
            // Fits: admission kept room for it.
            let _ = self.limiter.admit(self.key);
        }
        if let Some(requests) = in_flight.get_mut(&self.key) {
            *requests = requests.saturating_sub(1);
            if *requests == 0 {
                in_flight.remove(&self.key);
            }
        }
    }
}

impl<C: Clock> Limiter<C> {
    /// Admits one request whose outcome will decide whether it counts.
    ///
    /// # Errors
    ///
    /// The refusal, when the failures counted and the requests in flight fill the quota.
    pub fn reserve(self: &Arc<Self>, key: Key) -> Result<(Reservation<C>, Decision), Decision> {
        let key = self.resolve(key);
        let mut in_flight = self.in_flight.lock();
        let requests = in_flight.get(&key).copied().unwrap_or(0).saturating_add(1);
        let decision = self.ask(key, NonZeroU32::new(requests).unwrap_or(NonZeroU32::MAX));
        if !decision.allowed {
            return Err(decision);
        }
        in_flight.insert(key, requests);
        drop(in_flight);
        Ok((Reservation { limiter: Arc::clone(self), key, succeeded: false }, decision))
    }
}

/// Requests in flight by key; entries exist only while there are any.
#[derive(Default)]
pub(super) struct InFlight(Mutex<HashMap<Key, u32>>);

impl InFlight {
    /// The counts stay true when a holder panicked: each change is one step.
    fn lock(&self) -> MutexGuard<'_, HashMap<Key, u32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The limit on failed verifications per client (`[auth_failures] rate`): asked before a signature
/// is checked, counted when a token turns out to be forged, so that forging cannot buy
/// signature checks without end (R40).
///
/// Between the two there is no wait, only the check itself, so at most one check per worker is in
/// flight beyond the quota.
pub struct AuthFailures<C: Clock = DefaultClock>(Limiter<C>);

impl AuthFailures {
    /// A limit of `quota` failures per client on the process's monotonic clock.
    #[must_use]
    pub fn new(quota: Quota) -> Self {
        Self(Limiter::new(quota))
    }
}

impl<C: Clock> AuthFailures<C> {
    /// The same over a limiter made elsewhere.
    #[must_use]
    pub const fn with_limiter(limiter: Limiter<C>) -> Self {
        Self(limiter)
    }

    /// The refusal (429) when `client` has used up its failures; `None` when it may try.
    #[must_use]
    pub fn would_block(&self, client: IpAddr) -> Option<Decision> {
        let decision = self.0.ask(self.key(client), NonZeroU32::MIN);
        (!decision.allowed).then_some(decision)
    }

    /// Counts one failure of `client`.
    pub fn count(&self, client: IpAddr) {
        let _ = self.0.admit(self.key(client));
    }

    /// See [`Limiter::sweep`].
    pub fn sweep(&self) {
        self.0.sweep();
    }

    fn key(&self, client: IpAddr) -> Key {
        self.0.key().client(client).finish()
    }
}

#[cfg(test)]
mod tests;
