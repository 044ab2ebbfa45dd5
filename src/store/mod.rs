//! Every word to Redis or to the embedded store is spoken here.
//!
//! The store keeps entries and tells whether a token's keys exist; what an entry means is the
//! [`crate::blocklist`]'s business. It never lets anybody through: every way not to get an exact
//! answer is an [`Error`].
//!
//! [`Store`] is the process' side and lives on the main runtime; [`WorkerStore`] is a worker's,
//! made inside the worker's runtime, with a connection of its own.

use std::sync::Arc;
use std::time::Duration;

pub use self::backoff::Backoff;
pub use self::counter::Counter;
pub(crate) use self::embedded::Embedded;
pub use self::entry::{Entry, Found, Hit, Hits, Page, Place, Record};
pub use self::error::{Error, OpenError};
pub use self::family::{
    Advanced, Begun, Dead, Families, KeptSession, Live, Login, NewFamily, Standing, Step, Terms,
    Trace,
};
pub use self::meter::{Level, Meter, Outcome};
#[cfg(test)]
pub(crate) use self::redis::{Bench as CounterBench, OUTCOME_MAX};
use self::redis::{Cluster, Redis, RedisWorker};
pub use self::redis::{Ear, Questions, Reports, Tracked, Tracker};
pub use self::settings::{Address, Host, Settings};
pub use self::tracking::{Contents, Cursor, Key, Names, Push, Reading, Readings};
use crate::time::UnixTime;
use crate::token::Lookup;

mod backoff;
mod counter;
mod embedded;
mod entry;
mod error;
mod family;
mod meter;
mod redis;
mod settings;
mod tracking;
#[cfg(test)]
pub(crate) mod tests;

/// The embedded store's file in its directory.
const EMBEDDED_FILE: &str = "store.redb";

/// The most entries that one page holds.
pub const PAGE_ENTRIES_MAX: usize = 1000;

/// The process' side of the store.
pub struct Store(Engine);

enum Engine {
    Cluster(Box<Cluster>),
    Embedded(Embedded),
    Redis(Redis),
}

/// What is heard of other gateways' writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word<'w> {
    /// The entry of this suffix was put.
    Entry(&'w str),
    /// Words may have been missed.
    Missed,
}

/// A worker's side of the store.
pub struct WorkerStore {
    engine: WorkerEngine,
    counter: Counter,
}

enum WorkerEngine {
    Embedded(Embedded),
    Redis(RedisWorker),
}

impl Store {
    /// Opens the store. To be called inside the main runtime: Redis is connected to in the
    /// background, and one that is down is no error.
    ///
    /// # Errors
    ///
    /// [`OpenError`]: TLS settings that do not fit, an embedded store that is in use or damaged.
    pub fn open(settings: &Settings) -> Result<Self, OpenError> {
        Ok(Self(match &settings.address {
            Address::Embedded { dir } => Engine::Embedded(Embedded::open(dir, EMBEDDED_FILE)?),
            Address::Tcp { .. } | Address::Unix { .. } | Address::Sentinel { .. } => {
                Engine::Redis(Redis::open(settings)?)
            }
            Address::Cluster { .. } => Engine::Cluster(Box::new(Cluster::open(settings)?)),
        }))
    }

    /// A worker's side; to be called inside the worker's runtime.
    #[must_use]
    pub fn worker(&self) -> WorkerStore {
        let redis = match &self.0 {
            Engine::Embedded(embedded) => {
                let (engine, counter) = (embedded.clone(), Counter::embedded(embedded.clone()));
                return WorkerStore { engine: WorkerEngine::Embedded(engine), counter };
            }
            Engine::Cluster(cluster) => cluster.worker(),
            Engine::Redis(redis) => redis.worker(),
        };
        let counter = Counter::redis(redis.counter().clone());
        WorkerStore { engine: WorkerEngine::Redis(redis), counter }
    }

    /// Whether the store is this process' own, so that it cannot forget behind our back.
    #[must_use]
    pub const fn is_embedded(&self) -> bool {
        matches!(self.0, Engine::Embedded(_))
    }

    /// Why the process' connection is down, if it is.
    #[must_use]
    pub fn trouble(&self) -> Option<Error> {
        match &self.0 {
            Engine::Embedded(_) => None,
            Engine::Cluster(cluster) => cluster.trouble(),
            Engine::Redis(redis) => redis.trouble(),
        }
    }

    /// How many connections were made so far, by all workers: after each, the server may be one
    /// that has forgotten something.
    #[must_use]
    pub fn arrivals(&self) -> u64 {
        match &self.0 {
            Engine::Embedded(_) => 0,
            Engine::Cluster(cluster) => cluster.arrivals().count(),
            Engine::Redis(redis) => redis.arrivals().count(),
        }
    }

    /// Completes when a connection was made; never for the embedded store.
    pub async fn arrival(&self) {
        match &self.0 {
            Engine::Embedded(_) => std::future::pending().await,
            Engine::Cluster(cluster) => cluster.arrivals().changed().await,
            Engine::Redis(redis) => redis.arrivals().changed().await,
        }
    }

    /// What the caller remembers of revocations was written back since the store had `arrivals`
    /// connections. From the first call on, nothing is decided about a login ([`Families`]) on a
    /// server to which that has not happened: it may have forgotten who was revoked.
    pub fn assert(&self, arrivals: u64) {
        match &self.0 {
            Engine::Cluster(_) | Engine::Embedded(_) => {}
            Engine::Redis(redis) => redis.arrivals().assert(arrivals),
        }
    }

    /// Listens for entries that other gateways put, until what is returned is dropped. To be called
    /// inside the main runtime. `None` for the embedded store, which has one gateway.
    #[must_use]
    pub fn listen(&self, hear: impl Fn(Word<'_>) + Send + Sync + 'static) -> Option<Ear> {
        match &self.0 {
            Engine::Embedded(_) => None,
            Engine::Cluster(cluster) => Some(cluster.listen(Arc::new(hear))),
            Engine::Redis(redis) => Some(redis.listen(Arc::new(hear))),
        }
    }

    /// What a local copy of the blocklist and of the foreign keys that begin with one of `heads` is
    /// kept current by; `id` is this process' own. `None` for the embedded store, which is in this
    /// process' memory anyway, and for a cluster, whose every request is asked about.
    #[must_use]
    pub fn tracker(&self, heads: &[String], id: &str) -> Option<Tracker> {
        match &self.0 {
            Engine::Cluster(_) | Engine::Embedded(_) => None,
            Engine::Redis(redis) => Some(redis.tracker(heads, id)),
        }
    }

    /// Writes the canary of process `id`, on another connection than a tracker's.
    ///
    /// # Errors
    ///
    /// It was not confirmed.
    pub async fn write_canary(&self, id: &str, value: u64) -> Result<(), Error> {
        match &self.0 {
            Engine::Cluster(_) | Engine::Embedded(_) => Ok(()),
            Engine::Redis(redis) => redis.write_canary(id, value).await,
        }
    }

    /// Keeps `record` under `suffix` for `ttl` (`None`: without end), joined with what is there: a
    /// longer life is not shortened, a wider `issued_before` not narrowed. Answers once it is kept.
    ///
    /// # Errors
    ///
    /// No certain answer; the entry may be kept nevertheless ([`Error::NotReplicated`]: it is).
    pub async fn put(
        &self,
        suffix: &str,
        record: &Record,
        ttl: Option<Duration>,
        now: UnixTime,
    ) -> Result<Entry, Error> {
        match &self.0 {
            Engine::Embedded(embedded) => {
                let entry = Entry {
                    suffix: suffix.to_owned(),
                    record: record.clone(),
                    expires: ttl.map(|ttl| now.plus(ttl).seconds()),
                };
                let kept = embedded.put(vec![entry], now).await?;
                kept.into_iter().next().ok_or(Error::Shape("nothing was kept"))
            }
            Engine::Cluster(cluster) => cluster.put(suffix, record, ttl, now).await,
            Engine::Redis(redis) => redis.put(suffix, record, ttl, now).await,
        }
    }

    /// Keeps many entries that are already known, joined with what is there.
    ///
    /// # Errors
    ///
    /// No certain answer for all of them.
    pub async fn put_all(&self, entries: &[Entry], now: UnixTime) -> Result<(), Error> {
        match &self.0 {
            Engine::Embedded(embedded) => embedded.put(entries.to_vec(), now).await.map(drop),
            Engine::Cluster(cluster) => cluster.put_all(entries, now).await,
            Engine::Redis(redis) => redis.put_all(entries, now).await,
        }
    }

    /// Removes an entry; whether it was there.
    ///
    /// # Errors
    ///
    /// No certain answer.
    pub async fn delete(&self, suffix: &str) -> Result<bool, Error> {
        match &self.0 {
            Engine::Embedded(embedded) => Ok(embedded.delete(vec![suffix.to_owned()]).await? > 0),
            Engine::Cluster(cluster) => cluster.delete(suffix).await,
            Engine::Redis(redis) => redis.delete(suffix).await,
        }
    }

    /// One entry; `None` when there is none.
    ///
    /// # Errors
    ///
    /// No certain answer.
    pub async fn get(&self, suffix: &str, now: UnixTime) -> Result<Option<Entry>, Error> {
        match &self.0 {
            Engine::Embedded(embedded) => Ok(embedded.get(suffix, now)),
            Engine::Cluster(cluster) => cluster.get(suffix, now).await,
            Engine::Redis(redis) => redis.get(suffix, now).await,
        }
    }

    /// Which of these entries exist, with the generation read afterwards in the same round trip.
    ///
    /// # Errors
    ///
    /// No certain answer.
    pub async fn exist(
        &self,
        suffixes: &[String],
        now: UnixTime,
    ) -> Result<(Vec<bool>, Option<Arc<str>>), Error> {
        match &self.0 {
            Engine::Embedded(embedded) => {
                let exist = suffixes.iter().map(|suffix| embedded.holds(suffix, now)).collect();
                Ok((exist, Some(embedded.generation())))
            }
            Engine::Cluster(cluster) => cluster.exist(suffixes).await,
            Engine::Redis(redis) => redis.exist(suffixes).await,
        }
    }

    /// A page of at most `limit` (and [`PAGE_ENTRIES_MAX`]) entries behind the cursor `after`.
    ///
    /// # Errors
    ///
    /// No certain answer.
    pub async fn list(
        &self,
        limit: usize,
        after: Option<&str>,
        now: UnixTime,
    ) -> Result<Page, Error> {
        let limit = limit.clamp(1, PAGE_ENTRIES_MAX);
        match &self.0 {
            Engine::Embedded(embedded) => embedded.list(limit, after.map(Into::into), now).await,
            Engine::Cluster(cluster) => cluster.list(limit, after).await,
            Engine::Redis(redis) => redis.list(limit, after).await,
        }
    }

    /// Whether `cursor` can have come from [`Store::list`].
    #[must_use]
    pub fn is_cursor(&self, cursor: &str) -> bool {
        match &self.0 {
            Engine::Embedded(_) => !cursor.is_empty(),
            Engine::Redis(_) | Engine::Cluster(_) => {
                cursor.split_once(' ').is_some_and(|(score, name)| {
                    (score == "inf" || score.parse::<i64>().is_ok()) && !name.is_empty()
                })
            }
        }
    }

    /// Whether `name` was spent ([`Self::spend`]), as far as the store can tell.
    ///
    /// # Errors
    ///
    /// No certain answer.
    pub async fn is_spent(&self, name: &str, now: UnixTime) -> Result<bool, Error> {
        match &self.0 {
            Engine::Embedded(embedded) => embedded.is_spent(name.to_owned(), now).await,
            Engine::Cluster(cluster) => cluster.is_spent(name).await,
            Engine::Redis(redis) => redis.is_spent(name).await,
        }
    }

    /// Spends a name that counts once for all gateways of the store, for `ttl`; `false` when that
    /// was done before. The name is the key's part behind `{prefix}`, as in `logout:{hash}`.
    ///
    /// # Errors
    ///
    /// No certain answer; the name may be spent nevertheless.
    pub async fn spend(&self, name: &str, ttl: Duration, now: UnixTime) -> Result<bool, Error> {
        match &self.0 {
            Engine::Embedded(embedded) => embedded.spend(name.to_owned(), now.plus(ttl), now).await,
            Engine::Cluster(cluster) => cluster.spend(name, ttl).await,
            Engine::Redis(redis) => redis.spend(name, ttl).await,
        }
    }

    /// Lets go of some of what is over; how much. Zero: nothing is left to sweep for now.
    ///
    /// # Errors
    ///
    /// No certain answer.
    pub async fn sweep(&self, now: UnixTime) -> Result<u64, Error> {
        match &self.0 {
            Engine::Embedded(embedded) => {
                Ok((embedded.sweep(now).await? + embedded.sweep_families(now).await?) as u64)
            }
            Engine::Cluster(cluster) => cluster.sweep().await,
            Engine::Redis(redis) => redis.sweep().await,
        }
    }

    /// The store's own clock, which all its gateways share; `now` for the embedded one, or the
    /// latest moment at which it has dated a login or a rotation.
    ///
    /// # Errors
    ///
    /// No certain answer.
    pub async fn time(&self, now: UnixTime) -> Result<UnixTime, Error> {
        match &self.0 {
            Engine::Embedded(embedded) => Ok(embedded.time(now)),
            Engine::Cluster(cluster) => cluster.time().await,
            Engine::Redis(redis) => redis.time().await,
        }
    }

    /// The id of the contents; `None` when there is none.
    ///
    /// # Errors
    ///
    /// No certain answer.
    pub async fn generation(&self) -> Result<Option<Arc<str>>, Error> {
        match &self.0 {
            Engine::Embedded(embedded) => Ok(Some(embedded.generation())),
            Engine::Cluster(cluster) => cluster.generation().await,
            Engine::Redis(redis) => redis.generation().await,
        }
    }

    /// Sets the id unless there is one; the one that now holds. Gateways that race agree.
    ///
    /// # Errors
    ///
    /// No certain answer, or a user that may not write.
    pub async fn begin_generation(&self, id: &str) -> Result<Arc<str>, Error> {
        match &self.0 {
            Engine::Embedded(embedded) => Ok(embedded.generation()),
            Engine::Cluster(cluster) => cluster.begin_generation(id).await,
            Engine::Redis(redis) => redis.begin_generation(id).await,
        }
    }

    /// What the server's settings mean for revocations, in words for the log.
    ///
    /// # Errors
    ///
    /// No answer.
    pub async fn warnings(&self) -> Result<Vec<String>, Error> {
        match &self.0 {
            Engine::Embedded(_) => Ok(Vec::new()),
            Engine::Cluster(cluster) => cluster.warnings().await,
            Engine::Redis(redis) => redis.warnings().await,
        }
    }
}

impl Store {
    /// What the server's settings mean for logins and refreshes, in words for the log.
    ///
    /// # Errors
    ///
    /// No answer.
    pub async fn issuing_warnings(&self) -> Result<Vec<String>, Error> {
        match &self.0 {
            Engine::Embedded(_) | Engine::Cluster(_) => Ok(Vec::new()),
            Engine::Redis(redis) => redis.issuing_warnings().await,
        }
    }
}

impl WorkerStore {
    /// What stands against a token, as of a moment after this was called (invariant 9).
    ///
    /// # Errors
    ///
    /// Every way not to get an exact answer within `[store] timeout`.
    pub async fn look_up(&self, lookup: &Lookup, now: UnixTime) -> Result<Found, Error> {
        match &self.engine {
            WorkerEngine::Embedded(embedded) => Ok(embedded.look_up(lookup, now)),
            WorkerEngine::Redis(redis) => redis.look_up(lookup).await,
        }
    }

    /// The way to rate limits that other gateways share. `None` for the embedded store: it serves
    /// one process, whose own memory counts the same.
    #[must_use]
    pub const fn counter(&self) -> Option<&Counter> {
        match &self.engine {
            WorkerEngine::Embedded(_) => None,
            WorkerEngine::Redis(_) => Some(&self.counter),
        }
    }

    /// The way to limits that must survive a restart, whichever store it is.
    #[must_use]
    pub const fn lasting_counter(&self) -> &Counter {
        &self.counter
    }
}
