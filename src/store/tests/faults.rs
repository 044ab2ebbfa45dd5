//! Servers that fail in every way; each must end as an error within the deadline (R42, R43) and
//! be recovered from by itself (R44).

use std::sync::Arc;
use std::time::Instant;

use super::fake::{BlackHole, FakeServer, Manner};
use super::*;
use crate::store::{Error, Hits, Store, WorkerStore};

/// The deadline, and what a busy machine may add to it.
const IN_TIME: Duration = Duration::from_millis(250 + 750);

async fn ask(worker: &WorkerStore) -> Result<Hits, Error> {
    let started = Instant::now();
    let answer = worker.look_up(&lookup("1"), NOW).await.map(|found| found.hits);
    assert!(started.elapsed() < IN_TIME, "{answer:?} took {:?}", started.elapsed());
    answer
}

/// R42: protocol garbage, every `-ERR`, wrong shapes, reset, hang.
#[tokio::test]
async fn no_answer_but_the_right_one_counts() {
    let says = |text: &str| Manner::Says(text.as_bytes().to_vec());
    let mut manners = vec![Manner::Closes, Manner::Hangs];
    manners.push(Manner::Dribbles(
        b":0\r\n:0\r\n*2\r\n_\r\n_\r\n".to_vec(),
        Duration::from_millis(50),
    ));
    for error in [
        "LOADING Redis is loading the dataset in memory",
        "OOM command not allowed",
        "NOAUTH no",
        "MOVED 3999 127.0.0.1:6381",
        "ASK 3999 127.0.0.1:6381",
        "MASTERDOWN Link is down",
        "BUSY Redis is busy",
        "WRONGTYPE Operation",
        "READONLY You can't",
        "NOPERM no",
        "ERR x",
        "CLUSTERDOWN x",
        "TRYAGAIN x",
        "MISCONF x",
        "UNKNOWNWORD",
        "",
    ] {
        manners.push(says(&format!("-{error}\r\n-{error}\r\n-{error}\r\n")));
        manners.push(says(&format!(":0\r\n:0\r\n-{error}\r\n")));
        manners.push(says(&format!("-{error}\r\n:0\r\n*2\r\n_\r\n_\r\n")));
        manners.push(says(&format!(":0\r\n:0\r\n*2\r\n-{error}\r\n_\r\n")));
    }
    for garbage in [
        "HTTP/1.1 400 Bad Request\r\n\r\n",
        "\r\n\r\n\r\n",
        "\0\0\0\0\0\0\0\0",
        ":0\r\n:0\r\n",
        ":x\r\n:0\r\n*2\r\n_\r\n_\r\n",
        ":-1\r\n:0\r\n*2\r\n_\r\n_\r\n",
        ":0\r\n:-1\r\n*2\r\n_\r\n_\r\n",
        "_\r\n:0\r\n*2\r\n_\r\n_\r\n",
        "$1\r\n0\r\n:0\r\n*2\r\n_\r\n_\r\n",
        "+OK\r\n+OK\r\n+OK\r\n",
        ":0\r\n:0\r\n*1\r\n_\r\n",
        ":0\r\n:0\r\n*3\r\n_\r\n_\r\n_\r\n",
        ":0\r\n:0\r\n*0\r\n",
        ":0\r\n:0\r\n_\r\n",
        ":0\r\n:0\r\n*2\r\n:0\r\n_\r\n",
        ":0\r\n:0\r\n*2\r\n*0\r\n_\r\n",
        ":0\r\n:0\r\n:0\r\n",
        "*0\r\n:0\r\n*2\r\n_\r\n_\r\n",
        "#f\r\n:0\r\n*2\r\n_\r\n_\r\n",
        ":0\r\n:0\r\n*99999999\r\n_\r\n",
        ":0\r\n:0\r\n$99999999\r\n",
        // Claims that something stands against the token, and then cannot say what.
        ":1\r\n:0\r\n*2\r\n_\r\n_\r\n:1\r\n",
        ":0\r\n:1\r\n*2\r\n_\r\n_\r\n",
    ] {
        manners.push(says(garbage));
    }
    for manner in manners {
        let server = FakeServer::start(manner.clone()).await;
        let store = Store::open(&tcp(server.port)).unwrap();
        let answer = ask(&store.worker()).await;
        assert!(answer.is_err(), "{manner:?} was taken for {answer:?}");
    }
}

/// The fake is no scarecrow: the right answer from it does count.
#[tokio::test]
async fn the_right_answer_counts() {
    let server = FakeServer::start(Manner::Says(b":0\r\n:0\r\n*2\r\n_\r\n_\r\n".to_vec())).await;
    let store = Store::open(&tcp(server.port)).unwrap();
    assert_eq!(ask(&store.worker()).await, Ok(Hits::None));
}

/// R43: 100 waiters on a frozen server all answer within the deadline, then at once; R44:
/// recovery within two seconds, though the connections never broke.
#[tokio::test]
async fn a_frozen_server_holds_nobody_up() {
    let server = RedisServer::start();
    let store = Store::open(&tcp(server.port)).unwrap();
    let worker = Arc::new(store.worker());
    assert_eq!(ask(&worker).await, Ok(Hits::None));
    server.freeze();
    let tasks: Vec<_> = (0..100)
        .map(|i| {
            let worker = Arc::clone(&worker);
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(i)).await;
                ask(&worker).await
            })
        })
        .collect();
    for task in tasks {
        assert!(task.await.unwrap().is_err());
    }
    for _ in 0..20 {
        assert!(ask(&worker).await.is_err());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    server.thaw();
    let thawed = Instant::now();
    eventually(async || ask(&worker).await.is_ok()).await;
    assert!(thawed.elapsed() < Duration::from_secs(2), "{:?}", thawed.elapsed());
}

/// R44: killed and restarted; while it is down callers are told at once.
#[tokio::test]
async fn a_restarted_server_is_found_again() {
    let mut server = RedisServer::start();
    let store = Store::open(&tcp(server.port)).unwrap();
    let worker = store.worker();
    assert_eq!(ask(&worker).await, Ok(Hits::None));
    server.kill();
    assert!(ask(&worker).await.is_err());
    tokio::time::sleep(Duration::from_millis(100)).await;
    let started = Instant::now();
    for _ in 0..100 {
        assert!(ask(&worker).await.is_err());
    }
    assert!(started.elapsed() < Duration::from_millis(500), "{:?}", started.elapsed());
    tokio::time::sleep(Duration::from_secs(3)).await;
    server.restart();
    let restarted = Instant::now();
    eventually(async || ask(&worker).await.is_ok()).await;
    assert!(restarted.elapsed() < Duration::from_secs(2), "{:?}", restarted.elapsed());
}

/// A server that closes idle or killed connections costs nobody a refusal.
#[tokio::test]
async fn a_closed_connection_is_replaced_unnoticed() {
    let server = RedisServer::start();
    let store = Store::open(&tcp(server.port)).unwrap();
    let worker = store.worker();
    for pause in [0, 0, 0, 1, 5, 20] {
        assert_eq!(ask(&worker).await, Ok(Hits::None));
        server.run::<i64>(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }
}

/// No stampede: while the server hangs, one worker makes one attempt at a time, with pauses.
#[tokio::test]
async fn one_attempt_at_a_time() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let store = Store::open(&tcp(listener.local_addr().unwrap().port())).unwrap();
    let worker = store.worker();
    let attempts = tokio::spawn(async move {
        let mut sockets = Vec::new();
        let deadline = tokio::time::Instant::now() + Duration::from_secs(2);
        while let Ok(Ok((socket, _))) = tokio::time::timeout_at(deadline, listener.accept()).await {
            sockets.push(socket); // Accepted, never answered.
        }
        sockets.len()
    });
    let deadline = Instant::now() + Duration::from_secs(2);
    while Instant::now() < deadline {
        assert!(ask(&worker).await.is_err());
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    // The worker's link and the process' own, each a quarter of a second and a pause apart.
    assert!(attempts.await.unwrap() <= 14);
}

/// Invariant 9: a replica may lag behind, so it is not asked.
#[tokio::test]
async fn a_replica_is_refused_unless_allowed() {
    let master = RedisServer::start();
    let port = master.port.to_string();
    let server = RedisServer::start_with(&["--save", "", "--replicaof", "127.0.0.1", &port]);
    let mut settings = tcp(server.port);
    let store = Store::open(&settings).unwrap();
    let error = ask(&store.worker()).await.unwrap_err();
    assert_eq!(error, Error::Down("it is a replica, not a master".into()));
    settings.allow_replica = true;
    let store = Store::open(&settings).unwrap();
    assert_eq!(ask(&store.worker()).await, Ok(Hits::None));
    // A master that becomes a replica is noticed while it is in use.
    let store = Store::open(&tcp(master.port)).unwrap();
    let worker = store.worker();
    assert_eq!(ask(&worker).await, Ok(Hits::None));
    let port = server.port.to_string();
    server.run::<()>(&["REPLICAOF", "NO", "ONE"]);
    master.run::<()>(&["REPLICAOF", "127.0.0.1", &port]);
    eventually(async || ask(&worker).await.is_err()).await;
}

/// `wait_replicas`: too few is an error that says so, and the entry is kept nevertheless.
#[tokio::test]
async fn too_few_replicas_are_told() {
    let server = RedisServer::start();
    let settings = Settings { wait_replicas: 1, ..unix(&server) };
    let store = Store::open(&settings).unwrap();
    let error = store.put("jti:i:1", &record(), None, NOW).await.unwrap_err();
    assert_eq!(error, Error::NotReplicated { got: 0, wanted: 1 });
    assert!(matches!(store.worker().look_up(&lookup("1"), NOW).await.unwrap().hits, Hits::Some(_)));
    let port = server.port.to_string();
    let _replica = RedisServer::start_with(&["--save", "", "--replicaof", "127.0.0.1", &port]);
    eventually(async || store.put("jti:i:2", &record(), None, NOW).await.is_ok()).await;
}

/// R44: an established connection that silently died (a firewall forgot it) is given up for a
/// new one, also when nobody asks meanwhile.
#[tokio::test]
async fn a_silently_dead_connection_is_replaced() {
    let server = RedisServer::start();
    let proxy = BlackHole::start(server.port).await;
    let store = Store::open(&tcp(proxy.port)).unwrap();
    let worker = store.worker();
    for idle in [false, true] {
        assert_eq!(ask(&worker).await, Ok(Hits::None));
        proxy.swallow();
        let swallowed = Instant::now();
        if idle {
            tokio::time::sleep(Duration::from_millis(2500)).await;
            assert_eq!(ask(&worker).await, Ok(Hits::None), "the probe should have found it");
        } else {
            assert_eq!(ask(&worker).await, Err(Error::Timeout));
            eventually(async || ask(&worker).await.is_ok()).await;
            assert!(swallowed.elapsed() < Duration::from_secs(2), "{:?}", swallowed.elapsed());
        }
    }
}
