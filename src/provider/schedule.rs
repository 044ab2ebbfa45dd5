//! When a source is fetched next: arithmetic on what the provider and the operator said.

use std::time::Duration;

use tokio::time::Instant;

use crate::policy::provider::KeySource;

/// A provider that says `no-cache` is still not asked more often, unless the operator said so.
const FLOOR: Duration = Duration::from_secs(10);
/// Whatever anybody says, not more often.
const FLOOR_HARD: Duration = Duration::from_secs(1);
/// The first wait after a failure.
const BACKOFF: Duration = Duration::from_secs(1);
/// Keeps the arithmetic within what a clock can hold.
const SPAN_MAX: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// What the last fetch of one source came to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Schedule {
    ended: Instant,
    max_age: Option<Duration>,
    failures: u32,
    /// Between 0.9 and 1.1, so that many gateways do not ask at once.
    jitter: f64,
}

impl Schedule {
    /// A fetch that ended now: with a document of this `max-age`, or, after so many failures in a
    /// row, without one. `chance` is random, from 0 to 1.
    pub(super) fn after(
        ended: Instant,
        max_age: Option<Duration>,
        failures: u32,
        chance: f64,
    ) -> Self {
        Self { ended, max_age, failures, jitter: 0.9 + 0.2 * chance.clamp(0.0, 1.0) }
    }

    /// Failures in a row.
    pub(super) const fn failures(&self) -> u32 {
        self.failures
    }

    /// When to fetch, by the settings in force now.
    pub(super) fn due(&self, settings: &KeySource) -> Instant {
        let span = match self.failures.checked_sub(1) {
            None => interval(settings, self.max_age),
            Some(doublings) => BACKOFF
                .saturating_mul(1_u32.checked_shl(doublings).unwrap_or(u32::MAX))
                .min(settings.refresh)
                .max(FLOOR_HARD),
        };
        later(self.ended, span.min(SPAN_MAX).mul_f64(self.jitter))
    }
}

/// An instant that far ahead; a span that no clock holds is as good as a year.
pub(super) fn later(from: Instant, span: Duration) -> Instant {
    from.checked_add(span.min(SPAN_MAX)).unwrap_or(from)
}

/// The smaller of `refresh` and `max-age`, not absurdly often, and in any case before the keys
/// would be too old to be used.
fn interval(settings: &KeySource, max_age: Option<Duration>) -> Duration {
    let floor = FLOOR.min(settings.refresh);
    let wanted = max_age.unwrap_or(settings.refresh).min(settings.refresh).max(floor);
    wanted.min(settings.max_stale / 2).max(FLOOR_HARD)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::tests::key_source;

    fn settings(refresh: u64, max_stale: u64) -> KeySource {
        let mut settings = key_source("main");
        settings.refresh = Duration::from_secs(refresh);
        settings.max_stale = Duration::from_secs(max_stale);
        settings
    }

    #[tokio::test(start_paused = true)]
    async fn the_smaller_of_refresh_and_max_age_counts_within_reason() {
        let now = Instant::now();
        // refresh, max_stale, max-age, expected.
        for (refresh, max_stale, max_age, expected) in [
            (300, 86_400, None, 300),
            (300, 86_400, Some(60), 60),
            (300, 86_400, Some(3600), 300),
            (300, 86_400, Some(0), 10), // no-cache and no-store do not mean every moment
            (5, 86_400, Some(0), 5),
            (1, 86_400, Some(0), 1),
            (0, 86_400, None, 1),
            (300, 60, None, 30), // else the keys would be too old before they are looked at again
            (300, 0, None, 1),
            (u64::MAX, u64::MAX, None, SPAN_MAX.as_secs()),
        ] {
            let max_age = max_age.map(Duration::from_secs);
            let settings = settings(refresh, max_stale);
            let due = |chance| Schedule::after(now, max_age, 0, chance).due(&settings) - now;
            let expected = Duration::from_secs(expected);
            let middle = due(0.5);
            assert!(middle.abs_diff(expected) < Duration::from_millis(1), "{middle:?}");
            assert!(due(0.0).abs_diff(expected.mul_f64(0.9)) < Duration::from_millis(1));
            let most = expected.mul_f64(1.1).min(SPAN_MAX);
            assert!(due(1.0).abs_diff(most) < Duration::from_millis(1));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn failures_double_the_wait_up_to_refresh() {
        let now = Instant::now();
        let settings = settings(60, 86_400);
        let waits: Vec<u64> = [1, 2, 3, 6, 7, 33, 1000]
            .map(|failures| Schedule::after(now, None, failures, 0.5).due(&settings) - now)
            .map(|wait| wait.as_secs_f64().round() as u64)
            .to_vec();
        assert_eq!(waits, [1, 2, 4, 32, 60, 60, 60]);
    }
}
