//! Tests of the store, and the servers they start.

pub(crate) mod server;

mod connecting;
mod embedded;
mod fake;
mod faults;
mod lookups;
mod once;

use std::time::Duration;

use self::server::RedisServer;
use super::{Address, Record, Settings};
use crate::time::UnixTime;
use crate::token::Lookup;

pub(crate) const NOW: UnixTime = UnixTime(1_800_000_000);

pub(crate) fn tcp(port: u16) -> Settings {
    Settings::new(Address::Tcp { host: "127.0.0.1".to_owned(), port, tls: false })
}

pub(crate) fn unix(server: &RedisServer) -> Settings {
    // A busy machine must not look like an outage of the store.
    let timeout = Duration::from_secs(5);
    Settings { timeout, ..Settings::new(Address::Unix { path: server.socket.clone() }) }
}

/// A token with a jti, an issuer and a subject.
pub(crate) fn lookup(jti: &str) -> Lookup {
    Lookup::new(
        vec![format!("jti:i:{jti}").into(), "issuer:i".into(), "kid:i:k".into()],
        vec![format!("sub:i:of-{jti}").into()],
        Vec::new(),
        Some(NOW),
        NOW.plus(Duration::from_secs(900)),
    )
}

pub(crate) fn record() -> Record {
    Record { reason: "test".into(), by: "a test".into(), at: NOW.seconds(), issued_before: None }
}

/// Until it is so, or five seconds have passed.
pub(crate) async fn eventually<F: Future<Output = bool>>(mut is_so: impl FnMut() -> F) {
    for _ in 0..500 {
        if is_so().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it never came true");
}
