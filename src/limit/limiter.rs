//! One quota over many keys.

use std::hash::RandomState;
use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::middleware::{StateInformationMiddleware, StateSnapshot};
use governor::{NotUntil, RateLimiter};

use super::failures::InFlight;
use super::key::{Key, KeyBuilder};
use super::store::{Access, Store};

/// Keys that one limiter tracks by themselves; about 7 MB at the measured 69 bytes a key.
pub const TRACKED_KEYS_MAX: usize = 100_000;

/// Waiting is never advised for less than this.
const WAIT_MIN: Duration = Duration::from_secs(1);

/// `count` per `per`: `5/15m` is five at once, then one every three minutes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Quota {
    /// How many at once, and how many per `per` in the long run.
    pub count: NonZeroU32,
    /// The window; above zero. (Zero reads as one nanosecond per unit: the configuration refuses
    /// it.)
    pub per: Duration,
}

impl Quota {
    /// The time in which one used unit comes back.
    #[must_use]
    pub fn interval(self) -> Duration {
        self.per.checked_div(self.count.get()).unwrap_or(self.per).max(Duration::from_nanos(1))
    }

    fn compiled(self) -> governor::Quota {
        governor::Quota::with_period(self.interval())
            .unwrap_or_else(|| governor::Quota::per_second(NonZeroU32::MIN))
            .allow_burst(self.count)
    }
}

/// What a limiter says of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Whether the request may go on; if not, the answer is 429.
    pub allowed: bool,
    /// The quota's count.
    pub limit: u32,
    /// Units left after this request.
    pub remaining: u32,
    /// When not allowed: how long until a request of this key can be allowed. Otherwise zero.
    pub retry_after: Duration,
    /// At most how long until the next unit comes back; zero when none is used.
    pub reset: Duration,
}

/// One quota, counted for each key by itself, in bounded memory.
pub struct Limiter<C: Clock = DefaultClock> {
    quota: Quota,
    states: RateLimiter<Access, Store, C, StateInformationMiddleware>,
    store: Store,
    pub(super) in_flight: InFlight,
    seed: RandomState,
}

impl Limiter {
    /// A limiter on the process's monotonic clock.
    #[must_use]
    pub fn new(quota: Quota) -> Self {
        Self::with_clock(quota, TRACKED_KEYS_MAX, DefaultClock::default())
    }
}

impl<C: Clock> Limiter<C> {
    /// A limiter that tracks at most `tracked_max` keys by themselves and reads `clock`.
    #[must_use]
    pub fn with_clock(quota: Quota, tracked_max: usize, clock: C) -> Self {
        let store = Store::new(tracked_max);
        Self {
            quota,
            states: RateLimiter::new(quota.compiled(), store.clone(), clock),
            store,
            in_flight: InFlight::default(),
            seed: RandomState::new(),
        }
    }

    /// The quota that this limiter keeps.
    #[must_use]
    pub const fn quota(&self) -> Quota {
        self.quota
    }

    /// Starts a key of this limiter. A key of one limiter means nothing to another.
    #[must_use]
    pub fn key(&self) -> KeyBuilder {
        KeyBuilder::new(&self.seed)
    }

    /// Decides on one request of `key` and, when it is allowed, counts it.
    #[must_use]
    pub fn admit(&self, key: Key) -> Decision {
        self.decision(self.states.check_key(&Access::Count(key)))
    }

    /// Whether `units` more of `key` would be allowed now; counts nothing.
    #[must_use]
    pub fn ask(&self, key: Key, units: NonZeroU32) -> Decision {
        match self.states.check_key_n(&Access::Ask(key), units) {
            Ok(answer) => self.decision(answer),
            // More than the whole quota at once: never now, and soon enough to ask again.
            Err(_) => self.refusal(WAIT_MIN),
        }
    }

    /// Forgets keys whose quota is whole again and gives the memory back. Locks one shard at a
    /// time for up to milliseconds: call it from a plain thread, about once a minute.
    pub fn sweep(&self) {
        self.states.retain_recent();
        self.states.shrink_to_fit();
    }

    /// Numbers held in memory now: at most the tracked keys' maximum plus 65,536 shared cells.
    #[must_use]
    pub fn held(&self) -> usize {
        self.store.held()
    }

    /// The key under which `key` is really counted; see [`Store::resolve`].
    pub(super) fn resolve(&self, key: Key) -> Key {
        self.store.resolve(key)
    }

    fn decision(&self, answer: Result<StateSnapshot, NotUntil<C::Instant>>) -> Decision {
        match answer {
            Ok(after) => self.admission(after.remaining_burst_capacity()),
            Err(until) => self.refusal(until.wait_time_from(self.states.clock().now())),
        }
    }

    pub(super) fn admission(&self, remaining: u32) -> Decision {
        let limit = self.quota.count.get();
        let reset = if remaining < limit { self.quota.interval() } else { Duration::ZERO };
        Decision { allowed: true, limit, remaining, retry_after: Duration::ZERO, reset }
    }

    pub(super) fn refusal(&self, wait: Duration) -> Decision {
        let wait = wait.max(WAIT_MIN);
        Decision {
            allowed: false,
            limit: self.quota.count.get(),
            remaining: 0,
            retry_after: wait,
            reset: wait,
        }
    }
}

#[cfg(test)]
mod tests;
