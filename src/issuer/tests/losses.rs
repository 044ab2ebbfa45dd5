//! Goal: a store that has lost revocations hands out no tokens against them, as long as a gateway
//! remembers them.

use super::*;
use crate::blocklist::{Blocklist, End, IssuedBefore, OnLoss, Revocation};
use crate::issuer::{RefusedWhy, Unavailable};
use crate::store::tests::eventually;
use crate::store::{Dead, Host};

/// In place of a count of arrivals: what is remembered is not written back.
const NOTHING: u64 = u64::MAX;

/// Nobody is told anything by a server that may have forgotten revocations; who waits is answered
/// as soon as they are written back.
#[tokio::test]
async fn no_answer_before_what_is_remembered_is_written_back() {
    let server = RedisServer::start();
    let settings = Settings { timeout: Duration::from_secs(1), ..unix(&server) };
    let store = Store::open(&settings).unwrap();
    let families = Families::new(Arc::new(store.families().unwrap()), &issuing());
    let bench = Bench { store, families, now: NOW, server: None, _dir: None };
    let token = bench.login("alice").await.refresh.expose().clone();
    bench.store.assert(NOTHING);
    let refused = bench.families.rotate(&token, client(0), NOW).await;
    assert!(matches!(refused, Err(Unavailable::Store(_))));
    let rights = Rights::default();
    let login = NewLogin {
        subject: "alice",
        account: "alice",
        client: "postern",
        rights: &rights,
        browser: true,
    };
    assert!(bench.families.begin(login, client(0), NOW).await.is_err());
    assert!(bench.families.introspect(&token, NOW).await.is_err());
    let families = bench.families.clone();
    let presented = token.clone();
    let waiting =
        tokio::spawn(async move { families.rotate(&presented, client(0), NOW).await.unwrap() });
    tokio::task::yield_now().await;
    bench.store.assert(bench.store.arrivals());
    assert_eq!(word(&waiting.await.unwrap()), "rotated");
}

/// A Redis that restarts without its last second has forgotten an acknowledged revocation. The
/// gateway that made it remembers; until it has written it back nothing rotates.
#[tokio::test]
async fn a_restart_that_loses_a_revocation_revives_no_login() {
    let server = RedisServer::start();
    let settings = Settings { timeout: Duration::from_secs(5), ..unix(&server) };
    let state = tempfile::tempdir().unwrap();
    let now = UnixTime::now();
    let blocklist = Blocklist::open(&settings, OnLoss::Remember, state.path(), now).await.unwrap();
    let families = Families::new(Arc::new(blocklist.store().families().unwrap()), &issuing());
    for round in 0..10 {
        let subject = format!("user-{round}");
        let rights = Rights::default();
        let login = NewLogin {
            subject: &subject,
            account: "a",
            client: "postern",
            rights: &rights,
            browser: false,
        };
        let began = families.begin(login, client(0), now).await.unwrap();
        let Began::Issued(issued) = began else { panic!("revoked") };
        let revocation = Revocation {
            selector: Selector {
                kind: Kind::Sub,
                issuer: issuing().issuer,
                value: subject.clone(),
            },
            end: End::For(LIFETIME),
            issued_before: Some(IssuedBefore::Now { leeway: Duration::ZERO }),
            reason: "test".to_owned(),
            by: "test".to_owned(),
        };
        blocklist.revoke(&revocation, UnixTime::now()).await.unwrap();
        // As after the restart: without the entry, and every connection is a new one.
        let key = format!("postern:blocklist:{}", suffix(Kind::Sub, &subject));
        server.run::<()>(&["DEL", &key]);
        server.run::<i64>(&["CLIENT", "KILL", "TYPE", "normal"]);
        let token = issued.refresh.expose();
        eventually(|| async {
            match families.rotate(token, client(0), UnixTime::now()).await {
                Ok(rotation) => {
                    assert_eq!(word(&rotation), "refused", "round {round}");
                    true
                }
                Err(_) => false,
            }
        })
        .await;
    }
}

/// A replica that was promoted may lack the last revocations: for a second, in which every gateway
/// writes back what it remembers, nothing is decided about a login there, as about no request.
#[tokio::test]
async fn a_failover_revives_no_login() {
    let [first, second] = [RedisServer::start(), RedisServer::start()];
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("sentinel.conf"), "").unwrap();
    let sentinel = RedisServer::start_in(dir, &["{dir}/sentinel.conf", "--sentinel"]);
    let name_master = |server: &RedisServer| {
        let port = server.port.to_string();
        sentinel.run::<()>(&["SENTINEL", "MONITOR", "main", "127.0.0.1", &port, "1"]);
    };
    name_master(&first);
    let host = Host { name: "127.0.0.1".to_owned(), port: sentinel.port };
    let service = "main".to_owned();
    let address = Address::Sentinel { sentinels: vec![host], service, tls: false };
    let settings = Settings { timeout: Duration::from_secs(1), ..Settings::new(address) };
    let store = Store::open(&settings).unwrap();
    let families = Families::new(Arc::new(store.families().unwrap()), &issuing());
    let bench = Bench { store, families, now: NOW, server: None, _dir: None };
    eventually(|| async { bench.families.sessions("alice", NOW).await.is_ok() }).await;
    let token = bench.login("alice").await.refresh.expose().clone();
    sentinel.run::<()>(&["SENTINEL", "REMOVE", "main"]);
    let named = std::time::Instant::now();
    name_master(&second);
    // The second one does not know it.
    let unknown = Ok(Err(RefusedWhy::Dead(Dead::Unknown)));
    eventually(|| async { bench.families.find(&token).await == unknown }).await;
    let waited = named.elapsed();
    assert!(waited >= Duration::from_secs(1), "asked after {waited:?}");
}

/// A store that loses its last moment has a session again that was ended or reused in it. What
/// gateways write back refuses it for as long as it could have gone on.
#[tokio::test]
async fn a_lost_end_revives_no_session() {
    for how in ["ended", "reused"] {
        let bench = Bench::new("redis");
        let server = bench.server.as_ref().unwrap();
        let issued = bench.login("alice").await;
        let first = issued.refresh.expose().clone();
        let second = text(bench.rotate(&first, client(0)).await);
        let key = format!("postern:refresh:{}", issued.login.sid);
        server.run::<()>(&["COPY", &key, "before"]);
        if how == "ended" {
            bench.families.end(&issued.login.sid, bench.now).await.unwrap();
        } else {
            assert_eq!(word(&bench.rotate(&first, client(1)).await), "reused");
        }
        server.run::<()>(&["COPY", "before", &key, "REPLACE"]);
        assert_eq!(word(&bench.rotate(&second, client(0)).await), "refused", "{how}");
        let entry = format!("postern:blocklist:{}", suffix(Kind::Sid, &issued.login.sid));
        let left = server.run::<i64>(&["TTL", &entry]);
        let least = (IDLE + BARRED).as_secs().cast_signed();
        assert!((least - 30..least + 2).contains(&left), "{how}: {left}");
        let revocation = bench.families.revocation(&issued.login, how);
        assert_eq!(revocation.end, End::For(IDLE + BARRED), "and so what gateways remember");
    }
    for how in ["ended", "reused"] {
        let mut bench = Bench::new("embedded");
        let issued = bench.login("alice").await;
        let first = issued.refresh.expose().clone();
        let second = text(bench.rotate(&first, client(0)).await);
        text(bench.rotate(&second, client(0)).await);
        if how == "ended" {
            bench.families.end(&issued.login.sid, bench.now).await.unwrap();
        } else {
            assert_eq!(word(&bench.rotate(&first, client(0)).await), "reused");
        }
        bench.pass(IDLE + BARRED);
        assert!(bench.is_barred(&issued.login.sid).await, "{how}");
        bench.pass(Duration::from_secs(3));
        assert!(!bench.is_barred(&issued.login.sid).await, "{how}: and no longer");
    }
}
