//! Who may do what: `require` of a route, and what a refusal says (R15, R18; RFC 6750 §3.1).

use serde_json::{Value, json};

use crate::harness::gateway::Gateway;
use crate::harness::keys::Key;
use crate::harness::setup::Setup;
use crate::harness::tokens::Token;
use crate::harness::upstream::Upstream;

/// The rule, the claims (merged into a good token), and the status.
fn rules() -> Vec<(&'static str, Value, u16)> {
    let all_roles = "roles = [\"admin\", \"ops\"]";
    let any_roles = "any_roles = [\"admin\", \"ops\"]";
    let scopes = "scopes = [\"read\", \"write\"]";
    let any_scopes = "any_scopes = [\"read\", \"write\"]";
    let permissions = "permissions = [\"items:delete\"]";
    let any_permissions = "any_permissions = [\"a\", \"b\"]";
    let claims = "claims = { tenant = \"acme\", level = 3, verified = true }";
    let pointer = "claims = { \"/org/name\" = \"acme\" }";
    vec![
        (all_roles, json!({"roles": ["ops", "x", "admin"]}), 200),
        (all_roles, json!({"roles": ["admin"]}), 403),
        (all_roles, json!({"roles": []}), 403),
        (all_roles, json!({}), 403),
        (all_roles, json!({"roles": ["Admin", "OPS"]}), 403),
        (all_roles, json!({"roles": ["admin,ops"]}), 403),
        (all_roles, json!({"roles": ["admin ", " ops"]}), 403),
        (all_roles, json!({"Roles": ["admin", "ops"]}), 403),
        (any_roles, json!({"roles": ["ops"]}), 200),
        (any_roles, json!({"roles": "admin"}), 200),
        (any_roles, json!({"roles": ["adm"]}), 403),
        (any_roles, json!({"roles": ["administrator"]}), 403),
        (scopes, json!({"scope": "write read"}), 200),
        (scopes, json!({"scope": ["write", "read"]}), 200),
        (scopes, json!({"scope": "read"}), 403),
        (scopes, json!({"scope": "readwrite"}), 403),
        (scopes, json!({"scp": "read write"}), 403),
        (any_scopes, json!({"scope": "x write"}), 200),
        (any_scopes, json!({"scope": ""}), 403),
        (permissions, json!({"permissions": ["items:delete"]}), 200),
        (permissions, json!({"permissions": ["items:*"]}), 403),
        (permissions, json!({"roles": ["items:delete"]}), 403),
        (any_permissions, json!({"permissions": ["b"]}), 200),
        (any_permissions, json!({}), 403),
        (claims, json!({"tenant": "acme", "level": 3, "verified": true}), 200),
        (claims, json!({"tenant": "acme", "level": "3", "verified": true}), 403),
        (claims, json!({"tenant": "acme", "level": 3, "verified": "true"}), 403),
        (claims, json!({"tenant": "other", "level": 3, "verified": true}), 403),
        (claims, json!({"tenant": ["other"], "level": 3, "verified": true}), 403),
        (claims, json!({"tenant": "acme", "level": 3}), 403),
        (pointer, json!({"org": {"name": "acme"}}), 200),
        (pointer, json!({"org": {"name": "other"}}), 403),
        (pointer, json!({"/org/name": "acme"}), 403),
        (pointer, json!({"org": "acme"}), 403),
    ]
}

#[test]
fn rules_of_routes() {
    let app = Upstream::start();
    let rules = rules();
    let mut setup = Setup::standard(&app);
    for (n, (rule, _, _)) in rules.iter().enumerate() {
        let lines = format!("path = \"/rule/{n}\"\nrequire = {{ {rule} }}");
        setup = setup.route(&format!("rule-{n}"), &lines);
    }
    let gateway = Gateway::start(&setup);
    for (n, (rule, claims, status)) in rules.iter().enumerate() {
        app.forget();
        let mut token = Token::good();
        for (name, value) in claims.as_object().unwrap() {
            token = token.claim(name, value.clone());
        }
        let signed = token.sign(Key::shared("ES256"));
        let answer = gateway.get(&format!("/rule/{n}")).bearer(&signed).send();
        assert_eq!(answer.status, *status, "{rule} with {claims}: {}", answer.text());
        if *status == 403 {
            answer.refused(403);
            app.saw_nothing(rule);
        }
    }
}

/// All parts of one rule must hold.
#[test]
fn parts_of_a_rule_add_up() {
    let app = Upstream::start();
    let rule = "roles = [\"admin\"], any_scopes = [\"a\", \"b\"], claims = { tenant = \"acme\" }";
    let lines = format!("path = \"/all\"\nrequire = {{ {rule} }}");
    let gateway = Gateway::start(&Setup::standard(&app).route("all", &lines));
    let send = |token: Token| gateway.get("/all").bearer(&token.sign(Key::shared("ES256"))).send();
    let full = || Token::good().roles(&["admin"]).claim("scope", "b").claim("tenant", "acme");
    send(full()).expect(200);
    app.forget();
    for part in ["roles", "scope", "tenant"] {
        send(full().without(part)).refused(403);
    }
    app.saw_nothing("a part is missing");
}

/// RFC 6750 §3: what the challenge says.
#[test]
fn challenges() {
    let app = Upstream::start();
    let lines = "path = \"/scoped\"\nrequire = { scopes = [\"read\", \"write\"] }";
    let gateway = Gateway::start(&Setup::standard(&app).route("scoped", lines));
    let token = Token::good().sign(Key::shared("ES256"));
    let challenge = |path: &str, token: Option<&str>| {
        let request = gateway.get(path);
        let request = token.map_or_else(|| request.clone(), |token| request.clone().bearer(token));
        let answer = request.send();
        (answer.status, answer.header("www-authenticate").unwrap_or_default().to_owned())
    };
    let (status, text) = challenge("/scoped", None);
    assert!(status == 401 && text.starts_with("Bearer") && !text.contains("error"), "{text}");
    let (status, text) = challenge("/scoped", Some("a.b.c"));
    assert!(status == 401 && text.contains("error=\"invalid_token\""), "{text}");
    assert!(!text.contains("scope="), "{text}");
    let (status, text) = challenge("/scoped", Some(&token));
    assert!(status == 403 && text.contains("error=\"insufficient_scope\""), "{text}");
    assert!(text.contains("scope=\"read write\""), "{text}");
    let (status, text) = challenge("/admin/x", Some(&token));
    assert!(status == 403 && text.starts_with("Bearer"), "{text}");
    // A 404 or 405 is no matter of tokens.
    let (status, text) = challenge("/nowhere", Some(&token));
    assert_eq!((status, text.as_str()), (404, ""));
}

/// `issuers` of a route: a token of another issuer is no valid token here.
#[test]
fn routes_of_one_issuer() {
    let app = Upstream::start();
    let other = Key::generate("EdDSA", "other");
    let setup = Setup::standard(&app)
        .issuer("partner", "issuer = \"https://partner.test\"", &[&other])
        .route("ours", "path = \"/ours\"\nissuers = [\"main\"]")
        .route("theirs", "path = \"/theirs\"\nissuers = [\"partner\"]");
    let gateway = Gateway::start(&setup);
    let ours = Token::good().sign(Key::shared("ES256"));
    let theirs = Token::good().claim("iss", "https://partner.test").sign(&other);
    for (path, token, status) in [
        ("/ours", &ours, 200),
        ("/theirs", &theirs, 200),
        ("/api/x", &ours, 200),
        ("/api/x", &theirs, 200),
        ("/ours", &theirs, 401),
        ("/theirs", &ours, 401),
    ] {
        let answer = gateway.get(path).bearer(token).send();
        assert_eq!(answer.status, status, "{path}: {}", answer.text());
    }
    // One issuer's key does not sign for another (cross-issuer confusion, RFC 8725 §3.8).
    app.forget();
    for forged in [
        Token::good().sign(&other),
        Token::good().claim("iss", "https://partner.test").sign(Key::shared("ES256")),
    ] {
        gateway.get("/api/x").bearer(&forged).send().refused(401);
    }
    app.saw_nothing("another issuer's key");
}

/// The claim mapping of an issuer entry decides where roles and the like are found.
#[test]
fn claims_are_mapped() {
    let app = Upstream::start();
    let mapping = "claims = { roles = \"/realm_access/roles\", scopes = \"scp\", subject = \"uid\" }\n\
                   required_claims = [\"uid\"]";
    let setup = Setup::bare()
        .upstream("app", &app.url())
        .issuer("main", mapping, &[Key::shared("ES256")])
        .route("admin", "path = \"/admin\"\nrequire = { roles = [\"admin\"], scopes = [\"a\"] }");
    let gateway = Gateway::start(&setup);
    let token = |role: &str| {
        let token = Token::good().claim("realm_access", json!({"roles": [role]}));
        token.claim("scp", ["a", "b"].to_vec()).claim("uid", 7).sign(Key::shared("ES256"))
    };
    gateway.get("/admin").bearer(&token("admin")).send().expect(200);
    app.forget();
    gateway.get("/admin").bearer(&token("user")).send().refused(403);
    let plain = Token::good().roles(&["admin"]).claim("scope", "a").claim("uid", 7);
    gateway.get("/admin").bearer(&plain.sign(Key::shared("ES256"))).send().refused(403);
    app.saw_nothing("roles elsewhere");
}
