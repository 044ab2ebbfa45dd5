//! A provider that is down: its keys work on for a while, over restarts of the gateway as well, and
//! not a moment longer than `max_stale`.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::harness::client::Answer;
use crate::harness::eventually;
use crate::harness::gateway::Gateway;
use crate::harness::provider::Provider;
use crate::harness::setup::Setup;
use crate::harness::soon;
use crate::harness::upstream::Upstream;

fn setup(app: &Upstream, provider: &Provider, lines: &str) -> Setup {
    with_entry(app, &provider.entry(lines))
}

fn with_entry(app: &Upstream, entry: &str) -> Setup {
    Setup::bare()
        .upstream("app", &app.url())
        .issuer("provider", entry, &[])
        .route("public", "path = \"/public/*\"\nauth = \"none\"")
        .route("api", "path = \"/api/*\"")
}

fn call(gateway: &Gateway, token: &str) -> Answer {
    gateway.get("/api/x").bearer(token).send()
}

/// Public routes are served, no token is taken, and it is said why: here, in the log, and to who
/// asks for readiness.
fn has_no_keys(gateway: &Gateway, app: &Upstream, token: &str, context: &str) {
    app.forget();
    let answer = call(gateway, token);
    assert_eq!(answer.status, 503, "{context}: {}\n{}", answer.text(), gateway.output());
    let answer = answer.refused(503);
    assert!(answer.header("retry-after").is_some(), "{context}");
    app.saw_nothing(context);
    let line = gateway.access_line(answer.header("x-request-id").unwrap());
    assert_eq!(line["auth.reason"], "keys_unavailable", "{context}: {line}");
    gateway.get("/public/x").send().expect(200);
}

/// The files in the state directory that hold the last good keys.
fn last_good(dir: &TempDir) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut left = vec![dir.path().join("state")];
    while let Some(path) = left.pop() {
        if path.is_dir() {
            left.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if std::fs::read(&path).unwrap().windows(6).any(|part| part == b"\"keys\"") {
            found.push(path);
        }
    }
    found
}

/// Down for less than `max_stale`: nobody notices. For more: 503, for cached tokens as well. Back
/// again: so is the service.
#[test]
fn down_for_less_and_for_more_than_max_stale() {
    let (app, mut provider) = (Upstream::start(), Provider::start());
    let lines = "refresh = \"1s\"\ncooldown = \"1s\"\nmax_stale = \"4s\"";
    let gateway = Gateway::start(&setup(&app, &provider, lines));
    let (cached, unseen) = (provider.token("/"), provider.token("/rs256"));
    call(&gateway, &cached).expect(200);
    provider.stop();
    let stopped = Instant::now();
    // The last fetch may be a whole refresh ago.
    while stopped.elapsed() < Duration::from_millis(2500) {
        call(&gateway, &cached).expect(200);
        std::thread::sleep(Duration::from_millis(50));
    }
    call(&gateway, &unseen).expect(200);
    eventually("the keys are too old", Duration::from_secs(8), || {
        call(&gateway, &cached).status != 200
    });
    assert!(stopped.elapsed() < Duration::from_secs(6), "{:?}", stopped.elapsed());
    for token in [&cached, &unseen] {
        has_no_keys(&gateway, &app, token, "for more than max_stale");
    }
    provider.start_again();
    eventually("it recovers", Duration::from_secs(20), || call(&gateway, &cached).status == 200);
    call(&gateway, &unseen).expect(200);
    gateway.readyz(200);
}

/// A restart while the provider is down, orderly and not: the last good keys are on the disk.
#[test]
fn a_restart_while_the_provider_is_down() {
    let (app, mut provider) = (Upstream::start(), Provider::start());
    let lines = "refresh = \"1h\"\ncooldown = \"1s\"\nmax_stale = \"2h\"";
    let setup = setup(&app, &provider, lines);
    let mut gateway = Gateway::start(&setup);
    let token = provider.token("/");
    call(&gateway, &token).expect(200);
    provider.stop();
    gateway.signal(Signal::TERM);
    assert!(gateway.wait(Duration::from_secs(20)).success());
    let gateway = Gateway::start_in(gateway.kill(), &setup);
    call(&gateway, &token).expect(200);
    gateway.readyz(200);
    let dir = gateway.kill();
    let files = last_good(&dir);
    assert_eq!(files.len(), 1, "{files:?}");
    let mode = std::fs::metadata(&files[0]).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "{files:?}");
    let gateway = Gateway::start_in(dir, &setup);
    call(&gateway, &token).expect(200);
    gateway.readyz(200);
    // Back with new keys: found as ever.
    provider.start_again();
    provider.publish_new_keys();
    provider.sign_with_new_keys();
    let renewed = provider.token("/");
    eventually("the new key is found", Duration::from_secs(15), || {
        call(&gateway, &renewed).status == 200
    });
}

/// A last-good file that may not be what the gateway wrote, or is too old, is as good as none.
#[test]
fn last_good_keys_that_are_not_used() {
    let (app, mut provider) = (Upstream::start(), Provider::start());
    let lines = "refresh = \"1s\"\ncooldown = \"1s\"\nmax_stale = \"1h\"";
    let usual = setup(&app, &provider, lines);
    let short = setup(&app, &provider, &lines.replace("1h", "1s"));
    let url = format!("jwks_url = \"{}/jwks?other\"", provider.issuer());
    let elsewhere = with_entry(&app, &provider.entry(lines).replace("discovery = true", &url));
    let token = provider.token("/");
    let mut dir = TempDir::new().unwrap();
    // Where each of them keeps its keys; what the one before it kept is gone.
    let [foreign, file] = [&elsewhere, &usual].map(|setup| {
        setup.write(dir.path());
        let gateway =
            Gateway::start_in(std::mem::replace(&mut dir, TempDir::new().unwrap()), setup);
        call(&gateway, &token).expect(200);
        dir = gateway.kill();
        let [file] = &last_good(&dir)[..] else { panic!("{:?}", last_good(&dir)) };
        file.clone()
    });
    provider.stop();
    assert_ne!(foreign, file);
    let kept = std::fs::read(&file).unwrap();
    let damaged = |at: usize| {
        let mut bytes = kept.clone();
        bytes[at] ^= 1;
        bytes
    };
    let half = kept[..kept.len() / 2].to_vec();
    let middle = kept.windows(5).position(|part| part == b"\"x\":\"").unwrap();
    let rows = [
        ("readable by others", &usual, &file, kept.clone(), 0o644),
        ("writable by others", &usual, &file, kept.clone(), 0o622),
        ("cut off", &usual, &file, half, 0o600),
        ("empty", &usual, &file, Vec::new(), 0o600),
        ("one bit of its beginning", &usual, &file, damaged(1), 0o600),
        ("one bit of a key", &usual, &file, damaged(middle + 12), 0o600),
        ("of another URL", &elsewhere, &foreign, kept.clone(), 0o600),
        ("too old", &short, &file, kept.clone(), 0o600),
    ];
    for (name, setup, file, bytes, mode) in rows {
        std::fs::write(file, bytes).unwrap();
        std::fs::set_permissions(file, std::fs::Permissions::from_mode(mode)).unwrap();
        setup.write(dir.path());
        let gateway = Gateway::start_in(dir, setup);
        has_no_keys(&gateway, &app, &token, name);
        gateway.readyz(503);
        soon("the log says so", || {
            gateway.stderr().text().contains("keys of an earlier run are not used")
        });
        dir = gateway.kill();
    }
    // Whole again: used.
    std::fs::write(&file, &kept).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    usual.write(dir.path());
    let gateway = Gateway::start_in(dir, &usual);
    call(&gateway, &token).expect(200);
    drop(gateway);
    // Without a file and without a provider: not ready, until there is one.
    let gateway = Gateway::start(&usual);
    has_no_keys(&gateway, &app, &token, "never had keys");
    gateway.readyz(503);
    provider.start_again();
    eventually("it recovers", Duration::from_secs(20), || call(&gateway, &token).status == 200);
    gateway.readyz(200);
}
