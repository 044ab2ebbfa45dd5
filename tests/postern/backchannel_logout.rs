//! OpenID Connect Back-Channel Logout 1.0 ("BCL"): a provider ends a session, and no gateway lets
//! its tokens through any more. A real provider's is in `provider_logout.rs`, what floods do is in
//! `logout_floods.rs`.

use serde_json::{Value, json};

use crate::audit::log;
use crate::harness::client::Answer;
use crate::harness::gateway::Gateway;
use crate::harness::keys::Key;
use crate::harness::redis::Redis;
use crate::harness::setup::{HOST, Setup};
use crate::harness::tokens::{ISSUER, Token};
use crate::harness::upstream::Upstream;
use crate::harness::{each, eventually, soon, unix_now};

pub const PATH: &str = "/_postern/backchannel-logout";
pub const CLIENT: &str = "gateway";
const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";

/// [`Setup::standard`] with an issuer that may end sessions.
pub fn setup(app: &Upstream) -> Setup {
    setup_with(app, "")
}

fn setup_with(app: &Upstream, lines: &str) -> Setup {
    let lines = format!("backchannel_logout = {{ client_id = \"{CLIENT}\" }}\n{lines}");
    let standard = Setup::standard(app).without_table("name = \"main\"");
    // A busy machine must not look like an outage of the store, which has a test of its own.
    let patient = standard.set("store", "timeout", "\"5s\"");
    patient.issuer("main", &lines, &[Key::shared("ES256")])
}

/// A logout token that is accepted once something says whose session it ends.
pub fn logout() -> Token {
    let now = unix_now();
    let token = Token::good().header("typ", "logout+jwt").claim("aud", CLIENT).without("sub");
    token.claim("iat", now).claim("exp", now + 120).claim("events", json!({ EVENT: {} }))
}

pub fn sign(token: &Token) -> String {
    token.sign(Key::shared("ES256"))
}

pub fn send(gateway: &Gateway, token: &str) -> Answer {
    gateway.post(PATH).form(&format!("logout_token={token}")).send()
}

/// Executed, and said so as BCL §2.8 has it.
pub fn executed(answer: Answer) {
    let answer = answer.expect(200);
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(answer.body, b"");
}

/// Refused as BCL §2.8 has it, and in the same words whatever the cause.
pub fn not_accepted(answer: Answer) -> Answer {
    let answer = answer.expect(400);
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let words = "the logout token is not accepted";
    assert_eq!(answer.json(), json!({ "error": "invalid_request", "error_description": words }));
    answer
}

fn of_session(sid: &str) -> Token {
    Token::good().claim("sid", sid)
}

fn call(gateway: &Gateway, token: &str) -> u16 {
    gateway.get("/api/x").bearer(token).send().status
}

/// Invariant 9 from the 200 on; and a session is that session alone (BCL §2.4).
#[test]
fn a_session_ends_on_every_gateway_at_once() {
    let (app, redis) = (Upstream::start(), Redis::start());
    let setup = setup(&app).redis(&redis);
    let gateways = [Gateway::start(&setup), Gateway::start(&setup)];
    for round in 0..10 {
        let [one, other] = if round % 2 == 0 { [0, 1] } else { [1, 0] }.map(|i| &gateways[i]);
        let ended = sign(&of_session(&format!("ended-{round}")));
        let lives = [sign(&of_session("lives")), sign(&Token::good())];
        for token in lives.iter().chain([&ended]) {
            assert_eq!((call(one, token), call(other, token)), (200, 200));
        }
        app.forget();
        // With sub and sid: only the session.
        let token = logout().claim("sid", format!("ended-{round}")).claim("sub", "alice");
        executed(send(one, &sign(&token)));
        assert_eq!(call(other, &ended), 401, "round {round}");
        app.saw_nothing("the session has ended");
        assert_eq!(call(one, &ended), 401, "round {round}");
        for token in &lives {
            assert_eq!((call(one, token), call(other, token)), (200, 200), "another session");
        }
    }
    gateways[0].says("\"by\":\"backchannel-logout\"");
    gateways[0].says("ended-0");
}

/// BCL §2.4: without sid every session of the user; what is issued afterwards works.
#[test]
fn a_user_is_logged_out_everywhere_and_logs_in_again() {
    let app = Upstream::start();
    let gateway = Gateway::start(&setup_with(&app, "leeway = \"0s\""));
    let alice = || Token::good().claim("sub", "alice");
    let [before, sid] = [alice(), alice().claim("sid", "s")].map(|token| sign(&token));
    let bob = sign(&Token::good().claim("sub", "bob"));
    executed(send(&gateway, &sign(&logout().claim("sub", "alice"))));
    assert_eq!((call(&gateway, &before), call(&gateway, &sid)), (401, 401));
    assert_eq!(call(&gateway, &bob), 200);
    soon("she logs in again", || {
        let now = unix_now();
        call(&gateway, &sign(&alice().claim("iat", now))) == 200
    });
    assert_eq!(call(&gateway, &before), 401);
    let entry = entries(&gateway).remove(0);
    assert_eq!((&entry["kind"], &entry["value"]), (&json!("sub"), &json!("alice")));
    assert_eq!(entry["by"], "backchannel-logout");
    // As long as such a token may live, and no longer.
    let expires = entry["expires"].as_i64().unwrap() - unix_now();
    assert!((86_390..=86_400).contains(&expires), "{entry}");
}

fn entries(gateway: &Gateway) -> Vec<Value> {
    let page = gateway.admin_request("GET", "/revocations").send().expect(200).json();
    page["items"].as_array().unwrap().clone()
}

fn lift(gateway: &Gateway, entry: &Value) {
    let path = format!("/revocations/{}", entry["id"].as_str().unwrap());
    gateway.admin_request("DELETE", &path).send().expect(204);
}

/// BCL §2.6 step 7, RFC 8725 §2: a token is executed once, whichever gateway hears it again.
#[test]
fn a_token_is_executed_once_on_all_gateways() {
    let (app, redis) = (Upstream::start(), Redis::start());
    let setup = setup(&app).redis(&redis);
    let gateways = [Gateway::start(&setup), Gateway::start(&setup)];
    let caller = sign(&of_session("s"));
    let token = sign(&logout().claim("sid", "s"));
    executed(send(&gateways[0], &token));
    // Lifted: whoever captured the token must not be able to undo that.
    lift(&gateways[0], &entries(&gateways[0])[0]);
    for gateway in gateways.iter().chain(&gateways) {
        not_accepted(send(gateway, &token));
        assert_eq!(call(gateway, &caller), 200, "a replay revokes nothing");
    }
    let names = redis.keys("postern:logout:*");
    assert_eq!(names.len(), 1, "{names:?}");
    let life: i64 = redis::from_redis_value(redis.command(&["TTL", &names[0]])).unwrap();
    assert!((150..=240).contains(&life), "as long as the token is taken: {life}");
    // Another session's with the same jti is the same token to whoever remembers.
    let other = logout().claim("jti", "one-of-a-kind");
    executed(send(&gateways[0], &sign(&other.clone().claim("sid", "a"))));
    not_accepted(send(&gateways[1], &sign(&other.claim("sid", "b"))));
}

#[test]
fn of_many_at_once_one_is_executed() {
    let (app, redis) = (Upstream::start(), Redis::start());
    let setup = setup(&app).redis(&redis);
    let gateways = [Gateway::start(&setup), Gateway::start(&setup)];
    for round in 0..5 {
        let sid = format!("s-{round}");
        let form = format!("logout_token={}", sign(&logout().claim("sid", sid.as_str())));
        let mut connections: Vec<_> = (0..20)
            .map(|i| {
                let gateway = &gateways[i % 2];
                (gateway.https().connect(), gateway.post(PATH).form(&form).bytes())
            })
            .collect();
        for (connection, request) in &mut connections {
            connection.write(&*request);
        }
        let answers = connections.iter_mut().map(|(connection, _)| connection.answer("POST"));
        let (good, bad): (Vec<_>, Vec<_>) = answers.partition(|answer| answer.status == 200);
        assert_eq!((good.len(), bad.len()), (1, 19), "{bad:?}");
        bad.into_iter().for_each(|answer| drop(not_accepted(answer)));
        assert_eq!(call(&gateways[0], &sign(&of_session(&sid))), 401);
    }
}

/// The embedded store remembers what was executed across a crash.
#[test]
fn a_token_is_executed_once_by_one_gateway_too() {
    let app = Upstream::start();
    let setup = setup(&app);
    let gateway = Gateway::start(&setup);
    let token = sign(&logout().claim("sid", "s"));
    executed(send(&gateway, &token));
    not_accepted(send(&gateway, &token));
    lift(&gateway, &entries(&gateway)[0]);
    let gateway = Gateway::start_in(gateway.kill(), &setup);
    not_accepted(send(&gateway, &token));
    assert_eq!(call(&gateway, &sign(&of_session("s"))), 200, "a replay revokes nothing");
}

/// R42: no 200 without the store; and the token is not used up by a try that failed.
#[test]
fn a_token_may_be_sent_again_when_the_store_was_down() {
    let (app, mut redis) = (Upstream::start(), Redis::start());
    let gateway = Gateway::start(&setup(&app).redis(&redis).set("store", "timeout", "\"500ms\""));
    let caller = sign(&of_session("s"));
    assert_eq!(call(&gateway, &caller), 200);
    let token = sign(&logout().claim("sid", "s"));
    redis.kill();
    for _ in 0..2 {
        let answer = send(&gateway, &token).expect(503);
        assert_eq!(answer.header("retry-after"), Some("1"));
        assert_eq!(answer.json()["error"], "temporarily_unavailable");
    }
    redis.restart();
    eventually("it is executed", std::time::Duration::from_secs(10), || {
        send(&gateway, &token).status == 200
    });
    assert_eq!(call(&gateway, &caller), 401);
    not_accepted(send(&gateway, &token));
}

/// BCL §2.6, RFC 8725 §2.7: what is refused, on the wire. The table of all is in
/// `auth::tests::logout_token`.
#[test]
fn what_is_not_accepted_ends_nothing_and_learns_nothing() {
    let app = Upstream::start();
    let gateway = Gateway::start(&setup(&app));
    let caller = sign(&of_session("s"));
    let of = || logout().claim("sid", "s");
    let stranger = Key::generate("ES256", &Key::shared("ES256").kid);
    let rows = [
        ("an access token", "token_type", caller.clone()),
        (
            "an ID token",
            "token_type",
            sign(&Token::good().claim("nonce", "n").claim("aud", CLIENT)),
        ),
        ("typ JWT (ASVS 10.5.5)", "token_type", sign(&of().header("typ", "JWT"))),
        ("typ at+jwt", "token_type", sign(&of().header("typ", "at+jwt"))),
        ("no event", "logout_event", sign(&of().without("events"))),
        ("nonce", "logout_nonce", sign(&of().claim("nonce", "n"))),
        ("another client", "audience", sign(&of().claim("aud", "web"))),
        ("another issuer", "unknown_issuer", sign(&of().claim("iss", "https://evil.test"))),
        ("too old", "too_old", sign(&of().claim("iat", unix_now() - 300))),
        ("expired", "expired", sign(&of().claim("exp", unix_now() - 60))),
        ("no jti", "missing_claim", sign(&of().without("jti"))),
        ("nobody's session", "logout_nobody", sign(&logout())),
        ("a forged signature", "signature", of().sign(&stranger)),
        ("alg none", "algorithm", of().header("alg", "none").with_signature(&stranger, b"")),
        ("crit", "unsupported_header", sign(&of().header("crit", json!(["x"])))),
        ("nothing", "malformed", String::new()),
    ];
    each(rows, |(what, reason, token)| {
        let answer = not_accepted(send(&gateway, &token));
        let line = gateway.access_line(answer.header("x-request-id").unwrap());
        assert_eq!(line["auth.reason"], reason, "{what}");
        assert_eq!(line["url.path"], PATH, "{what}");
    });
    assert_eq!(call(&gateway, &caller), 200);
    assert!(entries(&gateway).is_empty());
    // The other way round: invariant 2.
    gateway.get("/api/x").bearer(&sign(&of())).send().refused(401);
    let as_access = of().header("typ", "JWT").claim("sub", "alice");
    let as_access = as_access.claim("aud", json!([CLIENT, "https://api.test"]));
    gateway.get("/api/x").bearer(&sign(&as_access)).send().refused(401);
    let said = gateway.settled_output();
    assert!(!said.contains(&caller) && !said.contains(caller.rsplit('.').next().unwrap()));
}

/// BCL §2.5: a form with one `logout_token`, by POST.
#[test]
fn other_requests_are_none() {
    let app = Upstream::start();
    let gateway = Gateway::start(&setup(&app));
    let token = sign(&logout().claim("sid", "s"));
    let form = format!("logout_token={token}");
    for method in ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH", "post"] {
        let answer = gateway.request(method, PATH).form(&form).send().expect(405);
        assert_eq!(answer.header("allow"), Some("POST"), "{method}");
    }
    for (what, body) in [
        ("two", format!("{form}&{form}")),
        ("two, one encoded", format!("{form}&logout%5Ftoken={token}")),
        ("none", "x=1".to_owned()),
        ("another case", form.to_uppercase()),
        ("nothing at all", String::new()),
        ("no UTF-8", "logout_token=%FF".to_owned()),
    ] {
        let answer = gateway.post(PATH).form(&body).send().expect(400);
        assert_eq!(answer.json()["error"], "invalid_request", "{what}");
    }
    let in_query = gateway.post(&format!("{PATH}?{form}")).form("").send();
    assert_eq!(in_query.status, 400, "a token in the query is in every log on the way");
    gateway.post(PATH).json(&json!({ "logout_token": token })).send().refused(415);
    gateway.post(PATH).body(&form).send().refused(415);
    let coded = gateway.post(PATH).form(&form).header("Content-Encoding", "gzip");
    coded.send().refused(415);
    let huge = format!("{form}&x={}", "x".repeat(20_000));
    gateway.post(PATH).form(&huge).send().refused(413);
    let chunked = gateway.post(PATH).header("Content-Type", "application/x-www-form-urlencoded");
    let mut bytes = chunked.header("Transfer-Encoding", "chunked").bytes();
    bytes.extend(format!("{:x}\r\n{huge}\r\n0\r\n\r\n", huge.len()).bytes());
    gateway.https().raw(bytes).refused(413);
    assert!(entries(&gateway).is_empty());
    app.saw_nothing("the gateway's own path");
    // BCL §2.5: other values are ignored; the token is as good as before.
    executed(gateway.post(PATH).form(&format!("x=1&{form}&y")).send());
    app.saw_nothing("the gateway's own path");
}

/// The paths are the gateway's own in every spelling (R19, R20, design "Routing"), with the
/// widest route beside them.
#[test]
fn nothing_below_the_prefix_reaches_an_upstream() {
    let app = Upstream::start();
    let gateway = Gateway::start(&setup(&app).route("all", "path = \"/*\"\nauth = \"none\""));
    let rows = [
        ("/_postern", 404),
        ("/_postern/", 404),
        ("/_postern/x", 404),
        ("/_postern/backchannel-logout/x", 404),
        ("/_postern/login", 404),
        ("/%5Fpostern/x", 404),
        ("/_%70ostern/x", 404),
        ("/_POSTERN/backchannel-logout", 400),
        ("/_Postern", 400),
        ("/_postern./backchannel-logout", 400),
        ("/_postern%20/backchannel-logout", 400),
        ("/_postern%2Fbackchannel-logout", 400),
        ("/_postern%2fx", 400),
        ("/_postern//x", 400),
        ("//_postern/x", 400),
        ("/x/../_postern/x", 400),
        ("/_postern;x/y", 400),
        ("/_postern\\x", 400),
        ("/%EF%BC%BFpostern/x", 400),
        ("/_postern/BACKCHANNEL-LOGOUT", 404),
    ];
    each(rows, |(target, status)| {
        for method in ["GET", "POST", "OPTIONS"] {
            gateway.request(method, target).send().refused(status);
        }
    });
    app.saw_nothing("no spelling of the gateway's own paths");
    // As routes: with and without a final slash.
    let token = sign(&logout().claim("sid", "s"));
    let form = format!("logout_token={token}");
    executed(gateway.post("/%5Fpostern/backchannel-logout/").form(&form).send());
    for target in ["/_posternx", "/_postern-docs/x", "/x/_postern/y"] {
        gateway.get(target).send().expect(200);
    }
}

#[test]
fn the_paths_are_on_the_public_host_alone() {
    let app = Upstream::start();
    let wide = setup(&app).route("all", "path = \"/*\"\nauth = \"none\"");
    let send = |gateway: &Gateway, host: &str| {
        let form = format!("logout_token={}", sign(&logout().claim("sid", "s")));
        gateway.post(PATH).host(host).form(&form).send()
    };
    let anywhere = Gateway::start(&wide);
    executed(send(&anywhere, "other.test"));
    let url = format!("\"https://{HOST}\"");
    let gateway = Gateway::start(&wide.clone().set("listen", "public_url", &url));
    for host in [HOST, "API.test", "api.test.", "api.test:8443"] {
        executed(send(&gateway, host));
    }
    app.forget();
    for host in ["other.test", "localhost", "127.0.0.1", "x.api.test"] {
        send(&gateway, host).refused(404);
    }
    app.saw_nothing("on other hosts it is nobody's path");
}

#[test]
fn what_is_not_configured_is_not_there() {
    let app = Upstream::start();
    let gateway = Gateway::standard(&app);
    let form = format!("logout_token={}", sign(&logout().claim("sid", "s")));
    gateway.post(PATH).form(&form).send().refused(404);
    // A reload brings it, under another name if that is wanted; nothing else changes.
    let named = setup(&app).set("endpoints", "prefix", "\"/auth/own\"");
    gateway.reload(&named).expect(200);
    gateway.post(PATH).form(&form).send().refused(404);
    executed(gateway.post("/auth/own/backchannel-logout").form(&form).send());
    app.saw_nothing("neither there nor here");
}

/// A logout is written down like every revocation, and so is a token that was refused.
#[test]
fn each_logout_is_in_the_audit_log() {
    let app = Upstream::start();
    let audited = setup(&app)
        .set("audit", "file", "\"audit.log\"")
        .set("audit", "key_file", "\"audit.key\"")
        .file("audit.key", "an audit key of more than 32 bytes");
    let gateway = Gateway::start(&audited);
    let token = logout().claim("sid", "s");
    executed(send(&gateway, &sign(&token)));
    not_accepted(send(&gateway, &sign(&logout())));
    not_accepted(send(&gateway, &sign(&token)));
    gateway.post(PATH).form("").send().expect(400);
    gateway.revoke(&json!({ "kid": Key::shared("ES256").kid })).expect(201);
    let by_revoked = logout().claim("sid", "s");
    not_accepted(send(&gateway, &sign(&by_revoked)));
    let mut events = Vec::new();
    soon("all are written", || {
        events = log(&gateway.dir)
            .into_iter()
            .filter(|line| line["event"] == "logout" || line["actor"] == "backchannel-logout")
            .collect();
        events.len() == 6
    });
    let outcomes: Vec<_> = events.iter().map(|line| line["outcome"].as_str().unwrap()).collect();
    let refused = ["refused"; 4];
    assert_eq!(outcomes, [&["asked", "done"][..], &refused].concat(), "{events:?}");
    assert_eq!(events[1]["event"], "revocation");
    assert_eq!((&events[1]["jti"], &events[1]["issuer"]), (&json!(token.jti()), &json!(ISSUER)));
    // Who it says it is, once it has verified.
    for (line, reason, jti) in [
        (&events[2], "logout_nobody", None),
        (&events[3], "logout_replayed", Some(token.jti())),
        (&events[4], "logout_form", None),
        (&events[5], "revoked", Some(by_revoked.jti())),
    ] {
        assert_eq!(line["reason"], reason, "{line}");
        let issuer = jti.map(|_| ISSUER);
        assert_eq!((&line["jti"], &line["issuer"]), (&json!(jti), &json!(issuer)), "{line}");
        assert_eq!(line["address"], "127.0.0.1");
        let id = line["request_id"].as_str().unwrap();
        soon("it is in the log", || gateway.stderr().text().contains(id));
        let said = gateway.stderr().text();
        let said = said.lines().find(|said| said.contains(id));
        let said = said.expect("a line in the application log");
        assert!(said.contains("a logout token was refused") && said.contains(reason), "{said}");
        assert_eq!(said.contains("\"jti\""), jti.is_some(), "{said}");
    }
}

/// A key that was stolen signs logouts no more than access tokens.
#[test]
fn a_revoked_key_ends_no_sessions() {
    let app = Upstream::start();
    let gateway = Gateway::start(&setup(&app));
    let token = sign(&logout().claim("sid", "s"));
    gateway.revoke(&json!({ "kid": Key::shared("ES256").kid })).expect(201);
    let answer = not_accepted(send(&gateway, &token));
    let line = gateway.access_line(answer.header("x-request-id").unwrap());
    assert_eq!(line["auth.reason"], "revoked");
    lift(&gateway, &entries(&gateway)[0]);
    executed(send(&gateway, &token));
    gateway.revoke(&json!({ "issuer": ISSUER })).expect(201);
    not_accepted(send(&gateway, &sign(&logout().claim("sid", "s"))));
}
