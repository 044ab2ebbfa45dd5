//! `postern user`: the real program on a real file, side by side with logins and under kill -9.

use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::PermissionsExt;
use std::process::{Output, Stdio};
use std::time::Duration;

use postern::issuer::account::file::Table;
use postern::issuer::account::{Accounts, Attempt};
use postern::secret::Secret;
use serde_json::Value;
use tempfile::TempDir;

use crate::harness::each;
use crate::harness::gateway::{postern, run};

const PASSWORD: &str = "correct horse battery staple";
const BCRYPT: &str = "$2b$04$EGHR8YS9/f/xHOyP/8r0/OfLtW2oTsNkS/AB/TgTo7RbF5IwHxeNy";

fn user(dir: &TempDir, arguments: &[&str], input: &str) -> Output {
    run(dir, &[&["user"], arguments, &["--file", "users"]].concat(), input)
}

fn said(output: &Output) -> String {
    let text = [&output.stdout[..], &output.stderr].concat();
    String::from_utf8(text).unwrap()
}

fn listed(dir: &TempDir) -> Vec<Value> {
    let output = user(dir, &["list", "--format", "json"], "");
    assert!(output.status.success(), "{}", said(&output));
    let list: Value = serde_json::from_slice(&output.stdout).unwrap();
    list["accounts"].as_array().unwrap().clone()
}

#[test]
fn an_account_comes_and_goes() {
    let dir = TempDir::new().unwrap();
    let added = user(&dir, &["add", "alice", "--roles", "admin"], "a good password\n");
    assert!(added.status.success() && added.stdout.is_empty(), "{}", said(&added));
    let path = dir.path().join("users");
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let text = std::fs::read_to_string(&path).unwrap();
    let hash = text.split(':').nth(1).unwrap();
    assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{text}");
    for arguments in [&["list"][..], &["list", "--format", "json"]] {
        let output = user(&dir, arguments, "");
        let text = said(&output);
        assert!(text.contains("alice") && !text.contains(hash.rsplit('$').next().unwrap()));
    }
    assert!(user(&dir, &["passwd", "alice"], "another password").status.success());
    assert!(user(&dir, &["remove", "alice"], "").status.success());
    assert!(listed(&dir).is_empty());
}

/// Exit codes and words; nothing that was typed is repeated (invariant 7).
#[test]
fn what_is_refused() {
    let dir = TempDir::new().unwrap();
    assert!(user(&dir, &["add", "alice"], "a good password\n").status.success());
    let rows: [(&[&str], &str, i32, &str); 8] = [
        (&["add", "alice"], "a good password\n", 1, "there already"),
        (&["add", "bob"], "hunter2\n", 1, "fewer than 8"),
        (&["add", "client:x"], "hunter2hunter2\n", 2, "client:"),
        (&["add", "a\nb"], "hunter2hunter2\n", 2, "control character"),
        (&["add", "bob", "--id", "alice"], "hunter2hunter2\n", 1, "same id"),
        (&["passwd", "bob"], "hunter2hunter2\n", 1, "no account"),
        (&["remove", "bob"], "", 1, "no account"),
        (&["add", "bob", "hunter2hunter2"], "", 2, "unexpected argument"),
    ];
    each(rows, |(arguments, input, code, words)| {
        let output = user(&dir, arguments, input);
        let text = said(&output);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {text}");
        assert!(text.contains(words), "{arguments:?}: {text}");
        assert!(input.is_empty() || !text.contains(input.trim()), "{text}");
    });
    assert_eq!(listed(&dir).len(), 1);
}

/// Killed at any moment: the file is the old one or the new one, and the next command works.
#[test]
fn a_killed_command_leaves_a_whole_file() {
    let dir = TempDir::new().unwrap();
    let lines = |from: usize| -> String {
        (from..from + 500).map(|n| format!("user{n}:{BCRYPT}\n")).collect()
    };
    for (name, from) in [("first", 0), ("second", 500)] {
        std::fs::write(dir.path().join(name), lines(from)).unwrap();
    }
    assert!(user(&dir, &["import", "first"], "").status.success());
    let mut seen = [0, 0];
    for delay in 0..60 {
        let mut command = postern(&dir);
        command.args(["user", "import", "second", "--file", "users"]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_micros(delay * 700));
        drop(child.kill());
        child.wait().unwrap();
        match listed(&dir).len() {
            500 => seen[0] += 1,
            1000 => {
                seen[1] += 1;
                // Back to where it was, so that the next one has something to write.
                std::fs::remove_file(dir.path().join("users")).unwrap();
                assert!(user(&dir, &["import", "first"], "").status.success());
            }
            other => panic!("{other} accounts after {delay}"),
        }
    }
    println!("killed before the new file was in place {} times, after it {}", seen[0], seen[1]);
    assert!(
        user(&dir, &["import", "second"], "").status.success(),
        "the lock went with its holder"
    );
    let left: Vec<_> = dir.path().read_dir().unwrap().map(|e| e.unwrap().file_name()).collect();
    let drafts = left.iter().filter(|name| name.to_string_lossy().ends_with(".draft")).count();
    assert_eq!(drafts, 0, "what the killed left is swept: {left:?}");
}

/// Logins that make hashes anew, while accounts are added: every change is there in the end.
#[test]
fn commands_and_logins_side_by_side() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("users");
    let old: String = (0..6).map(|n| format!("old{n}:{BCRYPT}:role{n}\n")).collect();
    std::fs::write(dir.path().join("htpasswd"), old.replace(":role", "\n#")).unwrap();
    assert!(user(&dir, &["import", "htpasswd"], "").status.success());
    let accounts = Accounts::from_file(&path).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let log_in = || {
        for number in 0..6 {
            let (name, password) = (format!("old{number}"), Secret::new(PASSWORD.to_owned()));
            let client = IpAddr::V4(Ipv4Addr::LOCALHOST);
            let attempt = Attempt { name: &name, password: &password, client };
            let outcome = runtime.block_on(accounts.check(&attempt)).unwrap();
            assert!(outcome.is_ok(), "{name}: {outcome:?}");
            accounts.reload().unwrap();
        }
    };
    std::thread::scope(|scope| {
        for writer in 0..2 {
            let dir = &dir;
            scope.spawn(move || {
                for number in 0..4 {
                    let name = format!("new{writer}{number}");
                    let output = user(dir, &["add", &name], PASSWORD);
                    assert!(output.status.success(), "{}", said(&output));
                }
            });
        }
        for _ in 0..3 {
            log_in();
        }
    });
    // A login gives way to whoever changes the file; once nobody does, none has to.
    accounts.reload().unwrap();
    accounts.reload().unwrap();
    for _ in 0..6 {
        log_in();
    }
    let table = Table::load(&path).unwrap();
    assert_eq!(table.entries().len(), 14);
    for entry in table.entries() {
        assert!(entry.hash.verify(PASSWORD.as_bytes()).unwrap(), "{}", entry.name);
        let upgraded = !entry.hash.is_outdated();
        assert!(upgraded, "{} has its old hash", entry.name);
    }
}
