//! How often somebody may try: `login_limits` and `refresh_limits`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;

use crate::harness::client::Answer;
use crate::harness::gateway::Gateway;
use crate::harness::issuing::{Client, PASSWORD, Tokens, client, setup};
use crate::harness::metrics::Scrape;
use crate::harness::oauth::form;
use crate::harness::redis::Redis;
use crate::harness::setup::Setup;
use crate::harness::upstream::{After, Upstream, reply};

const BOTH: &str = "[{ by = \"client+account\", rate = \"5/15m\" }]";

fn limited(app: &Upstream, limits: &str) -> Setup {
    let setup = setup(app).set("issuing", "login_limits", limits);
    setup.set("listen", "trusted_proxies", "[\"127.0.0.1\"]")
}

fn login_from(client: &Client, address: &str, name: &str, password: &str) -> Answer {
    let request = client.post("login").header("X-Forwarded-For", address);
    request.json(&json!({ "username": name, "password": password })).send()
}

fn is_limited(answer: Answer) {
    let answer = answer.refused(429);
    let wait: u64 = answer.header("retry-after").unwrap().parse().unwrap();
    // 5/15m gives one try back every three minutes.
    assert!((150..=181).contains(&wait), "{wait}");
}

/// Design: "one account cannot be locked out by a stranger's five tries"; CWE-645, CWE-307. Whoever
/// spells a name otherwise counts as the same (R40).
#[test]
fn a_guesser_is_stopped_and_locks_nobody_out() {
    let app = Upstream::start();
    let gateway = Gateway::start(&limited(&app, BOTH));
    let client = client(&gateway);
    for name in ["alice", "Alice", " alice ", "ALICE", "\u{ff41}lice"] {
        login_from(&client, "192.0.2.1", name, "guess").refused(401);
    }
    is_limited(login_from(&client, "192.0.2.1", "alice", PASSWORD));
    is_limited(login_from(&client, "192.0.2.1", "aLiCe", PASSWORD));
    // An account that is not there is limited in the same way (CWE-203).
    for _ in 0..5 {
        login_from(&client, "192.0.2.1", "nobody", "guess").refused(401);
    }
    is_limited(login_from(&client, "192.0.2.1", "nobody", "guess"));
    Tokens::of(login_from(&client, "192.0.2.2", "alice", PASSWORD));
    Tokens::of(login_from(&client, "192.0.2.1", "bob", PASSWORD));
    let labels = [("by", "login_limits")];
    let counted = Scrape::of(&gateway).count("postern_rate_limited_total", &labels);
    assert_eq!(counted, 3);
}

/// Design: "limits in the store survive a restart", of a gateway that was killed too; and another
/// gateway of the store counts with it.
#[test]
fn the_counts_survive_a_restart() {
    let app = Upstream::start();
    for with_redis in [false, true] {
        let redis = Redis::start();
        let setup = limited(&app, BOTH);
        let setup = if with_redis { setup.redis(&redis) } else { setup };
        let gateway = Gateway::start(&setup);
        for _ in 0..5 {
            login_from(&client(&gateway), "192.0.2.1", "alice", "guess").refused(401);
        }
        if with_redis {
            let other = Gateway::start(&setup);
            is_limited(login_from(&client(&other), "192.0.2.1", "alice", PASSWORD));
        }
        let gateway = Gateway::start_in(gateway.kill(), &setup);
        is_limited(login_from(&client(&gateway), "192.0.2.1", "alice", PASSWORD));
        Tokens::of(login_from(&client(&gateway), "192.0.2.9", "alice", PASSWORD));
    }
}

/// CWE-307: one address that tries one password with everybody is stopped by the defaults, and
/// nobody else is.
#[test]
fn by_default_one_client_cannot_try_everybody() {
    let app = Upstream::start();
    // Failures that cost little.
    let setup = limited(&app, "[]")
        .unset("issuing", "login_limits")
        .file("users", "alice:$2b$04$EGHR8YS9/f/xHOyP/8r0/OfLtW2oTsNkS/AB/TgTo7RbF5IwHxeNy:\n");
    let gateway = Gateway::start(&setup);
    let client = client(&gateway);
    for i in 0..100 {
        login_from(&client, "192.0.2.1", &format!("user-{i}"), "guess").refused(401);
    }
    let answer = login_from(&client, "192.0.2.1", "alice", PASSWORD).refused(429);
    let wait: u64 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=37).contains(&wait), "{wait}");
    Tokens::of(login_from(&client, "192.0.2.2", "alice", PASSWORD));
}

/// Only what failed counts, and a burst of guesses gets as many tries as so many in a row.
#[test]
fn failures_alone_count_where_that_is_said() {
    let app = Upstream::start();
    let limits = "[{ by = \"account\", rate = \"5/15m\", count = \"failures\" }]";
    let redis = Redis::start();
    for setup in [limited(&app, limits), limited(&app, limits).redis(&redis)] {
        let gateway = Gateway::start(&setup);
        let client = client(&gateway);
        for _ in 0..8 {
            Tokens::of(login_from(&client, "192.0.2.1", "alice", PASSWORD));
        }
        let threads: Vec<_> = (0..20)
            .map(|i| {
                let client = client.clone();
                std::thread::spawn(move || {
                    login_from(&client, &format!("192.0.2.{i}"), "alice", "guess").status
                })
            })
            .collect();
        let answers: Vec<u16> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        let guesses = answers.iter().filter(|status| **status == 401).count();
        assert!(guesses <= 5, "{answers:?}");
        assert!(answers.iter().all(|status| [401, 429, 503].contains(status)), "{answers:?}");
        // Busy checks were nobody's failures.
        while login_from(&client, "192.0.2.1", "alice", "guess").status == 401 {}
        is_limited(login_from(&client, "192.0.2.200", "alice", PASSWORD));
        Tokens::of(login_from(&client, "192.0.2.1", "bob", PASSWORD));
    }
}

/// A try that nobody could answer is none: an outage of the accounts locks nobody out. What was
/// answered counts, a success too.
#[test]
fn what_was_not_looked_at_does_not_count() {
    let is_up = Arc::new(AtomicBool::new(false));
    let answers = is_up.clone();
    let service = Upstream::with(move |_, stream| {
        let status = if answers.load(Ordering::SeqCst) { "200 OK" } else { "502 Bad Gateway" };
        reply(stream, status, &[("Content-Type", "application/json")], r#"{"id":7}"#);
        After::Keep
    });
    let app = Upstream::start();
    let redis = Redis::start();
    let limits = "[{ by = \"client+account\", rate = \"2/15m\" }, \
                  { by = \"account\", rate = \"3/1h\" }]";
    let embedded = limited(&app, limits)
        .unset("issuing.users", "file")
        .set("issuing.users", "upstream.url", &format!("\"{}/login\"", service.url()))
        .set("issuing.users", "upstream.claims", "{ sub = \"/id\" }");
    for setup in [embedded.clone(), embedded.redis(&redis)] {
        is_up.store(false, Ordering::SeqCst);
        let gateway = Gateway::start(&setup);
        let client = client(&gateway);
        for _ in 0..5 {
            login_from(&client, "192.0.2.1", "alice", PASSWORD).refused(503);
        }
        is_up.store(true, Ordering::SeqCst);
        for _ in 0..2 {
            Tokens::of(login_from(&client, "192.0.2.1", "alice", PASSWORD));
        }
        // Nor does a try count that one of the limits refuses.
        for _ in 0..3 {
            login_from(&client, "192.0.2.1", "alice", PASSWORD).refused(429);
        }
        Tokens::of(login_from(&client, "192.0.2.2", "alice", PASSWORD));
        login_from(&client, "192.0.2.3", "alice", PASSWORD).refused(429);
    }
}

/// `refresh_limits`: failures by client; who refreshes honestly meets no limit.
#[test]
fn failed_refreshes_are_limited() {
    let app = Upstream::start();
    let limits = "[{ by = \"client\", rate = \"3/1m\", count = \"failures\" }]";
    let gateway = Gateway::start(&setup(&app).set("issuing", "refresh_limits", limits));
    let client = client(&gateway);
    let mut tokens = client.login("alice");
    for _ in 0..6 {
        tokens = Tokens::of(client.refresh(&tokens.refresh));
    }
    for _ in 0..3 {
        client.refresh("made.up").refused(401);
    }
    let answer = client.refresh("made.up").refused(429);
    let wait: u64 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=20).contains(&wait), "{wait}");
    client.refresh(&tokens.refresh).refused(429);
    assert_eq!(client.call(&tokens.access), 200, "other requests go on");
}

/// RFC 7009 §2.2 answers 200 for a token that is nobody's, and asks for no secret of a public
/// client: that must not buy signature checks and questions to the store without end (CWE-770).
#[test]
fn made_up_revocations_are_limited() {
    let app = Upstream::start();
    let limits = "[{ by = \"client\", rate = \"3/1m\", count = \"failures\" }]";
    let gateway = Gateway::start(&setup(&app).set("issuing", "refresh_limits", limits));
    let client = client(&gateway);
    let tokens = client.login("alice");
    let revoke = |token: &str| client.post("revoke").form(&form(&[("token", token)])).send();
    // Whoever gives up what is theirs meets no limit.
    for _ in 0..5 {
        revoke(&client.login("alice").refresh).expect(200);
    }
    let forged = format!("{}AAAA", &tokens.access[..tokens.access.len() - 4]);
    let unknown = format!("{}.{}", "A".repeat(22), "A".repeat(43));
    for token in [&*forged, "a.b.c", &unknown] {
        revoke(token).expect(200);
    }
    revoke(&forged).expect(429);
    client.refresh(&tokens.refresh).refused(429);
    assert_eq!(client.call(&tokens.access), 200, "other requests go on");
}
