//! What passes through the gateway passes unchanged, streams both ways, and ends as it should
//! (RFC 9110, RFC 9112, R28, R47, R48).

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::harness::gateway::Gateway;
use crate::harness::h2::H2;
use crate::harness::setup::{HOST, Setup};
use crate::harness::soon;
use crate::harness::upstream::{After, Upstream, reply};

#[test]
fn request_and_answer_pass_unchanged() {
    let app = Upstream::with(|_, stream| {
        let headers = [("X-Answer", "a, b"), ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2; Path=/")];
        reply(stream, "201 Created", &headers, "made");
        After::Keep
    });
    let gateway = Gateway::standard(&app);
    let request = gateway
        .request("PATCH", "/public/a/b?q=%20x&y=a+b&q=2&empty=&=&&z")
        .header("Content-Type", "text/odd; charset=x")
        .header("Accept", "a/b, c/d;q=0.1")
        .header("X-Twice", "1")
        .header("X-Twice", "2")
        .header("Cookie", "a=1; b=\"2\"")
        .body(b"bytes \x00\xff\r\n\r\n of any kind");
    let answer = request.send().expect(201);
    assert_eq!(answer.text(), "made");
    assert_eq!(answer.header("x-answer"), Some("a, b"));
    // Set-Cookie is never folded (RFC 6265 §3).
    assert_eq!(answer.all("set-cookie"), ["a=1", "b=2; Path=/"]);

    let seen = app.last();
    assert_eq!(seen.method, "PATCH");
    assert_eq!(seen.target, "/public/a/b?q=%20x&y=a+b&q=2&empty=&=&&z");
    assert_eq!(seen.body, b"bytes \x00\xff\r\n\r\n of any kind");
    assert_eq!(seen.header("content-type"), Some("text/odd; charset=x"));
    assert_eq!(seen.header("accept"), Some("a/b, c/d;q=0.1"));
    assert_eq!(seen.all("x-twice").join(", "), "1, 2");
    assert_eq!(seen.header("cookie"), Some("a=1; b=\"2\""));
    assert_eq!(seen.header("host"), Some(HOST));
}

#[test]
fn statuses_pass_unchanged() {
    let app = Upstream::with(|seen, stream| {
        let status = seen.target.rsplit('/').next().unwrap();
        reply(stream, &format!("{status} Whatever"), &[("Location", "/x")], "");
        After::Keep
    });
    let gateway = Gateway::standard(&app);
    for status in [200, 202, 206, 301, 308, 400, 401, 404, 409, 418, 429, 500, 503, 599] {
        let answer = gateway.get(&format!("/public/{status}")).send().expect(status);
        // The upstream's own 401 is its own business: no challenge is added.
        assert_eq!(answer.header("www-authenticate"), None, "{status}");
    }
}

/// RFC 9110 §7.6.1: both directions, and what Connection names.
#[test]
fn hop_by_hop_fields_stop_here() {
    let app = Upstream::with(|_, stream| {
        let headers = [
            ("Connection", "X-Internal"),
            ("X-Internal", "secret"),
            ("Keep-Alive", "timeout=5"),
            ("Proxy-Authenticate", "Basic"),
            ("X-Kept", "yes"),
        ];
        reply(stream, "200 OK", &headers, "");
        After::Close
    });
    let gateway = Gateway::standard(&app);
    let answer = gateway
        .get("/public/x")
        .header("Connection", "keep-alive, X-Hop, Cookie2")
        .header("X-Hop", "1")
        .header("Cookie2", "1")
        .header("Keep-Alive", "timeout=9")
        .header("Proxy-Connection", "keep-alive")
        .header("Proxy-Authorization", "Basic eDp5")
        .header("TE", "gzip")
        .header("Trailer", "X")
        .header("X-End", "yes")
        .send()
        .expect(200);
    let seen = app.last();
    let gone = ["x-hop", "cookie2", "keep-alive", "proxy-connection", "proxy-authorization"];
    for name in gone {
        assert_eq!(seen.header(name), None, "{name}");
    }
    assert!(seen.header("te").is_none_or(|te| te == "trailers"), "{:?}", seen.header("te"));
    assert!(!seen.all("connection").join(",").to_lowercase().contains("x-hop"));
    assert_eq!(seen.header("x-end"), Some("yes"));
    for name in ["x-internal", "keep-alive", "proxy-authenticate"] {
        assert_eq!(answer.header(name), None, "{name}");
    }
    assert_eq!(answer.header("x-kept"), Some("yes"));
}

/// RFC 9110 §7.6.3.
#[test]
fn via_is_added_after_what_was_there() {
    let app = Upstream::start();
    let gateway = Gateway::standard(&app);
    gateway.get("/public/x").header("Via", "1.0 fred").send().expect(200);
    let via = app.last().all("via").join(", ");
    assert!(via.starts_with("1.0 fred, 1.1 "), "{via}");
}

#[test]
fn forwarded_fields_are_the_gateways_own() {
    let app = Upstream::start();
    let gateway = Gateway::standard(&app);
    gateway
        .get("/public/x")
        .header("X-Forwarded-For", "203.0.113.9")
        .header("X-Forwarded-Proto", "http")
        .header("X-Forwarded-Host", "evil.test")
        .header("X-Forwarded-Port", "1")
        .header("Forwarded", "for=203.0.113.9")
        .header("X-Real-IP", "203.0.113.9")
        .send()
        .expect(200);
    let seen = app.last();
    assert_eq!(seen.header("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(seen.header("x-forwarded-proto"), Some("https"));
    assert_eq!(seen.header("x-forwarded-host"), Some(HOST));
    let text = format!("{:?}", seen.headers);
    assert!(!text.contains("203.0.113.9") && !text.contains("evil.test"), "{text}");
}

#[test]
fn forwarded_fields_of_trusted_proxies_are_believed() {
    let app = Upstream::start();
    let setup = Setup::standard(&app).set("listen", "trusted_proxies", "[\"127.0.0.0/8\"]");
    let gateway = Gateway::start(&setup);
    gateway
        .get("/public/x")
        .header("X-Forwarded-For", "198.51.100.1, 203.0.113.9")
        .header("X-Forwarded-Proto", "http")
        .send()
        .expect(200);
    let seen = app.last();
    let chain = seen.header("x-forwarded-for").unwrap();
    assert!(chain.contains("203.0.113.9"), "{chain}");
    assert_eq!(seen.header("x-forwarded-proto"), Some("http"));
}

#[test]
fn host_follows_the_routes_rule() {
    let app = Upstream::start();
    let setup = Setup::bare()
        .upstream("app", &app.url())
        .route("kept", "path = \"/kept\"\nauth = \"none\"")
        .route("theirs", "path = \"/theirs\"\nauth = \"none\"\nhost = \"upstream\"")
        .route("fixed", "path = \"/fixed\"\nauth = \"none\"\nhost = \"inside.test\"");
    let gateway = Gateway::start(&setup);
    let theirs = app.address.to_string();
    for (path, host) in [("/kept", HOST), ("/theirs", &*theirs), ("/fixed", "inside.test")] {
        gateway.get(path).send().expect(200);
        assert_eq!(app.last().header("host"), Some(host), "{path}");
    }
    let h2 = H2::connect(gateway.address("https"), HOST);
    h2.get("/kept", None).unwrap().expect(200);
    assert_eq!(app.last().header("host"), Some(HOST), "from :authority");
}

/// RFC 9110 §9.3.2, §15.3.5, §15.4.5: no body, and the connection stays in step.
#[test]
fn answers_without_a_body_keep_the_connection_in_step() {
    let app = Upstream::with(|seen, stream| {
        let head = match seen.target.as_str() {
            "/public/204" => "204 No Content\r\nX: 1",
            "/public/304" => "304 Not Modified\r\nETag: \"a\"",
            _ if seen.method == "HEAD" => "200 OK\r\nContent-Length: 1234",
            _ => "200 OK\r\nContent-Length: 2\r\n\r\nok",
        };
        let end = if head.ends_with("ok") { "" } else { "\r\n\r\n" };
        stream.write_all(format!("HTTP/1.1 {head}{end}").as_bytes()).unwrap();
        After::Keep
    });
    let gateway = Gateway::standard(&app);
    let mut connection = gateway.https().connect();
    for (method, path, status) in [
        ("GET", "/public/204", 204),
        ("GET", "/public/ok", 200),
        ("GET", "/public/304", 304),
        ("HEAD", "/public/head", 200),
        ("GET", "/public/ok", 200),
    ] {
        let answer = gateway.request(method, path).on(&mut connection).unwrap().expect(status);
        if method == "HEAD" {
            assert_eq!(answer.header("content-length"), Some("1234"));
        }
        assert_eq!(answer.body.is_empty(), path != "/public/ok", "{path}");
    }
    // The gateway's own refusal of a HEAD has no body either.
    let refused = gateway.request("HEAD", "/api/x").on(&mut connection).unwrap().expect(401);
    assert!(refused.body.is_empty());
}

/// RFC 9110 §10.1.1, R33: 100 only after the request was allowed.
#[test]
fn expect_continue_waits_for_the_decision() {
    let app = Upstream::start();
    let gateway = Gateway::standard(&app);
    let head = |path: &str| {
        format!(
            "POST {path} HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"
        )
    };
    let mut allowed = gateway.https().connect();
    allowed.write(head("/public/x").as_bytes());
    let first = allowed.exactly(25);
    assert_eq!(first, b"HTTP/1.1 100 Continue\r\n\r\n");
    allowed.write(b"hello");
    assert_eq!(allowed.answer("POST").expect(200).json()["body_length"], 5);

    app.forget();
    let mut refused = gateway.https().connect();
    refused.write(head("/api/x").as_bytes());
    let answer = refused.answer("POST").refused(401);
    assert!(answer.interim.is_empty(), "no 100 before authentication");
    app.saw_nothing("expect without a token");
}

/// Response trailers are forwarded, request trailers dropped (R24, R30).
#[test]
fn trailers() {
    let app = Upstream::with(|_, stream| {
        let answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: Digest\r\n\r\n\
                      2\r\nok\r\n0\r\nDigest: abc\r\n\r\n";
        stream.write_all(answer.as_bytes()).unwrap();
        After::Keep
    });
    let gateway = Gateway::standard(&app);
    let mut connection = gateway.https().connect();
    let request = format!(
        "POST /public/x HTTP/1.1\r\nHost: {HOST}\r\nTE: trailers\r\nConnection: TE\r\n\
         Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Auth-Subject: root\r\n\r\n"
    );
    connection.write(request.as_bytes());
    let answer = connection.answer("POST").expect(200);
    assert_eq!(
        answer.trailers,
        [("digest".to_owned(), "abc".to_owned())].map(|(n, v)| {
            let name = answer.trailers.first().map_or(n, |(name, _)| name.clone());
            (name, v)
        })
    );
    let seen = app.last();
    assert_eq!(seen.body, b"abc");
    assert!(seen.trailers.is_empty(), "{:?}", seen.trailers);
    assert_eq!(seen.header("x-auth-subject"), None);

    let h2 = H2::connect(gateway.address("https"), HOST);
    let answer = h2.get("/public/x", None).unwrap().expect(200);
    assert_eq!(answer.trailers, [("digest".to_owned(), "abc".to_owned())]);
}

/// Interim answers of the upstream are consumed (RFC 9110 §15.2).
#[test]
fn interim_answers_are_consumed() {
    let app = Upstream::raw(
        "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n\
         HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    );
    let gateway = Gateway::standard(&app);
    let answer = gateway.get("/public/x").send().expect(200);
    assert_eq!((answer.text().as_str(), answer.interim.as_slice()), ("ok", &[][..]));
}

#[test]
fn an_upload_arrives_while_it_is_sent() {
    let got_first = Arc::new(AtomicBool::new(false));
    let flag = got_first.clone();
    let app = Upstream::early(move |seen, stream| {
        if seen.body.is_empty() {
            assert!(stream.read(&mut [0; 1024]).unwrap() > 0);
        }
        flag.store(true, Ordering::SeqCst);
        reply(stream, "200 OK", &[], "done");
        After::Close
    });
    let gateway = Gateway::standard(&app);
    let mut connection = gateway.https().connect();
    let head = format!(
        "POST /public/x HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n"
    );
    connection.write(head.as_bytes());
    soon("the first chunk is there before the last is sent", || got_first.load(Ordering::SeqCst));
    connection.write(b"4\r\nlast\r\n0\r\n\r\n");
    connection.answer("POST").expect(200);
}

#[test]
fn a_download_arrives_while_it_is_sent() {
    let release = Arc::new(AtomicBool::new(false));
    let flag = release.clone();
    let app = Upstream::with(move |_, stream| {
        let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n";
        stream.write_all(head).unwrap();
        soon("the client saw the first chunk", || flag.load(Ordering::SeqCst));
        stream.write_all(b"4\r\nlast\r\n0\r\n\r\n").unwrap();
        After::Close
    });
    let gateway = Gateway::standard(&app);
    let mut connection = gateway.https().connect();
    connection.write(&gateway.get("/public/x").bytes());
    let mut so_far = Vec::new();
    while !so_far.windows(5).any(|w| w == b"first") {
        so_far.extend(connection.read_some().unwrap());
    }
    release.store(true, Ordering::SeqCst);
    while !so_far.ends_with(b"0\r\n\r\n") {
        so_far.extend(connection.read_some().unwrap());
    }
}

/// An upstream that answers before it has read the body (RFC 9112 §9.3).
#[test]
fn an_early_answer_reaches_the_client() {
    let app = Upstream::early(|_, stream| {
        reply(stream, "413 Content Too Large", &[("Connection", "close")], "too big");
        // Unread bytes would make this socket's end a reset, which may overtake the answer.
        std::thread::sleep(Duration::from_millis(300));
        After::Close
    });
    let gateway = Gateway::standard(&app);
    let mut connection = gateway.https().connect();
    let head =
        format!("POST /public/x HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 1000000\r\n\r\n");
    connection.write(head.as_bytes());
    connection.write(&[b'x'; 1000]);
    assert_eq!(connection.answer("POST").expect(413).text(), "too big");
}

/// R48: a client that goes takes its upstream request with it.
#[test]
fn a_client_that_leaves_cancels_the_upstream_request() {
    let cancelled = Arc::new(AtomicBool::new(false));
    let flag = cancelled.clone();
    let app = Upstream::with(move |_, stream| {
        let mut byte = [0; 1];
        let end = stream.read(&mut byte);
        flag.store(matches!(end, Ok(0) | Err(_)), Ordering::SeqCst);
        After::Close
    });
    let gateway = Gateway::standard(&app);
    let mut connection = gateway.https().connect();
    connection.write(&gateway.get("/public/x").bytes());
    soon("the upstream has the request", || app.count() == 1);
    assert!(!cancelled.load(Ordering::SeqCst));
    connection.vanish();
    soon("the upstream connection is closed", || cancelled.load(Ordering::SeqCst));
}

/// RFC 9110 §9.2.2, R47: a connection that died idle is not the client's problem.
#[test]
fn a_connection_that_died_idle_is_replaced() {
    let app = Upstream::start();
    let gateway = Gateway::standard(&app);
    for round in 0..10 {
        gateway.get("/public/x").send().expect(200);
        app.close_connections();
        assert_eq!(app.count(), round + 1, "each request arrived once");
    }
}

#[test]
fn connections_to_the_upstream_are_kept() {
    let app = Upstream::start();
    let gateway = Gateway::start(&Setup::standard(&app).env("POSTERN_WORKERS", "1"));
    let mut connection = gateway.https().connect();
    for _ in 0..10 {
        gateway.get("/public/x").on(&mut connection).unwrap().expect(200);
    }
    assert!(app.connections() <= 2, "{} connections for 10 requests", app.connections());
}

/// R47: what is not idempotent is sent once, whatever happens.
#[test]
fn requests_that_may_have_had_an_effect_are_not_repeated() {
    let app = Upstream::with(|_, _| After::Close);
    let gateway = Gateway::standard(&app);
    gateway.post("/public/x").body("pay").send().refused(502);
    assert_eq!(app.count(), 1, "POST was sent once");
    app.forget();
    gateway.get("/public/x").send().refused(502);
    assert!(app.count() <= 2, "GET was sent {} times", app.count());
}

#[test]
fn upstream_errors_have_their_own_statuses() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let hangs = Upstream::with(|_, stream| {
        let _end = stream.read(&mut [0; 1]);
        After::Close
    });
    let setup = Setup::bare()
        .set("timeouts", "response", "\"500ms\"")
        .upstream("nobody", &format!("http://{nobody}"))
        .upstream("hangs", &hangs.url())
        .route("refused", "path = \"/refused\"\nauth = \"none\"\nupstream = \"nobody\"")
        .route("slow", "path = \"/slow\"\nauth = \"none\"\nupstream = \"hangs\"");
    let gateway = Gateway::start(&setup);
    let start = std::time::Instant::now();
    gateway.get("/refused").send().refused(502);
    gateway.get("/slow").send().refused(504);
    assert!(start.elapsed() < Duration::from_secs(5), "on time");
}

/// R48: one hanging upstream does not slow another.
#[test]
fn a_hanging_upstream_hurts_nobody_else() {
    let hangs = Upstream::with(|_, stream| {
        let _end = stream.read(&mut [0; 1]);
        After::Close
    });
    let app = Upstream::start();
    let setup = Setup::standard(&app)
        .upstream("hangs", &hangs.url())
        .route("slow", "path = \"/slow\"\nauth = \"none\"\nupstream = \"hangs\"");
    let gateway = Gateway::start(&setup);
    let mut waiting: Vec<_> = (0..50).map(|_| gateway.https().connect()).collect();
    for connection in &mut waiting {
        connection.write(&gateway.get("/slow").bytes());
    }
    soon("all of them hang", || hangs.count() == 50);
    let start = std::time::Instant::now();
    for _ in 0..20 {
        gateway.get("/public/x").send().expect(200);
    }
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}
