//! One entry of the blocklist as it is kept: its name, its value, its end.

use serde::{Deserialize, Serialize};

use crate::time::UnixTime;

/// The value of an entry, JSON in both engines (design: "Redis keys"). Members that a later
/// release may add are ignored; the known ones must have the right type.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Why, in the operator's words.
    #[serde(default)]
    pub reason: String,
    /// Who revoked.
    #[serde(default)]
    pub by: String,
    /// When, Unix seconds.
    #[serde(default)]
    pub at: i64,
    /// Tokens issued up to this second are refused (`sub`, `client`); `null` for other kinds.
    #[serde(default)]
    pub issued_before: Option<i64>,
}

impl Record {
    /// Reads a stored value; `None` when it is not one.
    #[must_use]
    pub fn parse(value: &[u8]) -> Option<Self> {
        serde_json::from_slice(value).ok()
    }
}

/// A record with its name and its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The key's part after `{prefix}blocklist:` (see [`crate::token::Selector::suffix`]).
    pub suffix: String,
    /// What is kept under it.
    pub record: Record,
    /// When the store forgets it, Unix seconds; `None` is never.
    pub expires: Option<i64>,
}

impl Entry {
    /// Whether the entry is over at `now`.
    #[must_use]
    pub fn is_over(&self, now: UnixTime) -> bool {
        self.expires.is_some_and(|end| end <= now.seconds())
    }

    /// Joins what is already known under the same name with what is asked for: a longer life is
    /// never shortened, a wider `issued_before` never narrowed; the words are the newer ones.
    #[must_use]
    pub fn widened_by(mut self, old: &Self) -> Self {
        self.expires = match (self.expires, old.expires) {
            (Some(new), Some(old)) => Some(new.max(old)),
            _ => None,
        };
        self.record.issued_before = self.record.issued_before.max(old.record.issued_before);
        self
    }
}

/// One page of entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The entries, in no stated order.
    pub entries: Vec<Entry>,
    /// Hand this in to read on; `None` at the end.
    pub next: Option<String>,
}

/// What a lookup found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The id of the store's contents, read after everything else in the same round trip;
    /// `None` when the store has none (flushed, or never used), and from the embedded store, whose
    /// contents cannot change behind our back.
    pub generation: Option<std::sync::Arc<str>>,
    /// What stands against the token.
    pub hits: Hits,
}

/// Entries under a token's keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hits {
    /// Nothing: the usual case.
    None,
    /// These; never empty.
    Some(Vec<Hit>),
}

/// One entry that a lookup found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hit {
    /// Which of the token's keys.
    pub place: Place,
    /// Its value; `None` when the key exists and is not a string.
    pub value: Option<Vec<u8>>,
}

/// A key of a [`crate::token::Lookup`], by list and position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// `dated[i]`.
    Dated(usize),
    /// `extra[i]`.
    Extra(usize),
    /// `undated[i]`.
    Undated(usize),
    /// Keys exist whose values did not come back, and which ones is not known.
    Unknown,
}
