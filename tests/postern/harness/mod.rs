//! What the tests drive the gateway with. It owns every process, port and file that it makes,
//! knows only the public contract, and never looks into the crate.

pub mod apps;
pub mod blackhole;
pub mod browser;
pub mod client;
pub mod cluster;
pub mod gateway;
pub mod h2;
pub mod issuing;
pub mod jwks_server;
pub mod keycloak;
pub mod keys;
pub mod live;
pub mod load;
pub mod metrics;
pub mod person;
pub mod oauth;
pub mod pki;
pub mod process;
pub mod pressure;
pub mod provider;
pub mod redis;
pub mod sentinel;
pub mod setup;
pub mod tokens;
pub mod upstream;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

/// Polls `condition` until it holds; panics, naming `what`, after `limit`.
pub fn eventually(what: &str, limit: Duration, condition: impl FnMut() -> bool) {
    assert!(is_so_within(limit, condition), "did not happen within {limit:?}: {what}");
}

/// Polls `condition` until it holds; whether it did within `limit`.
pub fn is_so_within(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    while !condition() {
        if start.elapsed() >= limit {
            return false;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    true
}

/// `eventually` with a limit that is generous on a loaded machine.
pub fn soon(what: &str, condition: impl FnMut() -> bool) {
    eventually(what, Duration::from_secs(10), condition);
}

/// Runs `judge` on every row of a table and fails with all rows that failed, not just the first.
pub fn each<R>(rows: impl IntoIterator<Item = R>, mut judge: impl FnMut(R)) {
    let mut failed = Vec::new();
    for row in rows {
        let outcome = catch_unwind(AssertUnwindSafe(|| judge(row)));
        if let Err(panic) = outcome {
            let text = panic.downcast_ref::<String>().cloned();
            failed.push(text.unwrap_or_else(|| "a row panicked".to_owned()));
        }
    }
    assert!(failed.is_empty(), "{} rows failed:\n{}", failed.len(), failed.join("\n\n"));
}

/// Seconds since the epoch, as tokens count them.
pub fn unix_now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    i64::try_from(since.as_secs()).unwrap()
}
