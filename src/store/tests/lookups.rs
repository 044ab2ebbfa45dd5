//! What a lookup finds, alone and in a crowd.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::*;
use crate::store::{Hit, Hits, Place, Store};

fn places(hits: &Hits) -> Vec<Place> {
    match hits {
        Hits::None => Vec::new(),
        Hits::Some(hits) => hits.iter().map(|hit| hit.place).collect(),
    }
}

/// Each key by itself, a value of another type among them (R42 "wrong type"), and several at once.
#[tokio::test]
async fn every_key_of_a_token_is_found() {
    let server = RedisServer::start();
    let store = Store::open(&unix(&server)).unwrap();
    let worker = store.worker();
    let mut token = lookup("1");
    token.extra = vec!["blacklist:1".into(), "blacklist:set".into()];
    let entry = |suffix: &str| format!("postern:blocklist:{suffix}");
    assert_eq!(worker.look_up(&token, NOW).await.unwrap().hits, Hits::None);
    let value = r#"{"issued_before":5}"#;
    for (commands, expected) in [
        (vec![vec!["SET", "jti:i:1", "x"]], vec![Place::Undated(0)]),
        (vec![vec!["SET", "issuer:i", ""]], vec![Place::Undated(1)]),
        (vec![vec!["SADD", "kid:i:k", "x"]], vec![Place::Unknown]),
        (vec![vec!["SET", "sub:i:of-1", value]], vec![Place::Dated(0)]),
        (vec![vec!["LPUSH", "sub:i:of-1", value]], vec![Place::Unknown]),
        (vec![vec!["SET", "/blacklist:1", "1"]], vec![Place::Extra(0)]),
        (vec![vec!["SADD", "/blacklist:set", "1"]], vec![Place::Unknown]),
        (
            vec![vec!["SET", "jti:i:1", "x"], vec!["HSET", "sub:i:of-1", "a", "b"]],
            vec![Place::Undated(0), Place::Unknown],
        ),
        (
            vec![vec!["SET", "jti:i:1", "x"], vec!["SET", "sub:i:of-1", value]],
            vec![Place::Undated(0), Place::Dated(0)],
        ),
        (vec![vec!["SET", "jti:i:2", "x"], vec!["SET", "sub:i:of-2", value]], vec![]),
    ] {
        server.run::<()>(&["FLUSHALL"]);
        for command in &commands {
            let key = match command[1].strip_prefix('/') {
                Some(key) => key.to_owned(),
                None => entry(command[1]),
            };
            let mut words = command.clone();
            words[1] = &key;
            server.run::<redis::Value>(&words);
        }
        let found = worker.look_up(&token, NOW).await.unwrap();
        assert_eq!(places(&found.hits), expected, "{commands:?}");
        assert_eq!(found.generation, None);
    }
}

/// Tokens that share a batch get their own answers, not each other's.
#[tokio::test]
async fn a_crowd_is_told_apart() {
    let server = RedisServer::start();
    let store = Store::open(&unix(&server)).unwrap();
    let worker = Arc::new(store.worker());
    store.begin_generation("g").await.unwrap();
    for jti in ["3", "500", "599", "700"] {
        store.put(&format!("jti:i:{jti}"), &record(), None, NOW).await.unwrap();
    }
    let dated = Record { issued_before: Some(7), ..record() };
    store.put("sub:i:of-4", &dated, None, NOW).await.unwrap();
    // The second crowd has dated entries alone, which need no second question.
    for (from, to) in [(0, 900), (900, 1000)] {
        let mut tasks = Vec::new();
        for i in from..to {
            let worker = Arc::clone(&worker);
            // Every token twice: shared keys must be attributed to both.
            let jti = (i / 2).to_string();
            tasks.push((
                jti.clone(),
                tokio::spawn(async move { worker.look_up(&lookup(&jti), NOW).await.unwrap() }),
            ));
        }
        for (jti, task) in tasks {
            let found = task.await.unwrap();
            let expected = match jti.as_str() {
                "3" | "500" | "599" | "700" => vec![Place::Undated(0)],
                "4" => vec![Place::Dated(0)],
                _ => vec![],
            };
            assert_eq!(places(&found.hits), expected, "{jti}");
            assert_eq!(found.generation.as_deref(), Some("g"));
        }
    }
}

/// Invariant 9, R41: a revocation that was acknowledged before a lookup starts is always seen,
/// however many lookups are under way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_acknowledged_revocation_is_always_seen() {
    let server = RedisServer::start();
    let store = Store::open(&unix(&server)).unwrap();
    let workers = [Arc::new(store.worker()), Arc::new(store.worker())];
    let stop = Arc::new(AtomicBool::new(false));
    let asked = Arc::new(AtomicUsize::new(0));
    let mut crowd = Vec::new();
    for i in 0..64 {
        let (worker, stop) = (Arc::clone(&workers[i % 2]), Arc::clone(&stop));
        let asked = Arc::clone(&asked);
        crowd.push(tokio::spawn(async move {
            // They ask for the very tokens that are about to be revoked.
            while !stop.load(Ordering::Relaxed) {
                let jti = asked.fetch_add(1, Ordering::Relaxed) % 500;
                worker.look_up(&lookup(&jti.to_string()), NOW).await.unwrap();
            }
        }));
    }
    for i in 0..500 {
        let jti = i.to_string();
        store.put(&format!("jti:i:{jti}"), &record(), None, NOW).await.unwrap();
        for worker in &workers {
            let found = worker.look_up(&lookup(&jti), NOW).await.unwrap();
            assert_eq!(places(&found.hits), [Place::Undated(0)], "{jti} slipped through");
        }
    }
    stop.store(true, Ordering::Relaxed);
    for task in crowd {
        task.await.unwrap();
    }
    assert!(asked.load(Ordering::Relaxed) > 1000, "the crowd was no crowd");
}

/// An entry is widened, never narrowed; the index follows; the value is the contract's JSON.
#[tokio::test]
async fn putting_never_shortens_and_never_narrows() {
    let server = RedisServer::start();
    let dir = tempfile::tempdir().unwrap();
    let embedded = Settings::new(Address::Embedded { dir: dir.path().join("store") });
    for settings in [unix(&server), embedded] {
        let store = Store::open(&settings).unwrap();
        let dated = |seconds| Record { issued_before: Some(seconds), ..record() };
        let put = async |seconds, ttl: Option<u64>| {
            let ttl = ttl.map(Duration::from_secs);
            store.put("sub:i:a", &dated(seconds), ttl, NOW).await.unwrap()
        };
        let first = put(50, Some(600)).await;
        assert_eq!(first.record.issued_before, Some(50));
        let second = put(40, Some(60)).await;
        assert_eq!(second.record.issued_before, Some(50));
        let left = store.get("sub:i:a", NOW).await.unwrap().unwrap();
        assert!(left.expires.unwrap() - NOW.seconds() > 590, "{left:?}");
        assert_eq!(put(60, None).await.expires, None);
        assert_eq!(put(60, Some(60)).await.expires, None);
        let kept = store.get("sub:i:a", NOW).await.unwrap().unwrap();
        assert_eq!(
            kept,
            crate::store::Entry { suffix: "sub:i:a".into(), record: dated(60), expires: None }
        );
        assert_eq!(store.list(10, None, NOW).await.unwrap().entries, [kept]);
        assert!(store.delete("sub:i:a").await.unwrap());
        assert!(!store.delete("sub:i:a").await.unwrap());
        assert_eq!(store.list(10, None, NOW).await.unwrap().entries, []);
        // A value that others wrote is replaced by ours, and stands no shorter.
        assert_eq!(store.get("sub:i:a", NOW).await.unwrap(), None);
    }
    let store = Store::open(&unix(&server)).unwrap();
    let hostile = Record { reason: "\"}\r\n{0}'\u{0}".into(), ..record() };
    store.put("jti:i:h", &hostile, None, NOW).await.unwrap();
    let value: String = server.run(&["GET", "postern:blocklist:jti:i:h"]);
    assert_eq!(Record::parse(value.as_bytes()), Some(hostile));
    server.run::<()>(&["LPUSH", "postern:blocklist:jti:i:l", "x"]);
    store.put("jti:i:l", &record(), Some(Duration::from_secs(5)), NOW).await.unwrap();
    assert_eq!(server.run::<i64>(&["TTL", "postern:blocklist:jti:i:l"]), -1);
}

/// Paging reads every entry exactly once, whatever the engine, with many of one score.
#[tokio::test]
async fn listing_pages_through_everything() {
    let server = RedisServer::start();
    let dir = tempfile::tempdir().unwrap();
    let embedded = Settings::new(Address::Embedded { dir: dir.path().join("store") });
    for settings in [unix(&server), embedded] {
        let store = Store::open(&settings).unwrap();
        let entries: Vec<_> = (0..250)
            .map(|i| crate::store::Entry {
                suffix: format!("jti:i:{i}"),
                record: record(),
                expires: (i % 3 == 0).then_some(NOW.seconds() + 1000),
            })
            .collect();
        store.put_all(&entries, NOW).await.unwrap();
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let page = store.list(7, after.as_deref(), NOW).await.unwrap();
            seen.extend(page.entries.into_iter().map(|entry| entry.suffix));
            let Some(next) = page.next else { break };
            assert!(store.is_cursor(&next));
            // The name that the cursor stands on goes away under it.
            if seen.len() == 70 {
                store.delete(seen.last().unwrap()).await.unwrap();
            }
            after = Some(next);
        }
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), 250);
    }
}

/// Entries that are over leave the index of Redis and the embedded store.
#[tokio::test]
async fn what_is_over_is_swept() {
    let server = RedisServer::start();
    let store = Store::open(&unix(&server)).unwrap();
    store.put("jti:i:1", &record(), None, NOW).await.unwrap();
    server.run::<()>(&["ZADD", "postern:blocklist:index", "5", "jti:i:old"]);
    assert_eq!(store.sweep(NOW).await.unwrap(), 1);
    assert_eq!(server.run::<i64>(&["ZCARD", "postern:blocklist:index"]), 1);
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&Settings::new(Address::Embedded { dir: dir.path().into() })).unwrap();
    let second = Some(Duration::from_secs(1));
    store.put("jti:i:1", &record(), second, NOW).await.unwrap();
    let worker = store.worker();
    let hit = Hit { place: Place::Undated(0), value: serde_json::to_vec(&record()).ok() };
    let found = worker.look_up(&lookup("1"), NOW).await.unwrap();
    assert_eq!(found.hits, Hits::Some(vec![hit]));
    let later = UnixTime(NOW.0 + 1);
    assert_eq!(worker.look_up(&lookup("1"), later).await.unwrap().hits, Hits::None);
    assert_eq!(store.sweep(later).await.unwrap(), 1);
    assert_eq!(store.sweep(later).await.unwrap(), 0);
}
