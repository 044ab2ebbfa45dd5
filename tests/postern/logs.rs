//! What is written down and what never is (R53, invariant 7).

use serde_json::Value;

use crate::harness::client::Answer;
use crate::harness::gateway::Gateway;
use crate::harness::keys::Key;
use crate::harness::redis::Redis;
use crate::harness::setup::Setup;
use crate::harness::soon;
use crate::harness::tokens::Token;
use crate::harness::upstream::{After, Upstream, reply};

fn line(gateway: &Gateway, answer: &Answer) -> Value {
    gateway.access_line(answer.header("x-request-id").expect("X-Request-Id"))
}

/// One JSON line a request, with what the person on call needs.
#[test]
fn one_access_line_per_request() {
    let app = Upstream::start();
    let gateway = Gateway::standard(&app);
    let token = Token::good();
    let signed = token.sign(Key::shared("ES256"));
    let good = gateway.get("/api/items?page=2").bearer(&signed).send().expect(200);
    let entry = line(&gateway, &good);
    for (name, value) in [
        ("event", "access"),
        ("http.request.method", "GET"),
        ("http.route", "api"),
        ("url.path", "/api/items"),
        ("client.address", "127.0.0.1"),
        ("auth.result", "allowed"),
        ("user.id", "alice"),
        // Operators revoke from a log line.
        ("token.jti", token.jti()),
    ] {
        assert_eq!(entry[name], value, "{entry}");
    }
    assert_eq!(entry["http.response.status_code"], 200, "{entry}");
    assert!(entry["duration_ms"].as_f64().is_some_and(|ms| ms > 0.0), "{entry}");
    let refused = gateway.get("/nowhere").send().refused(404);
    assert_eq!(line(&gateway, &refused)["http.response.status_code"], 404);
    let lines = gateway.access_log().len();
    for _ in 0..10 {
        gateway.get("/public/x").send().expect(200);
    }
    soon("ten more lines", || gateway.access_log().len() == lines + 10);
}

/// The client is not told which check failed; the log line is.
#[test]
fn the_log_says_why() {
    let app = Upstream::start();
    let gateway = Gateway::standard(&app);
    let key = Key::shared("ES256");
    let revoked = Token::good();
    gateway.revoke_jti(revoked.jti());
    let mut reasons = Vec::new();
    for token in [
        Token::good().claim("exp", 1).sign(key),
        Token::good().claim("aud", "x").sign(key),
        Token::good().claim("iss", "x").sign(key),
        Token::good().sign(&Key::generate("ES256", &key.kid)),
        Token::good().header("kid", "unknown").sign(key),
        Token::good().claim("nbf", 4_000_000_000i64).sign(key),
        revoked.sign(key),
        "nonsense".to_owned(),
    ] {
        let answer = gateway.get("/api/x").bearer(&token).send().refused(401);
        let entry = line(&gateway, &answer);
        reasons.push(entry["auth.reason"].as_str().unwrap_or_else(|| panic!("{entry}")).to_owned());
    }
    let answer = gateway.get("/api/x").send().refused(401);
    reasons.push(line(&gateway, &answer)["auth.reason"].as_str().unwrap().to_owned());
    let answer = gateway.get("/admin/x").bearer(&Token::good().sign(key)).send().refused(403);
    reasons.push(line(&gateway, &answer)["auth.reason"].as_str().unwrap().to_owned());
    let mut distinct = reasons.clone();
    distinct.sort_unstable();
    distinct.dedup();
    assert_eq!(distinct.len(), reasons.len(), "each its own reason: {reasons:?}");
    assert!(reasons.iter().all(|r| r.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')));
}

/// Everything secret that went in, at the most talkative level.
#[test]
fn no_secret_is_ever_written() {
    let app = Upstream::with(|_, stream| {
        reply(stream, "200 OK", &[("Set-Cookie", "s=cookie-from-upstream")], "");
        After::Keep
    });
    let redis = Redis::with(&["user gate on >redis-password-123 ~* +@all"]);
    let hmac = Key::secret("HS256", "h", b"hmac-secret-that-is-long-enough-to-pass");
    let limits = "limits = [{ by = \"json:/email\", rate = \"2/1h\" }]";
    let setup = Setup::standard(&app)
        .redis(&redis)
        .set("store", "username", "\"gate\"")
        .set("store", "password_file", "\"redis.password\"")
        .file("redis.password", "redis-password-123")
        .set("log", "level", "\"trace\"")
        .issuer("hmac", "issuer = \"https://hmac.test\"", &[&hmac])
        .route("login", &format!("path = \"/login\"\nauth = \"none\"\n{limits}"))
        .route("feed", "path = \"/feed\"\ntoken = { query = \"access_token\" }")
        .route("web", "path = \"/web\"\ntoken = { cookie = \"session\" }\ncsrf = \"off\"");
    let gateway = Gateway::start(&setup);
    let key = Key::shared("ES256");
    let signed: Vec<String> = vec![
        Token::good().sign(key),
        Token::good().claim("exp", 1).sign(key),
        Token::good().sign(&Key::generate("ES256", &key.kid)),
        Token::good().header("alg", "none").sign(key),
        Token::good().claim("iss", "https://hmac.test").sign(&hmac),
    ];
    for token in &signed {
        gateway.get("/api/x").bearer(token).send();
        gateway.get(&format!("/feed?access_token={token}&q=query-secret-1")).send();
        let cookie = format!("session={token}; other=cookie-secret-2");
        gateway.get("/web").header("Cookie", &cookie).send();
        gateway.get("/api//x").bearer(token).send();
        gateway.revoke(&serde_json::json!({"token": token}));
        gateway.get("/api/x").bearer(token).send();
    }
    for _ in 0..4 {
        let body = serde_json::json!({"email": "a@b.c", "password": "password-secret-3"});
        gateway.post("/login").json(&body).send();
    }
    gateway.get("/public/x").header("Authorization", "Basic basic-secret-4").send();
    gateway.get("/public/x").header("X-Api-Key", "api-key-secret-5").send();
    gateway.get("/public/x?token=query-secret-6").send().expect(200);
    let last = gateway.get("/public/end").send();
    line(&gateway, &last);

    let written = gateway.output();
    let mut secrets: Vec<String> = [
        "redis-password-123",
        "hmac-secret-that-is",
        "query-secret-1",
        "cookie-secret-2",
        "password-secret-3",
        "basic-secret-4",
        "api-key-secret-5",
        "query-secret-6",
        "cookie-from-upstream",
        "PRIVATE KEY",
    ]
    .map(str::to_owned)
    .to_vec();
    secrets.push(gateway.admin_secret());
    for token in &signed {
        secrets.extend(token.split('.').map(str::to_owned).filter(|part| part.len() > 20));
    }
    for secret in secrets {
        assert!(!written.contains(&secret), "{secret:.30} was written");
    }
}

/// Values from the outside cannot forge a line or steer a terminal.
#[test]
fn lines_cannot_be_forged() {
    let app = Upstream::start();
    let gateway = Gateway::standard(&app);
    let key = Key::shared("ES256");
    let evil = "x\",\"status\":200,\"forged\":\"yes\n{\"forged\":\"yes\"}\u{1b}[2J";
    let token = Token::good().header("kid", evil).claim("jti", evil);
    let answer = gateway.get("/api/x").bearer(&token.sign(key)).send().refused(401);
    line(&gateway, &answer);
    let agent = gateway.get("/public/x").header("User-Agent", "\"forged\":\"yes\"");
    line(&gateway, &agent.send());
    let encoded = gateway.get("/public/%22%2C%22forged%22%3A%22yes").send();
    line(&gateway, &encoded);
    for entry in gateway.access_log() {
        assert!(entry.get("forged").is_none(), "{entry}");
    }
    assert!(!gateway.settled_output().contains('\u{1b}'), "no raw escape");
}

#[test]
fn text_format_and_other_places() {
    let app = Upstream::start();
    let setup = Setup::standard(&app).set("log", "format", "\"text\"").set(
        "log",
        "access",
        "\"access.log\"",
    );
    let gateway = Gateway::start(&setup);
    let answer = gateway.get("/public/x").send();
    let id = answer.header("x-request-id").unwrap().to_owned();
    let path = gateway.dir.path().join("access.log");
    let text = || std::fs::read_to_string(&path).unwrap_or_default();
    soon("the file has the line", || text().contains(&id));
    assert_eq!(text().lines().filter(|line| line.contains(&id)).count(), 1);
    assert!(text().contains("/public/x") && text().contains("200"));
    assert!(serde_json::from_str::<Value>(text().lines().next().unwrap()).is_err(), "text");

    let quiet = Gateway::start(&Setup::standard(&app).set("log", "access", "\"off\""));
    let answer = quiet.get("/public/x").send();
    let id = answer.header("x-request-id").unwrap();
    assert!(
        !quiet
            .access_log()
            .iter()
            .any(|line| line["request_id"] == id && line["event"] == "access")
    );
}
