//! Redis and what speaks like it (Valkey). One connection per worker for lookups, one per process
//! for everything else; both are kept by their own supervisors.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

pub use self::announce::Ear;
pub(in crate::store) use self::announce::Hear;
use self::batch::Batcher;
pub(in crate::store) use self::cluster::Cluster;
use self::connect::Connector;
pub use self::counter::Counter;
#[cfg(test)]
pub(crate) use self::counter::{OUTCOME_MAX, tests::Bench};
pub(in crate::store) use self::families::Families;
use self::keys::Names;
pub(in crate::store) use self::link::Arrivals;
use self::link::Link;
use self::road::Road;
pub use self::tracked::{Questions, Reports, Tracked, Tracker};
use self::warnings::Kind;
use super::{Address, Error, Found, OpenError, Settings};
use crate::token::Lookup;

mod announce;
mod answer;
mod batch;
mod cluster;
mod connect;
mod counter;
mod entries;
mod families;
mod keys;
mod link;
mod lookup;
mod once;
mod road;
mod sentinel;
mod tracked;
mod warnings;

/// The store's side that a process has once.
pub(in crate::store) struct Redis {
    connector: Arc<Connector>,
    control: Link,
    arrivals: Arc<Arrivals>,
    names: Arc<Names>,
    timeout: Duration,
    replicated: Option<Replicated>,
    kind: Kind,
    /// Whether it was said that publishing is forbidden.
    mute: AtomicBool,
}

/// Writes that wait for replicas. `WAIT` holds up its connection, so it has one of its own, and
/// one writer at a time.
struct Replicated {
    link: tokio::sync::Mutex<Link>,
    replicas: u32,
}

impl Redis {
    /// Starts connecting; a server that is down is no error.
    pub(in crate::store) fn open(settings: &Settings) -> Result<Self, OpenError> {
        let connector = Arc::new(Connector::new(settings)?);
        let arrivals = Arc::new(Arrivals::default());
        let link = |spokesman| {
            let (connector, arrivals) = (Arc::clone(&connector), Arc::clone(&arrivals));
            Link::start(connector, arrivals, settings.timeout, spokesman)
        };
        let control = link(true);
        let replicated = (settings.wait_replicas > 0).then(|| Replicated {
            link: tokio::sync::Mutex::new(link(false)),
            replicas: settings.wait_replicas,
        });
        let names = Names::new(&settings.prefix);
        let kind = match settings.address {
            Address::Sentinel { .. } => Kind::Sentinel,
            _ => Kind::Single,
        };
        let (timeout, mute) = (settings.timeout, AtomicBool::new(false));
        Ok(Self { connector, control, arrivals, names, timeout, replicated, kind, mute })
    }

    /// A worker's own connection, made on its runtime.
    pub(in crate::store) fn worker(&self) -> RedisWorker {
        let link = Link::start(
            Arc::clone(&self.connector),
            Arc::clone(&self.arrivals),
            self.timeout,
            false,
        );
        RedisWorker::new(Road::Link(Arc::new(link)), &self.names, self.timeout)
    }

    pub(in crate::store) fn arrivals(&self) -> &Arc<Arrivals> {
        &self.arrivals
    }

    /// Listens for what gateways publish; starts on the current runtime.
    pub(in crate::store) fn listen(&self, hear: Hear) -> Ear {
        let channel = self.names.revoked.clone();
        // Two round trips are one command more than `[store] timeout` allows for.
        Ear::open(Arc::clone(&self.connector), channel, self.timeout * 2, hear)
    }

    /// Why the process' own connection is down, if it is.
    pub(in crate::store) fn trouble(&self) -> Option<Error> {
        self.control.trouble()
    }
}

/// A worker's side.
pub(in crate::store) struct RedisWorker {
    batcher: Arc<Batcher>,
    counter: Counter,
}

impl RedisWorker {
    fn new(road: Road, names: &Arc<Names>, timeout: Duration) -> Self {
        let counter = Counter::new(road.clone(), &names.limit, timeout);
        Self { batcher: Batcher::new(road, Arc::clone(names), timeout), counter }
    }

    pub(in crate::store) async fn look_up(&self, lookup: &Lookup) -> Result<Found, Error> {
        self.batcher.look_up(lookup).await
    }

    pub(in crate::store) const fn counter(&self) -> &Counter {
        &self.counter
    }
}
