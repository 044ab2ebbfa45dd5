//! Redis Cluster: every command goes to the master that serves its key's slot, and nowhere else.
//!
//! - [`topology`] knows who serves what: one map per process, asked of all nodes.
//! - [`router`] sends and follows redirections, by connections of its own to every master; each is
//!   a kept connection like that to a single server, with its deadline, its check of the role, and
//!   its announcement when it was made anew.
//! - [`generation`] says how it is noticed that one master has forgotten its part.
//! - [`lookup`] asks for tokens; [`entries`] writes, in two steps where a single server takes one.
//!
//! The keys are those of any other Redis (applications know them), so a token's keys lie in several
//! slots, on several nodes; while one of them cannot be asked, every token with a key there is
//! unavailable, and the others are not. Replicas are never asked.

use std::sync::atomic::{AtomicBool, AtomicU16};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub(super) use self::generation::Markers;
use self::generation::Verified;
pub(super) use self::lookup::ask as look_up;
use self::router::Nodes;
pub(super) use self::router::Router;
pub(super) use self::topology::Topology;
use super::RedisWorker;
use super::announce::{Ear, Hear};
use super::connect::Connector;
use super::keys::Names;
use super::link::Arrivals;
use super::road::Road;
use crate::store::{Address, Error, OpenError, Settings};

mod entries;
mod generation;
mod lookup;
mod map;
mod once;
mod router;
mod slot;
mod topology;

/// The store's side that a process has once.
pub(in crate::store) struct Cluster {
    template: Connector,
    topology: Arc<Topology>,
    arrivals: Arc<Arrivals>,
    names: Arc<Names>,
    markers: Arc<Markers>,
    timeout: Duration,
    control: Router,
    replicated: Option<Replicated>,
    /// Lines of the index that could not be written.
    unindexed: Mutex<entries::Lines>,
    verified: Mutex<Verified>,
    next_sample: AtomicU16,
    /// Whether it was said that publishing is forbidden.
    mute: AtomicBool,
}

/// Writes that wait for replicas, by connections of their own, which `WAIT` holds up; one writer
/// at a time.
struct Replicated {
    router: Router,
    turn: tokio::sync::Mutex<()>,
    replicas: u32,
}

impl Cluster {
    /// Starts to ask the seeds; nodes that are down are no error.
    pub(in crate::store) fn open(settings: &Settings) -> Result<Self, OpenError> {
        let Address::Cluster { seeds, tls } = &settings.address else {
            return Err(OpenError::Tls("the store is no cluster".to_owned()));
        };
        let timeout = settings.timeout;
        let template = Connector::of_nodes(settings, *tls)?;
        let topology = Topology::start(template.clone(), seeds.clone(), *tls, timeout);
        let arrivals = Arc::new(Arrivals::default());
        let names = Names::new(&settings.prefix);
        let markers = Markers::new(&names);
        let router = |spokesman| {
            let nodes = Nodes::new(template.clone(), Arc::clone(&arrivals), timeout, spokesman);
            Router::new(Arc::clone(&topology), Arc::clone(&markers), nodes)
        };
        let replicated = (settings.wait_replicas > 0).then(|| Replicated {
            router: router(false),
            turn: tokio::sync::Mutex::default(),
            replicas: settings.wait_replicas,
        });
        let control = router(true);
        Ok(Self {
            template,
            topology,
            arrivals,
            names,
            markers,
            timeout,
            control,
            replicated,
            unindexed: Mutex::default(),
            verified: Mutex::default(),
            next_sample: generation::first_sample(),
            mute: AtomicBool::new(false),
        })
    }

    /// A worker's own connections, made on its runtime when they are needed.
    pub(in crate::store) fn worker(&self) -> RedisWorker {
        let arrivals = Arc::clone(&self.arrivals);
        let nodes = Nodes::new(self.template.clone(), arrivals, self.timeout, false);
        let markers = Arc::clone(&self.markers);
        let router = Router::new(Arc::clone(&self.topology), Arc::clone(&markers), nodes);
        let road = Road::Cluster { router: Arc::new(router), markers };
        RedisWorker::new(road, &self.names, self.timeout)
    }

    pub(in crate::store) fn arrivals(&self) -> &Arc<Arrivals> {
        &self.arrivals
    }

    /// Why the cluster, or one of its masters, is not connected to.
    pub(in crate::store) fn trouble(&self) -> Option<Error> {
        self.topology.trouble().or_else(|| self.control.nodes().trouble())
    }

    /// Listens at any of the masters: the nodes pass words on to each other.
    pub(in crate::store) fn listen(&self, hear: Hear) -> Ear {
        let connector = Arc::new(self.template.to_any(Arc::clone(&self.topology)));
        Ear::open(connector, self.names.revoked.clone(), self.timeout, hear)
    }

    fn verified(&self) -> MutexGuard<'_, Verified> {
        self.verified.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
