//! The blocklist: whether a token that verifies has been revoked, asked on every request.
//!
//! It decides what an entry means and what an absence is worth. An absence counts as "not
//! revoked" only when the store's contents are known to be the ones that held the revocations
//! (the generation) and the server is known not to have forgotten any; while either is in doubt,
//! the entries that this gateway remembers stand in. It must never answer "clear" for want of an
//! answer.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::{ArcSwap, ArcSwapOption};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;

pub use self::announce::{Announcer, Listener, News};
use self::memory::{Generation, LedgerFile, Remembered};
pub use self::revocation::{End, IssuedBefore, Item, Items, ListError, Revocation, RevokeError};
pub use self::status::Status;
use self::tracked::{Follower, Tracked};
pub use self::verdict::{Cause, Unavailable, Verdict};
use crate::observe::metrics::Histogram;
use crate::store::{self, Ear, Entry, Error, OpenError, Record, Store, Word, WorkerStore};
use crate::time::UnixTime;
use crate::token::Selector;

mod announce;
mod check;
mod memory;
mod revocation;
mod status;
#[cfg(test)]
mod tests;
pub mod tracked;
mod verdict;
mod watch;

/// Sightings that wait to be remembered; more are dropped and seen again.
const SIGHTINGS: usize = 1024;
/// The default of `[revocation] check`.
const EVERY_REQUEST: &str = "every-request";
/// In place of a count of arrivals: nothing is asserted.
const NOTHING: u64 = u64::MAX;
/// In place of a time: nothing was lost.
const NEVER: i64 = i64::MIN;

/// `[revocation] on_loss`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnLoss {
    /// Entries that this gateway has seen or made stay in force and are written back.
    Remember,
    /// The same, and every token issued before the loss was noticed is refused.
    RefuseOlder,
}

/// `[revocation] check`: how it is found out whether a token is revoked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Check {
    /// The store is asked for every request.
    EveryRequest,
    /// Not at all.
    Off,
    /// By a local copy, as long as it is kept current; else as [`Check::EveryRequest`].
    Tracked {
        /// How old and how large it may be.
        limits: tracked::Limits,
        /// What the keys of other applications begin with; none may be empty.
        heads: Vec<String>,
    },
}

/// The process' side; survives reloads. Dropping it ends the background work.
pub struct Blocklist {
    shared: Arc<Shared>,
    watcher: JoinHandle<()>,
    /// What other gateways say is heard while it is kept.
    ear: Option<Ear>,
    /// Losses that earlier runs have noticed.
    lost_before: u64,
    checking: tokio::sync::Mutex<Checking>,
}

/// How it is found out, and who keeps the copy that it needs.
struct Checking {
    check: Check,
    follower: Option<JoinHandle<()>>,
}

/// A worker's side.
pub struct WorkerBlocklist {
    shared: Arc<Shared>,
    store: WorkerStore,
}

struct Shared {
    store: Store,
    ledger: LedgerFile,
    /// `None` with the embedded store, which cannot forget.
    remembered: Option<Remembered>,
    /// The generation whose absences count.
    known: ArcSwapOption<String>,
    /// Changes with `known`.
    era: AtomicU64,
    /// The arrivals up to which remembered entries have been asserted.
    asserted: AtomicU64,
    /// When entries were last lost, or `NEVER`.
    lost_at: AtomicI64,
    refuse_older: AtomicBool,
    /// Another generation was seen.
    surprise: Notify,
    sightings: mpsc::Sender<Sighting>,
    /// Names of remembered entries that another gateway has changed.
    changes: mpsc::Sender<String>,
    /// Whether it was said that no more can be remembered.
    is_full: AtomicBool,
    announcer: Announcer,
    condition: Mutex<status::Condition>,
    tracked: Tracked,
    /// The word for how it is found out.
    mode: ArcSwap<&'static str>,
}

/// An entry was seen to refuse.
struct Sighting {
    name: String,
    value: Option<Vec<u8>>,
    until: UnixTime,
    /// Whether the store is known to have lost it, so that its absence there says nothing.
    is_lost: bool,
}

/// What was trusted before a lookup was sent.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Footing {
    arrivals: u64,
    asserted: u64,
    era: u64,
}

impl Drop for Blocklist {
    fn drop(&mut self) {
        self.watcher.abort();
        if let Some(follower) = self.checking.get_mut().follower.take() {
            follower.abort();
        }
    }
}

impl Blocklist {
    /// Opens the store and the memory in `state_dir`, and starts the background work on the
    /// current (main) runtime. Waits for the first contact, at most `[store] timeout`; a Redis
    /// that is down is no error.
    ///
    /// # Errors
    ///
    /// [`OpenError`]: settings that do not fit, files that are in use, damaged or unwritable.
    pub async fn open(
        settings: &store::Settings,
        on_loss: OnLoss,
        state_dir: &Path,
        now: UnixTime,
    ) -> Result<Self, OpenError> {
        let store = Store::open(settings)?;
        let remembered =
            if store.is_embedded() { None } else { Some(Remembered::open(state_dir)?) };
        let ledger = LedgerFile::open(state_dir)?;
        let known = ledger.read();
        let lost_before = known.lost;
        let (sender, sightings) = mpsc::channel(SIGHTINGS);
        let (told, changes) = mpsc::channel(SIGHTINGS);
        let shared = Arc::new(Shared {
            store,
            ledger,
            remembered,
            known: ArcSwapOption::new(known.generation.map(Arc::new)),
            era: AtomicU64::new(0),
            asserted: AtomicU64::new(NOTHING),
            lost_at: AtomicI64::new(known.lost_at.unwrap_or(NEVER)),
            refuse_older: AtomicBool::new(on_loss == OnLoss::RefuseOlder),
            surprise: Notify::new(),
            sightings: sender,
            changes: told,
            is_full: AtomicBool::new(false),
            announcer: Announcer::new(),
            condition: Mutex::new(status::Condition::starting(now)),
            tracked: Tracked::new(),
            mode: ArcSwap::from_pointee(EVERY_REQUEST),
        });
        shared.stand_asserted(NOTHING);
        shared.settle(now).await;
        let watcher = tokio::spawn(watch::run(Arc::clone(&shared), sightings, changes));
        let checking = Checking { check: Check::EveryRequest, follower: None };
        let checking = tokio::sync::Mutex::new(checking);
        Ok(Self { shared, watcher, ear: None, lost_before, checking })
    }

    /// Listens for what other gateways revoke, and announces it. To be called inside the main
    /// runtime.
    pub fn listen(&mut self) {
        let shared = Arc::clone(&self.shared);
        self.ear = self.shared.store.listen(move |word| match word {
            Word::Entry(suffix) => {
                shared.announcer.announce(suffix);
                let remembered = shared.remembered.as_ref();
                if remembered.is_some_and(|kept| kept.holds(suffix, UnixTime::now())) {
                    // A full queue: housekeeping finds it later.
                    let _ = shared.changes.try_send(suffix.to_owned());
                }
            }
            Word::Missed => shared.announcer.announce_doubt(),
        });
    }

    /// A worker's side; to be called inside the worker's runtime.
    #[must_use]
    pub fn worker(&self) -> WorkerBlocklist {
        WorkerBlocklist { shared: Arc::clone(&self.shared), store: self.shared.store.worker() }
    }

    /// The store that it asks.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.shared.store
    }

    /// Takes over a reloaded `[revocation] on_loss`.
    pub fn set_on_loss(&self, on_loss: OnLoss) {
        self.shared.refuse_older.store(on_loss == OnLoss::RefuseOlder, Ordering::Release);
    }

    /// Takes over `[revocation] check`, at the start and at reloads; to be called inside the main
    /// runtime. From then on the copy is not used until it is complete in the new way, so that
    /// nothing passes in between.
    pub async fn set_check(&self, check: Check) {
        let mut checking = self.checking.lock().await;
        if checking.check == check {
            return;
        }
        if let Some(follower) = checking.follower.take() {
            follower.abort();
            // Two that keep one copy would undo each other's work.
            drop(follower.await);
        }
        let shared = &self.shared;
        let (mode, tracker) = match &check {
            Check::EveryRequest => (EVERY_REQUEST, None),
            Check::Off => ("off", None),
            Check::Tracked { limits, heads } => {
                shared.tracked.cover(heads);
                let tracker = shared.store.tracker(heads, shared.tracked.id());
                ("tracked", tracker.map(|tracker| (tracker, limits.clone())))
            }
        };
        match tracker {
            Some((tracker, limits)) => {
                let follower = Follower::new(Arc::clone(shared), limits);
                checking.follower = Some(tokio::spawn(follower.run(tracker)));
            }
            None => {
                let known = shared.known.load();
                shared.tracked.retire(known.as_ref().map(|known| known.as_str()));
            }
        }
        shared.mode.store(Arc::new(mode));
        checking.check = check;
    }

    /// How long changes take to be seen by the local copy.
    #[must_use]
    pub fn propagation(&self) -> &Histogram {
        self.shared.tracked.propagation()
    }

    /// Revokes. Once this has answered, no request that starts afterwards is let through by any
    /// gateway that asks the same store (invariant 9).
    ///
    /// # Errors
    ///
    /// [`RevokeError`].
    pub async fn revoke(&self, what: &Revocation, now: UnixTime) -> Result<Item, RevokeError> {
        what.validate()?;
        let ttl = what.time_to_live(now)?;
        let mut record = Record {
            reason: what.reason.clone(),
            by: what.by.clone(),
            at: now.seconds(),
            issued_before: self.issued_before(what, now).await?,
        };
        let suffix = what.selector.suffix();
        let before = self.shared.footing();
        let mut entry = match self.shared.store.put(&suffix, &record, ttl, now).await {
            Ok(entry) => entry,
            Err(error @ Error::NotReplicated { .. }) => {
                let expires = ttl.map(|ttl| now.plus(ttl).seconds());
                self.shared.tracked.nudge(&suffix);
                self.shared.announcer.announce(&suffix);
                self.shared.remember(Entry { suffix, record, expires }, now).await;
                return Err(error.into());
            }
            Err(error) => return Err(error.into()),
        };
        self.shared.tracked.nudge(&suffix);
        self.shared.announcer.announce(&suffix);
        self.shared.remember(entry.clone(), now).await;
        // A login may have been renewed between the reading of the clock and the entry: its tokens
        // are dated later, and from the entry on there are no more of them.
        let issued_before = self.issued_before(what, now).await?;
        if issued_before > record.issued_before {
            record.issued_before = issued_before;
            entry = self.shared.store.put(&suffix, &record, ttl, now).await?;
            self.shared.tracked.nudge(&suffix);
            self.shared.announcer.announce(&suffix);
            self.shared.remember(entry.clone(), now).await;
        }
        if self.shared.footing() != before {
            // A loss was put right between the two steps, without this entry.
            self.shared.store.put(&suffix, &record, ttl, now).await?;
        }
        Item::of(&entry).ok_or(RevokeError::Invalid("the selector names nothing"))
    }

    /// Up to which second tokens are refused, by the clock as it is now.
    async fn issued_before(&self, what: &Revocation, now: UnixTime) -> Result<Option<i64>, Error> {
        match what.issued_before {
            Some(IssuedBefore::At(time)) => Ok(Some(time.seconds())),
            Some(IssuedBefore::Now { leeway }) => {
                Ok(Some(self.shared.store.time(now).await?.plus(leeway).seconds()))
            }
            None => Ok(None),
        }
    }

    /// A page of at most `limit` (and [`store::PAGE_ENTRIES_MAX`]) entries.
    ///
    /// # Errors
    ///
    /// [`ListError`].
    pub async fn list(
        &self,
        limit: usize,
        after: Option<&str>,
        now: UnixTime,
    ) -> Result<Items, ListError> {
        let after = match after {
            Some(after) => Some(revocation::unwrap_cursor(after).ok_or(ListError::Cursor)?),
            None => None,
        };
        if after.as_deref().is_some_and(|cursor| !self.shared.store.is_cursor(cursor)) {
            return Err(ListError::Cursor);
        }
        let page = self.shared.store.list(limit, after.as_deref(), now).await?;
        Ok(Items {
            items: page.entries.iter().filter_map(Item::of).collect(),
            next: page.next.as_deref().map(revocation::wrap_cursor),
        })
    }

    /// Lifts a revocation; `false` when there is no entry of this id.
    ///
    /// # Errors
    ///
    /// The store did not confirm it.
    pub async fn remove(&self, id: &str) -> Result<bool, Error> {
        let Some(suffix) = Selector::suffix_of_id(id) else { return Ok(false) };
        let removed = self.shared.store.delete(&suffix).await?;
        let removed = self.shared.tracked.forget_lost(&suffix) || removed;
        self.shared.tracked.nudge(&suffix);
        if let Some(remembered) = &self.shared.remembered {
            remembered.forget(vec![suffix]).await?;
        }
        Ok(removed)
    }

    /// The operator knows of the loss: ends the alarm; `false` when there was none.
    pub fn ack(&self) -> bool {
        let mut was = false;
        self.shared.ledger.change(|ledger| was = std::mem::take(&mut ledger.alarm));
        was
    }

    /// How things stand.
    #[must_use]
    pub fn status(&self) -> Status {
        self.shared.status()
    }

    /// How often entries were lost before this was opened; [`Status::lost`] counts on from there,
    /// and may have done so at the first contact already.
    #[must_use]
    pub const fn lost_before(&self) -> u64 {
        self.lost_before
    }

    /// Where changes are announced, and listened to.
    #[must_use]
    pub fn announcer(&self) -> &Announcer {
        &self.shared.announcer
    }
}

impl WorkerBlocklist {
    /// The worker's side of the store that it asks.
    #[must_use]
    pub const fn store(&self) -> &WorkerStore {
        &self.store
    }

    /// How many changes were announced so far: see [`Announcer::count`].
    #[must_use]
    pub fn announced(&self) -> u64 {
        self.shared.announcer.count()
    }
}

impl Footing {
    /// Whether remembered entries have been asserted since the last connection was made.
    const fn is_firm(self) -> bool {
        self.arrivals == self.asserted
    }
}

impl Shared {
    fn footing(&self) -> Footing {
        Footing {
            asserted: self.asserted.load(Ordering::Acquire),
            era: self.era.load(Ordering::Acquire),
            arrivals: self.store.arrivals(),
        }
    }

    /// Remembered entries were asserted up to this arrival.
    fn stand_asserted(&self, arrivals: u64) {
        self.asserted.store(arrivals, Ordering::Release);
        self.store.assert(arrivals);
    }

    async fn remember(&self, entry: Entry, now: UnixTime) {
        let Some(remembered) = &self.remembered else { return };
        let kept = remembered.keep(entry, now).await;
        // Said once: with no room left, every request of a revoked token comes here.
        let was_full = self.is_full.swap(kept.is_err(), Ordering::Relaxed);
        if let (Err(error), false) = (kept, was_full) {
            tracing::error!(%error, "cannot remember a revocation beside the store");
        }
    }

    fn condition(&self) -> std::sync::MutexGuard<'_, status::Condition> {
        self.condition.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn adopt(&self, generation: Generation) {
        self.known.store(generation);
        self.era.fetch_add(1, Ordering::AcqRel);
    }
}
