//! Rate limits (R40; contract: `[[routes]] limits`, "Body-field limits", `[auth_failures]`): 429
//! before the upstream, Retry-After in whole seconds, and the RateLimit fields.

use serde_json::json;

use crate::harness::client::{Answer, Request};
use crate::harness::gateway::Gateway;
use crate::harness::h2::H2;
use crate::harness::keys::Key;
use crate::harness::setup::{HOST, Setup};
use crate::harness::tokens::Token;
use crate::harness::upstream::{After, Upstream, reply};

/// A gateway with one open route `/login` that has these limits.
fn limited(app: &Upstream, limits: &str) -> Gateway {
    let lines = format!("path = \"/login\"\nauth = \"none\"\nlimits = [{limits}]");
    Gateway::start(&Setup::standard(app).route("login", &lines))
}

/// 429 as the contract says.
fn too_many(answer: Answer, context: &str) {
    assert_eq!(answer.status, 429, "{context}: {}", answer.text());
    let answer = answer.refused(429);
    let wait = answer.header("retry-after").expect("Retry-After").to_owned();
    assert!(wait.parse::<u32>().is_ok_and(|s| s >= 1), "{context}: whole seconds, not {wait}");
    // draft-ietf-httpapi-ratelimit-headers: quota and window; remaining and reset.
    let policy = answer.header("ratelimit-policy").expect("RateLimit-Policy");
    assert!(policy.contains(";q=") && policy.contains(";w="), "{context}: {policy}");
    let limit = answer.header("ratelimit").expect("RateLimit");
    assert!(limit.contains(";r=0") && limit.contains(";t="), "{context}: {limit}");
}

/// Sends `request` until it has been let through `times`, and then asserts 429.
fn times(request: &Request, app: &Upstream, times: usize, context: &str) {
    app.forget();
    for n in 0..times {
        let answer = request.send();
        assert_eq!(answer.status, 200, "{context}: request {n}: {}", answer.text());
    }
    too_many(request.send(), context);
    too_many(request.send(), context);
    assert_eq!(app.count(), times, "{context}: counted before the upstream");
}

#[test]
fn by_client() {
    let app = Upstream::start();
    let gateway = limited(&app, "{ by = \"client\", rate = \"4/1h\" }");
    times(&gateway.post("/login"), &app, 4, "by client");
    // R40: all methods, the same path however it is spelled, every protocol.
    too_many(gateway.get("/login").send(), "another method");
    too_many(gateway.get("/login/").send(), "trailing slash");
    too_many(gateway.get("/%6Cogin").send(), "encoded");
    too_many(gateway.get("/login?x=1").send(), "with a query");
    let h2 = H2::connect(gateway.address("https"), HOST);
    too_many(h2.get("/login", None).unwrap(), "over HTTP/2");
    // A forged address is no other client.
    let forged = gateway.get("/login").header("X-Forwarded-For", "203.0.113.7");
    too_many(forged.send(), "forged X-Forwarded-For");
    gateway.get("/public/x").send().expect(200);
}

#[test]
fn by_true_client_address_behind_a_trusted_proxy() {
    let app = Upstream::start();
    let lines =
        "path = \"/login\"\nauth = \"none\"\nlimits = [{ by = \"client\", rate = \"2/1h\" }]";
    let setup = Setup::standard(&app)
        .set("listen", "trusted_proxies", "[\"127.0.0.1/32\"]")
        .route("login", lines);
    let gateway = Gateway::start(&setup);
    let from = |chain: &str| gateway.post("/login").header("X-Forwarded-For", chain);
    times(&from("203.0.113.1"), &app, 2, "one client");
    times(&from("203.0.113.2"), &app, 2, "another client");
    // What the client itself wrote left of its address changes nothing.
    too_many(from("198.51.100.9, 203.0.113.1").send(), "right-most untrusted");
    // IPv6 by /64: a client has more addresses than anyone can count.
    times(&from("2001:db8:1:2::1"), &app, 2, "IPv6");
    too_many(from("2001:db8:1:2:ffff::9").send(), "the same /64");
    from("2001:db8:1:3::1").send().expect(200);
}

#[test]
fn by_header() {
    let app = Upstream::start();
    let gateway = limited(&app, "{ by = \"header:X-Api-Key\", rate = \"2/1h\" }");
    let with = |key: &str| gateway.post("/login").header("X-Api-Key", key);
    times(&with("a"), &app, 2, "key a");
    times(&with("b"), &app, 2, "key b");
    times(&gateway.post("/login"), &app, 2, "without the header");
}

#[test]
fn by_json_field() {
    let app = Upstream::start();
    let gateway = limited(&app, "{ by = \"client+json:/user/email\", rate = \"2/1h\" }");
    let login = |email: &str| {
        gateway.post("/login").json(&json!({"user": {"email": email}, "password": "x"}))
    };
    times(&login("alice@example.com"), &app, 2, "alice");
    times(&login("bob@example.com"), &app, 2, "bob");
    // Trimmed, NFKC-normalised, lower-cased: the same account.
    for email in ["Alice@Example.com", "  alice@example.com ", "ａlice@example.com"] {
        too_many(login(email).send(), email);
    }
    // Escapes are the same text.
    let escaped = r#"{"user":{"email":"\u0061lice@example.com"}}"#;
    let request = gateway.post("/login").header("Content-Type", "application/json");
    too_many(request.body(escaped).send(), "escaped");
    // The original bytes arrive.
    let odd = "{ \"user\" : {\"email\":\"Carol@X\"}, \"n\": 1e2 }";
    let request = gateway.post("/login").header("Content-Type", "application/json; charset=utf-8");
    request.body(odd).send().expect(200);
    assert_eq!(app.last().body, odd.as_bytes());
}

#[test]
fn bodies_that_hide_the_field() {
    let app = Upstream::start();
    let gateway = limited(&app, "{ by = \"json:/email\", rate = \"100/1h\" }");
    let json = |body: &str| {
        let request = gateway.post("/login").header("Content-Type", "application/json");
        request.body(body).send()
    };
    for (source, status, answer) in [
        ("missing", 400, json("{}")),
        ("null", 400, json(r#"{"email":null}"#)),
        ("number", 400, json(r#"{"email":1}"#)),
        ("array", 400, json(r#"{"email":["a"]}"#)),
        ("duplicate", 400, json(r#"{"email":"a","email":"b"}"#)),
        ("duplicate by escape", 400, json(r#"{"email":"a","\u0065mail":"b"}"#)),
        ("not JSON", 400, json("email=a")),
        ("trailing data", 400, json(r#"{"email":"a"} {"email":"b"}"#)),
        ("empty", 400, json("")),
        ("too big", 413, json(&format!(r#"{{"email":"a","x":"{}"}}"#, "x".repeat(9000)))),
        ("form instead", 415, gateway.post("/login").form("email=a").send()),
        ("no type", 415, gateway.post("/login").body(r#"{"email":"a"}"#).send()),
        (
            "compressed",
            415,
            gateway
                .post("/login")
                .header("Content-Type", "application/json")
                .header("Content-Encoding", "gzip")
                .body("x")
                .send(),
        ),
    ] {
        assert_eq!(answer.status, status, "{source}: {}", answer.text());
        app.saw_nothing(source);
    }
}

#[test]
fn by_form_field() {
    let app = Upstream::start();
    let gateway = limited(&app, "{ by = \"form:user\", rate = \"2/1h\" }");
    times(&gateway.post("/login").form("user=alice&password=1"), &app, 2, "alice");
    for same in ["password=2&user=ALICE", "user=%61lice", "user=+alice+&x"] {
        too_many(gateway.post("/login").form(same).send(), same);
    }
    gateway.post("/login").form("user=bob").send().expect(200);
    app.forget();
    for bad in ["password=1", "user=a&user=b", ""] {
        gateway.post("/login").form(bad).send().refused(400);
    }
    app.saw_nothing("forms that hide the field");
}

/// Limits by claim come after authorisation: a stranger cannot use up somebody's quota.
#[test]
fn by_claim() {
    let app = Upstream::start();
    let lines = "path = \"/paid/*\"\nlimits = [{ by = \"claim:sub\", rate = \"3/1h\" }]";
    let gateway = Gateway::start(&Setup::standard(&app).route("paid", lines));
    let token = |sub: &str| Token::good().claim("sub", sub).sign(Key::shared("ES256"));
    let forged = Token::good().sign(&Key::generate("ES256", "shared-ES256"));
    for _ in 0..5 {
        gateway.get("/paid/x").bearer(&forged).send().refused(401);
    }
    times(&gateway.get("/paid/x").bearer(&token("alice")), &app, 3, "alice");
    too_many(gateway.get("/paid/y").bearer(&token("alice")).send(), "alice with another token");
    gateway.get("/paid/x").bearer(&token("bob")).send().expect(200);
}

/// The first limit that is full decides, and each counts for itself.
#[test]
fn several_limits_on_one_route() {
    let app = Upstream::start();
    let limits =
        "{ by = \"header:X-Account\", rate = \"2/1h\" }, { by = \"client\", rate = \"3/1h\" }";
    let gateway = limited(&app, limits);
    let with = |account: &str| gateway.post("/login").header("X-Account", account);
    times(&with("a"), &app, 2, "account");
    with("b").send().expect(200);
    too_many(with("c").send(), "client");
}

/// `count = "failures"`: the upstream's 401 and 403 count, its successes are given back.
#[test]
fn failures_only() {
    let app = Upstream::with(|seen, stream| {
        let right = seen.header("x-password") == Some("right");
        reply(stream, if right { "200 OK" } else { "401 Unauthorized" }, &[], "");
        After::Keep
    });
    let gateway = limited(&app, "{ by = \"client\", rate = \"3/1h\", count = \"failures\" }");
    let login = |password: &str| gateway.post("/login").header("X-Password", password).send();
    for _ in 0..10 {
        login("right").expect(200);
    }
    for _ in 0..3 {
        login("wrong").expect(401);
    }
    app.forget();
    too_many(login("wrong"), "after three failures");
    too_many(login("right"), "even with the right password");
    app.saw_nothing("after three failures");
}

/// A burst must not slip through between the question and the count.
#[test]
fn a_burst_of_failures_does_not_exceed_the_quota() {
    let app = Upstream::with(|_, stream| {
        std::thread::sleep(std::time::Duration::from_millis(200));
        reply(stream, "401 Unauthorized", &[], "");
        After::Keep
    });
    let gateway = limited(&app, "{ by = \"client\", rate = \"5/1h\", count = \"failures\" }");
    let mut connections: Vec<_> = (0..60).map(|_| gateway.https().connect()).collect();
    let request = gateway.post("/login");
    for connection in &mut connections {
        connection.write(&request.bytes());
    }
    for connection in &mut connections {
        let answer = connection.answer("POST");
        assert!([401, 429].contains(&answer.status), "{}", answer.status);
    }
    assert!(app.count() <= 5, "the upstream saw {} attempts", app.count());
}

/// `[auth_failures]`: asked between cache and signature; a valid, cached token always passes.
#[test]
fn failed_verifications() {
    let app = Upstream::start();
    let setup = Setup::standard(&app).set("auth_failures", "rate", "\"5/1h\"");
    let gateway = Gateway::start(&setup);
    let key = Key::shared("ES256");
    let cached = Token::good().sign(key);
    let send = |token: &str| gateway.get("/api/x").bearer(token).send();
    // Both workers of the gateway may keep their own cache: warm each.
    for _ in 0..10 {
        send(&cached).expect(200);
    }
    // Not counted: absent, expired, revoked.
    let revoked = Token::good();
    gateway.revoke_jti(revoked.jti());
    let (revoked, expired) = (revoked.sign(key), Token::good().claim("exp", 1).sign(key));
    for _ in 0..10 {
        gateway.get("/api/x").send().refused(401);
        send(&revoked).refused(401);
        send(&expired).refused(401);
    }
    app.forget();
    let forger = Key::generate("ES256", &key.kid);
    for bad in [
        Token::good().sign(&forger),
        Token::good().header("kid", "x").sign(key),
        Token::good().claim("iss", "https://evil.test").sign(key),
        "malformed".to_owned(),
        Token::good().header("alg", "HS256").sign(key),
    ] {
        send(&bad).refused(401);
    }
    let answer = send(&Token::good().sign(&forger)).refused(429);
    assert!(answer.header("retry-after").is_some());
    app.saw_nothing("failed verifications");
    send(&cached).expect(200);
    gateway.get("/public/x").send().expect(200);
}
