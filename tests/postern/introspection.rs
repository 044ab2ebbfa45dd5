//! Tokens that only their provider can judge (RFC 7662): asked on every request, refused when the
//! provider says so or cannot be asked, revoked like any other.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::gateway::Gateway;
use crate::harness::keys::Key;
use crate::harness::setup::Setup;
use crate::harness::tokens::{AUDIENCE, Token};
use crate::harness::upstream::{After, Upstream, reply};
use crate::harness::{soon, unix_now};

const PROVIDER: &str = "https://opaque.test";
const SECRET: &str = "a secret: 100% + more";
/// With dots, but no JWT.
const TOKEN: &str = "op.aque.token-1~/+==";

/// The provider's endpoint: what it says of which token, for now.
struct Endpoint {
    server: Upstream,
    says: Arc<Mutex<BTreeMap<String, String>>>,
}

impl Endpoint {
    fn start() -> Self {
        let says: Arc<Mutex<BTreeMap<String, String>>> = Arc::default();
        let known = says.clone();
        let server = Upstream::with(move |seen, stream| {
            let form: BTreeMap<String, String> =
                form_urlencoded::parse(&seen.body).into_owned().collect();
            let says = known.lock().unwrap().get(&form["token"]).cloned();
            let said = says.unwrap_or_else(|| json!({"active": false}).to_string());
            if let Some(status) = said.strip_prefix("status ") {
                reply(stream, status, &[], "{\"active\":true}");
            } else if said == "hang" {
                std::thread::sleep(Duration::from_secs(3));
                drop(stream.flush());
                return After::Close;
            } else if let Some(said) = said.strip_prefix("late ") {
                std::thread::sleep(Duration::from_millis(2500));
                reply(stream, "200 OK", &[], said);
            } else {
                reply(stream, "200 OK", &[("Content-Type", "application/json")], &said);
            }
            After::Keep
        });
        Self { server, says }
    }

    fn say(&self, token: &str, answer: impl ToString) {
        self.says.lock().unwrap().insert(token.to_owned(), answer.to_string());
    }

    /// An entry `opaque` that asks here.
    fn entry(&self, setup: Setup, lines: &str) -> Setup {
        let url = self.server.url();
        let lines = format!(
            "kind = \"introspection\"\nissuer = \"{PROVIDER}\"\nurl = \"{url}/introspect\"\n\
             client_id = \"gate:way\"\nclient_secret_file = \"client.secret\"\n{lines}"
        );
        setup.issuer("opaque", &lines, &[]).file("client.secret", SECRET)
    }
}

fn good() -> Value {
    json!({
        "active": true, "sub": "ada", "aud": AUDIENCE, "client_id": "app", "token_type": "Bearer",
        "exp": unix_now() + 600, "iat": unix_now(), "roles": ["admin"], "email": "ada@test",
    })
}

/// The standard gateway with an introspected issuer beside the one whose signatures are checked.
fn start(lines: &str) -> (Upstream, Endpoint, Gateway) {
    let (app, endpoint) = (Upstream::start(), Endpoint::start());
    let gateway = Gateway::start(&endpoint.entry(Setup::standard(&app), lines));
    (app, endpoint, gateway)
}

fn refused(gateway: &Gateway, app: &Upstream, token: &str, status: u16, reason: &str) {
    app.forget();
    let answer = gateway.get("/api/x").bearer(token).send().refused(status);
    app.saw_nothing(reason);
    match status {
        401 => {
            let challenge = answer.header("www-authenticate").unwrap();
            assert_eq!(challenge, "Bearer error=\"invalid_token\"", "{reason}");
        }
        _ => assert_eq!(answer.header("retry-after"), Some("1"), "{reason}"),
    }
    let line = gateway.access_line(answer.header("x-request-id").unwrap());
    assert_eq!(line["auth.reason"], reason, "{line}");
}

#[test]
fn an_opaque_token_opens_what_a_jwt_opens() {
    let (app, endpoint, gateway) = start("");
    endpoint.say(TOKEN, good());
    gateway.get("/api/x").bearer(TOKEN).send().expect(200);
    let seen = app.last();
    assert_eq!(seen.header("x-auth-subject"), Some("ada"));
    assert_eq!(seen.header("x-auth-issuer"), Some(PROVIDER));
    assert_eq!(seen.header("x-auth-roles"), Some("admin"));
    assert_eq!(seen.header("x-auth-email"), Some("ada@test"));
    gateway.get("/admin/x").bearer(TOKEN).send().expect(200);
    // Asked as RFC 7662 has it, by whom the configuration says.
    let asked = endpoint.server.last();
    assert_eq!(asked.target, "/introspect");
    // form-encoded first: gate%3Away:a+secret%3A+100%25+%2B+more
    let basic = "Basic Z2F0ZSUzQXdheTphK3NlY3JldCUzQSsxMDAlMjUrJTJCK21vcmU=";
    assert_eq!(asked.header("authorization"), Some(basic));
    assert_eq!(
        String::from_utf8(asked.body).unwrap(),
        "token=op.aque.token-1%7E%2F%2B%3D%3D&token_type_hint=access_token"
    );
    // The rules of the route hold.
    let mut user = good();
    user["roles"] = json!(["user"]);
    endpoint.say(TOKEN, user);
    app.forget();
    gateway.get("/admin/x").bearer(TOKEN).send().refused(403);
    app.saw_nothing("not an admin");
    // A JWT of the other issuer is checked here; its provider is nobody's business.
    let before = endpoint.server.count();
    gateway.get("/api/x").bearer(&Token::good().sign(Key::shared("ES256"))).send().expect(200);
    gateway.get("/public/x").bearer("whatever.it-is").send().expect(200);
    assert_eq!(endpoint.server.count(), before);
}

#[test]
fn what_the_provider_revokes_is_refused_at_once() {
    let (app, endpoint, gateway) = start("");
    endpoint.say(TOKEN, good());
    for round in 1..=3 {
        gateway.get("/api/x").bearer(TOKEN).send().expect(200);
        assert_eq!(endpoint.server.count(), round, "cache = \"0s\": asked every time");
    }
    endpoint.say(TOKEN, json!({"active": false}));
    refused(&gateway, &app, TOKEN, 401, "inactive");
}

#[test]
fn a_cache_saves_questions_and_only_yes_is_kept() {
    let (app, endpoint, gateway) = start("cache = \"1m\"");
    refused(&gateway, &app, TOKEN, 401, "inactive");
    endpoint.say(TOKEN, good());
    for _ in 0..5 {
        gateway.get("/api/x").bearer(TOKEN).send().expect(200);
    }
    assert_eq!(endpoint.server.count(), 2, "one no, one yes");
    // Never beyond exp.
    let mut short = good();
    short["exp"] = json!(unix_now() + 2);
    endpoint.say("short", short);
    gateway.get("/api/x").bearer("short").send().expect(200);
    let before = endpoint.server.count();
    soon("the answer is used no more", || {
        gateway.get("/api/x").bearer("short").send().expect(200);
        endpoint.server.count() > before
    });
    // A reload that changes nothing about the provider keeps it; another audience does not.
    let setup = endpoint.entry(Setup::standard(&app), "cache = \"1m\"");
    gateway.reload(&setup).expect(200);
    let before = endpoint.server.count();
    gateway.get("/api/x").bearer(TOKEN).send().expect(200);
    assert_eq!(endpoint.server.count(), before);
    let other = "cache = \"1m\"\naudiences = [\"https://other.test\"]";
    gateway.reload(&endpoint.entry(Setup::standard(&app), other)).expect(200);
    refused(&gateway, &app, TOKEN, 401, "audience");
}

#[test]
fn no_answer_is_no_admission() {
    let (app, endpoint, gateway) = start("timeout = \"500ms\"");
    let nonsense = [
        "{\"active\":\"true\"}",
        "{\"active\":false,\"active\":true}",
        "<html>Sign in</html>",
        "[]",
        "status 500 Internal Server Error",
        "status 302 Found",
        "status 204 No Content",
    ];
    for said in nonsense {
        endpoint.say(TOKEN, said);
        refused(&gateway, &app, TOKEN, 503, "introspection_unavailable");
    }
    endpoint.say(TOKEN, format!("{{\"active\":true,\"x\":\"{}\"}}", "x".repeat(100_000)));
    refused(&gateway, &app, TOKEN, 503, "introspection_unavailable");
    endpoint.say(TOKEN, "hang");
    let began = Instant::now();
    refused(&gateway, &app, TOKEN, 503, "introspection_unavailable");
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    // Who else is not concerned goes on.
    gateway.get("/api/x").bearer(&Token::good().sign(Key::shared("ES256"))).send().expect(200);
    let output = gateway.settled_output();
    for secret in [TOKEN, SECRET, "a+secret", "Z2F0ZSUz", "Sign in"] {
        assert!(!output.contains(secret), "{secret:?} is in the log");
    }
    assert_eq!(output.matches("cannot be asked").count(), 1, "once a minute:\n{output}");
    assert_eq!(output.matches("no answer that RFC 7662 knows").count(), 1, "{output}");
}

/// The time that counts is that of the answer.
#[test]
fn a_token_that_expires_while_its_provider_is_asked() {
    let (app, endpoint, gateway) = start("leeway = \"0s\"");
    let mut last = good();
    last["exp"] = json!(unix_now() + 1);
    endpoint.say(TOKEN, format!("late {last}"));
    refused(&gateway, &app, TOKEN, 401, "expired");
}

#[test]
fn wrong_credentials_are_told_to_the_operator() {
    let (app, endpoint, gateway) = start("");
    endpoint.say(TOKEN, "status 401 Unauthorized");
    for _ in 0..3 {
        refused(&gateway, &app, TOKEN, 503, "introspection_unavailable");
    }
    let told = "does not accept client_id and client_secret";
    soon("the log says why", || gateway.output().contains(told));
    assert_eq!(gateway.output().matches(told).count(), 1, "once a minute");
}

#[test]
fn an_endpoint_that_is_down_comes_back() {
    let (app, endpoint, gateway) = start("cache = \"1s\"");
    endpoint.say(TOKEN, good());
    gateway.get("/api/x").bearer(TOKEN).send().expect(200);
    let address = endpoint.server.address;
    drop(endpoint);
    soon("a cached answer ends", || gateway.get("/api/x").bearer(TOKEN).send().status == 503);
    refused(&gateway, &app, TOKEN, 503, "introspection_unavailable");
    // It describes the request, which is no answer; then a real one.
    let back = Upstream::start_at(address);
    refused(&gateway, &app, TOKEN, 503, "introspection_unavailable");
    assert!(back.count() > 0, "asked again by itself");
}

#[test]
fn the_blocklist_holds_for_opaque_tokens() {
    let (app, endpoint, gateway) = start("cache = \"1m\"\nrequired_claims = [\"sub\", \"exp\"]");
    let revoke = |token: &str| {
        endpoint.say(token, good());
        gateway.get("/api/x").bearer(token).send().expect(200);
        token.to_owned()
    };
    let token = revoke(TOKEN);
    let entry = gateway.revoke(&json!({"token": token})).expect(201).json();
    assert_eq!(entry["kind"], "token", "{entry}");
    assert!(entry["expires"].as_i64().unwrap() >= unix_now() + 24 * 60 * 60, "{entry}");
    refused(&gateway, &app, &token, 401, "revoked");
    // What differs behind the last dot is another token.
    let other = revoke("op.aque.token-2");
    gateway.get("/api/x").bearer(&other).send().expect(200);
    // On the command line, with the provider named.
    let arguments =
        ["revoke", "--config", "postern.toml", "--token-file", "-", "--of-issuer", PROVIDER];
    let out = gateway.cli(&arguments, &other);
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    refused(&gateway, &app, &other, 401, "revoked");
    // By everything that the answer says of it.
    let by_jti = "by-jti";
    let mut said = good();
    said["jti"] = json!("j-7");
    endpoint.say(by_jti, said);
    gateway.get("/api/x").bearer(by_jti).send().expect(200);
    gateway.revoke(&json!({"jti": "j-7", "of_issuer": PROVIDER})).expect(201);
    refused(&gateway, &app, by_jti, 401, "revoked");
}

/// By what the answer says of the token, an answer that was kept included; and by its issuer. No key
/// verifies it.
#[test]
fn every_selector_holds_for_opaque_tokens() {
    let (app, endpoint, gateway) = start("cache = \"1m\"\nrequired_claims = [\"sub\", \"exp\"]");
    let mut said = good();
    said["sid"] = json!("s-1");
    endpoint.say(TOKEN, said);
    let mut undated = good();
    undated.as_object_mut().unwrap().remove("iat");
    undated["sub"] = json!("bob");
    undated["client_id"] = json!("other");
    endpoint.say("another", undated);
    let jwt = Token::good().claim("sub", "ada").claim("sid", "s-1").claim("azp", "app");
    let jwt = jwt.sign(Key::shared("ES256"));
    let works = |token: &str| gateway.get("/api/x").bearer(token).send().expect(200);
    for (kind, value) in [("sub", "ada"), ("sid", "s-1"), ("client", "app"), ("issuer", PROVIDER)] {
        works(TOKEN);
        let mut body = json!({ kind: value });
        if kind != "issuer" {
            body["of_issuer"] = json!(PROVIDER);
        }
        let entry = gateway.revoke(&body).expect(201).json();
        refused(&gateway, &app, TOKEN, 401, "revoked");
        works(&jwt);
        if kind == "issuer" {
            refused(&gateway, &app, "another", 401, "revoked");
        } else {
            works("another");
        }
        let id = entry["id"].as_str().unwrap();
        gateway.admin_request("DELETE", &format!("/revocations/{id}")).send().expect(204);
    }
    // Nothing says that it is newer.
    gateway.revoke(&json!({"sub": "bob", "of_issuer": PROVIDER, "issued_before": 1})).expect(400);
    let old = json!({"sub": "bob", "of_issuer": PROVIDER, "issued_before": unix_now() - 3600});
    gateway.revoke(&old).expect(201);
    refused(&gateway, &app, "another", 401, "revoked");
    let answer = gateway.revoke(&json!({"kid": "k", "of_issuer": PROVIDER})).expect(400);
    assert!(answer.text().contains("no key verifies"), "{}", answer.text());
}

#[test]
fn revoking_an_opaque_token_needs_what_nobody_knows() {
    let (_app, _endpoint, gateway) = start("");
    // Without exp in required_claims nothing says when such a token ends.
    let answer = gateway.revoke(&json!({"token": "some-token"})).expect(400);
    assert!(answer.text().contains("say how long"), "{}", answer.text());
    gateway.revoke(&json!({"token": "some-token", "for": "30d"})).expect(201);
    let named = json!({"token": "some-token", "for": "30d", "of_issuer": "https://auth.test"});
    gateway.revoke(&named).expect(400);
    // A JWT says it itself.
    let signed = Token::good().sign(Key::shared("ES256"));
    let answer = gateway.revoke(&json!({"token": signed, "for": "30d"})).expect(400);
    assert!(answer.text().contains("says itself"), "{}", answer.text());
    gateway.revoke(&json!({"token": signed})).expect(201);
}

/// R40: a stranger who guesses drives no load to the provider; who has a good token is not shut
/// out by a neighbour who guesses.
#[test]
fn guesses_end_at_the_failure_limit() {
    let (app, endpoint) = (Upstream::start(), Endpoint::start());
    let setup = Setup::standard(&app).set("auth_failures", "rate", "\"5/1h\"");
    let gateway = Gateway::start(&endpoint.entry(setup, ""));
    endpoint.say(TOKEN, good());
    gateway.get("/api/x").bearer(TOKEN).send().expect(200);
    for guess in 0..5 {
        refused(&gateway, &app, &format!("guess-{guess}"), 401, "inactive");
    }
    let before = endpoint.server.count();
    for guess in 5..15 {
        let answer = gateway.get("/api/x").bearer(&format!("guess-{guess}")).send().refused(429);
        assert!(answer.header("retry-after").is_some());
    }
    assert_eq!(endpoint.server.count(), before, "nobody was asked");
    gateway.get("/api/x").bearer(TOKEN).send().expect(200);
    assert_eq!(endpoint.server.count(), before + 1);
}

#[test]
fn one_issuer_checked_here_and_asked_where_a_route_wants_it() {
    use crate::harness::tokens::ISSUER;
    let (app, endpoint) = (Upstream::start(), Endpoint::start());
    let setup = Setup::bare()
        .upstream("app", &app.url())
        .issuer("main", "", &[Key::shared("ES256")])
        .route("api", "path = \"/api/*\"\nissuers = [\"main\"]")
        .route("asked", "path = \"/asked/*\"\nissuers = [\"opaque\"]")
        .route("open", "path = \"/open/*\"\nauth = \"optional\"\nissuers = [\"opaque\"]");
    let url = endpoint.server.url();
    let lines = format!(
        "kind = \"introspection\"\nissuer = \"{ISSUER}\"\nurl = \"{url}/\"\nclient_id = \"g\"\n\
         client_secret_file = \"client.secret\"\nclient_auth = \"post\""
    );
    let setup = setup.issuer("opaque", &lines, &[]).file("client.secret", SECRET);
    let gateway = Gateway::start(&setup);
    let signed = Token::good().sign(Key::shared("ES256"));
    // In the cache of verified tokens from here on; that is no answer of the provider's.
    gateway.get("/api/x").bearer(&signed).send().expect(200);
    assert_eq!(endpoint.server.count(), 0);
    app.forget();
    gateway.get("/asked/x").bearer(&signed).send().refused(401);
    app.saw_nothing("the provider calls it inactive");
    endpoint.say(&signed, good());
    gateway.get("/asked/x").bearer(&signed).send().expect(200);
    assert_eq!(endpoint.server.count(), 2);
    let form = String::from_utf8(endpoint.server.last().body).unwrap();
    assert!(
        form.starts_with("client_id=g&client_secret=a+secret%3A+100%25+%2B+more&token="),
        "{form}"
    );
    // Where no token is needed, a bad one is still refused.
    gateway.get("/open/x").send().expect(200);
    app.forget();
    gateway.get("/open/x").bearer("unknown").send().refused(401);
    gateway.get("/api/x").bearer("opaque-here").send().refused(401);
    app.saw_nothing("bad tokens");
}
