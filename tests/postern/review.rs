//! What a reviewer with an attacker's eyes asked of the request's way.

use crate::harness::gateway::Gateway;
use crate::harness::setup::HOST;
use crate::harness::upstream::Upstream;

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
