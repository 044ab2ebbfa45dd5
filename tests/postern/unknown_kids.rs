//! Tokens that name keys which nobody has: strangers must not be able to drive load to the provider,
//! nor to hide a new key, nor to slow down those whose key is known. (lua-resty-openidc and
//! Oathkeeper fetch without a limit.)

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::harness::client::{Answer, Endpoint};
use crate::harness::eventually;
use crate::harness::gateway::Gateway;
use crate::harness::jwks_server::{JwksServer, Page};
use crate::harness::keys::Key;
use crate::harness::load::Load;
use crate::harness::setup::Setup;
use crate::harness::tokens::Token;
use crate::harness::upstream::Upstream;

/// Requests of the storm, and the connections that they come on.
const REQUESTS: usize = 10_000;
const CONNECTIONS: usize = 4;

fn key() -> &'static Key {
    Key::shared("ES256")
}

/// One fetching entry behind a trusted proxy.
fn setup(app: &Upstream, keys: &JwksServer, lines: &str) -> Setup {
    let entry = format!("algorithms = [\"ES256\"]\njwks_url = \"{}/jwks\"\n{lines}", keys.origin());
    Setup::bare()
        .upstream("app", &app.url())
        .issuer("main", &entry, &[])
        .route("api", "path = \"/api/*\"")
        .set("listen", "plain", "\"127.0.0.1:0\"")
        .set("listen", "trusted_proxies", "[\"127.0.0.1/32\"]")
        .set("log", "level", "\"info\"")
}

fn gateway(app: &Upstream, keys: &JwksServer, lines: &str) -> Gateway {
    Gateway::start(&setup(app, keys, lines))
}

fn call(gateway: &Gateway, token: &str) -> Answer {
    gateway.get("/api/x").bearer(token).send()
}

/// One connection's share, twenty requests at a time: every kid is new, and every ten requests
/// come from another client.
fn storm(endpoint: &Endpoint, share: usize, wrong: &AtomicUsize) {
    let mut connection = endpoint.connect();
    for batch in 0..REQUESTS / CONNECTIONS / 20 {
        let mut bytes = Vec::new();
        for number in 0..20 {
            let number = batch * 20 + number;
            let kid = format!("{share}-{number}");
            let token = Token::good().header("kid", kid).with_signature(key(), &[7; 64]);
            let client = format!("10.{share}.{}.{}", number / 10 / 256, number / 10 % 256);
            let request = endpoint.request("GET", "/api/x").bearer(&token);
            bytes.extend(request.header("X-Forwarded-For", &client).bytes());
        }
        connection.write(&bytes);
        for _ in 0..20 {
            if connection.answer("GET").status != 401 {
                wrong.fetch_add(1, Ordering::SeqCst);
            }
        }
    }
}

/// 10,000 unknown kids as fast as they can be sent: at most one fetch per cooldown, every one of
/// them refused, and not one valid request notices.
#[test]
fn a_storm_of_unknown_kids() {
    let (app, keys) = (Upstream::start(), JwksServer::start());
    keys.set("/jwks", Page::keys(&[key()]));
    // The contract's default: it is the many addresses that get past it.
    let setup = setup(&app, &keys, "refresh = \"1h\"\ncooldown = \"2s\"");
    let gateway = Gateway::start(&setup.set("auth_failures", "rate", "\"20/1m\""));
    gateway.readyz(200);
    assert_eq!(keys.fetches("/jwks"), 1, "at the start");
    let load = Load::start(&gateway, 1, vec![Token::good().sign(key())]);
    let plain = Endpoint::http(gateway.address("plain"));
    let wrong = AtomicUsize::new(0);
    let start = Instant::now();
    std::thread::scope(|scope| {
        for share in 0..CONNECTIONS {
            let (plain, wrong) = (&plain, &wrong);
            scope.spawn(move || storm(plain, share, wrong));
        }
    });
    let took = start.elapsed();
    let fetches = keys.fetches("/jwks") - 1;
    let valid = load.end();
    println!("{REQUESTS} unknown kids in {took:?}: {fetches} fetches; {valid} valid requests");
    assert_eq!(wrong.load(Ordering::SeqCst), 0, "answers other than 401");
    let allowed = 1 + usize::try_from(took.as_secs() / 2).unwrap();
    assert!((1..=allowed).contains(&fetches), "{fetches} fetches in {took:?}");
    // The storm has hidden nothing: the next key is found by its first token once the cooldown of
    // the last fetch is over.
    let next = Key::generate("ES256", "next");
    keys.set("/jwks", Page::keys(&[key(), &next]));
    std::thread::sleep(Duration::from_millis(2100));
    call(&gateway, &Token::good().sign(&next)).expect(200);
}

/// A kid that somebody has guessed before it exists is remembered as unknown, but not for ever.
#[test]
fn a_kid_that_was_guessed_early() {
    let (app, keys) = (Upstream::start(), JwksServer::start());
    keys.set("/jwks", Page::keys(&[key()]));
    let gateway = gateway(&app, &keys, "refresh = \"2s\"\ncooldown = \"1s\"");
    let next = Key::generate("ES256", "2027-01");
    let token = Token::good().sign(&next);
    for _ in 0..5 {
        call(&gateway, &token).refused(401);
    }
    keys.set("/jwks", Page::keys(&[key(), &next]));
    // At the latest with the next refresh.
    eventually("the key is taken", Duration::from_secs(5), || call(&gateway, &token).status == 200);
}

/// A key that is published while the provider's answer to an older question is on its way: the
/// answer does not have it, and says nothing about it.
#[test]
fn a_kid_that_is_younger_than_the_answer() {
    let (app, keys) = (Upstream::start(), JwksServer::start());
    keys.set("/jwks", Page::keys(&[key()]));
    let gateway = gateway(&app, &keys, "refresh = \"1h\"\ncooldown = \"1s\"");
    call(&gateway, &Token::good().sign(key())).expect(200);
    // What is on its way is what was there before.
    keys.set("/jwks", Page::keys(&[key()]).after(Duration::from_millis(700)));
    let stranger = Token::good().header("kid", "nobody").with_signature(key(), &[7; 64]);
    let stranger = gateway.get("/api/x").bearer(&stranger);
    let waiting = std::thread::spawn(move || stranger.send().status);
    eventually("the provider is asked", Duration::from_secs(5), || keys.fetches("/jwks") == 2);
    let next = Key::generate("ES256", "next");
    keys.set("/jwks", Page::keys(&[key(), &next]));
    let token = Token::good().sign(&next);
    // Joins the question that is out; refused, unless this machine is very slow.
    call(&gateway, &token);
    assert_eq!(waiting.join().unwrap(), 401);
    // After the cooldown, not only when unknown kids are forgotten.
    eventually("the key is found", Duration::from_secs(5), || call(&gateway, &token).status == 200);
    assert_eq!(keys.fetches("/jwks"), 3);
}

/// While a slow provider is asked about an unknown kid, known kids are served as ever, everybody
/// who waits waits for the same fetch, and nobody waits for long.
#[test]
fn a_slow_provider_holds_up_nobody_else() {
    let (app, keys) = (Upstream::start(), JwksServer::start());
    keys.set("/jwks", Page::keys(&[key()]));
    let lines = "refresh = \"1h\"\ncooldown = \"1s\"\ntimeout = \"6s\"";
    let gateway = gateway(&app, &keys, lines);
    let known = Token::good().sign(key());
    call(&gateway, &known).expect(200);
    let next = Key::generate("ES256", "next");
    keys.set("/jwks", Page::keys(&[key(), &next]).after(Duration::from_secs(4)));
    let done = Arc::new(AtomicBool::new(false));
    let waiting: Vec<_> = (0..8)
        .map(|_| {
            let request = gateway.get("/api/x").bearer(&Token::good().sign(&next));
            let done = done.clone();
            std::thread::spawn(move || {
                let answer = request.send();
                done.store(true, Ordering::SeqCst);
                answer.status
            })
        })
        .collect();
    eventually("the provider is asked", Duration::from_secs(5), || keys.fetches("/jwks") == 2);
    let mut slowest = Duration::ZERO;
    let mut served = 0;
    while !done.load(Ordering::SeqCst) {
        let start = Instant::now();
        call(&gateway, &known).expect(200);
        slowest = slowest.max(start.elapsed());
        served += 1;
    }
    assert!(served > 3 && slowest < Duration::from_secs(3), "{served} served, {slowest:?}");
    let statuses: Vec<u16> = waiting.into_iter().map(|thread| thread.join().unwrap()).collect();
    assert_eq!(statuses, [200; 8]);
    assert_eq!(keys.fetches("/jwks"), 2, "one fetch for all who wait");
}

/// What causes no fetch at all: a known kid with a bad signature, an algorithm that the entry does
/// not have, an unknown issuer, no token, an expired one.
#[test]
fn refusals_that_no_newer_key_could_change() {
    let (app, keys) = (Upstream::start(), JwksServer::start());
    keys.set("/jwks", Page::keys(&[key()]));
    let gateway = gateway(&app, &keys, "refresh = \"1h\"\ncooldown = \"1s\"");
    let other = Key::generate("ES256", "other");
    let rows = [
        Token::good().with_signature(key(), &[7; 64]),
        Token::good()
            .header("alg", "RS256")
            .header("kid", "nobody")
            .with_signature(key(), &[7; 64]),
        Token::good().header("alg", "none").header("kid", "nobody").with_signature(key(), &[]),
        Token::good().claim("iss", "https://evil.test").sign(&other),
        Token::good().without("iss").sign(&other),
        Token::good().claim("exp", 1).sign(key()),
        // R4, CVE-2018-0114: never followed, whatever stands in it.
        Token::good().header("jku", format!("{}/jku", keys.origin())).sign(key()),
        Token::good().header("x5u", format!("{}/x5u", keys.origin())).sign(key()),
        "not.a.token".to_owned(),
    ];
    for token in &rows {
        app.forget();
        let status = call(&gateway, token).status;
        assert!(status == 401 || status == 200, "{token}: {status}");
    }
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!((keys.fetches("/jwks"), keys.connections()), (1, 1));
}
