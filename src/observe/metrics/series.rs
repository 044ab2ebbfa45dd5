//! What is counted for one route and for one upstream. A request finds these in its snapshot, so
//! that counting looks nothing up by name.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::shards::{Counters, Histogram};
use super::words::{
    ALLOWED, OTHER, REFUSED, STATUS_LABELS, UNANSWERED, allowed_index, refused_index, status_index,
    unanswered_index,
};
use crate::observe::phase::Phase;

/// In microseconds: from half a millisecond, which is a request that nobody waited for, to the default limits.
const REQUEST_BOUNDS: [u64; 14] = [
    500, 1000, 2500, 5000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
    10_000_000, 30_000_000,
];

/// Limits of one route that are told apart.
const LIMITS_MAX: usize = 64;

/// One route's numbers. They last as long as some snapshot has the route.
#[derive(Debug)]
pub struct RouteSeries {
    name: Box<str>,
    statuses: Counters<STATUS_LABELS>,
    duration: Histogram,
    allowed: Counters<{ ALLOWED.len() }>,
    refused: Counters<{ REFUSED.len() }>,
    limited: Mutex<BTreeMap<Box<str>, u64>>,
    /// `on_unreachable = "allow"` acts.
    pub unchecked: Phase,
    /// `on_unreachable = "deny"` acts.
    pub unavailable: Phase,
}

impl RouteSeries {
    pub(super) fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            statuses: Counters::new(),
            duration: Histogram::new(&REQUEST_BOUNDS),
            allowed: Counters::new(),
            refused: Counters::new(),
            limited: Mutex::default(),
            unchecked: Phase::default(),
            unavailable: Phase::default(),
        }
    }

    /// The route's name; empty for requests that no route was found for.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A request is over: its status, and the time from its head to its answer's last byte.
    pub fn finished(&self, status: u16, took: Duration) {
        self.statuses.add(status_index(status), 1);
        self.duration.observe(took);
    }

    /// A request was let on; `reason` is the word of its access-log line.
    pub fn allowed(&self, reason: &str) {
        self.allowed.add(allowed_index(reason), 1);
    }

    /// A request was refused, or not answered by its upstream.
    pub fn refused(&self, reason: &str) {
        self.refused.add(refused_index(reason), 1);
    }

    /// A limit refused a request; `by` is what the limit counts by, from the configuration.
    pub fn limited(&self, by: &str) {
        let mut limited = self.limited.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = limited.get_mut(by) {
            *count += 1;
            return;
        }
        let by = if limited.len() < LIMITS_MAX { by } else { OTHER };
        *limited.entry(by.into()).or_default() += 1;
    }

    pub(super) fn duration(&self) -> &Histogram {
        &self.duration
    }

    pub(super) fn status(&self, index: usize) -> u64 {
        self.statuses.sum(index)
    }

    /// Words for requests that went on, with their number.
    pub(super) fn all_allowed(&self) -> impl Iterator<Item = (&'static str, u64)> {
        ALLOWED.iter().enumerate().map(|(index, word)| (*word, self.allowed.sum(index)))
    }

    /// Words for requests that did not, with their number.
    pub(super) fn all_refused(&self) -> impl Iterator<Item = (&'static str, u64)> {
        REFUSED.iter().enumerate().map(|(index, word)| (*word, self.refused.sum(index)))
    }

    pub(super) fn all_limited(&self) -> BTreeMap<Box<str>, u64> {
        self.limited.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// One upstream's numbers. They last as long as some snapshot has the upstream.
#[derive(Debug)]
pub struct UpstreamSeries {
    name: Box<str>,
    statuses: Counters<STATUS_LABELS>,
    unanswered: Counters<{ UNANSWERED.len() }>,
    duration: Histogram,
}

impl UpstreamSeries {
    pub(super) fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            statuses: Counters::new(),
            unanswered: Counters::new(),
            duration: Histogram::new(&REQUEST_BOUNDS),
        }
    }

    /// The upstream's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// It answered: its status, and the time from handing the request over to the response head.
    pub fn answered(&self, status: u16, took: Duration) {
        self.statuses.add(status_index(status), 1);
        self.duration.observe(took);
    }

    /// It did not; `reason` is the word of the access-log line.
    pub fn unanswered(&self, reason: &str) {
        self.unanswered.add(unanswered_index(reason), 1);
    }

    pub(super) fn duration(&self) -> &Histogram {
        &self.duration
    }

    pub(super) fn status(&self, index: usize) -> u64 {
        self.statuses.sum(index)
    }

    pub(super) fn all_unanswered(&self) -> impl Iterator<Item = (&'static str, u64)> {
        UNANSWERED.iter().enumerate().map(|(index, word)| (*word, self.unanswered.sum(index)))
    }
}
