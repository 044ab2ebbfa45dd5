//! `POST {prefix}/revoke` (RFC 7009) and `POST {prefix}/introspect` (RFC 7662): whose tokens a
//! client may end or ask about.

use serde_json::{Value, json};

use crate::harness::client::Answer;
use crate::harness::gateway::{Gateway, run};
use crate::harness::keys::Key;
use crate::harness::oauth::{
    AUDIENCE, ISSUER, by, call, claims, granted, login, post, refused, reports, setup,
};
use crate::harness::redis::Redis;
use crate::harness::tokens::{ISSUER as MAIN, Token};
use crate::harness::upstream::Upstream;
use crate::harness::{each, soon};

fn ask(gateway: &Gateway, token: &str) -> Value {
    by(gateway, "gatekeeper", "introspect", &[("token", token)]).expect(200).json()
}

fn ask_refresh(gateway: &Gateway, token: &str) -> Value {
    let pairs = [("token", token), ("token_type_hint", "refresh_token")];
    by(gateway, "gatekeeper", "introspect", &pairs).expect(200).json()
}

fn inactive() -> Value {
    json!({ "active": false })
}

fn revoked(answer: Answer) {
    let answer = answer.expect(200);
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(answer.body, b"");
}

/// Of the issuer `main`.
fn external() -> Token {
    Token::good().claim("client_id", "billing").roles(&["a"])
}

/// RFC 7662 §2.1, §4; RFC 7009 §2.1, §5: nobody learns of tokens, or ends them, who may not.
#[test]
fn who_may_not_ask_learns_nothing() {
    let app = Upstream::start();
    let gateway = Gateway::start(&setup(&app));
    let token = granted(&gateway, "billing");
    let (access, refresh) = login(&gateway);
    let mut said = Vec::new();
    for token in [&*token, "nonsense", &access, &refresh] {
        let pairs = [("token", token)];
        for id in ["billing", "janitor", "elsewhere"] {
            said.push(refused(by(&gateway, id, "introspect", &pairs), 403, "access_denied").json());
        }
        for answer in [
            post(&gateway, "introspect", &pairs).send(),
            post(&gateway, "introspect", &[pairs[0], ("client_id", "postern")]).send(),
            post(&gateway, "introspect", &pairs).bearer(token).send(),
            by(&gateway, "nobody", "introspect", &pairs),
            by(&gateway, "nobody", "revoke", &pairs),
            post(&gateway, "revoke", &[pairs[0], ("client_id", "billing")]).send(),
        ] {
            refused(answer, 401, "invalid_client");
        }
        let target = format!("/_postern/introspect?token={token}");
        gateway.get(&target).send().refused(405);
        let in_query = by_query(&gateway, &target);
        refused(in_query, 400, "invalid_request");
    }
    assert!(said.windows(2).all(|pair| pair[0] == pair[1]), "whatever the token");
    for endpoint in ["introspect", "revoke"] {
        let twice = [("token", &*token), ("token", "x")];
        refused(by(&gateway, "gatekeeper", endpoint, &twice), 400, "invalid_request");
        refused(by(&gateway, "gatekeeper", endpoint, &[]), 400, "invalid_request");
    }
    assert_eq!(call(&gateway, "/local/x", &token), 200, "nothing was ended");
    assert_eq!(call(&gateway, "/local/x", &access), 200);
}

fn by_query(gateway: &Gateway, target: &str) -> Answer {
    let field = crate::harness::oauth::basic("gatekeeper", &crate::harness::oauth::other().secret);
    gateway.post(target).form("x=1").header("Authorization", &field).send()
}

/// RFC 7662 §2.2.
#[test]
fn a_good_token_is_active_and_says_whose_it_is() {
    let app = Upstream::start();
    let gateway = Gateway::start(&setup(&app));
    let token = granted(&gateway, "billing");
    let own = claims(&token);
    let answer = by(
        &gateway,
        "gatekeeper",
        "introspect",
        &[("token", &token), ("token_type_hint", "access_token")],
    );
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let mut expected = own.clone();
    expected["active"] = json!(true);
    expected["token_type"] = json!("Bearer");
    assert_eq!(answer.expect(200).json(), expected);
    // Whoever it was issued for: another service asks as well.
    let elsewhere = granted(&gateway, "elsewhere");
    assert_eq!(ask(&gateway, &elsewhere)["aud"], "https://other.test");
    assert_eq!(call(&gateway, "/local/x", &elsewhere), 401);
    let (access, refresh) = login(&gateway);
    let body = ask(&gateway, &access);
    assert_eq!((&body["sub"], &body["roles"]), (&json!("alice"), &json!(["reader"])));
    assert_eq!(body["sid"], claims(&access)["sid"]);
    // Another issuer's, as the gateway itself takes it.
    let token = external();
    let body = ask(&gateway, &token.sign(Key::shared("RS256")));
    assert_eq!((&body["active"], &body["iss"]), (&json!(true), &json!(MAIN)));
    assert_eq!((&body["jti"], &body["client_id"]), (&json!(token.jti()), &json!("billing")));
    // A refresh token is good for whoever asks about refresh tokens, and for nobody else: a service
    // that takes every active token must not be shown one (RFC 7662 §4).
    assert_eq!(ask(&gateway, &refresh), inactive());
    let body = ask_refresh(&gateway, &refresh);
    assert_eq!((&body["active"], &body["sub"]), (&json!(true), &json!("alice")));
    assert_eq!((&body["client_id"], &body["iss"]), (&json!("postern"), &json!(ISSUER)));
    assert!(body.get("token_type").is_none() && body.get("aud").is_none());
    assert_eq!(ask_refresh(&gateway, &access), inactive());
}

/// Active is what would be let through: RFC 7662 §4, R41.
#[test]
fn what_would_be_refused_is_inactive() {
    let app = Upstream::start();
    let gateway = Gateway::start(&setup(&app));
    let now = crate::harness::unix_now();
    let rs = Key::shared("RS256");
    let (_, refresh) = login(&gateway);
    let (family, secret) = refresh.split_once('.').unwrap();
    each(
        [
            ("opaque", "x".to_owned()),
            ("a family with another secret", format!("{family}.{}", "A".repeat(secret.len()))),
            ("expired", external().claim("exp", now - 60).claim("iat", now - 600).sign(rs)),
            ("another audience", external().claim("aud", "https://other.test").sign(rs)),
            ("another issuer", external().claim("iss", "https://evil.test").sign(rs)),
            ("another key", external().sign(&Key::generate("RS256", "shared-RS256"))),
            ("a client's assertion", crate::harness::oauth::assertion().sign(reports())),
            ("ours, forged", external().claim("iss", ISSUER).claim("aud", AUDIENCE).sign(rs)),
            ("an ID token", external().claim("nonce", "n").sign(rs)),
        ],
        |(what, token)| {
            assert_eq!(ask(&gateway, &token), inactive(), "{what}");
            assert_eq!(ask_refresh(&gateway, &token), inactive(), "{what}");
        },
    );
    // What others send is no failure of the service that asks: no limit, whatever their number.
    let strict = setup(&app).set("auth_failures", "rate", "\"2/1h\"");
    let strict = strict.set(
        "issuing",
        "refresh_limits",
        "[{ by = \"client\", rate = \"2/1h\", count = \"failures\" }]",
    );
    let gateway = Gateway::start(&strict);
    for _ in 0..5 {
        assert_eq!(ask(&gateway, &external().sign(&Key::generate("ES256", "y"))), inactive());
    }
}

/// Revoked anywhere is inactive everywhere: two gateways on one Redis, and one alone.
#[test]
fn a_revoked_token_is_inactive_at_once() {
    let (app, redis) = (Upstream::start(), Redis::start());
    let shared = setup(&app).redis(&redis);
    let pair = [Gateway::start(&shared), Gateway::start(&shared)];
    let alone = [Gateway::start(&setup(&app))];
    for (one, two) in [(&pair[0], &pair[1]), (&pair[1], &pair[0]), (&alone[0], &alone[0])] {
        let token = granted(one, "billing");
        assert_eq!(
            (ask(two, &token)["active"].clone(), call(two, "/local/x", &token)),
            (json!(true), 200)
        );
        revoked(by(one, "billing", "revoke", &[("token", &token)]));
        assert_eq!((ask(two, &token), call(two, "/local/x", &token)), (inactive(), 401));
        // Again, and with the wrong hint (RFC 7009 §2.1).
        revoked(by(
            two,
            "billing",
            "revoke",
            &[("token", &token), ("token_type_hint", "refresh_token")],
        ));
        let external = external();
        let signed = external.sign(Key::shared("RS256"));
        assert_eq!(ask(two, &signed)["active"], true);
        one.revoke(&json!({ "jti": external.jti(), "of_issuer": MAIN })).expect(201);
        assert_eq!(ask(two, &signed), inactive());
        // The session ends with its refresh token: every token of it.
        let (access, refresh) = login(one);
        revoked(post(one, "revoke", &[("token", &refresh), ("client_id", "postern")]).send());
        assert_eq!((ask(two, &access), ask_refresh(two, &refresh)), (inactive(), inactive()));
        assert_eq!(call(two, "/local/x", &access), 401);
        let renew = [("grant_type", "refresh_token"), ("refresh_token", &*refresh)];
        refused(post(two, "token", &renew).send(), 400, "invalid_grant");
        // The access token alone: the session goes on.
        let (access, refresh) = login(one);
        revoked(post(one, "revoke", &[("token", &access)]).send());
        assert_eq!((ask(two, &access), call(two, "/local/x", &access)), (inactive(), 401));
        assert_eq!(ask_refresh(two, &refresh)["active"], true);
    }
}

/// RFC 7009 §2.1: "verifies whether the token was issued to the client making the revocation
/// request"; RFC 6819 §5.2.2.2.
#[test]
fn a_client_ends_its_own_tokens_alone() {
    let app = Upstream::start();
    let gateway = Gateway::start(&setup(&app));
    let token = granted(&gateway, "billing");
    let (access, refresh) = login(&gateway);
    // `billing` there is not `billing` here.
    let external = external().sign(Key::shared("RS256"));
    for (id, token) in [
        ("elsewhere", &token),
        ("gatekeeper", &token),
        ("billing", &access),
        ("billing", &refresh),
        ("billing", &external),
    ] {
        let answer = by(&gateway, id, "revoke", &[("token", token)]);
        let said = refused(answer, 400, "unauthorized_client").json();
        assert_eq!(said["error_description"], "the client may not revoke this token");
    }
    for token in [&token, &external] {
        refused(post(&gateway, "revoke", &[("token", token)]).send(), 400, "unauthorized_client");
    }
    for token in [&token, &access, &external] {
        assert_eq!(ask(&gateway, token)["active"], true);
    }
    assert_eq!(ask_refresh(&gateway, &refresh)["active"], true);
    // Nobody's: done already (RFC 7009 §2.2).
    for nobody in ["x", "a.b.c", &format!("{}A", &refresh), &external[..external.len() - 8]] {
        revoked(by(&gateway, "billing", "revoke", &[("token", nobody)]));
    }
    // may_revoke = "any"
    for token in [&token, &access, &external] {
        revoked(by(&gateway, "janitor", "revoke", &[("token", token)]));
        assert_eq!(ask(&gateway, token), inactive());
    }
    revoked(by(&gateway, "janitor", "revoke", &[("token", &refresh)]));
    assert_eq!(ask_refresh(&gateway, &refresh), inactive());
}

/// Operators end every token by its text, one for another service's audience too, which no route
/// takes and introspection calls active; through the gateway and, when that is down, without it.
#[test]
fn an_operator_ends_a_token_for_another_audience() {
    let (app, redis) = (Upstream::start(), Redis::start());
    let setup = setup(&app).redis(&redis);
    let gateway = Gateway::start(&setup);
    let [one, two] = [granted(&gateway, "elsewhere"), granted(&gateway, "elsewhere")];
    assert_eq!(ask(&gateway, &one)["aud"], "https://other.test");
    let forged = format!("{}AAAA", &one[..one.len() - 4]);
    gateway.revoke(&json!({ "token": forged })).expect(400);
    assert_eq!(ask(&gateway, &one)["active"], true);
    gateway.revoke(&json!({ "token": one })).expect(201);
    assert_eq!(ask(&gateway, &one), inactive());
    assert_eq!(ask(&gateway, &two)["active"], true);
    let dir = gateway.kill();
    let output = run(&dir, &["revoke", "--config", "postern.toml", "--token-file", "-"], &two);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(ask(&Gateway::start_in(dir, &setup), &two), inactive());
}

/// Who got what and who ended what is written down, and no token or secret is (invariant 7).
#[test]
fn the_audit_log_has_it() {
    let app = Upstream::start();
    let setup = setup(&app)
        .set("audit", "file", "\"audit.log\"")
        .set("audit", "key_file", "\"audit.key\"")
        .file("audit.key", "0123456789abcdef0123456789abcdef0123456789abcdef");
    let gateway = Gateway::start(&setup);
    let token = granted(&gateway, "billing");
    refused(
        by(&gateway, "billing", "token", &[("grant_type", "client_credentials"), ("scope", "x")]),
        400,
        "invalid_scope",
    );
    revoked(by(&gateway, "billing", "revoke", &[("token", &token)]));
    refused(
        by(&gateway, "nobody", "token", &[("grant_type", "client_credentials")]),
        401,
        "invalid_client",
    );
    let jti = claims(&token)["jti"].as_str().unwrap().to_owned();
    let read = || std::fs::read_to_string(gateway.dir.path().join("audit.log")).unwrap();
    soon("the denial is written", || read().contains("client_unknown"));
    let text = read();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |event: &str, outcome: &str| {
        let is = |line: &&Value| line["event"] == event && line["outcome"] == outcome;
        lines.iter().filter(is).cloned().collect::<Vec<Value>>()
    };
    let granted = of("token", "done");
    assert_eq!((granted.len(), &granted[0]["jti"]), (1, &json!(jti)), "{text}");
    assert_eq!(
        (&granted[0]["client"], &granted[0]["audience"]),
        (&json!("billing"), &json!(AUDIENCE))
    );
    assert_eq!(of("token", "refused")[0]["reason"], "client_scope");
    for outcome in ["asked", "done"] {
        let line = &of("revocation", outcome)[0];
        assert_eq!(
            (&line["client"], &line["selector"]["value"]),
            (&json!("billing"), &json!(jti)),
            "{line}"
        );
    }
    let signature = token.rsplit('.').next().unwrap();
    let secret = &crate::harness::oauth::billing().secret;
    assert!(!text.contains(signature) && !text.contains(secret.as_str()));
    let said = gateway.settled_output();
    assert!(!said.contains(signature) && !said.contains(secret.as_str()));
}
