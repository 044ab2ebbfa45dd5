//! The words in which a local copy of the blocklist is kept current: what changed, what stands
//! where.

use std::sync::Arc;
use std::time::Duration;

use crate::token::KeyDigest;

/// A key that a local copy is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Key {
    /// This process' own key, written to see it come back.
    Canary,
    /// An entry, by its suffix (see [`crate::token::Selector::suffix`]).
    Entry(Box<str>),
    /// A key that another application writes, whole.
    Extra(Box<str>),
    /// The id of the contents.
    Generation,
}

impl Key {
    /// The digest under which a token's [`crate::token::Lookup`] has it.
    #[must_use]
    pub fn digest(&self) -> KeyDigest {
        match self {
            Self::Entry(suffix) => KeyDigest::of_entry(suffix),
            Self::Extra(key) => KeyDigest::of_extra(key),
            Self::Canary => KeyDigest { high: 1, low: 0 },
            Self::Generation => KeyDigest { high: 1, low: 1 },
        }
    }
}

/// What the server reports by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Push {
    /// Somebody wrote these keys, removed them, or they expired.
    Changed(Vec<Key>),
    /// Everything was flushed.
    Everything,
    /// The connection ended: there will be no more reports.
    Lost,
}

/// Where a snapshot of the names goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// Which of the patterns is looked for.
    pub(in crate::store) pattern: usize,
    /// The server's own cursor.
    pub(in crate::store) position: u64,
}

impl Cursor {
    /// Where it begins.
    pub const START: Self = Self { pattern: 0, position: 0 };

    /// Any other place, for a store that is not there.
    #[cfg(test)]
    pub(crate) const fn at(position: u64) -> Self {
        Self { pattern: 0, position }
    }

    /// What was given to `at`.
    #[cfg(test)]
    pub(crate) const fn position(self) -> u64 {
        self.position
    }
}

/// A page of names. A key may be named twice; one that is there all the time is named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// The keys.
    pub keys: Vec<Key>,
    /// Where to read on; `None` at the end.
    pub next: Option<Cursor>,
}

/// What stands under a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reading {
    /// Nothing.
    Absent,
    /// Something.
    Present {
        /// The value of a dated entry and of the canary; `None` for other keys, whose existence
        /// says everything, and for a value that is no string.
        value: Option<Vec<u8>>,
        /// How long it will stand; `None`: without end.
        lives: Option<Duration>,
    },
}

/// What stands under several keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Readings {
    /// In the order of the question.
    pub of: Vec<Reading>,
    /// The id of the contents, read after everything else.
    pub generation: Option<Arc<str>>,
}

/// Whose contents the server holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contents {
    /// Their id; `None`: they have none.
    pub generation: Option<Arc<str>>,
    /// Entries that are listed.
    pub listed: u64,
}
