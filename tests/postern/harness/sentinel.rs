//! A master, two replicas and three sentinels that watch them.

use std::process::Command;
use std::time::Duration;

use redis::Value;
use rustix::process::Signal;
use tempfile::TempDir;

use super::eventually;
use super::process::Process;
use super::redis::{HINT, Redis, free_port, program};

/// What the sentinels call the master.
pub const SERVICE: &str = "main";

/// How long a master may be silent before the sentinels take it for dead.
pub const DOWN_AFTER: Duration = Duration::from_millis(500);

/// The whole arrangement; everything dies with it.
pub struct Trio {
    pub servers: Vec<Redis>,
    sentinels: Vec<Sentinel>,
}

struct Sentinel {
    process: Process,
    port: u16,
    /// Its configuration, which it rewrites.
    _dir: TempDir,
}

impl Trio {
    /// Starts everything and waits until the sentinels know each other and both replicas.
    pub fn start() -> Self {
        Self::with(&["repl-diskless-sync-delay 0", "repl-ping-replica-period 1"])
    }

    fn with(extra: &[&str]) -> Self {
        let master = Redis::tcp_with(extra);
        let follow = format!("replicaof 127.0.0.1 {}", master.port());
        let replica = || Redis::tcp_with(&[extra, &[&follow]].concat());
        let servers = vec![replica(), replica()];
        let servers: Vec<Redis> = std::iter::once(master).chain(servers).collect();
        let sentinels = (0..3).map(|_| Sentinel::start(servers[0].port())).collect();
        let trio = Self { servers, sentinels };
        eventually("the sentinels know everybody", Duration::from_secs(20), || {
            trio.sentinels.iter().all(|sentinel| {
                sentinel.member("num-slaves") == Some("2".into())
                    && sentinel.member("num-other-sentinels") == Some("2".into())
            })
        });
        trio.wait_for_replicas(0, 2);
        trio
    }

    /// The URL for `[store] url`.
    pub fn url(&self) -> String {
        let hosts: Vec<String> =
            self.sentinels.iter().map(|sentinel| format!("127.0.0.1:{}", sentinel.port)).collect();
        format!("redis-sentinel://{}/{SERVICE}", hosts.join(","))
    }

    /// Waits until `count` replicas follow a server.
    pub fn wait_for_replicas(&self, server: usize, count: usize) {
        eventually("the replicas follow", Duration::from_secs(20), || {
            let info = self.servers[server].try_command(&["INFO", "replication"]);
            let info = info.ok().and_then(|value| redis::from_redis_value::<String>(value).ok());
            let online = "state=online";
            info.is_some_and(|info| info.matches(online).count() >= count)
        });
    }

    /// The number of the server that the sentinel names as the master.
    pub fn master_by(&self, sentinel: usize) -> Option<usize> {
        let port = self.sentinels[sentinel].master()?;
        self.servers.iter().position(|server| server.port() == port)
    }

    /// Waits until every sentinel that runs names another server than `old`.
    pub fn wait_for_another(&self, old: usize) -> usize {
        let mut master = old;
        eventually("another master is named", Duration::from_secs(30), || {
            let named: Vec<_> =
                (0..self.sentinels.len()).filter_map(|i| self.master_by(i)).collect();
            master = named.first().copied().unwrap_or(old);
            master != old && named.iter().all(|named| *named == master)
        });
        master
    }

    /// SIGKILL to a sentinel.
    pub fn kill_sentinel(&mut self, number: usize) {
        self.sentinels[number].process.kill();
    }

    /// Stops a sentinel without a word.
    pub fn freeze_sentinel(&self, number: usize) {
        self.sentinels[number].process.signal(Signal::STOP);
    }

    /// A failover that an operator asks for.
    pub fn failover(&self) {
        self.sentinels[0].command(&["SENTINEL", "FAILOVER", SERVICE]).unwrap();
    }
}

impl Sentinel {
    fn start(master: u16) -> Self {
        let dir = TempDir::new().unwrap();
        let port = free_port();
        let after = DOWN_AFTER.as_millis();
        let lines = [
            format!("port {port}"),
            "bind 127.0.0.1".to_owned(),
            format!("dir {}", dir.path().display()),
            format!("sentinel monitor {SERVICE} 127.0.0.1 {master} 2"),
            format!("sentinel down-after-milliseconds {SERVICE} {after}"),
            format!("sentinel failover-timeout {SERVICE} 3000"),
        ];
        let path = dir.path().join("sentinel.conf");
        std::fs::write(&path, lines.join("\n")).unwrap();
        let process = Process::spawn(Command::new(program()).arg(&path).arg("--sentinel"), HINT);
        Self { process, port, _dir: dir }
    }

    fn command(&self, words: &[&str]) -> redis::RedisResult<Value> {
        let client = redis::Client::open(format!("redis://127.0.0.1:{}", self.port))?;
        let mut connection = client.get_connection_with_timeout(Duration::from_millis(500))?;
        connection.set_read_timeout(Some(Duration::from_millis(500)))?;
        let mut command = redis::cmd(words[0]);
        for word in &words[1..] {
            command.arg(*word);
        }
        command.query(&mut connection)
    }

    fn member(&self, name: &str) -> Option<String> {
        let value = self.command(&["SENTINEL", "MASTER", SERVICE]).ok()?;
        let texts: Vec<String> = redis::from_redis_value(value).ok()?;
        let at = texts.iter().position(|text| text == name)?;
        texts.get(at + 1).cloned()
    }

    fn master(&self) -> Option<u16> {
        let value = self.command(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE]).ok()?;
        let pair: Vec<String> = redis::from_redis_value(value).ok()?;
        pair.get(1)?.parse().ok()
    }
}
