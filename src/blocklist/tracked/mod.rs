//! `check = "tracked"`: a local copy of the whole blocklist, kept current by the store.
//!
//! [`core`] says when the copy may be vouched for, [`copy`] holds it for all workers, [`follow`]
//! keeps the connection. The copy never answers "clear" unless it is vouched for; in any other case
//! the store is asked as if there were no copy.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::sync::mpsc;

use self::copy::Copy;
pub(super) use self::copy::{Answer, Standing};
pub(super) use self::follow::Follower;
use crate::observe::metrics::Histogram;
use crate::time::{Moment, UnixTime};
use crate::token::{KeyDigest, Lookup};

mod copy;
mod core;
mod follow;
#[cfg(test)]
mod tests;
mod word;

/// Microseconds; on loopback it takes less than one millisecond.
const PROPAGATION_BOUNDS: [u64; 13] = [
    250, 500, 1000, 2500, 5000, 10_000, 20_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_000_000,
];

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

impl Why {
    /// One word from a fixed list, for log lines and `/status`.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::CanaryLost => "canary_lost",
            Self::ConnectionLost => "connection_lost",
            Self::ContentsInDoubt => "contents_in_doubt",
            Self::NoAnswer => "no_answer",
            Self::NotConnected => "not_connected",
            Self::Synchronising => "synchronising",
            Self::TooManyEntries => "too_many_entries",
        }
    }
}

/// How the copy stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrackedStatus {
    /// Why it is not used; `None`: it is.
    pub why_not: Option<Why>,
    /// How old what it says may be at most; `None`: nothing is certain.
    pub lease_age: Option<Duration>,
    /// Keys in it.
    pub entries: usize,
    /// Those of them that the store has lost and that stay in force to their end.
    pub carried: usize,
}

/// The copy of one process with what is known about it; survives reloads.
pub(super) struct Tracked {
    copy: Arc<Copy>,
    /// This process' own, in the name of its canary.
    id: String,
    /// From the writing of a canary until it was read back.
    propagation: Histogram,
    /// Why it is not used, and as of when what it says is certain.
    standing: Mutex<(Option<Why>, Option<Moment>)>,
    /// What this process itself changes, for whoever follows.
    nudges: ArcSwapOption<mpsc::Sender<Box<str>>>,
}

impl Tracked {
    /// Empty, and followed by nobody.
    pub(super) fn new() -> Self {
        Self {
            copy: Arc::new(Copy::new(Moment::now(), fastrand::u64(..))),
            id: uuid::Uuid::new_v4().to_string(),
            propagation: Histogram::new(&PROPAGATION_BOUNDS),
            standing: Mutex::new((Some(Why::NotConnected), None)),
            nudges: ArcSwapOption::empty(),
        }
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    pub(super) const fn propagation(&self) -> &Histogram {
        &self.propagation
    }

    /// What the copy says in this era; [`Answer::Unknown`] unless it is vouched for.
    pub(super) fn look_up(&self, lookup: &Lookup, era: u64) -> Answer {
        // Who has no copy does not pay for the clock.
        if self.copy.is_offered() {
            self.copy.look_up(lookup, Moment::now(), era)
        } else {
            Answer::Unknown
        }
    }

    /// What refuses although the store, which holds the contents `known`, knows nothing of it.
    pub(super) fn lost(&self, lookup: &Lookup, known: &str) -> Option<Standing> {
        self.copy.lost(lookup, known, Moment::now())
    }

    /// What refuses when the store cannot be asked.
    pub(super) fn last_known(&self, lookup: &Lookup) -> Option<Standing> {
        self.copy.last_known(lookup, Moment::now())
    }

    /// This process itself has changed an entry: it is not known from here on until it was read.
    pub(super) fn nudge(&self, suffix: &str) {
        let nudges = self.nudges.load();
        // Nobody keeps a copy. While one is being made it is told all the same: it may be vouched
        // for before the report of this change has come.
        let Some(nudges) = nudges.as_ref().filter(|nudges| !nudges.is_closed()) else { return };
        // A full queue leaves it unknown: it is asked about until the next snapshot.
        let _ = nudges.try_send(suffix.into());
        self.copy.update(KeyDigest::of_entry(suffix), word::Word::changed);
    }

    /// Lets go of an entry that the store has lost; whether there was one.
    pub(super) fn forget_lost(&self, suffix: &str) -> bool {
        let mut was = false;
        self.copy.update(KeyDigest::of_entry(suffix), |word| {
            was = word.is_carried();
            if was { word::Word::ABSENT } else { word }
        });
        was
    }

    /// The literal heads of foreign keys that will be in the copy. Nobody may be following.
    pub(super) fn cover(&self, heads: &[String]) {
        self.copy.disown();
        self.copy.set_heads(heads.iter().map(|head| head.as_str().into()).collect());
    }

    /// Nobody follows any more. Only what the store has lost is kept.
    pub(super) fn retire(&self, known: Option<&str>) {
        self.copy.disown();
        self.nudges.store(None);
        self.copy.keep_lost(known);
        self.copy.set_base(None);
        self.stand(Some(Why::NotConnected), None);
    }

    fn stand(&self, why_not: Option<Why>, certain: Option<Moment>) {
        *self.standing.lock().unwrap_or_else(PoisonError::into_inner) = (why_not, certain);
    }

    pub(super) fn status(&self) -> TrackedStatus {
        let (why_not, certain) = *self.standing.lock().unwrap_or_else(PoisonError::into_inner);
        TrackedStatus {
            why_not,
            lease_age: certain.map(|certain| Moment::now().since(certain)),
            entries: self.copy.len(),
            carried: self.copy.carried_len(),
        }
    }
}

impl Standing {
    /// The value that such an entry has in the store.
    pub(super) fn value(&self) -> Option<Vec<u8>> {
        let issued_before = self.issued_before?;
        Some(format!(r#"{{"issued_before":{issued_before}}}"#).into_bytes())
    }

    /// When it would have ended; `None`: never.
    pub(super) fn ends(&self, now: UnixTime) -> Option<UnixTime> {
        self.lives.map(|lives| now.plus(lives).plus(Duration::from_secs(1)))
    }
}
