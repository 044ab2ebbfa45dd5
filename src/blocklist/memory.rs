//! What this gateway remembers by itself, across restarts: which contents of the store it has
//! known, whether entries were ever lost, and the entries it made or saw refuse.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::private_file;
use crate::store::{Embedded, Entry, Error, Found, Hit, Hits, OpenError, Place, Record};
use crate::time::UnixTime;
use crate::token::Lookup;

/// In the state directory.
const LEDGER_FILE: &str = "blocklist.json";
/// In the state directory.
const REMEMBERED_FILE: &str = "remembered.redb";
/// Names remembered entries of keys that other applications wrote; no [`crate::token::Kind`].
const EXTRA: &str = "extra:";
/// Entries remembered; more are only in the store.
const REMEMBERED_MAX: usize = 200_000;

/// What is known of the store's contents; kept in a file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Ledger {
    /// The id of the contents that were last known; `None` before the first contact.
    pub(super) generation: Option<String>,
    /// How often entries were lost.
    pub(super) lost: u64,
    /// When the last loss was noticed, Unix seconds.
    pub(super) lost_at: Option<i64>,
    /// Whether a loss waits to be acknowledged.
    pub(super) alarm: bool,
}

/// The ledger with its file.
pub(super) struct LedgerFile {
    path: PathBuf,
    ledger: Mutex<Ledger>,
}

impl LedgerFile {
    pub(super) fn open(state_dir: &Path) -> Result<Self, OpenError> {
        let path = state_dir.join(LEDGER_FILE);
        let io = |source| OpenError::Io { path: path.display().to_string(), source };
        let ledger = match std::fs::read(&path) {
            // Reading a damaged file as "first start" would hide a loss.
            Ok(json) => serde_json::from_slice(&json).map_err(|error| OpenError::Corrupt {
                path: path.display().to_string(),
                detail: error.to_string(),
            })?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                std::fs::create_dir_all(state_dir).map_err(io)?;
                Ledger::default()
            }
            Err(error) => return Err(io(error)),
        };
        Ok(Self { path, ledger: Mutex::new(ledger) })
    }

    pub(super) fn read(&self) -> Ledger {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Changes the ledger and writes it down. A file that cannot be written is reported and the
    /// change holds for this process.
    pub(super) fn change(&self, change: impl FnOnce(&mut Ledger)) -> Ledger {
        let mut ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        let before = ledger.clone();
        change(&mut ledger);
        if *ledger != before
            && let Err(error) = write(&self.path, &ledger)
        {
            tracing::error!(path = %self.path.display(), %error, "cannot write the state file");
        }
        ledger.clone()
    }
}

fn write(path: &Path, ledger: &Ledger) -> std::io::Result<()> {
    private_file::write(path, &serde_json::to_vec(ledger)?)
}

/// Entries that this gateway made or saw refuse. They refuse when the store may have forgotten
/// them, and are written back (R45).
#[derive(Clone)]
pub(super) struct Remembered(Embedded);

impl Remembered {
    pub(super) fn open(state_dir: &Path) -> Result<Self, OpenError> {
        Embedded::open(state_dir, REMEMBERED_FILE).map(Self)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether what is remembered under this name refuses as much as what was seen there: an
    /// `issued_before` may have been moved on by another gateway.
    pub(super) fn covers(&self, name: &str, seen: Option<&[u8]>, now: UnixTime) -> bool {
        let Some(held) = self.0.get(name, now) else { return false };
        let Some(held) = held.record.issued_before else { return true };
        let seen = seen.and_then(Record::parse).and_then(|record| record.issued_before);
        seen.is_none_or(|seen| seen <= held)
    }

    pub(super) fn holds(&self, name: &str, now: UnixTime) -> bool {
        self.0.holds(name, now)
    }

    /// As it is remembered now.
    pub(super) fn get(&self, name: &str, now: UnixTime) -> Option<Entry> {
        self.0.get(name, now)
    }

    pub(super) async fn keep(&self, entry: Entry, now: UnixTime) -> Result<(), Error> {
        if self.0.len() >= REMEMBERED_MAX && !self.0.holds(&entry.suffix, now) {
            return Err(Error::Embedded("no room to remember more entries".into()));
        }
        self.0.put(vec![entry], now).await.map(drop)
    }

    pub(super) async fn forget(&self, names: Vec<String>) -> Result<(), Error> {
        if names.is_empty() {
            return Ok(());
        }
        self.0.delete(names).await.map(drop)
    }

    pub(super) async fn sweep(&self, now: UnixTime) -> Result<(), Error> {
        self.0.sweep(now).await.map(drop)
    }

    /// Entries that are ours to write: not the keys of other applications.
    pub(super) fn ours(&self, now: UnixTime) -> Vec<Entry> {
        let mut entries = self.0.all(now);
        entries.retain(|entry| !entry.suffix.starts_with(EXTRA));
        entries
    }

    /// What stands against a token in here.
    pub(super) fn look_up(&self, lookup: &Lookup, now: UnixTime) -> Found {
        let mut found = self.0.look_up(lookup, now);
        let extra =
            lookup.extra.iter().enumerate().filter(|(_, key)| self.0.holds(&extra_name(key), now));
        let extra: Vec<Hit> =
            extra.map(|(i, _)| Hit { place: Place::Extra(i), value: None }).collect();
        if !extra.is_empty() {
            let mut hits = match found.hits {
                Hits::None => Vec::new(),
                Hits::Some(hits) => hits,
            };
            hits.extend(extra);
            found.hits = Hits::Some(hits);
        }
        found
    }
}

/// Under which name a hit is remembered; `None` when it is not known which key it was.
pub(super) fn name_of(lookup: &Lookup, place: Place) -> Option<String> {
    match place {
        Place::Dated(i) => lookup.dated.get(i).map(|suffix| suffix.to_string()),
        Place::Extra(i) => lookup.extra.get(i).map(|key| extra_name(key)),
        Place::Undated(i) => lookup.undated.get(i).map(|suffix| suffix.to_string()),
        Place::Unknown => None,
    }
}

/// Whether a remembered name is one of another application's keys.
pub(super) fn is_extra(name: &str) -> bool {
    name.starts_with(EXTRA)
}

fn extra_name(key: &str) -> String {
    format!("{EXTRA}{key}")
}

/// A generation, shared with the request path.
pub(super) type Generation = Option<Arc<String>>;
