//! The command line: exit codes, nothing but data on standard output, no secret in an argument.

use std::process::Output;

use serde_json::Value;
use tempfile::TempDir;

use crate::harness::gateway::{Gateway, run};
use crate::harness::keys::Key;
use crate::harness::setup::{Setup, private};
use crate::harness::tokens::{AUDIENCE, ISSUER, Token};
use crate::harness::upstream::Upstream;

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn version_help_and_wrong_usage() {
    let dir = TempDir::new().unwrap();
    let version = run(&dir, &["--version"], "");
    assert!(version.status.success() && out(&version).contains(env!("CARGO_PKG_VERSION")));
    for verb in [
        "run",
        "demo",
        "dev",
        "check",
        "routes",
        "token",
        "keys",
        "revoke",
        "status",
        "reload",
        "healthcheck",
        "completions",
    ] {
        let help = run(&dir, &[verb, "--help"], "");
        assert!(help.status.success() && out(&help).len() > 40, "{verb}: {}", err(&help));
    }
    for wrong in [&["nonsense"][..], &["run", "--nonsense"], &["revoke"], &["token"], &[]] {
        let output = run(&dir, wrong, "");
        assert_eq!(output.status.code(), Some(2), "{wrong:?}: {}", err(&output));
        assert!(out(&output).is_empty(), "nothing but data on stdout: {wrong:?}");
    }
}

#[test]
fn completions() {
    let dir = TempDir::new().unwrap();
    for shell in ["bash", "zsh", "fish"] {
        let output = run(&dir, &["completions", shell], "");
        assert!(output.status.success() && out(&output).contains("postern"), "{shell}");
    }
}

#[test]
fn routes_in_words() {
    let app = Upstream::start();
    let dir = TempDir::new().unwrap();
    Setup::standard(&app).write(dir.path());
    let text = run(&dir, &["routes", "--config", "postern.toml"], "");
    assert!(text.status.success(), "{}", err(&text));
    for part in ["/public/*", "/api/*", "/admin/*", "app", "admin"] {
        assert!(out(&text).contains(part), "{part}: {}", out(&text));
    }
    let json = run(&dir, &["routes", "--config", "postern.toml", "--json"], "");
    let routes: Value = serde_json::from_str(&out(&json)).expect("JSON");
    assert!(routes.to_string().contains("/admin/*"), "{routes}");
}

#[test]
fn tokens_are_minted_inspected_and_verified() {
    let app = Upstream::start();
    let gateway = Gateway::standard(&app);
    let key = Key::shared("ES256");
    private(&gateway.dir.path().join("signing.pem"), key.private_pem().as_bytes());
    let mint = gateway.cli(
        &[
            "token",
            "mint",
            "--key-file",
            "signing.pem",
            "--alg",
            "ES256",
            "--kid",
            &key.kid,
            "--iss",
            ISSUER,
            "--aud",
            AUDIENCE,
            "--sub",
            "carol",
            "--role",
            "admin",
            "--ttl",
            "5m",
        ],
        "",
    );
    assert!(mint.status.success(), "{}", err(&mint));
    let token = out(&mint).trim().to_owned();
    gateway.get("/admin/x").bearer(&token).send().expect(200);
    assert_eq!(app.last().header("x-auth-subject"), Some("carol"));

    let inspect = gateway.cli(&["token", "inspect", "--token-file", "-"], &token);
    assert!(inspect.status.success(), "{}", err(&inspect));
    assert!(out(&inspect).contains("carol") && out(&inspect).contains("ES256"));
    assert!(err(&inspect).to_lowercase().contains("not verified"), "{}", err(&inspect));

    let verify = |token: &str| {
        let arguments = ["token", "verify", "--config", "postern.toml", "--token-file", "-"];
        gateway.cli(&arguments, token)
    };
    assert_eq!(verify(&token).status.code(), Some(0), "{}", err(&verify(&token)));
    for bad in [
        Token::good().claim("exp", 1).sign(key),
        Token::good().sign(&Key::generate("ES256", &key.kid)),
        "nonsense".to_owned(),
    ] {
        assert_eq!(verify(&bad).status.code(), Some(1), "{}", out(&verify(&bad)));
    }
    assert!(!err(&verify("a.b.c-secret")).contains("a.b.c-secret"));
}

#[test]
fn talking_to_a_running_gateway() {
    let app = Upstream::start();
    let mut gateway = Gateway::standard(&app);
    let admin = gateway.address("admin").to_string();
    let cli = |verb: &[&str]| {
        // The listener has a free port: the environment says which.
        let mut command = crate::harness::gateway::postern(&gateway.dir);
        command.args(verb).args(["--config", "postern.toml"]).env("POSTERN_ADMIN", &admin);
        command.output().unwrap()
    };
    for verb in ["status", "reload", "healthcheck"] {
        let output = cli(&[verb]);
        assert!(output.status.success(), "{verb}: {}{}", out(&output), err(&output));
    }
    let status = cli(&["status", "--format", "json"]);
    assert!(serde_json::from_str::<Value>(&out(&status)).is_ok(), "{}", out(&status));
    let token = Token::good();
    let revoke = cli(&["revoke", "--jti", token.jti(), "--reason", "lost laptop"]);
    assert!(revoke.status.success(), "{}", err(&revoke));
    let signed = token.sign(Key::shared("ES256"));
    gateway.get("/api/x").bearer(&signed).send().refused(401);
    gateway.signal(rustix::process::Signal::TERM);
    gateway.wait(std::time::Duration::from_secs(10));
}

#[test]
fn a_gateway_that_is_not_there() {
    let app = Upstream::start();
    let dir = TempDir::new().unwrap();
    Setup::standard(&app).set("admin", "listen", "\"127.0.0.1:1\"").write(dir.path());
    for verb in ["status", "reload", "healthcheck"] {
        let output = run(&dir, &[verb, "--config", "postern.toml"], "");
        assert_eq!(output.status.code(), Some(1), "{verb}: {}", err(&output));
        assert!(!err(&output).is_empty(), "{verb} says why");
    }
}

/// `--set` and the environment come before the file; other variables mean nothing.
#[test]
fn precedence() {
    let app = Upstream::start();
    let setup = Setup::standard(&app).set("limits", "body_bytes", "\"1MiB\"");
    let with = setup.argument("--set").argument("limits.body_bytes=\"10\"");
    let gateway = Gateway::start(&with.env("POSTERN_LIMITS_BODY_BYTES", "5MiB"));
    gateway.post("/public/x").body("0123456789").send().expect(200);
    gateway.post("/public/x").body("0123456789a").send().refused(413);
}

/// `${VAR}` in strings, after parsing.
#[test]
fn interpolation() {
    let app = Upstream::start();
    let url = app.url();
    let (scheme, rest) = url.split_at(7);
    let setup = Setup::standard(&app)
        .upstream("app", &format!("{scheme}${{WHERE:?say where}}"))
        .env("WHERE", rest);
    let gateway = Gateway::start(&setup);
    gateway.get("/public/x").send().expect(200);
    let dir = TempDir::new().unwrap();
    setup.write(dir.path());
    let output = run(&dir, &["check", "--config", "postern.toml"], "");
    assert_eq!(output.status.code(), Some(2));
    assert!((out(&output) + &err(&output)).contains("say where"));
}
