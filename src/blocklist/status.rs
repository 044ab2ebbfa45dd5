//! How the blocklist stands, for `/status`, `/readyz?verbose` and the metrics.

use super::Shared;
use super::tracked::TrackedStatus;
use crate::store::Error;
use crate::time::UnixTime;

/// How things stand. Nothing in here is secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// `redis` or `embedded`.
    pub engine: &'static str,
    /// Whether the store answered this process when it was last asked.
    pub up: bool,
    /// Since when it is up or down.
    pub since: UnixTime,
    /// Whether it has ever answered since the start.
    pub was_up: bool,
    /// Why it was last down.
    pub last_error: Option<Error>,
    /// The id of its contents, once known.
    pub generation: Option<String>,
    /// How often entries were lost, as far back as the state directory knows.
    pub lost: u64,
    /// When the last loss was noticed.
    pub lost_at: Option<UnixTime>,
    /// Whether a loss waits to be acknowledged.
    pub alarm: bool,
    /// Whether remembered entries stand in because the server may have forgotten some.
    pub in_doubt: bool,
    /// Entries remembered beside the store.
    pub remembered: usize,
    /// What the server's settings mean for revocations, in words.
    pub warnings: Vec<String>,
    /// `[revocation] check`.
    pub check: &'static str,
    /// The local copy, with `check = "tracked"` and a store that is not in this process anyway.
    pub tracked: Option<TrackedStatus>,
}

/// The changing part.
pub(super) struct Condition {
    pub(super) up: bool,
    pub(super) was_up: bool,
    pub(super) since: UnixTime,
    pub(super) last_error: Option<Error>,
    pub(super) warnings: Vec<String>,
}

impl Condition {
    pub(super) const fn starting(now: UnixTime) -> Self {
        Self { up: false, was_up: false, since: now, last_error: None, warnings: Vec::new() }
    }

    /// Takes note of how an attempt to reach the store went.
    pub(super) fn note(&mut self, result: Result<(), &Error>, now: UnixTime) {
        let up = result.is_ok();
        if up != self.up {
            self.since = now;
        }
        self.up = up;
        self.was_up |= up;
        if let Err(error) = result {
            self.last_error = Some(error.clone());
        }
    }
}

impl Shared {
    pub(super) fn status(&self) -> Status {
        let ledger = self.ledger.read();
        let trouble = self.store.trouble();
        let condition = self.condition();
        Status {
            engine: if self.remembered.is_some() { "redis" } else { "embedded" },
            up: condition.up && trouble.is_none(),
            since: condition.since,
            was_up: condition.was_up,
            last_error: trouble.or_else(|| condition.last_error.clone()),
            generation: self.known.load_full().map(|id| id.to_string()),
            lost: ledger.lost,
            lost_at: ledger.lost_at.map(UnixTime),
            alarm: ledger.alarm,
            in_doubt: self.remembered.is_some() && !self.footing().is_firm(),
            remembered: self.remembered.as_ref().map_or(0, super::Remembered::len),
            warnings: condition.warnings.clone(),
            check: **self.mode.load(),
            tracked: self.is_tracked().then(|| self.tracked.status()),
        }
    }

    fn is_tracked(&self) -> bool {
        **self.mode.load() == "tracked" && self.remembered.is_some()
    }
}
