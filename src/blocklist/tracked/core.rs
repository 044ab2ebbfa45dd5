//! When the local copy may be vouched for: the rules, without any input or output.
//!
//! 1. Tracking is on before the snapshot begins, so every change is in the snapshot, is reported,
//!    or both. The snapshot only names keys; what is held of a key is always read, and read again
//!    when it was reported after the question was sent.
//! 2. A reported key is not known, from the report until it was read.
//! 3. The contents have an id (the generation), read after everything else in every answer. An
//!    absence counts as lifted only under the id that the copy is of; under another one, what is
//!    held is carried on to its end.
//! 4. The copy is vouched for from the moment at which two probes in a row began that were both
//!    answered, for `max_staleness`. One probe would not do: Redis reports changes only when it is
//!    through with all commands that it had received, so the answer to a probe may overtake the
//!    report of an earlier change; the answer to a probe sent after that answer cannot. And from
//!    the moment at which the last canary was written that came back.
//! 5. Reports are taken in before the answers that came after them ([`Core::answered`]).

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::copy::Copy;
use super::word::{State, Word};
use super::{Limits, Noticed, Why};
use crate::blocklist::verdict;
use crate::store::{Cursor, Key, Push, Reading, Readings};
use crate::time::Moment;
use crate::token::KeyDigest;

/// Keys read in one question.
const READ_AT_ONCE: usize = 500;
/// Above this many keys to read, the snapshot waits.
const SCAN_BELOW: usize = 2_000;
/// Above this many keys to read there are too many to keep names of: all is read anew.
const UNREAD_MAX: usize = 100_000;
/// Between two probes at most.
const PROBE_EVERY: Duration = Duration::from_millis(200);
/// Between two canaries at most.
const CANARY_EVERY: Duration = Duration::from_secs(1);
/// The first pause after a copy that became too large.
const FULL_PAUSE: Duration = Duration::from_secs(5);
/// The longest.
const FULL_PAUSE_MAX: Duration = Duration::from_secs(80);
/// How often what was carried on is looked over for what has ended.
const CARRIED_EVERY: Duration = Duration::from_secs(10);
/// Parts of the copy changed in one step.
const PARTS_AT_ONCE: usize = 4;

/// What is to be done next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Command {
    /// The first probe: any answer will do.
    Ping,
    /// The second probe: the role, the generation, how many entries are listed.
    Confirm,
    /// A page of names.
    Scan(Cursor),
    /// What stands under these keys, and the generation, read last.
    Read(Vec<Key>),
    /// Write the canary, on another connection, with this value.
    Canary(u64),
    /// Drop the connection and make another.
    Disconnect(Why),
    /// Come back at once: there is more of the same to do.
    Again,
}

/// What came of a command.
#[derive(Clone, Debug)]
pub(super) enum Answer {
    Ponged,
    Confirmed { generation: Option<Arc<str>>, listed: u64 },
    Scanned { keys: Vec<Key>, next: Option<Cursor> },
    Read(Readings),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// No connection.
    Offline,
    /// Connected; a probe younger than this one is to tell whose contents it is.
    Meeting { after: u64 },
    /// What is held is made ready for a snapshot, part by part.
    Aging { part: usize },
    /// The snapshot is read.
    Scanning,
    /// It was read; a probe younger than this one is to tell that it was all of the same contents.
    Verifying { after: u64 },
    /// What the snapshot did not name is removed, part by part.
    Sweeping { part: usize },
    /// The copy is complete and kept current.
    Following { since: Moment },
    /// Too many entries; until then.
    Full { until: Moment },
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Scan {
    /// To be asked for.
    Due(Cursor),
    Asked,
    /// Asked, and the answer does not count any more.
    AskedInVain,
    Done,
}

/// The last pair of probes.
struct Probe {
    number: u64,
    began: Moment,
    step: ProbeStep,
    due: Moment,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ProbeStep {
    /// Nothing is under way.
    Idle,
    /// The first of two was sent.
    Pinged,
    /// It was answered.
    Ponged,
    /// The second was sent.
    Confirming,
}

/// A key that is to be read.
struct Unread {
    key: Key,
    /// It was reported again since the question about it was sent.
    again: bool,
}

struct Canary {
    /// The value written last, and when that began.
    written: (u64, Moment),
    is_writing: bool,
    due: Moment,
    /// When the last one that came back was written.
    seen: Option<Moment>,
}

/// See the module.
pub(super) struct Core {
    limits: Limits,
    copy: Arc<Copy>,
    phase: Phase,
    scan: Scan,
    /// Whose contents the copy holds.
    base: Option<Arc<str>>,
    /// Whose contents it is going to hold.
    next_base: Option<Arc<str>>,
    /// Whose contents count, and since which era of the blocklist.
    known: (Option<Arc<str>>, u64),
    /// Another generation may have been written; a probe younger than this one is to tell.
    doubt: Option<u64>,
    /// Another generation was met than the one that counts.
    is_strange: bool,
    unread: HashMap<KeyDigest, Unread>,
    queue: VecDeque<KeyDigest>,
    /// The question that is under way; empty when its answer does not count any more.
    asked: Option<Vec<KeyDigest>>,
    probe: Probe,
    /// The beginning of the last two probes that were both answered.
    lease: Option<Moment>,
    /// Since when there has been a connection.
    connected: Moment,
    canary: Canary,
    full_pause: Duration,
    carried_due: Moment,
    /// Why the connection is to be dropped.
    parting: Option<Why>,
    noticed: Vec<Noticed>,
}

impl Core {
    /// Without a connection. Canaries have values from `canary` on.
    pub(super) fn new(limits: Limits, copy: Arc<Copy>, canary: u64) -> Self {
        let never = Moment(0);
        let base = copy.base();
        Self {
            limits,
            copy,
            phase: Phase::Offline,
            scan: Scan::Done,
            base,
            next_base: None,
            known: (None, 0),
            doubt: None,
            is_strange: false,
            unread: HashMap::new(),
            queue: VecDeque::new(),
            asked: None,
            probe: Probe { number: 0, began: never, step: ProbeStep::Idle, due: never },
            lease: None,
            connected: never,
            canary: Canary { written: (canary, never), is_writing: false, due: never, seen: None },
            full_pause: FULL_PAUSE,
            carried_due: never,
            parting: None,
            noticed: Vec::new(),
        }
    }

    /// Tracking is on, on a new connection.
    pub(super) fn connected(&mut self, now: Moment) {
        self.disconnected();
        self.connected = now;
        self.phase = Phase::Meeting { after: self.probe.number };
        self.probe.due = now;
        self.canary.due = now;
    }

    /// The connection is gone with every question that was under way on it.
    pub(super) fn disconnected(&mut self) {
        self.copy.disown();
        self.phase = Phase::Offline;
        self.forget_names();
        self.asked = None;
        self.scan = Scan::Done;
        self.probe.step = ProbeStep::Idle;
        self.lease = None;
        self.canary.seen = None;
        self.parting = None;
        self.doubt = None;
    }

    /// Whose contents count, as the blocklist knows it.
    pub(super) fn know(&mut self, generation: Option<&str>, era: u64) {
        if self.known.1 != era || self.known.0.as_deref() != generation {
            self.known = (generation.map(Arc::from), era);
            self.publish();
        }
    }

    /// A report came in.
    pub(super) fn pushed(&mut self, push: Push, now: Moment) {
        match push {
            Push::Changed(keys) => keys.into_iter().for_each(|key| self.changed(key, now)),
            // Flushed: what is held is lost or is to be found again; the generation tells.
            Push::Everything => self.start_over(),
            Push::Lost => self.part(Why::ConnectionLost),
        }
        self.publish();
    }

    /// An answer came in. `pushes` are the reports that came before it and perhaps some that came
    /// after it: they are all taken in first.
    pub(super) fn answered(
        &mut self,
        answer: Answer,
        mut pushes: impl FnMut() -> Option<Push>,
        now: Moment,
    ) {
        while let Some(push) = pushes() {
            self.pushed(push, now);
        }
        match answer {
            Answer::Ponged => self.ponged(),
            Answer::Confirmed { generation, listed } => self.confirmed(generation, listed, now),
            Answer::Scanned { keys, next } => self.scanned(keys, next, now),
            Answer::Read(readings) => self.read(readings, now),
        }
        self.publish();
    }

    /// The canary was written, or could not be.
    pub(super) fn canary_written(&mut self) {
        self.canary.is_writing = false;
    }

    /// Time went by.
    pub(super) fn passed(&mut self, now: Moment) {
        let heard = self.lease.unwrap_or(self.connected);
        match self.phase {
            Phase::Offline => return,
            _ if now.since(heard) > self.limits.max_staleness => self.part(Why::NoAnswer),
            Phase::Following { since } => {
                let seen = self.canary.seen.unwrap_or(since);
                if now.since(seen) > self.limits.max_staleness + self.canary_every() {
                    self.part(Why::CanaryLost);
                }
            }
            Phase::Full { until } if now >= until => self.start_over(),
            _ => {}
        }
        if now >= self.carried_due {
            self.carried_due = now.plus(CARRIED_EVERY);
            self.let_go(now);
        }
        self.publish();
    }

    /// What is to be done now; to be asked until it says that nothing is.
    pub(super) fn next(&mut self, now: Moment) -> Option<Command> {
        if self.phase == Phase::Offline {
            return None;
        }
        if let Some(why) = self.parting {
            self.disconnected();
            return Some(Command::Disconnect(why));
        }
        if let Some(command) = self.next_probe(now).or_else(|| self.next_canary(now)) {
            return Some(command);
        }
        match self.phase {
            Phase::Aging { part } => Some(self.age(part)),
            Phase::Sweeping { part } => Some(self.sweep(part, now)),
            Phase::Scanning | Phase::Verifying { .. } | Phase::Following { .. } => {
                self.next_read().or_else(|| self.next_page())
            }
            Phase::Offline | Phase::Meeting { .. } | Phase::Full { .. } => None,
        }
    }

    /// When [`Core::passed`] and [`Core::next`] are wanted at the latest.
    pub(super) fn wake_at(&self) -> Moment {
        let heard = self.lease.unwrap_or(self.connected);
        let given_up = heard.plus(self.limits.max_staleness + Duration::from_millis(1));
        let probe = if self.probe.step == ProbeStep::Idle { self.probe.due } else { given_up };
        probe.min(given_up).min(self.canary.due)
    }

    /// What was found since this was asked last.
    pub(super) fn take_noticed(&mut self) -> Vec<Noticed> {
        std::mem::take(&mut self.noticed)
    }

    /// Whether the blocklist should look whose contents the store holds.
    pub(super) fn is_strange(&self) -> bool {
        self.is_strange
    }

    /// Why the copy is not used, if it is not.
    pub(super) fn why_not(&self, now: Moment) -> Option<Why> {
        match self.phase {
            Phase::Offline => Some(Why::NotConnected),
            Phase::Full { .. } => Some(Why::TooManyEntries),
            Phase::Meeting { .. }
            | Phase::Aging { .. }
            | Phase::Scanning
            | Phase::Verifying { .. }
            | Phase::Sweeping { .. } => Some(Why::Synchronising),
            Phase::Following { .. } if !self.is_ours() => Some(Why::ContentsInDoubt),
            Phase::Following { .. } => match self.usable_until() {
                Some(until) if now < until => None,
                Some(_) | None if self.canary.seen.is_none() => Some(Why::Synchronising),
                Some(_) | None if self.canary.seen < self.lease => Some(Why::CanaryLost),
                Some(_) | None => Some(Why::NoAnswer),
            },
        }
    }

    /// As of when what the copy says is certain.
    pub(super) fn vouched_from(&self) -> Option<Moment> {
        Some(self.lease?.min(self.canary.seen?))
    }

    fn is_ours(&self) -> bool {
        self.base.is_some() && self.base == self.known.0 && self.doubt.is_none()
    }

    fn usable_until(&self) -> Option<Moment> {
        let is_complete = matches!(self.phase, Phase::Following { .. }) && self.parting.is_none();
        let from = if is_complete && self.is_ours() { self.vouched_from() } else { None };
        from.map(|from| from.plus(self.limits.max_staleness))
    }

    fn publish(&self) {
        match self.usable_until() {
            Some(until) => self.copy.vouch(until, self.known.1),
            None => self.copy.disown(),
        }
    }

    fn part(&mut self, why: Why) {
        if self.phase != Phase::Offline && self.parting.is_none() {
            self.parting = Some(why);
        }
    }

    /// The snapshot is to be taken anew, on the same connection.
    fn start_over(&mut self) {
        if self.phase == Phase::Offline {
            return;
        }
        self.copy.disown();
        self.phase = Phase::Meeting { after: self.probe.number };
        self.forget_names();
        self.probe.due = Moment(0);
    }

    /// No name is to be read any more; an answer that is under way does not count.
    fn forget_names(&mut self) {
        self.unread.clear();
        self.queue.clear();
        if let Some(asked) = &mut self.asked {
            asked.clear();
        }
        self.scan = match self.scan {
            Scan::Asked | Scan::AskedInVain => Scan::AskedInVain,
            Scan::Due(_) | Scan::Done => Scan::Done,
        };
    }
}

/// Probes and canaries.
impl Core {
    /// Between two probes; a short lease needs more of them.
    fn probe_every(&self) -> Duration {
        PROBE_EVERY.min(self.limits.max_staleness / 5)
    }

    fn canary_every(&self) -> Duration {
        CANARY_EVERY.min(self.limits.max_staleness / 4)
    }

    fn next_probe(&mut self, now: Moment) -> Option<Command> {
        match self.probe.step {
            ProbeStep::Idle if now >= self.probe.due => {
                let due = now.plus(self.probe_every());
                let number = self.probe.number + 1;
                self.probe = Probe { number, began: now, step: ProbeStep::Pinged, due };
                Some(Command::Ping)
            }
            ProbeStep::Ponged => {
                self.probe.step = ProbeStep::Confirming;
                Some(Command::Confirm)
            }
            ProbeStep::Idle | ProbeStep::Pinged | ProbeStep::Confirming => None,
        }
    }

    fn ponged(&mut self) {
        if self.probe.step == ProbeStep::Pinged {
            self.probe.step = ProbeStep::Ponged;
        }
    }

    fn confirmed(&mut self, generation: Option<Arc<str>>, listed: u64, now: Moment) {
        if self.probe.step != ProbeStep::Confirming {
            return;
        }
        self.probe.step = ProbeStep::Idle;
        self.lease = Some(self.probe.began);
        self.is_strange = generation.is_none() || generation != self.known.0;
        let number = self.probe.number;
        match self.phase {
            Phase::Meeting { after } if number > after => self.met(generation, listed, now),
            Phase::Aging { .. } if generation != self.next_base => self.start_over(),
            Phase::Scanning
            | Phase::Verifying { .. }
            | Phase::Sweeping { .. }
            | Phase::Following { .. }
                if generation != self.base =>
            {
                self.start_over();
            }
            Phase::Verifying { after } if number > after => {
                self.phase = Phase::Sweeping { part: 0 }
            }
            _ => {}
        }
        if self.doubt.is_some_and(|doubt| number > doubt) {
            self.doubt = None;
        }
    }

    fn next_canary(&mut self, now: Moment) -> Option<Command> {
        if self.canary.is_writing || now < self.canary.due {
            return None;
        }
        let value = self.canary.written.0.wrapping_add(1);
        self.canary.written = (value, now);
        self.canary.is_writing = true;
        self.canary.due = now.plus(self.canary_every());
        Some(Command::Canary(value))
    }

    fn canary_read(&mut self, reading: &Reading) {
        let (value, written) = self.canary.written;
        let read = match reading {
            Reading::Present { value: Some(read), .. } => read,
            Reading::Present { value: None, .. } | Reading::Absent => return,
        };
        if *read == value.to_string().into_bytes() && self.canary.seen < Some(written) {
            self.canary.seen = Some(written);
            self.noticed.push(Noticed::Canary(value));
        }
    }
}

/// The snapshot and what is read.
impl Core {
    /// It is known whose contents the store holds.
    fn met(&mut self, generation: Option<Arc<str>>, listed: u64, now: Moment) {
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
        }
    }

    /// Everything that is held is to be confirmed by the snapshot; under another id it is carried
    /// on instead.
    fn age(&mut self, part: usize) -> Command {
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

    fn next_page(&mut self) -> Option<Command> {
        match &self.scan {
            Scan::Due(cursor) if self.queue.len() < SCAN_BELOW => {
                let command = Command::Scan(*cursor);
                self.scan = Scan::Asked;
                Some(command)
            }
            Scan::Due(_) | Scan::Asked | Scan::AskedInVain | Scan::Done => None,
        }
    }

    fn scanned(&mut self, keys: Vec<Key>, next: Option<Cursor>, now: Moment) {
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
    fn sweep(&mut self, part: usize, now: Moment) -> Command {
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
    fn changed(&mut self, key: Key, now: Moment) {
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

    fn next_read(&mut self) -> Option<Command> {
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

    fn read(&mut self, readings: Readings, now: Moment) {
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
    fn hold(&mut self, digest: KeyDigest, key: Key, reading: Reading, now: Moment) {
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

    /// There is no room for a copy; only what nobody else knows is kept.
    fn full(&mut self, now: Moment, pause: Duration) {
        self.start_over();
        self.phase = Phase::Full { until: now.plus(pause) };
        let keep = |_, word: Word| if word.is_carried() { word.carried() } else { Word::ABSENT };
        (0..self.copy.parts()).for_each(|part| self.copy.pass(part, keep));
    }

    /// What was carried on leaves when it ends.
    fn let_go(&self, now: Moment) {
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
