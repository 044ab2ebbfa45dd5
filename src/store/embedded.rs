//! The store of a single gateway without Redis: a redb database, every change durable before it
//! is acknowledged, and a full copy in memory so that a lookup touches no disk and never waits.

use std::collections::HashMap;
use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::atomic::AtomicI64;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use redb::{Database, ReadableDatabase as _, ReadableTable as _, TableDefinition};

use super::{Entry, Error, Found, Hit, Hits, OpenError, Page, Place};
use crate::time::UnixTime;
use crate::token::Lookup;

mod families;
mod meters;
mod once;

/// Suffix → entry as JSON.
const ENTRIES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("blocklist");
/// Name → value.
const META: TableDefinition<'_, &str, &str> = TableDefinition::new("meta");
const GENERATION: &str = "generation";

/// The database's own cache; the copy in memory serves every read of the hot path.
const CACHE_BYTES: usize = 4 * 1024 * 1024;
/// Most entries held; more are refused with an error (invariant 8).
const ENTRIES_MAX: usize = 2_000_000;
/// Entries that one sweep removes.
const SWEEP_ENTRIES: usize = 10_000;

/// An open embedded store; clones share it.
#[derive(Clone)]
pub(crate) struct Embedded(Arc<Inner>);

struct Inner {
    database: Database,
    generation: Arc<str>,
    entries: RwLock<HashMap<Box<str>, Kept, foldhash::fast::RandomState>>,
    /// Held from reading what is there to changing the copy, so that both change in step.
    writing: Mutex<()>,
    /// The latest second at which a login or a rotation was dated.
    latest: AtomicI64,
    /// The limits on logins.
    meters: meters::Meters,
}

/// What the copy holds of an entry.
struct Kept {
    value: Box<[u8]>,
    expires: Option<i64>,
}

impl Embedded {
    /// Opens or makes the store `dir/file`; `dir` is made 0700.
    pub(crate) fn open(dir: &Path, file: &str) -> Result<Self, OpenError> {
        let path = dir.join(file);
        let shown = path.display().to_string();
        make_private(dir)?;
        let file = open_private(&path)?;
        // A damaged file must be an error message, whatever the database makes of it.
        let opened = std::panic::catch_unwind(|| load(file));
        let (database, generation, entries, meters) = opened
            .unwrap_or_else(|_| Err(redb::Error::Corrupted("its structure is damaged".to_owned())))
            .map_err(|error| open_error(shown, error))?;
        Ok(Self(Arc::new(Inner {
            database,
            generation,
            entries: RwLock::new(entries),
            writing: Mutex::new(()),
            latest: AtomicI64::new(0),
            meters,
        })))
    }

    /// What stands against a token. Touches neither disk nor scheduler.
    pub(crate) fn look_up(&self, lookup: &Lookup, now: UnixTime) -> Found {
        let entries = self.0.read();
        let mut hits = Vec::new();
        if !entries.is_empty() {
            let undated = lookup.undated.iter().enumerate().map(|(i, s)| (Place::Undated(i), s));
            let dated = lookup.dated.iter().enumerate().map(|(i, s)| (Place::Dated(i), s));
            for (place, suffix) in undated.chain(dated) {
                if let Some(kept) = entries.get(suffix)
                    && !kept.is_over(now)
                {
                    hits.push(Hit { place, value: Some(kept.value.to_vec()) });
                }
            }
        }
        let hits = if hits.is_empty() { Hits::None } else { Hits::Some(hits) };
        Found { generation: None, hits }
    }

    /// Whether an entry of this name holds, without its value.
    pub(crate) fn holds(&self, suffix: &str, now: UnixTime) -> bool {
        self.0.read().get(suffix).is_some_and(|kept| !kept.is_over(now))
    }

    /// Entries held, those that are over and not yet swept included.
    pub(crate) fn len(&self) -> usize {
        self.0.read().len()
    }

    /// `now`, or the latest moment that was acted upon.
    pub(crate) fn time(&self, now: UnixTime) -> UnixTime {
        self.0.not_before_the_latest(now)
    }

    /// The id that the database was given when it was made.
    pub(crate) fn generation(&self) -> Arc<str> {
        Arc::clone(&self.0.generation)
    }

    /// Stores entries, each joined with what is there (see [`Entry::widened_by`]); answers once
    /// they are durable, with what now holds.
    pub(crate) async fn put(
        &self,
        entries: Vec<Entry>,
        now: UnixTime,
    ) -> Result<Vec<Entry>, Error> {
        self.blocking(move |inner| inner.put(entries, now)).await
    }

    /// Removes entries; how many were there.
    pub(crate) async fn delete(&self, suffixes: Vec<String>) -> Result<usize, Error> {
        self.blocking(move |inner| inner.delete(&suffixes)).await
    }

    /// One entry; `None` when absent or over.
    pub(crate) fn get(&self, suffix: &str, now: UnixTime) -> Option<Entry> {
        let entries = self.0.read();
        let kept = entries.get(suffix).filter(|kept| !kept.is_over(now))?;
        kept.entry(suffix)
    }

    /// Every entry that is not over.
    pub(crate) fn all(&self, now: UnixTime) -> Vec<Entry> {
        let entries = self.0.read();
        let live = entries.iter().filter(|(_, kept)| !kept.is_over(now));
        live.filter_map(|(suffix, kept)| kept.entry(suffix)).collect()
    }

    /// At most `limit` entries behind `after`, in the order of their names.
    pub(crate) async fn list(
        &self,
        limit: usize,
        after: Option<String>,
        now: UnixTime,
    ) -> Result<Page, Error> {
        self.blocking(move |inner| inner.list(limit, after.as_deref().unwrap_or(""), now)).await
    }

    /// Removes entries that are over; how many.
    pub(crate) async fn sweep(&self, now: UnixTime) -> Result<usize, Error> {
        let over: Vec<String> = {
            let entries = self.0.read();
            let over = entries.iter().filter(|(_, kept)| kept.is_over(now));
            over.take(SWEEP_ENTRIES).map(|(suffix, _)| suffix.to_string()).collect()
        };
        self.blocking(move |inner| {
            inner.forget_spent(now)?;
            inner.forget_meters(now)?;
            inner.delete_over(&over, now)
        })
        .await
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> Result<T, redb::Error> + Send + 'static,
    ) -> Result<T, Error> {
        let inner = Arc::clone(&self.0);
        match tokio::task::spawn_blocking(move || work(&inner)).await {
            Ok(result) => result.map_err(|error| Error::Embedded(error.to_string().into())),
            Err(_) => Err(Error::Embedded("the write did not finish".into())),
        }
    }
}

impl Inner {
    fn put(&self, entries: Vec<Entry>, now: UnixTime) -> Result<Vec<Entry>, redb::Error> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let joined: Vec<Entry> = entries.into_iter().map(|entry| self.joined(entry, now)).collect();
        if self.read().len().saturating_add(joined.len()) > ENTRIES_MAX {
            return Err(full());
        }
        let transaction = self.database.begin_write()?;
        {
            let mut table = transaction.open_table(ENTRIES)?;
            for entry in &joined {
                table.insert(entry.suffix.as_str(), json(entry)?.as_slice())?;
            }
        }
        transaction.commit()?;
        let mut copy = self.write();
        for entry in &joined {
            copy.insert(entry.suffix.as_str().into(), Kept::of(entry)?);
        }
        Ok(joined)
    }

    fn joined(&self, entry: Entry, now: UnixTime) -> Entry {
        let entries = self.read();
        let old = entries.get(entry.suffix.as_str()).filter(|old| !old.is_over(now));
        match old.and_then(|old| old.entry(&entry.suffix)) {
            Some(old) => entry.widened_by(&old),
            None => entry,
        }
    }

    fn delete(&self, suffixes: &[String]) -> Result<usize, redb::Error> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        self.delete_held(suffixes.iter())
    }

    /// Looks again under the lock: a revocation may have lengthened a life meanwhile.
    fn delete_over(&self, suffixes: &[String], now: UnixTime) -> Result<usize, redb::Error> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let over = {
            let entries = self.read();
            let is_over = |s: &&String| entries.get(s.as_str()).is_some_and(|k| k.is_over(now));
            suffixes.iter().filter(is_over).collect::<Vec<_>>()
        };
        if over.is_empty() { Ok(0) } else { self.delete_held(over.into_iter()) }
    }

    fn delete_held<'a>(
        &self,
        suffixes: impl Iterator<Item = &'a String> + Clone,
    ) -> Result<usize, redb::Error> {
        let transaction = self.database.begin_write()?;
        {
            let mut table = transaction.open_table(ENTRIES)?;
            for suffix in suffixes.clone() {
                table.remove(suffix.as_str())?;
            }
        }
        transaction.commit()?;
        let mut copy = self.write();
        Ok(suffixes.filter(|suffix| copy.remove(suffix.as_str()).is_some()).count())
    }

    fn list(&self, limit: usize, after: &str, now: UnixTime) -> Result<Page, redb::Error> {
        let table = self.database.begin_read()?.open_table(ENTRIES)?;
        let mut entries = Vec::new();
        let mut next = None;
        for row in table.range(after..)? {
            let (suffix, value) = row?;
            if suffix.value() == after {
                continue;
            }
            if entries.len() == limit {
                next = entries.last().map(|entry: &Entry| entry.suffix.clone());
                break;
            }
            entries.extend(parse(value.value()).filter(|entry| !entry.is_over(now)));
        }
        Ok(Page { entries, next })
    }

    #[allow(clippy::type_complexity, reason = "the guard of the copy, named once")]
    fn read(&self) -> RwLockReadGuard<'_, HashMap<Box<str>, Kept, foldhash::fast::RandomState>> {
        self.entries.read().unwrap_or_else(PoisonError::into_inner)
    }

    #[allow(clippy::type_complexity, reason = "the guard of the copy, named once")]
    fn write(&self) -> RwLockWriteGuard<'_, HashMap<Box<str>, Kept, foldhash::fast::RandomState>> {
        self.entries.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn of(entry: &Entry) -> Result<Self, redb::Error> {
        let value = serde_json::to_vec(&entry.record).map_err(|_| full())?;
        Ok(Self { value: value.into(), expires: entry.expires })
    }

    fn entry(&self, suffix: &str) -> Option<Entry> {
        let record = super::Record::parse(&self.value)?;
        Some(Entry { suffix: suffix.to_owned(), record, expires: self.expires })
    }

    fn is_over(&self, now: UnixTime) -> bool {
        self.expires.is_some_and(|end| end <= now.seconds())
    }
}

type Entries = HashMap<Box<str>, Kept, foldhash::fast::RandomState>;
type Loaded = (Database, Arc<str>, Entries, meters::Meters);

fn load(file: File) -> Result<Loaded, redb::Error> {
    let database = Database::builder()
        .set_cache_size(CACHE_BYTES)
        .create_with_backend(redb::backends::FileBackend::new(file)?)?;
    let transaction = database.begin_write()?;
    let generation: Arc<str> = {
        let mut meta = transaction.open_table(META)?;
        let known = meta.get(GENERATION)?.map(|id| Arc::from(id.value()));
        match known {
            Some(id) => id,
            None => {
                let id = uuid::Uuid::new_v4().to_string();
                meta.insert(GENERATION, id.as_str())?;
                id.into()
            }
        }
    };
    let mut entries = HashMap::default();
    for row in transaction.open_table(ENTRIES)?.iter()? {
        let (suffix, value) = row?;
        // Dropping what cannot be read would lift a revocation.
        let entry = parse(value.value()).filter(|entry| entry.suffix == suffix.value());
        let entry =
            entry.ok_or_else(|| redb::Error::Corrupted("an unreadable entry".to_owned()))?;
        entries.insert(suffix.value().into(), Kept::of(&entry)?);
    }
    transaction.commit()?;
    let meters = meters::Meters::load(&database)?;
    Ok((database, generation, entries, meters))
}

fn parse(value: &[u8]) -> Option<Entry> {
    serde_json::from_slice(value).ok()
}

fn json(entry: &Entry) -> Result<Vec<u8>, redb::Error> {
    serde_json::to_vec(entry).map_err(|error| redb::Error::Corrupted(error.to_string()))
}

fn full() -> redb::Error {
    redb::Error::Io(std::io::Error::other(format!("more than {ENTRIES_MAX} entries")))
}

fn make_private(dir: &Path) -> Result<(), OpenError> {
    let io = |source| OpenError::Io { path: dir.display().to_string(), source };
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(io)?;
    let mode = dir.metadata().map_err(io)?.permissions().mode();
    if mode & 0o077 != 0 {
        std::fs::set_permissions(dir, Permissions::from_mode(0o700)).map_err(io)?;
    }
    Ok(())
}

fn open_private(path: &Path) -> Result<File, OpenError> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(|source| OpenError::Io { path: path.display().to_string(), source })
}

fn open_error(path: String, error: redb::Error) -> OpenError {
    match error {
        redb::Error::DatabaseAlreadyOpen => OpenError::AlreadyOpen(path),
        redb::Error::Io(source) if source.kind() != std::io::ErrorKind::InvalidData => {
            OpenError::Io { path, source }
        }
        error => OpenError::Corrupt { path, detail: error.to_string() },
    }
}
