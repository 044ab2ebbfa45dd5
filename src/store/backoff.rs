//! Pauses between attempts that fail. Never here: what is attempted.

use std::time::Duration;

/// Pauses between attempts that fail, each twice as long as the one before, up to a limit.
#[derive(Clone, Debug)]
pub struct Backoff {
    next: Duration,
    first: Duration,
    longest: Duration,
}

impl Backoff {
    /// From `first` up to `longest`.
    #[must_use]
    pub const fn new(first: Duration, longest: Duration) -> Self {
        Self { next: first, first, longest }
    }

    /// It went well: the next pause is the first again.
    pub const fn reset(&mut self) {
        self.next = self.first;
    }

    /// The next pause: between half of what it could be and all of it, so that gateways which lost
    /// the same server do not knock in step.
    pub fn pause(&mut self) -> Duration {
        let pause = self.next.mul_f64(0.5 + fastrand::f64() / 2.0);
        self.next = self.next.saturating_mul(2).min(self.longest);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_their_limit_and_begin_anew() {
        let (first, longest) = (Duration::from_millis(50), Duration::from_millis(300));
        let mut backoff = Backoff::new(first, longest);
        for _ in 0..100 {
            for most in [50, 100, 200, 300, 300] {
                let (pause, most) = (backoff.pause(), Duration::from_millis(most));
                assert!(pause >= most / 2 && pause <= most, "{pause:?} of {most:?}");
            }
            backoff.reset();
        }
        let different: std::collections::BTreeSet<_> =
            std::iter::repeat_with(|| Backoff::new(first, longest).pause()).take(100).collect();
        assert!(different.len() > 1, "in step");
    }
}
