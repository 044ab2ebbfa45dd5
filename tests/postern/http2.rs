//! HTTP/2: what it becomes as HTTP/1.1 upstream (R35; RFC 9113 §8.2, §8.3) and what floods do
//! (R38).

use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Full;

use crate::harness::gateway::Gateway;
use crate::harness::h2::{Frames, H2, Outcome, hpack, kind, runtime};
use crate::harness::keys::Key;
use crate::harness::setup::{HOST, Setup};
use crate::harness::tokens::Token;
use crate::harness::upstream::Upstream;

/// A good request's pseudo-header fields.
const GOOD: [(&str, &str); 4] =
    [(":method", "GET"), (":scheme", "https"), (":authority", HOST), (":path", "/public/x")];

/// Source and the whole list of fields.
const MALFORMED: &[(&str, &[(&str, &str)])] = &[
    ("RFC 9113 §8.2.1 upper case", &[GOOD[0], GOOD[1], GOOD[2], GOOD[3], ("X-Upper", "1")]),
    ("RFC 9113 §8.2.1 LF in value", &[GOOD[0], GOOD[1], GOOD[2], GOOD[3], ("x", "a\nb: c")]),
    ("RFC 9113 §8.2.1 CRLF in value", &[GOOD[0], GOOD[1], GOOD[2], GOOD[3], ("x", "a\r\nb: c")]),
    ("RFC 9113 §8.2.1 NUL in value", &[GOOD[0], GOOD[1], GOOD[2], GOOD[3], ("x", "a\0b")]),
    ("RFC 9113 §8.2.1 CRLF in name", &[GOOD[0], GOOD[1], GOOD[2], GOOD[3], ("x\r\ny", "1")]),
    ("RFC 9113 §8.2.1 colon in name", &[GOOD[0], GOOD[1], GOOD[2], GOOD[3], ("x:y", "1")]),
    ("RFC 9113 §8.2.1 space in name", &[GOOD[0], GOOD[1], GOOD[2], GOOD[3], ("x y", "1")]),
    ("RFC 9113 §8.2.2 connection", &[GOOD[0], GOOD[1], GOOD[2], GOOD[3], ("connection", "x-a")]),
    (
        "RFC 9113 §8.2.2 transfer-encoding",
        &[GOOD[0], GOOD[1], GOOD[2], GOOD[3], ("transfer-encoding", "chunked")],
    ),
    ("RFC 9113 §8.2.2 upgrade", &[GOOD[0], GOOD[1], GOOD[2], GOOD[3], ("upgrade", "h2c")]),
    ("RFC 9113 §8.2.2 keep-alive", &[GOOD[0], GOOD[1], GOOD[2], GOOD[3], ("keep-alive", "1")]),
    (
        "RFC 9113 §8.2.2 proxy-connection",
        &[GOOD[0], GOOD[1], GOOD[2], GOOD[3], ("proxy-connection", "close")],
    ),
    ("RFC 9113 §8.2.2 te", &[GOOD[0], GOOD[1], GOOD[2], GOOD[3], ("te", "gzip")]),
    ("RFC 9113 §8.3 pseudo after field", &[GOOD[0], GOOD[1], GOOD[2], ("x", "1"), GOOD[3]]),
    ("RFC 9113 §8.3 unknown pseudo", &[GOOD[0], GOOD[1], GOOD[2], GOOD[3], (":x", "1")]),
    ("RFC 9113 §8.3 response pseudo", &[GOOD[0], GOOD[1], GOOD[2], GOOD[3], (":status", "200")]),
    ("RFC 9113 §8.3.1 path twice", &[GOOD[0], GOOD[1], GOOD[2], GOOD[3], (":path", "/public/y")]),
    ("RFC 9113 §8.3.1 method twice", &[GOOD[0], (":method", "POST"), GOOD[1], GOOD[2], GOOD[3]]),
    ("RFC 9113 §8.3.1 no path", &[GOOD[0], GOOD[1], GOOD[2]]),
    ("RFC 9113 §8.3.1 no method", &[GOOD[1], GOOD[2], GOOD[3]]),
    ("RFC 9113 §8.3.1 no scheme", &[GOOD[0], GOOD[2], GOOD[3]]),
    ("RFC 9113 §8.3.1 empty path", &[GOOD[0], GOOD[1], GOOD[2], (":path", "")]),
    ("RFC 9113 §8.3.1 path without slash", &[GOOD[0], GOOD[1], GOOD[2], (":path", "public/x")]),
    (
        "RFC 9113 §8.3.1 space in path",
        &[GOOD[0], GOOD[1], GOOD[2], (":path", "/public/x HTTP/1.1")],
    ),
    ("RFC 9113 §8.3.1 CRLF in path", &[GOOD[0], GOOD[1], GOOD[2], (":path", "/public/x\r\nX: y")]),
    ("RFC 9113 §8.3.1 space in method", &[(":method", "GET /api"), GOOD[1], GOOD[2], GOOD[3]]),
    (
        "RFC 9113 §8.3.1 authority is not Host",
        &[GOOD[0], GOOD[1], GOOD[2], GOOD[3], ("host", "evil.test")],
    ),
    ("RFC 9113 §8.3.1 userinfo", &[GOOD[0], GOOD[1], (":authority", "a@api.test"), GOOD[3]]),
    ("RFC 9113 §8.3.1 no authority", &[GOOD[0], GOOD[1], GOOD[3]]),
    (
        "RFC 8441 §4 connect not offered",
        &[(":method", "CONNECT"), (":protocol", "websocket"), GOOD[1], GOOD[2], GOOD[3]],
    ),
    ("RFC 9110 §9.3.6 CONNECT", &[(":method", "CONNECT"), (":authority", "evil.test:443")]),
    (
        "RFC 9110 §8.6 two lengths",
        &[
            (":method", "POST"),
            GOOD[1],
            GOOD[2],
            GOOD[3],
            ("content-length", "0"),
            ("content-length", "5"),
        ],
    ),
    (
        "RFC 9113 §8.1.1 length but no body",
        &[(":method", "POST"), GOOD[1], GOOD[2], GOOD[3], ("content-length", "5")],
    ),
];

#[test]
fn malformed_requests_go_nowhere() {
    let app = Upstream::start();
    let gateway = Gateway::standard(&app);
    for (source, fields) in MALFORMED {
        let mut frames = Frames::connect(gateway.address("https"), HOST);
        frames.head(1, fields, true);
        let outcome = frames.outcome(1);
        assert_ne!(outcome, Outcome::Ok, "{source}");
        assert!(app.seen().iter().all(|seen| !seen.complete), "{source}: {:#?}", app.seen());
    }
    let mut frames = Frames::connect(gateway.address("https"), HOST);
    frames.head(1, &GOOD, true);
    assert_eq!(frames.outcome(1), Outcome::Ok, "the table's good row");
}

/// RFC 9113 §8.1.1: DATA that does not add up to Content-Length.
#[test]
fn bodies_match_their_length() {
    let app = Upstream::start();
    let gateway = Gateway::standard(&app);
    let fields = [(":method", "POST"), GOOD[1], GOOD[2], GOOD[3], ("content-length", "5")];
    for body in ["abc", "abcdefgh"] {
        let mut frames = Frames::connect(gateway.address("https"), HOST);
        frames.head(1, &fields, false);
        frames.write(kind::DATA, 1, 1, body.as_bytes());
        assert_ne!(frames.outcome(1), Outcome::Ok, "{body}");
        assert!(app.seen().iter().all(|seen| !seen.complete), "{:#?}", app.seen());
    }
}

/// RFC 9113 §8.2.3: cookie crumbs are one field again.
#[test]
fn requests_become_good_http_1() {
    let app = Upstream::start();
    let gateway = Gateway::standard(&app);
    let h2 = H2::connect(gateway.address("https"), HOST);
    let request = h2
        .request("POST", "/public/a%20b?q=1")
        .header("cookie", "a=1")
        .header("cookie", "b=2")
        .header("x-auth-subject", "root")
        .header("te", "trailers")
        .body(Full::new(Bytes::from_static(b"hello")))
        .unwrap();
    h2.send(request).unwrap().expect(200);
    let seen = app.last();
    assert_eq!((seen.method.as_str(), seen.target.as_str()), ("POST", "/public/a%20b?q=1"));
    assert_eq!(seen.version, "HTTP/1.1");
    assert_eq!(seen.header("cookie"), Some("a=1; b=2"));
    assert_eq!(seen.header("x-auth-subject"), None);
    assert_eq!(seen.body, b"hello");
    let names: Vec<_> = seen.headers.iter().map(|(name, _)| name.to_lowercase()).collect();
    assert!(!names.iter().any(|name| name.starts_with(':')), "{names:?}");
}

#[test]
fn tokens_and_refusals_are_the_same_as_over_http_1() {
    let app = Upstream::start();
    let gateway = Gateway::standard(&app);
    let h2 = H2::connect(gateway.address("https"), HOST);
    let token = Token::good();
    let signed = token.sign(Key::shared("ES256"));
    h2.get("/api/x", Some(&signed)).unwrap().expect(200);
    assert_eq!(app.last().header("x-auth-subject"), Some("alice"));
    app.forget();
    h2.get("/api/x", None).unwrap().refused(401);
    h2.get("/admin/x", Some(&signed)).unwrap().refused(403);
    h2.get("/nowhere", Some(&signed)).unwrap().refused(404);
    gateway.revoke_jti(token.jti());
    h2.get("/api/x", Some(&signed)).unwrap().refused(401);
    app.saw_nothing("refused over HTTP/2");
}

/// One connection, many streams at once; each with its own answer.
#[test]
fn streams_do_not_wait_for_each_other() {
    let app = Upstream::start();
    let gateway = Gateway::standard(&app);
    let h2 = H2::connect(gateway.address("https"), HOST);
    runtime().block_on(async {
        let mut all = tokio::task::JoinSet::new();
        for n in 0..90 {
            let h2 = h2.clone();
            all.spawn(async move {
                let path = format!("/public/{n}");
                let request = h2.request("GET", &path).body(Full::default()).unwrap();
                let answer = h2.sending(request).await.unwrap().expect(200);
                assert_eq!(answer.json()["target"], path);
            });
        }
        while let Some(done) = all.join_next().await {
            done.unwrap();
        }
    });
}

/// Asserts that the gateway survived what a connection did: it ended it or bore it, and others are
/// served as before.
fn survives(gateway: &Gateway, before_kib: u64) {
    let start = Instant::now();
    gateway.get("/public/x").send().expect(200);
    assert!(start.elapsed() < Duration::from_secs(5), "others wait {:?}", start.elapsed());
    let grown = gateway.resident_kib().saturating_sub(before_kib);
    assert!(grown < 64 * 1024, "resident size grew by {grown} KiB");
}

/// CVE-2023-44487.
#[test]
fn rapid_reset() {
    let app = Upstream::start();
    let gateway = Gateway::standard(&app);
    let before = gateway.resident_kib();
    let mut frames = Frames::connect(gateway.address("https"), HOST);
    let mut open = true;
    let mut stream = 1;
    while open && stream < 40_000 {
        open = frames.head(stream, &GOOD, true)
            && frames.write(kind::RST_STREAM, 0, stream, &8u32.to_be_bytes());
        stream += 2;
    }
    assert!(!open || frames.closes_within(Duration::from_secs(5)), "20000 resets are borne");
    survives(&gateway, before);
}

/// CVE-2025-8671: the client makes the server reset.
#[test]
fn made_you_reset() {
    let app = Upstream::start();
    let gateway = Gateway::standard(&app);
    let before = gateway.resident_kib();
    let mut frames = Frames::connect(gateway.address("https"), HOST);
    let mut open = true;
    let mut stream = 1;
    while open && stream < 40_000 {
        open = frames.head(stream, &GOOD, false)
            // A zero increment is a stream error (RFC 9113 §6.9).
            && frames.write(kind::WINDOW_UPDATE, 0, stream, &[0; 4]);
        stream += 2;
    }
    assert!(!open || frames.closes_within(Duration::from_secs(5)), "20000 resets are borne");
    survives(&gateway, before);
}

/// RUSTSEC-2024-0332: a header block without end.
#[test]
fn continuation_flood() {
    let app = Upstream::start();
    let gateway = Gateway::standard(&app);
    let before = gateway.resident_kib();
    let mut frames = Frames::connect(gateway.address("https"), HOST);
    frames.write(kind::HEADERS, 1, 1, &hpack(&GOOD));
    let filler = hpack(&[("x", &"a".repeat(8000))]);
    let mut sent = 0;
    while sent < 10_000 && frames.write(kind::CONTINUATION, 0, 1, &filler) {
        sent += 1;
    }
    assert!(sent < 10_000, "80 MB of headers were taken");
    app.saw_nothing("a head that never ended");
    survives(&gateway, before);
}

/// An HPACK bomb: one entry in the table, named again and again (CVE-2016-1544).
#[test]
fn hpack_bomb() {
    let app = Upstream::start();
    let gateway = Gateway::standard(&app);
    let before = gateway.resident_kib();
    let mut frames = Frames::connect(gateway.address("https"), HOST);
    let mut block = hpack(&GOOD);
    // Literal with incremental indexing: it becomes entry 62.
    let mut literal = hpack(&[("x", &"a".repeat(3000))]);
    literal[0] = 0x40;
    block.extend(literal);
    block.extend([0x80 | 62; 8000]);
    frames.write(kind::HEADERS, 0x5, 1, &block);
    assert_ne!(frames.outcome(1), Outcome::Ok);
    app.saw_nothing("24 MB of headers");
    survives(&gateway, before);
}

/// CVE-2019-9512, CVE-2019-9515, CVE-2019-9518: frames that cost the sender nothing.
#[test]
fn floods_of_small_frames() {
    let app = Upstream::start();
    let gateway = Gateway::standard(&app);
    let before = gateway.resident_kib();
    let post = [(":method", "POST"), GOOD[1], GOOD[2], GOOD[3]];
    let floods: [(&str, u8, u32, &[u8]); 3] = [
        ("PING", kind::PING, 0, &[0; 8]),
        ("SETTINGS", kind::SETTINGS, 0, &[]),
        ("empty DATA", kind::DATA, 1, &[]),
    ];
    for (name, kind, stream, payload) in floods {
        let mut frames = Frames::connect(gateway.address("https"), HOST);
        frames.head(1, &post, false);
        let start = Instant::now();
        for _ in 0..50_000 {
            if !frames.write(kind, 0, stream, payload) || start.elapsed().as_secs() > 5 {
                break;
            }
        }
        let grown = gateway.resident_kib().saturating_sub(before);
        assert!(grown < 64 * 1024, "{name}: resident size grew by {grown} KiB");
        survives(&gateway, before);
    }
}

/// R38: the settings that the gateway announces are its own, not a library's.
#[test]
fn announced_settings_are_the_contracts() {
    let app = Upstream::start();
    let gateway = Gateway::start(&Setup::standard(&app));
    let mut frames = Frames::connect(gateway.address("https"), HOST);
    let settings = loop {
        let frame = frames.next().expect("SETTINGS come first");
        if frame.kind == kind::SETTINGS && frame.flags == 0 {
            break frame.payload;
        }
    };
    let value = |id: u16| {
        let mut pairs = settings.chunks(6);
        let pair = pairs.find(|pair| pair[..2] == id.to_be_bytes());
        pair.map(|p| u32::from_be_bytes([p[2], p[3], p[4], p[5]]))
    };
    assert_eq!(value(3), Some(100), "SETTINGS_MAX_CONCURRENT_STREAMS");
    // 32 KiB of fields, beside 8 KiB for the target that is among them here.
    assert_eq!(value(6), Some(32 * 1024), "SETTINGS_MAX_HEADER_LIST_SIZE");
    assert_ne!(value(8), Some(1), "SETTINGS_ENABLE_CONNECT_PROTOCOL");
}
