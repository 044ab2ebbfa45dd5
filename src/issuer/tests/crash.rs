//! Goal: kill -9 of the store or of the gateway in the middle of rotations throws nobody out who
//! comes again within the grace, and never leaves two live tokens of one login.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};

use super::*;
use crate::store::tests::eventually;

/// Tells the child of `the_gateway_is_killed` where its store is.
const CHILD_DIR: &str = "POSTERN_TEST_FAMILIES_DIR";

fn patient() -> Issuing {
    Issuing { refresh_grace: Duration::from_secs(60), ..issuing() }
}

/// With `appendfsync always` what was answered is kept: a client whose answer was lost comes again
/// with the token that it has.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_is_killed() {
    let mut server = RedisServer::start_with(&["--appendonly", "yes", "--appendfsync", "always"]);
    let store = Store::open(&unix(&server)).unwrap();
    let families = Families::new(Arc::new(store.families().unwrap()), &patient());
    let bench = Bench { store, families, now: NOW, server: None, _dir: None };
    let families = bench.families.clone();
    let logins = 8;
    let mut held = Vec::new();
    for i in 0..logins {
        held.push(bench.login(&format!("user-{i}")).await.refresh.expose().clone());
    }
    let mut rotations = 0;
    for round in 0..4_u64 {
        let clients: Vec<_> = held
            .drain(..)
            .map(|mut token| {
                let families = families.clone();
                tokio::spawn(async move {
                    let mut tokens = vec![token.clone()];
                    // Until the store is gone; the last token is the one that the client holds.
                    while let Ok(rotation) = families.rotate(&token, client(0), NOW).await {
                        token = text(rotation);
                        tokens.push(token.clone());
                    }
                    tokens
                })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(150 + 37 * round)).await;
        server.kill();
        let mut histories = Vec::new();
        for client in clients {
            histories.push(client.await.unwrap());
        }
        server.restart();
        for history in histories {
            rotations += history.len();
            let token = history.last().unwrap();
            eventually(|| async { families.find(token).await.is_ok() }).await;
            let rotation = families.rotate(token, client(0), NOW).await.unwrap();
            let next = text(rotation);
            for old in &history {
                assert_eq!(families.introspect(old, NOW).await, Ok(None));
            }
            assert!(families.introspect(&next, NOW).await.unwrap().is_some());
            held.push(next);
        }
    }
    assert!(rotations > 40, "only {rotations} rotations");
}

/// A store that answers too late has rotated all the same; the client's retry gets that rotation.
#[tokio::test]
async fn an_answer_is_lost() {
    let server = RedisServer::start();
    let store = Store::open(&unix(&server)).unwrap();
    let families = Families::new(Arc::new(store.families().unwrap()), &patient());
    let bench = Bench { store, families, now: NOW, server: None, _dir: None };
    let token = bench.login("alice").await.refresh.expose().clone();
    let login = bench.families.find(&token).await.unwrap().unwrap();
    let families = bench.families.clone();
    server.freeze();
    let lost = families.rotate(&token, client(0), NOW).await;
    assert!(lost.is_err(), "a frozen store answers nothing");
    server.thaw();
    eventually(|| async { families.find(&token).await.is_ok() }).await;
    let next = text(families.rotate(&token, client(0), NOW).await.unwrap());
    let again = text(families.rotate(&token, client(0), NOW).await.unwrap());
    assert_eq!(next, again);
    assert_eq!(families.sessions(&login.subject, NOW).await.unwrap().len(), 1);
}

/// The embedded store dies with its gateway: what was answered is kept, what was not is graced.
#[tokio::test]
async fn the_gateway_is_killed() {
    let dir = tempfile::tempdir().unwrap();
    for round in 0..3_u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "--nocapture"])
            .arg("issuer::tests::crash::child_of_the_gateway_is_killed")
            .env(CHILD_DIR, dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let mut held = lines.filter_map(|line| line.strip_prefix("held ").map(str::to_owned));
        let mut tokens: Vec<String> = held.by_ref().take(20).collect();
        tokio::time::sleep(Duration::from_millis(7 * round)).await;
        child.kill().unwrap();
        child.wait().unwrap();
        // What it still said before it died.
        tokens.extend(held);
        assert!(tokens.len() >= 20, "the child rotated too little");
        let store =
            Store::open(&Settings::new(Address::Embedded { dir: dir.path().to_owned() })).unwrap();
        let families = Families::new(Arc::new(store.families().unwrap()), &patient());
        let token = tokens.last().unwrap();
        let next = text(families.rotate(token, client(0), NOW).await.unwrap());
        for old in &tokens {
            assert_eq!(families.introspect(old, NOW).await, Ok(None));
        }
        assert!(families.introspect(&next, NOW).await.unwrap().is_some());
    }
}

#[tokio::test]
#[ignore = "started and killed by the_gateway_is_killed"]
async fn child_of_the_gateway_is_killed() {
    let dir = std::env::var(CHILD_DIR).unwrap().into();
    let store = Store::open(&Settings::new(Address::Embedded { dir })).unwrap();
    let families = Families::new(Arc::new(store.families().unwrap()), &patient());
    let bench = Bench { store, families, now: NOW, server: None, _dir: None };
    let mut token = bench.login("alice").await.refresh.expose().clone();
    let mut out = std::io::stdout();
    loop {
        writeln!(out, "held {token}").and_then(|()| out.flush()).unwrap();
        token = text(bench.families.rotate(&token, client(0), NOW).await.unwrap());
    }
}
