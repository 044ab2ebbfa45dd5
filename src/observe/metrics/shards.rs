//! Counters that several threads count in without waiting for each other: each thread has a cache
//! line of its own, and only a scrape adds them up. Counting is a table look-up and one atomic
//! addition; nothing is allocated or locked.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

/// Threads beyond this many share.
const SHARDS: usize = 4;

/// Bounds that a histogram may have.
const BOUNDS_MAX: usize = 16;

/// Threads that have counted so far.
static THREADS: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static SHARD: usize = THREADS.fetch_add(1, Ordering::Relaxed) % SHARDS;
}

/// One thread's part, on cache lines of its own.
#[derive(Debug)]
#[repr(align(64))]
struct Part<const N: usize>([AtomicU64; N]);

impl<const N: usize> Part<N> {
    fn add(&self, index: usize, amount: u64) {
        if let Some(counter) = self.0.get(index) {
            counter.fetch_add(amount, Ordering::Relaxed);
        }
    }
}

/// `N` counters.
#[derive(Debug)]
pub(super) struct Counters<const N: usize>([Part<N>; SHARDS]);

impl<const N: usize> Counters<N> {
    pub(super) fn new() -> Self {
        Self(std::array::from_fn(|_| Part(std::array::from_fn(|_| AtomicU64::new(0)))))
    }

    /// Adds to one of them; an index that is none counts nothing.
    pub(super) fn add(&self, index: usize, amount: u64) {
        if let Some(part) = self.mine() {
            part.add(index, amount);
        }
    }

    /// Adds to two of them.
    fn add_two(&self, (one, amount): (usize, u64), (other, more): (usize, u64)) {
        if let Some(part) = self.mine() {
            part.add(one, amount);
            part.add(other, more);
        }
    }

    fn mine(&self) -> Option<&Part<N>> {
        self.0.get(SHARD.with(|shard| *shard))
    }

    /// One of them, over all threads.
    pub(super) fn sum(&self, index: usize) -> u64 {
        let parts = self.0.iter().filter_map(|part| part.0.get(index));
        parts.fold(0, |sum, part| sum.wrapping_add(part.load(Ordering::Relaxed)))
    }
}

/// One counter.
#[derive(Debug)]
pub struct Counter(Counters<1>);

impl Counter {
    pub(super) fn new() -> Self {
        Self(Counters::new())
    }

    /// One more.
    pub fn increment(&self) {
        self.0.add(0, 1);
    }

    /// How many so far.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.sum(0)
    }
}

/// How long something took, in buckets.
#[derive(Debug)]
pub struct Histogram {
    /// Upper bounds in microseconds, inclusive, ascending.
    bounds: &'static [u64],
    /// A counter for each bound, one for what is above all, and the sum in nanoseconds.
    counts: Counters<{ BOUNDS_MAX + 2 }>,
}

/// Where the sum is.
const SUM: usize = BOUNDS_MAX + 1;

impl Histogram {
    pub(super) fn new(bounds: &'static [u64]) -> Self {
        debug_assert!(bounds.len() <= BOUNDS_MAX && bounds.is_sorted(), "{bounds:?}");
        Self { bounds, counts: Counters::new() }
    }

    /// One more that took so long.
    pub fn observe(&self, took: Duration) {
        let nanos = took.as_secs().saturating_mul(1_000_000_000);
        let nanos = nanos.saturating_add(u64::from(took.subsec_nanos()));
        let bucket = self.bounds.iter().position(|micros| nanos <= micros * 1000);
        self.counts.add_two((bucket.unwrap_or(self.bounds.len()), 1), (SUM, nanos));
    }

    /// The sum in seconds, and each bucket with its upper bound in seconds; not cumulative.
    pub(super) fn read(&self) -> (f64, Vec<(f64, u64)>) {
        let seconds = |micros: &u64| Duration::from_micros(*micros).as_secs_f64();
        let bounds = self.bounds.iter().map(seconds).chain([f64::INFINITY]);
        let buckets = bounds.enumerate().map(|(i, bound)| (bound, self.counts.sum(i))).collect();
        (Duration::from_nanos(self.counts.sum(SUM)).as_secs_f64(), buckets)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: [u64; 2] = [1000, 10_000];

    #[test]
    fn threads_count_side_by_side_and_lose_nothing() {
        let (counter, histogram) = (Counter::new(), Histogram::new(&BOUNDS));
        std::thread::scope(|scope| {
            for _ in 0..2 * SHARDS {
                scope.spawn(|| {
                    for _ in 0..10_000 {
                        counter.increment();
                        histogram.observe(Duration::from_millis(2));
                    }
                });
            }
        });
        assert_eq!(counter.total(), 20_000 * SHARDS as u64);
        let (sum, buckets) = histogram.read();
        assert_eq!(buckets, [(0.001, 0), (0.01, 80_000), (f64::INFINITY, 0)]);
        assert!((sum - 160.0).abs() < 1e-6, "{sum}");
    }

    /// A bound belongs to its bucket (OpenMetrics 1.0, "less than or equal").
    #[test]
    fn bounds_are_inclusive() {
        let histogram = Histogram::new(&BOUNDS);
        for micros in [0, 1000, 1001, 10_000, 10_001, u64::MAX / 10_000] {
            histogram.observe(Duration::from_micros(micros));
        }
        let (_, buckets) = histogram.read();
        assert_eq!(buckets.iter().map(|(_, count)| *count).collect::<Vec<_>>(), [2, 2, 2]);
    }

    #[test]
    fn an_index_that_is_none_counts_nothing() {
        let counters = Counters::<3>::new();
        counters.add(3, 1);
        assert_eq!((0..4).map(|i| counters.sum(i)).sum::<u64>(), 0);
    }
}
