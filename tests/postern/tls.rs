//! TLS and the listeners (R28, R50, R51): certificates by name, versions, HSTS, the redirecting
//! listener, misdirected requests.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use rustls::ProtocolVersion;
use rustls::pki_types::{CertificateDer, pem::PemObject};
use rustls::version::{TLS12, TLS13};

use crate::harness::client::Endpoint;
use crate::harness::gateway::Gateway;
use crate::harness::h2::H2;
use crate::harness::pki::{Certificate, authority};
use crate::harness::setup::{HOST, Setup};
use crate::harness::upstream::Upstream;

fn presented(endpoint: &Endpoint) -> Vec<u8> {
    endpoint.connect().tls().peer_certificates().unwrap()[0].to_vec()
}

fn der(pem: &str) -> Vec<u8> {
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap().to_vec()
}

fn over(endpoint: &Endpoint, versions: &[&'static rustls::SupportedProtocolVersion]) -> Endpoint {
    let tls = Some(authority().client(&[b"http/1.1"], versions));
    Endpoint { tls, ..endpoint.clone() }
}

#[test]
fn sni_chooses_the_certificate() {
    let app = Upstream::start();
    let (first, second) =
        (authority().issue(&[HOST]), authority().issue(&["other.test", "*.w.test"]));
    let pairs =
        "[{ cert = \"cert.pem\", key = \"key.pem\" }, { cert = \"b.pem\", key = \"b-key.pem\" }]";
    let setup = Setup::standard(&app)
        .set("tls", "certificates", pairs)
        .file("cert.pem", &first.chain)
        .file("key.pem", &first.key)
        .file("b.pem", &second.chain)
        .file("b-key.pem", &second.key);
    let gateway = Gateway::start(&setup);
    let address = gateway.address("https");
    let of = |name: &str| presented(&Endpoint::https(address, name));
    assert_eq!(of(HOST), der(&first.chain));
    assert_eq!(of("other.test"), der(&second.chain));
    assert_eq!(of("x.w.test"), der(&second.chain));
    assert!(Endpoint::https(address, "unknown.test").try_connect().is_err(), "not covered");
}

#[test]
fn versions() {
    let app = Upstream::start();
    let gateway = Gateway::standard(&app);
    for (version, name) in [(&TLS12, ProtocolVersion::TLSv1_2), (&TLS13, ProtocolVersion::TLSv1_3)]
    {
        let endpoint = over(&gateway.https(), &[version]);
        assert_eq!(endpoint.connect().tls().protocol_version(), Some(name));
        endpoint.request("GET", "/public/x").send().expect(200);
    }
    let strict = Gateway::start(&Setup::standard(&app).set("tls", "min_version", "\"1.3\""));
    assert!(over(&strict.https(), &[&TLS12]).try_connect().is_err());
    over(&strict.https(), &[&TLS13]).request("GET", "/public/x").send().expect(200);
    // A ClientHello of TLS 1.0 that offers nothing newer, ended by an alert.
    let mut tcp = TcpStream::connect(gateway.address("https")).unwrap();
    tcp.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut hello = vec![0x16, 3, 1, 0, 45, 1, 0, 0, 41, 3, 1];
    hello.extend([7; 32]);
    hello.extend([0, 0, 2, 0xc0, 0x13, 1, 0]);
    tcp.write_all(&hello).unwrap();
    let mut answer = [0; 64];
    let read = tcp.read(&mut answer).unwrap_or(0);
    assert!(read == 0 || answer[0] == 0x15, "an alert, not {:?}", &answer[..read]);
}

#[test]
fn alpn_chooses_the_protocol() {
    let app = Upstream::start();
    let gateway = Gateway::standard(&app);
    let protocol = |offer: &[&[u8]]| {
        let tls = authority().client(offer, rustls::DEFAULT_VERSIONS);
        let endpoint = Endpoint { tls: Some(tls), ..gateway.https() };
        endpoint.try_connect().map(|c| c.tls().alpn_protocol().map(<[u8]>::to_vec))
    };
    assert_eq!(protocol(&[b"h2", b"http/1.1"]).unwrap(), Some(b"h2".to_vec()));
    assert_eq!(protocol(&[b"http/1.1", b"h2"]).unwrap(), Some(b"h2".to_vec()));
    assert_eq!(protocol(&[b"http/1.1"]).unwrap(), Some(b"http/1.1".to_vec()));
    assert_eq!(protocol(&[]).unwrap(), None, "HTTP/1.1 without ALPN");
    assert!(protocol(&[b"spdy/3"]).is_err(), "RFC 7301 §3.2: no_application_protocol");
    // Never by sniffing: HTTP/2 on a connection that did not choose it.
    let mut connection = gateway.https().connect();
    connection.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0");
    assert!(connection.closes_within(Duration::from_secs(5)));
}

/// Nothing is served without TLS on a TLS port.
#[test]
fn plain_http_on_the_tls_port() {
    let app = Upstream::start();
    let gateway = Gateway::standard(&app);
    let plain = Endpoint::http(gateway.address("https"));
    let answer = plain.request("GET", "/public/x").try_send();
    assert!(answer.is_err() || answer.is_ok_and(|a| a.status == 400));
    app.saw_nothing("plain HTTP");
}

/// RFC 6797 §7.2: on every answer over TLS, errors included; never over plain HTTP.
#[test]
fn hsts() {
    let app = Upstream::start();
    let setup = Setup::standard(&app).set("listen", "http", "\"127.0.0.1:0\"").set(
        "listen",
        "public_url",
        "\"https://api.test\"",
    );
    let gateway = Gateway::start(&setup);
    for (path, status) in
        [("/public/x", 200), ("/api/x", 401), ("/nowhere", 404), ("/public//x", 400)]
    {
        let answer = gateway.get(path).send().expect(status);
        let hsts = answer.header("strict-transport-security").unwrap_or_default();
        assert!(hsts.contains("max-age="), "{path}: {hsts:?}");
    }
    let plain = Endpoint::http(gateway.address("http")).request("GET", "/x").send();
    assert_eq!(plain.header("strict-transport-security"), None);
}

/// 308 to a configured host, never to the Host field; nothing is proxied.
#[test]
fn the_redirecting_listener() {
    let app = Upstream::start();
    let setup = Setup::standard(&app)
        .set("listen", "http", "\"127.0.0.1:0\"")
        .route("named", "path = \"/named\"\nhosts = [\"named.test\"]\nauth = \"none\"");
    let with_url = setup.clone().set("listen", "public_url", "\"https://api.test\"");
    let gateway = Gateway::start(&with_url);
    let plain = Endpoint::http(gateway.address("http"));
    for host in ["api.test", "api.test:80", "evil.test", "127.0.0.1"] {
        let answer = plain.request("GET", "/a%20b?c=d&e").host(host).send();
        if answer.status == 308 {
            assert_eq!(answer.header("location"), Some("https://api.test/a%20b?c=d&e"), "{host}");
        } else {
            answer.expect(400);
        }
    }
    plain.request("GET", "/a").host("api.test").send().expect(308);
    plain.request("POST", "/public/x").host("api.test").body("x").send().expect(308);
    for target in ["//evil.test/x", "/\\evil.test", "https://evil.test/", "/x\u{e9}"] {
        let answer = plain.request("GET", target).host("api.test").send();
        let location = answer.header("location").unwrap_or_default();
        assert!(location.is_empty() || location.starts_with("https://api.test/"), "{location}");
    }
    let gateway = Gateway::start(&setup);
    let plain = Endpoint::http(gateway.address("http"));
    let answer = plain.request("GET", "/named").host("named.test").send().expect(308);
    assert_eq!(answer.header("location"), Some("https://named.test/named"));
    plain.request("GET", "/named").host("evil.test").send().expect(400);
    app.saw_nothing("the plain listener");
}

/// RFC 9110 §15.5.20: an `:authority` that the connection's certificate does not cover.
#[test]
fn misdirected_requests() {
    let app = Upstream::start();
    let gateway = Gateway::standard(&app);
    let h2 = H2::connect(gateway.address("https"), HOST);
    let request =
        |uri: &str| http::Request::get(uri).body(http_body_util::Full::default()).unwrap();
    h2.send(request("https://localhost/public/x")).unwrap().expect(200);
    app.forget();
    h2.send(request("https://uncovered.test/public/x")).unwrap().expect(421);
    app.saw_nothing("misdirected");
}

#[test]
fn client_certificates() {
    let app = Upstream::start();
    let setup = Setup::standard(&app)
        .set("tls", "client_auth", "{ mode = \"required\", ca = \"ca.pem\" }")
        .file("ca.pem", &authority().pem);
    let gateway = Gateway::start(&setup);
    let with = |own: &Certificate| {
        let tls = Some(authority().client_with(&[b"http/1.1"], own));
        let endpoint = Endpoint { tls, ..gateway.https() };
        endpoint.request("GET", "/public/x").try_send()
    };
    assert!(gateway.get("/public/x").try_send().is_err(), "none presented");
    with(&authority().issue(&["client.test"])).unwrap().expect(200);
    let stranger = rcgen::generate_simple_self_signed(vec!["client.test".to_owned()]).unwrap();
    let own = Certificate { chain: stranger.cert.pem(), key: stranger.signing_key.serialize_pem() };
    app.forget();
    assert!(with(&own).is_err(), "of a stranger");
    app.saw_nothing("no client certificate");
}

/// R50: new certificates by SIGHUP, no connection dropped; a broken file changes nothing.
#[test]
fn certificates_are_reloaded() {
    let app = Upstream::start();
    let gateway = Gateway::standard(&app);
    let mut open = gateway.https().connect();
    gateway.get("/public/x").on(&mut open).unwrap().expect(200);
    let before = presented(&gateway.https());
    let fresh = authority().issue(&[HOST]);
    let put = |name: &str, text: &str| {
        crate::harness::setup::private(&gateway.dir.path().join(name), text.as_bytes());
    };
    put("cert.pem", &fresh.chain);
    put("key.pem", &fresh.key);
    gateway.signal(rustix::process::Signal::HUP);
    crate::harness::soon("the new certificate", || presented(&gateway.https()) != before);
    assert_eq!(presented(&gateway.https()), der(&fresh.chain));
    gateway.get("/public/x").on(&mut open).unwrap().expect(200);

    put("cert.pem", "-----BEGIN CERTIFICATE-----\nbroken\n-----END CERTIFICATE-----\n");
    let lines = gateway.stderr().all().len();
    gateway.signal(rustix::process::Signal::HUP);
    crate::harness::soon("the error is told", || gateway.stderr().all().len() > lines);
    assert_eq!(presented(&gateway.https()), der(&fresh.chain));
    gateway.get("/public/x").send().expect(200);
}
