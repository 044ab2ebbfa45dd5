//! Redis and what speaks like it (Valkey). One connection per worker for lookups, one per process
//! for everything else; both are kept by their own supervisors.

use std::sync::Arc;
use std::time::Duration;

use self::batch::Batcher;
use self::connect::Connector;
use self::keys::Names;
pub(in crate::store) use self::link::Arrivals;
use self::link::Link;
use super::{Error, Found, OpenError, Settings};
use crate::token::Lookup;

mod answer;
mod batch;
mod connect;
mod entries;
mod keys;
mod link;
mod lookup;
mod warnings;

/// The store's side that a process has once.
pub(in crate::store) struct Redis {
    connector: Arc<Connector>,
    control: Link,
    arrivals: Arc<Arrivals>,
    names: Arc<Names>,
    timeout: Duration,
    wait_replicas: u32,
    writing: tokio::sync::Mutex<()>,
}

impl Redis {
    /// Starts connecting; a server that is down is no error.
    pub(in crate::store) fn open(settings: &Settings) -> Result<Self, OpenError> {
        let connector = Arc::new(Connector::new(settings)?);
        let arrivals = Arc::new(Arrivals::default());
        let control =
            Link::start(Arc::clone(&connector), Arc::clone(&arrivals), settings.timeout, true);
        Ok(Self {
            connector,
            control,
            arrivals,
            names: Names::new(&settings.prefix),
            timeout: settings.timeout,
            wait_replicas: settings.wait_replicas,
            writing: tokio::sync::Mutex::new(()),
        })
    }

    /// A worker's own connection, made on its runtime.
    pub(in crate::store) fn worker(&self) -> RedisWorker {
        let link = Link::start(
            Arc::clone(&self.connector),
            Arc::clone(&self.arrivals),
            self.timeout,
            false,
        );
        RedisWorker(Batcher::new(link, Arc::clone(&self.names), self.timeout))
    }

    pub(in crate::store) fn arrivals(&self) -> &Arc<Arrivals> {
        &self.arrivals
    }

    /// Why the process' own connection is down, if it is.
    pub(in crate::store) fn trouble(&self) -> Option<Error> {
        self.control.trouble()
    }
}

/// A worker's side.
pub(in crate::store) struct RedisWorker(Arc<Batcher>);

impl RedisWorker {
    pub(in crate::store) async fn look_up(&self, lookup: &Lookup) -> Result<Found, Error> {
        self.0.look_up(lookup).await
    }
}
