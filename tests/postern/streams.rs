//! Live connections end with their token: at `exp` and grace, when it is revoked by whomever and
//! however, and when nobody can say whether it was; each in a way that its client understands.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::gateway::Gateway;
use crate::harness::keys::Key;
use crate::harness::live::{End, KINDS, Kind, Live, Service, upgrade};
use crate::harness::redis::Redis;
use crate::harness::setup::Setup;
use crate::harness::tokens::Token;
use crate::harness::{each, soon, unix_now};

/// The contract's two seconds, and what a loaded machine takes.
pub const SECOND_LOOK: Duration = Duration::from_secs(8);
/// Long enough to see that nothing happens.
const A_WHILE: Duration = Duration::from_millis(2500);

pub fn key() -> &'static Key {
    Key::shared("ES256")
}

pub fn on_redis(service: &Service, redis: &Redis) -> Setup {
    service.setup().redis(redis).set("revocation", "extra_keys", "[\"blacklist:{jti}\"]")
}

pub fn signed(token: &Token) -> String {
    token.sign(key())
}

/// A stream of this kind with this token.
pub fn open(service: &Service, gateway: &Gateway, kind: Kind, token: &Token) -> Live {
    Live::open(service, gateway, kind, &signed(token), token.jti())
}

pub fn status(gateway: &Gateway) -> Value {
    gateway.admin_request("GET", "/status").send().json()["streams"].clone()
}

/// The access log's word on the request with this token.
pub fn reason(gateway: &Gateway, jti: &str) -> (String, String) {
    let mut found = None;
    soon("the access log has the stream", || {
        let lines = gateway.access_log();
        found = lines.into_iter().find(|line| line["token.jti"] == jti);
        found.is_some()
    });
    let line = found.unwrap();
    let text = |name: &str| line[name].as_str().unwrap().to_owned();
    (text("auth.result"), text("auth.reason"))
}

pub fn ended(reason: &str) -> (String, String) {
    ("ended".to_owned(), reason.to_owned())
}

/// Every kind by every selector that names one caller; another's stream beside it goes on, and the
/// service's side is gone at once.
#[test]
fn streams_end_when_their_token_is_revoked() {
    let service = Service::start();
    let gateway = Gateway::start(&service.setup());
    let other = Token::good().claim("sub", "bob").claim("sid", "other");
    let bystanders: Vec<_> =
        KINDS.into_iter().map(|kind| open(&service, &gateway, kind, &other)).collect();
    let selectors = ["jti", "sub", "sid", "client"];
    let rows = KINDS.into_iter().flat_map(|kind| selectors.map(|by| (kind, by)));
    let mut times = Vec::new();
    each(rows, |(kind, by)| {
        let name = format!("{kind:?}-{by}");
        let token = Token::good().claim("sub", format!("sub-{name}"));
        let token = token.claim("sid", format!("sid-{name}")).claim("azp", format!("azp-{name}"));
        let live = open(&service, &gateway, kind, &token);
        std::thread::sleep(Duration::from_millis(100));
        assert!(live.goes_on(), "{name}");
        let value = match by {
            "jti" => token.jti().to_owned(),
            "client" => format!("azp-{name}"),
            by => format!("{by}-{name}"),
        };
        gateway.revoke(&json!({ by: value })).expect(201);
        let acknowledged = Instant::now();
        let (end, at) = live.ends_within(SECOND_LOOK);
        let took = at.saturating_duration_since(acknowledged);
        assert_eq!(end, Live::proper_end(kind), "{name} after {took:?}");
        times.push(took);
        assert_eq!(reason(&gateway, token.jti()), ended(&format!("revoked_{by}")), "{name}");
        soon("the service's side is gone", || service.open() == bystanders.len());
    });
    assert!(bystanders.iter().all(Live::goes_on), "another's streams");
    at_once(times);
}

/// A token without a jti is revoked by its digest; issuer and kid name every token.
#[test]
fn streams_end_by_digest_issuer_and_key() {
    let service = Service::start();
    let gateway = Gateway::start(&service.setup());
    for kind in [Kind::WebSocket, Kind::SseH2] {
        // Another payload each time, so another digest.
        let token = Token::good().claim("sub", format!("{kind:?}")).without("jti");
        let token = signed(&token);
        let live = Live::begin(&gateway, kind, &token);
        soon("it is open", || service.open() == 1);
        gateway.revoke(&json!({ "token": token })).expect(201);
        assert_eq!(live.ends_within(Duration::from_secs(2)).0, Live::proper_end(kind));
        soon("it is gone", || service.open() == 0);
    }
    for (by, value) in [("kid", key().kid.as_str()), ("issuer", "https://auth.test")] {
        let token = Token::good();
        let live = open(&service, &gateway, Kind::WebSocket, &token);
        let entry = gateway.revoke(&json!({ by: value })).expect(201).json();
        assert_eq!(live.ends_within(Duration::from_secs(2)).0, End::Code(1008), "{by}");
        let path = format!("/revocations/{}", entry["id"].as_str().unwrap());
        gateway.admin_request("DELETE", &path).send().expect(204);
    }
}

/// At `exp` and grace, the kinds that are listed; an ordinary download is let finish, and one that
/// is taken off the list as well.
#[test]
fn streams_end_when_their_token_expires() {
    let service = Service::start();
    let gateway = Gateway::start(&service.setup().set("streams", "grace", "\"1s\""));
    let exp = unix_now() + 3;
    let streams: Vec<_> = KINDS
        .into_iter()
        .map(|kind| {
            let token = Token::good().claim("exp", exp);
            (open(&service, &gateway, kind, &token), token)
        })
        .collect();
    let mut going_on = Vec::new();
    for (live, token) in streams {
        let kind = live.kind;
        if [Kind::Download, Kind::DownloadH2].contains(&kind) {
            going_on.push(live);
            continue;
        }
        let (end, _) = live.ends_within(Duration::from_secs(10));
        assert!(unix_now() > exp, "{kind:?}: not before exp and grace");
        assert!(unix_now() <= exp + 4, "{kind:?}: soon after exp and grace");
        assert_eq!(end, Live::proper_end(kind));
        assert_eq!(reason(&gateway, token.jti()), ended("expired"), "{kind:?}");
    }
    assert!(going_on.iter().all(Live::goes_on), "downloads go on");
    assert_eq!(status(&gateway)["ended"], json!({ "expired": 4 }));

    let off = service.setup().set("streams", "grace", "\"0s\"");
    let gateway = Gateway::start(&off.set("streams", "close_at_exp", "[\"sse\"]"));
    let token = Token::good().claim("exp", unix_now() + 2);
    let web_socket = open(&service, &gateway, Kind::WebSocket, &token);
    let events = open(&service, &gateway, Kind::Sse, &token);
    assert_eq!(events.ends_within(Duration::from_secs(8)).0, End::Cut);
    assert!(web_socket.goes_on());
}

/// Told, and not found by the second look: each may be late by chance on a busy machine, most are
/// not.
fn at_once(mut times: Vec<Duration>) {
    times.sort_unstable();
    assert!(times[times.len() / 2] < Duration::from_millis(700), "at once: {times:?}");
}

/// Revoked on another gateway: told by pub/sub, at once. Written by an application: noticed by the
/// second look.
#[test]
fn revocations_from_elsewhere_end_streams() {
    let (service, redis) = (Service::start(), Redis::start());
    let setup = on_redis(&service, &redis);
    let (one, other) = (Gateway::start(&setup), Gateway::start(&setup));
    soon("both listen", || {
        let listening = redis.command(&["PUBSUB", "NUMSUB", "postern:blocklist:revoked"]);
        format!("{listening:?}").contains("int(2)")
    });
    let mut times = Vec::new();
    each(KINDS, |kind| {
        let token = Token::good().claim("sub", format!("{kind:?}"));
        let live = open(&service, &one, kind, &token);
        std::thread::sleep(Duration::from_millis(50));
        other.revoke(&json!({ "sub": format!("{kind:?}") })).expect(201);
        let acknowledged = Instant::now();
        let (end, at) = live.ends_within(SECOND_LOOK);
        let took = at.saturating_duration_since(acknowledged);
        assert_eq!(end, Live::proper_end(kind));
        times.push(took);

        let token = Token::good();
        let live = open(&service, &one, kind, &token);
        std::thread::sleep(Duration::from_millis(50));
        redis.command(&["SET", &format!("blacklist:{}", token.jti()), "1"]);
        assert_eq!(live.ends_within(SECOND_LOOK).0, Live::proper_end(kind), "{kind:?}");
        assert_eq!(reason(&one, token.jti()), ended("revoked_extra_key"));
    });
    at_once(times);
}

/// An entry in the contract's form that somebody wrote without a word to anybody.
#[test]
fn raw_entries_end_streams() {
    let (service, redis) = (Service::start(), Redis::start());
    let gateway = Gateway::start(&on_redis(&service, &redis));
    let token = Token::good();
    let live = open(&service, &gateway, Kind::WebSocket, &token);
    let name = format!("postern:blocklist:jti:https%3A%2F%2Fauth.test:{}", token.jti());
    redis.command(&["SET", &name, "{}"]);
    assert_eq!(live.ends_within(SECOND_LOOK).0, End::Code(1008));
}

/// A sub is revoked as of a time: the session that began afterwards goes on, on the word as well
/// as on the second look.
#[test]
fn a_newer_session_of_the_same_subject_goes_on() {
    let service = Service::start();
    let gateway = Gateway::start(&service.setup());
    let now = unix_now();
    let token = |ago: i64| Token::good().claim("sub", "carol").claim("iat", now - ago);
    let (old, new) = (token(100), token(10));
    let (old_one, new_one) = (
        open(&service, &gateway, Kind::WebSocket, &old),
        open(&service, &gateway, Kind::WebSocket, &new),
    );
    gateway.revoke(&json!({ "sub": "carol", "issued_before": now - 50 })).expect(201);
    assert_eq!(old_one.ends_within(Duration::from_secs(2)).0, End::Code(1008));
    std::thread::sleep(A_WHILE);
    assert!(new_one.goes_on(), "the newer session");
}

/// FLUSHALL is a loss and not a pardon: what was revoked stays refused, what was not goes on; with `refuse-older` everything from before ends.
#[test]
fn a_flushed_store_ends_nothing_by_itself() {
    let (service, redis) = (Service::start(), Redis::start());
    let gateway = Gateway::start(&on_redis(&service, &redis));
    let token = Token::good();
    let live = open(&service, &gateway, Kind::Sse, &token);
    redis.command(&["FLUSHALL"]);
    std::thread::sleep(A_WHILE);
    assert!(live.goes_on(), "nobody revoked it");
    gateway.revoke_jti(token.jti());
    assert_eq!(live.ends_within(Duration::from_secs(2)).0, End::Cut);

    let strict = on_redis(&service, &redis).set("revocation", "on_loss", "\"refuse-older\"");
    let gateway = Gateway::start(&strict);
    let token = Token::good();
    let live = open(&service, &gateway, Kind::Sse, &token);
    redis.command(&["FLUSHALL"]);
    assert_eq!(live.ends_within(Duration::from_secs(5)).0, End::Cut);
    assert_eq!(reason(&gateway, token.jti()), ended("older_than_loss"));
}

/// A blip ends nothing; deafness is bounded on routes that deny, and goes on where a route allows.
#[test]
fn nobody_answers_for_longer_than_the_grace() {
    let (service, mut redis) = (Service::start(), Redis::start());
    let lenient = "path = \"/api/events\"\non_unreachable = \"allow\"";
    let setup = on_redis(&service, &redis).route("events", lenient);
    let gateway = Gateway::start(&setup.set("streams", "grace", "\"5s\""));
    let (denied, allowed) = (Token::good(), Token::good());
    let ends = open(&service, &gateway, Kind::WebSocket, &denied);
    let goes_on = open(&service, &gateway, Kind::Sse, &allowed);
    redis.freeze();
    std::thread::sleep(Duration::from_secs(3));
    redis.thaw();
    std::thread::sleep(Duration::from_secs(3));
    assert!(ends.goes_on() && goes_on.goes_on(), "a blip");
    redis.kill();
    let down = Instant::now();
    let (end, at) = ends.ends_within(Duration::from_secs(12));
    assert_eq!(end, End::Code(1008));
    let took = at.saturating_duration_since(down);
    assert!(took > Duration::from_millis(4500), "not before the grace: {took:?}");
    assert_eq!(reason(&gateway, denied.jti()), ended("store_unavailable"));
    assert!(goes_on.goes_on(), "on_unreachable = \"allow\"");
    let numbers = status(&gateway);
    assert_eq!(numbers["ended"], json!({ "store_unavailable": 1 }));
    assert!(numbers["unanswered"].as_u64().unwrap() >= 2, "{numbers}");
    let log = gateway.stderr().text();
    let said = log.matches("cannot be asked about live streams").count();
    assert!((1..=2).contains(&said), "{log}");

    // What this gateway knows to be revoked ends all the same, as soon as it is revoked.
    redis.restart();
    soon("the store is back", || gateway.revoke(&json!({ "jti": "probe" })).status == 201);
    gateway.revoke_jti(allowed.jti());
    assert_eq!(goes_on.ends_within(SECOND_LOOK).0, End::Cut);
}

/// Removing the key (or the issuer) that a token rests on ends its streams; any other change of
/// the configuration does not.
#[test]
fn a_reload_ends_what_it_no_longer_trusts() {
    let service = Service::start();
    let second = Key::generate("ES256", "second");
    let both = service.setup().issuer("more", "issuer = \"https://more.test\"", &[&second]);
    let gateway = Gateway::start(&both);
    let (stays, goes) = (Token::good(), Token::good().claim("iss", "https://more.test"));
    let stays_open = open(&service, &gateway, Kind::WebSocket, &stays);
    let ends = Live::open(&service, &gateway, Kind::WebSocket, &goes.sign(&second), goes.jti());
    gateway.reload(&both.clone().set("limits", "header_count", "90")).expect(200);
    std::thread::sleep(A_WHILE);
    assert!(stays_open.goes_on() && ends.goes_on(), "a change of something else");
    gateway.reload(&service.setup().set("revocation", "on_loss", "\"remember\"")).expect(200);
    assert_eq!(ends.ends_within(SECOND_LOOK).0, End::Code(1008));
    assert_eq!(reason(&gateway, goes.jti()), ended("unknown_key"));
    std::thread::sleep(A_WHILE);
    assert!(stays_open.goes_on());
}

/// Nobody's streams are nobody's business: without a token there is nothing to revoke.
#[test]
fn anonymous_streams_are_not_kept() {
    let service = Service::start();
    let gateway = Gateway::start(&service.setup());
    let mut anonymous = gateway.https().connect();
    upgrade(&gateway, "/open/ws").on(&mut anonymous).unwrap().expect(101);
    let token = Token::good();
    let live = open(&service, &gateway, Kind::Sse, &token);
    soon("the stream with a token is counted", || status(&gateway)["open"] == 1);
    gateway.revoke_jti(token.jti());
    live.ends_within(Duration::from_secs(2));
    soon("it is counted no longer", || status(&gateway)["open"] == 0);
    assert_eq!(status(&gateway)["ended"], json!({ "revoked_jti": 1 }));
    assert!(!anonymous.closes_within(Duration::from_millis(300)));
}

/// A user who may neither publish nor subscribe may revoke; it is said once, and the second look
/// finds it.
#[test]
fn pub_sub_that_is_forbidden_costs_the_haste_only() {
    let user = "user gateway on >geheim ~* &nothing +@all";
    let (service, redis) = (Service::start(), Redis::with(&[user]));
    let setup = on_redis(&service, &redis).set("store", "username", "\"gateway\"");
    let setup = setup.set("store", "password_file", "\"redis.password\"");
    let setup = setup.file("redis.password", "geheim");
    let (one, other) = (Gateway::start(&setup), Gateway::start(&setup));
    for _ in 0..2 {
        let token = Token::good();
        let live = open(&service, &one, Kind::WebSocket, &token);
        other.revoke_jti(token.jti());
        assert_eq!(live.ends_within(SECOND_LOOK).0, End::Code(1008));
        let token = Token::good();
        let live = open(&service, &one, Kind::WebSocket, &token);
        one.revoke_jti(token.jti());
        assert_eq!(live.ends_within(Duration::from_millis(1800)).0, End::Code(1008), "its own");
    }
    for (gateway, says) in [(&other, "forbids to publish"), (&one, "forbids to listen")] {
        gateway.says(says);
        let log = gateway.stderr().text();
        assert_eq!(log.matches(says).count(), 1, "{says}: {log}");
    }
}

/// Draining does not wait longer than before, and an ended stream does not hold it up.
#[test]
fn draining_cuts_streams_as_before() {
    let service = Service::start();
    let mut gateway = Gateway::start(&service.setup().set("timeouts", "drain", "\"1s\""));
    let token = Token::good();
    let live = open(&service, &gateway, Kind::WebSocket, &token);
    let begin = Instant::now();
    gateway.signal(rustix::process::Signal::TERM);
    assert!(gateway.wait(Duration::from_secs(6)).success());
    assert!(begin.elapsed() > Duration::from_millis(900), "it is given its time");
    live.ends_within(Duration::from_secs(1));
}

/// Whose stream was closed, and why: a line of its own in the audit log.
#[test]
fn the_audit_log_has_every_stream_that_was_closed() {
    let service = Service::start();
    let setup = service.setup().set("audit", "file", "\"audit.log\"");
    let setup = setup.set("audit", "key_file", "\"audit.key\"");
    let gateway = Gateway::start(&setup.file("audit.key", "an audit key of more than 32 bytes\n"));
    let token = Token::good();
    let live = open(&service, &gateway, Kind::WebSocket, &token);
    gateway.revoke_jti(token.jti());
    live.ends_within(Duration::from_secs(2));
    let path = gateway.dir.path().join("audit.log");
    let mut found = None;
    soon("the line is there", || {
        let text = std::fs::read_to_string(&path).unwrap();
        let mut lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        found = lines.find(|line| line["event"] == "stream_closed");
        found.is_some()
    });
    let line = found.unwrap().to_string();
    for word in ["revoked_jti", token.jti(), "alice", "\"ws\"", "127.0.0.1"] {
        assert!(line.contains(word), "{word}: {line}");
    }
}
