//! The admin listener: health for everybody who can reach it, everything else behind its secret.

use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use crate::harness::gateway::Gateway;
use crate::harness::issuing;
use crate::harness::keys::Key;
use crate::harness::redis::Redis;
use crate::harness::setup::Setup;
use crate::harness::soon;
use crate::harness::tokens::Token;
use crate::harness::upstream::Upstream;

#[test]
fn health_is_open() {
    let app = Upstream::start();
    let gateway = Gateway::standard(&app);
    for path in ["/livez", "/readyz", "/readyz?verbose"] {
        gateway.admin().request("GET", path).send().expect(200);
        gateway.admin().request("HEAD", path).send().expect(200);
    }
    assert_eq!(gateway.pid(), u64::from(gateway_process(&gateway)));
}

fn gateway_process(gateway: &Gateway) -> u32 {
    // The pid in the ready file is that of a live `postern`.
    let name = std::fs::read_to_string(format!("/proc/{}/comm", gateway.pid())).unwrap();
    assert_eq!(name.trim(), "postern");
    u32::try_from(gateway.pid()).unwrap()
}

#[test]
fn changes_need_the_secret() {
    let app = Upstream::start();
    let gateway = Gateway::standard(&app);
    let secret = gateway.admin_secret();
    assert!(secret.len() >= 32, "{} characters", secret.len());
    let token = Token::good().roles(&["admin"]).sign(Key::shared("ES256"));
    for path in ["/revocations", "/reload"] {
        let request = gateway.admin().request("POST", path).json(&json!({"jti": "a"}));
        request.send().expect(401);
        for wrong in ["", "x", &secret[1..], &format!("{secret}x"), &secret.to_uppercase(), &token]
        {
            let answer = request.clone().bearer(wrong).send();
            assert!([400, 401].contains(&answer.status), "{path} {wrong:.5}: {}", answer.status);
        }
        let basic = request.clone().header("Authorization", &format!("Basic {secret}"));
        basic.send().expect(401);
        request.clone().header("Cookie", &format!("secret={secret}")).send().expect(401);
        let twice = request.clone().bearer(&secret).bearer(&secret).send();
        assert!([400, 401].contains(&twice.status), "{}", twice.status);
    }
    let query = format!("/revocations?secret={secret}");
    gateway.admin().request("POST", &query).json(&json!({"jti": "a"})).send().expect(401);
    gateway.revoke(&json!({"jti": "a"})).expect(201);
}

/// DNS rebinding and cross-site requests: a known Host, no foreign Origin, JSON only.
#[test]
fn browsers_cannot_be_used_against_it() {
    let app = Upstream::start();
    let gateway = Gateway::standard(&app);
    let request = || gateway.admin_request("POST", "/revocations").json(&json!({"jti": "a"}));
    for host in ["evil.test", "evil.test:9901", "127.0.0.1.evil.test", "localhost.evil.test", ""] {
        let answer = request().host(host).send();
        assert!((400..500).contains(&answer.status), "{host}: {}", answer.status);
    }
    let own = gateway.address("admin").to_string();
    let port = gateway.address("admin").port();
    for host in [own.clone(), format!("localhost:{port}")] {
        request().host(&host).send().expect(201);
    }
    for origin in ["https://evil.test", "null", "http://127.0.0.1:1"] {
        let answer = request().header("Origin", origin).send();
        assert!((400..500).contains(&answer.status), "{origin}: {}", answer.status);
    }
    for media in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"] {
        let plain = gateway.admin_request("POST", "/revocations").header("Content-Type", media);
        plain.body("{\"jti\":\"a\"}").send().expect(415);
    }
    let untyped = gateway.admin_request("POST", "/revocations").body("{\"jti\":\"a\"}");
    untyped.send().expect(415);
}

#[test]
fn other_paths_and_methods() {
    let app = Upstream::start();
    let gateway = Gateway::standard(&app);
    gateway.admin_request("GET", "/nowhere").send().expect(404);
    gateway.admin_request("GET", "/public/x").send().expect(404);
    for (method, path) in [("GET", "/reload"), ("DELETE", "/livez"), ("PUT", "/revocations")] {
        let answer = gateway.admin_request(method, path).send();
        assert!([404, 405, 415].contains(&answer.status), "{method} {path}: {}", answer.status);
    }
    let big = json!({"jti": "a", "reason": "x".repeat(100_000)});
    let answer = gateway.revoke(&big);
    assert!((400..500).contains(&answer.status), "{}", answer.status);
    let junk = gateway.admin_request("POST", "/revocations");
    junk.header("Content-Type", "application/json").body("{\"jti\":").send().expect(400);
    app.saw_nothing("the admin listener");
    // And nothing of it is reachable from outside.
    for path in ["/livez", "/readyz", "/metrics", "/revocations", "/reload", "/status"] {
        gateway.get(path).bearer(&gateway.admin_secret()).send().refused(404);
    }
    app.saw_nothing("admin paths from outside");
}

#[test]
fn the_secret_is_made_once_and_only_its_owner_reads_it() {
    let app = Upstream::start();
    let setup = Setup::standard(&app);
    let gateway = Gateway::start(&setup);
    let secret = gateway.admin_secret();
    let state = gateway.dir.path().join("state");
    let mode =
        |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&state), 0o700);
    for entry in std::fs::read_dir(&state).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path) & 0o077, 0, "{}", path.display());
    }
    let dir = gateway.kill();
    let gateway = Gateway::start_in(dir, &setup);
    assert_eq!(gateway.admin_secret(), secret, "the same after a restart");
    soon("the start is logged", || gateway.output().contains("listening"));
    assert!(!gateway.output().contains(&secret));
}

#[test]
fn a_secret_of_the_operators_own() {
    let app = Upstream::start();
    let own = "an-admin-secret-of-the-operators-own-choice";
    let setup = Setup::standard(&app)
        .set("admin", "secret_file", "\"admin.secret\"")
        .file("admin.secret", format!("{own}\n"));
    let gateway = Gateway::start(&setup);
    let request = gateway.admin().request("POST", "/revocations").bearer(own);
    request.json(&json!({"jti": "a"})).send().expect(201);

    let setup =
        Setup::standard(&app).set("admin", "secret_env", "\"GATE_SECRET\"").env("GATE_SECRET", own);
    let gateway = Gateway::start(&setup);
    let request = gateway.admin().request("POST", "/revocations").bearer(own);
    request.json(&json!({"jti": "a"})).send().expect(201);
}

/// `health`: /livez and /readyz alone, for probes from elsewhere.
#[test]
fn the_health_listener_serves_health_alone() {
    let app = Upstream::start();
    let down = "algorithms = [\"ES256\"]\njwks_url = \"http://127.0.0.1:1/jwks\"\nrequired = false";
    let setup = Setup::standard(&app).set("listen", "health", "\"127.0.0.1:0\"");
    let setup = setup.issuer("down", down, &[]);
    let gateway = Gateway::start(&setup);
    let health = crate::harness::client::Endpoint::http(gateway.address("health"));
    health.request("GET", "/livez").send().expect(200);
    health.request("GET", "/readyz").send().expect(200);
    // It may face the network: where providers are, and how they fail, is not for everybody.
    let verbose = health.request("GET", "/readyz?verbose").send().expect(200).text();
    assert!(verbose.contains("keys of down") && !verbose.contains("127.0.0.1"), "{verbose}");
    let verbose = gateway.admin().request("GET", "/readyz?verbose").send().expect(200).text();
    assert!(verbose.contains("127.0.0.1"), "{verbose}");
    for (method, path) in [("POST", "/reload"), ("POST", "/revocations"), ("GET", "/public/x")] {
        let request = health.request(method, path).bearer(&gateway.admin_secret());
        let answer = request.json(&json!({"jti": "a"})).send();
        assert!([404, 405].contains(&answer.status), "{path}: {}", answer.status);
    }
    app.saw_nothing("the health listener");
}

/// RFC 9110 §15.6.4: whoever automates revocations learns when to try again.
#[test]
fn what_is_unavailable_says_when_to_come_back() {
    let app = Upstream::start();
    let mut redis = Redis::start();
    let gateway = Gateway::start(&issuing::setup(&app).redis(&redis));
    let entry =
        gateway.revoke(&json!({"jti": "a", "of_issuer": issuing::ISSUER})).expect(201).json();
    let id = entry["id"].as_str().unwrap();
    let sid = issuing::client(&gateway).login("alice").sid();
    redis.kill();
    let mut create = gateway.admin_request("POST", "/revocations");
    create = create.json(&json!({"jti": "b", "of_issuer": issuing::ISSUER}));
    for (what, request) in [
        ("revoking", create),
        ("listing", gateway.admin_request("GET", "/revocations")),
        ("lifting", gateway.admin_request("DELETE", &format!("/revocations/{id}"))),
        ("sessions", gateway.admin_request("GET", "/sessions?sub=alice")),
        ("ending", gateway.admin_request("DELETE", &format!("/sessions/{sid}"))),
    ] {
        let mut answer = None;
        soon(what, || answer.insert(request.send()).status == 503);
        assert_eq!(answer.unwrap().header("retry-after"), Some("1"), "{what}");
    }
}
