//! Keeps the map of slots: all nodes are asked side by side every second, and at once when
//! somebody was sent elsewhere or found a node down. One per process, shared by all workers.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::future::join_all;
use redis::Pipeline;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout_at};

use super::map::{SlotMap, View};
use crate::store::redis::answer;
use crate::store::redis::connect::{Connector, Role};
use crate::store::redis::link::{Arrivals, Link};
use crate::store::{Error, Host};

/// How often the nodes are asked when nothing calls for it.
const INTERVAL: Duration = Duration::from_secs(1);
/// The shortest time between two rounds of questions.
const PAUSE: Duration = Duration::from_millis(50);
/// Nodes asked at once; in a larger cluster these tell enough.
const NODES_MAX: usize = 64;

/// The map and the task that keeps it, which ends with this.
pub(in crate::store::redis) struct Topology {
    shared: Arc<Shared>,
    keeper: JoinHandle<()>,
}

struct Shared {
    template: Connector,
    seeds: Vec<Host>,
    by_name: bool,
    timeout: Duration,
    map: ArcSwap<SlotMap>,
    wanted: Notify,
    /// Whether the last round brought a map; `None` before the first.
    state: watch::Sender<Option<Result<(), Error>>>,
    /// Connections that ask nodes about each other, never for entries.
    links: Mutex<HashMap<Host, Arc<Link>>>,
    /// These tell nothing of what the store may have forgotten.
    arrivals: Arc<Arrivals>,
}

impl Drop for Topology {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

impl Topology {
    /// Starts on the current runtime.
    pub(super) fn start(
        template: Connector,
        seeds: Vec<Host>,
        by_name: bool,
        timeout: Duration,
    ) -> Arc<Self> {
        let shared = Arc::new(Shared {
            template,
            seeds,
            by_name,
            timeout,
            map: ArcSwap::default(),
            wanted: Notify::new(),
            state: watch::Sender::new(None),
            links: Mutex::default(),
            arrivals: Arc::default(),
        });
        let keeper = tokio::spawn(keep(Arc::clone(&shared)));
        Arc::new(Self { shared, keeper })
    }

    /// What is known now.
    pub(super) fn map(&self) -> Arc<SlotMap> {
        self.shared.map.load_full()
    }

    /// What is known, once anything is.
    ///
    /// # Errors
    ///
    /// No node has told anything yet.
    pub(super) async fn ready(&self, deadline: Instant) -> Result<Arc<SlotMap>, Error> {
        let map = self.map();
        if !map.is_empty() {
            return Ok(map);
        }
        let mut states = self.shared.state.subscribe();
        let state = timeout_at(deadline, states.wait_for(Option::is_some)).await;
        let state = state.map_err(|_| Error::Timeout)?.map_err(|_| Error::Lost)?.clone();
        match state {
            Some(Err(error)) => Err(error),
            Some(Ok(())) | None => Ok(self.map()),
        }
    }

    /// Something does not fit what is known: the nodes are asked soon.
    pub(super) fn want(&self) {
        self.shared.wanted.notify_one();
    }

    /// Why there is no map.
    pub(super) fn trouble(&self) -> Option<Error> {
        if self.map().is_empty() {
            return self.shared.state.borrow().clone().and_then(Result::err);
        }
        None
    }

    /// Any master, for what any of them can do.
    pub(in crate::store::redis) async fn any(&self, deadline: Instant) -> Result<Host, Error> {
        let map = self.ready(deadline).await?;
        fastrand::choice(map.masters()).cloned().ok_or(Error::Lost)
    }
}

async fn keep(shared: Arc<Shared>) {
    loop {
        let outcome = shared.refresh().await;
        let last = shared.state.send_replace(Some(outcome.clone()));
        if let Err(error) = &outcome
            && last.is_none_or(|last| last.is_ok())
        {
            let reason = error.reason();
            tracing::warn!(reason, detail = %error, "no node tells how the cluster is laid out");
        }
        sleep(PAUSE).await;
        tokio::select! {
            () = sleep(INTERVAL) => {}
            () = shared.wanted.notified() => {}
        }
    }
}

impl Shared {
    async fn refresh(&self) -> Result<(), Error> {
        let known = self.map.load_full();
        let mut hosts: Vec<Host> = known.nodes().iter().take(NODES_MAX).cloned().collect();
        // The seeds may be names for the same nodes, so they are left alone while others answer.
        let is_silent = !matches!(&*self.state.borrow(), Some(Ok(())));
        if is_silent {
            hosts.extend(self.seeds.iter().cloned());
        }
        let links = self.links_to(&hosts);
        // A node that says nothing must not use up the time of those who wait for the others.
        let deadline = Instant::now() + self.timeout / 2;
        let views = links.iter().map(|(host, link)| self.ask(host, link, deadline));
        let mut views_told = Vec::new();
        let mut trouble = None;
        for view in join_all(views).await {
            match view {
                Ok(view) if view.is_cluster() => views_told.push(view),
                Ok(_) => trouble = Some(Error::Down("no slot is served by anybody".into())),
                Err(error) => trouble = trouble.or(Some(error)),
            }
        }
        if views_told.is_empty() {
            return Err(trouble.unwrap_or(Error::Lost));
        }
        let map = SlotMap::of(&views_told);
        if map != *known {
            let masters: Vec<String> = map.masters().iter().map(ToString::to_string).collect();
            if map.masters() != known.masters() {
                let uncovered = map.uncovered();
                tracing::info!(masters = masters.join(","), uncovered, "the cluster's masters");
            }
            self.map.store(Arc::new(map));
        }
        Ok(())
    }

    async fn ask(&self, host: &Host, link: &Link, deadline: Instant) -> Result<View, Error> {
        let mut question = Pipeline::with_capacity(1);
        question.cmd("CLUSTER").arg("NODES");
        let answer = link.ask(&question, deadline).await?.pop().unwrap_or_default();
        let text = answer::text(answer::checked(answer)?);
        let text = text.and_then(|bytes| String::from_utf8(bytes).ok());
        let text = text.ok_or(Error::Shape("CLUSTER NODES answered no text"))?;
        Ok(View::parse(&text, host, self.by_name))
    }

    /// Connections to exactly these nodes.
    fn links_to(&self, hosts: &[Host]) -> Vec<(Host, Arc<Link>)> {
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        links.retain(|host, _| hosts.contains(host));
        for host in hosts {
            links.entry(host.clone()).or_insert_with(|| {
                let connector = Arc::new(self.template.to(host.clone(), Role::Any));
                let arrivals = Arc::clone(&self.arrivals);
                Arc::new(Link::start(connector, arrivals, self.timeout, false))
            });
        }
        links.iter().map(|(host, link)| (host.clone(), Arc::clone(link))).collect()
    }
}
