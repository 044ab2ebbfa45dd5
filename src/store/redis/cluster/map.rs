//! Who serves which slot, from what the nodes say of each other (`CLUSTER NODES`).
//!
//! Where nodes disagree, the claim with the highest configuration epoch counts, as it does among
//! the nodes themselves: a node that was cut off or frozen, and still takes itself for a master,
//! is outvoted by its successor.

use super::slot::SLOTS;
use crate::store::Host;

/// Nobody serves the slot.
const NOBODY: u16 = u16::MAX;

/// Slots and their masters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::store::redis) struct SlotMap {
    /// Every master that serves a slot.
    masters: Vec<Host>,
    /// Every node, masters and replicas.
    nodes: Vec<Host>,
    /// For each slot the place in `masters`; empty before the first word.
    owners: Vec<u16>,
}

/// What one node says.
#[derive(Debug)]
pub(super) struct View {
    lines: Vec<Line>,
}

#[derive(Debug)]
struct Line {
    host: Host,
    epoch: u64,
    is_master: bool,
    ranges: Vec<(u16, u16)>,
}

impl SlotMap {
    /// Puts together what several nodes say.
    pub(super) fn of(views: &[View]) -> Self {
        let mut claims: Vec<Option<(u64, &Host)>> = vec![None; usize::from(SLOTS)];
        let mut nodes: Vec<Host> = Vec::new();
        for line in views.iter().flat_map(|view| &view.lines) {
            if !nodes.contains(&line.host) {
                nodes.push(line.host.clone());
            }
            for &(first, last) in line.ranges.iter().filter(|_| line.is_master) {
                for slot in first..=last {
                    let Some(claim) = claims.get_mut(usize::from(slot)) else { continue };
                    if claim.is_none_or(|(epoch, _)| epoch < line.epoch) {
                        *claim = Some((line.epoch, &line.host));
                    }
                }
            }
        }
        nodes.sort_unstable();
        let mut masters: Vec<Host> = Vec::new();
        let owners = claims.into_iter().map(|claim| {
            let Some((_, host)) = claim else { return NOBODY };
            let place = masters.iter().position(|master| master == host).unwrap_or_else(|| {
                masters.push(host.clone());
                masters.len() - 1
            });
            u16::try_from(place).unwrap_or(NOBODY)
        });
        let owners = owners.collect();
        Self { masters, nodes, owners }
    }

    /// Whether nothing is known yet.
    pub(super) const fn is_empty(&self) -> bool {
        self.masters.is_empty()
    }

    /// Who serves the slot.
    pub(super) fn owner(&self, slot: u16) -> Option<&Host> {
        let place = *self.owners.get(usize::from(slot))?;
        self.masters.get(usize::from(place))
    }

    pub(super) fn masters(&self) -> &[Host] {
        &self.masters
    }

    pub(super) fn nodes(&self) -> &[Host] {
        &self.nodes
    }

    /// The lowest slot that `host` serves, `other` excepted.
    pub(super) fn home(&self, host: &Host, other: u16) -> Option<u16> {
        let place = self.masters.iter().position(|master| master == host)?;
        let place = u16::try_from(place).ok()?;
        let mut slots = (0..SLOTS).zip(&self.owners);
        slots.find_map(|(slot, owner)| (*owner == place && slot != other).then_some(slot))
    }

    /// Slots that nobody serves.
    pub(super) fn uncovered(&self) -> usize {
        self.owners.iter().filter(|owner| **owner == NOBODY).count()
    }
}

impl View {
    /// Reads the answer to `CLUSTER NODES` that `asked` gave; with `by_name`, nodes that announce a
    /// host name are called by it (TLS certificates name hosts).
    pub(super) fn parse(text: &str, asked: &Host, by_name: bool) -> Self {
        Self { lines: text.lines().filter_map(|line| parse(line, asked, by_name)).collect() }
    }

    /// Whether it tells of any slot at all.
    pub(super) fn is_cluster(&self) -> bool {
        self.lines.iter().any(|line| !line.ranges.is_empty())
    }
}

/// `<id> <ip:port@cport[,hostname[,more]]> <flags> <master> <ping> <pong> <epoch> <link> <slot>...`
fn parse(line: &str, asked: &Host, by_name: bool) -> Option<Line> {
    let mut words = line.split_ascii_whitespace();
    let place = words.nth(1)?;
    let flags: Vec<&str> = words.next()?.split(',').collect();
    let epoch = words.nth(3)?.parse().ok()?;
    if flags.contains(&"handshake") || flags.contains(&"noaddr") {
        return None;
    }
    let (address, name) = match place.split_once(',') {
        Some((address, more)) => (address, more.split(',').next().unwrap_or("")),
        None => (place, ""),
    };
    let (address, _) = address.split_once('@').unwrap_or((address, ""));
    let (ip, port) = address.rsplit_once(':')?;
    let port = port.parse().ok().filter(|port| *port > 0)?;
    let name = match (name, ip) {
        (name, _) if by_name && !name.is_empty() && name != "?" => name,
        // A node that has not been told its own address.
        (_, "") => &asked.name,
        (_, ip) => ip,
    };
    // Behind the link's state; what is in brackets is on its way and still ours to ask.
    let ranges = words.skip(1).filter(|word| !word.starts_with('[')).filter_map(range).collect();
    let host = Host { name: name.to_owned(), port };
    Some(Line { host, epoch, is_master: flags.contains(&"master"), ranges })
}

fn range(word: &str) -> Option<(u16, u16)> {
    let (first, last) = word.split_once('-').unwrap_or((word, word));
    Some((first.parse().ok()?, last.parse().ok().filter(|last| *last < SLOTS)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(name: &str, port: u16) -> Host {
        Host { name: name.to_owned(), port }
    }

    fn view(text: &str) -> View {
        View::parse(text, &host("asked", 9), false)
    }

    const NODES: &str = "\
a1 10.0.0.1:7000@17000,node-1 myself,master - 0 0 1 connected 0-5460 [93->-b2]
b2 10.0.0.2:7000@17000,node-2 master - 0 1 2 connected 5461-10922 16383
c3 10.0.0.3:7000@17000,,shard-id=x master,fail - 0 1 3 disconnected 10923-16382
d4 10.0.0.4:7000@17000 slave c3 0 1 3 connected
e5 :0@0 master,noaddr - 0 1 9 disconnected
f6 10.0.0.6:7000@17000 handshake - 0 1 9 disconnected
broken line
";

    #[test]
    fn what_nodes_say_is_read() {
        let map = SlotMap::of(&[view(NODES)]);
        for (slot, name) in [(0, "10.0.0.1"), (93, "10.0.0.1"), (5461, "10.0.0.2")] {
            assert_eq!(map.owner(slot), Some(&host(name, 7000)));
        }
        assert_eq!(map.owner(16383), Some(&host("10.0.0.2", 7000)));
        assert_eq!(map.owner(16382), Some(&host("10.0.0.3", 7000)));
        assert_eq!((map.uncovered(), map.masters().len(), map.nodes().len()), (0, 3, 4));
        assert_eq!(map.home(&host("10.0.0.2", 7000), 5461), Some(5462));
        assert_eq!(map.home(&host("10.0.0.4", 7000), 0), None);
        let named = SlotMap::of(&[View::parse(NODES, &host("asked", 9), true)]);
        assert_eq!(named.owner(0), Some(&host("node-1", 7000)));
        assert_eq!(named.owner(16382), Some(&host("10.0.0.3", 7000)));
        let alone = "a1 :7000@17000 myself,master - 0 0 1 connected 5";
        assert_eq!(SlotMap::of(&[view(alone)]).owner(5), Some(&host("asked", 7000)));
        assert!(!view("x").is_cluster() && SlotMap::of(&[]).is_empty());
    }

    /// An old master that does not know of its successor yet must not be believed, whoever
    /// answers first.
    #[test]
    fn the_highest_epoch_counts() {
        let old = view("a 1.1.1.1:1@2 myself,master - 0 0 4 connected 0-16383");
        let new = view(
            "a 1.1.1.1:1@2 master,fail - 0 0 4 disconnected\n\
             b 2.2.2.2:1@2 myself,master - 0 0 5 connected 0-16383",
        );
        for views in [[&old, &new], [&new, &old]] {
            let lines = views.map(|view| View { lines: view.lines.iter().map(copy).collect() });
            assert_eq!(SlotMap::of(&lines).owner(7), Some(&host("2.2.2.2", 1)));
        }
    }

    fn copy(line: &Line) -> Line {
        let Line { host, epoch, is_master, ranges } = line;
        Line { host: host.clone(), epoch: *epoch, is_master: *is_master, ranges: ranges.clone() }
    }
}
