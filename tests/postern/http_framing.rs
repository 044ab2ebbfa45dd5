//! Requests whose end two readers could see in two places (R29, R30, R31; RFC 9112).
//!
//! Each row carries a second request, `/public/smuggled`, in the part that is in dispute. It must
//! never reach the upstream. The rest is refused and the connection closed; where the contract
//! allows it, the request may also arrive in RFC 9112's normal form.

use std::time::Duration;

use crate::harness::client::Connection;
use crate::harness::each;
use crate::harness::gateway::Gateway;
use crate::harness::setup::HOST;
use crate::harness::upstream::{Seen, Upstream};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Must {
    /// 400 (or a more telling 4xx, or 505), and the connection closed.
    Refuse,
    /// The same, or forwarded in normal form.
    RefuseOrNormalise,
    /// A refusal, or the connection closed without an answer.
    RefuseOrClose,
}
use Must::{Refuse, RefuseOrClose, RefuseOrNormalise};

/// What follows a request that a lenient reader ends too early.
const SMUGGLED: &str = "GET /public/smuggled HTTP/1.1\r\nHost: api.test\r\n\r\n";

/// Source, what to do, and the head after `POST /public/x HTTP/1.1\r\nHost: api.test\r\n`.
const HEADS: &[(&str, Must, &str)] = &[
    (
        "RFC 9112 §6.1 both",
        RefuseOrNormalise,
        "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "RFC 9112 §6.1 both, other order",
        RefuseOrNormalise,
        "Transfer-Encoding: chunked\r\nContent-Length: 6\r\n\r\n0\r\n\r\n",
    ),
    ("RFC 9112 §6.3 two lengths", Refuse, "Content-Length: 0\r\nContent-Length: 59\r\n\r\n"),
    (
        "RFC 9112 §6.3 same length twice",
        RefuseOrNormalise,
        "Content-Length: 0\r\nContent-Length: 0\r\n\r\n",
    ),
    ("RUSTSEC-2021-0078 plus sign", Refuse, "Content-Length: +0\r\n\r\n"),
    ("RFC 9110 §8.6 minus sign", Refuse, "Content-Length: -1\r\n\r\n"),
    ("RFC 9110 §8.6 hex", Refuse, "Content-Length: 0x0\r\n\r\n"),
    ("RFC 9110 §8.6 list", Refuse, "Content-Length: 0, 59\r\n\r\n"),
    ("RFC 9110 §8.6 equal list", RefuseOrNormalise, "Content-Length: 0, 0\r\n\r\n"),
    ("CVE-2023-40225 empty length", Refuse, "Content-Length: \r\n\r\n"),
    ("CVE-2021-40346 overflow", Refuse, "Content-Length: 18446744073709551616\r\n\r\n"),
    ("RFC 9110 §8.6 fraction", Refuse, "Content-Length: 0.0\r\n\r\n"),
    ("RFC 9112 §6.1 TE identity", Refuse, "Transfer-Encoding: identity\r\n\r\n"),
    (
        "RUSTSEC-2021-0020 two TE",
        Refuse,
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    ),
    ("RFC 9112 §6.1 chunked twice", Refuse, "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"),
    ("RFC 9112 §7 gzip, chunked", Refuse, "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    (
        "RFC 9112 §6.1 chunked not last",
        Refuse,
        "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    ),
    ("TE xchunked", Refuse, "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
    ("TE chunked with parameter", Refuse, "Transfer-Encoding: chunked;x=1\r\n\r\n0\r\n\r\n"),
    ("TE quoted", Refuse, "Transfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n"),
    ("TE with vertical tab", Refuse, "Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n"),
    ("TE empty", Refuse, "Transfer-Encoding: \r\n\r\n"),
    (
        "TE and CL by underscore",
        RefuseOrNormalise,
        "Transfer_Encoding: chunked\r\nContent-Length: 0\r\n\r\n",
    ),
    ("RFC 9112 §5.1 space before colon", Refuse, "Content-Length : 59\r\n\r\n"),
    ("RFC 9112 §5.1 space before colon, TE", Refuse, "Transfer-Encoding : chunked\r\n\r\n"),
    ("RFC 9112 §2.2 space at line start", Refuse, " X: 1\r\n\r\n"),
    ("RFC 9112 §5.2 obs-fold", Refuse, "X: 1\r\n Content-Length: 59\r\n\r\n"),
    ("RFC 9112 §5.2 obs-fold by tab", Refuse, "Transfer-Encoding:\r\n\tchunked\r\n\r\n"),
    ("RFC 9112 §2.2 bare LF", RefuseOrNormalise, "X: 1\nContent-Length: 0\r\n\r\n"),
    ("RFC 9112 §2.2 bare CR in value", Refuse, "X: 1\rContent-Length: 59\r\n\r\n"),
    ("RFC 9110 §5.5 NUL in value", Refuse, "X: 1\x002\r\n\r\n"),
    ("RFC 9110 §5.5 NUL in name", Refuse, "X\x00: 1\r\n\r\n"),
    ("CVE-2023-25725 empty name", Refuse, ": 1\r\n\r\n"),
    ("RFC 9110 §5.6.2 non-token name", Refuse, "X(y): 1\r\n\r\n"),
    ("RFC 9112 §5 no colon", Refuse, "Content-Length\r\n\r\n"),
    ("RFC 9112 §3.2 two Hosts", Refuse, "Host: other.test\r\n\r\n"),
    ("RFC 9112 §3.2 same Host twice", Refuse, "Host: api.test\r\n\r\n"),
];

/// Source, what to do, and the whole request.
const WHOLE: &[(&str, Must, &str)] = &[
    ("RFC 9112 §3.2 no Host", Refuse, "GET /public/x HTTP/1.1\r\n\r\n"),
    ("RFC 9112 §3.2 empty Host", Refuse, "GET /public/x HTTP/1.1\r\nHost: \r\n\r\n"),
    (
        "RFC 9110 §7.2 Host with space",
        Refuse,
        "GET /public/x HTTP/1.1\r\nHost: api.test evil\r\n\r\n",
    ),
    ("RFC 9110 §7.2 Host with path", Refuse, "GET /public/x HTTP/1.1\r\nHost: api.test/x\r\n\r\n"),
    (
        "RFC 9110 §7.2 Host with userinfo",
        Refuse,
        "GET /public/x HTTP/1.1\r\nHost: a@api.test\r\n\r\n",
    ),
    (
        "RFC 9110 §7.2 Host list",
        Refuse,
        "GET /public/x HTTP/1.1\r\nHost: api.test, evil.test\r\n\r\n",
    ),
    ("RFC 9110 §7.2 Host port", Refuse, "GET /public/x HTTP/1.1\r\nHost: api.test:99999\r\n\r\n"),
    (
        "RFC 9110 §7.2 Host port text",
        Refuse,
        "GET /public/x HTTP/1.1\r\nHost: api.test:http\r\n\r\n",
    ),
    ("RFC 9110 §7.2 Host with #", Refuse, "GET /public/x HTTP/1.1\r\nHost: api.test#x\r\n\r\n"),
    (
        "RFC 9112 §6.1 TE in HTTP/1.0",
        Refuse,
        "POST /public/x HTTP/1.0\r\nHost: api.test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    ("RFC 9112 §2.3 HTTP/1.2", Refuse, "GET /public/x HTTP/1.2\r\nHost: api.test\r\n\r\n"),
    ("RFC 9112 §2.3 HTTP/2.0", Refuse, "GET /public/x HTTP/2.0\r\nHost: api.test\r\n\r\n"),
    ("RFC 9112 §2.3 lower case", Refuse, "GET /public/x http/1.1\r\nHost: api.test\r\n\r\n"),
    ("RFC 9112 §2.3 HTTP/0.9", Refuse, "GET /public/x\r\n\r\n"),
    ("RFC 9112 §3 two spaces", Refuse, "GET  /public/x HTTP/1.1\r\nHost: api.test\r\n\r\n"),
    ("RFC 9112 §3 tab", Refuse, "GET\t/public/x HTTP/1.1\r\nHost: api.test\r\n\r\n"),
    ("RFC 9112 §3 space in target", Refuse, "GET /public/x y HTTP/1.1\r\nHost: api.test\r\n\r\n"),
    ("RFC 9110 §9.1 bad method", Refuse, "GE(T /public/x HTTP/1.1\r\nHost: api.test\r\n\r\n"),
    ("RFC 9113 §3.4 preface without ALPN", RefuseOrClose, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    ("TLS inside TLS", RefuseOrClose, "\x16\x03\x01\x02\x00\x01\r\n\r\n"),
];

/// Source and chunked body (R30). Leniency here may only ever end in normal form.
const CHUNKS: &[(&str, Must, &str)] = &[
    ("RFC 9112 §7.1 0x prefix", Refuse, "0x0\r\n\r\n"),
    ("RFC 9112 §7.1 plus", Refuse, "+0\r\n\r\n"),
    ("RFC 9112 §7.1 minus", Refuse, "-0\r\n\r\n"),
    ("RFC 9112 §7.1 space before", Refuse, " 0\r\n\r\n"),
    ("RFC 9112 §7.1 space after", RefuseOrNormalise, "0 \r\n\r\n"),
    ("RFC 9112 §7.1 no size", Refuse, "\r\n\r\n"),
    ("RFC 9112 §7.1 not hex", Refuse, "g\r\n\r\n"),
    ("RUSTSEC-2021-0079 overflow", Refuse, "10000000000000000\r\n\r\n0\r\n\r\n"),
    ("RUSTSEC-2021-0079 wraps to 0", Refuse, "100000000000000000\r\n\r\n"),
    ("RFC 9112 §7.1 many zeros", RefuseOrNormalise, "00000000000000000000\r\n\r\n"),
    ("RFC 9112 §7.1 bare LF", RefuseOrNormalise, "0\n\n"),
    ("RFC 9112 §7.1 bare LF after size", Refuse, "1\nx\r\n0\r\n\r\n"),
    ("RFC 9112 §7.1 data longer than size", Refuse, "1\r\nxy\r\n0\r\n\r\n"),
    ("RFC 9112 §7.1 data without CRLF", Refuse, "1\r\nx0\r\n\r\n"),
    ("RFC 9112 §7.1.1 LF in extension", Refuse, "1;a\nx\r\n0\r\n\r\n"),
    ("RFC 9112 §7.1.1 bare CR in extension", Refuse, "1;a\rb\r\nx\r\n0\r\n\r\n"),
    ("RFC 9112 §7.1.1 extension", RefuseOrNormalise, "1;a=b\r\nx\r\n0\r\n\r\n"),
];

#[test]
fn ambiguous_heads() {
    let head = |rest: &str| format!("POST /public/x HTTP/1.1\r\nHost: {HOST}\r\n{rest}");
    run(HEADS.iter().map(|(source, must, rest)| (*source, *must, head(rest))));
}

#[test]
fn ambiguous_requests() {
    run(WHOLE.iter().map(|(source, must, bytes)| (*source, *must, (*bytes).to_owned())));
}

#[test]
fn ambiguous_chunks() {
    let head =
        format!("POST /public/x HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\n");
    run(CHUNKS.iter().map(|(source, must, body)| (*source, *must, format!("{head}{body}"))));
}

/// A body that never ends in time must not look complete: 17 MiB of chunk extension (R30).
#[test]
fn chunk_extensions_are_bounded() {
    let app = Upstream::start();
    let gateway = Gateway::standard(&app);
    let mut connection = gateway.https().connect();
    let head =
        format!("POST /public/x HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\n1;");
    connection.write(head.as_bytes());
    for _ in 0..64 {
        connection.write(&[b'a'; 16 * 1024]);
    }
    connection.write(b"\r\nx\r\n0\r\n\r\n");
    assert!(connection.closes_within(Duration::from_secs(5)));
    assert!(app.seen().iter().all(|seen| !seen.complete), "{:?}", app.seen());
}

/// R31: what follows a refused request is not a request unless it was framed as one.
#[test]
fn the_body_of_a_refused_request_is_not_the_next_request() {
    let app = Upstream::start();
    let gateway = Gateway::standard(&app);
    let length = SMUGGLED.len();
    for head in [
        format!(
            "POST /api/x HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {length}\r\n\r\n{SMUGGLED}"
        ),
        format!(
            "POST /nowhere HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {length}\r\n\r\n{SMUGGLED}"
        ),
        format!(
            "POST /api/x HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\n{length:x}\r\n{SMUGGLED}\r\n0\r\n\r\n"
        ),
        format!(
            "POST /public/x HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 99999999\r\n\r\n{SMUGGLED}"
        ),
    ] {
        let mut connection = gateway.https().connect();
        connection.write(head.as_bytes());
        let first = connection.answer("POST");
        assert!(first.status >= 400, "{head}");
        // Whether or not the connection goes on, the body was not a request.
        let _closed = connection.closes_within(Duration::from_millis(200));
        app.saw_nothing(&head);
    }
}

/// R31: each request on a connection is judged on its own.
#[test]
fn pipelined_requests_are_judged_one_by_one() {
    let app = Upstream::start();
    let gateway = Gateway::standard(&app);
    let mut connection = gateway.https().connect();
    let one = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: {HOST}\r\n\r\n");
    let all = one("/public/a") + &one("/api/b") + &one("/public/c");
    connection.write(all.as_bytes());
    connection.answer("GET").expect(200);
    connection.answer("GET").refused(401);
    if let Ok(third) = connection.try_answer("GET") {
        third.expect(200);
    }
    let targets: Vec<String> = app.seen().into_iter().map(|seen| seen.target).collect();
    assert!(targets == ["/public/a", "/public/c"] || targets == ["/public/a"], "{targets:?}");
}

fn run(rows: impl Iterator<Item = (&'static str, Must, String)>) {
    let app = Upstream::start();
    let gateway = Gateway::standard(&app);
    each(rows, |(source, must, bytes)| {
        app.forget();
        let mut connection = gateway.https().connect();
        connection.write((bytes + SMUGGLED).as_bytes());
        judge(source, must, &mut connection, &app);
    });
}

fn judge(source: &str, must: Must, connection: &mut Connection, app: &Upstream) {
    let first = connection.try_answer("POST");
    let accepted = first.as_ref().is_ok_and(|answer| answer.status == 200);
    // Where Content-Length stood beside Transfer-Encoding, nothing more may come in either case.
    let must_close = !accepted || source.contains("both");
    let patience = Duration::from_millis(if must_close { 5000 } else { 200 });
    let closes = connection.closes_within(patience);
    let seen = app.seen();
    let context = format!("{source}: answered {first:?}, closed: {closes}, upstream saw {seen:#?}");
    assert!(closes || !must_close, "must close: {context}");
    if accepted {
        assert!(must == RefuseOrNormalise, "must be refused: {context}");
        in_normal_form(seen.first().expect("the request that was answered"), &context);
        assert!(seen.len() == 1 || !must_close, "{context}");
        return;
    }
    let refusal = |status| (400..500).contains(&status) || status == 505;
    match &first {
        Ok(answer) => assert!(refusal(answer.status), "{context}"),
        Err(_) => assert!(must == RefuseOrClose, "must be answered: {context}"),
    }
    assert!(seen.iter().all(|s| !s.complete), "refused, yet forwarded: {context}");
}

fn in_normal_form(seen: &Seen, context: &str) {
    let codings = seen.all("transfer-encoding");
    let fields = seen.all("content-length").len() + codings.len();
    assert!(fields <= 1 && codings.iter().all(|c| *c == "chunked"), "{context}");
}
