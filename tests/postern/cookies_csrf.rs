//! What another site's page can make a browser send with Postern's session cookie, and what it
//! gets for it.

use std::io::Read;

use crate::harness::client::Request;
use crate::harness::each;
use crate::harness::gateway::Gateway;
use crate::harness::person::{CSRF, ORIGIN, Person, SESSION, setup};
use crate::harness::upstream::{After, Upstream, reply};

const EVIL: &str = "https://evil.test";

/// Sources: OWASP CSRF Prevention; RFC 6454 §7.3 (`null`); Fetch Metadata; CWE-352.
#[test]
fn another_sites_page_changes_nothing() {
    let app = Upstream::start();
    let gateway = Gateway::start(&setup(&app));
    let alice = Person::log_in(&gateway, "alice");
    let mallory = Person::log_in(&gateway, "mallory");
    each(
        without_the_token(&gateway, &alice, &mallory)
            .into_iter()
            .chain(from_elsewhere(&gateway, &alice, &mallory)),
        |(what, request): (&str, Request)| {
            let answer = request.send();
            assert_eq!(answer.status, 403, "{what}");
            assert_eq!(answer.header("www-authenticate"), None, "{what}");
        },
    );
    app.saw_nothing("all of it was another site's");
}

fn without_the_token(
    gateway: &Gateway,
    alice: &Person,
    mallory: &Person,
) -> Vec<(&'static str, Request)> {
    let logged_out =
        gateway.get("/_postern/csrf").header("Cookie", &format!("{CSRF}={}", alice.nonce));
    let of_login = logged_out.send().json()["csrf_token"].as_str().unwrap().to_owned();
    let post = || alice.request("POST", "/local/x");
    let own = || post().header("Origin", ORIGIN).header("Sec-Fetch-Site", "same-origin");
    let json = "{\"amount\":1}";
    let form = "application/x-www-form-urlencoded";
    let multipart = format!(
        "--x\r\nContent-Disposition: form-data; name=\"csrf_token\"\r\n\r\n{}\r\n--x--\r\n",
        alice.token
    );
    vec![
        ("no token", own().form("a=b")),
        ("nothing at all", post()),
        ("JSON as text/plain", own().header("Content-Type", "text/plain").body(json)),
        ("JSON without a type", own().body(json)),
        ("another session's token", own().header("X-CSRF-Token", &mallory.token)),
        ("the token of a login", own().header("X-CSRF-Token", &of_login)),
        ("the cookie as the token", own().header("X-CSRF-Token", &alice.nonce)),
        ("the session as the token", own().header("X-CSRF-Token", &alice.session)),
        ("an empty token", own().header("X-CSRF-Token", "")),
        (
            "two tokens",
            own().header("X-CSRF-Token", &alice.token).header("X-CSRF-Token", &alice.token),
        ),
        (
            "a wrong header beside a right field",
            own().header("X-CSRF-Token", "x").form(&format!("csrf_token={}", alice.token)),
        ),
        ("another's field", own().form(&format!("csrf_token={}", mallory.token))),
        ("two fields", own().form(&format!("csrf_token={0}&csrf_token={0}", alice.token))),
        ("a field in the query", {
            let target = format!("/local/x?csrf_token={}", alice.token);
            alice.request("POST", &target).header("Origin", ORIGIN).form("a=b")
        }),
        (
            "a field in JSON",
            own()
                .header("Content-Type", "application/json")
                .body(format!("{{\"csrf_token\":\"{}\"}}", alice.token)),
        ),
        (
            "a field of text/plain",
            own().header("Content-Type", "text/plain").body(format!("csrf_token={}", alice.token)),
        ),
        (
            "a multipart field",
            own().header("Content-Type", "multipart/form-data; boundary=x").body(&multipart),
        ),
        (
            "two media types",
            own()
                .header("Content-Type", form)
                .header("Content-Type", "text/plain")
                .body(format!("csrf_token={}", alice.token)),
        ),
    ]
}

fn from_elsewhere(
    gateway: &Gateway,
    alice: &Person,
    mallory: &Person,
) -> Vec<(&'static str, Request)> {
    vec![
        ("another origin", alice_from(alice, EVIL, "cross-site")),
        ("the origin null", alice_from(alice, "null", "cross-site")),
        ("a sibling", alice_from(alice, "https://other.api.test", "same-site")),
        ("a lookalike", alice_from(alice, "https://api.test.evil.test", "cross-site")),
        ("another port", alice_from(alice, "https://api.test:8443", "same-site")),
        ("without TLS", alice_from(alice, "http://api.test", "cross-site")),
        ("contradicting", alice_from(alice, ORIGIN, "cross-site")),
        ("contradicting, the other way", alice_from(alice, EVIL, "same-origin")),
        ("two origins", alice_from(alice, ORIGIN, "same-origin").header("Origin", EVIL)),
        ("without the second cookie", {
            let request = gateway.post("/local/x").header("X-CSRF-Token", &alice.token);
            request.header("Cookie", &format!("{SESSION}={}", alice.session))
        }),
        ("two second cookies", {
            let request = gateway.post("/local/x").header("X-CSRF-Token", &alice.token);
            let cookies = format!("{}; {CSRF}={}", alice.cookies(), mallory.nonce);
            request.header("Cookie", &cookies)
        }),
        ("another's second cookie", {
            let request = gateway.post("/local/x").header("X-CSRF-Token", &mallory.token);
            let cookies = format!("{SESSION}={}; {CSRF}={}", alice.session, mallory.nonce);
            request.header("Cookie", &cookies)
        }),
        ("PUT", alice.request("PUT", "/local/x").header("Origin", ORIGIN)),
        ("DELETE", alice.request("DELETE", "/local/x").header("Origin", ORIGIN)),
        ("PATCH", alice.request("PATCH", "/local/x").header("Origin", ORIGIN)),
        ("an unknown method", alice.request("PURGE", "/local/x").header("Origin", ORIGIN)),
    ]
}

fn alice_from(alice: &Person, origin: &str, site: &str) -> Request {
    let request = alice.request("POST", "/local/x").header("Origin", origin);
    request.header("Sec-Fetch-Site", site).header("X-CSRF-Token", &alice.token)
}

/// Whatever a GET says of being a DELETE, it is a GET to the upstream (R24, CVE-2019-10849-like
/// method overrides).
#[test]
fn no_get_becomes_something_else() {
    let app = Upstream::start();
    let gateway = Gateway::start(&setup(&app));
    let alice = Person::log_in(&gateway, "alice");
    let names = ["X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override", "X_HTTP_METHOD"];
    for name in names {
        alice.request("GET", "/local/x").header(name, "DELETE").send().expect(200);
        let seen = app.last();
        assert_eq!((seen.method.as_str(), seen.header(name)), ("GET", None));
    }
}

#[test]
fn own_pages_and_programs_with_the_token_may() {
    let app = Upstream::start();
    let gateway = Gateway::start(&setup(&app));
    let alice = Person::log_in(&gateway, "alice");
    for method in ["POST", "PUT", "PATCH", "DELETE"] {
        alice.script(method, "/local/x").send().expect(200);
        assert_eq!(app.last().method, method);
    }
    let said = alice.request("POST", "/local/x").header("X-CSRF-Token", &alice.token);
    said.body("no browser").send().expect(200);
    for method in ["GET", "HEAD", "OPTIONS"] {
        let request = alice.request(method, "/local/x").header("Origin", EVIL);
        assert_eq!(request.header("Sec-Fetch-Site", "cross-site").send().status, 200, "{method}");
    }
}

/// The form is read for its field, and forwarded as it came.
#[test]
fn a_form_brings_the_token_itself() {
    let app = Upstream::start();
    let gateway = Gateway::start(&setup(&app));
    let alice = Person::log_in(&gateway, "alice");
    let body = format!("a=b+c%20d&csrf_token={}&%e4=%zz&&=", alice.token);
    let send =
        |body: &str| alice.request("POST", "/local/x").header("Origin", ORIGIN).form(body).send();
    // What cannot be read as text is no form to us.
    send(&body.replace("&%e4=%zz", "&\u{e4}=%zz")).expect(200);
    let bytes = body.replace("&%e4=%zz", "&\u{e4}=%zz").into_bytes();
    assert_eq!(app.last().body, bytes, "byte for byte");
    app.forget();
    let large = format!("csrf_token={}&x={}", alice.token, "y".repeat(65 * 1024));
    send(&large).refused(413);
    app.saw_nothing("too large to be looked into");
    let header = alice.script("POST", "/local/x").form(&large).send();
    header.expect(200);
    assert_eq!(app.last().body.len(), large.len());
}

/// Cross-site WebSocket hijacking (CWE-1385): the handshake has no place for a token.
#[test]
fn another_sites_page_opens_no_websocket() {
    let app = Upstream::with(|_, stream| {
        let switch = "101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket";
        reply(stream, switch, &[], "");
        drop(stream.read(&mut [0; 1]));
        After::Close
    });
    let gateway = Gateway::start(&setup(&app));
    let alice = Person::log_in(&gateway, "alice");
    let open = |path: &str, fields: &[(&str, &str)]| {
        let request = alice.request("GET", path).header("Connection", "Upgrade");
        let request = request.header("Upgrade", "websocket").header("Sec-WebSocket-Version", "13");
        let mut request = request.header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==");
        for (name, value) in fields {
            request = request.header(name, value);
        }
        request.send().status
    };
    let token = ("X-CSRF-Token", alice.token.as_str());
    for path in ["/local/ws", "/origin/ws"] {
        each(
            [
                vec![("Origin", EVIL)],
                vec![("Origin", "null")],
                vec![("Origin", "https://other.api.test")],
                vec![("Origin", ORIGIN), ("Sec-Fetch-Site", "cross-site")],
                vec![("Origin", ORIGIN), ("Origin", EVIL)],
                vec![("Sec-Fetch-Site", "same-origin")],
                vec![("Origin", EVIL), token],
                vec![token],
                vec![],
            ],
            |fields| assert_eq!(open(path, &fields), 403, "{path} {fields:?}"),
        );
        app.saw_nothing("no handshake came through");
        assert_eq!(open(path, &[("Origin", ORIGIN), ("Sec-Fetch-Site", "same-origin")]), 101);
        assert_eq!(open(path, &[("Origin", ORIGIN)]), 101);
        app.forget();
    }
}

#[test]
fn a_route_may_ask_for_less() {
    let app = Upstream::start();
    let gateway = Gateway::start(&setup(&app));
    let alice = Person::log_in(&gateway, "alice");
    let post = |target: &str, fields: &[(&str, &str)]| {
        let mut request = alice.request("POST", target);
        for (name, value) in fields {
            request = request.header(name, value);
        }
        request.send().status
    };
    assert_eq!(post("/origin/x", &[("Origin", ORIGIN)]), 200);
    assert_eq!(post("/origin/x", &[("Sec-Fetch-Site", "same-origin")]), 200);
    assert_eq!(post("/origin/x", &[]), 403, "neither says whose page it was");
    assert_eq!(post("/origin/x", &[("Origin", EVIL)]), 403);
    assert_eq!(post("/origin/x", &[("X-CSRF-Token", &alice.token)]), 403);
    assert_eq!(post("/off/x", &[("Origin", EVIL)]), 200);
}

/// A token for another origin's page to read there is none.
#[test]
fn the_token_is_for_pages_of_this_origin() {
    let app = Upstream::start();
    let gateway = Gateway::start(&setup(&app));
    let alice = Person::log_in(&gateway, "alice");
    let answer = alice.request("GET", "/_postern/csrf").header("Origin", EVIL).send().expect(200);
    assert_eq!(answer.header("access-control-allow-origin"), None);
    assert_eq!(answer.header("cross-origin-resource-policy"), Some("same-origin"));
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert!(answer.all("set-cookie").is_empty(), "pages that are open stay good");
    assert_eq!(answer.json()["csrf_token"], alice.token.as_str());
    alice.request("POST", "/_postern/csrf").send().refused(405);
    // Logging out is a change as well.
    for request in [
        alice.request("POST", "/_postern/logout"),
        alice.request("POST", "/_postern/logout").header("Origin", ORIGIN).form("a=b"),
        alice.script("POST", "/_postern/logout").header("Origin", EVIL),
        alice.request("GET", "/_postern/logout"),
    ] {
        assert!([403, 405].contains(&request.send().status));
    }
    assert_eq!(alice.call(), 200);
}
