//! The local copy: digests of keys with what is held of each, read by every worker without a lock.
//!
//! One writer of contents (the follower, or whoever stops it), any number of readers. Whoever
//! changes an entry itself may mark its key as changed. A reader takes what it finds only while the
//! writer vouches for the whole (`usable_until`) and has not taken that back meanwhile (`epoch`);
//! the writer takes it back before it removes anything that may still count.
//! Here nothing is decided: see [`super::core`] for when the copy may be vouched for.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};

use super::super::verdict;
use super::word::{State, Word};
use crate::store::Place;
use crate::time::Moment;
use crate::token::{KeyDigest, Lookup};

/// Parts that grow by themselves, so that none takes long.
const SHARDS: usize = 64;
/// Slots that a part has at least.
const SLOTS_MIN: usize = 64;

/// Where a key may stand. A slot belongs to its key for as long as the table lives: only `word`
/// changes afterwards.
#[derive(Default)]
struct Slot {
    /// Zero until the slot is taken; written last.
    high: AtomicU64,
    low: AtomicU64,
    word: AtomicU64,
}

/// Open addressing with linear probing; never more than seven tenths full.
struct Table(Box<[Slot]>);

/// What the writer knows of a part.
#[derive(Clone, Copy, Default)]
struct Fill {
    /// Slots taken.
    taken: usize,
    /// Keys that are there.
    present: usize,
}

/// See the module.
pub(super) struct Copy {
    shards: Vec<ArcSwap<Table>>,
    fills: Mutex<Vec<Fill>>,
    /// Chooses slots, so that nobody can choose values that meet in one.
    seed: u64,
    /// Ends are counted from here.
    start: Moment,
    present: AtomicUsize,
    carried: AtomicUsize,
    /// Zero: not vouched for.
    usable_until: AtomicU64,
    /// Changes whenever it is no longer vouched for.
    epoch: AtomicU64,
    /// The era of the blocklist that it was vouched for in.
    era: AtomicU64,
    /// Whose contents are in it.
    base: ArcSwapOption<Arc<str>>,
    /// Literal heads of the foreign keys that are in it.
    heads: ArcSwap<Vec<Box<str>>>,
}

/// What the copy says about a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::blocklist) enum Answer {
    /// Nothing stands against it.
    Clear,
    /// This does.
    Refused(Standing),
    /// It cannot be said: ask the store.
    Unknown,
}

/// A key of a token that refuses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::blocklist) struct Standing {
    pub(in crate::blocklist) place: Place,
    pub(in crate::blocklist) issued_before: Option<i64>,
    pub(in crate::blocklist) is_carried: bool,
    /// How long an entry that was lost would still have lived; `None`: without end.
    pub(in crate::blocklist) lives: Option<Duration>,
}

impl Table {
    fn new(slots: usize) -> Self {
        Self((0..slots).map(|_| Slot::default()).collect())
    }

    fn probe(&self, mixed: u64) -> impl Iterator<Item = &Slot> {
        let mask = self.0.len().wrapping_sub(1);
        #[allow(clippy::cast_possible_truncation, reason = "the bits that are left decide")]
        let start = (mixed >> 24) as usize;
        (0..self.0.len()).filter_map(move |step| self.0.get(start.wrapping_add(step) & mask))
    }

    /// The key's word; zero when it is not there.
    fn word(&self, digest: KeyDigest, mixed: u64) -> u64 {
        for slot in self.probe(mixed) {
            let high = slot.high.load(Ordering::Acquire);
            if high == 0 {
                return 0;
            }
            if high == digest.high && slot.low.load(Ordering::Relaxed) == digest.low {
                return slot.word.load(Ordering::Acquire);
            }
        }
        0
    }

    /// The key's slot, or a free one and `true`; `None` only if the table is full.
    fn slot(&self, digest: KeyDigest, mixed: u64) -> Option<(&Slot, bool)> {
        self.probe(mixed).find_map(|slot| {
            let high = slot.high.load(Ordering::Relaxed);
            let is_own = high == digest.high && slot.low.load(Ordering::Relaxed) == digest.low;
            (high == 0 || is_own).then_some((slot, high == 0))
        })
    }
}

impl Slot {
    fn take(&self, digest: KeyDigest, word: u64) {
        self.word.store(word, Ordering::Relaxed);
        self.low.store(digest.low, Ordering::Relaxed);
        self.high.store(digest.high, Ordering::Release);
    }

    fn digest(&self) -> KeyDigest {
        let high = self.high.load(Ordering::Relaxed);
        KeyDigest { high, low: self.low.load(Ordering::Relaxed) }
    }
}

impl Copy {
    /// Empty, and not vouched for.
    pub(super) fn new(start: Moment, seed: u64) -> Self {
        let shard = || ArcSwap::from_pointee(Table::new(SLOTS_MIN));
        Self {
            shards: (0..SHARDS).map(|_| shard()).collect(),
            fills: Mutex::new(vec![Fill::default(); SHARDS]),
            seed: seed | 1,
            start,
            present: AtomicUsize::new(0),
            carried: AtomicUsize::new(0),
            usable_until: AtomicU64::new(0),
            epoch: AtomicU64::new(0),
            era: AtomicU64::new(0),
            base: ArcSwapOption::empty(),
            heads: ArcSwap::default(),
        }
    }

    /// Whether it may be worth asking.
    pub(super) fn is_offered(&self) -> bool {
        self.usable_until.load(Ordering::Acquire) != 0
    }

    /// What is known of a token, if the copy is vouched for at `now` and in this `era`.
    pub(super) fn look_up(&self, lookup: &Lookup, now: Moment, era: u64) -> Answer {
        let epoch = self.epoch.load(Ordering::Acquire);
        // Before the slots are read: they are then at least as young as the vouching.
        if !self.is_usable(now, era) || !self.covers(lookup) {
            return Answer::Unknown;
        }
        let mut answer = Answer::Clear;
        for (place, word) in self.words(lookup) {
            if word.is_unread() {
                answer = Answer::Unknown;
            } else if let Some(standing) = standing(lookup, (place, word), now, true) {
                answer = Answer::Refused(standing);
                break;
            }
        }
        // What was removed after it was no longer vouched for is no answer.
        if self.epoch.load(Ordering::Acquire) == epoch { answer } else { Answer::Unknown }
    }

    /// What refuses a token although the store, which holds the contents `known`, was asked and
    /// knows nothing of it: what was lost with other contents.
    pub(super) fn lost(&self, lookup: &Lookup, known: &str, now: Moment) -> Option<Standing> {
        if self.len() == 0 {
            return None;
        }
        if self.base.load().as_ref().is_none_or(|base| &***base == known) {
            self.carried(lookup, now)
        } else {
            self.last_known(lookup, now)
        }
    }

    /// What refuses a token when the store cannot be asked: everything that was ever held and not
    /// known to be lifted, and what was changed and not read.
    pub(super) fn last_known(&self, lookup: &Lookup, now: Moment) -> Option<Standing> {
        if self.len() == 0 {
            return None;
        }
        self.words(lookup).find_map(|(place, word)| {
            if word.is_unread() {
                Some(Standing { place, issued_before: None, is_carried: false, lives: None })
            } else {
                standing(lookup, (place, word), now, false)
            }
        })
    }

    fn carried(&self, lookup: &Lookup, now: Moment) -> Option<Standing> {
        if self.carried.load(Ordering::Acquire) == 0 {
            return None;
        }
        let mut carried = self.words(lookup).filter(|(_, word)| word.is_carried());
        carried.find_map(|(place, word)| standing(lookup, (place, word), now, false))
    }

    fn words(&self, lookup: &Lookup) -> impl Iterator<Item = (Place, Word)> {
        let (undated, dated) = (lookup.undated.len(), lookup.dated.len());
        let place = move |number: usize| match number.checked_sub(undated) {
            None => Place::Undated(number),
            Some(number) => match number.checked_sub(dated) {
                None => Place::Dated(number),
                Some(number) => Place::Extra(number),
            },
        };
        let digests = lookup.digests().iter().enumerate();
        digests.filter_map(move |(number, digest)| match self.word(*digest) {
            0 => None,
            word => Some((place(number), Word::unpack(word, self.start))),
        })
    }

    /// Whether every foreign key of the token is among those that are followed: after a reload a
    /// request may still carry those of before.
    fn covers(&self, lookup: &Lookup) -> bool {
        if lookup.extra.is_empty() {
            return true;
        }
        let heads = self.heads.load();
        lookup.extra.iter().all(|key| heads.iter().any(|head| key.starts_with(&**head)))
    }

    fn mixed(&self, digest: KeyDigest) -> u64 {
        digest.high.wrapping_mul(self.seed)
    }

    fn shard(&self, mixed: u64) -> Option<&ArcSwap<Table>> {
        self.shards.get(shard_of(mixed))
    }

    fn word(&self, digest: KeyDigest) -> u64 {
        let mixed = self.mixed(digest);
        self.shard(mixed).map_or(0, |shard| shard.load().word(digest, mixed))
    }

    /// Whether it may be used at `now`.
    pub(super) fn is_usable(&self, now: Moment, era: u64) -> bool {
        now.0 < self.usable_until.load(Ordering::Acquire) && self.era.load(Ordering::Acquire) == era
    }

    /// Keys that are there, read or not.
    pub(super) fn len(&self) -> usize {
        self.present.load(Ordering::Acquire)
    }

    /// Keys of lost contents.
    pub(super) fn carried_len(&self) -> usize {
        self.carried.load(Ordering::Acquire)
    }
}

/// The writer's side.
impl Copy {
    /// Vouches for the whole until then.
    pub(super) fn vouch(&self, until: Moment, era: u64) {
        self.era.store(era, Ordering::Release);
        self.usable_until.store(until.0, Ordering::Release);
    }

    /// From here on nobody uses what is in it.
    pub(super) fn disown(&self) {
        if self.usable_until.swap(0, Ordering::AcqRel) != 0 {
            self.epoch.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// Whose contents are in it from now on.
    pub(super) fn set_base(&self, base: Option<Arc<str>>) {
        self.base.store(base.map(Arc::new));
    }

    /// Whose contents are in it.
    pub(super) fn base(&self) -> Option<Arc<str>> {
        self.base.load().as_ref().map(|base| Arc::clone(&**base))
    }

    /// Lets go of everything but what a store that holds the contents `known` has lost; that is
    /// carried on.
    pub(super) fn keep_lost(&self, known: Option<&str>) {
        let is_lost = self.base().is_some_and(|base| known != Some(&*base));
        let keep = |_, word: Word| {
            if is_lost || word.is_carried() { word.carried() } else { Word::ABSENT }
        };
        (0..self.parts()).for_each(|part| self.pass(part, keep));
    }

    /// Which foreign keys are in it from now on. Only while it is disowned.
    pub(super) fn set_heads(&self, heads: Vec<Box<str>>) {
        self.heads.store(Arc::new(heads));
    }

    /// What is held of a key.
    #[cfg(test)]
    pub(super) fn get(&self, digest: KeyDigest) -> Word {
        Word::unpack(self.word(digest), self.start)
    }

    /// Changes what is held of a key.
    pub(super) fn update(&self, digest: KeyDigest, change: impl FnOnce(Word) -> Word) {
        let mixed = self.mixed(digest);
        let mut fills = self.fills();
        let (Some(shard), Some(fill)) = (self.shard(mixed), fills.get_mut(shard_of(mixed))) else {
            return;
        };
        let table = shard.load();
        let Some((slot, is_free)) = table.slot(digest, mixed) else { return };
        let old = if is_free { 0 } else { slot.word.load(Ordering::Relaxed) };
        let old = Word::unpack(old, self.start);
        let new = change(old);
        self.count(fill, old, new);
        if !is_free {
            slot.word.store(new.pack(self.start), Ordering::Release);
            return;
        }
        if new.state == State::Absent {
            return;
        }
        slot.take(digest, new.pack(self.start));
        fill.taken += 1;
        if fill.taken * 10 > table.0.len() * 7 {
            self.rebuild(shard, fill);
        }
    }

    /// Parts that [`Copy::pass`] goes over one by one.
    pub(super) const fn parts(&self) -> usize {
        SHARDS
    }

    /// Changes every key of a part; short enough to be done in one go.
    pub(super) fn pass(&self, part: usize, mut change: impl FnMut(KeyDigest, Word) -> Word) {
        let mut fills = self.fills();
        let (Some(shard), Some(fill)) = (self.shards.get(part), fills.get_mut(part)) else {
            return;
        };
        let table = shard.load();
        for slot in &table.0 {
            let old = Word::unpack(slot.word.load(Ordering::Relaxed), self.start);
            if old.state == State::Absent {
                continue;
            }
            let new = change(slot.digest(), old);
            self.count(fill, old, new);
            slot.word.store(new.pack(self.start), Ordering::Release);
        }
        if fill.present * 8 < table.0.len() && table.0.len() > SLOTS_MIN {
            self.rebuild(shard, fill);
        }
    }

    fn count(&self, fill: &mut Fill, old: Word, new: Word) {
        match (old.state, new.state) {
            (State::Absent, State::Absent) => {}
            (State::Absent, _) => {
                fill.present += 1;
                self.present.fetch_add(1, Ordering::AcqRel);
            }
            (_, State::Absent) => {
                fill.present -= 1;
                self.present.fetch_sub(1, Ordering::AcqRel);
            }
            _ => {}
        }
        match (old.is_carried(), new.is_carried()) {
            (false, true) => _ = self.carried.fetch_add(1, Ordering::AcqRel),
            (true, false) => _ = self.carried.fetch_sub(1, Ordering::AcqRel),
            _ => {}
        }
    }

    /// A table of the right size, without the slots of keys that are gone. Readers keep the old one
    /// until they are done.
    fn rebuild(&self, shard: &ArcSwap<Table>, fill: &mut Fill) {
        let old = shard.load();
        let new = Table::new((fill.present * 2).next_power_of_two().max(SLOTS_MIN));
        for slot in &old.0 {
            let word = slot.word.load(Ordering::Relaxed);
            if word != 0 {
                let digest = slot.digest();
                if let Some((free, _)) = new.slot(digest, self.mixed(digest)) {
                    free.take(digest, word);
                }
            }
        }
        fill.taken = fill.present;
        shard.store(Arc::new(new));
    }

    fn fills(&self) -> MutexGuard<'_, Vec<Fill>> {
        self.fills.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[allow(clippy::cast_possible_truncation, reason = "six bits")]
const fn shard_of(mixed: u64) -> usize {
    (mixed >> 58) as usize
}

/// Whether a word refuses the token.
fn standing(
    lookup: &Lookup,
    (place, word): (Place, Word),
    now: Moment,
    is_current: bool,
) -> Option<Standing> {
    let is_carried = word.is_carried();
    // Who uses the copy knows that the store still answers; it then knows the end, too.
    if word.ends.is_some_and(|end| end <= now) && (is_carried || !is_current) {
        return None;
    }
    let issued_before = word.issued_before;
    let is_dated = matches!(place, Place::Dated(_));
    if is_dated && !verdict::is_refused_by_date(lookup.issued_at, issued_before) {
        return None;
    }
    let lives = word.ends.map(|end| end.since(now));
    Some(Standing { place, issued_before, is_carried, lives })
}
