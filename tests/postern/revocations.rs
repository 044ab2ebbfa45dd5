//! Revoking by more than one token's id: each selector refuses exactly the tokens that it names,
//! through every door, on fresh and on cached tokens (R41, invariant 9, contract section 6 "What
//! an entry means").

use std::process::Output;

use serde_json::{Value, json};

use crate::harness::client::Answer;
use crate::harness::gateway::{Gateway, run};
use crate::harness::keys::Key;
use crate::harness::redis::Redis;
use crate::harness::setup::Setup;
use crate::harness::tokens::{ISSUER, Token};
use crate::harness::upstream::Upstream;
use crate::harness::{soon, unix_now};

/// A second issuer, with the same key ids and, in these tests, the same subjects.
const OTHER: &str = "https://other.test";
/// A day and twice 30 s: as long as a token of these issuers may be accepted.
const LIFE: i64 = 24 * 60 * 60 + 60;
const KINDS: [&str; 7] = ["client", "issuer", "jti", "kid", "sid", "sub", "token"];

/// Two issuers, each with two keys of the same names.
struct Scene {
    keys: [[Key; 2]; 2],
}

/// Which token, and what it is.
struct Case {
    name: &'static str,
    token: Token,
    signed: String,
}

impl Scene {
    fn new() -> Self {
        let pair = || [Key::generate("ES256", "k1"), Key::generate("ES256", "k2")];
        Self { keys: [pair(), pair()] }
    }

    fn setup(&self, app: &Upstream) -> Setup {
        let [[a, b], [c, d]] = &self.keys;
        let other = format!("issuer = \"{OTHER}\"");
        let setup = Setup::standard(app).without_table("[[issuers]]");
        setup.issuer("main", "", &[a, b]).issuer("other", &other, &[c, d])
    }

    /// One token, and others that differ from it in one thing each.
    fn cases(&self) -> Vec<Case> {
        let [[first, second], [foreign, _]] = &self.keys;
        let now = unix_now();
        let base = || Token::good().claim("sub", "ada/1").claim("sid", "s 1").claim("azp", "shop");
        let row = |name, token: Token, key: &Key| Case { name, signed: token.sign(key), token };
        vec![
            row("the one", base(), first),
            row("its twin", base(), first),
            row("client_id for azp", base().without("azp").claim("client_id", "shop"), first),
            row("another client", base().claim("azp", "till"), first),
            row("another session", base().claim("sid", "s 2"), first),
            row("no session, no client", base().without("sid").without("azp"), first),
            row("another subject", base().claim("sub", "ada"), first),
            row("another key", base(), second),
            row("another issuer", base().claim("iss", OTHER), foreign),
            row("ahead, within the leeway", base().claim("iat", now + 20), first),
            row("old", base().claim("iat", now - 3600).claim("exp", now + 60), first),
        ]
    }
}

/// Which of [`Scene::cases`] a revocation that names "the one" refuses.
fn is_named(kind: &str, case: &str) -> bool {
    match kind {
        "jti" | "token" => case == "the one",
        "issuer" => case != "another issuer",
        "kid" => !["another issuer", "another key"].contains(&case),
        "sub" => !["another issuer", "another subject"].contains(&case),
        "sid" => !["another issuer", "another session", "no session, no client"].contains(&case),
        "client" => !["another issuer", "another client", "no session, no client"].contains(&case),
        other => panic!("{other}"),
    }
}

fn value(kind: &str, one: &Case) -> String {
    match kind {
        "client" => "shop".to_owned(),
        "issuer" => ISSUER.to_owned(),
        "jti" => one.token.jti().to_owned(),
        "kid" => "k1".to_owned(),
        "sid" => "s 1".to_owned(),
        "sub" => "ada/1".to_owned(),
        "token" => one.signed.clone(),
        other => panic!("{other}"),
    }
}

/// Tokens and issuers say themselves whose they are.
fn needs_issuer(kind: &str) -> bool {
    !["issuer", "token"].contains(&kind)
}

fn body(kind: &str, one: &Case) -> Value {
    let mut body = json!({ kind: value(kind, one), "reason": "stolen" });
    if needs_issuer(kind) {
        body["of_issuer"] = json!(ISSUER);
    }
    body
}

fn arguments(kind: &str, one: &Case) -> (Vec<String>, String) {
    let mut arguments: Vec<String> =
        ["revoke", "--config", "postern.toml", "--reason", "stolen"].map(str::to_owned).to_vec();
    let mut input = String::new();
    if kind == "token" {
        arguments.extend(["--token-file".to_owned(), "-".to_owned()]);
        input = value(kind, one);
    } else {
        arguments.extend([format!("--{kind}"), value(kind, one)]);
    }
    if needs_issuer(kind) {
        arguments.extend(["--of-issuer".to_owned(), ISSUER.to_owned()]);
    }
    (arguments, input)
}

fn words(arguments: &[String]) -> Vec<&str> {
    arguments.iter().map(String::as_str).collect()
}

fn entry_of(output: &Output) -> Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Asserts the verdict on every case, and that the service saw the allowed ones alone.
fn judged(gateway: &Gateway, app: &Upstream, cases: &[Case], kind: Option<&str>) {
    app.forget();
    let mut allowed = 0;
    for case in cases {
        let answer = gateway.get("/api/x").bearer(&case.signed).send();
        if kind.is_some_and(|kind| is_named(kind, case.name)) {
            assert_eq!(answer.status, 401, "{kind:?}: {}", case.name);
            let challenge = answer.header("www-authenticate").unwrap();
            assert_eq!(challenge, "Bearer error=\"invalid_token\"");
        } else {
            assert_eq!(answer.status, 200, "{kind:?}: {}: {}", case.name, answer.text());
            allowed += 1;
        }
    }
    assert_eq!(app.count(), allowed, "{kind:?}: the service saw what was allowed");
}

/// What the entry says, whichever door it was made through.
fn is_right(entry: &Value, kind: &str, one: &Case, by: &str) {
    // A token with a jti is revoked by it.
    let (kind, value) = match kind {
        "token" => ("jti", one.token.jti().to_owned()),
        "issuer" => ("issuer", String::new()),
        kind => (kind, value(kind, one)),
    };
    let now = unix_now();
    assert_eq!((&entry["kind"], &entry["value"]), (&json!(kind), &json!(value)), "{entry}");
    assert_eq!((&entry["issuer"], &entry["by"]), (&json!(ISSUER), &json!(by)), "{entry}");
    assert_eq!(entry["reason"], "stolen");
    assert!((now - 60..=now).contains(&entry["at"].as_i64().unwrap()), "{entry}");
    match kind {
        "issuer" | "kid" => assert!(entry["expires"].is_null(), "{entry}"),
        "sub" | "client" | "sid" => {
            let expires = entry["expires"].as_i64().unwrap() - entry["at"].as_i64().unwrap();
            assert!((LIFE..=LIFE + 5).contains(&expires), "{entry}");
        }
        _ => assert!(entry["expires"].as_i64().unwrap() > now, "{entry}"),
    }
    if ["sub", "client"].contains(&kind) {
        let ahead = entry["issued_before"].as_i64().unwrap() - entry["at"].as_i64().unwrap();
        assert!((30..=35).contains(&ahead), "the store's clock and the leeway: {entry}");
    } else {
        assert!(entry["issued_before"].is_null(), "{entry}");
    }
}

/// Revokes, looks, finds the entry in the list, lifts it, looks again.
fn each_selector(setup: &Setup, scene: &Scene, app: &Upstream) {
    let gateway = Gateway::start(setup);
    for (round, kind) in KINDS.into_iter().enumerate() {
        for (by_cli, cached) in [(false, true), (true, false)] {
            let cases = scene.cases();
            if cached {
                judged(&gateway, app, &cases, None);
            }
            let entry = if by_cli {
                let (arguments, input) = arguments(kind, &cases[0]);
                entry_of(&gateway.cli(&words(&arguments), &input))
            } else {
                gateway.revoke(&body(kind, &cases[0])).expect(201).json()
            };
            is_right(&entry, kind, &cases[0], "admin");
            judged(&gateway, app, &cases, Some(kind));
            assert_eq!(listed(&gateway), std::slice::from_ref(&entry), "{kind}");
            if by_cli {
                let text = gateway.cli(&["revocations", "list", "--config", "postern.toml"], "");
                let text = String::from_utf8(text.stdout).unwrap();
                assert!(
                    text.contains(ISSUER) && text.contains("by \"admin\": \"stolen\""),
                    "{text}"
                );
            }
            lifted(&gateway, &entry, by_cli);
            judged(&gateway, app, &cases, None);
            events(&gateway, &entry, round * 2 + usize::from(by_cli) + 1);
        }
    }
}

fn lifted(gateway: &Gateway, entry: &Value, by_cli: bool) {
    let id = entry["id"].as_str().unwrap();
    if by_cli {
        let arguments = ["revocations", "remove", "--config", "postern.toml", id];
        assert!(gateway.cli(&arguments, "").status.success());
    } else {
        gateway.admin_request("DELETE", &format!("/revocations/{id}")).send().expect(204);
    }
    gateway.admin_request("DELETE", &format!("/revocations/{id}")).send().expect(404);
    assert!(listed(gateway).is_empty(), "{entry}");
}

/// One line for the revocation and one for its end, with who, what and why.
fn events(gateway: &Gateway, entry: &Value, so_far: usize) {
    let mut lines: [Vec<Value>; 2] = Default::default();
    soon("both events are logged", || {
        let said = gateway.stderr().all();
        let said: Vec<Value> = said.iter().filter_map(|l| serde_json::from_str(l).ok()).collect();
        lines = ["revoked", "revocation lifted"].map(|message| {
            let of_it = |line: &&Value| line["message"] == message;
            said.iter().filter(of_it).cloned().collect()
        });
        lines.iter().all(|lines| lines.len() >= so_far)
    });
    for lines in &lines {
        assert_eq!(lines.len(), so_far, "one line each: {lines:?}");
        let line = lines.last().unwrap();
        for name in ["id", "kind"] {
            assert_eq!(line[name], entry[name], "{line}");
        }
        assert_eq!(line["by"], "admin", "{line}");
    }
    let line = lines[0].last().unwrap();
    for name in ["value", "issuer", "reason"] {
        assert_eq!(line[name], entry[name], "{line}");
    }
}

/// Every entry, read page by page.
fn listed(gateway: &Gateway) -> Vec<Value> {
    let mut items = Vec::new();
    let mut path = "/revocations?limit=2".to_owned();
    loop {
        let page = gateway.admin_request("GET", &path).send().expect(200).json();
        items.extend(page["items"].as_array().unwrap().clone());
        match page["next"].as_str() {
            Some(next) => path = format!("/revocations?limit=2&after={next}"),
            None => return items,
        }
    }
}

#[test]
fn each_selector_refuses_what_it_names_in_redis() {
    let (app, scene, redis) = (Upstream::start(), Scene::new(), Redis::start());
    each_selector(&scene.setup(&app).redis(&redis), &scene, &app);
}

#[test]
fn each_selector_refuses_what_it_names_in_the_embedded_store() {
    let (app, scene) = (Upstream::start(), Scene::new());
    each_selector(&scene.setup(&app), &scene, &app);
}

/// All kinds at once, in pages, of which each entry is in exactly one.
#[test]
fn pages_show_every_entry_once() {
    let (app, scene, redis) = (Upstream::start(), Scene::new(), Redis::start());
    for setup in [scene.setup(&app), scene.setup(&app).redis(&redis)] {
        let gateway = Gateway::start(&setup);
        let cases = scene.cases();
        let mut made: Vec<Value> = Vec::new();
        for kind in KINDS.into_iter().filter(|kind| *kind != "token") {
            made.push(gateway.revoke(&body(kind, &cases[0])).expect(201).json());
        }
        let mut listed = listed(&gateway);
        let by_id = |item: &Value| item["id"].as_str().unwrap().to_owned();
        made.sort_by_key(by_id);
        listed.sort_by_key(by_id);
        assert_eq!(listed, made);
    }
}

/// The one that is listed is this one. Its end is told from what is left of it, to the second.
fn assert_same(mut listed: Vec<Value>, mut entry: Value) {
    assert_eq!(listed.len(), 1, "{listed:?}");
    let ends = [&mut listed[0], &mut entry].map(|entry| entry["expires"].take().as_i64());
    let apart = ends[0].zip(ends[1]).map_or(0, |(one, other)| (one - other).abs());
    assert!(ends[0].is_some() == ends[1].is_some() && apart <= 1, "{ends:?}");
    assert_eq!(listed[0], entry);
}

/// No gateway runs: `postern revoke` writes to the store itself, and the gateway finds it there.
#[test]
fn with_no_gateway_running() {
    let (app, scene, redis) = (Upstream::start(), Scene::new(), Redis::start());
    for setup in [scene.setup(&app), scene.setup(&app).redis(&redis)] {
        for kind in KINDS {
            let gateway = Gateway::start(&setup);
            let cases = scene.cases();
            judged(&gateway, &app, &cases, None);
            let dir = gateway.kill();
            let (arguments, input) = arguments(kind, &cases[0]);
            let output = run(&dir, &words(&arguments), &input);
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(said.contains("writing to the store itself"), "{said}");
            let entry = entry_of(&output);
            is_right(&entry, kind, &cases[0], "cli");
            let gateway = Gateway::start_in(dir, &setup);
            judged(&gateway, &app, &cases, Some(kind));
            assert_same(listed(&gateway), entry.clone());
            let id = entry["id"].as_str().unwrap();
            gateway.admin_request("DELETE", &format!("/revocations/{id}")).send().expect(204);
        }
    }
}

/// "Log out everywhere": a token issued afterwards works, and one from before never again, however
/// often somebody revokes with an older date.
#[test]
fn a_new_login_works() {
    let (app, redis) = (Upstream::start(), Redis::start());
    let strict = || Setup::standard(&app).without_table("[[issuers]]");
    let key = Key::shared("ES256");
    for (setup, leeway) in [
        (strict().issuer("main", "leeway = \"0s\"", &[key]).redis(&redis), 0),
        (strict().issuer("main", "leeway = \"2s\"", &[key]), 2),
    ] {
        let gateway = Gateway::start(&setup);
        for (kind, claim) in [("sub", "sub"), ("client", "azp")] {
            let issued = |at: i64| {
                let token = Token::good().claim(claim, "u").claim("iat", at);
                gateway.get("/api/x").bearer(&token.sign(key)).send().status
            };
            assert_eq!(issued(unix_now()), 200, "{kind}");
            let entry = gateway.revoke(&json!({ kind: "u" })).expect(201).json();
            let at = entry["issued_before"].as_i64().unwrap();
            assert!((leeway..=leeway + 3).contains(&(at - entry["at"].as_i64().unwrap())));
            assert_eq!(issued(at - leeway), 401, "{kind}: in the same second");
            soon("its iat has come", || unix_now() > at);
            assert_eq!(issued(at), 401, "{kind}");
            assert_eq!(issued(at + 1), 200, "{kind}: issued afterwards");
            // An older date takes nothing back, a newer one goes further.
            gateway.revoke(&json!({ kind: "u", "issued_before": at - 600 })).expect(201);
            assert_eq!(issued(at), 401, "{kind}: a date was narrowed");
            assert_eq!(issued(at + 1), 200, "{kind}");
            gateway.revoke(&json!({ kind: "u", "issued_before": at + 1 })).expect(201);
            assert_eq!(issued(at + 1), 401, "{kind}: a date was moved on");
        }
    }
}

/// A date of the operator's own, on the command line in both spellings.
#[test]
fn issued_before_on_the_command_line() {
    let app = Upstream::start();
    let gateway = Gateway::standard(&app);
    let revoke = |sub: &str, time: &str| {
        let config = ["revoke", "--config", "postern.toml", "--sub", sub];
        gateway.cli(&[&config[..], &["--issued-before", time]].concat(), "")
    };
    let token = |sub: &str, iat: i64| {
        Token::good().claim("sub", sub).claim("iat", iat).sign(Key::shared("ES256"))
    };
    let at = unix_now() - 600;
    let rfc3339 = humantime::format_rfc3339_seconds(
        std::time::UNIX_EPOCH + std::time::Duration::from_secs(at.unsigned_abs()),
    );
    for (sub, time) in [("a", at.to_string()), ("b", rfc3339.to_string())] {
        let entry = entry_of(&revoke(sub, &time));
        assert_eq!(entry["issued_before"], at, "{time}");
        gateway.get("/api/x").bearer(&token(sub, at)).send().refused(401);
        gateway.get("/api/x").bearer(&token(sub, at + 1)).send().expect(200);
    }
    assert_eq!(revoke("c", &(unix_now() + 600).to_string()).status.code(), Some(1));
    for nonsense in ["yesterday", "", "1e9", "10.5", "1969-01-01T00:00:00Z"] {
        assert_eq!(revoke("c", nonsense).status.code(), Some(2), "{nonsense}");
    }
    gateway.get("/api/x").bearer(&token("c", at)).send().expect(200);
}

/// What `POST /revocations` and the command line refuse: two selectors, a life that is too short,
/// a date in the future, an issuer left open. Nothing is stored.
#[test]
fn what_makes_no_sense_is_refused() {
    let (app, scene) = (Upstream::start(), Scene::new());
    let gateway = Gateway::start(&scene.setup(&app));
    let now = unix_now();
    for (body, part) in [
        (json!({"sub": "a"}), "several issuers"),
        (json!({"kid": "k1"}), "several issuers"),
        (json!({"issuer": "https://nobody.test"}), "no issuer"),
        (json!({"issuer": ISSUER, "of_issuer": ISSUER}), "already"),
        (json!({"issuer": ISSUER, "sub": "a"}), "exactly one"),
        (json!({"sub": "a", "sid": "b", "of_issuer": ISSUER}), "exactly one"),
        (json!({"sub": "", "of_issuer": ISSUER}), "missing"),
        (json!({"sub": "x".repeat(1025), "of_issuer": ISSUER}), "1 KiB"),
        (json!({"sub": "a", "of_issuer": ISSUER, "for": "1h"}), "must not end before"),
        (json!({"kid": "k1", "of_issuer": ISSUER, "for": "1h"}), "must not end before"),
        (json!({"sub": "a", "of_issuer": ISSUER, "for": "200years"}), "100 years"),
        (json!({"sub": "a", "of_issuer": ISSUER, "issued_before": now + 90}), "future"),
        (json!({"sub": "a", "of_issuer": ISSUER, "issued_before": now * 1000}), "future"),
        (json!({"sub": "a", "of_issuer": ISSUER, "issued_before": 0}), "alive"),
        (json!({"sid": "a", "of_issuer": ISSUER, "issued_before": now}), "sub and client"),
    ] {
        let answer: Answer = gateway.revoke(&body).expect(400);
        assert!(answer.text().contains(part), "{body}: {}", answer.text());
    }
    for body in [json!({"sub": 1}), json!({"sub": "a", "issued_before": "now"})] {
        let status = gateway.revoke(&body).status;
        assert!((400..500).contains(&status), "{body}: {status}");
    }
    for (wrong, code) in [
        (&["--sub", "a", "--sid", "b"][..], 2),
        (&["--of-issuer", ISSUER][..], 2),
        (&["--token", "x"][..], 2),
        (&["--sub", "a"][..], 1),
        (&["--sub", "a", "--of-issuer", ISSUER, "--for", "1h"][..], 1),
    ] {
        let output =
            gateway.cli(&[&["revoke", "--config", "postern.toml"][..], wrong].concat(), "");
        assert_eq!(output.status.code(), Some(code), "{wrong:?}");
    }
    assert!(listed(&gateway).is_empty());
    assert!(!gateway.settled_output().contains("\"revoked\""), "no event of what did not happen");
}

/// `max_lifetime = "off"`: nobody knows how long, so the operator must say.
#[test]
fn tokens_without_an_end() {
    let app = Upstream::start();
    let key = Key::shared("ES256");
    let setup = Setup::standard(&app).without_table("[[issuers]]");
    let gateway = Gateway::start(&setup.issuer("main", "max_lifetime = \"off\"", &[key]));
    for kind in ["sub", "sid", "client", "jti"] {
        let answer = gateway.revoke(&json!({ kind: "u" })).expect(400);
        assert!(answer.text().contains("say how long"), "{}", answer.text());
    }
    // Without iat it cannot be said to be newer.
    let undated = Token::good().without("iat").claim("exp", unix_now() + 600).sign(key);
    gateway.get("/api/x").bearer(&undated).send().expect(200);
    let entry = gateway.revoke(&json!({"sub": "alice", "for": "400d"})).expect(201).json();
    let life = entry["expires"].as_i64().unwrap() - entry["at"].as_i64().unwrap();
    assert!((400 * 86400..=400 * 86400 + 5).contains(&life), "{entry}");
    gateway.get("/api/x").bearer(&undated).send().refused(401);
    let entry = gateway.revoke(&json!({"issuer": ISSUER})).expect(201).json();
    assert!(entry["expires"].is_null(), "{entry}");
}

/// The key that verified counts, whatever the header says of it (contract: "never the header's").
#[test]
fn kid_is_that_of_the_key_that_verified() {
    let app = Upstream::start();
    let (first, second) = (Key::generate("ES256", "k1"), Key::generate("ES256", "k2"));
    let setup = Setup::standard(&app).without_table("[[issuers]]");
    let gateway = Gateway::start(&setup.issuer("main", "", &[&first, &second]));
    let silent = |key: &Key| Token::good().header("kid", "(absent)").sign(key);
    let (of_first, of_second) = (silent(&first), silent(&second));
    for token in [&of_first, &of_second] {
        gateway.get("/api/x").bearer(token).send().expect(200);
    }
    gateway.revoke(&json!({"kid": "k1"})).expect(201);
    for token in [&of_first, &silent(&first), &Token::good().sign(&first)] {
        gateway.get("/api/x").bearer(token).send().refused(401);
    }
    for token in [&of_second, &silent(&second), &Token::good().sign(&second)] {
        gateway.get("/api/x").bearer(token).send().expect(200);
    }
}
