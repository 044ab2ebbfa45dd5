//! `POST {prefix}/token` (RFC 6749): who gets a token, and who does not.

use serde_json::json;

use crate::harness::client::Answer;
use crate::harness::each;
use crate::harness::gateway::Gateway;
use crate::harness::keys::Key;
use crate::harness::oauth::{
    AUDIENCE, ISSUER, JWT_BEARER, assertion, basic, billing, by, call, claims, form, granted,
    login, other, post, refused, reports, setup, with_assertion,
};
use crate::harness::redis::Redis;
use crate::harness::tokens::Token;
use crate::harness::upstream::Upstream;

const CREDENTIALS: (&str, &str) = ("grant_type", "client_credentials");

fn secret() -> &'static str {
    &billing().secret
}

fn with_field(gateway: &Gateway, field: &str, pairs: &[(&str, &str)]) -> Answer {
    post(gateway, "token", pairs).header("Authorization", field).send()
}

/// Sources: RFC 6749 §2.3, §2.3.1, §3.2, §5.2; RFC 6819 §4.6.6 (credentials in URLs); RFC 9700
/// §2.4 (no password grant) and §2.5; CWE-436.
#[test]
fn requests_that_could_mean_two_things_are_refused() {
    let app = Upstream::start();
    let gateway = Gateway::start(&setup(&app));
    let own = basic("billing", secret());
    let (id, post_secret) = (("client_id", "billing"), ("client_secret", secret()));
    let signed = assertion().sign(reports());
    let (kind, by_key) = (("client_assertion_type", JWT_BEARER), ("client_assertion", &*signed));
    each(
        [
            // Method mix-up.
            (Some(&own), vec![CREDENTIALS, id, post_secret], "invalid_request"),
            (Some(&own), vec![CREDENTIALS, kind, by_key], "invalid_request"),
            (None, vec![CREDENTIALS, id, post_secret, kind, by_key], "invalid_request"),
            (Some(&own), vec![CREDENTIALS, ("client_id", "reports")], "invalid_request"),
            // Said twice.
            (Some(&own), vec![CREDENTIALS, CREDENTIALS], "invalid_request"),
            (Some(&own), vec![CREDENTIALS, ("scope", "a"), ("scope", "b")], "invalid_request"),
            (None, vec![CREDENTIALS, id, post_secret, post_secret], "invalid_request"),
            (None, vec![CREDENTIALS, id, ("client_secret", ""), post_secret], "invalid_request"),
            (None, vec![CREDENTIALS, kind, by_key, by_key], "invalid_request"),
            // Not said.
            (Some(&own), vec![], "invalid_request"),
            (Some(&own), vec![("grant_type", "")], "invalid_request"),
            (Some(&own), vec![("grant_type", "refresh_token")], "invalid_request"),
            // Not offered.
            (
                Some(&own),
                vec![("grant_type", "password"), ("username", "alice"), ("password", "x")],
                "unsupported_grant_type",
            ),
            (
                Some(&own),
                vec![("grant_type", "authorization_code"), ("code", "x")],
                "unsupported_grant_type",
            ),
            (None, vec![("grant_type", "Client_Credentials")], "unsupported_grant_type"),
            (
                Some(&own),
                vec![
                    ("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"),
                    ("assertion", &*signed),
                ],
                "unsupported_grant_type",
            ),
        ],
        |(field, pairs, error)| {
            let request = post(&gateway, "token", &pairs);
            let request = match field {
                Some(field) => request.header("Authorization", field),
                None => request,
            };
            refused(request.send(), 400, error);
        },
    );
    let twice = post(&gateway, "token", &[CREDENTIALS]).header("Authorization", &own);
    refused(twice.header("Authorization", &own).send(), 400, "invalid_request");
    let body = form(&[CREDENTIALS]);
    for query in [
        &*form(&[id, post_secret]),
        "client_id=billing",
        &format!("grant_type=client_credentials&access_token={signed}"),
    ] {
        let request = gateway.post(&format!("/_postern/token?{query}")).form(&body);
        refused(request.header("Authorization", &own).send(), 400, "invalid_request");
    }
    app.saw_nothing("/token is the gateway's own");
    assert!(!gateway.settled_output().contains(secret()), "invariant 7");
}

/// RFC 6749 §3.2: "The client MUST use the HTTP POST method"; design: forms only.
#[test]
fn only_forms_are_taken_and_only_posted() {
    let app = Upstream::start();
    let gateway = Gateway::start(&setup(&app));
    let own = basic("billing", secret());
    let (id, post_secret) = (("client_id", "billing"), ("client_secret", secret()));
    let body = form(&[CREDENTIALS]);
    let json = gateway.post("/_postern/token").json(&json!({ "grant_type": "client_credentials" }));
    refused(json.header("Authorization", &own).send(), 400, "invalid_request");
    let none = gateway.post("/_postern/token").header("Authorization", &own);
    refused(none.send(), 400, "invalid_request");
    for method in ["GET", "PUT"] {
        let target = format!("/_postern/token?{}", form(&[CREDENTIALS, id, post_secret]));
        let answer = gateway.request(method, &target).header("Content-Length", "0").send();
        assert_eq!(answer.refused(405).header("allow"), Some("POST"));
    }
    let large = format!("{body}&x={}", "y".repeat(20_000));
    gateway.post("/_postern/token").form(&large).send().refused(413);
    app.saw_nothing("/token is the gateway's own");
    assert!(!gateway.settled_output().contains(secret()), "invariant 7");
}

/// RFC 6749 §5.2: 401 with the scheme; RFC 6819 §4.3.1, §5.1.4.2.2: nothing tells which it was.
#[test]
fn whoever_is_not_a_client_gets_nothing() {
    let app = Upstream::start();
    let gateway = Gateway::start(&setup(&app));
    let basic_of =
        |id: &str, secret: &str| with_field(&gateway, &basic(id, secret), &[CREDENTIALS]);
    let wrong = &other().secret;
    let mut said = Vec::new();
    for answer in [
        basic_of("billing", wrong),
        basic_of("nobody", wrong),
        basic_of("billing", ""),
        basic_of("Billing", secret()),
        basic_of("billing ", secret()),
        basic_of("reports", secret()),
        basic_of("postern", ""),
        basic_of("client:billing", secret()),
        with_field(&gateway, &format!("Bearer {}", secret()), &[CREDENTIALS]),
        with_field(&gateway, "Basic !!!", &[CREDENTIALS]),
        with_field(
            &gateway,
            &basic("billing", secret()).replace("Basic", "Basicx"),
            &[CREDENTIALS],
        ),
        post(&gateway, "token", &[CREDENTIALS]).send(),
        post(&gateway, "token", &[CREDENTIALS, ("client_id", "billing")]).send(),
        post(&gateway, "token", &[CREDENTIALS, ("client_id", "postern")]).send(),
        post(&gateway, "token", &[CREDENTIALS, ("client_secret", secret())]).send(),
        post(
            &gateway,
            "token",
            &[CREDENTIALS, ("client_id", "reports"), ("client_secret", secret())],
        )
        .send(),
    ] {
        said.push(refused(answer, 401, "invalid_client").json());
    }
    assert!(said.windows(2).all(|pair| pair[0] == pair[1]), "one answer for every cause");
    let only_key = [CREDENTIALS, ("client_assertion", "a.b.c")];
    refused(post(&gateway, "token", &only_key).send(), 400, "invalid_request");
    let said = gateway.settled_output();
    assert!(!said.contains(secret()) && !said.contains(wrong));
}

#[test]
fn a_secret_is_worth_a_token() {
    let app = Upstream::start();
    let gateway = Gateway::start(&setup(&app));
    let in_body = [CREDENTIALS, ("client_id", "billing"), ("client_secret", secret())];
    for answer in [
        by(&gateway, "billing", "token", &[CREDENTIALS]),
        by(&gateway, "billing", "token", &[CREDENTIALS, ("client_id", "billing")]),
        post(&gateway, "token", &in_body).send(),
    ] {
        let answer = answer.expect(200);
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        assert_eq!(answer.header("pragma"), Some("no-cache"));
        assert_eq!(answer.header("content-type"), Some("application/json"));
        let body = answer.json();
        let expected = ["access_token", "expires_in", "scope", "token_type"];
        let names: Vec<&String> = body.as_object().unwrap().keys().collect();
        assert_eq!(names, expected, "no refresh token (RFC 6749 4.4.3)");
        assert_eq!((&body["token_type"], &body["expires_in"]), (&json!("Bearer"), &json!(900)));
        let token = body["access_token"].as_str().unwrap();
        let claims = claims(token);
        assert_eq!(claims["sub"], "client:billing");
        assert_eq!((&claims["client_id"], &claims["aud"]), (&json!("billing"), &json!(AUDIENCE)));
        assert_eq!((&claims["iss"], &claims["roles"]), (&json!(ISSUER), &json!(["biller"])));
        assert_eq!(claims["scope"], "orders:read orders:write");
        assert_eq!(claims["permissions"], json!(["orders"]));
        assert!(claims.get("sid").is_none());
        assert_eq!(call(&gateway, "/billers/x", token), 200);
        assert_eq!(app.last().header("x-auth-subject"), Some("client:billing"));
        assert_eq!(call(&gateway, "/api/x", token), 401, "another issuer's route");
    }
}

/// RFC 6749 §3.3, RFC 8707 §2, RFC 9700 §2.3: less, never more.
#[test]
fn scope_and_audience_are_narrowed_only() {
    let app = Upstream::start();
    let gateway = Gateway::start(&setup(&app));
    let ask = |pairs: &[(&str, &str)]| {
        by(&gateway, "billing", "token", &[&[CREDENTIALS], pairs].concat())
    };
    let body = ask(&[("scope", "orders:read")]).expect(200).json();
    assert_eq!(body["scope"], "orders:read");
    let token = body["access_token"].as_str().unwrap();
    assert_eq!(claims(token)["scope"], "orders:read");
    assert_eq!(call(&gateway, "/billers/x", token), 403, "the other scope is required");
    for scope in ["admin", "orders:read admin", "openid", "orders:write  orders:read"] {
        refused(ask(&[("scope", scope)]), 400, "invalid_scope");
    }
    ask(&[("resource", AUDIENCE)]).expect(200);
    for other in ["https://reports.test", "https://api.test/", "https://API.test"] {
        refused(ask(&[("resource", other)]), 400, "invalid_target");
        refused(ask(&[("resource", AUDIENCE), ("audience", other)]), 400, "invalid_target");
    }
    // Two audiences, one, and one that is not the gateway's.
    let of = |pairs: &[(&str, &str)]| {
        let signed = assertion().sign(reports());
        let own =
            [CREDENTIALS, ("client_assertion_type", JWT_BEARER), ("client_assertion", &signed)];
        let answer = post(&gateway, "token", &[&own, pairs].concat()).send().expect(200).json();
        answer["access_token"].as_str().unwrap().to_owned()
    };
    let both = of(&[]);
    assert_eq!(claims(&both)["aud"], json!([AUDIENCE, "https://reports.test"]));
    let one = of(&[("audience", "https://reports.test")]);
    assert_eq!(claims(&one)["aud"], "https://reports.test");
    assert_eq!((call(&gateway, "/local/x", &both), call(&gateway, "/local/x", &one)), (200, 401));
    // May not at all.
    for id in ["gatekeeper", "janitor"] {
        refused(by(&gateway, id, "token", &[CREDENTIALS]), 400, "unauthorized_client");
    }
}

/// No answer of the store is no "not used before" (invariant 6).
#[test]
fn without_the_store_there_is_no_token() {
    let (app, mut redis) = (Upstream::start(), Redis::start());
    let setup = setup(&app).redis(&redis).set("store", "timeout", "\"500ms\"");
    let setup = setup.set("revocation", "on_unreachable", "\"allow\"");
    let gateway = Gateway::start(&setup);
    let token = granted(&gateway, "billing");
    redis.kill();
    let signed = assertion().sign(reports());
    let external = Token::good().sign(Key::shared("RS256"));
    for answer in [
        by(&gateway, "billing", "token", &[CREDENTIALS]),
        with_assertion(&gateway, &signed),
        by(&gateway, "billing", "revoke", &[("token", &token)]),
        by(&gateway, "gatekeeper", "introspect", &[("token", &token)]),
        by(&gateway, "gatekeeper", "introspect", &[("token", &external)]),
    ] {
        let answer = refused(answer, 503, "temporarily_unavailable");
        assert_eq!(answer.header("retry-after"), Some("1"));
    }
}

/// RFC 6749 §6, RFC 9700 §2.2.2, §4.14: a login's refresh token is its public client's.
#[test]
fn a_refresh_token_is_renewed_for_its_own_client_alone() {
    let app = Upstream::start();
    let gateway = Gateway::start(&setup(&app));
    let (_, first) = login(&gateway);
    let renew = |token: &str, pairs: &[(&str, &str)]| {
        let own = [("grant_type", "refresh_token"), ("refresh_token", token)];
        post(&gateway, "token", &[&own, pairs].concat()).send()
    };
    // Another client, and a wrong secret, change nothing about it.
    let stolen = [("grant_type", "refresh_token"), ("refresh_token", &*first)];
    refused(by(&gateway, "billing", "token", &stolen), 400, "invalid_grant");
    refused(renew(&first, &[("client_id", "billing")]), 401, "invalid_client");
    refused(
        renew(&first, &[("client_id", "postern"), ("client_secret", "x")]),
        401,
        "invalid_client",
    );
    // RFC 6749 §6: not more than was granted; RFC 8707 §2.2.
    refused(renew(&first, &[("scope", "admin")]), 400, "invalid_scope");
    refused(renew(&first, &[("resource", "https://other.test")]), 400, "invalid_target");
    let body =
        renew(&first, &[("client_id", "postern"), ("resource", AUDIENCE)]).expect(200).json();
    let (access, second) =
        (body["access_token"].as_str().unwrap(), body["refresh_token"].as_str().unwrap());
    assert_eq!(call(&gateway, "/local/x", access), 200);
    assert_ne!(second, first);
    let body = renew(second, &[]).expect(200).json();
    let third = body["refresh_token"].as_str().unwrap().to_owned();
    // Reuse ends the family, whichever endpoint it is tried at.
    refused(renew(&first, &[]), 400, "invalid_grant");
    refused(renew(&third, &[]), 400, "invalid_grant");
    assert_eq!(call(&gateway, "/local/x", body["access_token"].as_str().unwrap()), 401);
    for wrong in ["x", "", &first[..first.len() - 1], &format!("{first}A")] {
        let error = if wrong.is_empty() { "invalid_request" } else { "invalid_grant" };
        refused(renew(wrong, &[]), 400, error);
    }
}

/// Design, section 6: a revocation of the client refuses every token of it, and a new one works at
/// once. By client and by subject.
#[test]
fn a_revoked_client_gets_a_token_that_works() {
    for redis in [None, Some(Redis::start())] {
        let app = Upstream::start();
        let setup = setup(&app);
        let setup =
            redis.as_ref().map_or_else(|| setup.clone(), |redis| setup.clone().redis(redis));
        let gateway = Gateway::start(&setup);
        for asked in [json!({ "client": "billing" }), json!({ "sub": "client:billing" })] {
            let before = granted(&gateway, "billing");
            assert_eq!(call(&gateway, "/local/x", &before), 200);
            let mut asked = asked;
            asked["of_issuer"] = json!(ISSUER);
            gateway.revoke(&asked).expect(201);
            assert_eq!(call(&gateway, "/local/x", &before), 401);
            let after = granted(&gateway, "billing");
            assert_eq!(call(&gateway, "/local/x", &after), 200, "the second was waited for");
            assert_eq!(call(&gateway, "/local/x", &before), 401);
        }
        // A client that is out of the configuration is nobody.
        let left = setup.clone().without_table("id = \"billing\"");
        gateway.reload(&left).expect(200);
        let gone = by(&gateway, "billing", "token", &[CREDENTIALS]);
        refused(gone, 401, "invalid_client");
        // Nothing is issued that nobody would take.
        gateway.revoke(&json!({ "kid": "1", "of_issuer": ISSUER })).expect(201);
        let dead = by(&gateway, "elsewhere", "token", &[CREDENTIALS]);
        refused(dead, 400, "unauthorized_client");
    }
}

/// RFC 6749 §2.3.1 ("protect any endpoint utilizing it against brute force attacks"), RFC 6819
/// §5.1.4.2: refusals are counted, by address; whoever is accepted may go on.
#[test]
fn guessing_is_limited() {
    let app = Upstream::start();
    let limit = "[{ by = \"client\", rate = \"4/1h\", count = \"failures\" }]";
    let gateway = Gateway::start(&setup(&app).set("issuing", "refresh_limits", limit));
    for _ in 0..6 {
        granted(&gateway, "billing");
        by(&gateway, "gatekeeper", "introspect", &[("token", "x")]).expect(200);
    }
    let wrong = basic("billing", &other().secret);
    with_field(&gateway, &wrong, &[CREDENTIALS]).expect(401);
    with_assertion(&gateway, "a.b.c").expect(401);
    by(&gateway, "billing", "introspect", &[("token", "x")]).expect(403);
    let renew = [("grant_type", "refresh_token"), ("refresh_token", "x")];
    post(&gateway, "token", &renew).send().expect(400);
    for endpoint in ["token", "revoke", "introspect"] {
        let answer =
            post(&gateway, endpoint, &[]).header("Authorization", &wrong).send().expect(429);
        assert!(answer.header("retry-after").is_some());
    }
}
