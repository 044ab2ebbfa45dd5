//! What a reviewer with an attacker's eyes asked of the request's way.

use std::time::Duration;

use crate::harness::gateway::Gateway;
use crate::harness::setup::HOST;
use crate::harness::upstream::Upstream;

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
