//! The tracking connection hangs, is swallowed, killed, lied on, led elsewhere: nothing passes that
//! was revoked longer ago than `max_staleness`, and requests ask by another path meanwhile.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::{MARGIN, STALENESS, address, answer, becomes, is_used, key, start, status, tracked};
use crate::harness::blackhole::BlackHole;
use crate::harness::gateway::Gateway;
use crate::harness::load::Load;
use crate::harness::redis::Redis;
use crate::harness::sentinel::Trio;
use crate::harness::setup::Setup;
use crate::harness::tokens::Token;
use crate::harness::upstream::Upstream;
use crate::harness::{eventually, soon};

/// The ids of the connections that track.
fn trackers(redis: &Redis) -> Vec<String> {
    let list: String = redis::from_redis_value(redis.command(&["CLIENT", "LIST"])).unwrap();
    let field = |line: &str, name: &str| {
        let word = line.split(' ').find_map(|word| word.strip_prefix(&format!("{name}=")));
        word.unwrap_or_default().to_owned()
    };
    let tracks = |line: &&str| field(line, "flags").contains('B');
    list.lines().filter(tracks).map(|line| field(line, "id")).collect()
}

fn is_tracking(sent: &[u8]) -> bool {
    sent.windows(8).any(|word| word == b"TRACKING")
}

/// R42: a server that hangs says nothing, and the copy is too old after `max_staleness`.
#[test]
fn redis_hangs() {
    let (app, redis) = (Upstream::start(), Redis::tcp());
    let gateway = start(&tracked(&app).redis(&redis));
    let token = Token::good().sign(key());
    let revoked = Token::good();
    gateway.revoke_jti(revoked.jti());
    becomes(&gateway, &revoked.sign(key()), 401, MARGIN);
    redis.freeze();
    let frozen = Instant::now();
    assert_eq!(answer(&gateway, &token), 200, "the copy is still young");
    eventually("it is too old", Duration::from_secs(10), || {
        let (sent, status) = (frozen.elapsed(), answer(&gateway, &token));
        assert!(status == 503 || sent < STALENESS, "{status} after {sent:?}");
        status == 503
    });
    app.forget();
    gateway.get("/api/x").bearer(&token).send().refused(503);
    app.saw_nothing("too old");
    // What the copy knew to be revoked stays so.
    gateway.get("/api/x").bearer(&revoked.sign(key())).send().refused(401);
    redis.thaw();
    becomes(&gateway, &token, 200, Duration::from_secs(10));
    is_used(&gateway);
}

/// A half-open connection: no reset, no answer. The lease notices, requests ask by another path.
#[test]
fn the_tracking_connection_is_swallowed() {
    let (app, redis) = (Upstream::start(), Redis::tcp());
    let hole = BlackHole::start(address(&redis));
    let gateway = start(&tracked(&app).set("store", "url", &format!("\"{}\"", hole.url())));
    let (good, revoked) = (Token::good().sign(key()), Token::good());
    let signed = revoked.sign(key());
    assert_eq!(answer(&gateway, &signed), 200);
    assert_eq!(hole.swallow(is_tracking), 1);
    redis.command(&["SET", &format!("blacklist:{}", revoked.jti()), "1"]);
    let since = Instant::now();
    while since.elapsed() < STALENESS + MARGIN {
        assert_eq!(answer(&gateway, &good), 200, "the other path works");
        let (sent, status) = (since.elapsed(), answer(&gateway, &signed));
        assert!(status == 401 || sent < STALENESS, "{status} after {sent:?}");
    }
    is_used(&gateway);
    assert_eq!(answer(&gateway, &signed), 401);
}

/// Every connection is swallowed: nothing passes that was revoked longer than `max_staleness` ago.
#[test]
fn every_connection_is_swallowed() {
    let (app, redis) = (Upstream::start(), Redis::tcp());
    let hole = BlackHole::start(address(&redis));
    let gateway = start(&tracked(&app).set("store", "url", &format!("\"{}\"", hole.url())));
    let token = Token::good();
    let signed = token.sign(key());
    assert_eq!(answer(&gateway, &signed), 200);
    assert!(hole.swallow(|_| true) > 2);
    redis.command(&["SET", &format!("blacklist:{}", token.jti()), "1"]);
    let since = Instant::now();
    while since.elapsed() < STALENESS * 2 {
        let (sent, status) = (since.elapsed(), answer(&gateway, &signed));
        assert!(status != 200 || sent < STALENESS, "{status} after {sent:?}");
    }
    becomes(&gateway, &signed, 401, Duration::from_secs(5));
    is_used(&gateway);
}

/// The server answers and does not report: tracking was never on for what matters, or was lost.
#[test]
fn nothing_is_reported() {
    let (app, redis) = (Upstream::start(), Redis::tcp());
    // Never on: the prefixes are others than those that were sent.
    let hole = BlackHole::start(address(&redis));
    hole.change_from_client(|mut bytes| {
        if is_tracking(&bytes) {
            for at in 0..bytes.len().saturating_sub(8) {
                if &bytes[at..at + 8] == b"postern:" {
                    bytes[at] = b'x';
                }
            }
        }
        bytes
    });
    let url = format!("\"{}\"", hole.url());
    let setup = Setup::standard(&app).set("revocation", "check", "\"tracked\"");
    let gateway = Gateway::start(&setup.set("store", "url", &url));
    let token = Token::good();
    let signed = token.sign(key());
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(status(&gateway)["tracked"]["used"], false);
    assert_eq!(answer(&gateway, &signed), 200);
    gateway.revoke_jti(token.jti());
    assert_eq!(answer(&gateway, &signed), 401, "asked per request");

    // Lost on the way: reports do not arrive any more, everything else does.
    let hole = BlackHole::start(address(&redis));
    let url = format!("\"{}\"", hole.url());
    let gateway = start(&tracked(&app).set("store", "url", &url));
    let token = Token::good();
    let signed = token.sign(key());
    assert_eq!(answer(&gateway, &signed), 200);
    hole.change_from_server(|bytes| {
        if bytes.starts_with(b">2\r\n$10\r\ninvalidate") { Vec::new() } else { bytes }
    });
    redis.command(&["SET", &format!("blacklist:{}", token.jti()), "1"]);
    becomes(&gateway, &signed, 401, STALENESS + MARGIN);
}

/// Under load: not one request fails, and what is revoked meanwhile is refused.
#[test]
fn the_tracking_connection_is_killed() {
    let (app, redis) = (Upstream::start(), Redis::start());
    let gateway = start(&tracked(&app).redis(&redis));
    let load = Load::start(&gateway, 4, vec![Token::good().sign(key()), Token::good().sign(key())]);
    for _ in 0..5 {
        let token = Token::good();
        let signed = token.sign(key());
        assert_eq!(answer(&gateway, &signed), 200);
        let trackers = trackers(&redis);
        assert_eq!(trackers.len(), 1, "one tracking connection a process");
        redis.command(&["SET", &format!("blacklist:{}", token.jti()), "1"]);
        redis.command(&["CLIENT", "KILL", "ID", &trackers[0]]);
        becomes(&gateway, &signed, 401, MARGIN);
        load.flows(20);
        is_used(&gateway);
        assert_eq!(answer(&gateway, &signed), 401);
    }
    load.end();
}

/// A server that becomes a replica may lag behind its master: it is not believed.
#[test]
fn the_server_becomes_a_replica() {
    let (app, redis, master) = (Upstream::start(), Redis::start(), Redis::tcp());
    let gateway = start(&tracked(&app).redis(&redis));
    let token = Token::good().sign(key());
    assert_eq!(answer(&gateway, &token), 200);
    let port = address(&master).port().to_string();
    redis.command(&["REPLICAOF", "127.0.0.1", &port]);
    becomes(&gateway, &token, 503, Duration::from_secs(5));
    redis.command(&["REPLICAOF", "NO", "ONE"]);
    becomes(&gateway, &token, 200, Duration::from_secs(10));
}

/// The gateway itself stops for longer than the lease: it wakes up with an old copy.
#[test]
fn the_gateway_is_stopped_for_a_while() {
    let (app, redis) = (Upstream::start(), Redis::start());
    let gateway = start(&tracked(&app).redis(&redis));
    let token = Token::good();
    let signed = token.sign(key());
    assert_eq!(answer(&gateway, &signed), 200);
    gateway.signal(Signal::STOP);
    redis.command(&["SET", &format!("blacklist:{}", token.jti()), "1"]);
    std::thread::sleep(STALENESS + Duration::from_millis(200));
    gateway.signal(Signal::CONT);
    assert_eq!(answer(&gateway, &signed), 401);
}

/// The master is killed: another one is tracked, and what was revoked stays so all the time.
#[test]
fn another_master_is_tracked() {
    let app = Upstream::start();
    let mut trio = Trio::start();
    let setup = tracked(&app).set("store", "url", &format!("\"{}\"", trio.url()));
    let gateway = start(&setup.set("store", "wait_replicas", "0"));
    let (good, revoked) = (Token::good().sign(key()), Token::good());
    let signed = revoked.sign(key());
    gateway.revoke_jti(revoked.jti());
    becomes(&gateway, &signed, 401, MARGIN);
    trio.servers[0].kill();
    let start = Instant::now();
    let next = loop {
        let status = answer(&gateway, &signed);
        assert!(status == 401 || status == 503, "{status} during the failover");
        if let Some(next) = trio.master_by(0).filter(|next| *next != 0) {
            break next;
        }
        assert!(start.elapsed() < Duration::from_secs(60), "no other master");
        std::thread::sleep(Duration::from_millis(50));
    };
    becomes(&gateway, &good, 200, Duration::from_secs(10));
    is_used(&gateway);
    assert_eq!(answer(&gateway, &signed), 401);
    let later = Token::good();
    trio.servers[next].command(&["SET", &format!("blacklist:{}", later.jti()), "1"]);
    becomes(&gateway, &later.sign(key()), 401, MARGIN);
}

/// A server whose user may not track: said once, and asked per request.
#[test]
fn tracking_is_forbidden() {
    let app = Upstream::start();
    let redis = Redis::with(&["user default on nopass ~* &* +@all -client|tracking"]);
    let gateway = Gateway::start(&tracked(&app).redis(&redis));
    let token = Token::good();
    let signed = token.sign(key());
    assert_eq!(answer(&gateway, &signed), 200);
    gateway.revoke_jti(token.jti());
    assert_eq!(answer(&gateway, &signed), 401);
    soon("it is said", || gateway.output().contains("cannot be kept current"));
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(answer(&gateway, &signed), 401, "asked per request");
    assert_eq!(gateway.output().matches("cannot be kept current").count(), 1, "said once");
}
