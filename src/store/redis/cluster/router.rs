//! Sends commands to the nodes that serve their slots, side by side, and follows where it is sent.
//!
//! What belongs to one slot is one group and goes to one node, in order. Within a caller's
//! deadline a group is asked again where it was sent to (`MOVED`, `ASK`) or when it was told to
//! come back (`TRYAGAIN`); every other answer is the caller's. An answer that came before a
//! redirection is never mixed with one from behind it, except while a slot moves, as told at
//! [`Router::beside`]. No error ever reads as an absence.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use redis::{Cmd, Pipeline, ServerError, Value};
use tokio::time::{Instant, sleep};

use super::generation::Markers;
use super::map::SlotMap;
use super::topology::Topology;
use crate::store::redis::answer;
use crate::store::redis::connect::{Connector, Role};
use crate::store::redis::link::{Arrivals, Link};
use crate::store::{Error, Host};

/// How often a group is sent on before it counts as lost in the cluster.
const ROUNDS: usize = 10;
/// Before a group that was told to come back is sent again.
const PAUSE: Duration = Duration::from_millis(10);

/// Commands over keys of one slot.
pub(super) struct Group {
    pub(super) slot: u16,
    pub(super) commands: Vec<Cmd>,
    pub(super) kind: Kind,
}

/// How a group behaves while its slot moves.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// One key each; the last command reads the slot's marker.
    Lookup,
    /// Everything at one node.
    Together,
}

/// Where one runtime's connections to the nodes are. Each is made when it is first needed.
pub(in crate::store::redis) struct Nodes {
    template: Connector,
    arrivals: Arc<Arrivals>,
    timeout: Duration,
    spokesman: bool,
    links: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    links: HashMap<Host, Arc<Link>>,
    /// The map that they were last held against.
    map: Arc<SlotMap>,
}

/// One runtime's way to the cluster.
pub(in crate::store::redis) struct Router {
    topology: Arc<Topology>,
    markers: Arc<Markers>,
    nodes: Nodes,
}

/// What became of a group.
enum Step {
    Done(Result<Vec<Value>, Error>),
    /// To be sent again: there, or by the map. The error holds if there is no time left.
    Again(Option<Host>, Error),
}

impl Nodes {
    pub(super) fn new(
        template: Connector,
        arrivals: Arc<Arrivals>,
        timeout: Duration,
        spokesman: bool,
    ) -> Self {
        Self { template, arrivals, timeout, spokesman, links: Mutex::default() }
    }

    fn link(&self, host: &Host) -> Arc<Link> {
        let mut known = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        let link = known.links.entry(host.clone()).or_insert_with(|| {
            let connector = Arc::new(self.template.to(host.clone(), Role::Master));
            let arrivals = Arc::clone(&self.arrivals);
            Arc::new(Link::start(connector, arrivals, self.timeout, self.spokesman))
        });
        Arc::clone(link)
    }

    /// Lets go of connections to nodes that are masters no longer.
    fn hold_against(&self, map: &Arc<SlotMap>) {
        let mut known = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        if !Arc::ptr_eq(&known.map, map) {
            known.map = Arc::clone(map);
            known.links.retain(|host, _| map.masters().contains(host));
        }
    }

    /// Why a master that serves slots is not connected to.
    pub(super) fn trouble(&self) -> Option<Error> {
        let known = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        known.links.values().find_map(|link| link.trouble())
    }
}

impl Router {
    pub(super) const fn new(topology: Arc<Topology>, markers: Arc<Markers>, nodes: Nodes) -> Self {
        Self { topology, markers, nodes }
    }

    pub(super) const fn topology(&self) -> &Arc<Topology> {
        &self.topology
    }

    pub(super) const fn nodes(&self) -> &Nodes {
        &self.nodes
    }

    /// One command over one key.
    ///
    /// # Errors
    ///
    /// No certain answer by `deadline`, or an error of the server.
    pub(in crate::store::redis) async fn run(
        &self,
        key: &str,
        command: Cmd,
        deadline: Instant,
    ) -> Result<Value, Error> {
        let slot = super::slot::of(key.as_bytes());
        let group = Group { slot, commands: vec![command], kind: Kind::Together };
        let mut answers = self.ask(&[group], deadline).await;
        let mut values = answers.pop().unwrap_or(Err(Error::Lost))?;
        answer::checked(values.pop().unwrap_or_default())
    }

    /// The answers to every group, in their order. Errors of the server that are not about where
    /// to ask are among the values.
    pub(super) async fn ask(
        &self,
        groups: &[Group],
        deadline: Instant,
    ) -> Vec<Result<Vec<Value>, Error>> {
        let mut outcomes: Vec<_> = groups.iter().map(|_| Err(Error::Timeout)).collect();
        let mut open: Vec<(usize, Option<Host>)> =
            (0..groups.len()).map(|place| (place, None)).collect();
        for round in 0..ROUNDS {
            if open.is_empty() || (round > 0 && Instant::now() >= deadline) {
                break;
            }
            let map = match self.topology.ready(deadline).await {
                Ok(map) => map,
                Err(error) => return groups.iter().map(|_| Err(error.clone())).collect(),
            };
            self.nodes.hold_against(&map);
            let mut again = Vec::new();
            for (place, step) in self.round(groups, &open, &map, deadline).await {
                let (outcome, next) = match step {
                    Step::Done(outcome) => (outcome, None),
                    Step::Again(host, error) => (Err(error), Some(host)),
                };
                if let Some(slot) = outcomes.get_mut(place) {
                    *slot = outcome;
                }
                again.extend(next.map(|host| (place, host)));
            }
            if again.iter().any(|(_, host)| host.is_none()) {
                sleep(PAUSE).await;
            }
            open = again;
        }
        outcomes
    }

    /// Sends every open group once, to all nodes side by side.
    async fn round(
        &self,
        groups: &[Group],
        open: &[(usize, Option<Host>)],
        map: &SlotMap,
        deadline: Instant,
    ) -> Vec<(usize, Step)> {
        let mut steps = Vec::with_capacity(open.len());
        let mut shares: Vec<(&Host, Vec<(usize, &Group)>)> = Vec::new();
        for (place, moved) in open {
            let Some(group) = groups.get(*place) else { continue };
            let Some(host) = moved.as_ref().or_else(|| map.owner(group.slot)) else {
                self.topology.want();
                let error = Error::Down("nobody serves the key's slot".into());
                steps.push((*place, Step::Done(Err(error))));
                continue;
            };
            match shares.iter_mut().find(|(known, _)| *known == host) {
                Some((_, share)) => share.push((*place, group)),
                None => shares.push((host, vec![(*place, group)])),
            }
        }
        let asked = shares.iter().map(|(host, share)| self.at(host, share, deadline));
        steps.extend(join_all(asked).await.into_iter().flatten());
        steps
    }

    /// Sends groups to one node.
    async fn at(
        &self,
        host: &Host,
        share: &[(usize, &Group)],
        deadline: Instant,
    ) -> Vec<(usize, Step)> {
        let count = share.iter().map(|(_, group)| group.commands.len()).sum();
        let mut question = Pipeline::with_capacity(count);
        for command in share.iter().flat_map(|(_, group)| &group.commands) {
            question.add_command(command.clone());
        }
        let mut steps = Vec::with_capacity(share.len());
        match self.send(host, &question, deadline).await {
            Ok(values) => {
                let mut values = values.into_iter();
                for (place, group) in share {
                    let own: Vec<Value> = values.by_ref().take(group.commands.len()).collect();
                    steps.push((*place, self.judge(host, group, own, deadline).await));
                }
            }
            Err(error) => {
                self.topology.want();
                let map = self.topology.map();
                steps.extend(share.iter().map(|(place, group)| {
                    // It may have been replaced meanwhile.
                    let elsewhere = map.owner(group.slot).is_some_and(|owner| owner != host);
                    let error = error.clone();
                    let step =
                        if elsewhere { Step::Again(None, error) } else { Step::Done(Err(error)) };
                    (*place, step)
                }));
            }
        }
        steps
    }

    pub(super) async fn send(
        &self,
        host: &Host,
        question: &Pipeline,
        deadline: Instant,
    ) -> Result<Vec<Value>, Error> {
        let link = self.nodes.link(host);
        let answers = link.ask(question, deadline).await;
        if answers.as_ref().is_err_and(|error| *error == Error::Lost) {
            // The server closed the connection (idle, restarted); asking again changes nothing.
            return link.ask(question, deadline).await;
        }
        answers
    }

    /// What the answers to a group mean for where to ask next.
    async fn judge(
        &self,
        host: &Host,
        group: &Group,
        values: Vec<Value>,
        deadline: Instant,
    ) -> Step {
        let mut asked_elsewhere = None;
        for value in &values {
            let Value::ServerError(error) = value else { continue };
            match error.code() {
                "MOVED" => {
                    self.topology.want();
                    return Step::Again(target(error, host), Error::Answer("MOVED".into()));
                }
                "TRYAGAIN" => return Step::Again(None, Error::Answer("TRYAGAIN".into())),
                "ASK" => asked_elsewhere = target(error, host),
                "CLUSTERDOWN" | "LOADING" | "MASTERDOWN" => self.topology.want(),
                _ => {}
            }
        }
        match (asked_elsewhere, group.kind) {
            (None, _) => Step::Done(Ok(values)),
            (Some(other), Kind::Together) => self.instead(&other, group, deadline).await,
            (Some(other), Kind::Lookup) => self.beside(host, &other, group, values, deadline).await,
        }
    }

    /// Asks the node that a slot moves to for the whole group.
    async fn instead(&self, host: &Host, group: &Group, deadline: Instant) -> Step {
        let mut question = Pipeline::with_capacity(2 * group.commands.len());
        for command in &group.commands {
            question.cmd("ASKING");
            question.add_command(command.clone());
        }
        match self.send(host, &question, deadline).await {
            Ok(values) => settled(values.into_iter().skip(1).step_by(2).collect(), host),
            Err(error) => Step::Done(Err(error)),
        }
    }

    /// Asks the node that a slot moves to for the keys which the old one no longer has.
    ///
    /// The slot's marker is on one of both, so it speaks for only one of them: each node's word is
    /// good only if another of its own slots has the same marker too, read behind the answers.
    async fn beside(
        &self,
        host: &Host,
        other: &Host,
        group: &Group,
        mut values: Vec<Value>,
        deadline: Instant,
    ) -> Step {
        let map = self.topology.map();
        let mut question = Pipeline::with_capacity(2 * values.len() + 3);
        let mut places = Vec::with_capacity(values.len());
        let is_ask = |value: &Value| matches!(value, Value::ServerError(e) if e.code() == "ASK");
        for (place, (value, command)) in values.iter().zip(&group.commands).enumerate() {
            if is_ask(value) {
                question.cmd("ASKING");
                question.add_command(command.clone());
                places.push(place);
            }
        }
        let marked_here = values.last().is_some_and(|marker| !is_ask(marker));
        let homes = [(other, map.home(other, group.slot)), (host, map.home(host, group.slot))];
        if let (_, Some(home)) = homes[0] {
            question.add_command(self.markers.read(home));
        }
        let mut theirs = match self.send(other, &question, deadline).await {
            Ok(values) => values,
            Err(error) => return Step::Done(Err(error)),
        };
        let mut witnesses = Vec::with_capacity(2);
        if homes[0].1.is_some() {
            witnesses.extend(theirs.pop());
        }
        if let (_, Some(home)) = homes[1]
            && !marked_here
        {
            let mut question = Pipeline::with_capacity(1);
            question.add_command(self.markers.read(home));
            match self.send(host, &question, deadline).await {
                Ok(values) => witnesses.extend(values),
                Err(error) => return Step::Done(Err(error)),
            }
        }
        for (place, value) in places.into_iter().zip(theirs.into_iter().skip(1).step_by(2)) {
            if let Some(slot) = values.get_mut(place) {
                *slot = value;
            }
        }
        match settled(values, other) {
            Step::Done(Ok(values)) => agreed(values, witnesses),
            step => step,
        }
    }
}

/// The marker is one only if every witness says the same.
fn agreed(mut values: Vec<Value>, witnesses: Vec<Value>) -> Step {
    for witness in witnesses {
        let witness = match answer::checked(witness) {
            Ok(witness) => witness,
            // Its slot moves as well, or has just moved.
            Err(error) => return Step::Again(None, error),
        };
        if let Some(marker) = values.last_mut()
            && *marker != witness
        {
            *marker = Value::Nil;
        }
    }
    Step::Done(Ok(values))
}

/// Done, unless the slot has moved on meanwhile.
fn settled(values: Vec<Value>, host: &Host) -> Step {
    for value in &values {
        let Value::ServerError(error) = value else { continue };
        match error.code() {
            "MOVED" => return Step::Again(target(error, host), Error::Answer("MOVED".into())),
            "TRYAGAIN" | "ASK" => return Step::Again(None, Error::Answer(error.code().into())),
            _ => {}
        }
    }
    Step::Done(Ok(values))
}

/// Where `MOVED slot host:port` and `ASK slot host:port` lead. Without a host it is the one that
/// was asked; `None` when it does not know itself.
fn target(error: &ServerError, asked: &Host) -> Option<Host> {
    let place = error.details()?.split_ascii_whitespace().nth(1)?;
    let (name, port) = place.rsplit_once(':')?;
    let name = match name {
        "?" => return None,
        "" => asked.name.as_str(),
        name => name,
    };
    Some(Host { name: name.to_owned(), port: port.parse().ok()? })
}
