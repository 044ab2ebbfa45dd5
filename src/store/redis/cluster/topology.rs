//! Keeps the map of slots: all nodes are asked side by side, three times a second, and at once when
//! somebody was sent elsewhere or found a node down. One per process, shared by all workers.
//!
//! For a moment two nodes may take themselves for the master of a slot (one was frozen or cut
//! off), and gateways do not learn of the new one at the same time. So that what one of them
//! acknowledges holds on all of them (invariant 9):
//!
//! - the map is used only while most of the masters have told it within the last [`LEASE`];
//! - a revocation is written to a new master only when that long has passed, so that nobody asks
//!   the old one any more;
//! - a revocation is acknowledged only after the masters, asked behind the write, still name the
//!   same one; else it is written again.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
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
const INTERVAL: Duration = Duration::from_millis(300);
/// The shortest time between two rounds of questions.
const PAUSE: Duration = Duration::from_millis(10);
/// How long the masters' word is good for.
const LEASE: Duration = Duration::from_secs(1);
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
    known: ArcSwap<Known>,
    wanted: Notify,
    /// Rounds begun so far.
    begun: AtomicU64,
    round: watch::Sender<Round>,
    /// Connections that ask nodes about each other, never for entries.
    links: Mutex<HashMap<Host, Arc<Link>>>,
    /// These tell nothing of what the store may have forgotten.
    arrivals: Arc<Arrivals>,
}

/// What is known.
#[derive(Clone, Default)]
pub(super) struct Known {
    pub(super) map: Arc<SlotMap>,
    /// When the last round that most masters answered was begun.
    confirmed: Option<Instant>,
    /// When each master was first seen as one.
    since: Arc<HashMap<Host, Instant>>,
}

/// What came of a round; number 0 is before the first.
#[derive(Clone, Debug, Default)]
struct Round {
    number: u64,
    trouble: Option<Error>,
}

impl Known {
    fn is_confirmed(&self) -> bool {
        self.confirmed.is_some_and(|confirmed| confirmed.elapsed() < LEASE)
    }

    /// When no gateway asks an earlier master of this slot any more.
    pub(super) fn settled(&self, slot: u16) -> Option<Instant> {
        let since = self.since.get(self.map.owner(slot)?)?;
        Some(*since + LEASE)
    }
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
            known: ArcSwap::default(),
            wanted: Notify::new(),
            begun: AtomicU64::new(0),
            round: watch::Sender::default(),
            links: Mutex::default(),
            arrivals: Arc::default(),
        });
        let keeper = tokio::spawn(keep(Arc::clone(&shared)));
        Arc::new(Self { shared, keeper })
    }

    /// The map as it is known now, however old.
    pub(super) fn map(&self) -> Arc<SlotMap> {
        Arc::clone(&self.shared.known.load().map)
    }

    /// The map, while it is certain.
    ///
    /// # Errors
    ///
    /// The masters have not told it lately.
    pub(super) async fn ready(&self, deadline: Instant) -> Result<Arc<SlotMap>, Error> {
        {
            let known = self.shared.known.load();
            if known.is_confirmed() {
                return Ok(Arc::clone(&known.map));
            }
        }
        if let Some(error) = self.shared.round.borrow().trouble.clone() {
            return Err(error);
        }
        self.confirmed(deadline).await.map(|known| Arc::clone(&known.map))
    }

    /// What the masters say when they are asked now.
    ///
    /// # Errors
    ///
    /// Most of them did not answer.
    pub(super) async fn confirmed(&self, deadline: Instant) -> Result<Arc<Known>, Error> {
        let mut rounds = self.shared.round.subscribe();
        // A round that is under way may have been answered already; the very first may not.
        let begun = self.shared.begun.load(Ordering::Acquire);
        self.want();
        let round =
            rounds.wait_for(|round| round.number > begun || (begun == 1 && round.number == 1));
        let round = timeout_at(deadline, round).await;
        let trouble = round.map_err(|_| Error::Timeout)?.map_err(|_| Error::Lost)?.trouble.clone();
        match trouble {
            Some(error) => Err(error),
            None => Ok(self.shared.known.load_full()),
        }
    }

    /// When no gateway asks an earlier master of this slot any more.
    pub(super) fn settled(&self, slot: u16) -> Option<Instant> {
        self.shared.known.load().settled(slot)
    }

    /// Something does not fit what is known: the nodes are asked soon.
    pub(super) fn want(&self) {
        self.shared.wanted.notify_one();
    }

    /// Why the map is not certain.
    pub(super) fn trouble(&self) -> Option<Error> {
        self.shared.round.borrow().trouble.clone()
    }

    /// Any master, for what any of them can do.
    pub(in crate::store::redis) async fn any(&self, deadline: Instant) -> Result<Host, Error> {
        let map = self.ready(deadline).await?;
        fastrand::choice(map.masters()).cloned().ok_or(Error::Lost)
    }
}

async fn keep(shared: Arc<Shared>) {
    loop {
        let number = shared.begun.fetch_add(1, Ordering::AcqRel) + 1;
        let trouble = shared.refresh().await.err();
        let last = shared.round.send_replace(Round { number, trouble: trouble.clone() });
        if let Some(error) = trouble
            && last.trouble.is_none()
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
        let begun = Instant::now();
        let known = self.known.load_full();
        let mut hosts: Vec<Host> = known.map.nodes().iter().take(NODES_MAX).cloned().collect();
        // The seeds may be names for the same nodes, so they are left alone while others answer.
        if hosts.is_empty() || self.round.borrow().trouble.is_some() {
            hosts.extend(self.seeds.iter().cloned());
        }
        let links = self.links_to(&hosts);
        // A node that says nothing must not use up the time of those who wait for the others.
        let deadline = begun + self.timeout / 2;
        let asked = links.iter().map(|(host, link)| self.ask(host, link, deadline));
        let mut views = Vec::new();
        let mut trouble = None;
        for view in join_all(asked).await {
            match view {
                Ok(view) if view.is_cluster() => views.push(view),
                Ok(_) => trouble = Some(Error::Down("no slot is served by anybody".into())),
                Err(error) => trouble = trouble.or(Some(error)),
            }
        }
        if views.is_empty() {
            return Err(trouble.unwrap_or(Error::Lost));
        }
        let map = SlotMap::of(&views);
        let told = views.iter().filter(|view| view.is_by(map.masters())).count();
        if told * 2 <= map.masters().len() {
            // As the masters themselves: whoever does not see most of them decides nothing.
            return Err(Error::Down("most of the cluster's masters do not answer".into()));
        }
        self.learn(&known, map, begun);
        Ok(())
    }

    fn learn(&self, known: &Known, map: SlotMap, begun: Instant) {
        let mut learnt = Known { confirmed: Some(begun), ..known.clone() };
        if map != *known.map {
            if map.masters() != known.map.masters() {
                let masters: Vec<String> = map.masters().iter().map(ToString::to_string).collect();
                let uncovered = map.uncovered();
                tracing::info!(masters = masters.join(","), uncovered, "the cluster's masters");
                let now = Instant::now();
                let since =
                    |host: &Host| (host.clone(), known.since.get(host).copied().unwrap_or(now));
                learnt.since = Arc::new(map.masters().iter().map(since).collect());
            }
            learnt.map = Arc::new(map);
        }
        self.known.store(Arc::new(learnt));
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
