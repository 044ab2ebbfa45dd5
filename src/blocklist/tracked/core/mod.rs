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
use super::{Limits, Noticed, Why};
use crate::store::{Cursor, Key, Push, Readings};
use crate::time::Moment;
use crate::token::KeyDigest;

mod probes;
mod snapshot;

/// The first pause after a copy that became too large.
const FULL_PAUSE: Duration = Duration::from_secs(5);
/// How often what was carried on is looked over for what has ended.
const CARRIED_EVERY: Duration = Duration::from_secs(10);

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
    /// Too many entries; until then. A probe younger than `after` is to tell whether the store
    /// knows what is held; `None`: it has.
    Full { until: Moment, after: Option<u64> },
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
    /// It has not come back.
    is_missed: bool,
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
            canary: Canary {
                written: (canary, never),
                is_writing: false,
                is_missed: false,
                due: never,
                seen: None,
            },
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
        (self.canary.is_writing, self.canary.is_missed) = (false, false);
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
                // Before, none was looked for.
                let seen = self.canary.seen.map_or(since, |seen| seen.max(since));
                if now.since(seen) > self.limits.max_staleness + self.canary_every() {
                    self.part(Why::CanaryLost);
                }
            }
            Phase::Full { until, .. } if now >= until => self.start_over(),
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

    /// Whether there is much to read that nobody waits for.
    pub(super) const fn is_reading_snapshot(&self) -> bool {
        matches!(self.phase, Phase::Scanning | Phase::Verifying { .. })
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
