//! The real binary, started as an operator starts it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use super::client::{Answer, Endpoint, Request};
use super::process::{Lines, Process};
use super::setup::{HOST, Setup};
use super::upstream::Upstream;
use super::{eventually, is_so_within, soon};

/// The admin secret's name in the state directory.
const ADMIN_SECRET: &str = "admin-secret";

/// A running gateway; killed when dropped.
pub struct Gateway {
    process: Process,
    pub dir: TempDir,
    ready: Value,
}

impl Gateway {
    /// Starts the gateway and waits until it listens.
    pub fn start(setup: &Setup) -> Self {
        let dir = TempDir::new().unwrap();
        setup.write(dir.path());
        Self::start_in(dir, setup)
    }

    /// Starts it in a directory that has its files already (a restart).
    pub fn start_in(dir: TempDir, setup: &Setup) -> Self {
        let ready_file = dir.path().join("ready.json");
        drop(std::fs::remove_file(&ready_file));
        let mut command = postern(&dir);
        command.args(["run", "--config", "postern.toml", "--ready-file"]).arg(&ready_file);
        command.args(&setup.arguments).envs(setup.environment.iter().cloned());
        let mut process = Process::spawn(&mut command, "");
        let start = Instant::now();
        while !ready_file.exists() {
            let ended = process.ended();
            let log = || process.stderr.text() + &process.stdout.text();
            assert!(ended.is_none(), "the gateway ended with {ended:?}:\n{}", log());
            assert!(start.elapsed() < Duration::from_secs(30), "not ready:\n{}", log());
            std::thread::sleep(Duration::from_millis(5));
        }
        let ready = serde_json::from_slice(&std::fs::read(&ready_file).unwrap()).unwrap();
        Self { process, dir, ready }
    }

    /// The standard configuration in front of `app`.
    pub fn standard(app: &Upstream) -> Self {
        Self::start(&Setup::standard(app))
    }

    /// SIGKILL; what it leaves behind is in the directory.
    pub fn kill(mut self) -> TempDir {
        self.process.kill();
        let Self { process, dir, .. } = self;
        drop(process);
        dir
    }

    /// The process id that the ready file names.
    pub fn pid(&self) -> u64 {
        self.ready["pid"].as_u64().unwrap()
    }

    /// The first address of a kind of listener: https, http, admin, plain, health.
    pub fn address(&self, listener: &str) -> SocketAddr {
        let first = self.ready[listener][0].as_str();
        let text = first.unwrap_or_else(|| panic!("no {listener} listener in {}", self.ready));
        text.parse().unwrap()
    }

    /// The HTTPS listener, asked for as [`HOST`].
    pub fn https(&self) -> Endpoint {
        Endpoint::https(self.address("https"), HOST)
    }

    /// The admin listener.
    pub fn admin(&self) -> Endpoint {
        Endpoint::http(self.address("admin"))
    }

    /// A request over HTTPS.
    pub fn request(&self, method: &str, target: &str) -> Request {
        self.https().request(method, target)
    }

    /// A GET over HTTPS.
    pub fn get(&self, target: &str) -> Request {
        self.request("GET", target)
    }

    /// A POST over HTTPS.
    pub fn post(&self, target: &str) -> Request {
        self.request("POST", target)
    }

    /// The secret of the admin listener, as the command line reads it.
    pub fn admin_secret(&self) -> String {
        let path = self.dir.path().join("state").join(ADMIN_SECRET);
        let text = std::fs::read_to_string(&path);
        text.unwrap_or_else(|e| panic!("{}: {e}", path.display())).trim().to_owned()
    }

    /// A request to the admin listener with its secret.
    pub fn admin_request(&self, method: &str, target: &str) -> Request {
        self.admin().request(method, target).bearer(&self.admin_secret())
    }

    /// `POST /revocations`.
    pub fn revoke(&self, body: &Value) -> Answer {
        self.admin_request("POST", "/revocations").json(body).send()
    }

    /// Revokes one jti and asserts that it was stored.
    pub fn revoke_jti(&self, jti: &str) {
        self.revoke(&serde_json::json!({ "jti": jti })).expect(201);
    }

    /// Writes a new configuration over the old one, without asking for a reload.
    pub fn rewrite(&self, setup: &Setup) {
        setup.write(self.dir.path());
    }

    /// Writes a new configuration and reloads it through the admin listener.
    pub fn reload(&self, setup: &Setup) -> Answer {
        self.rewrite(setup);
        self.admin_request("POST", "/reload").json(&serde_json::json!({})).send()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// Waits for the process to end by itself.
    pub fn wait(&mut self, limit: Duration) -> ExitStatus {
        self.process.wait(limit)
    }

    /// Whether the process still runs.
    pub fn runs(&mut self) -> bool {
        self.process.ended().is_none()
    }

    /// Resident memory in KiB.
    pub fn resident_kib(&self) -> u64 {
        self.process.resident_kib()
    }

    /// Everything that it wrote to standard output and standard error.
    pub fn output(&self) -> String {
        self.process.stdout.text() + "\n" + &self.process.stderr.text()
    }

    /// The same with everything up to now: both logs are written by threads of their own, the
    /// access log after a while without a request. To look for what must not be there.
    pub fn settled_output(&self) -> String {
        let last = self.get("/_postern/nothing").send();
        self.access_line(last.header("x-request-id").expect("X-Request-Id"));
        self.output()
    }

    /// Waits until it has written `text` to standard output or standard error.
    pub fn says(&self, text: &str) {
        let said = || self.output().contains(text);
        let within = Duration::from_secs(10);
        assert!(is_so_within(within, said), "not written: {text}\n{}", self.output());
    }

    /// What it wrote to standard error.
    pub fn stderr(&self) -> &Lines {
        &self.process.stderr
    }

    /// Access log lines so far: the JSON lines on standard output.
    pub fn access_log(&self) -> Vec<Value> {
        let lines = self.process.stdout.all();
        lines.iter().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// The access log line of the request with this id, once it is there.
    pub fn access_line(&self, request_id: &str) -> Value {
        let mut found = Vec::new();
        soon("the access log has the request", || {
            found = self.access_log();
            found.retain(|line| line["event"] == "access" && line["request_id"] == request_id);
            !found.is_empty()
        });
        assert_eq!(found.len(), 1, "one line per request");
        found.remove(0)
    }

    /// How many keys of the first source of published keys are in use.
    pub fn keys_in_use(&self) -> u64 {
        let status = self.admin_request("GET", "/status").send().json();
        status["keys"][0]["keys"].as_u64().unwrap()
    }

    /// Waits until `/readyz` answers `status`.
    pub fn readyz(&self, status: u16) {
        eventually("readyz", Duration::from_secs(15), || {
            self.admin().request("GET", "/readyz").send().status == status
        });
    }

    /// Runs another verb of the command line in this gateway's directory.
    pub fn cli(&self, arguments: &[&str], input: &str) -> Output {
        run(&self.dir, arguments, input)
    }
}

/// The binary under test: the one just built, or the release build that `tests/extended.sh` names.
pub fn binary() -> PathBuf {
    let named = std::env::var_os("POSTERN_TEST_BINARY").map(PathBuf::from);
    named.unwrap_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_postern")))
}

/// A command of the binary under test, run in `dir`, with no settings from outside.
pub fn postern(dir: &TempDir) -> Command {
    let mut command = Command::new(binary());
    for name in ["POSTERN_CONFIG", "POSTERN_WORKERS", "POSTERN_LOG", "POSTERN_ADMIN"] {
        command.env_remove(name);
    }
    // Two workers: few enough to be cheap, enough to show what one worker alone would hide.
    command.env("POSTERN_WORKERS", "2").env("NO_COLOR", "1").current_dir(dir.path());
    // What a killed `demo` leaves behind goes with the directory.
    command.env("TMPDIR", dir.path());
    command
}

/// Runs a command of the binary to its end.
pub fn run(dir: &TempDir, arguments: &[&str], input: &str) -> Output {
    use std::io::Write;
    let mut command = postern(dir);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    drop(child.stdin.take().unwrap().write_all(input.as_bytes()));
    child.wait_with_output().unwrap()
}

/// Starts a gateway that must refuse to start: its exit code and what it said.
pub fn refuses_to_start(setup: &Setup) -> (i32, String) {
    let dir = TempDir::new().unwrap();
    setup.write(dir.path());
    let mut command = postern(&dir);
    command.args(["run", "--config", "postern.toml"]).args(&setup.arguments);
    command.envs(setup.environment.iter().cloned());
    let mut process = Process::spawn(&mut command, "");
    let status = process.wait(Duration::from_secs(10));
    soon("its output was read", || !process.stderr.all().is_empty());
    (status.code().expect("an exit code, not a signal"), process.stderr.text())
}
