//! Live connections end with their token: at `exp` and grace, when it is revoked by whomever and
//! however, and when nobody can say whether it was; each in a way that its client understands.

use std::io::{ErrorKind, Read};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::client::Connection;
use crate::harness::gateway::Gateway;
use crate::harness::keys::Key;
use crate::harness::live::{End, KINDS, Kind, Live, Service, upgrade, websocket_end};
use crate::harness::redis::Redis;
use crate::harness::setup::Setup;
use crate::harness::tokens::Token;
use crate::harness::{each, eventually, soon, unix_now};

/// The contract's two seconds, and what a loaded machine takes.
const SECOND_LOOK: Duration = Duration::from_millis(2500);
/// Long enough to see that nothing happens.
const A_WHILE: Duration = Duration::from_millis(2500);

fn key() -> &'static Key {
    Key::shared("ES256")
}

fn on_redis(service: &Service, redis: &Redis) -> Setup {
    service.setup().redis(redis).set("revocation", "extra_keys", "[\"blacklist:{jti}\"]")
}

fn signed(token: &Token) -> String {
    token.sign(key())
}

/// A stream of this kind with this token.
fn open(service: &Service, gateway: &Gateway, kind: Kind, token: &Token) -> Live {
    Live::open(service, gateway, kind, &signed(token), token.jti())
}

fn status(gateway: &Gateway) -> Value {
    gateway.admin_request("GET", "/status").send().json()["streams"].clone()
}

/// The access log's word on the request with this token.
fn reason(gateway: &Gateway, jti: &str) -> (String, String) {
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

fn ended(reason: &str) -> (String, String) {
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
        let (end, at) = live.ends_within(Duration::from_secs(2));
        let took = at.saturating_duration_since(acknowledged);
        assert_eq!(end, Live::proper_end(kind), "{name} after {took:?}");
        assert!(took < Duration::from_millis(700), "{name}: at once, not after {took:?}");
        assert_eq!(reason(&gateway, token.jti()), ended(&format!("revoked_{by}")), "{name}");
        soon("the service's side is gone", || service.open() == bystanders.len());
    });
    assert!(bystanders.iter().all(Live::goes_on), "another's streams");
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
    each(KINDS, |kind| {
        let token = Token::good().claim("sub", format!("{kind:?}"));
        let live = open(&service, &one, kind, &token);
        std::thread::sleep(Duration::from_millis(50));
        other.revoke(&json!({ "sub": format!("{kind:?}") })).expect(201);
        let acknowledged = Instant::now();
        let (end, at) = live.ends_within(SECOND_LOOK);
        let took = at.saturating_duration_since(acknowledged);
        assert_eq!(end, Live::proper_end(kind));
        assert!(took < Duration::from_millis(700), "{kind:?}: told at once, not after {took:?}");

        let token = Token::good();
        let live = open(&service, &one, kind, &token);
        std::thread::sleep(Duration::from_millis(50));
        redis.command(&["SET", &format!("blacklist:{}", token.jti()), "1"]);
        assert_eq!(live.ends_within(SECOND_LOOK).0, Live::proper_end(kind), "{kind:?}");
        assert_eq!(reason(&one, token.jti()), ended("revoked_extra_key"));
    });
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

/// FLUSHALL is a loss and not a pardon: what was revoked ends streams that are opened by stealth
/// no more than before, what was not goes on; with `refuse-older` everything from before ends.
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
    assert!(log.matches("cannot be asked about live streams").count() <= 2, "{log}");

    // What this gateway knows to be revoked ends all the same, as soon as it is revoked.
    redis.restart();
    soon("the store is back", || gateway.revoke(&json!({ "jti": "probe" })).status == 201);
    gateway.revoke_jti(allowed.jti());
    assert_eq!(goes_on.ends_within(SECOND_LOOK).0, End::Cut);
}

/// RFC 6455 §5.5.1: a Close frame stands between frames. Within one, only a reset is left.
#[test]
fn a_web_socket_is_closed_between_frames_and_reset_within_one() {
    let service = Service::start();
    let gateway = Gateway::start(&service.setup());
    // What is sent before the revocation, echoed by the service (so unmasked): whole frames, a
    // head's half, a payload's half, a fragment.
    for (sent, is_told) in [
        (&b"\x82\x02ab"[..], true),
        (&b"\x02\x01a\x89\x00"[..], true),
        (&b"\x82\x7e\x01"[..], false),
        (&b"\x82\x05ab"[..], false),
    ] {
        service.watched.received.lock().unwrap().clear();
        let token = Token::good();
        let mut connection = gateway.https().connect();
        upgrade(&gateway, "/ws").bearer(&signed(&token)).on(&mut connection).unwrap().expect(101);
        connection.write(sent);
        assert_eq!(connection.exactly(sent.len()), sent);
        gateway.revoke_jti(token.jti());
        let end = websocket_end(&mut connection);
        assert_eq!(end, if is_told { End::Code(1008) } else { End::Cut }, "{sent:?}");
        if is_told {
            // The service is told as well, by a masked frame, and nothing follows.
            soon("the service is told", || service.open() == 0);
            let received = service.watched.received.lock().unwrap().clone();
            let close = &received[sent.len()..];
            assert!(close[0] == 0x88 && close[1] & 0x80 != 0, "{close:?}");
            let code = [close[6] ^ close[2], close[7] ^ close[3]];
            assert_eq!(u16::from_be_bytes(code), 1008);
            assert_eq!(close.len(), 6 + usize::from(close[1] & 0x7f));
        }
        drop(connection);
        soon("the service's side is gone", || service.open() == 0);
    }
}

/// Whether the connection ends by a reset rather than as if by itself.
fn is_reset(connection: &Connection) -> bool {
    let mut raw = connection.tcp().try_clone().unwrap();
    raw.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    loop {
        match raw.read(&mut [0; 65536]) {
            Ok(0) => return false,
            Ok(_) => {}
            Err(error) => return error.kind() == ErrorKind::ConnectionReset,
        }
    }
}

/// What is cut short on HTTP/1 is reset: a client that takes the end of the connection for the end
/// of the answer (RFC 9112 §8) must not take this for a whole one.
#[test]
fn http1_answers_are_reset() {
    let service = Service::start();
    let gateway = Gateway::start(&service.setup());
    for path in ["/api/events", "/api/download"] {
        let token = Token::good();
        let mut connection = gateway.https().connect();
        connection.write(&gateway.get(path).bearer(&signed(&token)).bytes());
        soon("it is open", || service.open() == 1);
        gateway.revoke_jti(token.jti());
        assert!(is_reset(&connection), "{path}");
        soon("it is gone", || service.open() == 0);
    }
}

/// A message that has begun is not taken for a whole one: the stream is reset.
#[test]
fn a_grpc_stream_is_reset_within_a_message() {
    let service = Service::start();
    let gateway = Gateway::start(&service.setup());
    let token = Token::good();
    let (bearer, address) = (signed(&token), gateway.address("https"));
    let thread = std::thread::spawn(move || {
        let h2 = crate::harness::h2::H2::connect(address, crate::harness::setup::HOST);
        h2.get("/api/grpc-broken", Some(&bearer)).map(|answer| answer.trailers)
    });
    soon("it is open", || service.open() == 1);
    std::thread::sleep(Duration::from_millis(100));
    gateway.revoke_jti(token.jti());
    let error = thread.join().unwrap().unwrap_err();
    assert!(format!("{error:?}").contains("CANCEL"), "{error:?}");
}

/// A client that goes on sending is not heard any more.
#[test]
fn nothing_reaches_the_service_after_the_end() {
    let service = Service::start();
    let gateway = Gateway::start(&service.setup());
    let token = Token::good();
    let mut connection = gateway.https().connect();
    upgrade(&gateway, "/ws").bearer(&signed(&token)).on(&mut connection).unwrap().expect(101);
    connection.write(b"\x81\x06before");
    connection.exactly(8);
    gateway.revoke_jti(token.jti());
    assert_eq!(websocket_end(&mut connection), End::Code(1008));
    for _ in 0..20 {
        if connection.try_write(b"\x81\x05after").is_err() {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    soon("the service's side is gone", || service.open() == 0);
    let received = service.watched.received.lock().unwrap().clone();
    let after = received.windows(5).any(|window| window == b"after");
    assert!(!after, "{:?}", String::from_utf8_lossy(&received));
}

/// The request that came with a body of its own is refused as long as nothing was answered.
#[test]
fn uploads_end_with_their_token() {
    let service = Service::start();
    let gateway = Gateway::start(&service.setup());
    let token = Token::good();
    let mut connection = gateway.https().connect();
    let request = gateway.post("/api/upload").bearer(&signed(&token));
    let request = request.header("Content-Length", "1000000");
    connection.write(&request.bytes());
    connection.write(&[b'x'; 1000]);
    soon("the service hears of it", || service.upstream.connections() == 1);
    std::thread::sleep(Duration::from_millis(200));
    gateway.revoke_jti(token.jti());
    connection.answer("POST").refused(401);
    connection.write(&[b'y'; 1000]);
    soon("the service has seen the end", || service.upstream.count() == 1);
    let seen = service.upstream.last();
    assert!(!seen.complete && !seen.body.contains(&b'y'), "{} bytes", seen.body.len());
    assert_eq!(reason(&gateway, token.jti()), ("refused".to_owned(), "revoked".to_owned()));
}

/// A client that reads nothing has its connection reset all the same (HTTP/1, HTTP/2, WebSocket):
/// whatever stands in its way, it does not keep what is revoked.
#[test]
fn a_client_that_reads_nothing_keeps_nothing() {
    let service = Service::start();
    let gateway = Gateway::start(&service.setup());
    let token = Token::good();
    let mut http1 = gateway.https().connect();
    http1.write(&gateway.get("/api/firehose").bearer(&signed(&token)).bytes());
    let mut frames = crate::harness::h2::Frames::connect(gateway.address("https"), "api.test");
    let bearer = format!("Bearer {}", signed(&token));
    let fields = [
        (":method", "GET"),
        (":scheme", "https"),
        (":authority", "api.test"),
        (":path", "/api/firehose"),
        ("authorization", bearer.as_str()),
    ];
    frames.head(1, &fields, true);
    let mut web_socket = gateway.https().connect();
    let handshake = upgrade(&gateway, "/ws").bearer(&signed(&token));
    handshake.on(&mut web_socket).unwrap().expect(101);
    soon("all are open", || service.open() == 3);
    // What it sends comes back until every buffer on the way is full.
    web_socket.tcp().set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    let mut flood = vec![0x82, 0x7f, 0, 0, 0, 1, 0, 0, 0, 0];
    flood.resize(65536, 7);
    for _ in 0..400 {
        if web_socket.try_write(&flood).is_err() {
            break;
        }
        flood = vec![7; 65536];
    }
    std::thread::sleep(Duration::from_millis(500));
    gateway.revoke_jti(token.jti());
    eventually("all are gone", Duration::from_secs(5), || service.open() == 0);
    assert!(is_reset(&http1), "HTTP/1");
    assert!(is_reset(&web_socket), "WebSocket");
    assert!(frames.closes_within(Duration::from_secs(5)), "HTTP/2");
}

/// Revoked at the very moment in which it opens, again and again: no stream outlives the second
/// look, whichever came first.
#[test]
fn a_stream_that_opens_while_it_is_revoked_does_not_stay() {
    let (service, redis) = (Service::start(), Redis::start());
    let gateway = Gateway::start(&on_redis(&service, &redis));
    let (mut refused, mut ended) = (0, 0);
    for round in 0..60 {
        let kind = KINDS[round % KINDS.len()];
        let token = Token::good();
        let live = Live::begin(&gateway, kind, &signed(&token));
        // From before the request arrives until after its stream is open.
        std::thread::sleep(Duration::from_micros(700 * u64::try_from(round % 20).unwrap()));
        gateway.revoke_jti(token.jti());
        match live.ends_within(SECOND_LOOK).0 {
            End::Other(text) => {
                assert!(text.contains("401"), "{kind:?}: {text}");
                refused += 1;
            }
            end => {
                assert_eq!(end, Live::proper_end(kind));
                ended += 1;
            }
        }
    }
    println!("{refused} refused before they began, {ended} ended");
    soon("none is left", || service.open() == 0);
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
        assert_eq!(live.ends_within(Duration::from_millis(700)).0, End::Code(1008), "its own");
    }
    for (gateway, says) in [(&other, "forbids to publish"), (&one, "forbids to listen")] {
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
