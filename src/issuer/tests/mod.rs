//! Tests of the issuer, on both stores: a real redis-server, and the embedded one.

mod assertion;
mod browser;
mod clocks;
mod crash;
mod losses;
mod model;
mod rotation;
mod sessions;
mod tokens;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::{Began, ClientTrace, Families, Issued, NewLogin, Rights, Rotation};
use crate::auth::{Algorithm, SigningKey};
use crate::policy::{Issuing, IssuingKey};
use crate::store::tests::server::RedisServer;
use crate::store::tests::unix;
use crate::store::{Address, Settings, Store};
use crate::time::UnixTime;
use crate::token::{Kind, Selector};

pub(super) const NOW: UnixTime = UnixTime(1_800_000_000);
pub(super) const GRACE: Duration = Duration::from_secs(10);
pub(super) const IDLE: Duration = Duration::from_secs(3600);
pub(super) const LIFETIME: Duration = Duration::from_secs(3 * 3600);

/// How long an access token of [`issuing`] may be accepted, somewhere.
pub(super) const BARRED: Duration = Duration::from_secs(960);

pub(super) fn issuing() -> Issuing {
    let signing = SigningKey::generate(Algorithm::ES256).unwrap();
    Issuing {
        cookies: None,
        issuer: "https://login.example".to_owned(),
        audiences: vec!["https://api.example".to_owned()],
        client_id: "postern".to_owned(),
        access_lifetime: Duration::from_secs(900),
        refresh_idle: IDLE,
        refresh_lifetime: LIFETIME,
        refresh_grace: GRACE,
        keys: vec![IssuingKey { kid: "k1".to_owned(), signing }],
        login_limits: Vec::new(),
        refresh_limits: Vec::new(),
    }
}

pub(super) const ENGINES: [&str; 2] = ["redis", "embedded"];

/// A store with families by a clock that the test sets.
pub(super) struct Bench {
    pub(super) store: Store,
    pub(super) families: Families,
    pub(super) now: UnixTime,
    pub(super) server: Option<RedisServer>,
    _dir: Option<tempfile::TempDir>,
}

impl Bench {
    /// On a clock of the test's own.
    pub(super) fn new(engine: &str) -> Self {
        let mut bench = Self::on_real_clock(engine);
        let families = bench.store.families_on_clock_of_test();
        bench.families = Families::new(Arc::new(families), &issuing());
        bench.set(NOW);
        bench
    }

    pub(super) fn on_real_clock(engine: &str) -> Self {
        let (settings, server, dir) = if engine == "redis" {
            let server = RedisServer::start();
            let settings = Settings { timeout: Duration::from_secs(5), ..unix(&server) };
            (settings, Some(server), None)
        } else {
            let dir = tempfile::tempdir().unwrap();
            (Settings::new(Address::Embedded { dir: dir.path().to_owned() }), None, Some(dir))
        };
        let store = Store::open(&settings).unwrap();
        let families = Families::new(Arc::new(store.families().unwrap()), &issuing());
        Self { store, families, now: UnixTime::now(), server, _dir: dir }
    }

    pub(super) fn set(&mut self, now: UnixTime) {
        self.now = now;
        if let Some(server) = &self.server {
            server.run::<()>(&["SET", "clock", &(now.seconds() * 1000).to_string()]);
        }
    }

    pub(super) fn pass(&mut self, span: Duration) {
        self.set(self.now.plus(span));
    }

    pub(super) async fn login(&self, subject: &str) -> Issued {
        self.log_in(subject, false).await
    }

    pub(super) async fn log_in(&self, subject: &str, browser: bool) -> Issued {
        let rights = Rights { roles: vec!["reader".to_owned()], ..Rights::default() };
        let login = NewLogin {
            subject,
            account: "alice@example.com",
            client: "postern",
            rights: &rights,
            browser,
        };
        match self.families.begin(login, client(0), self.now).await.unwrap() {
            Began::Issued(issued) => *issued,
            Began::Revoked(kind) => panic!("revoked by {kind}"),
        }
    }

    pub(super) async fn rotate(&self, presented: &str, client: ClientTrace<'_>) -> Rotation {
        self.families.rotate(presented, client, self.now).await.unwrap()
    }

    /// Revokes as an operator does, as of now.
    pub(super) async fn revoke(&self, kind: Kind, value: &str) {
        let suffix = suffix(kind, value);
        let issued_before = kind.is_dated().then_some(self.now.seconds());
        let record = crate::store::Record { issued_before, ..crate::store::tests::record() };
        let ttl = Some(Duration::from_secs(36_000));
        self.store.put(&suffix, &record, ttl, self.now).await.unwrap();
    }

    pub(super) async fn is_barred(&self, sid: &str) -> bool {
        self.store.get(&suffix(Kind::Sid, sid), self.now).await.unwrap().is_some()
    }
}

pub(super) fn suffix(kind: Kind, value: &str) -> String {
    let issuer = issuing().issuer;
    Selector { kind, issuer, value: value.to_owned() }.suffix()
}

/// Clients that differ in their network and in what they call themselves.
pub(super) fn client(number: u8) -> ClientTrace<'static> {
    let address = IpAddr::from([192, 0, number, 7]);
    ClientTrace { address, user_agent: if number == 0 { "Firefox" } else { "curl" } }
}

pub(super) fn word(rotation: &Rotation) -> &'static str {
    match rotation {
        Rotation::Rotated(_) => "rotated",
        Rotation::Again(_) => "again",
        Rotation::Refused(_) => "refused",
        Rotation::Reused { .. } => "reused",
    }
}

pub(super) fn text(rotation: Rotation) -> String {
    match rotation {
        Rotation::Rotated(issued) | Rotation::Again(issued) => issued.refresh.expose().clone(),
        other => panic!("no token: {}", word(&other)),
    }
}
