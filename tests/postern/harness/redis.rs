//! A real redis-server of the test's own: killed, frozen, emptied, restarted at will.

use std::net::TcpListener;
use std::process::Command;
use std::time::Duration;

use redis::Value;
use rustix::process::Signal;
use tempfile::TempDir;

use super::eventually;
use super::pki::{Certificate, authority};
use super::process::Process;

/// How to install it.
pub const HINT: &str = "The tests need redis-server: sudo apt-get install -y redis-server \
                    (macOS: brew install redis), or run tests/run.sh, which does it";

/// How clients reach the server.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Door {
    Unix,
    Tcp,
    Tls,
}

/// A redis-server process.
pub struct Redis {
    process: Process,
    dir: TempDir,
    door: Door,
    port: u16,
    extra: Vec<String>,
}

impl Redis {
    /// On a unix socket of its own, keeping nothing on disk.
    pub fn start() -> Self {
        Self::launch(Door::Unix, &[])
    }

    /// On a TCP port.
    pub fn tcp() -> Self {
        Self::launch(Door::Tcp, &[])
    }

    /// On a TCP port, with more lines of configuration.
    pub fn tcp_with(extra: &[&str]) -> Self {
        Self::launch(Door::Tcp, extra)
    }

    /// With TLS on a TCP port; its certificate is the test authority's.
    pub fn tls() -> Self {
        Self::launch(Door::Tls, &[])
    }

    /// On a unix socket, with more lines of configuration.
    pub fn with(extra: &[&str]) -> Self {
        Self::launch(Door::Unix, extra)
    }

    fn launch(door: Door, extra: &[&str]) -> Self {
        let dir = TempDir::new().unwrap();
        let Certificate { chain, key } = authority().issue(&["127.0.0.1", "localhost"]);
        std::fs::write(dir.path().join("cert.pem"), chain).unwrap();
        std::fs::write(dir.path().join("key.pem"), key).unwrap();
        std::fs::write(dir.path().join("ca.pem"), &authority().pem).unwrap();
        let port = if door == Door::Unix { 0 } else { free_port() };
        let extra: Vec<String> = extra.iter().map(ToString::to_string).collect();
        let process = spawn(&dir, door, port, &extra);
        let redis = Self { process, dir, door, port, extra };
        redis.wait_ready();
        redis
    }

    /// The URL for `[store] url`.
    pub fn url(&self) -> String {
        match self.door {
            Door::Unix => format!("redis+unix://{}", self.socket()),
            Door::Tcp => format!("redis://127.0.0.1:{}", self.port),
            Door::Tls => format!("rediss://127.0.0.1:{}", self.port),
        }
    }

    /// Its TCP port.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Runs one command through the unix socket, as the default user.
    pub fn try_command(&self, words: &[&str]) -> redis::RedisResult<Value> {
        let client = redis::Client::open(format!("unix://{}", self.socket()))?;
        let mut connection = client.get_connection_with_timeout(Duration::from_secs(5))?;
        connection.set_read_timeout(Some(Duration::from_secs(2)))?;
        let mut command = redis::cmd(words[0]);
        for word in &words[1..] {
            command.arg(*word);
        }
        command.query(&mut connection)
    }

    /// Runs one command; panics on an error answer.
    pub fn command(&self, words: &[&str]) -> Value {
        self.try_command(words).unwrap_or_else(|e| panic!("{words:?}: {e}"))
    }

    /// All keys that match `pattern`.
    pub fn keys(&self, pattern: &str) -> Vec<String> {
        redis::from_redis_value(self.command(&["KEYS", pattern])).unwrap()
    }

    /// SIGKILL: the connection is reset, the data is gone.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// SIGSTOP: connections stay, nothing answers.
    pub fn freeze(&self) {
        self.process.signal(Signal::STOP);
    }

    /// SIGCONT.
    pub fn thaw(&self) {
        self.process.signal(Signal::CONT);
    }

    /// A new, empty server at the same place.
    pub fn restart(&mut self) {
        self.process.kill();
        drop(std::fs::remove_file(self.socket()));
        self.process = spawn(&self.dir, self.door, self.port, &self.extra);
        self.wait_ready();
    }

    fn socket(&self) -> String {
        self.dir.path().join("s").display().to_string()
    }

    fn wait_ready(&self) {
        eventually("redis-server answers", Duration::from_secs(20), || {
            let answered = self.try_command(&["PING"]);
            // A server that demands a password is up as well.
            answered.is_ok() || answered.is_err_and(|e| e.to_string().contains("NOAUTH"))
        });
    }
}

fn spawn(dir: &TempDir, door: Door, port: u16, extra: &[String]) -> Process {
    let path = |name: &str| dir.path().join(name).display().to_string();
    let mut lines = vec![
        format!("unixsocket {}", path("s")),
        format!("dir {}", dir.path().display()),
        "save \"\"".to_owned(),
        "appendonly no".to_owned(),
        "bind 127.0.0.1".to_owned(),
        format!("port {}", if door == Door::Tcp { port } else { 0 }),
    ];
    if door == Door::Tls {
        lines.push(format!("tls-port {port}"));
        lines.push(format!("tls-cert-file {}", path("cert.pem")));
        lines.push(format!("tls-key-file {}", path("key.pem")));
        lines.push(format!("tls-ca-cert-file {}", path("ca.pem")));
        lines.push("tls-auth-clients no".to_owned());
    }
    lines.extend(extra.iter().cloned());
    std::fs::write(dir.path().join("redis.conf"), lines.join("\n")).unwrap();
    Process::spawn(Command::new(program()).arg(path("redis.conf")), HINT)
}

/// The server under test: `POSTERN_TEST_REDIS` names another than Redis, such as valkey-server.
pub fn program() -> String {
    std::env::var("POSTERN_TEST_REDIS").unwrap_or_else(|_| "redis-server".to_owned())
}

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Drop for Redis {
    fn drop(&mut self) {
        // A stopped process still dies by SIGKILL; nothing to thaw.
        self.process.kill();
    }
}
