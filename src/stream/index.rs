//! The streams of one worker, by everything that their tokens may be revoked by.
//!
//! Most bodies that are not over at once are over soon: for their first moment they stand in a
//! queue only, which is searched when something is announced. What lasts longer is indexed by the
//! hashes of its suffixes; two suffixes with one hash cost a lookup too many and nothing else.

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::hash::BuildHasher as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::{Duration, Instant};

use slab::Slab;
use tokio::sync::Notify;

use super::{Kind, Tally, Why};
use crate::auth::Verified;
use crate::blocklist::Announcer;
use crate::token::Lookup;

/// How long a body may take without being indexed.
const YOUTH: Duration = Duration::from_secs(1);
/// How long whoever carries a stream may take to end it before its connection is cut.
const PATIENCE: Duration = Duration::from_secs(1);

/// Something that can be cut from outside: a client's connection, an upload.
pub trait Sever: Send + Sync {
    /// Cuts it, so that nobody can take what got through for the whole. May be called more than
    /// once; the first reason counts.
    fn sever(&self, why: Why);
}

/// How a stream is made to end, besides waking its task.
pub enum Exit {
    /// This is cut with it.
    Cut(Arc<dyn Sever>),
    /// Its task ends it, and the connection is cut when that does not happen soon: a client that
    /// reads nothing keeps the task from running.
    Insist(Arc<dyn Sever>),
    /// Its task sees to everything.
    Own,
}

/// The streams of one worker.
pub struct Index {
    inner: Mutex<Inner>,
    hasher: foldhash::quality::RandomState,
    announcer: Announcer,
    tally: Arc<Tally>,
    suspicion: Notify,
}

/// A stream's number; another one that gets the same place later has another birth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key {
    place: u32,
    birth: u64,
}

/// What is known of a stream that is entered.
pub(super) struct Entry {
    pub(super) verified: Arc<Verified>,
    pub(super) heard: u64,
    pub(super) allow_unreachable: bool,
    pub(super) kind: Kind,
    pub(super) waker: Waker,
    pub(super) exit: Exit,
}

/// A stream whose token is to be asked about.
pub(super) struct Case {
    pub(super) key: Key,
    pub(super) verified: Arc<Verified>,
}

struct Stream {
    birth: u64,
    entry: Entry,
    indexed: bool,
    unanswered_since: Option<Instant>,
    ended: Option<(Why, Instant)>,
}

#[derive(Default)]
struct Inner {
    streams: Slab<Stream>,
    births: u64,
    /// In the order of their entry; those that are gone are skipped.
    young: VecDeque<(Key, Instant)>,
    /// (hash of a suffix, place).
    postings: BTreeSet<(u64, u32)>,
    /// Entered after an announcement that their check may not have seen.
    suspects: Vec<Key>,
}

impl Index {
    /// An empty index.
    #[must_use]
    pub fn new(announcer: Announcer, tally: Arc<Tally>) -> Arc<Self> {
        Arc::new(Self {
            inner: Mutex::default(),
            hasher: foldhash::quality::RandomState::default(),
            announcer,
            tally,
            suspicion: Notify::new(),
        })
    }

    pub(super) const fn tally(&self) -> &Arc<Tally> {
        &self.tally
    }

    pub(super) const fn announcer(&self) -> &Announcer {
        &self.announcer
    }

    /// Whether there are no streams, nor any trace of some.
    pub(super) fn is_empty(&self) -> bool {
        let inner = self.inner();
        inner.streams.is_empty() && inner.young.is_empty()
    }

    pub(super) fn enter(&self, entry: Entry) -> Key {
        let (heard, lasts) = (entry.heard, entry.kind == Kind::WebSocket);
        let key = {
            let mut inner = self.inner();
            inner.births += 1;
            let birth = inner.births;
            let stream =
                Stream { birth, entry, indexed: false, unanswered_since: None, ended: None };
            let place = u32::try_from(inner.streams.insert(stream)).unwrap_or(u32::MAX);
            let key = Key { place, birth };
            if lasts {
                self.index(&mut inner, key);
            } else {
                inner.forget_the_gone();
                inner.young.push_back((key, Instant::now()));
            }
            key
        };
        // Only now: whatever is announced from here on finds it.
        if self.announcer.count() != heard {
            self.inner().suspects.push(key);
            self.suspicion.notify_one();
        }
        key
    }

    /// Why the stream is to end, if it is; else `waker` is woken when it is.
    pub(super) fn look(&self, key: Key, waker: &Waker) -> Option<Why> {
        let mut inner = self.inner();
        let stream = inner.at(key)?;
        if let Some((why, _)) = stream.ended {
            return Some(why);
        }
        if !stream.entry.waker.will_wake(waker) {
            stream.entry.waker.clone_from(waker);
        }
        None
    }

    /// Takes a stream out; why it was to end, if it was.
    pub(super) fn leave(&self, key: Key) -> Option<Why> {
        let gone = {
            let mut inner = self.inner();
            inner.at(key)?;
            let gone = inner.streams.remove(key.place as usize);
            if gone.indexed {
                for hash in self.hashes(&gone.entry.verified.lookup) {
                    inner.postings.remove(&(hash, key.place));
                }
            }
            gone
        };
        if gone.indexed {
            self.tally.closed();
        }
        gone.ended.map(|(why, _)| why)
    }

    /// Indexes what has lasted.
    pub(super) fn settle(&self, now: Instant) {
        let mut inner = self.inner();
        while let Some((key, since)) = inner.young.front().copied()
            && now.saturating_duration_since(since) >= YOUTH
        {
            inner.young.pop_front();
            self.index(&mut inner, key);
        }
    }

    /// The streams that any of these suffixes may concern.
    pub(super) fn named<'s>(&self, words: impl Iterator<Item = &'s str>) -> Vec<Case> {
        // The same word comes several ways: published, noticed by a local copy, one's own.
        let named: HashSet<&str> = words.collect();
        let inner = self.inner();
        let mut places = BTreeSet::new();
        for suffix in &named {
            let hash = self.hasher.hash_one(suffix);
            let found = inner.postings.range((hash, 0)..=(hash, u32::MAX));
            places.extend(found.map(|(_, place)| *place));
        }
        let young = inner.young.iter().filter(|(key, _)| {
            let lookup = inner.get(*key).map(|stream| &stream.entry.verified.lookup);
            lookup.is_some_and(|lookup| suffixes(lookup).any(|own| named.contains(own)))
        });
        places.extend(young.map(|(key, _)| key.place));
        let streams = places
            .into_iter()
            .filter_map(|place| Some((place, inner.streams.get(place as usize)?)));
        streams.filter_map(|(place, stream)| stream.case(place)).collect()
    }

    /// All streams.
    pub(super) fn all(&self) -> Vec<Case> {
        let inner = self.inner();
        let streams = inner.streams.iter();
        streams.filter_map(|(at, stream)| stream.case(u32::try_from(at).ok()?)).collect()
    }

    /// Those that were entered under suspicion, once there are any.
    pub(super) async fn suspects(&self) -> Vec<Case> {
        self.suspicion.notified().await;
        let mut inner = self.inner();
        let keys = std::mem::take(&mut inner.suspects);
        keys.into_iter().filter_map(|key| inner.get(key)?.case(key.place)).collect()
    }

    /// The streams of which `is_over` says so, by kind and token.
    pub(super) fn over(&self, is_over: impl Fn(Kind, &Verified) -> bool) -> Vec<Key> {
        let inner = self.inner();
        let over = inner.streams.iter().filter(|(_, stream)| {
            stream.ended.is_none() && is_over(stream.entry.kind, &stream.entry.verified)
        });
        over.filter_map(|(at, stream)| stream.key(u32::try_from(at).ok()?)).collect()
    }

    /// The blocklist has answered for these, and they go on.
    pub(super) fn answered(&self, keys: impl Iterator<Item = Key>) {
        let mut inner = self.inner();
        for key in keys {
            if let Some(stream) = inner.at(key) {
                stream.unanswered_since = None;
            }
        }
    }

    /// The blocklist has not answered for these; those of them that may not go on, because it has
    /// not for as long as `grace`.
    pub(super) fn unanswered(
        &self,
        keys: impl Iterator<Item = Key>,
        grace: Duration,
        now: Instant,
    ) -> Vec<Key> {
        let mut inner = self.inner();
        keys.filter(|key| {
            let Some(stream) = inner.at(*key) else { return false };
            let since = *stream.unanswered_since.get_or_insert(now);
            !stream.entry.allow_unreachable && now.saturating_duration_since(since) >= grace
        })
        .collect()
    }

    /// Ends these streams: their tasks are woken, what ends with them is cut.
    pub(super) fn end(&self, keys: &[Key], why: Why, now: Instant) {
        let mut ended = Vec::with_capacity(keys.len());
        {
            let mut inner = self.inner();
            for key in keys {
                if let Some(stream) = inner.at(*key)
                    && stream.ended.is_none()
                {
                    stream.ended = Some((why, now));
                    let cut = match &stream.entry.exit {
                        Exit::Cut(connection) => Some(Arc::clone(connection)),
                        Exit::Insist(_) | Exit::Own => None,
                    };
                    ended.push((stream.entry.waker.clone(), cut));
                }
            }
        }
        self.tally.note_ended(why, ended.len());
        for (waker, cut) in ended {
            if let Some(connection) = cut {
                connection.sever(why);
            }
            waker.wake();
        }
    }

    /// Cuts the connections of streams that were ended and are still there.
    pub(super) fn insist(&self, now: Instant) {
        let late: Vec<_> = {
            let inner = self.inner();
            let late = inner.streams.iter().filter_map(|(_, stream)| {
                let (why, at) = stream.ended?;
                match &stream.entry.exit {
                    Exit::Cut(connection) | Exit::Insist(connection) => {
                        let is_late = now.saturating_duration_since(at) >= PATIENCE;
                        is_late.then(|| (why, Arc::clone(connection)))
                    }
                    Exit::Own => None,
                }
            });
            late.collect()
        };
        late.iter().for_each(|(why, connection)| connection.sever(*why));
    }

    fn index(&self, inner: &mut Inner, key: Key) {
        let Some(stream) = inner.at(key).filter(|stream| !stream.indexed) else { return };
        stream.indexed = true;
        let verified = Arc::clone(&stream.entry.verified);
        for hash in self.hashes(&verified.lookup) {
            inner.postings.insert((hash, key.place));
        }
        self.tally.opened();
    }

    fn hashes<'l>(&'l self, lookup: &'l Lookup) -> impl Iterator<Item = u64> + 'l {
        suffixes(lookup).map(|suffix| self.hasher.hash_one(suffix))
    }

    /// A number that equal lookups share.
    pub(super) fn hash(&self, lookup: &Lookup) -> u64 {
        self.hasher.hash_one((&lookup.undated, &lookup.dated, &lookup.extra))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(super) fn sizes(&self) -> (usize, usize) {
        let inner = self.inner();
        (inner.streams.len(), inner.postings.len())
    }

    #[cfg(test)]
    pub(super) fn young(&self) -> usize {
        self.inner().young.len()
    }
}

impl Inner {
    fn get(&self, key: Key) -> Option<&Stream> {
        self.streams.get(key.place as usize).filter(|stream| stream.birth == key.birth)
    }

    /// Lets go of those at the head of the queue that are over already: as many as come, so that
    /// the queue holds what is open and little else.
    fn forget_the_gone(&mut self) {
        for _ in 0..2 {
            match self.young.front() {
                Some((key, _)) if self.get(*key).is_none() => drop(self.young.pop_front()),
                _ => return,
            }
        }
    }

    fn at(&mut self, key: Key) -> Option<&mut Stream> {
        self.streams.get_mut(key.place as usize).filter(|stream| stream.birth == key.birth)
    }
}

impl Stream {
    fn key(&self, place: u32) -> Option<Key> {
        self.ended.is_none().then_some(Key { place, birth: self.birth })
    }

    fn case(&self, place: u32) -> Option<Case> {
        let key = self.key(place)?;
        Some(Case { key, verified: Arc::clone(&self.entry.verified) })
    }
}

/// Everything that an announcement may name a token by.
fn suffixes(lookup: &Lookup) -> impl Iterator<Item = &str> {
    lookup.undated.iter().chain(&lookup.dated).chain(&lookup.extra).map(|suffix| &**suffix)
}
