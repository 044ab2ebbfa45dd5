//! The local copy under load and at its size: how soon a revocation on one gateway holds on the
//! other, and what a million entries cost. Figures for the notes; run by `tests/extended.sh`.

use std::time::{Duration, Instant};

use crate::harness::client::Connection;
use crate::harness::eventually;
use crate::harness::gateway::Gateway;
use crate::harness::keys::Key;
use crate::harness::load::Load;
use crate::harness::redis::Redis;
use crate::harness::setup::Setup;
use crate::harness::tokens::Token;
use crate::harness::upstream::Upstream;

/// Issue 4: propagation p99 on loopback under load.
const PROPAGATION_MAX: Duration = Duration::from_millis(20);
/// Issue 4: a million entries in the local copy.
const ENTRIES: usize = 1_000_000;
const MEMORY_MAX_KIB: u64 = 150 * 1024;
const PER_PIPELINE: usize = 10_000;

fn key() -> &'static Key {
    Key::shared("ES256")
}

fn quiet(app: &Upstream, redis: &Redis) -> Setup {
    let setup = Setup::standard(app).redis(redis).set("store", "timeout", "\"5s\"");
    setup.set("log", "level", "\"warn\"").set("log", "access", "\"off\"")
}

fn tracked(setup: &Setup) -> Setup {
    setup.clone().set("revocation", "check", "\"tracked\"")
}

fn is_used(gateway: &Gateway) {
    eventually("the local copy is used", Duration::from_secs(120), || {
        let status = gateway.admin_request("GET", "/status").send().json();
        status["store"]["tracked"]["used"] == true
    });
}

fn get(gateway: &Gateway, token: &str, connection: &mut Connection) -> u16 {
    gateway.get("/api/x").bearer(token).on(connection).unwrap().status
}

/// The value that so many percent of the sorted ones do not exceed.
fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    sorted[(sorted.len() * percent / 100).min(sorted.len() - 1)]
}

#[test]
#[ignore = "a measurement; run by tests/extended.sh"]
fn a_revocation_reaches_the_other_gateway() {
    let (app, redis) = (Upstream::start(), Redis::start());
    let setup = tracked(&quiet(&app, &redis));
    let (one, other) = (Gateway::start(&setup), Gateway::start(&setup));
    is_used(&one);
    is_used(&other);
    let load = Load::start(&other, 8, (0..50).map(|_| Token::good().sign(key())).collect());
    let mut connection = other.https().connect();
    let (mut admin, secret) = (one.admin().connect(), one.admin_secret());
    let mut took = Vec::new();
    for _ in 0..1000 {
        let token = Token::good();
        let signed = token.sign(key());
        assert_eq!(get(&other, &signed, &mut connection), 200);
        let body = serde_json::json!({ "jti": token.jti() });
        let request = one.admin().request("POST", "/revocations").bearer(&secret).json(&body);
        request.on(&mut admin).unwrap().expect(201);
        let acknowledged = Instant::now();
        while get(&other, &signed, &mut connection) != 401 {
            assert!(acknowledged.elapsed() < Duration::from_secs(2), "outside the bound");
        }
        took.push(acknowledged.elapsed());
    }
    let served = load.end();
    took.sort_unstable();
    println!(
        "1000 revocations under load ({served} other requests): refused by the other gateway \
         {:.1?} after the acknowledgement at the median, {:.1?} at the 99th percentile, {:.1?} at \
         most (the refusing request included)",
        percentile(&took, 50),
        percentile(&took, 99),
        took[took.len() - 1],
    );
    let text = other.admin().request("GET", "/metrics").send().text();
    text.lines().filter(|line| line.contains("propagation")).for_each(|line| println!("{line}"));
    assert!(percentile(&took, 99) < PROPAGATION_MAX, "{:?}", percentile(&took, 99));
}

/// Entries as `revoke` makes them, and their index.
fn fill(redis: &Redis) {
    let mut connection = redis.client().unwrap().get_connection().unwrap();
    let ends = crate::harness::unix_now() + 86_400;
    for from in (0..ENTRIES).step_by(PER_PIPELINE) {
        let mut pipeline = redis::pipe();
        for number in from..from + PER_PIPELINE {
            let suffix = format!("jti:https%3A%2F%2Fauth.test:million-{number:08}");
            let value = r#"{"reason":"trial","by":"trial","at":1800000000,"issued_before":null}"#;
            let name = format!("postern:blocklist:{suffix}");
            pipeline.cmd("SET").arg(name).arg(value).arg("EX").arg(86_400).ignore();
            pipeline.cmd("ZADD").arg("postern:blocklist:index").arg(ends).arg(suffix).ignore();
        }
        pipeline.query::<()>(&mut connection).unwrap();
    }
}

/// Requests one after the other for a while, at a moderate pace; their times, sorted.
fn times(gateway: &Gateway, token: &str, mut goes_on: impl FnMut() -> bool) -> Vec<Duration> {
    let mut connection = gateway.https().connect();
    let mut times = Vec::new();
    while goes_on() {
        let start = Instant::now();
        assert_eq!(get(gateway, token, &mut connection), 200);
        times.push(start.elapsed());
        std::thread::sleep(Duration::from_millis(1));
    }
    times.sort_unstable();
    times
}

#[test]
#[ignore = "a measurement; run by tests/extended.sh"]
fn a_million_entries() {
    let (app, redis) = (Upstream::start(), Redis::start());
    fill(&redis);
    let setup = quiet(&app, &redis);
    let gateway = Gateway::start(&setup);
    let (good, held) = (Token::good().sign(key()), Token::good().claim("jti", "million-00500000"));
    let seconds = |count: u64| {
        let start = Instant::now();
        move || start.elapsed() < Duration::from_secs(count)
    };
    let before = times(&gateway, &good, seconds(5));
    let empty = gateway.resident_kib();
    let start = Instant::now();
    assert!(gateway.reload(&tracked(&setup)).status < 300);
    let (mut admin, secret) = (gateway.admin().connect(), gateway.admin_secret());
    let mut asked = Instant::now();
    let during = times(&gateway, &good, || {
        if asked.elapsed() < Duration::from_millis(50) {
            return true;
        }
        asked = Instant::now();
        let request = gateway.admin().request("GET", "/status").bearer(&secret);
        let status = request.on(&mut admin).unwrap().json();
        status["store"]["tracked"]["used"] != true
    });
    let synchronised = start.elapsed();
    let full = gateway.resident_kib();
    let after = times(&gateway, &good, seconds(5));
    gateway.get("/api/x").bearer(&held.sign(key())).send().refused(401);
    let status = gateway.admin_request("GET", "/status").send().json();
    assert_eq!(status["store"]["tracked"]["entries"], ENTRIES);
    println!("{ENTRIES} entries: in the copy after {synchronised:.1?}");
    println!("resident memory: {empty} KiB before, {full} KiB after");
    for (name, times) in [("before", &before), ("during", &during), ("after", &after)] {
        let at = |percent| percentile(times, percent);
        let (median, p99) = (at(50), at(99));
        println!("{name}: {} requests, median {median:.1?}, p99 {p99:.1?}", times.len());
    }
    assert!(full - empty < MEMORY_MAX_KIB, "{} KiB", full - empty);
}
