//! The snapshot, what is read, and what becomes of what was held before.

use std::sync::Arc;
use std::time::Duration;

use super::{Command, Core, FULL_PAUSE, Phase, Scan, Unread};
use crate::blocklist::tracked::Noticed;
use crate::blocklist::tracked::word::{State, Word};
use crate::blocklist::verdict;
use crate::store::{Cursor, Key, Reading, Readings};
use crate::time::Moment;
use crate::token::KeyDigest;

/// Keys read in one question.
const READ_AT_ONCE: usize = 500;
/// Above this many keys to read, the snapshot waits.
const SCAN_BELOW: usize = 2_000;
/// Above this many keys to read there are too many to keep names of: all is read anew.
const UNREAD_MAX: usize = 100_000;
/// The longest pause after a copy that became too large.
const FULL_PAUSE_MAX: Duration = Duration::from_secs(80);
/// Parts of the copy changed in one step.
const PARTS_AT_ONCE: usize = 4;

impl Core {
    /// It is known whose contents the store holds.
    pub(super) fn met(&mut self, generation: Option<Arc<str>>, listed: u64, now: Moment) {
        // Without an id, the blocklist sees to it that there is one.
        let Some(generation) = generation else { return };
        // What was reported until now, the snapshot will name; and it may be of contents that are
        // lost, so that its absence says nothing.
        self.forget_names();
        // Room is left, so that a copy at its limit does not come and go.
        let is_back = self.full_pause > FULL_PAUSE;
        let room = self.limits.max_entries - if is_back { self.limits.max_entries / 10 } else { 0 };
        if usize::try_from(listed).is_ok_and(|listed| listed <= room) {
            self.next_base = Some(generation);
            self.phase = Phase::Aging { part: 0 };
        } else {
            self.full(now, FULL_PAUSE);
            self.shed(&generation);
        }
    }

    /// Everything that is held is to be confirmed by the snapshot; under another id it is carried
    /// on instead.
    pub(super) fn age(&mut self, part: usize) -> Command {
        let is_lost = self.base.is_some() && self.base != self.next_base;
        let age = |_, word: Word| if is_lost { word.carried() } else { word.aged() };
        let end = (part + PARTS_AT_ONCE).min(self.copy.parts());
        (part..end).for_each(|part| self.copy.pass(part, age));
        if end < self.copy.parts() {
            self.phase = Phase::Aging { part: end };
        } else {
            // Only now: were this cut short, the rest would have to be carried on all the same.
            self.base = self.next_base.take();
            self.copy.set_base(self.base.clone());
            self.phase = Phase::Scanning;
            if self.scan != Scan::AskedInVain {
                self.scan = Scan::Due(Cursor::START);
            }
        }
        Command::Again
    }

    pub(super) fn next_page(&mut self) -> Option<Command> {
        match &self.scan {
            Scan::Due(cursor) if self.queue.len() < SCAN_BELOW => {
                let command = Command::Scan(*cursor);
                self.scan = Scan::Asked;
                Some(command)
            }
            Scan::Due(_) | Scan::Asked | Scan::AskedInVain | Scan::Done => None,
        }
    }

    pub(super) fn scanned(&mut self, keys: Vec<Key>, next: Option<Cursor>, now: Moment) {
        let counts = self.scan == Scan::Asked && self.phase == Phase::Scanning;
        if !counts {
            let again = self.phase == Phase::Scanning;
            self.scan = if again { Scan::Due(Cursor::START) } else { Scan::Done };
            return;
        }
        // Nothing is under way, should the snapshot have to begin anew.
        self.scan = Scan::Done;
        for key in keys {
            if matches!(key, Key::Entry(_) | Key::Extra(_)) {
                self.changed(key, now);
            }
        }
        // That may have been too many, or too much.
        if self.phase != Phase::Scanning {
            return;
        }
        match next {
            Some(cursor) => self.scan = Scan::Due(cursor),
            None => {
                self.scan = Scan::Done;
                self.phase = Phase::Verifying { after: self.probe.number };
                self.probe.due = Moment(0);
            }
        }
    }

    /// What the snapshot did not name is not there.
    pub(super) fn sweep(&mut self, part: usize, now: Moment) -> Command {
        let sweep = |_, word: Word| match word.state {
            State::Held if !word.confirmed => Word::ABSENT,
            _ => word,
        };
        let end = (part + PARTS_AT_ONCE).min(self.copy.parts());
        (part..end).for_each(|part| self.copy.pass(part, sweep));
        if end < self.copy.parts() {
            self.phase = Phase::Sweeping { part: end };
        } else {
            self.phase = Phase::Following { since: now };
            self.full_pause = FULL_PAUSE;
            self.canary.due = now;
        }
        Command::Again
    }

    /// A key was changed by somebody, or is named by the snapshot.
    pub(super) fn changed(&mut self, key: Key, now: Moment) {
        match key {
            Key::Generation => {
                self.doubt = Some(self.probe.number);
                self.probe.due = Moment(0);
                return;
            }
            Key::Canary if matches!(self.phase, Phase::Full { .. }) => return,
            Key::Canary => {}
            Key::Entry(_) | Key::Extra(_) => match self.phase {
                // The snapshot begins later and will name it.
                Phase::Offline
                | Phase::Meeting { .. }
                | Phase::Aging { .. }
                | Phase::Full { .. } => return,
                Phase::Scanning
                | Phase::Verifying { .. }
                | Phase::Sweeping { .. }
                | Phase::Following { .. } => self.copy.update(key.digest(), Word::changed),
            },
        }
        let digest = key.digest();
        match self.unread.get_mut(&digest) {
            Some(unread) => unread.again = true,
            None => {
                if key == Key::Canary {
                    self.queue.push_front(digest);
                } else {
                    self.queue.push_back(digest);
                }
                self.unread.insert(digest, Unread { key, again: false });
            }
        }
        if self.copy.len() > self.limits.max_entries {
            self.full(now, self.full_pause);
            self.full_pause = (self.full_pause * 2).min(FULL_PAUSE_MAX);
        } else if self.unread.len() > UNREAD_MAX {
            self.start_over();
        }
    }

    pub(super) fn next_read(&mut self) -> Option<Command> {
        if self.asked.is_some() || self.queue.is_empty() {
            return None;
        }
        let count = self.queue.len().min(READ_AT_ONCE);
        let digests: Vec<KeyDigest> = self.queue.drain(..count).collect();
        let mut keys = Vec::with_capacity(count);
        for digest in &digests {
            if let Some(unread) = self.unread.get_mut(digest) {
                unread.again = false;
                keys.push(unread.key.clone());
            }
        }
        self.asked = Some(digests);
        Some(Command::Read(keys))
    }

    pub(super) fn read(&mut self, readings: Readings, now: Moment) {
        let Some(asked) = self.asked.take() else { return };
        if asked.is_empty() {
            return;
        }
        if readings.generation != self.base || readings.of.len() != asked.len() {
            // Nothing of it counts: an absence may be a loss.
            self.is_strange = true;
            self.start_over();
            return;
        }
        for (digest, reading) in asked.into_iter().zip(readings.of) {
            match self.unread.remove(&digest) {
                Some(unread) if unread.again => {
                    self.queue.push_back(digest);
                    self.unread.insert(digest, Unread { again: false, ..unread });
                }
                Some(unread) if unread.key == Key::Canary => self.canary_read(&reading),
                Some(unread) => self.hold(digest, unread.key, reading, now),
                None => {}
            }
        }
    }

    /// What stands under a key now.
    pub(super) fn hold(&mut self, digest: KeyDigest, key: Key, reading: Reading, now: Moment) {
        let word = match reading {
            Reading::Absent => Word::ABSENT,
            Reading::Present { value, lives } => Word {
                state: State::Held,
                issued_before: verdict::issued_before(value.as_deref()),
                ends: lives.map(|lives| now.plus(lives)),
                confirmed: true,
            },
        };
        self.copy.update(digest, |_| word);
        let is_news = matches!(self.phase, Phase::Following { .. }) && word != Word::ABSENT;
        if let (true, Key::Entry(suffix)) = (is_news, key) {
            self.noticed.push(Noticed::Entry(suffix));
        }
    }

    /// There is no room for a copy. What it holds stays until it is known who else knows it: there
    /// may be too many entries because these are other contents.
    pub(super) fn full(&mut self, now: Moment, pause: Duration) {
        self.start_over();
        let after = Some(self.probe.number);
        self.phase = Phase::Full { until: now.plus(pause), after };
    }

    /// There is no room for a copy, and the store holds these contents: only what nobody else knows
    /// is kept.
    pub(super) fn shed(&mut self, generation: &str) {
        if let Phase::Full { after, .. } = &mut self.phase {
            *after = None;
        }
        self.copy.keep_lost(Some(generation));
    }

    /// What was carried on leaves when it ends.
    pub(super) fn let_go(&self, now: Moment) {
        if self.copy.carried_len() == 0 {
            return;
        }
        let is_over = |word: Word| word.ends.is_some_and(|end| end <= now);
        let keep = |_, word: Word| match word.state {
            State::Carried if is_over(word) => Word::ABSENT,
            _ => word,
        };
        (0..self.copy.parts()).for_each(|part| self.copy.pass(part, keep));
    }
}
