//! The audit log of the real binary: what is in it, that nothing happens without it, and that
//! `postern audit verify` finds whatever was done to it afterwards.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, Signal, prlimit};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::gateway::{Gateway, refuses_to_start, run};
use crate::harness::jwks_server::{JwksServer, Page};
use crate::harness::keys::Key;
use crate::harness::metrics::Scrape;
use crate::harness::redis::Redis;
use crate::harness::setup::Setup;
use crate::harness::tokens::Token;
use crate::harness::upstream::Upstream;
use crate::harness::{each, soon};

const KEY: &str = "an audit key of more than 32 bytes\n";

fn key() -> &'static Key {
    Key::shared("ES256")
}

/// A configuration with an audit log.
fn audited(setup: Setup) -> Setup {
    setup
        .set("audit", "file", "\"audit.log\"")
        .set("audit", "key_file", "\"audit.key\"")
        .file("audit.key", KEY)
}

/// The lines of one file.
fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}

fn log(dir: &TempDir) -> Vec<Value> {
    lines(&dir.path().join("audit.log"))
}

/// `postern audit verify` with the configuration's file, key and state directory.
fn verify(dir: &TempDir) -> Output {
    run(dir, &["audit", "verify", "--config", "postern.toml"], "")
}

fn is_good(dir: &TempDir) {
    let output = verify(dir);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
}

/// The events of a log as `event outcome`, those of the file itself and of start and stop left out.
fn story(lines: &[Value]) -> Vec<String> {
    let word = |line: &Value, name: &str| line[name].as_str().unwrap_or_default().to_owned();
    let own = ["open", "start", "drain", "stop"];
    let lines = lines.iter().filter(|line| !own.contains(&line["event"].as_str().unwrap()));
    lines.map(|line| format!("{} {}", word(line, "event"), word(line, "outcome"))).collect()
}

/// Changes are there when they are answered, before and after; denials soon after; with who, from
/// where and why. No token is ever in it.
#[test]
fn changes_and_denials_are_written() {
    let app = Upstream::start();
    let limits =
        "path = \"/few\"\nauth = \"none\"\nlimits = [{ by = \"client\", rate = \"1/1h\" }]";
    let setup = audited(Setup::standard(&app)).route("few", limits);
    let mut gateway = Gateway::start(&setup);
    let token = Token::good().claim("azp", "shop");
    let signed = token.sign(key());
    gateway.get("/api/x").bearer(&signed).send().expect(200);
    let entry = gateway.revoke(&json!({"jti": token.jti(), "reason": "lost laptop"})).expect(201);
    let id = entry.json()["id"].as_str().unwrap().to_owned();
    let written = log(&gateway.dir);
    assert_eq!(story(&written), ["revocation asked", "revocation done"], "before it is answered");
    let done = written.last().unwrap();
    assert_eq!(done["actor"], "admin");
    assert_eq!(done["address"], "127.0.0.1");
    assert_eq!(done["reason"], "lost laptop");
    assert_eq!(done["selector"], json!({"kind": "jti", "value": token.jti(), "id": id}));
    let refused = gateway.get("/api/x?secret=1").header("User-Agent", "curl/8").bearer(&signed);
    let refused = refused.send().refused(401);
    gateway.get("/admin/x").bearer(&Token::good().sign(key())).send().refused(403);
    gateway.get("/api/x").send().refused(401);
    gateway.get("/few").send().expect(200);
    gateway.get("/few").send().refused(429);
    // Neither is a denial: nobody was refused for who they are.
    gateway.get("/nowhere").send().refused(404);
    let file = gateway.dir.path().join("audit.log");
    soon("four denials", || lines(&file).iter().filter(|l| l["event"] == "denial").count() == 4);
    let denial = lines(&file).into_iter().find(|line| line["event"] == "denial").unwrap();
    tells_who_was_denied(&denial, token.jti(), refused.header("x-request-id"));
    gateway.admin_request("DELETE", &format!("/revocations/{id}")).send().expect(204);
    gateway.admin_request("POST", "/revocations/ack").send().expect(200);
    gateway.reload(&setup).expect(200);
    assert_eq!(gateway.reload(&setup.clone().set("log", "level", "\"loud\"")).status, 422);
    gateway.rewrite(&setup);
    gateway.signal(Signal::TERM);
    assert!(gateway.wait(Duration::from_secs(10)).success());
    let written = lines(&file);
    let after: Vec<String> = story(&written)[6..].to_vec();
    assert_eq!(
        after,
        [
            "lift asked",
            "lift done",
            "acknowledgement asked",
            "acknowledgement done",
            "reload asked",
            "reload done",
            "reload failed",
        ]
    );
    let ends: Vec<&str> =
        written.iter().rev().take(2).map(|line| line["event"].as_str().unwrap()).collect();
    assert_eq!(ends, ["stop", "drain"]);
    let start = &written[1];
    assert_eq!((start["event"].as_str(), start["seq"].as_u64()), (Some("start"), Some(2)));
    let done = written.iter().find(|l| l["event"] == "reload" && l["outcome"] == "done").unwrap();
    assert_eq!(start["configuration"], done["configuration"], "the same file");
    let text = std::fs::read_to_string(&file).unwrap();
    let signature = signed.rsplit('.').next().unwrap();
    assert!(!text.contains(signature) && !text.contains("secret=1"), "{text}");
    is_good(&gateway.dir);
}

/// Who was refused, from where, why, and where to look further.
fn tells_who_was_denied(denial: &Value, jti: &str, request_id: Option<&str>) {
    for (name, value) in [
        ("subject", json!("alice")),
        ("issuer", json!("main")),
        ("client", json!("shop")),
        ("jti", json!(jti)),
        ("reason", json!("revoked")),
        ("cause", json!("revoked_jti")),
        ("status", json!(401)),
        ("route", json!("api")),
        ("address", json!("127.0.0.1")),
        ("user_agent", json!("curl/8")),
        ("request_id", json!(request_id)),
    ] {
        assert_eq!(denial[name], value, "{name} in {denial}");
    }
}

/// What tells of a person is a keyed hash, the same for the same person, wherever it stands.
#[test]
fn persons_are_hashed() {
    let app = Upstream::start();
    let setup = audited(Setup::standard(&app)).set("audit", "hash", "[\"subject\", \"address\"]");
    let gateway = Gateway::start(&setup);
    let signed = Token::good().sign(key());
    gateway.get("/admin/x").bearer(&signed).send().refused(403);
    gateway.revoke(&json!({"sub": "alice"})).expect(201);
    let file = gateway.dir.path().join("audit.log");
    soon("the denial", || lines(&file).iter().any(|line| line["event"] == "denial"));
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(!text.contains("alice") && !text.contains("127.0.0.1"), "{text}");
    let written = lines(&file);
    let of = |event: &str| written.iter().find(|line| line["event"] == event).unwrap();
    let subject = of("denial")["subject"].as_str().unwrap();
    assert!(subject.starts_with("hmac:"), "{subject}");
    assert_eq!(of("revocation")["selector"], json!({"kind": "sub", "value": subject}));
    is_good(&gateway.dir);
}

/// kill -9 under load: whatever was answered is there, a line cut short is put right, and the chain
/// goes on.
#[test]
fn the_chain_survives_a_kill() {
    let app = Upstream::start();
    let setup = audited(Setup::standard(&app));
    let mut dir = Gateway::start(&setup).kill();
    for round in 0..5 {
        let gateway = Gateway::start_in(dir, &setup);
        let mut answered = Vec::new();
        std::thread::scope(|scope| {
            let request = |n: usize| gateway.get("/api/x").bearer(&format!("{round}.{n}.x"));
            for worker in 0..4 {
                scope.spawn(move || {
                    for n in 0..50 {
                        drop(request(worker * 100 + n).try_send());
                    }
                });
            }
            for n in 0..10 {
                let jti = format!("killed-{round}-{n}");
                gateway.revoke_jti(&jti);
                answered.push(jti);
            }
            gateway.signal(Signal::KILL);
        });
        dir = gateway.kill();
        if round % 2 == 0 {
            let mut file = OpenOptions::new().append(true).open(dir.path().join("audit.log"));
            file.as_mut().unwrap().write_all(b"{\"seq\":99,\"at\":\"20").unwrap();
        }
        let text = std::fs::read_to_string(dir.path().join("audit.log")).unwrap();
        for jti in answered {
            assert_eq!(text.matches(&jti).count(), 2, "{jti}: asked and done");
        }
    }
    let gateway = Gateway::start_in(dir, &setup);
    is_good(&gateway.dir);
    let repairs = log(&gateway.dir).iter().filter(|line| line["event"] == "repair").count();
    assert_eq!(repairs, 3);
}

/// Rotation as `logrotate` does it (move, then SIGHUP) and by size: the chain goes on over files.
#[test]
fn rotation_keeps_the_chain() {
    let app = Upstream::start();
    let setup = audited(Setup::standard(&app)).set("audit", "rotate", "\"64KiB\"");
    let gateway = Gateway::start(&setup);
    let file = gateway.dir.path().join("audit.log");
    gateway.revoke_jti("before");
    std::fs::rename(&file, gateway.dir.path().join("audit.log.1")).unwrap();
    gateway.revoke_jti("between");
    gateway.signal(Signal::HUP);
    soon("a new file", || file.exists() && !lines(&file).is_empty());
    let opening = &lines(&file)[0];
    assert_eq!(opening["event"], "open");
    let last = lines(&gateway.dir.path().join("audit.log.1")).pop().unwrap();
    assert_eq!(opening["previous"], last["mac"], "it opens with the last code of the one before");
    is_good(&gateway.dir);
    for _ in 0..600 {
        gateway.get("/api/x").send().expect(401);
    }
    let aside = || {
        let names = std::fs::read_dir(gateway.dir.path()).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
        names.filter(|name| name.starts_with("audit.log.0")).count()
    };
    soon("a file was moved aside", || aside() >= 1);
    is_good(&gateway.dir);
}

/// What may be done to a log is found, and named by file and line (exit code 1).
#[test]
fn verify_names_the_first_broken_line() {
    let app = Upstream::start();
    let setup = audited(Setup::standard(&app));
    let mut gateway = Gateway::start(&setup);
    for n in 0..5 {
        gateway.revoke_jti(&format!("token-{n}"));
    }
    gateway.signal(Signal::TERM);
    gateway.wait(Duration::from_secs(10));
    let dir = gateway.kill();
    let path = dir.path().join("audit.log");
    let good = std::fs::read_to_string(&path).unwrap();
    let all: Vec<&str> = good.lines().collect();
    let joined = |lines: Vec<&str>| lines.join("\n") + "\n";
    let without = |n: usize| joined([&all[..n], &all[n + 1..]].concat());
    let mut swapped = all.clone();
    swapped.swap(6, 7);
    each(
        [
            ("altered", good.replace("\"token-2\"", "\"token-9\""), "audit.log:7:"),
            ("deleted", without(6), "audit.log:7:"),
            ("reordered", joined(swapped), "audit.log:7:"),
            ("repeated", joined([&all[..7], &all[6..]].concat()), "audit.log:8:"),
            ("beginning gone", without(0), "audit.log:1:"),
            ("cut short", good[..good.len() - 9].to_owned(), &format!("audit.log:{}:", all.len())),
            ("end gone", joined(all[..all.len() - 2].to_vec()), "its end is missing"),
        ],
        |(what, text, expected): (&str, String, &str)| {
            std::fs::write(&path, text).unwrap();
            let output = verify(&dir);
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(1), "{what}: {said}");
            assert!(said.contains(expected), "{what}: {said}");
        },
    );
    std::fs::write(&path, &good).unwrap();
    is_good(&dir);
    // With a key from elsewhere, no configuration is needed.
    let bare = TempDir::new().unwrap();
    std::fs::copy(&path, bare.path().join("copy.log")).unwrap();
    let with_key = |arguments: &[&str], key: &str| {
        let path = bare.path().join("k");
        crate::harness::setup::private(&path, key.as_bytes());
        run(&bare, &[&["audit", "verify"], arguments].concat(), "")
    };
    for (arguments, key, code) in [
        (&["--key-file", "k", "copy.log", "--format", "json"][..], KEY, 0),
        (&["--key-file", "k", "copy.log"], "another key of more than 32 bytes.", 1),
        (&["--key-file", "k", "copy.log"], "short", 2),
        (&["--key-file", "k", "nowhere.log"], KEY, 2),
        (&["--key-env", "UNSET_KEY", "copy.log"], KEY, 2),
        (&["copy.log"], KEY, 2),
        // Nobody could tell whether the end is missing: that is not "good".
        (&["--key-file", "k", "--state", ".", "copy.log"], KEY, 2),
    ] {
        let output = with_key(arguments, key);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        assert!(!said.contains(key.trim()), "{said}");
    }
    let head = dir.path().join("state/audit-head.json");
    std::fs::copy(head, bare.path().join("audit-head.json")).unwrap();
    let held = with_key(&["--key-file", "k", "--state", ".", "copy.log"], KEY);
    assert!(held.status.success() && held.stderr.is_empty());
    let json = with_key(&["--key-file", "k", "copy.log", "--format", "json"], KEY);
    let report: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(report["lines"], all.len());
}

/// While the log cannot be written (a full disk, a quota: here a limit on the size of files),
/// nothing is changed; what has happened waits, and is written when it can be.
#[test]
fn nothing_changes_while_it_cannot_be_written() {
    let (app, redis) = (Upstream::start(), Redis::start());
    let setup = audited(Setup::standard(&app)).redis(&redis);
    let gateway = Gateway::start(&setup);
    gateway.readyz(200);
    gateway.revoke_jti("before");
    let entries = redis.keys("postern:blocklist:jti:*").len();
    let size = std::fs::metadata(gateway.dir.path().join("audit.log")).unwrap().len();
    limit_file_sizes(&gateway, Some(size + 100));
    for _ in 0..3 {
        let answer = gateway.revoke(&json!({"jti": "during"})).expect(503);
        let detail = answer.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains("audit log") && detail.contains("nothing was revoked"), "{detail}");
    }
    assert_eq!(redis.keys("postern:blocklist:jti:*").len(), entries);
    assert_eq!(gateway.reload(&setup).status, 422, "a reload is a change, too");
    gateway.admin_request("POST", "/revocations/ack").send().expect(503);
    // Refused is refused, and whoever may pass passes.
    gateway.get("/api/x").send().refused(401);
    gateway.get("/api/x").bearer(&Token::good().sign(key())).send().expect(200);
    assert_eq!(Scrape::of(&gateway).get("postern_audit_up", &[]), Some(0.0));
    limit_file_sizes(&gateway, None);
    gateway.revoke(&json!({"jti": "after"})).expect(201);
    assert_eq!(Scrape::of(&gateway).get("postern_audit_up", &[]), Some(1.0));
    let file = gateway.dir.path().join("audit.log");
    soon("the denial is written", || lines(&file).iter().any(|line| line["event"] == "denial"));
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(!text.contains("\"during\"") && text.contains("\"after\""), "{text}");
    is_good(&gateway.dir);
}

/// A new file that finds no room for its first line is not gone on with: the old one is, and the
/// chain has no hole, neither at once nor after a kill.
#[test]
fn a_rotation_without_room_breaks_nothing() {
    let app = Upstream::start();
    let setup = audited(Setup::standard(&app));
    let gateway = Gateway::start(&setup);
    gateway.revoke_jti("before");
    let [file, aside] = ["audit.log", "audit.log.1"].map(|name| gateway.dir.path().join(name));
    let size = |path: &Path| std::fs::metadata(path).map_or(0, |metadata| metadata.len());
    std::fs::rename(&file, &aside).unwrap();
    // Room for what the state directory keeps, none for a line.
    limit_file_sizes(&gateway, Some(256));
    gateway.signal(Signal::HUP);
    soon("the new file finds no room", || gateway.output().contains("no new audit log"));
    assert_eq!(size(&file), 0, "nothing of a line is left in it");
    limit_file_sizes(&gateway, None);
    gateway.revoke_jti("after");
    assert_eq!(size(&file), 0, "the old one is gone on with");
    assert!(std::fs::read_to_string(&aside).unwrap().contains("\"after\""));
    let gateway = Gateway::start_in(gateway.kill(), &setup);
    gateway.revoke_jti("again");
    let opening = &lines(&file)[0];
    assert_eq!(opening["previous"], lines(&aside).pop().unwrap()["mac"], "{opening}");
    is_good(&gateway.dir);
}

/// No file of the gateway may grow beyond so many bytes, as on a disk that is full.
fn limit_file_sizes(gateway: &Gateway, bytes: Option<u64>) {
    let pid = Pid::from_raw(i32::try_from(gateway.pid()).unwrap());
    prlimit(pid, Resource::Fsize, Rlimit { current: bytes, maximum: None }).unwrap();
}

#[test]
fn a_thousand_revocations_at_once() {
    let app = Upstream::start();
    let gateway = Gateway::start(&audited(Setup::standard(&app)));
    std::thread::scope(|scope| {
        for worker in 0..20 {
            let gateway = &gateway;
            scope.spawn(move || {
                for n in 0..50 {
                    gateway.revoke_jti(&format!("many-{worker}-{n}"));
                }
            });
        }
    });
    let mut outcomes: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in log(&gateway.dir).iter().filter(|line| line["event"] == "revocation") {
        let jti = line["selector"]["value"].as_str().unwrap().to_owned();
        outcomes.entry(jti).or_default().push(line["outcome"].as_str().unwrap().to_owned());
    }
    assert_eq!(outcomes.len(), 1000);
    assert!(outcomes.values().all(|outcomes| *outcomes == ["asked", "done"]));
    is_good(&gateway.dir);
}

/// Two gateways never write to one file at a time; a log is not gone on with under another key; no
/// key, no log.
#[test]
fn what_it_does_not_start_with() {
    let app = Upstream::start();
    let shared = TempDir::new().unwrap();
    let file = format!("{:?}", shared.path().join("audit.log"));
    let setup = audited(Setup::standard(&app)).set("audit", "file", &file);
    let first = Gateway::start(&setup);
    first.revoke_jti("a");
    let (code, said) = refuses_to_start(&setup);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("is written to by another gateway"), "{said}");
    drop(first);
    let rekeyed = setup.clone().file("audit.key", "quite another key of more than 32 bytes");
    let (code, said) = refuses_to_start(&rekeyed);
    assert!(code == 1 && said.contains("another key"), "{said}");
    for (what, broken, word) in [
        ("no key", setup.clone().unset("audit", "key_file"), "audit"),
        ("a short key", setup.clone().file("audit.key", "too short"), "audit"),
        (
            "no such variable",
            setup.clone().unset("audit", "key_file").set("audit", "key_env", "\"NOT_SET\""),
            "audit",
        ),
        ("an unknown word", setup.clone().set("audit", "hash", "[\"name\"]"), "cannot be hashed"),
        (
            "its own key",
            setup.clone().set("audit", "file", "\"./audit.key\""),
            "the file of its key",
        ),
        ("too small", setup.clone().set("audit", "rotate", "\"1KiB\""), "rotate"),
    ] {
        let (code, said) = refuses_to_start(&broken);
        assert_eq!(code, 2, "{what}: {said}");
        assert!(!said.contains("too short\n"), "{what}: {said}");
        assert!(said.to_lowercase().contains(word), "{what}: {said}");
    }
}

/// A log that is gone altogether has no line that could be wrong: the next start says it, in the
/// application log and in the chain.
#[test]
fn a_log_that_is_gone_is_missed() {
    let app = Upstream::start();
    let setup = audited(Setup::standard(&app));
    let gateway = Gateway::start(&setup);
    gateway.revoke_jti("a");
    assert!(!gateway.output().contains("empty or absent"), "the first start of all");
    let dir = gateway.kill();
    let written = log(&dir).len();
    std::fs::remove_file(dir.path().join("audit.log")).unwrap();
    let gateway = Gateway::start_in(dir, &setup);
    soon("a warning", || gateway.stderr().text().contains("empty or absent"));
    let repair = &log(&gateway.dir)[1];
    assert_eq!((&repair["event"], &repair["empty_after"]), (&json!("repair"), &json!(written)));
    let said = String::from_utf8(verify(&gateway.dir).stdout).unwrap();
    assert!(said.contains(&format!("of the {written} lines before, nothing is said")), "{said}");
}

/// `postern revoke` without a gateway writes to the store itself, and to the log.
#[test]
fn revoking_without_a_gateway_is_audited() {
    let (app, redis) = (Upstream::start(), Redis::start());
    let setup = audited(Setup::standard(&app)).redis(&redis);
    let gateway = Gateway::start(&setup);
    gateway.readyz(200);
    gateway.revoke_jti("by-admin");
    let dir = gateway.kill();
    let output = run(&dir, &["revoke", "--jti", "by-cli", "--reason", "incident 7"], "");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let written = log(&dir);
    let own: Vec<&Value> = written.iter().filter(|line| line["actor"] == "cli").collect();
    assert_eq!(own.len(), 2, "asked and done");
    assert_eq!(own[1]["selector"]["value"], "by-cli");
    assert_eq!(own[1]["reason"], "incident 7");
    is_good(&dir);
    let gateway = Gateway::start_in(dir, &setup);
    is_good(&gateway.dir);
}

/// What nobody asked for is written, too: keys that change, a store that forgets.
#[test]
fn changes_from_outside_are_written() {
    let (app, redis, provider) = (Upstream::start(), Redis::start(), JwksServer::start());
    provider.set("/jwks", Page::keys(&[Key::shared("RS256")]));
    let url = format!("jwks_url = \"{}/jwks\"\nalgorithms = [\"RS256\"]", provider.origin());
    let setup = audited(Setup::standard(&app)).redis(&redis).issuer("fetched", &url, &[]);
    let gateway = Gateway::start(&setup);
    gateway.readyz(200);
    redis.command(&["FLUSHALL"]);
    let file = gateway.dir.path().join("audit.log");
    soon("the loss is written", || lines(&file).iter().any(|line| line["event"] == "loss"));
    let written = lines(&file);
    let change = written.iter().find(|line| line["event"] == "key_change").unwrap();
    assert_eq!((change["issuer"].as_str(), change["keys"].as_u64()), (Some("fetched"), Some(1)));
    let losses = || {
        let written = lines(&file).into_iter().filter(|line| line["event"] == "loss");
        written.map(|line| line["lost"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(losses(), [1]);
    is_good(&gateway.dir);
    // The same while nobody runs; what was written down is not written down again.
    let dir = gateway.kill();
    redis.command(&["FLUSHALL"]);
    let gateway = Gateway::start_in(dir, &setup);
    soon("the second loss is written", || losses().len() == 2);
    let gateway = Gateway::start_in(gateway.kill(), &setup);
    gateway.revoke_jti("later");
    assert_eq!(losses(), [1, 2]);
    is_good(&gateway.dir);
}

/// The gateway's files are where they are said to be.
#[test]
fn files_are_private() {
    use std::os::unix::fs::PermissionsExt as _;
    let app = Upstream::start();
    let gateway = Gateway::start(&audited(Setup::standard(&app)));
    let files: [PathBuf; 2] = ["audit.log".into(), "state/audit-head.json".into()];
    for file in files {
        let mode = std::fs::metadata(gateway.dir.path().join(&file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", file.display());
    }
}
