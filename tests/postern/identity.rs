//! Identity headers: what the upstream may trust (R24, R25; contract: "Identity values").

use serde_json::{Value, json};

use crate::harness::gateway::Gateway;
use crate::harness::keys::Key;
use crate::harness::setup::Setup;
use crate::harness::tokens::{ISSUER, Token};
use crate::harness::upstream::Upstream;

#[test]
fn the_default_headers() {
    let app = Upstream::start();
    let gateway = Gateway::standard(&app);
    let token = Token::good()
        .roles(&["admin", "ops"])
        .claim("scope", "read write")
        .claim("email", "alice@example.com");
    gateway.get("/api/x").bearer(&token.sign(Key::shared("ES256"))).send().expect(200);
    let seen = app.last();
    for (name, value) in [
        ("x-auth-subject", "alice"),
        ("x-auth-issuer", ISSUER),
        ("x-auth-roles", "admin,ops"),
        ("x-auth-scopes", "read write"),
        ("x-auth-email", "alice@example.com"),
        ("x-auth-token-id", token.jti()),
    ] {
        assert_eq!(seen.header(name), Some(value), "{name}");
    }
    // An absent claim is an absent header, not an empty one.
    gateway.get("/api/x").bearer(&Token::good().sign(Key::shared("ES256"))).send().expect(200);
    for name in ["x-auth-roles", "x-auth-scopes", "x-auth-email"] {
        assert_eq!(app.last().header(name), None, "{name}");
    }
    gateway.get("/public/x").send().expect(200);
    assert!(app.last().headers.iter().all(|(n, _)| !n.to_lowercase().starts_with("x-auth")));
}

/// The claim `name` and what its header must read.
#[test]
fn values_are_encoded_so_that_they_are_read_one_way() {
    let app = Upstream::start();
    let setup = Setup::standard(&app).set("identity.headers", "\"X-Name\"", "\"name\"").set(
        "identity.headers",
        "\"X-Org\"",
        "\"/org/id\"",
    );
    let gateway = Gateway::start(&setup);
    let send = |name: &str, value: &Value| {
        let token = Token::good().claim(name, value.clone()).sign(Key::shared("ES256"));
        gateway.get("/api/x").bearer(&token).send()
    };
    for (value, arrives) in [
        (json!("plain"), "plain"),
        (json!("two words"), "two words"),
        (json!("50%"), "50%25"),
        (json!("%41"), "%2541"),
        (json!("Zoë"), "Zo%C3%AB"),
        (json!("日本"), "%E6%97%A5%E6%9C%AC"),
        (json!("a,b"), "a,b"),
        (json!("\"q\" \\ ~"), "\"q\" \\ ~"),
        (json!(["a", "b"]), "a,b"),
        (json!(["a,b", "c"]), "a%2Cb,c"),
        (json!(["ö", "%"]), "%C3%B6,%25"),
        (json!(42), "42"),
        (json!(true), "true"),
    ] {
        send("name", &value).expect(200);
        let seen = app.last();
        assert_eq!(seen.header("x-name").map(str::trim), Some(arrives), "{value}");
    }
    send("org", &json!({"id": "acme"})).expect(200);
    assert_eq!(app.last().header("x-org"), Some("acme"));
    app.forget();
    // R25, GHSA-w5w5: a control character would be a second header.
    for bad in ["a\r\nX-Auth-Roles: admin", "a\nb", "a\rb", "a\0b", "a\tb", "a\u{7f}b", "\u{1b}[2J"]
    {
        send("name", &json!(bad)).refused(401);
        send("name", &json!(["fine", bad])).refused(401);
        send("sub", &json!(bad)).refused(401);
    }
    app.saw_nothing("control characters");
}

/// Each header exactly once, whatever the client sent besides.
#[test]
fn each_header_is_set_once() {
    let app = Upstream::start();
    let gateway = Gateway::standard(&app);
    let token = Token::good().roles(&["user"]).sign(Key::shared("ES256"));
    let request = gateway.get("/api/x").bearer(&token);
    let forged = request.header("X-Auth-Roles", "admin").header("x-auth-roles", "admin");
    forged.header("X_AUTH_ROLES", "admin").header("X-Auth-Subject", "root").send().expect(200);
    let seen = app.last();
    assert_eq!(seen.all("x-auth-roles"), ["user"]);
    assert_eq!(seen.all("x-auth-subject"), ["alice"]);
    assert!(!format!("{:?}", seen.headers).contains("root"));
}

/// Presets: the names that upstreams of other gateways read already.
#[test]
fn presets() {
    let app = Upstream::start();
    for (preset, subject) in [("oauth2-proxy", "x-forwarded-user"), ("authelia", "remote-user")] {
        let setup = Setup::standard(&app).set("identity", "preset", &format!("\"{preset}\""));
        let gateway = Gateway::start(&setup);
        let token = Token::good().roles(&["a", "b"]).claim("email", "a@example.com");
        let request = gateway.get("/api/x").bearer(&token.sign(Key::shared("ES256")));
        request.header(subject, "root").send().expect(200);
        let seen = app.last();
        assert_eq!(seen.header(subject), Some("alice"), "{preset}");
        gateway.get("/public/x").header(subject, "root").send().expect(200);
        assert_eq!(app.last().header(subject), None, "{preset}");
    }
    for preset in ["envoy", "kong"] {
        let setup = Setup::standard(&app).set("identity", "preset", &format!("\"{preset}\""));
        let gateway = Gateway::start(&setup);
        let before = {
            gateway.get("/public/x").send().expect(200);
            app.last().headers.len()
        };
        let token = Token::good().sign(Key::shared("ES256"));
        gateway.get("/api/x").bearer(&token).send().expect(200);
        assert!(app.last().headers.len() > before + 1, "{preset}: {:?}", app.last().headers);
    }
}

/// A configured header map replaces nothing that the guard strips.
#[test]
fn own_header_names() {
    let app = Upstream::start();
    let setup = Setup::standard(&app).set("identity.headers", "\"Remote-User\"", "\"sub\"");
    let gateway = Gateway::start(&setup);
    let token = Token::good().sign(Key::shared("ES256"));
    gateway.get("/api/x").bearer(&token).header("Remote-User", "root").send().expect(200);
    assert_eq!(app.last().all("remote-user"), ["alice"]);
    gateway.get("/public/x").header("Remote_User", "root").send().expect(200);
    assert!(!format!("{:?}", app.last().headers).contains("root"));
}
