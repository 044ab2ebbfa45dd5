//! Who sends logout tokens that are none, again and again, is cut off, and nobody else is.

use crate::backchannel_logout::{CLIENT, PATH, executed, logout, not_accepted, send, setup, sign};
use crate::harness::client::Answer;
use crate::harness::gateway::Gateway;
use crate::harness::jwks_server::{JwksServer, Page};
use crate::harness::keys::Key;
use crate::harness::metrics::Scrape;
use crate::harness::setup::Setup;
use crate::harness::unix_now;
use crate::harness::upstream::Upstream;

/// R40: whoever fails too often is not listened to; others are.
#[test]
fn a_flood_is_cut_off() {
    let app = Upstream::start();
    let limited = setup(&app).set("auth_failures", "rate", "\"5/1h\"").set(
        "listen",
        "trusted_proxies",
        "[\"127.0.0.1\"]",
    );
    let gateway = Gateway::start(&limited);
    let from = |address: &str, token: &str| {
        let form = format!("logout_token={token}");
        gateway.post(PATH).header("X-Forwarded-For", address).form(&form).send()
    };
    let stranger = Key::generate("ES256", &Key::shared("ES256").kid);
    for _ in 0..5 {
        not_accepted(from("192.0.2.1", &logout().claim("sid", "s").sign(&stranger)));
    }
    let good = sign(&logout().claim("sid", "s"));
    let answer = from("192.0.2.1", &good).refused(429);
    let after: u64 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=3600).contains(&after), "{after}");
    let line = gateway.access_line(answer.header("x-request-id").unwrap());
    assert_eq!(line["auth.reason"], "auth_failures");
    executed(from("192.0.2.2", &good));
    // A late delivery is nobody's attack.
    for _ in 0..10 {
        let late = sign(&logout().claim("sid", "s").claim("iat", unix_now() - 300));
        not_accepted(from("192.0.2.2", &late));
    }
    executed(from("192.0.2.2", &sign(&logout().claim("sid", "s"))));
}

/// Nor is a provider that is down a way around that: without a kid each key is tried in vain before
/// anybody knows that there may be newer ones.
#[test]
fn a_flood_is_cut_off_while_the_keys_cannot_be_fetched() {
    let (app, provider) = (Upstream::start(), JwksServer::start());
    let key = Key::shared("ES256");
    provider.set("/jwks", Page::keys(&[key]));
    let lines = format!(
        "backchannel_logout = {{ client_id = \"{CLIENT}\" }}\njwks_url = \"{}/jwks\"\n\
         algorithms = [\"ES256\"]\ncooldown = \"1s\"",
        provider.origin()
    );
    let setup = Setup::standard(&app).without_table("name = \"main\"");
    let setup = setup.issuer("main", &lines, &[]).set("auth_failures", "rate", "\"5/1h\"");
    let gateway = Gateway::start(&setup);
    executed(send(&gateway, &sign(&logout().claim("sid", "s"))));
    provider.set("/jwks", Page::status(500));
    let stranger = Key::generate("ES256", "any");
    let forged = logout().claim("sid", "s").header("kid", "(absent)").sign(&stranger);
    for _ in 0..5 {
        send(&gateway, &forged).expect(503);
    }
    let answer = send(&gateway, &forged).refused(429);
    let line = gateway.access_line(answer.header("x-request-id").unwrap());
    assert_eq!(line["auth.reason"], "auth_failures");
}

/// R40: many that fail a little each are cut off, too, and known senders are not; the 429s are
/// counted where all are.
#[test]
fn a_flood_from_everywhere_is_cut_off() {
    let app = Upstream::start();
    let gateway = Gateway::start(&setup(&app).set("auth_failures", "rate", "\"off\"").set(
        "listen",
        "trusted_proxies",
        "[\"127.0.0.1\"]",
    ));
    let from = |address: &str, token: &str| {
        let form = format!("logout_token={token}");
        gateway.post(PATH).header("X-Forwarded-For", address).form(&form)
    };
    executed(from("198.51.100.7", &sign(&logout().claim("sid", "a"))).send());
    let stranger = Key::generate("ES256", &Key::shared("ES256").kid);
    let forged = logout().claim("sid", "s").sign(&stranger);
    let last = &|worker: u8| {
        let request = from(&format!("192.0.2.{worker}"), &forged);
        let mut connection = gateway.https().connect();
        let mut answers = (0..10_000).map(|_| request.on(&mut connection).unwrap());
        answers.find(|answer| answer.status != 400).expect("each is cut off")
    };
    let answers: Vec<Answer> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..8).map(|worker| scope.spawn(move || last(worker))).collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).collect()
    });
    for answer in answers {
        let answer = answer.refused(429);
        let line = gateway.access_line(answer.header("x-request-id").unwrap());
        assert_eq!(line["auth.reason"], "logout_flood");
    }
    let good = sign(&logout().claim("sid", "s"));
    executed(from("198.51.100.7", &good).send());
    let labels = [("route", ""), ("by", "logout_flood")];
    let counted = Scrape::of(&gateway).count("postern_rate_limited_total", &labels);
    assert!(counted >= 8, "each worker's last: {counted}");
}
