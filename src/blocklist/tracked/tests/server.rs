//! A small Redis with one client that tracks: it executes in its own time, and reports what was
//! changed when it is through with all commands, behind the answers to them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::super::core::{Answer, Command};
use crate::store::{Cursor, Key, Push, Reading, Readings};

/// One entry for each.
pub(super) const TOKENS: usize = 4;
/// Those, and two dated ones.
pub(super) const ENTRIES: usize = TOKENS + 2;

/// What the server sends.
#[derive(Clone, Debug)]
pub(super) enum Wire {
    Report(Push),
    Answer(Answer),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) issued_before: i64,
    pub(super) ends: Option<u64>,
}

/// A small Redis with one client that tracks.
#[derive(Default)]
pub(super) struct Server {
    pub(super) entries: BTreeMap<usize, Kept>,
    pub(super) canary: Option<u64>,
    pub(super) generation: Option<Arc<str>>,
    pub(super) generations: usize,
    pub(super) is_tracking: bool,
    /// Commands that were sent, not executed.
    pub(super) inbox: VecDeque<Command>,
    /// Answers, and reports of flushes, in the order of execution.
    pub(super) answers: Vec<Wire>,
    /// What was changed in this cycle; reported at its end.
    pub(super) changed: Vec<Key>,
}

pub(super) fn key_of(entry: usize) -> Key {
    Key::Entry(name(entry).into())
}

pub(super) fn name(entry: usize) -> String {
    if entry < TOKENS { format!("jti:i:{entry}") } else { format!("sub:i:{}", entry - TOKENS) }
}

pub(super) fn number(key: &Key) -> Option<usize> {
    (0..ENTRIES).find(|entry| key_of(*entry) == *key)
}

impl Server {
    pub(super) fn change(&mut self, key: Key) {
        if self.is_tracking {
            self.changed.push(key);
        }
    }

    pub(super) fn begin_generation(&mut self) -> Arc<str> {
        if self.generation.is_none() {
            self.generations += 1;
            self.generation = Some(format!("g{}", self.generations).into());
            self.change(Key::Generation);
        }
        self.generation.clone().unwrap()
    }

    pub(super) fn lift(&mut self, entry: usize) -> bool {
        let was = self.entries.remove(&entry).is_some();
        if was {
            self.change(key_of(entry));
        }
        was
    }

    pub(super) fn execute(&mut self, command: Command, now: u64) -> Option<Answer> {
        Some(match command {
            Command::Ping => Answer::Ponged,
            Command::Confirm => {
                let listed = self.entries.len() as u64;
                Answer::Confirmed { generation: self.generation.clone(), listed }
            }
            Command::Scan(cursor) => {
                // Two keys a page.
                let from = usize::try_from(cursor.position()).unwrap();
                let keys = from..(from + 2).min(ENTRIES);
                let keys = keys.filter(|entry| self.entries.contains_key(entry)).map(key_of);
                let next = (from + 2 < ENTRIES).then(|| Cursor::at(from as u64 + 2));
                Answer::Scanned { keys: keys.collect(), next }
            }
            Command::Read(keys) => {
                let of = keys.iter().map(|key| self.reading(key, now)).collect();
                Answer::Read(Readings { of, generation: self.generation.clone() })
            }
            Command::Canary(_) | Command::Disconnect(_) | Command::Again => return None,
        })
    }

    pub(super) fn reading(&self, key: &Key, now: u64) -> Reading {
        if *key == Key::Canary {
            return match self.canary {
                Some(value) => {
                    Reading::Present { value: Some(value.to_string().into()), lives: None }
                }
                None => Reading::Absent,
            };
        }
        let entry = number(key).unwrap();
        match self.entries.get(&entry) {
            None => Reading::Absent,
            Some(kept) => Reading::Present {
                value: (entry >= TOKENS)
                    .then(|| format!(r#"{{"issued_before":{}}}"#, kept.issued_before).into()),
                lives: kept.ends.map(|end| Duration::from_millis(end.saturating_sub(now))),
            },
        }
    }
}
