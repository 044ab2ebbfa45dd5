//! `postern check --online`: what a configuration leads to is tried, against real servers that are
//! well and that are not. One line each; exit code 1 when something failed, 2 when the
//! configuration itself is wrong.

use std::process::Output;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::gateway::{Gateway, run};
use crate::harness::keys::Key;
use crate::harness::pki::authority;
use crate::harness::redis::Redis;
use crate::harness::setup::Setup;
use crate::harness::upstream::{After, Upstream, reply};

const SECRET: &str = "introspection-secret-123";

/// A provider on this machine: `/jwks`, and `/introspect` for one client.
fn provider() -> Upstream {
    Upstream::with(|seen, stream| {
        let known = "Basic Z2F0ZXdheTppbnRyb3NwZWN0aW9uLXNlY3JldC0xMjM=";
        match (seen.target.as_str(), seen.header("authorization")) {
            ("/jwks", _) => {
                let strange = json!({"kty": "AKP", "kid": "future"});
                let keys = json!({"keys": [Key::shared("ES256").jwk(), strange]});
                reply(stream, "200 OK", &[], &keys.to_string());
            }
            ("/introspect", Some(who)) if who == known => {
                assert!(String::from_utf8_lossy(&seen.body).contains("token="));
                reply(stream, "200 OK", &[], "{\"active\":false}");
            }
            ("/introspect", _) => reply(stream, "401 Unauthorized", &[], ""),
            ("/yes", _) => reply(stream, "200 OK", &[], "{\"active\":true}"),
            ("/page", _) => reply(stream, "200 OK", &[], "<html><title>Sign in</title>"),
            _ => reply(stream, "404 Not Found", &[], ""),
        }
        After::Close
    })
}

fn fetched(setup: Setup, name: &str, url: &str) -> Setup {
    let lines = format!("jwks_url = \"{url}\"\nissuer = \"{name}\"\nalgorithms = [\"ES256\"]");
    setup.issuer(name, &lines, &[])
}

/// A route of its own for each: no route may allow two introspected issuers.
fn introspected(setup: Setup, name: &str, url: &str) -> Setup {
    let lines = format!(
        "kind = \"introspection\"\nissuer = \"{name}\"\nurl = \"{url}\"\n\
         client_id = \"gateway\"\nclient_secret_file = \"client.secret\""
    );
    let route = format!("path = \"/{name}\"\nissuers = [\"{name}\"]");
    setup.issuer(name, &lines, &[]).route(name, &route)
}

fn check(setup: &Setup, more: &[&str]) -> Output {
    let dir = TempDir::new().unwrap();
    setup.write(dir.path());
    let mut arguments = vec!["check", "--online", "--config", "postern.toml"];
    arguments.extend(more);
    run(&dir, &arguments, "")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// The line of one probe.
fn line<'s>(said: &'s str, what: &str) -> &'s str {
    let found = said.lines().find(|line| line.contains(what));
    found.unwrap_or_else(|| panic!("no line has {what:?}:\n{said}"))
}

fn base() -> Setup {
    Setup::bare().file("client.secret", SECRET)
}

#[test]
fn what_is_well_is_said_to_be_well() {
    let (app, provider) = (Upstream::start(), provider());
    let redis = Redis::with(&["appendonly yes", "appendfsync always"]);
    let behind = Gateway::standard(&app);
    let https = format!("https://localhost:{}", behind.https().address.port());
    let setup = base().redis(&redis).upstream("app", &app.url());
    let setup = setup.upstream("tls", &https).set("upstreams.tls", "ca", "\"ca.pem\"");
    let setup = setup.file("ca.pem", &authority().pem);
    let setup = fetched(setup, "fetched", &format!("{}/jwks", provider.url()));
    let setup = introspected(setup, "opaque", &format!("{}/introspect", provider.url()));
    let setup = setup.route("tls", "path = \"/tls\"\nupstream = \"tls\"\nauth = \"none\"");
    let output = check(&setup, &[]);
    let text = said(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    let keys = line(&text, "keys fetched");
    assert!(keys.starts_with("warning") && keys.contains("1 key: ES256"), "{keys}");
    assert!(keys.contains("future"), "a key that is not used is told: {keys}");
    for (what, word) in [
        ("introspection opaque", "knows no made-up token"),
        ("store redis+unix", "a master"),
        ("upstream app", "connected to 127.0.0.1"),
        ("upstream tls", "TLS 1.3, certificate until"),
    ] {
        let line = line(&text, what);
        assert!(line.starts_with("good") && line.contains(word), "{line}");
        assert!(line.ends_with(" ms)"), "how long it took: {line}");
    }
    let certificate = line(&text, "certificate cert.pem");
    assert!(certificate.contains("api.test localhost 127.0.0.1, until"), "{certificate}");
    assert!(certificate.starts_with("warning") && certificate.contains("trusts"), "{certificate}");
    assert!(!text.contains(SECRET), "{text}");
    assert_eq!(app.count(), 0, "no request is sent to an upstream");
}

#[test]
fn what_is_broken_is_said_to_be_broken_and_why() {
    let provider = provider();
    // Takes connections and never speaks.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let silent_url = format!("http://{}", silent.local_addr().unwrap());
    let closed = {
        let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        gone.local_addr().unwrap()
    };
    let other = authority().issue(&["other.test"]);
    let renamed = Setup::standard(&provider).file("cert.pem", other.chain);
    let behind = Gateway::start(&renamed.file("key.pem", other.key));
    let https = behind.https().address;
    let mut setup = base()
        .set("store", "url", &format!("\"redis://{closed}\""))
        .upstream("app", &format!("http://{closed}"))
        .upstream("name", &format!("https://localhost:{}", https.port()))
        .set("upstreams.name", "ca", "\"ca.pem\"")
        .upstream("trust", &format!("https://localhost:{}", https.port()))
        .set("upstreams.trust", "ca", "\"foreign.pem\"")
        .upstream("plain", &provider.url().replace("http:", "https:"))
        .set("upstreams.plain", "ca", "\"ca.pem\"")
        .file("ca.pem", &authority().pem)
        .file("foreign.pem", other_authority());
    for name in ["name", "trust", "plain"] {
        let route = format!("path = \"/{name}\"\nupstream = \"{name}\"\nauth = \"none\"");
        setup = setup.route(name, &route);
    }
    let at = |path: &str| format!("{}{path}", provider.url());
    setup = fetched(setup, "page", &at("/page"));
    setup = fetched(setup, "nowhere", &at("/missing"));
    setup = fetched(setup, "silent", &silent_url);
    setup = introspected(setup, "yes", &at("/yes"));
    setup = introspected(setup, "html", &at("/page"));
    setup = introspected(setup, "stranger", &at("/introspect"));
    let began = Instant::now();
    let output = check(&setup.file("client.secret", "another-secret-456"), &[]);
    assert!(began.elapsed() < Duration::from_secs(30), "10 s in all, on a busy machine");
    let text = said(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    for (what, word) in [
        ("keys page", "HTML"),
        ("keys nowhere", "404"),
        ("keys silent", "5s"),
        ("introspection yes", "made-up token is active"),
        ("introspection html", "no JSON object"),
        ("introspection stranger", "401"),
        ("store redis://127.0.0.1", "no connection"),
        ("upstream app", "refused"),
        ("upstream name", "certificate"),
        ("upstream trust", "certificate"),
        ("upstream plain", ""),
    ] {
        let line = line(&text, what);
        assert!(line.starts_with("failed"), "{line}");
        assert!(line.to_lowercase().contains(&word.to_lowercase()), "{word:?} in {line}");
    }
    assert!(!text.contains("another-secret-456") && !text.contains("panicked"), "{text}");
}

/// The certificate of an authority that nobody here uses.
fn other_authority() -> String {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.self_signed(&key).unwrap().pem()
}

#[test]
fn programs_get_the_same_as_json() {
    let (app, provider) = (Upstream::start(), provider());
    // Persists nothing, which is worth a warning.
    let redis = Redis::start();
    let setup = base().redis(&redis).upstream("app", &app.url());
    let setup = fetched(setup, "fetched", &format!("{}/jwks", provider.url()));
    let setup = fetched(setup, "nowhere", &format!("{}/missing", provider.url()));
    let setup = setup.route("x", "path = \"/x\"");
    let output = check(&setup, &["--format", "json"]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["problems"], json!([]));
    let findings = document["online"].as_array().unwrap();
    let found = |kind: &str, name: &str| {
        let is_it = |finding: &&Value| {
            finding["kind"] == kind && finding["name"].as_str().unwrap().starts_with(name)
        };
        let finding = findings.iter().find(is_it).unwrap_or_else(|| panic!("{document}"));
        assert!(finding["took_ms"].is_u64(), "{finding}");
        (finding["outcome"].as_str().unwrap(), finding["found"].as_str().unwrap())
    };
    assert_eq!(found("keys", "fetched").0, "warning");
    assert_eq!(found("keys", "nowhere").0, "failed");
    assert_eq!(found("upstream", "app http://127.0.0.1").0, "good");
    assert_eq!(found("certificate", "cert.pem").0, "warning");
    let (outcome, words) = found("store", "redis+unix");
    assert!(outcome == "warning" && words.contains("appendonly"), "{words}");
}

#[test]
fn a_wrong_configuration_is_not_tried() {
    let app = Upstream::start();
    let setup = Setup::standard(&app).set("limits", "body_byte", "1");
    let output = check(&setup, &[]);
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert_eq!(app.connections(), 0);
}

#[test]
fn without_the_word_nothing_is_connected_to() {
    let (app, provider) = (Upstream::start(), provider());
    let setup = base().upstream("app", &app.url()).route("x", "path = \"/x\"");
    let setup = fetched(setup, "fetched", &format!("{}/jwks", provider.url()));
    let setup = setup.set("store", "url", "\"redis://127.0.0.1:1\"");
    let dir = TempDir::new().unwrap();
    setup.write(dir.path());
    let output = run(&dir, &["check", "--config", "postern.toml"], "");
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert_eq!(app.connections() + provider.connections(), 0);
}

/// The service that knows the passwords: connected to, and sent nothing.
#[test]
fn the_accounts_service_is_tried_without_a_login() {
    let (app, service) = (Upstream::start(), Upstream::start());
    let closed = {
        let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        gone.local_addr().unwrap()
    };
    for (url, outcome, word) in [
        (service.url(), "good", "connected; no login was sent"),
        (format!("http://{closed}"), "failed", "cannot connect"),
        (service.url().replace("http:", "https:"), "failed", "no complete answer within 1s"),
    ] {
        let users = format!(
            "{{ url = \"{url}/login\", claims = {{ sub = \"/id\" }}, ca = \"ca.pem\", timeout = \"1s\" }}"
        );
        let users =
            if url.starts_with("https") { users } else { users.replace("ca = \"ca.pem\", ", "") };
        let setup = crate::harness::issuing::setup(&app)
            .unset("issuing.users", "file")
            .set("issuing.users", "upstream", &users)
            .file("ca.pem", &authority().pem);
        let output = check(&setup, &[]);
        let text = said(&output);
        let line = line(&text, "accounts upstream");
        assert!(line.starts_with(outcome) && line.contains(word), "{line}");
        let failed = i32::from(outcome == "failed");
        assert_eq!(output.status.code(), Some(failed), "{text}");
    }
    assert_eq!(service.count(), 0, "no login is sent");
}
