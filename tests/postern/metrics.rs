//! `GET /metrics`: every documented number, counted exactly, read by the reference parser.

use std::time::Duration;

use crate::harness::client::{Endpoint, Request};
use crate::harness::gateway::Gateway;
use crate::harness::jwks_server::{JwksServer, Page};
use crate::harness::keys::Key;
use crate::harness::metrics::Scrape;
use crate::harness::pki::authority;
use crate::harness::redis::Redis;
use crate::harness::setup::{HOST, Setup};
use crate::harness::tokens::Token;
use crate::harness::upstream::{After, Upstream, reply};
use crate::harness::{eventually, soon};

const REQUESTS: &str = "postern_http_requests_total";
const DECISIONS: &str = "postern_auth_decisions_total";
const UPSTREAM: &str = "postern_upstream_requests_total";

fn key() -> &'static Key {
    Key::shared("ES256")
}

/// Waits until a sample has this value: a request is counted after its answer's last byte.
fn settles(gateway: &Gateway, name: &str, labels: &[(&str, &str)], value: u64) -> Scrape {
    let mut last = None;
    let wanted = format!("{name}{labels:?} {value}");
    eventually(&wanted, Duration::from_secs(10), || {
        let scrape = Scrape::of(gateway);
        let reached = scrape.count(name, labels) >= value;
        last = Some(scrape);
        reached
    });
    let last = last.unwrap();
    assert_eq!(last.count(name, labels), value, "{wanted}");
    last
}

/// Names and types as the contract lists them. What belongs to a part of its own (streams,
/// propagation, the health of servers) has its tests there.
#[test]
fn every_documented_name_is_there() {
    let (app, provider) = (Upstream::start(), JwksServer::start());
    provider.set("/jwks", Page::keys(&[Key::shared("RS256")]));
    let url = format!("jwks_url = \"{}/jwks\"\nalgorithms = [\"RS256\"]", provider.origin());
    let limits = "path = \"/few\"\nauth = \"none\"\n\
                  limits = [{ by = \"client+header:X-Key\", rate = \"1/1h\" }]";
    let setup = Setup::standard(&app).issuer("fetched", &url, &[]).route("few", limits);
    let gateway = Gateway::start(&setup);
    gateway.readyz(200);
    gateway.get("/api/x").bearer(&Token::good().sign(key())).send().expect(200);
    gateway.get("/few").send().expect(200);
    gateway.get("/few").send().expect(429);
    gateway.reload(&setup).expect(200);
    settles(&gateway, REQUESTS, &[("route", "few")], 2);
    let scrape = settles(&gateway, REQUESTS, &[("route", "api")], 1);
    for (family, kind) in [
        ("postern_http_requests", "counter"),
        ("postern_http_request_duration_seconds", "histogram"),
        ("postern_auth_decisions", "counter"),
        ("postern_token_cache_hits", "counter"),
        ("postern_token_cache_misses", "counter"),
        ("postern_token_cache_entries", "gauge"),
        ("postern_blocklist_check_duration_seconds", "histogram"),
        ("postern_blocklist_up", "gauge"),
        ("postern_blocklist_lost", "counter"),
        ("postern_rate_limited", "counter"),
        ("postern_jwks_refresh", "counter"),
        ("postern_jwks_age_seconds", "gauge"),
        ("postern_upstream_requests", "counter"),
        ("postern_upstream_duration_seconds", "histogram"),
        ("postern_connections", "gauge"),
        ("postern_tls_handshakes", "counter"),
        ("postern_certificate_not_after_timestamp_seconds", "gauge"),
        ("postern_config_reloads", "counter"),
        ("postern_log_lines_dropped", "counter"),
        ("postern_build", "info"),
    ] {
        assert_eq!(scrape.kind(family), Some(kind), "{family}");
    }
    for (name, labels) in [
        ("postern_rate_limited_total", &[("route", "few"), ("by", "client+header:x-key")][..]),
        ("postern_jwks_refresh_total", &[("issuer", "fetched"), ("outcome", "success")]),
        ("postern_config_reloads_total", &[("outcome", "success")]),
        ("postern_build_info", &[("version", env!("CARGO_PKG_VERSION"))]),
        ("postern_blocklist_up", &[]),
        ("postern_token_cache_misses_total", &[]),
        (DECISIONS, &[("route", "few"), ("outcome", "refused"), ("reason", "rate_limit")]),
    ] {
        assert_eq!(scrape.get(name, labels), Some(1.0), "{name} {labels:?}");
    }
    let age = scrape.get("postern_jwks_age_seconds", &[("issuer", "fetched")]).unwrap();
    assert!(age < 60.0, "{age}");
    let end = scrape.get("postern_certificate_not_after_timestamp_seconds", &[]).unwrap();
    assert!(end > 1_700_000_000.0, "{end}");
}

/// n requests are n: by status, by decision, by the upstream's answer, and in the histograms. The
/// access log is off: nobody counts lines.
#[test]
fn counters_count_exactly() {
    let app = Upstream::with(|seen, stream| {
        let status = if seen.target.ends_with("teapot") { "418 I'm a teapot" } else { "200 OK" };
        reply(stream, status, &[], "");
        After::Keep
    });
    let gone = "path = \"/gone/*\"\nauth = \"none\"\nupstream = \"gone\"";
    let setup = Setup::standard(&app)
        .set("log", "access", "\"off\"")
        .upstream("gone", "http://127.0.0.1:9")
        .route("gone", gone);
    let gateway = Gateway::start(&setup);
    let (good, revoked) = (Token::good().sign(key()), Token::good());
    gateway.revoke_jti(revoked.jti());
    let (revoked, expired) =
        (revoked.sign(key()), Token::good().claim("exp", 1_000_000_000).sign(key()));
    let many = |n: usize, request: Request, status: u16| {
        for _ in 0..n {
            request.send().expect(status);
        }
    };
    many(25, gateway.get("/api/x").bearer(&good), 200);
    many(4, gateway.get("/api/teapot").bearer(&good), 418);
    many(7, gateway.get("/api/x").bearer(&expired), 401);
    many(3, gateway.get("/api/x").bearer(&revoked), 401);
    many(5, gateway.get("/api/x"), 401);
    many(2, gateway.get("/admin/x").bearer(&good), 403);
    many(6, gateway.get("/public/x"), 200);
    many(8, gateway.get("/nowhere"), 404);
    many(2, gateway.get("/gone/x"), 502);
    let scrape = settles(&gateway, REQUESTS, &[], 62);
    for (name, labels, value) in [
        (REQUESTS, &[("route", "api"), ("status", "200")][..], 25),
        (REQUESTS, &[("route", "api"), ("status", "418")], 4),
        (REQUESTS, &[("route", "api"), ("status", "401")], 15),
        (REQUESTS, &[("route", "admin"), ("status", "403")], 2),
        (REQUESTS, &[("route", "public")], 6),
        (REQUESTS, &[("route", ""), ("status", "404")], 8),
        (REQUESTS, &[("route", "gone"), ("status", "502")], 2),
        ("postern_http_request_duration_seconds_count", &[("route", "api")], 44),
        (DECISIONS, &[("route", "api"), ("outcome", "allowed"), ("reason", "token")], 29),
        (DECISIONS, &[("route", "api"), ("outcome", "refused"), ("reason", "expired")], 7),
        (DECISIONS, &[("route", "api"), ("outcome", "refused"), ("reason", "revoked")], 3),
        (DECISIONS, &[("route", "api"), ("outcome", "refused"), ("reason", "no_token")], 5),
        (DECISIONS, &[("route", "admin"), ("outcome", "refused"), ("reason", "roles")], 2),
        (DECISIONS, &[("route", "public"), ("outcome", "allowed"), ("reason", "public")], 6),
        (DECISIONS, &[("route", ""), ("reason", "no_route")], 8),
        (DECISIONS, &[("route", "gone"), ("reason", "upstream_connect")], 2),
        (DECISIONS, &[], 62),
        (UPSTREAM, &[("upstream", "app"), ("status", "200")], 31),
        (UPSTREAM, &[("upstream", "app"), ("status", "418")], 4),
        (UPSTREAM, &[("upstream", "gone"), ("status", "upstream_connect")], 2),
        ("postern_upstream_duration_seconds_count", &[("upstream", "app")], 35),
        // Every token but the expired ones is verified once; those are never kept.
        ("postern_token_cache_misses_total", &[], 9),
        ("postern_token_cache_hits_total", &[], 32),
        // Asked about every token that verified.
        ("postern_blocklist_check_duration_seconds_count", &[], 34),
    ] {
        assert_eq!(scrape.count(name, labels), value, "{name} {labels:?}");
    }
}

/// Invariant 8: paths, hosts, methods, tokens, statuses of the upstream: nothing that comes from
/// outside makes a series.
#[test]
fn a_scan_makes_no_series() {
    let app = Upstream::with(|seen, stream| {
        let status = seen.target.rsplit('/').next().unwrap_or_default();
        reply(stream, &format!("{status} Odd"), &[], "");
        After::Keep
    });
    let gateway = Gateway::standard(&app);
    let mut connection = gateway.https().connect();
    let mut send = |request: Request| {
        if request.on(&mut connection).is_err() {
            connection = gateway.https().connect();
        }
    };
    send(gateway.get("/public/200"));
    send(gateway.get("/nowhere"));
    settles(&gateway, REQUESTS, &[], 2);
    for n in 0..10_000_u32 {
        match n % 5 {
            0 => send(gateway.get(&format!("/scan/{n}.php?x={n}"))),
            1 => send(gateway.request(&format!("M{n}"), "/public/x")),
            2 => send(gateway.get("/public/200").host(&format!("h{n}.test"))),
            3 => send(gateway.get("/api/x").bearer(&format!("token-{n}"))),
            _ => send(gateway.get(&format!("/public/{}", 200 + n % 800))),
        }
    }
    let scrape = Scrape::of(&gateway);
    assert!(scrape.count(REQUESTS, &[]) > 9000, "{}", scrape.count(REQUESTS, &[]));
    // Four routes, one upstream: what fixed lists allow, and less than one scan would make.
    assert!(scrape.samples() < 600, "{} samples", scrape.samples());
}

/// A reload keeps what was counted; a route that it takes away takes its numbers along.
#[test]
fn numbers_outlive_a_reload() {
    let app = Upstream::start();
    let setup = Setup::standard(&app);
    let gateway = Gateway::start(&setup);
    for _ in 0..3 {
        gateway.get("/public/x").send().expect(200);
    }
    gateway.get("/admin/x").send().expect(401);
    settles(&gateway, REQUESTS, &[], 4);
    let changed = setup.clone().without_table("\"admin\"").route("new", "path = \"/new\"");
    gateway.reload(&changed).expect(200);
    assert_eq!(gateway.reload(&changed.clone().set("listen", "nonsense", "1")).status, 422);
    gateway.get("/public/x").send().expect(200);
    let scrape = settles(&gateway, REQUESTS, &[("route", "public")], 4);
    assert_eq!(scrape.get(REQUESTS, &[("route", "admin")]), None);
    assert_eq!(scrape.get(DECISIONS, &[("route", "new"), ("outcome", "allowed")]), Some(0.0));
    assert_eq!(scrape.count("postern_config_reloads_total", &[("outcome", "success")]), 1);
    assert_eq!(scrape.count("postern_config_reloads_total", &[("outcome", "failure")]), 1);
    assert_eq!(scrape.count(UPSTREAM, &[("upstream", "app")]), 4);
}

/// Issue 4: while a fail mode acts it shows for each route, and the log says when it began and
/// when it was over, not every time.
#[test]
fn fail_modes_show_while_they_act() {
    let app = Upstream::start();
    let mut redis = Redis::start();
    let setup = Setup::standard(&app)
        .redis(&redis)
        .route("open", "path = \"/open/*\"\non_unreachable = \"allow\"");
    let gateway = Gateway::start(&setup);
    gateway.readyz(200);
    let token = Token::good().sign(key());
    gateway.get("/api/x").bearer(&token).send().expect(200);
    gateway.get("/open/x").bearer(&token).send().expect(200);
    let up = |gateway: &Gateway| Scrape::of(gateway).get("postern_blocklist_up", &[]);
    assert_eq!(up(&gateway), Some(1.0));
    redis.kill();
    soon("it is known to be down", || up(&gateway) == Some(0.0));
    for _ in 0..6 {
        gateway.get("/api/x").bearer(&token).send().expect(503);
        gateway.get("/open/x").bearer(&token).send().expect(200);
    }
    let denied = [("route", "api"), ("outcome", "refused"), ("reason", "store_unavailable")];
    let allowed = [("route", "open"), ("outcome", "allowed"), ("reason", "store_unreachable")];
    let scrape = settles(&gateway, DECISIONS, &denied, 6);
    assert_eq!(scrape.count(DECISIONS, &allowed), 6);
    redis.restart();
    let over = "the blocklist is asked again";
    eventually("both are over", Duration::from_secs(20), || {
        gateway.stderr().text().matches(over).count() == 2
    });
    assert_eq!(up(&gateway), Some(1.0));
    gateway.get("/api/x").bearer(&token).send().expect(200);
    let log = gateway.stderr().text();
    for (line, route) in [
        ("requests are refused from here", "api"),
        ("requests go on unchecked from here", "open"),
        ("so many requests were refused", "api"),
        ("so many requests went on unchecked", "open"),
    ] {
        let lines: Vec<&str> = log.lines().filter(|found| found.contains(line)).collect();
        assert_eq!(lines.len(), 1, "{line}:\n{log}");
        assert!(lines[0].contains(&format!("\"route\":\"{route}\"")), "{}", lines[0]);
    }
    assert_eq!(log.matches("\"requests\":6").count(), 2, "{log}");
}

/// Open for whoever reaches the admin listener, for reading only, and nowhere else.
#[test]
fn it_is_for_reading_and_on_the_admin_listener() {
    let app = Upstream::start();
    let setup = Setup::standard(&app).set("listen", "health", "\"127.0.0.1:0\"");
    let gateway = Gateway::start(&setup);
    let answer = gateway.admin().request("GET", "/metrics").send().expect(200);
    let kind = answer.header("content-type").unwrap();
    assert_eq!(kind, "application/openmetrics-text; version=1.0.0; charset=utf-8");
    assert!(answer.text().ends_with("# EOF\n"));
    let accept = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5";
    gateway.admin().request("GET", "/metrics").header("Accept", accept).send().expect(200);
    let head = gateway.admin().request("HEAD", "/metrics").send().expect(200);
    assert!(head.body.is_empty() && head.header("content-type") == Some(kind));
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"] {
        let answer = gateway.admin().request(method, "/metrics").send().expect(405);
        assert_eq!(answer.header("allow"), Some("GET, HEAD"), "{method}");
    }
    gateway.get("/metrics").send().expect(404);
    let health = Endpoint::http(gateway.address("health"));
    health.request("GET", "/livez").send().expect(200);
    health.request("GET", "/metrics").send().expect(404);
}

#[test]
fn connections_and_handshakes() {
    let app = Upstream::start();
    let gateway = Gateway::standard(&app);
    let https = [("listener", "https")];
    let open: Vec<_> = (0..5).map(|_| gateway.https().connect()).collect();
    settles(&gateway, "postern_connections", &https, 5);
    let mut old = Endpoint::https(gateway.address("https"), HOST);
    old.tls = Some(authority().client(&[b"http/1.1"], &[&rustls::version::TLS12]));
    let older = old.connect();
    let mut nonsense = Endpoint::http(gateway.address("https")).connect();
    nonsense.write(b"GET / HTTP/1.1\r\n\r\n");
    drop(nonsense);
    let handshakes = "postern_tls_handshakes_total";
    let scrape = settles(&gateway, handshakes, &[("outcome", "failure")], 1);
    assert_eq!(scrape.count(handshakes, &[("outcome", "success"), ("version", "1.3")]), 5);
    assert_eq!(scrape.count(handshakes, &[("outcome", "success"), ("version", "1.2")]), 1);
    drop((open, older));
    soon("they are gone", || Scrape::of(&gateway).get("postern_connections", &https) == Some(0.0));
}
