//! Where governor keeps one number per key, bounded: up to a cap each key has its own; beyond it,
//! new keys share 65,536 cells by hash.
//!
//! A shared cell only ever counts more than its key did, so an attacker who fills the table makes
//! limits stricter for newcomers, never laxer for anyone, and memory stays flat.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use governor::nanos::Nanos;
use governor::state::keyed::{DashMapStateStore, ShrinkableKeyedStateStore};
use governor::state::{InMemoryState, NotKeyed, StateStore};

use super::key::Key;

/// Shared cells; the low 16 bits of a key choose one.
pub(super) const CELLS: usize = 1 << 16;

/// The states of one quota; a clone is another handle on the same states.
#[derive(Clone)]
pub(super) struct Store(Arc<States>);

struct States {
    own: DashMapStateStore<Key, foldhash::fast::RandomState>,
    /// Entries of `own`, counted before they are made, so that the cap is never passed.
    tracked: AtomicUsize,
    tracked_max: usize,
    /// 512 KiB, made when first needed.
    cells: OnceLock<Box<[InMemoryState]>>,
}

impl Store {
    pub(super) fn new(tracked_max: usize) -> Self {
        Self(Arc::new(States {
            own: DashMapStateStore::with_hasher(foldhash::fast::RandomState::default()),
            tracked: AtomicUsize::new(0),
            tracked_max,
            cells: OnceLock::new(),
        }))
    }

    /// Numbers held now: keys of their own, and shared cells if there are any.
    pub(super) fn held(&self) -> usize {
        self.0.own.len() + self.0.cells.get().map_or(0, |cells| cells.len())
    }

    /// The key to count under: `key` itself, or the key of its cell when there is no room for it.
    pub(super) fn resolve(&self, key: Key) -> Key {
        if self.0.own.contains_key(&key) || self.has_room() { key } else { Key(key.0 & 0xFFFF) }
    }

    fn has_room(&self) -> bool {
        self.0.tracked.load(Ordering::Relaxed) < self.0.tracked_max
    }

    /// The shared cell of `key`; `None` never happens, since the index is masked.
    fn cell(&self, key: Key) -> Option<&InMemoryState> {
        let cells =
            self.0.cells.get_or_init(|| (0..CELLS).map(|_| InMemoryState::default()).collect());
        cells.get(usize::try_from(key.0 & 0xFFFF).unwrap_or(0))
    }

    /// Takes room for one more key; `false` when there is none.
    fn take_room(&self) -> bool {
        self.0
            .tracked
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| {
                (n < self.0.tracked_max).then_some(n + 1)
            })
            .is_ok()
    }

    /// Reads and replaces the number of `key`, making one if there is room.
    fn count<T, F, E>(&self, key: Key, f: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        if let Some(state) = self.0.own.get(&key) {
            return state.measure_and_replace(&NotKeyed::NonKey, f);
        }
        if self.take_room() {
            let mut made = false;
            let state = self.0.own.entry(key).or_insert_with(|| {
                made = true;
                InMemoryState::default()
            });
            if !made {
                self.0.tracked.fetch_sub(1, Ordering::Relaxed); // another request made it meanwhile
            }
            return state.measure_and_replace(&NotKeyed::NonKey, f);
        }
        match self.cell(key) {
            Some(state) => state.measure_and_replace(&NotKeyed::NonKey, f),
            None => f(None).map(|(outcome, _)| outcome),
        }
    }

    /// The number of `key`, unchanged.
    fn read(&self, key: Key) -> Option<Nanos> {
        if let Some(state) = self.0.own.get(&key) {
            return read(&state);
        }
        if self.has_room() { None } else { self.cell(key).and_then(read) }
    }
}

/// A state's number without changing it: the update is refused after reading.
fn read(state: &InMemoryState) -> Option<Nanos> {
    state.measure_and_replace(&NotKeyed::NonKey, Err::<((), Nanos), _>).err()?
}

/// What the limiter does to a key's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Access {
    /// Decide and count.
    Count(Key),
    /// Decide only: the number stays as it is.
    Ask(Key),
}

impl StateStore for Store {
    type Key = Access;

    fn measure_and_replace<T, F, E>(&self, access: &Access, f: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        match *access {
            Access::Count(key) => self.count(key, f),
            Access::Ask(key) => f(self.read(key)).map(|(outcome, _)| outcome),
        }
    }
}

impl ShrinkableKeyedStateStore<Access> for Store {
    fn retain_recent(&self, drop_below: Nanos) {
        let mut dropped = 0;
        self.0.own.retain(|_, state| {
            let keep = read(state) > Some(drop_below);
            dropped += usize::from(!keep);
            keep
        });
        self.0.tracked.fetch_sub(dropped, Ordering::Relaxed);
    }

    fn shrink_to_fit(&self) {
        self.0.own.shrink_to_fit();
    }

    fn len(&self) -> usize {
        self.0.own.len()
    }

    fn is_empty(&self) -> bool {
        self.0.own.is_empty()
    }
}
