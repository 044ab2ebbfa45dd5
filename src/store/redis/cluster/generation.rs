//! The id of a cluster's contents, such that every master that forgets its part is noticed.
//!
//! One key lives on one node only, so there is a root, `{prefix}blocklist:generation`, and beside
//! it a marker in each of the 16384 slots, `{prefix}blocklist:generation:{N}`, all holding the same
//! id. Every lookup reads the markers of exactly those slots that it asks, behind the answers and
//! on the same connection. So
//!
//! - a master that was emptied, or restarted without its data, and slots that were given to another
//!   node without their keys, have no markers: noticed by the first lookup that touches them;
//! - a slot that is resharded takes its marker along: no loss, and no false one.
//!
//! Repair. Whoever finds markers missing gives the root a new id (by comparison, so that racing
//! gateways agree on one) and then writes it over every marker, each by comparison with what was
//! read, the missing ones first. A root that differs from markers therefore means a repair under
//! way, which others join; missing markers beside ones that agree with the root mean a loss,
//! unless their number shrinks by itself (somebody is writing them). Gateways take an id over only
//! when all markers have it, so every gateway sees the new id, and the loss.
//!
//! Between lookups every marker is read in turn, some each second, and all of them after every new
//! connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use redis::{Cmd, Value};
use tokio::time::{Instant, sleep};

use super::Cluster;
use super::router::{Group, Kind};
use super::slot::{self, SLOTS};
use crate::store::Error;
use crate::store::redis::answer;
use crate::store::redis::keys::Names;
use crate::store::redis::lookup::generation_text;

/// Markers read or written in one go.
const AT_ONCE: u16 = 2048;
/// Markers read by every look at the generation, beside one per master.
const SAMPLE: u16 = 256;
/// How often a repair looks at what it has done.
const ATTEMPTS: usize = 8;
/// How long missing markers are given to turn up.
const GRACE: Duration = Duration::from_millis(300);

/// KEYS marker or root; ARGV what was read there, what belongs there. Answers what is there now.
const REPLACE: &str = r"
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('SET', KEYS[1], ARGV[2]) end
return redis.call('GET', KEYS[1])
";

/// The names of the generation's keys.
#[derive(Debug)]
pub(in crate::store::redis) struct Markers {
    root: String,
    root_slot: u16,
}

/// What is known to be in order.
#[derive(Debug, Default)]
pub(super) struct Verified {
    /// The id that all markers had, and the arrivals before they were read.
    whole: Option<(Arc<str>, u64)>,
}

impl Markers {
    pub(super) fn new(names: &Names) -> Arc<Self> {
        let root = names.generation.clone();
        Arc::new(Self { root_slot: slot::of(root.as_bytes()), root })
    }

    pub(super) const fn root_slot(&self) -> u16 {
        self.root_slot
    }

    fn key(&self, slot: u16) -> String {
        format!("{}:{{{}}}", self.root, slot::tag(slot))
    }

    /// Reads the marker of a slot.
    pub(super) fn read(&self, slot: u16) -> Cmd {
        let mut get = redis::cmd("GET");
        get.arg(self.key(slot));
        get
    }
}

impl Cluster {
    /// The id of the contents; `None` when a part of them has none or another one.
    pub(in crate::store) async fn generation(&self) -> Result<Option<Arc<str>>, Error> {
        self.repair_index().await;
        let arrivals = self.arrivals().count();
        let Some(root) = self.root().await? else { return Ok(None) };
        let is_known = {
            let verified = self.verified();
            verified.whole.as_ref() == Some(&(Arc::clone(&root), arrivals))
        };
        let slots = if is_known { self.sample().await? } else { (0..SLOTS).collect() };
        let whole = self.markers(&slots).await?.iter().all(|id| id.as_ref() == Some(&root));
        if whole && !is_known {
            self.verified().whole = Some((Arc::clone(&root), arrivals));
        }
        Ok(whole.then_some(root))
    }

    /// Puts the markers in order: a first id for contents that never had one, a new one where a
    /// part was lost, else the one that the root has.
    pub(in crate::store) async fn begin_generation(&self, id: &str) -> Result<Arc<str>, Error> {
        let mut set = redis::cmd("SET");
        set.arg(&self.markers.root).arg(id).arg("NX");
        self.root_command(set).await?;
        let all: Vec<u16> = (0..SLOTS).collect();
        let mut missing_before = None;
        for _ in 0..ATTEMPTS {
            let arrivals = self.arrivals().count();
            let root = self.root().await?.ok_or(Error::Shape("the generation did not stay"))?;
            let markers = self.markers(&all).await?;
            let missing = markers.iter().filter(|marker| marker.is_none()).count();
            let others = markers.iter().flatten().filter(|marker| **marker != root).count();
            if missing + others == 0 {
                self.verified().whole = Some((Arc::clone(&root), arrivals));
                return Ok(root);
            }
            let is_partial = missing < markers.len() && others == 0;
            if is_partial && missing_before != Some(missing) {
                // Somebody may be writing them.
                missing_before = Some(missing);
                sleep(GRACE).await;
                continue;
            }
            let root = if is_partial { self.replace_root(&root, id).await? } else { root };
            self.write(&markers, &root).await?;
            missing_before = None;
        }
        Err(Error::Shape("the generation did not stay"))
    }

    async fn root(&self) -> Result<Option<Arc<str>>, Error> {
        let mut get = redis::cmd("GET");
        get.arg(&self.markers.root);
        Ok(answer::string(self.root_command(get).await?)?.as_deref().map(generation_text))
    }

    /// The root's new id, or the one that another gateway has put there first.
    async fn replace_root(&self, old: &str, new: &str) -> Result<Arc<str>, Error> {
        let mut replace = redis::cmd("EVAL");
        replace.arg(REPLACE).arg(1).arg(&self.markers.root).arg(old).arg(new);
        let now = answer::string(self.root_command(replace).await?)?;
        now.as_deref().map(generation_text).ok_or(Error::Shape("the generation did not stay"))
    }

    async fn root_command(&self, command: Cmd) -> Result<Value, Error> {
        self.control.run(&self.markers.root, command, Instant::now() + self.timeout).await
    }

    /// One slot of every master, and some more in turn.
    async fn sample(&self) -> Result<Vec<u16>, Error> {
        let map = self.control.topology().ready(Instant::now() + self.timeout).await?;
        let homes = map.masters().iter().filter_map(|host| map.home(host, SLOTS));
        let first = self.next_sample.fetch_add(SAMPLE, Ordering::Relaxed);
        let stretch = (0..SAMPLE).map(|step| first.wrapping_add(step) % SLOTS);
        Ok(homes.chain(stretch).collect())
    }

    /// What the markers of these slots hold.
    async fn markers(&self, slots: &[u16]) -> Result<Vec<Option<Arc<str>>>, Error> {
        let mut found = Vec::with_capacity(slots.len());
        for chunk in slots.chunks(usize::from(AT_ONCE)) {
            let read = |&slot: &u16| Group {
                slot,
                commands: vec![self.markers.read(slot)],
                kind: Kind::Together,
            };
            for value in self.each(chunk.iter().map(read)).await? {
                found.push(answer::string(value)?.as_deref().map(generation_text));
            }
        }
        Ok(found)
    }

    /// Writes `id` where something else was read, where nothing was read first.
    async fn write(&self, read: &[Option<Arc<str>>], id: &str) -> Result<(), Error> {
        let slots = || (0..SLOTS).zip(read);
        let missing = slots().filter(|(_, marker)| marker.is_none()).map(|(slot, _)| {
            let mut set = redis::cmd("SET");
            set.arg(self.markers.key(slot)).arg(id).arg("NX");
            (slot, set)
        });
        let others = slots().filter_map(|(slot, marker)| {
            let marker = marker.as_deref().filter(|marker| *marker != id)?;
            let mut replace = redis::cmd("EVAL");
            replace.arg(REPLACE).arg(1).arg(self.markers.key(slot)).arg(marker).arg(id);
            Some((slot, replace))
        });
        let writes: Vec<(u16, Cmd)> = missing.chain(others).collect();
        for chunk in writes.chunks(usize::from(AT_ONCE)) {
            let group = |(slot, command): &(u16, Cmd)| Group {
                slot: *slot,
                commands: vec![command.clone()],
                kind: Kind::Together,
            };
            for value in self.each(chunk.iter().map(group)).await? {
                answer::checked(value)?;
            }
        }
        Ok(())
    }

    /// The first answer of every group.
    async fn each(&self, groups: impl Iterator<Item = Group>) -> Result<Vec<Value>, Error> {
        let groups: Vec<Group> = groups.collect();
        let answers = self.control.ask(&groups, Instant::now() + self.timeout).await;
        let first = |values: Vec<Value>| values.into_iter().next().unwrap_or_default();
        answers.into_iter().map(|values| values.map(first)).collect()
    }
}

/// Where the sampling has got to.
pub(super) fn first_sample() -> AtomicU16 {
    AtomicU16::new(fastrand::u16(0..SLOTS))
}
