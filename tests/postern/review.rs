//! What a reviewer with an attacker's eyes asked of the request's way.

use std::time::{Duration, Instant};

use crate::harness::gateway::Gateway;
use crate::harness::setup::{HOST, Setup};
use crate::harness::upstream::{After, Upstream};

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
    let gateway = Gateway::start(&Setup::standard(&app).set("timeouts", "response", "\"1s\""));
    let mut connection = gateway.https().connect();
    let head = format!("POST /public/x HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 8\r\n\r\n");
    connection.write(head.as_bytes());
    for byte in b"8 pieces" {
        std::thread::sleep(Duration::from_millis(400));
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
