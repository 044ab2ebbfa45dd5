//! Redis behind sentinels: whichever way the master goes, no revoked token passes and no valid one
//! is refused, and the gateways find the next master by themselves. Three rounds of everything
//! here; more in `tests/extended.sh`.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::gateway::{Gateway, run};
use crate::harness::keys::Key;
use crate::harness::pressure::Pressure;
use crate::harness::sentinel::Trio;
use crate::harness::setup::Setup;
use crate::harness::soon;
use crate::harness::tokens::Token;
use crate::harness::upstream::Upstream;

fn setup(app: &Upstream, trio: &Trio) -> Setup {
    let quiet =
        Setup::standard(app).set("log", "level", "\"info\"").set("log", "access", "\"off\"");
    quiet.set("store", "url", &format!("\"{}\"", trio.url()))
}

fn status(gateway: &Gateway, token: &str) -> u16 {
    gateway.get("/api/x").bearer(token).send().status
}

/// What is done to the master.
#[derive(Clone, Copy, Debug)]
enum Fault {
    Killed,
    Frozen,
    Ordered,
}

/// The fault during load over two gateways, and what comes back afterwards.
fn failover(fault: Fault, rounds: usize) {
    let app = Upstream::start();
    for round in 0..rounds {
        let mut trio = Trio::start();
        // One of the sentinels is down from the start, and is skipped.
        if matches!(fault, Fault::Killed) {
            trio.kill_sentinel(0);
        }
        let setup = setup(&app, &trio);
        let gateways = [Gateway::start(&setup), Gateway::start(&setup)];
        let pressure = Pressure::start(&[&gateways[0], &gateways[1]]);
        pressure.flows(50, 10);
        let start = Instant::now();
        match fault {
            Fault::Killed => trio.servers[0].kill(),
            Fault::Frozen => trio.servers[0].freeze(),
            Fault::Ordered => trio.failover(),
        }
        let next = trio.wait_for_another(0);
        let switched = start.elapsed();
        pressure.flows(50, 10);
        // The old one comes back: empty, or with what it knew, and takes itself for a master for a
        // while.
        match fault {
            Fault::Killed => trio.servers[0].restart(),
            Fault::Frozen => trio.servers[0].thaw(),
            Fault::Ordered => {}
        }
        pressure.flows(100, 10);
        let tally = pressure.end();
        println!(
            "sentinel, {fault:?}, round {round}: another master after {switched:.1?}, last 503 \
             after {:.1?}; {} served, {} answered 503, {} revocations, {} refusals of revoked \
             tokens",
            tally.recovery(start),
            tally.served,
            tally.unavailable,
            tally.revoked,
            tally.refused,
        );
        // On a machine that is busy with other tests a question to Redis may be late at any time.
        let extra = tally.recovery(start).saturating_sub(switched);
        let is_measured = rounds > 1;
        assert!(
            !is_measured || extra < Duration::from_secs(3),
            "{extra:?} beyond the sentinels' own time"
        );
        let keys = trio.servers[next].keys("postern:blocklist:jti:*");
        assert!(!keys.is_empty(), "the new master has entries");
    }
}

#[test]
fn the_next_master_is_found_when_one_is_killed() {
    failover(Fault::Killed, 1);
}

/// An old master that was frozen goes on where it was, with its old answers.
#[test]
fn a_frozen_master_is_not_asked_again() {
    failover(Fault::Frozen, 1);
}

#[test]
fn a_failover_by_order_refuses_nobody_for_long() {
    failover(Fault::Ordered, 1);
}

#[test]
#[ignore = "minutes of failovers; run by tests/extended.sh"]
fn many_failovers_let_no_revoked_token_through() {
    for fault in [Fault::Killed, Fault::Frozen, Fault::Ordered] {
        failover(fault, 5);
    }
}

/// Start with sentinels down, frozen or ignorant; too few replicas; straight to Redis; words.
#[test]
fn what_an_operator_meets() {
    let app = Upstream::start();
    let mut trio = Trio::start();
    trio.freeze_sentinel(0);
    trio.kill_sentinel(1);
    let gateway = Gateway::start(&setup(&app, &trio).set("store", "timeout", "\"2s\""));
    let token = Token::good();
    let signed = token.sign(Key::shared("ES256"));
    soon("the one sentinel that is left names the master", || status(&gateway, &signed) == 200);
    let log = || gateway.output();
    soon("a warning about writes that would be lost", || log().contains("min-replicas-to-write"));
    soon("the master is in the log", || log().contains("connected to the store"));

    // wait_replicas is 1 unless written: with two replicas it is met, with none it is not.
    gateway.revoke(&json!({ "jti": token.jti() })).expect(201);
    assert_eq!(status(&gateway, &signed), 401);
    trio.servers[1].kill();
    trio.servers[2].kill();
    let other = Token::good();
    let refusal = gateway.revoke(&json!({ "jti": other.jti() }));
    assert_eq!(refusal.status, 503, "{refusal:?}");
    assert!(refusal.text().contains("not replicated"), "{refusal:?}");
    assert_eq!(status(&gateway, &other.sign(Key::shared("ES256"))), 401, "stored all the same");
    trio.servers[1].restart();
    trio.servers[2].restart();
    trio.wait_for_replicas(0, 2);

    // `check --online` and, with the gateway gone, `revoke` ask the sentinels themselves.
    let dir = gateway.kill();
    let postern =
        |arguments: &[&str]| run(&dir, &[arguments, &["--config", "postern.toml"]].concat(), "");
    let check = postern(&["check", "--online"]);
    let said = String::from_utf8_lossy(&check.stdout).into_owned();
    assert!(said.contains("redis-sentinel://") && said.contains("a master"), "{check:?}");
    let third = Token::good();
    let revoked = postern(&["revoke", "--jti", third.jti()]);
    assert!(revoked.status.success(), "{revoked:?}");
    let key = format!("postern:blocklist:jti:https%3A%2F%2Fauth.test:{}", third.jti());
    assert_eq!(trio.servers[0].keys(&key).len(), 1);

    // A service that nobody knows.
    let unknown = setup(&app, &trio).set("store", "url", "\"redis-sentinel://127.0.0.1:1/other\"");
    let url = trio.url().replace("/main", "/other");
    let unknown = [unknown, setup(&app, &trio).set("store", "url", &format!("\"{url}\""))];
    for setup in unknown {
        let gateway = Gateway::start(&setup);
        assert_eq!(status(&gateway, &signed), 503);
        gateway.says("no sentinel");
    }
}
