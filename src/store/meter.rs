//! What a rate limit looks like to the store: a name, a rate, and what came of asking.

use std::num::NonZeroU32;
use std::time::Duration;

/// One counted thing of one limit. Holds hashes only: nothing that a client sent reaches a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meter {
    /// Which limit.
    pub limit: u64,
    /// Which of the things that it counts.
    pub key: u128,
    /// The most units at once.
    pub count: NonZeroU32,
    /// The time in which one used unit comes back. Kept in whole microseconds, rounded up.
    pub interval: Duration,
}

/// What the store says of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// It is counted; so many units are left.
    Allowed {
        /// Units left after this request.
        left: u32,
    },
    /// It is not: the quota is used up.
    Refused {
        /// How long until one unit is back; zero when requests in flight hold all of them, so
        /// that nobody knows.
        wait: Duration,
    },
}

/// How a request whose unit was held ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Its unit counts.
    Failed,
    /// Its unit is given back.
    Succeeded,
}
