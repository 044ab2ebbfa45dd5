//! A real redis-server of one test's own: started on a free port and a unix socket in a temporary
//! directory, frozen, killed and restarted at will. Fails loudly when the binary is missing.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may panic")]

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A running server; killed when dropped.
pub(crate) struct RedisServer {
    child: Child,
    arguments: Vec<String>,
    pub(crate) port: u16,
    pub(crate) socket: PathBuf,
    _dir: tempfile::TempDir,
}

impl RedisServer {
    /// Starts a server without persistence.
    pub(crate) fn start() -> Self {
        Self::start_with(&["--save", "", "--appendonly", "no"])
    }

    /// Starts a server with these arguments beside address and directory. `{dir}` in an argument
    /// is its directory.
    pub(crate) fn start_with(arguments: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self::start_in(dir, arguments)
    }

    /// The same in a directory that already holds files.
    pub(crate) fn start_in(dir: tempfile::TempDir, arguments: &[&str]) -> Self {
        let port = free_port();
        let socket = dir.path().join("redis.sock");
        let place = dir.path().display().to_string();
        let mut all: Vec<String> =
            arguments.iter().map(|argument| argument.replace("{dir}", &place)).collect();
        if !all.iter().any(|argument| argument == "--port") {
            all.extend(["--port".to_owned(), port.to_string()]);
        }
        all.extend(["--bind", "127.0.0.1", "--dir", &place].map(str::to_owned));
        all.extend(["--unixsocket".to_owned(), socket.display().to_string()]);
        let child = spawn(&all);
        let server = Self { child, arguments: all, port, socket, _dir: dir };
        server.wait_until_it_answers();
        server
    }

    /// Stops it without warning, as a power cut would.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again on the same addresses.
    pub(crate) fn restart(&mut self) {
        self.child = spawn(&self.arguments);
        self.wait_until_it_answers();
    }

    /// Stops it in the middle of whatever it does; connections stay open.
    pub(crate) fn freeze(&self) {
        self.signal("-STOP");
    }

    /// Lets it go on.
    pub(crate) fn thaw(&self) {
        self.signal("-CONT");
    }

    /// Sends a command as another client would.
    pub(crate) fn run<T: redis::FromRedisValue>(&self, command: &[&str]) -> T {
        let mut connection = self.client().get_connection().unwrap();
        let mut cmd = redis::cmd(command[0]);
        command[1..].iter().for_each(|argument| {
            cmd.arg(*argument);
        });
        cmd.query(&mut connection).unwrap_or_else(|error| panic!("{command:?}: {error}"))
    }

    fn client(&self) -> redis::Client {
        redis::Client::open(format!("redis+unix://{}", self.socket.display())).unwrap()
    }

    fn wait_until_it_answers(&self) {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let answer: redis::RedisResult<redis::Value> =
                self.client().get_connection().and_then(|mut c| redis::cmd("PING").query(&mut c));
            match answer {
                Ok(_) => return,
                // Up, but only for those who have the password.
                Err(error) if matches!(error.code(), Some("NOAUTH" | "NOPERM")) => return,
                Err(error) => assert!(Instant::now() < deadline, "redis-server: {error}"),
            }
            #[allow(clippy::disallowed_methods, reason = "no runtime here; polls a child process")]
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(arguments: &[String]) -> Child {
    // Another than Redis, such as valkey-server.
    let program = std::env::var("POSTERN_TEST_REDIS").unwrap_or_else(|_| "redis-server".to_owned());
    Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("redis-server is needed by the tests: apt-get install redis-server")
}

/// A port that was free a moment ago.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
