//! What a reviewer with an attacker's eyes asked of the request's way.

use std::io::{Read as _, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::harness::client::Connection;
use crate::harness::gateway::Gateway;
use crate::harness::h2::{Frames, kind};
use crate::harness::keys::Key;
use crate::harness::setup::{HOST, Setup};
use crate::harness::soon;
use crate::harness::tokens::Token;
use crate::harness::upstream::{After, Seen, Upstream, reply};

/// Generous, for a loaded machine.
const SOON: Duration = Duration::from_secs(6);

/// RFC 9110 §7.2, RFC 9112 §3.2: one Host, or the upstream may refuse the request, or read the
/// other one.
#[test]
fn the_upstream_gets_one_host() {
    let app = Upstream::start();
    let gateway = Gateway::standard(&app);
    gateway.get("/public/x").send().expect(200);
    assert_eq!(app.last().header("host"), Some(HOST));
    let absolute = format!("https://{HOST}/public/x");
    gateway.get(&absolute).send().expect(200);
    assert_eq!(app.last().header("host"), Some(HOST));
}

/// RFC 9110 §7.6.3: Via names the version in which the message was received.
#[test]
fn via_names_the_received_version() {
    let app = Upstream::start();
    let gateway = Gateway::standard(&app);
    let mut connection = gateway.https().connect();
    connection.write(format!("GET /public/x HTTP/1.0\r\nHost: {HOST}\r\n\r\n").as_bytes());
    connection.answer("GET").expect(200);
    assert_eq!(app.last().header("via"), Some("1.0 postern"));
}

/// R29: a coding below `chunked` would be taken off the head and left on the body.
#[test]
fn only_one_chunked_coding_is_taken() {
    let app = Upstream::start();
    let gateway = Gateway::standard(&app);
    for codings in [
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: chunked, chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: ,chunked",
    ] {
        let mut connection = gateway.https().connect();
        let head = format!("POST /public/x HTTP/1.1\r\nHost: {HOST}\r\n{codings}\r\n\r\n0\r\n\r\n");
        connection.write(head.as_bytes());
        assert_eq!(connection.answer("POST").status, 400, "{codings}");
        assert!(connection.closes_within(SOON), "{codings}");
        app.saw_nothing(codings);
    }
    let mut connection = gateway.https().connect();
    let head = format!(
        "POST /public/x HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: Chunked\r\n\r\n1\r\na\r\n0\r\n\r\n"
    );
    connection.write(head.as_bytes());
    connection.answer("POST").expect(200);
    assert_eq!(app.last().body, b"a");
}

/// `[timeouts] response` counts from the end of the request: an upload may take longer than that
/// as long as it moves, and an upstream that does not read it may not.
#[test]
fn a_long_upload_is_no_slow_upstream() {
    let app = Upstream::start();
    // Each pause is far below the limit, all of them together are above it.
    let gateway = Gateway::start(&Setup::standard(&app).set("timeouts", "response", "\"3s\""));
    let mut connection = gateway.https().connect();
    let head = format!("POST /public/x HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 8\r\n\r\n");
    connection.write(head.as_bytes());
    for byte in b"8 pieces" {
        std::thread::sleep(Duration::from_millis(500));
        connection.write(&[*byte]);
    }
    connection.answer("POST").expect(200);
    assert_eq!(app.last().body, b"8 pieces");
}

#[test]
fn an_upstream_that_reads_no_body_is_a_slow_one() {
    let deaf = Upstream::early(|_, _| {
        std::thread::sleep(Duration::from_secs(8));
        After::Close
    });
    let setup = Setup::standard(&deaf).set("timeouts", "response", "\"1s\"").set(
        "limits",
        "body_bytes",
        "\"off\"",
    );
    let gateway = Gateway::start(&setup);
    let mut connection = gateway.https().connect();
    connection.tcp().set_write_timeout(Some(Duration::from_millis(200))).unwrap();
    let head =
        format!("POST /public/x HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 100000000\r\n\r\n");
    connection.write(head.as_bytes());
    let start = Instant::now();
    while start.elapsed() < SOON && connection.try_write(&[b'a'; 65536]).is_ok() {}
    assert_eq!(connection.answer("POST").status, 504);
    assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
}

fn impatient(app: &Upstream) -> Gateway {
    let mut setup = Setup::standard(app);
    for name in ["header", "body_idle", "keep_alive"] {
        setup = setup.set("timeouts", name, "\"1s\"");
    }
    Gateway::start(&setup)
}

fn megabyte() -> Upstream {
    Upstream::with(|_, stream| {
        reply(stream, "200 OK", &[], &"x".repeat(1 << 20));
        After::Keep
    })
}

fn ask_h2(gateway: &Gateway, settings: &[u8]) -> Frames {
    let mut frames = Frames::connect(gateway.address("https"), HOST);
    frames.write(kind::SETTINGS, 0, 0, settings);
    let fields =
        [(":method", "GET"), (":scheme", "https"), (":authority", HOST), (":path", "/public/x")];
    frames.head(1, &fields, true);
    frames
}

/// R37, R39: the stream's window is where an HTTP/2 client stops reading; its socket still flows.
#[test]
fn an_http_2_client_that_opens_no_window() {
    let app = megabyte();
    let gateway = impatient(&app);
    let mut stalled = ask_h2(&gateway, &[]);
    assert!(stalled.closes_within(SOON), "after the first 64 KiB");
    let mut closed = ask_h2(&gateway, &[0, 4, 0, 0, 0, 0]);
    assert!(closed.closes_within(SOON), "SETTINGS_INITIAL_WINDOW_SIZE = 0");
    gateway.get("/public/x").send().expect(200);
}

#[test]
fn an_http_2_client_that_reads_slowly() {
    let app = megabyte();
    let gateway = impatient(&app);
    let mut slow = ask_h2(&gateway, &[]);
    for _ in 0..10 {
        assert!(!slow.closes_within(Duration::from_millis(300)), "it takes what it is given");
        for stream in [0, 1] {
            slow.write(kind::WINDOW_UPDATE, 0, stream, &[0, 0, 64, 0]);
        }
    }
}

/// RFC 9113 §6.8: an idle connection is closed with GOAWAY, so that the client knows that its
/// next request is to go elsewhere.
#[test]
fn an_idle_http_2_connection_is_told() {
    let app = Upstream::start();
    let gateway = impatient(&app);
    let mut frames = ask_h2(&gateway, &[]);
    let mut kinds = Vec::new();
    while let Some(frame) = frames.next() {
        kinds.push(frame.kind);
    }
    assert!(kinds.contains(&kind::GOAWAY), "{kinds:?}");
}

/// R49: a connection that was accepted gets its first request served, drain or not.
#[test]
fn a_request_that_comes_with_the_drain() {
    let app = Upstream::start();
    let mut gateway = Gateway::standard(&app);
    let mut fresh = gateway.https().connect();
    let mut used = gateway.https().connect();
    gateway.get("/public/x").on(&mut used).unwrap().expect(200);
    gateway.signal(rustix::process::Signal::TERM);
    assert!(used.closes_within(SOON), "an idle connection");
    let answer = gateway.get("/public/x").on(&mut fresh).unwrap().expect(200);
    assert_eq!(answer.header("connection"), Some("close"));
    assert!(gateway.wait(SOON).success());
}

/// R20, R23: the question whether a path has a second reading is asked of the route that was found.
#[test]
fn a_preflight_of_a_path_with_capitals() {
    let app = Upstream::start();
    let route = "path = \"/Reports/*\"\nmethods = [\"GET\"]\npreflight = \"forward\"";
    let gateway = Gateway::start(&Setup::standard(&app).route("reports", route));
    let ask = |path: &str, method: &str| {
        gateway
            .request("OPTIONS", path)
            .header("Origin", "https://app.test")
            .header("Access-Control-Request-Method", method)
            .send()
    };
    ask("/Reports/x", "GET").expect(200);
    app.forget();
    ask("/Reports/x", "DELETE").refused(405);
    ask("/reports/x", "GET").refused(400);
    app.saw_nothing("another method, another reading");
}

/// A tunnel counts as an open connection until it ends, and ends when the gateway does.
#[test]
fn a_tunnel_is_given_back() {
    let app = Upstream::with(|_, stream| {
        let head =
            "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
        drop(stream.write_all(head.as_bytes()));
        std::thread::sleep(Duration::from_secs(60));
        After::Close
    });
    let route = "path = \"/ws\"\nauth = \"none\"\nupgrade = [\"websocket\"]";
    let setup = Setup::standard(&app).route("ws", route).set("timeouts", "drain", "\"2s\"");
    let mut gateway = Gateway::start(&setup);
    let open = || gateway.admin_request("GET", "/status").send().json()["connections"].clone();
    let shake = || {
        let mut connection = gateway.https().connect();
        let request = gateway
            .get("/ws")
            .header("Connection", "upgrade")
            .header("Upgrade", "websocket")
            .header("Sec-WebSocket-Version", "13")
            .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==");
        connection.write(&request.bytes());
        connection.answer("GET").expect(101);
        connection
    };
    let first = shake();
    assert_eq!(open(), 1);
    first.vanish();
    soon("a tunnel whose client is gone is closed", || open() == 0);
    let _left = shake();
    gateway.signal(rustix::process::Signal::TERM);
    let start = Instant::now();
    assert!(gateway.wait(SOON * 2).success());
    assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
}

/// R34: a coding below `chunked` would be taken off the head and left on the body.
#[test]
fn an_answer_with_another_coding_is_broken() {
    let app = Upstream::raw(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    );
    let gateway = Gateway::standard(&app);
    gateway.get("/public/x").send().refused(502);
}

/// R39, R48: what a client leaves behind, by reset or by vanishing, no longer counts against it,
/// and the upstream's work for it is cancelled.
#[test]
fn permits_come_back_over_http_2() {
    let cancelled = Arc::new(AtomicUsize::new(0));
    let count = cancelled.clone();
    let app = Upstream::with(move |seen, stream| {
        if seen.target.ends_with("hang") {
            let gone = stream.read(&mut [0]).is_ok_and(|read| read == 0);
            count.fetch_add(usize::from(gone), Ordering::SeqCst);
            return After::Close;
        }
        reply(stream, "200 OK", &[], "ok");
        After::Keep
    });
    let setup = Setup::standard(&app).set("limits", "requests_per_client", "2");
    let gateway = Gateway::start(&setup);
    let hang = |frames: &mut Frames, stream| {
        let path = (":path", "/public/hang");
        frames.head(
            stream,
            &[(":method", "GET"), (":scheme", "https"), (":authority", HOST), path],
            true,
        );
    };
    for vanish in [false, true] {
        app.forget();
        cancelled.store(0, Ordering::SeqCst);
        let mut frames = Frames::connect(gateway.address("https"), HOST);
        hang(&mut frames, 1);
        hang(&mut frames, 3);
        soon("both are at the upstream", || app.count() == 2);
        gateway.get("/public/x").send().refused(503);
        if vanish {
            drop(frames);
        } else {
            frames.write(kind::RST_STREAM, 0, 1, &[0, 0, 0, 8]);
            frames.write(kind::RST_STREAM, 0, 3, &[0, 0, 0, 8]);
        }
        soon("the upstream is left alone", || cancelled.load(Ordering::SeqCst) == 2);
        gateway.get("/public/x").send().expect(200);
    }
}

/// The log does not claim an answer that there never was.
#[test]
fn an_abandoned_request_is_not_a_200() {
    let app = Upstream::with(|_, stream| {
        drop(stream.read(&mut [0]));
        After::Close
    });
    let gateway = Gateway::standard(&app);
    let mut connection = gateway.https().connect();
    connection.write(&gateway.get("/public/x").bytes());
    soon("it is at the upstream", || app.count() == 1);
    connection.vanish();
    soon("it is in the log", || {
        gateway.access_log().iter().any(|line| line["http.response.status_code"] == 499)
    });
}

/// Invariant 8: the open parts of the admin listener are bounded too.
#[test]
fn the_admin_listener_does_not_take_every_descriptor() {
    let app = Upstream::start();
    let gateway = Gateway::standard(&app);
    let held: Vec<_> = (0..300).map(|_| gateway.admin().connect()).collect();
    let closed = |mut connection: Connection| connection.closes_within(Duration::from_millis(10));
    soon("it takes no more", || closed(gateway.admin().connect()));
    gateway.get("/public/x").send().expect(200);
    drop(held);
    soon("and again", || {
        gateway.admin().request("GET", "/livez").try_send().is_ok_and(|a| a.status == 200)
    });
}

/// R47: on a reused connection that breaks before an answer, GET is sent once more and POST is not.
#[test]
fn only_what_may_be_repeated_is_sent_twice() {
    let app = Upstream::with(|seen, stream| {
        if seen.target.ends_with("break") {
            return After::Close;
        }
        reply(stream, "200 OK", &[], "ok");
        After::Keep
    });
    // One worker: one pool.
    let gateway = Gateway::start(&Setup::standard(&app).env("POSTERN_WORKERS", "1"));
    for (method, body, arrivals) in
        [("GET", "", 2), ("DELETE", "", 2), ("POST", "", 1), ("POST", "x", 1), ("PUT", "x", 1)]
    {
        gateway.get("/public/x").send().expect(200);
        app.forget();
        let mut request = gateway.request(method, "/public/break");
        if !body.is_empty() {
            request = request.body(body);
        }
        request.send().refused(502);
        assert_eq!(app.count(), arrivals, "{method} {body:?}");
    }
}

/// What is made once more for another connection says all that the first request said.
#[test]
fn a_request_that_is_sent_twice_says_the_same_twice() {
    let app = Upstream::with(|seen, stream| {
        if seen.target.ends_with("break?q=%20") {
            return After::Close;
        }
        reply(stream, "200 OK", &[], "ok");
        After::Keep
    });
    let gateway = Gateway::start(&Setup::standard(&app).env("POSTERN_WORKERS", "1"));
    let token = Token::good().sign(Key::shared("ES256"));
    gateway.get("/api/x").bearer(&token).send().expect(200);
    app.forget();
    let request = gateway.get("/api/break?q=%20").bearer(&token).header("TE", "trailers");
    let request = request.header("X-Twice", "1").header("X-Twice", "2").header("Cookie", "a=1");
    request.send().refused(502);
    let said = |seen: &Seen| {
        let mut headers = seen.headers.clone();
        headers.sort();
        (seen.method.clone(), seen.target.clone(), headers)
    };
    let [first, second] = &app.seen()[..] else { panic!("{} requests", app.count()) };
    assert_eq!(said(first), said(second));
    assert_ne!(first.connection, second.connection);
    assert_eq!(second.all("x-twice"), ["1", "2"]);
    assert!(second.header("x-auth-subject").is_some());
}
