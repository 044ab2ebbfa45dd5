//! Listeners for load balancers: `plain` for those that end TLS themselves, and the PROXY protocol
//! (v1 and v2), both believed from `trusted_proxies` alone (R27).

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};

use crate::harness::client::Endpoint;
use crate::harness::gateway::Gateway;
use crate::harness::pki::authority;
use crate::harness::setup::{HOST, Setup};
use crate::harness::upstream::Upstream;

fn trusting(app: &Upstream) -> Setup {
    Setup::standard(app).set("listen", "trusted_proxies", "[\"127.0.0.1/32\"]")
}

#[test]
fn the_plain_listener_serves_trusted_proxies() {
    let app = Upstream::start();
    let gateway = Gateway::start(&trusting(&app).set("listen", "plain", "\"127.0.0.1:0\""));
    let plain = Endpoint::http(gateway.address("plain"));
    let request = plain.request("GET", "/public/x").host(HOST);
    let request = request.header("X-Forwarded-For", "203.0.113.9");
    let answer = request.header("X-Forwarded-Proto", "https").send().expect(200);
    // RFC 6797 §7.2: never over plain HTTP.
    assert_eq!(answer.header("strict-transport-security"), None);
    let seen = app.last();
    assert!(seen.header("x-forwarded-for").unwrap().contains("203.0.113.9"));
    assert_eq!(seen.header("x-forwarded-proto"), Some("https"));
    app.forget();
    plain.request("GET", "/api/x").host(HOST).send().refused(401);
    app.saw_nothing("no token on the plain listener");
}

#[test]
fn the_plain_listener_serves_nobody_else() {
    let app = Upstream::start();
    let setup = Setup::standard(&app).set("listen", "trusted_proxies", "[\"192.0.2.0/24\"]").set(
        "listen",
        "plain",
        "\"127.0.0.1:0\"",
    );
    let gateway = Gateway::start(&setup);
    let plain = Endpoint::http(gateway.address("plain"));
    let answer = plain.request("GET", "/public/x").host(HOST).try_send();
    assert!(answer.is_err() || answer.is_ok_and(|a| a.status >= 400));
    app.saw_nothing("an untrusted peer on the plain listener");
}

#[test]
fn the_plain_listener_on_a_unix_socket() {
    let app = Upstream::start();
    let gateway =
        Gateway::start(&Setup::standard(&app).set("listen", "plain", "\"unix:gate.sock\""));
    let mut stream = UnixStream::connect(gateway.dir.path().join("gate.sock")).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let request = format!("GET /public/x HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert_eq!(app.count(), 1);
}

/// Sends `preface`, then a request over TLS; the answer's status, or nothing when it was closed.
fn after(gateway: &Gateway, preface: &[u8]) -> Option<u16> {
    let mut tcp = TcpStream::connect(gateway.address("https")).unwrap();
    tcp.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    tcp.write_all(preface).ok()?;
    let config = authority().client(&[b"http/1.1"], rustls::DEFAULT_VERSIONS);
    let name = ServerName::try_from(HOST).unwrap();
    let session = ClientConnection::new(Arc::clone(&config), name).unwrap();
    let mut tls = StreamOwned::new(session, tcp);
    let request = format!("GET /public/x HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n");
    tls.write_all(request.as_bytes()).ok()?;
    let mut head = [0; 12];
    tls.read_exact(&mut head).ok()?;
    std::str::from_utf8(&head[9..]).ok()?.parse().ok()
}

/// The signature of version 2.
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

fn v2(command: u8, family: u8, addresses: &[u8]) -> Vec<u8> {
    let length = u16::try_from(addresses.len()).unwrap().to_be_bytes();
    [V2, &[0x20 | command, family], &length, addresses].concat()
}

#[test]
fn the_proxy_protocol_names_the_client() {
    let app = Upstream::start();
    let required = trusting(&app).set("listen", "proxy_protocol", "\"required\"");
    let optional = trusting(&app).set("listen", "proxy_protocol", "\"optional\"");
    let v2_tcp4 = v2(1, 0x11, &[203, 0, 113, 8, 10, 0, 0, 1, 0x30, 0x39, 0x01, 0xbb]);
    for setup in [&required, &optional] {
        let gateway = Gateway::start(setup);
        for (preface, address) in [
            (&b"PROXY TCP4 203.0.113.7 10.0.0.1 12345 443\r\n"[..], "203.0.113.7"),
            (b"PROXY TCP6 2001:db8::7 2001:db8::1 12345 443\r\n", "2001:db8::7"),
            (&v2_tcp4, "203.0.113.8"),
            // LOCAL: the balancer's own health check.
            (&v2(0, 0, &[]), "127.0.0.1"),
        ] {
            assert_eq!(after(&gateway, preface), Some(200), "{address}");
            assert_eq!(app.last().header("x-forwarded-for"), Some(address));
        }
    }
    app.forget();
    let gateway = Gateway::start(&optional);
    assert_eq!(after(&gateway, b""), Some(200));
    let gateway = Gateway::start(&required);
    app.forget();
    for bad in [
        &b""[..],
        b"PROXY TCP4 203.0.113.7\r\n",
        b"PROXY TCP4 999.0.0.1 10.0.0.1 1 2\r\n",
        b"PROXY NONSENSE\r\n",
        &[b'P'; 4000],
        &v2(1, 0x11, &[1, 2, 3]),
        &v2(0xf, 0x11, &[0; 12]),
    ] {
        assert_eq!(after(&gateway, bad), None, "{:?}", String::from_utf8_lossy(bad));
    }
    app.saw_nothing("malformed prefaces");
}

/// From anybody else the preface is not believed, and no part of a request either.
#[test]
fn the_proxy_protocol_of_a_stranger() {
    let app = Upstream::start();
    let setup = Setup::standard(&app).set("listen", "trusted_proxies", "[\"192.0.2.0/24\"]").set(
        "listen",
        "proxy_protocol",
        "\"optional\"",
    );
    let gateway = Gateway::start(&setup);
    assert_eq!(after(&gateway, b"PROXY TCP4 203.0.113.7 10.0.0.1 12345 443\r\n"), None);
    app.saw_nothing("a stranger's preface");
    assert_eq!(after(&gateway, b""), Some(200));
    assert_eq!(app.last().header("x-forwarded-for"), Some("127.0.0.1"));
    let off = Gateway::standard(&app);
    app.forget();
    assert_eq!(after(&off, b"PROXY TCP4 203.0.113.7 10.0.0.1 12345 443\r\n"), None);
    app.saw_nothing("a preface where none is spoken");
}
