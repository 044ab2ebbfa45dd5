//! What it costs to find out that a token is not revoked: by the local copy, and by asking Redis.
//!
//! `cargo bench --bench check_modes`; needs redis-server. One thread, one request at a time: what
//! batching gives under load is measured from outside (`load/check_modes.py`).

#![allow(clippy::unwrap_used, reason = "a benchmark may panic")]
#![allow(missing_docs, reason = "the macros make public items")]

use std::hint::black_box;
use std::path::Path;
use std::process::{Child, Command};
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use postern::blocklist::tracked::Limits;
use postern::blocklist::{Blocklist, Check, OnLoss, Verdict, WorkerBlocklist};
use postern::store::{Address, Settings};
use postern::time::UnixTime;
use postern::token::Lookup;
use tokio::runtime::Runtime;

/// A server of our own on a unix socket; ends with the benchmark.
struct Redis(Child);

impl Redis {
    fn start(dir: &Path) -> Self {
        let mut command = Command::new("redis-server");
        command.args(["--port", "0", "--save", "", "--logfile", "/dev/null", "--unixsocket"]);
        Self(command.arg(dir.join("s")).spawn().unwrap())
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// As many keys as an ordinary access token has.
fn token() -> Lookup {
    let keys = |names: &[&str]| names.iter().map(|&name| name.into()).collect();
    Lookup::new(
        keys(&["issuer:i", "token:0", "jti:i:1", "sid:i:1", "kid:i:k"]),
        keys(&["sub:i:alice", "client:i:app"]),
        Vec::new(),
        Some(UnixTime::now()),
        UnixTime(i64::MAX),
    )
}

async fn answers(worker: &WorkerBlocklist, token: &Lookup) -> bool {
    worker.check(token, UnixTime::now()).await == Ok(Verdict::Clear)
}

fn modes(c: &mut Criterion) {
    let dir = tempfile::tempdir().unwrap();
    let _redis = Redis::start(dir.path());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        while !dir.path().join("s").exists() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    let settings = Settings::new(Address::Unix { path: dir.path().join("s") });
    let open = Blocklist::open(&settings, OnLoss::Remember, dir.path(), UnixTime::now());
    let blocklist = runtime.block_on(open).unwrap();
    let worker = runtime.block_on(async { blocklist.worker() });
    let token = token();
    let measure = |c: &mut Criterion, runtime: &Runtime, name: &str| {
        c.bench_function(name, |b| {
            b.iter(|| runtime.block_on(answers(&worker, black_box(&token))));
        });
    };
    while !runtime.block_on(answers(&worker, &token)) {}
    measure(c, &runtime, "every-request over a unix socket");
    let limits = Limits { max_staleness: Duration::from_secs(60), max_entries: 1_000_000 };
    let used = || blocklist.status().tracked.is_some_and(|tracked| tracked.why_not.is_none());
    runtime.block_on(async {
        blocklist.set_check(Check::Tracked { limits, heads: Vec::new() }).await;
        while !used() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    measure(c, &runtime, "tracked: by the local copy");
}

criterion_group!(check_modes, modes);
criterion_main!(check_modes);
