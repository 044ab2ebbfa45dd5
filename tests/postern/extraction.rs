//! Where a token may be, and where not (R14, R15; RFC 6750 §2, §3; RFC 9110 §5.3).

use crate::harness::client::Answer;
use crate::harness::gateway::Gateway;
use crate::harness::keys::Key;
use crate::harness::setup::Setup;
use crate::harness::tokens::Token;
use crate::harness::upstream::Upstream;

fn challenge(answer: &Answer) -> &str {
    answer.header("www-authenticate").expect("WWW-Authenticate")
}

/// No token at all: 401 and a challenge without `error` (RFC 6750 §3.1).
fn no_token(answer: Answer) {
    let answer = answer.refused(401);
    assert!(challenge(&answer).starts_with("Bearer"), "{}", challenge(&answer));
    assert!(!challenge(&answer).contains("error"), "{}", challenge(&answer));
}

#[test]
fn requests_without_a_token() {
    let app = Upstream::start();
    let gateway = Gateway::standard(&app);
    let token = Token::good().sign(Key::shared("ES256"));
    no_token(gateway.get("/api/x").send());
    no_token(gateway.get("/api/x").header("Authorization", "Basic YTpi").send());
    no_token(gateway.get("/api/x").header("Authorization", "Digest username=x").send());
    // R14: a token elsewhere is no token.
    no_token(gateway.get(&format!("/api/x?access_token={token}")).send());
    no_token(gateway.get("/api/x").header("Cookie", &format!("token={token}")).send());
    no_token(gateway.get("/api/x").header("X-Access-Token", &token).send());
    no_token(gateway.post("/api/x").form(&format!("access_token={token}")).send());
    no_token(
        gateway.get("/api/x").header("Proxy-Authorization", &format!("Bearer {token}")).send(),
    );
    app.saw_nothing("requests without a token");
}

#[test]
fn the_scheme_is_read_in_any_case() {
    let app = Upstream::start();
    let gateway = Gateway::standard(&app);
    let token = Token::good().sign(Key::shared("ES256"));
    for scheme in ["Bearer", "bearer", "BEARER", "bEaReR"] {
        let request = gateway.get("/api/x").header("Authorization", &format!("{scheme} {token}"));
        request.send().expect(200);
        assert!(app.last().header("authorization").unwrap().ends_with(&token));
    }
}

/// Malformed or doubled credentials: 400 `invalid_request` or, where it is just a bad token, 401.
#[test]
fn doubtful_credentials() {
    let app = Upstream::start();
    let gateway = Gateway::standard(&app);
    let token = Token::good().sign(Key::shared("ES256"));
    let other = Token::good().sign(Key::shared("ES256"));
    let twice = |first: &str, second: &str| {
        let request = gateway.get("/api/x").header("Authorization", first);
        request.header("Authorization", second).send().refused(400)
    };
    let bearer = format!("Bearer {token}");
    let answer = twice(&bearer, &format!("Bearer {other}"));
    assert!(challenge(&answer).contains("error=\"invalid_request\""), "{}", challenge(&answer));
    twice(&bearer, &bearer);
    twice(&bearer, "Basic YTpi");
    twice("Basic YTpi", &bearer);
    for value in [
        "Bearer".to_owned(),
        "Bearer ".to_owned(),
        format!("Bearer  {token} x"),
        format!("Bearer {token}, Bearer {other}"),
        format!("Bearer {token},{other}"),
        format!("Bearer: {token}"),
        format!("Bearer\"{token}\""),
        format!("Bearer token={token}"),
        format!("Bearer {token} "),
    ] {
        let answer = gateway.get("/api/x").header("Authorization", &value).send();
        // The last row's trailing space is removed by HTTP itself (RFC 9110 §5.5).
        let fine = value.ends_with(' ') && value.len() > 10 && answer.status == 200;
        assert!(fine || [400, 401].contains(&answer.status), "{value:.40}: {}", answer.status);
        if !fine {
            app.saw_nothing(&value);
        }
    }
}

/// `auth = "none"`: Authorization passes unverified; `optional`: none is anonymous, bad is 401.
#[test]
fn public_and_optional_routes() {
    let app = Upstream::start();
    let setup = Setup::standard(&app).route("maybe", "path = \"/maybe\"\nauth = \"optional\"");
    let gateway = Gateway::start(&setup);
    gateway.get("/public/x").header("Authorization", "Basic YTpi").send().expect(200);
    assert_eq!(app.last().header("authorization"), Some("Basic YTpi"));
    gateway.get("/public/x").bearer("not.a.token").send().expect(200);
    assert_eq!(app.last().header("x-auth-subject"), None);

    gateway.get("/maybe").send().expect(200);
    assert_eq!(app.last().header("x-auth-subject"), None);
    gateway.get("/maybe").bearer(&Token::good().sign(Key::shared("ES256"))).send().expect(200);
    assert_eq!(app.last().header("x-auth-subject"), Some("alice"));
    app.forget();
    let expired = Token::good().claim("exp", 1).sign(Key::shared("ES256"));
    gateway.get("/maybe").bearer(&expired).send().refused(401);
    gateway.get("/maybe").bearer("not.a.token").send().refused(401);
    app.saw_nothing("a bad token on an optional route");
}

#[test]
fn tokens_in_cookies() {
    let app = Upstream::start();
    let setup = Setup::standard(&app)
        .route("web", "path = \"/web/*\"\ntoken = { cookie = \"session\" }\ncsrf = \"off\"");
    let gateway = Gateway::start(&setup);
    let token = Token::good().sign(Key::shared("ES256"));
    let cookie = |value: &str| gateway.get("/web/x").header("Cookie", value).send();
    cookie(&format!("a=1; session={token}; b=\"2\"")).expect(200);
    let seen = app.last();
    assert_eq!(seen.header("x-auth-subject"), Some("alice"));
    assert_eq!(seen.header("cookie"), Some("a=1; b=\"2\""), "the token's cookie is removed");
    cookie(&format!("session={token}")).expect(200);
    assert_eq!(app.last().header("cookie"), None);

    app.forget();
    no_token(cookie("a=1"));
    cookie("session=nonsense").refused(401);
    cookie(&format!("session={token}; session=x")).refused(400);
    cookie(&format!("session=x; a=1; session={token}")).refused(400);
    let both = gateway.get("/web/x").header("Cookie", &format!("session={token}"));
    both.bearer(&token).send().refused(400);
    // A cookie of another name in another spelling is not the token's.
    no_token(cookie(&format!("Session={token}")));
    app.saw_nothing("doubtful cookies");
}

/// CSRF (`csrf = "origin"`): a cookie-borne token with an unsafe method.
#[test]
fn cookies_and_origins() {
    let app = Upstream::start();
    let setup = Setup::standard(&app)
        .set("listen", "public_url", "\"https://api.test\"")
        .route("web", "path = \"/web/*\"\ntoken = { cookie = \"session\" }");
    let gateway = Gateway::start(&setup);
    let token = Token::good().sign(Key::shared("ES256"));
    let send = |method: &str, fields: &[(&str, &str)]| {
        let request = gateway.request(method, "/web/x");
        let mut request = request.header("Cookie", &format!("session={token}"));
        for (name, value) in fields {
            request = request.header(name, value);
        }
        request.send()
    };
    send("GET", &[]).expect(200);
    send("GET", &[("Origin", "https://evil.test")]).expect(200);
    send("POST", &[("Origin", "https://api.test")]).expect(200);
    send("POST", &[("Sec-Fetch-Site", "same-origin")]).expect(200);
    app.forget();
    for fields in [
        &[][..],
        &[("Origin", "https://evil.test")],
        &[("Origin", "null")],
        &[("Origin", "http://api.test")],
        &[("Origin", "https://api.test:444")],
        &[("Origin", "https://api.test.evil.test")],
        &[("Origin", "https://sub.api.test")],
        &[("Origin", "")],
        &[("Sec-Fetch-Site", "cross-site")],
        &[("Sec-Fetch-Site", "same-site")],
        &[("Origin", "https://api.test"), ("Origin", "https://evil.test")],
        &[("Origin", "https://evil.test"), ("Sec-Fetch-Site", "same-origin")],
    ] {
        for method in ["POST", "PUT", "DELETE", "PATCH"] {
            let answer = send(method, fields).refused(403);
            assert_eq!(answer.header("www-authenticate"), None, "not on a CSRF 403");
        }
    }
    app.saw_nothing("foreign origins");
    // A token in Authorization is not sent by a browser on its own.
    let request = gateway.post("/web/x").bearer(&token).header("Origin", "https://evil.test");
    request.send().expect(200);
}

#[test]
fn tokens_in_the_query() {
    let app = Upstream::start();
    let setup = Setup::standard(&app)
        .route("feed", "path = \"/feed\"\ntoken = { query = \"access_token\" }");
    let gateway = Gateway::start(&setup);
    let token = Token::good().sign(Key::shared("ES256"));
    for (sent, arrives) in [
        (format!("/feed?access_token={token}"), "/feed"),
        (format!("/feed?a=%2F&access_token={token}&b=+"), "/feed?a=%2F&b=+"),
        (format!("/feed?access_token={token}&&x"), "/feed?&x"),
    ] {
        gateway.get(&sent).send().expect(200);
        let target = app.last().target;
        assert_eq!(target.trim_end_matches('?'), arrives, "removed before forwarding");
    }
    app.forget();
    gateway.get(&format!("/feed?access_token={token}&access_token=x")).send().refused(400);
    gateway.get(&format!("/feed?access_token={token}")).bearer(&token).send().refused(400);
    no_token(gateway.get("/feed?x=1").send());
    app.saw_nothing("doubtful query tokens");
}

#[test]
fn tokens_are_forwarded_or_not() {
    let app = Upstream::start();
    let setup = Setup::standard(&app).route("quiet", "path = \"/quiet\"\nforward_token = false");
    let gateway = Gateway::start(&setup);
    let token = Token::good().sign(Key::shared("ES256"));
    gateway.get("/api/x").bearer(&token).send().expect(200);
    assert_eq!(app.last().header("authorization"), Some(&*format!("Bearer {token}")));
    gateway.get("/quiet").bearer(&token).send().expect(200);
    let seen = app.last();
    assert_eq!(seen.header("authorization"), None);
    assert!(!format!("{seen:?}").contains(&token));
    assert_eq!(seen.header("x-auth-subject"), Some("alice"));
}

/// R15: the answer is the same, whatever was wrong.
#[test]
fn refusals_do_not_say_why() {
    let app = Upstream::start();
    let gateway = Gateway::standard(&app);
    let key = Key::shared("ES256");
    let revoked = Token::good();
    gateway.revoke_jti(revoked.jti());
    let mut answers = Vec::new();
    for token in [
        Token::good().claim("exp", 1).sign(key),
        Token::good().claim("aud", "x").sign(key),
        Token::good().sign(&Key::generate("ES256", &key.kid)),
        Token::good().header("kid", "unknown").sign(key),
        revoked.sign(key),
        "nonsense".to_owned(),
    ] {
        let mut answer = gateway.get("/api/x").bearer(&token).send().refused(401);
        let id = answer.header("x-request-id").unwrap().to_owned();
        let body = answer.text().replace(&id, "ID");
        answer
            .headers
            .retain(|(name, _)| !["x-request-id", "date"].contains(&name.to_lowercase().as_str()));
        answers.push((answer.headers, body));
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "{answers:#?}");
}
