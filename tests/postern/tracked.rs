//! `check = "tracked"`: a local copy that Redis keeps current. What is revoked is refused within
//! `max_staleness` at the very latest, whatever becomes of the connection, and while all is well no
//! request asks Redis.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::gateway::{Gateway, refuses_to_start};
use crate::harness::keys::Key;
use crate::harness::redis::Redis;
use crate::harness::setup::Setup;
use crate::harness::tokens::Token;
use crate::harness::upstream::Upstream;
use crate::harness::{each, eventually, soon};

mod connections;

/// `ISSUER` as a key's component.
const ISSUER_KEY: &str = "https%3A%2F%2Fauth.test";
/// The default of `max_staleness`.
const STALENESS: Duration = Duration::from_secs(2);
/// What a loaded machine takes longer.
const MARGIN: Duration = Duration::from_millis(1500);

fn key() -> &'static Key {
    Key::shared("ES256")
}

fn tracked(app: &Upstream) -> Setup {
    Setup::standard(app).set("revocation", "check", "\"tracked\"").set(
        "revocation",
        "extra_keys",
        "[\"blacklist:{jti}\"]",
    )
}

fn start(setup: &Setup) -> Gateway {
    let gateway = Gateway::start(setup);
    is_used(&gateway);
    gateway
}

fn status(gateway: &Gateway) -> Value {
    gateway.admin_request("GET", "/status").send().json()["store"].clone()
}

fn is_used(gateway: &Gateway) {
    let used = || status(gateway)["tracked"]["used"] == true;
    eventually("the local copy is used", Duration::from_secs(20), used);
}

fn is_not_used(gateway: &Gateway, why: &str) {
    let why_not = || status(gateway)["tracked"]["why_not"].clone();
    let not_used = || why_not() == why;
    eventually(&format!("the copy is not used: {why}"), Duration::from_secs(20), not_used);
}

fn answer(gateway: &Gateway, token: &str) -> u16 {
    gateway.get("/api/x").bearer(token).send().status
}

fn becomes(gateway: &Gateway, token: &str, status: u16, limit: Duration) -> Duration {
    let start = Instant::now();
    eventually(&format!("{status}"), limit, || answer(gateway, token) == status);
    start.elapsed()
}

fn address(redis: &Redis) -> SocketAddr {
    redis.url().strip_prefix("redis://").unwrap().parse().unwrap()
}

/// Calls of a command since the server's counts were reset.
fn calls(redis: &Redis, command: &str) -> u64 {
    let info: String = redis::from_redis_value(redis.command(&["INFO", "commandstats"])).unwrap();
    let line = info.lines().find_map(|l| l.strip_prefix(&format!("cmdstat_{command}:calls=")));
    line.map_or(0, |line| line.split(',').next().unwrap().parse().unwrap())
}

/// By the other gateway, by a raw key of an application, by a raw key of ours that stands in no
/// index, from before the start and afterwards; and lifted again.
#[test]
fn what_others_revoke_is_refused() {
    let (app, redis) = (Upstream::start(), Redis::start());
    let setup = tracked(&app).redis(&redis);
    let own = |token: &Token| format!("postern:blocklist:jti:{ISSUER_KEY}:{}", token.jti());
    let foreign = |token: &Token| format!("blacklist:{}", token.jti());
    let before = [Token::good(), Token::good()];
    redis.command(&["SET", &own(&before[0]), "{}"]);
    redis.command(&["LPUSH", &foreign(&before[1]), "of any type"]);
    let (one, other) = (start(&setup), start(&setup));
    for token in &before {
        other.get("/api/x").bearer(&token.sign(key())).send().refused(401);
    }
    let token = Token::good();
    let signed = token.sign(key());
    assert_eq!(answer(&other, &signed), 200);
    one.revoke_jti(token.jti());
    assert_eq!(answer(&one, &signed), 401, "the gateway that revoked knows at once");
    becomes(&other, &signed, 401, MARGIN);

    for name in [&own as &dyn Fn(&Token) -> String, &foreign] {
        let token = Token::good();
        let signed = token.sign(key());
        assert_eq!((answer(&one, &signed), answer(&other, &signed)), (200, 200));
        redis.command(&["SET", &name(&token), "1"]);
        becomes(&one, &signed, 401, MARGIN);
        becomes(&other, &signed, 401, MARGIN);
        redis.command(&["DEL", &name(&token)]);
        becomes(&one, &signed, 200, MARGIN);
        becomes(&other, &signed, 200, MARGIN);
        redis.command(&["SET", &name(&token), "1", "PX", "700"]);
        becomes(&one, &signed, 401, MARGIN);
        becomes(&one, &signed, 200, Duration::from_secs(5));
    }
    let alice = |second: i64| Token::good().claim("sub", "alice").claim("iat", second).sign(key());
    let now = crate::harness::unix_now();
    one.revoke(&json!({"sub": "alice", "issued_before": now - 10})).expect(201);
    becomes(&other, &alice(now - 10), 401, MARGIN);
    assert_eq!(answer(&other, &alice(now - 9)), 200, "issued afterwards");
}

/// Zero round trips: Redis counts no lookup while requests are served, whatever the token.
#[test]
fn requests_do_not_ask() {
    let (app, redis) = (Upstream::start(), Redis::start());
    let gateway = start(&tracked(&app).redis(&redis));
    let revoked = Token::good();
    gateway.revoke_jti(revoked.jti());
    becomes(&gateway, &revoked.sign(key()), 401, MARGIN);
    redis.command(&["CONFIG", "RESETSTAT"]);
    for _ in 0..50 {
        assert_eq!(answer(&gateway, &Token::good().sign(key())), 200);
        assert_eq!(answer(&gateway, &revoked.sign(key())), 401);
    }
    assert_eq!(calls(&redis, "exists"), 0, "requests asked Redis");
    assert!(status(&gateway)["tracked"]["lease_age_ms"].as_u64().unwrap() < 2000);
    let ordinary = Setup::standard(&app).redis(&redis);
    assert!(gateway.reload(&ordinary).status < 300);
    assert_eq!(answer(&gateway, &Token::good().sign(key())), 200);
    assert!(calls(&redis, "exists") > 0, "every-request does ask");
}

/// FLUSHALL, and a restart without persistence, are losses: what the copy held stays in force,
/// though this gateway neither made it nor ever saw it refuse.
#[test]
fn the_store_loses_its_contents() {
    let app = Upstream::start();
    for restarts in [false, true] {
        let mut redis = Redis::start();
        let setup = tracked(&app).redis(&redis);
        let gateway = start(&setup);
        let (revoked, foreign, good) = (Token::good(), Token::good(), Token::good().sign(key()));
        {
            let other = start(&setup);
            other.revoke_jti(revoked.jti());
            redis.command(&["SET", &format!("blacklist:{}", foreign.jti()), "1", "EX", "600"]);
            let entries = || status(&gateway)["tracked"]["entries"] == 2;
            soon("the copy has both", entries);
        }
        if restarts {
            redis.restart();
        } else {
            redis.command(&["FLUSHALL"]);
        }
        app.forget();
        let mut seen = 0;
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(3) {
            for token in [&revoked, &foreign] {
                let status = answer(&gateway, &token.sign(key()));
                assert!(status == 401 || status == 503, "{status}, restarted: {restarts}");
            }
            seen += 1;
        }
        assert!(seen > 3);
        app.saw_nothing("un-revoked by a loss");
        is_used(&gateway);
        let store = status(&gateway);
        assert_eq!((&store["lost"], &store["alarm"]), (&json!(1), &json!(true)), "{store}");
        becomes(&gateway, &good, 200, MARGIN);
        // Having refused, it knows the name, and writes it back.
        let pattern = format!("postern:blocklist:jti:*:{}", revoked.jti());
        soon("it is written back", || redis.keys(&pattern).len() == 1);
        gateway.get("/api/x").bearer(&revoked.sign(key())).send().refused(401);
        gateway.get("/api/x").bearer(&foreign.sign(key())).send().refused(401);
    }
}

/// Above `max_entries` Redis is asked per request; below it the copy is used again.
#[test]
fn there_are_too_many_entries() {
    let (app, redis) = (Upstream::start(), Redis::start());
    let gateway = start(&tracked(&app).redis(&redis).set("revocation", "max_entries", "5"));
    let (good, tokens) = (Token::good().sign(key()), [(); 8].map(|()| Token::good()));
    let mut items = Vec::new();
    for token in &tokens {
        items.push(gateway.revoke(&json!({"jti": token.jti()})).expect(201).json());
    }
    is_not_used(&gateway, "too_many_entries");
    assert_eq!(answer(&gateway, &good), 200);
    for token in &tokens {
        gateway.get("/api/x").bearer(&token.sign(key())).send().refused(401);
    }
    gateway.says("too_many_entries");
    for item in &items[..6] {
        let path = format!("/revocations/{}", item["id"].as_str().unwrap());
        gateway.admin_request("DELETE", &path).send().expect(204);
    }
    is_used(&gateway);
    assert_eq!(status(&gateway)["tracked"]["entries"], 2);
    assert_eq!(answer(&gateway, &tokens[0].sign(key())), 200, "lifted");
    assert_eq!(answer(&gateway, &tokens[7].sign(key())), 401);
}

/// Every way from one mode to another: what is revoked is refused all the time, except while the
/// operator has switched the check off.
#[test]
fn the_mode_changes_by_reload() {
    let (app, redis) = (Upstream::start(), Redis::start());
    let copy = tracked(&app).redis(&redis);
    let ask = copy.clone().set("revocation", "check", "\"every-request\"");
    let off = copy.clone().set("revocation", "check", "\"off\"");
    let more =
        copy.clone().set("revocation", "extra_keys", "[\"blacklist:{jti}\", \"gone:{sub}\"]");
    let shorter = copy.clone().set("revocation", "max_staleness", "\"500ms\"");
    let gateway = start(&copy);
    let (revoked, good) = (Token::good(), Token::good().sign(key()));
    let gone = Token::good().claim("sub", "gone").sign(key());
    redis.command(&["SET", "gone:gone", "1"]);
    let signed = revoked.sign(key());
    gateway.revoke_jti(revoked.jti());
    becomes(&gateway, &signed, 401, MARGIN);
    for (name, setup, mode) in [
        ("ask", &ask, "every-request"),
        ("copy", &copy, "tracked"),
        ("more", &more, "tracked"),
        ("shorter", &shorter, "tracked"),
        ("off", &off, "off"),
        ("copy again", &copy, "tracked"),
        ("off again", &off, "off"),
        ("ask again", &ask, "every-request"),
        ("more again", &more, "tracked"),
        ("copy at last", &copy, "tracked"),
    ] {
        let reloaded = gateway.reload(setup);
        assert!(reloaded.status < 300, "{name}: {}", reloaded.text());
        for _ in 0..20 {
            let expected = if mode == "off" { 200 } else { 401 };
            assert_eq!(answer(&gateway, &signed), expected, "{name}");
            assert_eq!(answer(&gateway, &good), 200, "{name}");
            let expected = if name.starts_with("more") { 401 } else { 200 };
            assert_eq!(answer(&gateway, &gone), expected, "{name}");
        }
        let store = status(&gateway);
        assert_eq!(store["check"], mode, "{name}");
        assert_eq!(store["tracked"].is_null(), mode != "tracked", "{name}");
    }
    is_used(&gateway);
    assert_eq!(answer(&gateway, &signed), 401);
}

/// The embedded store is in the process' memory anyway: the word is understood and changes nothing.
#[test]
fn an_embedded_store_needs_no_copy() {
    let app = Upstream::start();
    let gateway = Gateway::start(&Setup::standard(&app).set("revocation", "check", "\"tracked\""));
    let token = Token::good();
    let signed = token.sign(key());
    assert_eq!(answer(&gateway, &signed), 200);
    gateway.revoke_jti(token.jti());
    assert_eq!(answer(&gateway, &signed), 401);
    let store = status(&gateway);
    assert_eq!((&store["engine"], &store["check"]), (&json!("embedded"), &json!("tracked")));
    assert!(store["tracked"].is_null());
}

#[test]
fn settings_that_do_not_fit_are_refused() {
    let app = Upstream::start();
    each(
        [
            ("extra_keys", "[\"{jti}\"]", "must begin with text"),
            ("max_staleness", "\"1ms\"", "max_staleness is between"),
            ("max_entries", "0", "expected a whole number from 1"),
        ],
        |(name, value, words)| {
            let setup = Setup::standard(&app).set("revocation", "check", "\"tracked\"");
            let (code, said) = refuses_to_start(&setup.set("revocation", name, value));
            assert_eq!(code, 2, "{name}: {said}");
            assert!(said.contains(words), "{name}: {said}");
        },
    );
    let cluster = Setup::standard(&app).set("revocation", "check", "\"tracked\"");
    let (code, said) =
        refuses_to_start(&cluster.set("store", "url", "\"redis-cluster://127.0.0.1:1\""));
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("Redis Cluster is not offered"), "{said}");
}
