//! The files of the audit log: killed, moved, full, gone, tampered with. The chain goes on over all
//! of them, or says where it does not.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::audit::{KEY, audited, is_good, limit_file_sizes, lines, log, verify};
use crate::harness::gateway::{Gateway, refuses_to_start, run};
use crate::harness::setup::Setup;
use crate::harness::upstream::Upstream;
use crate::harness::{each, soon};

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
