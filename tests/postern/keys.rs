//! `postern keys`: keys of one's own, made, rotated under load and under kill -9, and published.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::harness::gateway::{Gateway, binary, postern, run};
use crate::harness::setup::Setup;
use crate::harness::tokens::{AUDIENCE, ISSUER};
use crate::harness::upstream::Upstream;
use crate::harness::{each, eventually};

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Runs `postern keys …`, which must succeed; what it printed.
fn keys(dir: &TempDir, arguments: &[&str]) -> String {
    let output = run(dir, &[&["keys"], arguments].concat(), "");
    assert!(output.status.success(), "{arguments:?}: {}", err(&output));
    out(&output)
}

/// A token from the key directory `keys`, with whatever key signs at this moment.
fn mint(dir: &TempDir) -> String {
    let token = ["token", "mint", "--keys", "keys", "--iss", ISSUER, "--aud", AUDIENCE];
    let output = run(dir, &[&token[..], &["--sub", "alice"]].concat(), "");
    assert!(output.status.success(), "{}", err(&output));
    out(&output).trim().to_owned()
}

fn kid(token: &str) -> String {
    use base64::Engine;
    let header = token.split('.').next().unwrap();
    let header = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(header).unwrap();
    let header: Value = serde_json::from_slice(&header).unwrap();
    header["kid"].as_str().unwrap().to_owned()
}

/// A gateway whose issuer has the keys of the directory `keys` beside its configuration.
fn setup(app: &Upstream, algorithm: &str) -> Setup {
    let lines = format!("algorithms = [\"{algorithm}\"]\njwks_file = \"keys/jwks.json\"");
    Setup::bare()
        .upstream("app", &app.url())
        .issuer("own", &lines, &[])
        .route("api", "path = \"/api/*\"")
}

/// Names and modes of what a directory holds.
fn listing(dir: &Path) -> Vec<(String, u32)> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().mode() & 0o777;
        (entry.file_name().into_string().unwrap(), mode)
    });
    let mut entries: Vec<_> = entries.collect();
    entries.sort();
    entries
}

/// The story of a rotation: tokens of both keys pass all the time, until the old one's are over.
fn rotates_under_load(algorithm: &'static str, prune: &[&str]) {
    let app = Upstream::start();
    let dir = TempDir::new().unwrap();
    keys(&dir, &["generate", "keys", "--algorithm", algorithm]);
    let setup = setup(&app, algorithm);
    setup.write(dir.path());
    let gateway = Gateway::start_in(dir, &setup);
    let (cached, unseen) = (mint(&gateway.dir), mint(&gateway.dir));
    gateway.get("/api/x").bearer(&cached).send().expect(200);

    let (stop, asked) = (AtomicBool::new(false), AtomicUsize::new(0));
    let ask = |token: &str| {
        let answer = gateway.get("/api/x").bearer(token).send();
        asked.fetch_add(1, Ordering::Relaxed);
        answer.status
    };
    let signed = std::thread::scope(|scope| {
        let old = scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                assert_eq!(ask(&cached), 200, "a token of the previous key");
            }
        });
        let fresh = scope.spawn(|| {
            let mut kids = BTreeSet::new();
            while !stop.load(Ordering::Relaxed) {
                let token = mint(&gateway.dir);
                assert_eq!(ask(&token), 200, "a token of the key that signs now");
                kids.insert(kid(&token));
            }
            kids
        });
        keys(&gateway.dir, &["rotate", "keys", "--keep", "4s"]);
        std::thread::sleep(Duration::from_secs(2));
        stop.store(true, Ordering::Relaxed);
        old.join().unwrap();
        fresh.join().unwrap()
    });
    assert_eq!(signed.len(), 2, "both keys signed meanwhile");
    assert!(asked.load(Ordering::Relaxed) > 100, "{asked:?}");
    gateway.get("/api/x").bearer(&unseen).send().expect(200);

    // The last token of the previous key has expired, says --keep: the key is dropped.
    let fresh = mint(&gateway.dir);
    assert_ne!(kid(&fresh), kid(&cached));
    eventually("the previous key is dropped", Duration::from_secs(20), || {
        keys(&gateway.dir, prune);
        let jwks = std::fs::read_to_string(gateway.dir.path().join("keys/jwks.json")).unwrap();
        !jwks.contains(&kid(&cached))
    });
    app.forget();
    eventually("the cached token ends with its key", Duration::from_secs(20), || {
        gateway.get("/api/x").bearer(&cached).send().status == 401
    });
    app.forget();
    for _ in 0..6 {
        gateway.get("/api/x").bearer(&cached).send().refused(401);
        gateway.get("/api/x").bearer(&unseen).send().refused(401);
    }
    app.saw_nothing("tokens of a key that is gone");
    gateway.get("/api/x").bearer(&fresh).send().expect(200);
}

#[test]
fn a_public_key_rotates_under_load() {
    rotates_under_load("ES256", &["jwks", "keys"]);
}

#[test]
fn a_shared_secret_rotates_under_load() {
    rotates_under_load("HS256", &["rotate", "keys", "--prune"]);
}

/// 0700 and 0600 whatever the umask is; nothing secret is printed; the printed piece of
/// configuration and the key file work.
#[test]
fn keys_are_private_and_work_as_printed() {
    let app = Upstream::start();
    each(["RS256", "ES256", "EdDSA", "HS256"], |algorithm| {
        let dir = TempDir::new().unwrap();
        let made = Command::new("sh")
            .args(["-c", "umask 000; exec \"$0\" keys generate keys --algorithm \"$1\""])
            .arg(binary())
            .arg(algorithm)
            .current_dir(dir.path())
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", err(&made));
        let folder = dir.path().join("keys");
        assert_eq!(std::fs::metadata(&folder).unwrap().mode() & 0o777, 0o700);
        let file = if algorithm == "HS256" { "signing.key" } else { "signing.pem" };
        let expected = ["jwks.json", "lock", file].map(|name| (name.to_owned(), 0o600));
        assert_eq!(listing(&folder), expected, "{algorithm}");
        let key = std::fs::read_to_string(folder.join(file)).unwrap();
        let printed = out(&made) + &err(&made);
        for line in key.lines().filter(|line| !line.starts_with("---")) {
            assert!(!printed.contains(line.trim_start_matches("base64:")), "{algorithm}");
        }
        if algorithm != "HS256" {
            let mut openssl = Command::new("openssl");
            openssl.args(["pkey", "-noout", "-text", "-in"]).arg(folder.join(file));
            let checked = openssl.output().unwrap();
            assert!(checked.status.success(), "{algorithm}: {}", err(&checked));
        }

        let mut setup = Setup::bare().upstream("app", &app.url());
        setup = setup.route("api", "path = \"/api/*\"");
        setup.write(dir.path());
        let mut config = setup.text();
        config += &out(&made).replace("https://auth.example.com", ISSUER);
        let config = config.replace("https://api.example.com", AUDIENCE);
        crate::harness::setup::private(&dir.path().join("postern.toml"), config.as_bytes());
        let gateway = Gateway::start_in(dir, &setup);
        gateway.get("/api/x").bearer(&mint(&gateway.dir)).send().expect(200);
        // The key file by itself, as a signer of any make would use it; the kid may be left out.
        let file = format!("keys/{file}");
        let mint = ["token", "mint", "--key-file", &file, "--alg", algorithm, "--sub", "bob"];
        let mint = gateway.cli(&[&mint[..], &["--iss", ISSUER, "--aud", AUDIENCE]].concat(), "");
        gateway.get("/api/x").bearer(out(&mint).trim()).send().expect(200);
    });
}

#[test]
fn refusals_and_exit_codes() {
    let dir = TempDir::new().unwrap();
    keys(&dir, &["generate", "keys"]);
    keys(&dir, &["generate", "secret", "--algorithm", "HS256"]);
    std::fs::create_dir(dir.path().join("open")).unwrap();
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(dir.path().join("open"), open).unwrap();
    let before = std::fs::read(dir.path().join("keys/signing.pem")).unwrap();
    let rows: &[(i32, &str, &[&str])] = &[
        (1, "postern keys rotate", &["generate", "keys"]),
        (1, "chmod 700", &["generate", "open"]),
        (1, "postern keys generate", &["rotate", "missing"]),
        (1, "never published", &["jwks", "secret"]),
        (1, "never published", &["jwks", "keys", "secret/jwks.json"]),
        (1, "cannot share", &["rotate", "keys", "--algorithm", "HS256"]),
        (2, "--algorithm", &["generate", "new", "--algorithm", "none"]),
        (2, "--algorithm", &["generate", "new", "--algorithm", "HS512"]),
        (2, "--keep", &["rotate", "keys", "--keep", "soon"]),
        (2, "--prepare", &["rotate", "keys", "--prepare", "--keep", "1h"]),
        (2, "--prune", &["rotate", "keys", "--prune", "--kid", "k"]),
        (2, "", &["jwks"]),
        (2, "", &["generate"]),
        (2, "", &[]),
    ];
    each(rows, |(code, part, arguments)| {
        let output = run(&dir, &[&["keys"], *arguments].concat(), "");
        assert_eq!(output.status.code(), Some(*code), "{arguments:?}: {}", err(&output));
        assert!(err(&output).contains(part), "{arguments:?}: {}", err(&output));
        assert!(out(&output).is_empty(), "{arguments:?}: nothing but data on stdout");
    });
    assert_eq!(std::fs::read(dir.path().join("keys/signing.pem")).unwrap(), before);
    assert!(!dir.path().join("new").exists());
    let mint = run(&dir, &["token", "mint", "--keys", "keys", "--kid", "k"], "");
    assert_eq!(mint.status.code(), Some(2), "a directory knows its kid");
    let mint = run(&dir, &["token", "mint", "--sub", "alice"], "");
    assert!(mint.status.code() == Some(2) && err(&mint).contains("--keys"), "{}", err(&mint));
    let mint = run(&dir, &["token", "mint", "--keys", "missing"], "");
    assert_eq!(mint.status.code(), Some(1), "{}", err(&mint));
}

/// What is published is what OpenSSL says the public key is.
#[test]
fn public_halves_of_directories_and_files() {
    let dir = TempDir::new().unwrap();
    each(["RS256", "ES256", "EdDSA"], |algorithm| {
        let made =
            keys(&dir, &["generate", algorithm, "--algorithm", algorithm, "--format", "json"]);
        let made: Value = serde_json::from_str(&made).unwrap();
        let pem = format!("{algorithm}/signing.pem");
        let public = format!("{algorithm}.pub");
        let openssl = Command::new("openssl")
            .args(["pkey", "-pubout", "-in", &pem, "-out", &public])
            .current_dir(dir.path())
            .output()
            .unwrap();
        assert!(openssl.status.success(), "{}", err(&openssl));
        let of = |path: &str| -> Value {
            let text = keys(&dir, &["jwks", path]);
            assert!(!text.contains("\"d\""), "{text}");
            serde_json::from_str::<Value>(&text).unwrap()["keys"][0].take()
        };
        let published = of(algorithm);
        assert_eq!((&published["kid"], &published["use"]), (&made["kid"], &"sig".into()));
        for path in [&pem, &public] {
            let of_file = of(path);
            for member in ["kid", "kty", "crv", "x", "y", "n", "e"] {
                assert_eq!(of_file[member], published[member], "{path}: {member}");
            }
        }
    });
    let all = keys(&dir, &["jwks", "RS256", "ES256", "EdDSA", "ES256.pub"]);
    let all: Value = serde_json::from_str(&all).unwrap();
    assert_eq!(all["keys"].as_array().unwrap().len(), 3);
}

/// kill -9 at any moment: what signs can be verified, and the next rotation goes on from there.
#[test]
fn a_rotation_killed_at_any_moment_does_no_harm() {
    let app = Upstream::start();
    let dir = TempDir::new().unwrap();
    keys(&dir, &["generate", "keys"]);
    setup(&app, "ES256").write(dir.path());
    let rotate = ["keys", "rotate", "keys", "--publish-first", "0s", "--keep", "1h"];
    let start = Instant::now();
    assert!(run(&dir, &rotate, "").status.success());
    let whole = start.elapsed().min(Duration::from_millis(300));
    let (mut seen, tries) = (BTreeSet::new(), 20);
    for number in 0..tries {
        let mut command = postern(&dir);
        command.args(rotate).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        // Up to twice as long, so that some are killed late and some not at all.
        std::thread::sleep(whole * 2 * number / tries);
        child.kill().unwrap();
        child.wait().unwrap();
        let token = mint(&dir);
        seen.insert(kid(&token));
        let verify = ["token", "verify", "--config", "postern.toml", "--token-file", "-"];
        let verified = run(&dir, &verify, &token);
        assert!(verified.status.success(), "{number}: {}{}", out(&verified), err(&verified));
    }
    let last = run(&dir, &rotate, "");
    assert!(last.status.success(), "{}", err(&last));
    let names = ["jwks.json", "lock", "signing.pem"].map(|name| (name.to_owned(), 0o600));
    assert_eq!(listing(&dir.path().join("keys")), names, "nothing is left lying about");
    println!("{tries} rotations were begun, {} of them let a new key sign", seen.len());
}

#[test]
fn two_rotations_at_once_are_one() {
    let dir = TempDir::new().unwrap();
    keys(&dir, &["generate", "keys"]);
    let rotate = ["keys", "rotate", "keys", "--publish-first", "2s"];
    let spawn = || {
        let mut command = postern(&dir);
        command.args(rotate).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let both = [spawn(), spawn()].map(|child| child.wait_with_output().unwrap());
    let mut codes = both.each_ref().map(|output| output.status.code().unwrap());
    codes.sort_unstable();
    assert_eq!(codes, [0, 1]);
    let refused = both.iter().find(|output| !output.status.success()).unwrap();
    assert!(err(refused).contains("another `postern keys`"), "{}", err(refused));
    let jwks: Value = serde_json::from_str(&keys(&dir, &["jwks", "keys"])).unwrap();
    assert_eq!(jwks["keys"].as_array().unwrap().len(), 2);
}
