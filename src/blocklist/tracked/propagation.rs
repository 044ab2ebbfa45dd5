//! How long a change takes from its writing until the copy has it, as a histogram.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of the buckets, in seconds; above the last there is one more.
pub const BOUNDS: [f64; 12] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0];

/// Counts since the start.
#[derive(Debug, Default)]
pub struct Propagation {
    buckets: [AtomicU64; BOUNDS.len() + 1],
    microseconds: AtomicU64,
}

/// The counts at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Counts {
    /// Not cumulative: how many fell into each bucket of [`BOUNDS`], and above.
    pub buckets: [u64; BOUNDS.len() + 1],
    /// The sum of all, in seconds.
    pub sum: f64,
}

impl Propagation {
    pub(super) fn note(&self, took: Duration) {
        let seconds = took.as_secs_f64();
        let bucket = BOUNDS.iter().position(|bound| seconds <= *bound).unwrap_or(BOUNDS.len());
        if let Some(bucket) = self.buckets.get(bucket) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        let took = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.microseconds.fetch_add(took, Ordering::Relaxed);
    }

    /// The counts now.
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "a sum of seconds")]
    pub fn counts(&self) -> Counts {
        Counts {
            buckets: self.buckets.each_ref().map(|bucket| bucket.load(Ordering::Relaxed)),
            sum: self.microseconds.load(Ordering::Relaxed) as f64 / 1e6,
        }
    }
}
