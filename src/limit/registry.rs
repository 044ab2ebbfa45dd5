//! Limiters by name, beside the snapshot: a reload that leaves a limit as it was leaves its counts
//! as they were.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use governor::clock::{Clock, DefaultClock};

use super::limiter::{Limiter, Quota, TRACKED_KEYS_MAX};
use super::rule::Count;

/// What makes a limit the same limit after a reload.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LimiterId {
    /// The route's name.
    pub route: String,
    /// The limit's place in the route's list.
    pub index: usize,
    /// `by` as configured, for example `client+json:/email`.
    pub by: String,
    /// The rate.
    pub quota: Quota,
    /// What is counted.
    pub count: Count,
}

/// All limiters in use.
pub struct Registry<C: Clock + Clone = DefaultClock> {
    limiters: Mutex<HashMap<LimiterId, Arc<Limiter<C>>>>,
    clock: C,
}

impl Default for Registry {
    fn default() -> Self {
        Self::with_clock(DefaultClock::default())
    }
}

impl<C: Clock + Clone> Registry<C> {
    /// A registry whose limiters read `clock`.
    #[must_use]
    pub fn with_clock(clock: C) -> Self {
        Self { limiters: Mutex::default(), clock }
    }

    /// The limiter of this name: the one in use, with its counts, or a new one.
    #[must_use]
    pub fn limiter(&self, id: LimiterId) -> Arc<Limiter<C>> {
        let quota = id.quota;
        let make = || Arc::new(Limiter::with_clock(quota, TRACKED_KEYS_MAX, self.clock.clone()));
        Arc::clone(self.lock().entry(id).or_insert_with(make))
    }

    /// Forgets the limiters that no snapshot holds any more and sweeps the others; see
    /// [`Limiter::sweep`] for where to call it from.
    pub fn sweep(&self) {
        let limiters: Vec<_> = {
            let mut limiters = self.lock();
            limiters.retain(|_, limiter| Arc::strong_count(limiter) > 1);
            limiters.values().cloned().collect()
        };
        for limiter in limiters {
            limiter.sweep();
        }
    }

    /// Limiters in use, for the status page.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether no limit is configured.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<LimiterId, Arc<Limiter<C>>>> {
        self.limiters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;
    use std::time::Duration;

    use super::*;

    fn id(index: usize, count: u32) -> LimiterId {
        let count = NonZeroU32::new(count).unwrap();
        LimiterId {
            route: "login".into(),
            index,
            by: "client".into(),
            quota: Quota { count, per: Duration::from_secs(900) },
            count: Count::All,
        }
    }

    #[test]
    fn counts_survive_a_reload_that_leaves_the_limit_alone() {
        let registry = Registry::default();
        let before = registry.limiter(id(0, 1));
        let key = |limiter: &Limiter| limiter.key().part(b"x").finish();
        assert!(before.admit(key(&before)).allowed);
        let after = registry.limiter(id(0, 1));
        assert!(!after.admit(key(&after)).allowed, "the count is gone");
        let other_rate = registry.limiter(id(0, 2));
        assert!(other_rate.admit(key(&other_rate)).allowed);
    }

    #[test]
    fn what_no_snapshot_holds_is_forgotten() {
        let registry = Registry::default();
        let held = registry.limiter(id(0, 1));
        drop(registry.limiter(id(1, 1)));
        assert_eq!(registry.len(), 2);
        registry.sweep();
        assert_eq!(registry.len(), 1);
        drop(held);
        registry.sweep();
        assert!(registry.is_empty());
    }
}
