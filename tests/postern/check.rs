//! `postern check`, and what a gateway refuses to start with (R3, R5, R16, R52): all errors at
//! once, each with its place, exit code 2, never a panic.

use std::os::unix::fs::PermissionsExt;
use std::process::Output;

use tempfile::TempDir;

use crate::harness::gateway::{Gateway, refuses_to_start, run};
use crate::harness::issuing;
use crate::harness::keys::Key;
use crate::harness::setup::Setup;
use crate::harness::soon;
use crate::harness::upstream::Upstream;

fn check(setup: &Setup) -> Output {
    let dir = TempDir::new().unwrap();
    setup.write(dir.path());
    run(&dir, &["check", "--config", "postern.toml"], "")
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn good() -> Setup {
    let app = Upstream::start();
    Setup::standard(&app)
}

#[test]
fn good_files_pass() {
    let output = check(&good());
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
}

/// What is allowed and may surprise is said, offline, at the start and at a reload: a logout that is
/// answered 204 ends no access token where nobody looks.
#[test]
fn a_blocklist_that_nobody_asks_is_warned_of() {
    let app = Upstream::start();
    let off = |setup: Setup| setup.set("revocation", "check", "\"off\"");
    for (setup, word) in [
        (off(Setup::standard(&app)), "a revoked token works until it expires"),
        (off(issuing::setup(&app)), "after a logout or a revocation the access token works until"),
    ] {
        let output = check(&setup);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let places = said.lines().next().unwrap().split_once(": warning: ").expect(&said);
        assert!(places.0.starts_with("postern.toml:") && places.1.contains(word), "{said}");
        let dir = TempDir::new().unwrap();
        setup.write(dir.path());
        let json = ["check", "--config", "postern.toml", "--format", "json"];
        let said: serde_json::Value = serde_json::from_slice(&run(&dir, &json, "").stdout).unwrap();
        assert_eq!(said["problems"], serde_json::json!([]));
        assert!(said["warnings"][0]["message"].as_str().unwrap().contains(word), "{said}");
        let gateway = Gateway::start(&setup);
        gateway.says(word);
    }
    let gateway = Gateway::start(&issuing::setup(&app));
    assert!(!gateway.stderr().text().contains("check is off"));
    gateway.reload(&off(issuing::setup(&app))).expect(200);
    soon("a warning", || gateway.stderr().text().contains("only the next refresh is refused"));
    let client = issuing::client(&gateway);
    let tokens = client.login("alice");
    client.logout(&tokens.access).expect(204);
    assert_eq!(client.call(&tokens.access), 200, "as the warning says");
    client.refresh(&tokens.refresh).refused(401);
}

/// Name, configuration, and a word that the message must have.
fn broken() -> Vec<(&'static str, Setup, &'static str)> {
    let issuer = |lines: &str| good().issuer("second", lines, &[Key::shared("EdDSA")]);
    let weak = |bytes: &'static [u8]| {
        let key = Key::secret("HS256", "weak", bytes);
        good().issuer("weak", "issuer = \"https://weak.test\"", &[&key])
    };
    let pem: &'static str = Box::leak(Key::shared("RS256").public_pem().into_boxed_str());
    let mixed = [Key::shared("HS256"), Key::shared("RS256")];
    let twin = Key::generate("ES256", "shared-ES256");
    vec![
        ("unknown key", good().set("limits", "body_byte", "1"), "body_bytes"),
        ("unknown section", good().set("limitz", "x", "1"), "limits"),
        ("unknown route key", good().route("x", "path = \"/x\"\nrequires = {}"), "require"),
        ("syntax", good().set("limits", "body_bytes", "\"1MiB"), "postern.toml"),
        ("type", good().set("limits", "connections", "\"many\""), "connections"),
        ("negative", good().set("limits", "connections", "-1"), "connections"),
        ("zero", good().set("limits", "connections", "0"), "connections"),
        ("duration", good().set("timeouts", "header", "\"10 parsecs\""), "header"),
        ("zero duration", good().set("timeouts", "header", "\"0s\""), "header"),
        ("size", good().set("limits", "body_bytes", "\"1XB\""), "body_bytes"),
        ("rate", good().set("auth_failures", "rate", "\"5\""), "rate"),
        ("zero window", good().set("auth_failures", "rate", "\"5/0s\""), "rate"),
        ("bad address", good().set("listen", "https", "\"nowhere\""), "https"),
        (
            "bad CIDR",
            good().set("listen", "trusted_proxies", "[\"10.0.0.0/99\"]"),
            "trusted_proxies",
        ),
        ("store URL", good().set("store", "url", "\"mysql://x\""), "url"),
        (
            "missing certificate",
            good().set("tls", "certificates", "[{ cert = \"no.pem\", key = \"key.pem\" }]"),
            "no.pem",
        ),
        ("unknown upstream", good().route("x", "path = \"/x\"\nupstream = \"ap\""), "app"),
        ("unknown issuer", good().route("x", "path = \"/x\"\nissuers = [\"man\"]"), "main"),
        ("two equal routes", good().route("x", "path = \"/api/*\""), "api"),
        ("two routes of one name", good().route("api", "path = \"/x\""), "api"),
        ("bad path", good().route("x", "path = \"x\""), "path"),
        ("dots in path", good().route("x", "path = \"/a/../b\""), "path"),
        ("TRACE", good().route("x", "path = \"/x\"\nmethods = [\"TRACE\"]"), "TRACE"),
        ("lower-case method", good().route("x", "path = \"/x\"\nmethods = [\"get\"]"), "GET"),
        ("unknown auth", good().route("x", "path = \"/x\"\nauth = \"nome\""), "none"),
        (
            "no issuer",
            Setup::bare().upstream("app", "http://127.0.0.1:1").route("x", "path = \"/x\""),
            "issuer",
        ),
        ("literal secret", good().set("admin", "secret", "\"hunter2\""), "secret_file"),
        ("literal password", good().set("store", "password", "\"hunter2\""), "password_file"),
        ("leeway", issuer("issuer = \"https://b.test\"\nleeway = \"61s\""), "leeway"),
        ("no algorithms", issuer("issuer = \"https://b.test\"\nalgorithms = []"), "algorithms"),
        ("none", issuer("issuer = \"https://b.test\"\nalgorithms = [\"none\"]"), "algorithm"),
        ("unlisted key", issuer("issuer = \"https://b.test\"\nalgorithms = [\"ES256\"]"), "EdDSA"),
        (
            "R3 mixed families",
            good().issuer("mixed", "issuer = \"https://b.test\"", &mixed),
            "HMAC",
        ),
        ("R3 PEM as secret", weak(pem.as_bytes()), "PEM"),
        ("R16 short secret", weak(b"only-31-bytes-long-secret-xxxxx"), "32"),
        ("R16 empty secret", weak(b""), "empty"),
        (
            "R5 duplicate kid",
            good().without_table("[[issuers]]").issuer("main", "", &[Key::shared("ES256"), &twin]),
            "kid",
        ),
        (
            "framing header",
            good().set("identity.headers", "\"Content-Length\"", "\"sub\""),
            "Content-Length",
        ),
        (
            "a local copy of a cluster",
            good().set("revocation", "check", "\"tracked\"").set(
                "store",
                "url",
                "\"redis-cluster://127.0.0.1:1\"",
            ),
            "Redis Cluster is not offered",
        ),
    ]
}

#[test]
fn broken_files_are_refused() {
    for (name, setup, word) in broken() {
        let output = check(&setup);
        let said = text(&output);
        assert_eq!(output.status.code(), Some(2), "{name}: {said}");
        assert!(said.contains("postern.toml:"), "{name}: file:line:column in {said}");
        assert!(said.to_lowercase().contains(&word.to_lowercase()), "{name}: {word:?} in {said}");
        assert!(!said.contains("panicked") && !said.contains("hunter2"), "{name}: {said}");
    }
}

#[test]
fn a_gateway_does_not_start_with_them() {
    for (name, setup, word) in broken().into_iter().step_by(7) {
        let (code, said) = refuses_to_start(&setup);
        assert_eq!(code, 2, "{name}: {said}");
        assert!(said.to_lowercase().contains(&word.to_lowercase()), "{name}: {said}");
    }
}

/// All errors at once, each with line and column of its own.
#[test]
fn all_errors_are_told_at_once() {
    let setup = good()
        .set("limits", "body_byte", "1")
        .set("timeouts", "header", "\"soon\"")
        .set("listen", "trusted_proxies", "[\"x\"]")
        .route("x", "path = \"/x\"\nupstream = \"nobody\"")
        .route("y", "path = \"y\"");
    let said = text(&check(&setup));
    let places: std::collections::HashSet<&str> =
        said.split_whitespace().filter(|word| word.starts_with("postern.toml:")).collect();
    // The last line counts them and names no place.
    let places: Vec<_> = places.into_iter().filter(|place| *place != "postern.toml:").collect();
    assert!(places.len() >= 5, "{said}");
    for place in places {
        let mut numbers = place.trim_end_matches(':').split(':').skip(1);
        let mut number = || numbers.next().and_then(|n| n.parse::<u32>().ok());
        assert!(number().is_some() && number().is_some(), "{place}");
    }
}

/// Files that others may write or read are no place for rules and keys.
#[test]
fn permissions() {
    for (file, mode) in
        [("postern.toml", 0o666), ("postern.toml", 0o620), ("key.pem", 0o644), ("key.pem", 0o660)]
    {
        let dir = TempDir::new().unwrap();
        good().write(dir.path());
        let path = dir.path().join(file);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        let output = run(&dir, &["run", "--config", "postern.toml"], "");
        assert!(!output.status.success(), "{file} with mode {mode:o}");
        assert!(text(&output).contains("chmod"), "{}", text(&output));
    }
}

/// Name, configuration, the key that must be shown, and words that must be said.
fn refused_at_the_start() -> Vec<(&'static str, Setup, &'static str, &'static [&'static str])> {
    use crate::harness::issuing;
    let app = Upstream::start();
    let audited = || issuing::setup(&app).set("audit", "file", "\"audit.log\"");
    let sealed =
        |key: &str| audited().set("audit", "key_file", "\"audit.key\"").file("audit.key", key);
    let users = |content: &str| issuing::setup(&app).file("users", content);
    let elsewhere = || issuing::setup(&app).unset("issuing.users", "file");
    vec![
        (
            "no users file",
            elsewhere().set("issuing.users", "file", "\"nobody\""),
            "file",
            &["nobody cannot be read", "postern user add"][..],
        ),
        ("a wrong line", users("bob:plain\n"), "file", &["users:1: the hash is of no known kind"]),
        (
            "wrong lines",
            users("bob:plain\nalice\n"),
            "file",
            &["users:1: ", "users:2: ", "2 things are"],
        ),
        (
            "a short key",
            sealed("ten bytes."),
            "key_file",
            &["it has 10 bytes, and needs 32 at least"],
        ),
        (
            "no key",
            audited().set("audit", "key_env", "\"NOT_SET_ANYWHERE\""),
            "key_env",
            &["NOT_SET_ANYWHERE is not set"],
        ),
        (
            "no admin secret",
            good().unset("admin", "secret_file").set("admin", "secret_file", "\"none\""),
            "secret_file",
            &["none cannot be read"],
        ),
        (
            "no store password",
            good().set("store", "url", "\"redis://127.0.0.1:1\"").set(
                "store",
                "password_file",
                "\"none\"",
            ),
            "password_file",
            &["none cannot be read"],
        ),
        (
            "all of it",
            sealed("ten bytes.").file("users", "bob:plain\n").set(
                "tls",
                "certificates",
                "[{ cert = \"no.pem\", key = \"key.pem\" }]",
            ),
            "file",
            &["no known kind", "needs 32 at least", "no.pem", "3 things are"],
        ),
    ]
}

/// What else a start reads: the users file, the audit log's key, the store's and the admin
/// interface's secrets. `check` and `run` say the same, at the same place, and everything at once.
#[test]
fn what_a_start_would_refuse_is_told_before() {
    for (name, setup, key, words) in refused_at_the_start() {
        let output = check(&setup);
        let said = text(&output);
        assert_eq!(output.status.code(), Some(2), "{name}: {said}");
        let (code, started) = refuses_to_start(&setup);
        assert_eq!(code, 2, "{name}: {started}");
        for word in words {
            assert!(said.contains(word), "{name}: {word:?} in {said}");
            assert!(
                started.contains(word) || word.ends_with("are"),
                "{name}: {word:?} in {started}"
            );
        }
        for said in [&said, &started] {
            assert!(
                said.contains("postern.toml:") && said.contains(&format!("| {key} = ")),
                "{name}: {said}"
            );
            assert!(!said.contains("bob:plain") && !said.contains("ten bytes"), "{name}: {said}");
        }
    }
}

#[test]
fn a_users_file_that_others_may_read_is_told_before() {
    let app = Upstream::start();
    let setup = issuing::setup(&app);
    let dir = TempDir::new().unwrap();
    setup.write(dir.path());
    let check = || run(&dir, &["check", "--config", "postern.toml"], "");
    let output = check();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let open = std::fs::Permissions::from_mode(0o644);
    std::fs::set_permissions(dir.path().join("users"), open).unwrap();
    let said = text(&check());
    assert!(said.contains("chmod 600") && said.contains("| file = \"users\""), "{said}");
}

/// Offline verbs run no command and read no interpolated file.
#[test]
fn checking_runs_no_commands() {
    let setup = good()
        .unset("admin", "secret_file")
        .set("admin", "secret_command", "[\"touch\", \"it-ran\"]")
        .set("listen", "public_url", "\"${file:url.txt}\"")
        .file("url.txt", "https://api.test");
    let dir = TempDir::new().unwrap();
    setup.write(dir.path());
    for verb in ["check", "routes"] {
        run(&dir, &[verb, "--config", "postern.toml"], "");
        assert!(!dir.path().join("it-ran").exists(), "{verb}");
    }
}

#[test]
fn no_file_and_odd_files() {
    let dir = TempDir::new().unwrap();
    let output = run(&dir, &["check", "--config", "missing.toml"], "");
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    assert!(text(&output).contains("missing.toml"));
    for contents in [&b""[..], b"\xff\xfe", b"[[[[", b"\0", &[b'['; 100_000]] {
        std::fs::write(dir.path().join("odd.toml"), contents).unwrap();
        let output = run(&dir, &["check", "--config", "odd.toml"], "");
        assert_eq!(output.status.code(), Some(2), "{}", text(&output));
        assert!(!text(&output).contains("panicked"), "{}", text(&output));
    }
}
