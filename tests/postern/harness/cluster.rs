//! A Redis Cluster: masters that share the slots, with or without replicas; slots moved and nodes
//! broken at will.

use std::collections::HashMap;
use std::time::Duration;

use redis::Value;

use super::eventually;
use super::redis::{Redis, free_port};

/// How many slots there are.
const SLOTS: usize = 16384;

/// How long a node may be silent before the others take it for dead.
pub const NODE_TIMEOUT: Duration = Duration::from_millis(1000);

/// The nodes, masters first; everything dies with it.
pub struct Cluster {
    pub nodes: Vec<Redis>,
    masters: usize,
    scheme: &'static str,
}

impl Cluster {
    /// Three masters, each with so many replicas.
    pub fn start(replicas: usize) -> Self {
        Self::launch(replicas, Redis::tcp_with, "redis")
    }

    /// Three masters that speak TLS, to each other too.
    pub fn tls() -> Self {
        let node = |lines: &[&str]| {
            Redis::tls_with(&[lines, &["tls-cluster yes", "tls-replication yes"]].concat())
        };
        Self::launch(0, node, "rediss")
    }

    fn launch(replicas: usize, launch: fn(&[&str]) -> Redis, scheme: &'static str) -> Self {
        let masters = 3;
        let node = || {
            // Without replicas nobody takes over, and a busy node must not be taken for dead.
            let timeout = if replicas == 0 { NODE_TIMEOUT * 10 } else { NODE_TIMEOUT };
            let timeout = format!("cluster-node-timeout {}", timeout.as_millis());
            let port = format!("cluster-port {}", free_port());
            let own = [
                "cluster-enabled yes",
                "cluster-config-file nodes.conf",
                "cluster-require-full-coverage no",
                "repl-diskless-sync-delay 0",
                &timeout,
                &port,
            ];
            launch(&own)
        };
        let nodes: Vec<Redis> = (0..masters * (1 + replicas)).map(|_| node()).collect();
        let cluster = Self { nodes, masters, scheme };
        cluster.join();
        cluster
    }

    fn join(&self) {
        let share = SLOTS.div_ceil(self.masters);
        for (number, node) in self.nodes.iter().enumerate() {
            node.command(&["CLUSTER", "SET-CONFIG-EPOCH", &(number + 1).to_string()]);
            if number < self.masters {
                let first = (number * share).to_string();
                let last = (((number + 1) * share).min(SLOTS) - 1).to_string();
                node.command(&["CLUSTER", "ADDSLOTSRANGE", &first, &last]);
            }
        }
        let first = &self.nodes[0];
        for node in &self.nodes[1..] {
            let port = first.port().to_string();
            let bus = number(&first.command(&["CONFIG", "GET", "cluster-port"]));
            node.command(&["CLUSTER", "MEET", "127.0.0.1", &port, &bus]);
        }
        self.wait_until("everybody knows everybody", |cluster| {
            let all = cluster.nodes.len();
            cluster.nodes.iter().all(|node| {
                info(node, "cluster_known_nodes") == Some(all.to_string())
                    && info(node, "cluster_state").as_deref() == Some("ok")
            })
        });
        for (number, node) in self.nodes.iter().enumerate().skip(self.masters) {
            let master = self.id(number % self.masters);
            eventually("it knows its master", Duration::from_secs(20), || {
                node.try_command(&["CLUSTER", "REPLICATE", &master]).is_ok()
            });
        }
        let replicas = self.nodes.len() / self.masters - 1;
        self.wait_until("the replicas follow", |cluster| {
            let text = |node: &Redis| -> String {
                redis::from_redis_value(node.command(&["INFO", "replication"])).unwrap()
            };
            let online = "state=online";
            let masters = &cluster.nodes[..cluster.masters];
            masters.iter().all(|node| text(node).matches(online).count() == replicas)
        });
        if replicas > 0 {
            self.wait_until("the others know of the replicas", |cluster| {
                cluster.nodes.iter().all(|node| {
                    lines(node).iter().filter(|line| line.contains("slave")).count()
                        == cluster.nodes.len() - cluster.masters
                })
            });
        }
    }

    fn wait_until(&self, what: &str, condition: impl Fn(&Self) -> bool) {
        eventually(what, Duration::from_secs(30), || condition(self));
    }

    /// The URL for `[store] url`: the masters that the cluster began with.
    pub fn url(&self) -> String {
        let hosts = self.nodes[..self.masters].iter();
        let hosts: Vec<String> = hosts.map(|node| format!("127.0.0.1:{}", node.port())).collect();
        format!("{}-cluster://{}", self.scheme, hosts.join(","))
    }

    /// A node's id.
    pub fn id(&self, node: usize) -> String {
        redis::from_redis_value(self.nodes[node].command(&["CLUSTER", "MYID"])).unwrap()
    }

    /// The slot of a key.
    pub fn slot(&self, key: &str) -> usize {
        let value = self.nodes[0].command(&["CLUSTER", "KEYSLOT", key]);
        redis::from_redis_value(value).unwrap()
    }

    /// Who serves a slot, in the eyes of a node.
    pub fn owner(&self, slot: usize, asked: usize) -> usize {
        let ids: HashMap<u16, usize> =
            self.nodes.iter().enumerate().map(|(i, node)| (node.port(), i)).collect();
        let lines = lines(&self.nodes[asked]);
        let line = lines.iter().find(|line| {
            let ranges = line.split_whitespace().skip(8).filter(|word| !word.starts_with('['));
            ranges.into_iter().any(|word| {
                let (first, last) = word.split_once('-').unwrap_or((word, word));
                (first.parse().unwrap()..=last.parse().unwrap()).contains(&slot)
            })
        });
        let place = line.expect("a served slot").split_whitespace().nth(1).unwrap();
        let port = place.split('@').next().unwrap().rsplit(':').next().unwrap();
        ids[&port.parse().unwrap()]
    }

    /// Waits until a node sees another than `old` serve the slot.
    pub fn wait_for_successor(&self, slot: usize, old: usize, asked: usize) -> usize {
        let mut owner = old;
        eventually("a replica takes over", Duration::from_secs(30), || {
            owner = self.owner(slot, asked);
            owner != old
        });
        owner
    }

    /// Moves a slot with its keys, one key at a time, as resharding does; `pause` between the keys.
    pub fn migrate(&self, slot: usize, from: usize, to: usize, pause: Duration) {
        let (giver, taker) = (self.id(from), self.id(to));
        let set = |node: usize, words: &[&str]| {
            let slot = slot.to_string();
            self.nodes[node].command(&[&["CLUSTER", "SETSLOT", &slot], words].concat());
        };
        set(to, &["IMPORTING", &giver]);
        set(from, &["MIGRATING", &taker]);
        std::thread::sleep(pause);
        loop {
            let question = ["CLUSTER", "GETKEYSINSLOT", &slot.to_string(), "1"];
            let keys: Vec<String> =
                redis::from_redis_value(self.nodes[from].command(&question)).unwrap();
            let Some(key) = keys.first() else { break };
            let port = self.nodes[to].port().to_string();
            self.nodes[from].command(&["MIGRATE", "127.0.0.1", &port, key, "0", "5000"]);
            std::thread::sleep(pause);
        }
        set(to, &["NODE", &taker]);
        for node in (0..self.nodes.len()).filter(|node| *node != to) {
            // A node that is down learns it later; a replica from its master.
            let words = ["CLUSTER", "SETSLOT", &slot.to_string(), "NODE", &taker];
            drop(self.nodes[node].try_command(&words));
        }
    }

    /// How often a node answered with this error.
    pub fn errors(&self, node: usize, code: &str) -> u64 {
        let text: String =
            redis::from_redis_value(self.nodes[node].command(&["INFO", "errorstats"])).unwrap();
        let line = text.lines().find(|line| line.starts_with(&format!("errorstat_{code}:")));
        line.map_or(0, |line| line.trim().rsplit('=').next().unwrap().parse().unwrap())
    }
}

fn lines(node: &Redis) -> Vec<String> {
    let text: String = redis::from_redis_value(node.command(&["CLUSTER", "NODES"])).unwrap();
    text.lines().map(str::to_owned).collect()
}

fn info(node: &Redis, name: &str) -> Option<String> {
    let value = node.try_command(&["CLUSTER", "INFO"]).ok()?;
    let text: String = redis::from_redis_value(value).ok()?;
    text.lines()
        .find_map(|line| Some(line.trim().strip_prefix(name)?.strip_prefix(':')?.to_owned()))
}

/// The value in an answer to `CONFIG GET`.
fn number(answer: &Value) -> String {
    let pair: Vec<String> = redis::from_redis_value(answer.clone()).unwrap();
    pair[1].clone()
}
