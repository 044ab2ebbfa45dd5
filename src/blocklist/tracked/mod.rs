//! `check = "tracked"`: a local copy of the whole blocklist, kept current by the store.
//!
//! [`core`] says when the copy may be vouched for, [`copy`] holds it for all workers, [`follow`]
//! keeps the connection. The copy never answers "clear" unless it is vouched for; in any other case
//! the store is asked as if there were no copy.

use std::time::Duration;

mod copy;
mod core;
#[cfg(test)]
mod model;
mod word;

/// `[revocation]` for a local copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How old what the copy says may be.
    pub max_staleness: Duration,
    /// How many keys it holds.
    pub max_entries: usize,
}

/// Why the copy is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The canary does not come back, though the server answers: it does not report changes.
    CanaryLost,
    /// The tracking connection ended.
    ConnectionLost,
    /// The store's contents may have been replaced.
    ContentsInDoubt,
    /// The server does not answer on the tracking connection.
    NoAnswer,
    /// There is no tracking connection.
    NotConnected,
    /// The snapshot is being read.
    Synchronising,
    /// There are more than `max_entries`.
    TooManyEntries,
}

/// What the copy's keeper found out.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Noticed {
    /// This canary came back.
    Canary(u64),
    /// The entry of this suffix was changed, and is there.
    Entry(Box<str>),
}
