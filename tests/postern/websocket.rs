//! WebSocket over HTTP/1.1 (R32): after authentication, tunnelled once the upstream has answered
//! 101, and nothing passed on before.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::harness::client::Request;
use crate::harness::gateway::Gateway;
use crate::harness::keys::Key;
use crate::harness::setup::Setup;
use crate::harness::soon;
use crate::harness::tokens::Token;
use crate::harness::upstream::{After, Seen, Upstream, reply};

const ACCEPTED: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// Says 101 to a WebSocket request and then echoes bytes until the end.
fn echo(seen: &Seen, stream: &mut TcpStream) -> After {
    if seen.header("upgrade").is_none() {
        reply(stream, "200 OK", &[], "plain");
        return After::Keep;
    }
    stream.write_all(ACCEPTED).unwrap();
    let mut buffer = [0; 1024];
    while let Ok(n) = stream.read(&mut buffer) {
        if n == 0 || stream.write_all(&buffer[..n]).is_err() {
            break;
        }
    }
    After::Close
}

fn setup(app: &Upstream) -> Setup {
    let ws = "path = \"/ws\"\nupgrade = [\"websocket\"]";
    Setup::standard(app)
        .route("ws", ws)
        .route("open", &ws.replace("/ws\"", "/open\"\nauth = \"none\""))
}

fn upgrade(gateway: &Gateway, path: &str) -> Request {
    let request = gateway.get(path).header("Connection", "keep-alive, Upgrade");
    let request = request.header("Upgrade", "websocket").header("Sec-WebSocket-Version", "13");
    request.header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
}

#[test]
fn bytes_pass_both_ways_after_101() {
    let app = Upstream::with(echo);
    let gateway = Gateway::start(&setup(&app));
    let token = Token::good().sign(Key::shared("ES256"));
    let mut connection = gateway.https().connect();
    let answer = upgrade(&gateway, "/ws").bearer(&token).on(&mut connection).unwrap().expect(101);
    assert!(answer.header("upgrade").unwrap().eq_ignore_ascii_case("websocket"));
    assert_eq!(answer.header("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    assert_eq!(app.last().header("x-auth-subject"), Some("alice"));
    assert_eq!(app.last().header("sec-websocket-version"), Some("13"));
    for text in ["hello", "\r\n\r\n", "GET /public/x HTTP/1.1\r\n\r\n"] {
        connection.write(text.as_bytes());
        assert_eq!(connection.exactly(text.len()), text.as_bytes());
    }
    let big = vec![7; 200_000];
    let mut got = 0;
    for part in big.chunks(1000) {
        connection.write(part);
        got += connection.exactly(part.len()).len();
    }
    assert_eq!(got, big.len());
    assert_eq!(app.count(), 1, "tunnelled bytes are no requests");
}

#[test]
fn closing_one_end_closes_the_other() {
    let ended = Arc::new(Mutex::new(false));
    let flag = ended.clone();
    let app = Upstream::with(move |_, stream| {
        stream.write_all(ACCEPTED).unwrap();
        while stream.read(&mut [0; 64]).is_ok_and(|n| n > 0) {}
        *flag.lock().unwrap() = true;
        After::Close
    });
    let gateway = Gateway::start(&setup(&app));
    let mut connection = gateway.https().connect();
    upgrade(&gateway, "/open").on(&mut connection).unwrap().expect(101);
    connection.vanish();
    soon("the upstream sees the end", || *ended.lock().unwrap());

    let short = Upstream::with(|_, stream| {
        stream.write_all(ACCEPTED).unwrap();
        stream.write_all(b"bye").unwrap();
        After::Close
    });
    let gateway = Gateway::start(&setup(&short));
    let mut connection = gateway.https().connect();
    upgrade(&gateway, "/open").on(&mut connection).unwrap().expect(101);
    assert_eq!(connection.exactly(3), b"bye");
    assert!(connection.closes_within(Duration::from_secs(5)));
}

#[test]
fn upgrades_are_authenticated_first() {
    let app = Upstream::with(echo);
    let gateway = Gateway::start(&setup(&app));
    let revoked = Token::good();
    gateway.revoke_jti(revoked.jti());
    upgrade(&gateway, "/ws").send().refused(401);
    upgrade(&gateway, "/ws").bearer("a.b.c").send().refused(401);
    upgrade(&gateway, "/ws").bearer(&revoked.sign(Key::shared("ES256"))).send().refused(401);
    let expired = Token::good().claim("exp", 1).sign(Key::shared("ES256"));
    upgrade(&gateway, "/ws").bearer(&expired).send().refused(401);
    app.saw_nothing("upgrades without a valid token");
}

/// A cookie-borne token with an upgrade: browsers send it from anywhere (CSWSH).
#[test]
fn cookie_borne_upgrades_check_the_origin() {
    let app = Upstream::with(echo);
    let lines = "path = \"/web\"\nupgrade = [\"websocket\"]\ntoken = { cookie = \"session\" }";
    let setup = setup(&app).set("listen", "public_url", "\"https://api.test\"").route("web", lines);
    let gateway = Gateway::start(&setup);
    let token = Token::good().sign(Key::shared("ES256"));
    let from = |origin: &str| {
        let request = upgrade(&gateway, "/web").header("Cookie", &format!("session={token}"));
        request.header("Origin", origin).send()
    };
    from("https://api.test").expect(101);
    app.forget();
    from("https://evil.test").refused(403);
    from("null").refused(403);
    app.saw_nothing("a foreign origin");
}

/// Only `websocket`, only where the route allows it, only as HTTP/1.1 GET.
#[test]
fn other_upgrades_do_not_happen() {
    let app = Upstream::with(echo);
    let gateway = Gateway::start(&setup(&app));
    let dropped = |request: Request, context: &str| {
        app.forget();
        let answer = request.send();
        assert_ne!(answer.status, 101, "{context}");
        for seen in app.seen() {
            assert_eq!(seen.header("upgrade"), None, "{context}");
            assert_eq!(seen.header("http2-settings"), None, "{context}");
        }
    };
    dropped(upgrade(&gateway, "/public/x"), "a route without upgrade");
    let with = |protocol: &str| {
        let request = gateway.get("/open").header("Connection", "Upgrade, HTTP2-Settings");
        request.header("Upgrade", protocol)
    };
    // Bishop Fox "h2c smuggling".
    dropped(with("h2c").header("HTTP2-Settings", "AAMAAABkAARAAAAAAAIAAAAA"), "h2c");
    dropped(with("h2c, websocket").header("HTTP2-Settings", "AAMAAABk"), "h2c and websocket");
    dropped(with("TLS/1.0"), "TLS");
    dropped(with("websocket\r\nUpgrade: h2c"), "two Upgrade fields");
    dropped(gateway.get("/open").header("Upgrade", "websocket"), "not named by Connection");
    let post = gateway.post("/open").header("Connection", "Upgrade");
    dropped(post.header("Upgrade", "websocket").body("x"), "POST");
}

/// CVE-2026-2833: bytes that come before the upstream's 101 are not passed on; and when there is
/// no 101, they were never anything but a next request.
#[test]
fn nothing_is_passed_on_before_101() {
    let early = Arc::new(Mutex::new(Vec::new()));
    let sink = early.clone();
    let app = Upstream::with(move |seen, stream| {
        if seen.header("upgrade").is_some() {
            stream.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
            let mut buffer = [0; 1024];
            if let Ok(n) = stream.read(&mut buffer) {
                sink.lock().unwrap().extend_from_slice(&buffer[..n]);
            }
            reply(stream, "403 Forbidden", &[], "no");
            return After::Close;
        }
        reply(stream, "200 OK", &[], "plain");
        After::Keep
    });
    let gateway = Gateway::start(&setup(&app));
    let mut connection = gateway.https().connect();
    let smuggled = "GET /admin/x HTTP/1.1\r\nHost: api.test\r\nX-Auth-Roles: admin\r\n\r\n";
    let mut bytes = upgrade(&gateway, "/open").bytes();
    bytes.extend(smuggled.bytes());
    connection.write(&bytes);
    assert_eq!(connection.answer("GET").expect(403).text(), "no");
    assert!(
        early.lock().unwrap().is_empty(),
        "{:?}",
        String::from_utf8_lossy(&early.lock().unwrap())
    );
    // If the connection goes on, the next request is judged like any other.
    if let Ok(answer) = connection.try_answer("GET") {
        assert!(answer.status >= 400, "{}", answer.status);
    }
    assert!(app.seen().iter().all(|seen| seen.target == "/open"), "{:#?}", app.seen());
}

/// What the upstream answers instead of 101 reaches the client as it is.
#[test]
fn refusals_of_the_upstream_pass() {
    let app = Upstream::with(|_, stream| {
        reply(stream, "426 Upgrade Required", &[("Sec-WebSocket-Version", "8")], "older");
        After::Keep
    });
    let gateway = Gateway::start(&setup(&app));
    let answer = upgrade(&gateway, "/open").send().expect(426);
    assert_eq!(
        (answer.text().as_str(), answer.header("sec-websocket-version")),
        ("older", Some("8"))
    );
}
