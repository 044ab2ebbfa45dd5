//! The header guard (R22, R24, R26, R27): no spelling of a reserved name gets through, on public
//! routes too, and the gateway's own fields cannot be taken away.

use crate::harness::gateway::Gateway;
use crate::harness::keys::Key;
use crate::harness::setup::{HOST, Setup};
use crate::harness::tokens::Token;
use crate::harness::upstream::Upstream;

/// Source and field name; the value is always `root-of-all-evil`.
const RESERVED: &[(&str, &str)] = &[
    ("R24", "X-Auth-Subject"),
    ("R24 case", "x-aUTH-sUBJECT"),
    ("R24 other identity header", "X-Auth-Roles"),
    ("R24 reserved prefix", "X-Auth-Anything"),
    ("CVE-2026-52845 underscore", "X_Auth_Subject"),
    ("CVE-2025-64484 mixed", "X-Auth_Subject"),
    ("WSGI folding of dots", "X.Auth.Subject"),
    ("folding of other characters", "X~Auth~Subject"),
    ("folding of other characters", "X!Auth'Subject"),
    ("R24 underscore drop", "Anything_Else"),
    ("oauth2-proxy preset", "X-Forwarded-User"),
    ("oauth2-proxy preset", "X-Forwarded-Email"),
    ("oauth2-proxy preset", "X-Forwarded-Groups"),
    ("oauth2-proxy preset", "X-Forwarded-Access-Token"),
    ("oauth2-proxy preset", "X-Auth-Request-User"),
    ("authelia preset", "Remote-User"),
    ("authelia preset", "Remote-Groups"),
    ("CVE-2025-64484 authelia underscore", "Remote_User"),
    ("envoy preset", "X-JWT-Payload"),
    ("kong preset", "X-Consumer-Id"),
    ("kong preset", "X-Consumer-Username"),
    ("kong preset", "X-Credential-Identifier"),
    ("kong preset", "X-Anonymous-Consumer"),
    ("httpoxy CVE-2016-5385", "Proxy"),
    ("R22", "X-Original-URL"),
    ("R22", "X-Rewrite-URL"),
    ("R22", "X-HTTP-Method-Override"),
    ("R22", "X-HTTP-Method"),
    ("R22", "X-Method-Override"),
    ("R22 underscore", "X_HTTP_Method_Override"),
    ("CVE-2026-40575", "X-Forwarded-Uri"),
    ("CVE-2026-40575", "X-Forwarded-Method"),
    ("R27", "X-Forwarded-Prefix"),
    ("R27", "X-Forwarded-Port"),
    ("R27", "Forwarded"),
    ("R27", "CF-Connecting-IP"),
    ("R27", "True-Client-IP"),
    ("contract", "X-Authentik-Username"),
    ("contract", "X-Pomerium-Jwt-Assertion"),
    ("contract", "Cf-Access-Jwt-Assertion"),
    ("contract", "X-Amzn-Oidc-Identity"),
    ("contract", "X-Goog-Authenticated-User-Email"),
    ("contract", "X-MS-CLIENT-PRINCIPAL"),
    ("contract", "X-MS-CLIENT-PRINCIPAL-NAME"),
    ("contract", "X-WebAuth-User"),
    ("CVE-2023-27487 kin", "X-Forwarded-Client-Cert"),
    ("contract", "SSL-Client-Verify"),
    ("contract underscore", "SSL_CLIENT_S_DN"),
    ("contract", "X-Client-Cert-Dn"),
];

const EVIL: &str = "root-of-all-evil";

#[test]
fn reserved_names_never_arrive() {
    let app = Upstream::start();
    let gateway = Gateway::standard(&app);
    let token = Token::good().sign(Key::shared("ES256"));
    for (source, name) in RESERVED {
        for path in ["/public/x", "/api/x"] {
            let request = gateway.get(path).bearer(&token).header(name, EVIL);
            // Twice: the second must not survive the first's removal (R24 duplicates).
            request.header(name, EVIL).header("X-Kept", "yes").send().expect(200);
            let seen = app.last();
            let text = format!("{:?}", seen.headers);
            assert!(!text.contains(EVIL), "{source} on {path}: {text}");
            assert_eq!(seen.header("x-kept"), Some("yes"));
        }
    }
}

/// A space before the colon is another spelling (R24, RFC 9112 §5.1).
#[test]
fn a_space_before_the_colon_is_refused() {
    let app = Upstream::start();
    let gateway = Gateway::standard(&app);
    for name in ["X-Auth-Subject ", "X-Auth-Subject\t", " X-Auth-Subject"] {
        let head = format!("GET /public/x HTTP/1.1\r\nHost: {HOST}\r\n{name}: {EVIL}\r\n\r\n");
        gateway.https().raw(head).expect(400);
        app.saw_nothing(name);
    }
}

/// CVE-2026-105299: `Connection: X-Auth-Subject` removes the client's field, never the gateway's.
#[test]
fn connection_cannot_take_the_gateways_fields_away() {
    let app = Upstream::start();
    let gateway = Gateway::standard(&app);
    let token = Token::good().sign(Key::shared("ES256"));
    let listed = "close, X-Auth-Subject, x-auth-issuer, X-Forwarded-For, Host, Via, \
                  Content-Length, X-Request-Id, Cookie";
    let request = gateway.post("/api/x").bearer(&token).header("Connection", listed);
    let answer = request.header("X-Auth-Subject", EVIL).body("hello").send();
    if answer.status != 200 {
        assert_eq!(answer.status, 400, "{}", answer.text());
        app.saw_nothing("a Connection field that names what it must not");
        return;
    }
    let seen = app.last();
    assert_eq!(seen.header("x-auth-subject"), Some("alice"));
    assert!(seen.header("x-auth-issuer").is_some());
    assert_eq!(seen.header("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(seen.header("host"), Some(HOST));
    assert!(seen.header("via").is_some());
    assert_eq!(seen.body, b"hello");
    // Named there, a token is a hop-by-hop field like any other: it is not there.
    app.forget();
    let hidden = gateway.get("/api/x").bearer(&token).header("Connection", "Authorization");
    let answer = hidden.send();
    assert!([400, 401].contains(&answer.status), "{}", answer.status);
    app.saw_nothing("a token that Connection names");
}

/// `reserved` and the configured identity headers are stripped besides the built-in names.
#[test]
fn configured_names_are_reserved() {
    let app = Upstream::start();
    let setup = Setup::standard(&app)
        .set("identity", "reserved", "[\"X-Tenant\", \"Internal-*\"]")
        .set("identity.headers", "\"X-Who\"", "\"sub\"");
    let gateway = Gateway::start(&setup);
    let token = Token::good().sign(Key::shared("ES256"));
    for name in ["X-Tenant", "x_tenant", "Internal-Flag", "internal.flag", "X-Who", "X_Who"] {
        gateway.get("/public/x").header(name, EVIL).send().expect(200);
        let text = format!("{:?}", app.last().headers);
        assert!(!text.contains(EVIL), "{name}: {text}");
    }
    gateway.get("/api/x").bearer(&token).header("X-Who", EVIL).send().expect(200);
    assert_eq!(app.last().header("x-who"), Some("alice"));
}

/// Content-Length and Transfer-Encoding in other spellings must not frame anything upstream.
#[test]
fn framing_fields_in_other_spellings_are_dropped() {
    let app = Upstream::start();
    let gateway = Gateway::standard(&app);
    let request = gateway.post("/public/x").header("Content_Length", "0");
    request.header("Transfer_Encoding", "chunked").body("hello").send().expect(200);
    let seen = app.last();
    assert_eq!(seen.body, b"hello");
    let names: Vec<_> = seen.headers.iter().map(|(name, _)| name.as_str()).collect();
    assert!(!names.iter().any(|name| name.contains('_')), "{names:?}");
}

/// Request ids: accepted only from trusted proxies, else made; returned and forwarded.
#[test]
fn request_ids() {
    let app = Upstream::start();
    let gateway = Gateway::standard(&app);
    let answer = gateway.get("/public/x").header("X-Request-Id", EVIL).send().expect(200);
    let id = answer.header("x-request-id").expect("returned").to_owned();
    assert_ne!(id, EVIL);
    assert_eq!(app.last().header("x-request-id"), Some(&*id), "forwarded");
    let other = gateway.get("/public/x").send();
    assert_ne!(other.header("x-request-id"), Some(&*id), "each its own");

    let setup = Setup::standard(&app).set("listen", "trusted_proxies", "[\"127.0.0.1/32\"]");
    let behind = Gateway::start(&setup);
    let answer = behind.get("/public/x").header("X-Request-Id", "from-the-edge-1").send();
    assert_eq!(answer.header("x-request-id"), Some("from-the-edge-1"));
    assert_eq!(app.last().header("x-request-id"), Some("from-the-edge-1"));
}
