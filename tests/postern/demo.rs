//! `postern demo` and `postern dev`: what they print is what happens.

use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::harness::eventually;
use crate::harness::gateway::postern;
use crate::harness::process::Process;
use crate::harness::upstream::Upstream;

/// Starts a verb and waits until it has printed all of its curl lines.
fn start(dir: &TempDir, arguments: &[&str]) -> (Process, Vec<String>) {
    let process = Process::spawn(postern(dir).args(arguments), "");
    let curls = || {
        let lines = process.stdout.all().into_iter().chain(process.stderr.all());
        lines.filter(|line| line.trim_start().starts_with("curl ")).collect::<Vec<_>>()
    };
    let mut before = 0;
    eventually("curl lines are printed", Duration::from_secs(30), || {
        std::thread::sleep(Duration::from_millis(200));
        let now = curls().len();
        let settled = now > 0 && now == before;
        before = now;
        settled
    });
    let lines = curls();
    (process, lines)
}

/// Runs a line as a user would paste it, and tells the status code.
fn paste(dir: &TempDir, line: &str) -> u16 {
    let command = line.trim().replacen("curl ", "curl -s -o /dev/null -w '%{http_code}' ", 1);
    let output = Command::new("sh").arg("-c").arg(command).current_dir(dir.path()).output();
    let text = String::from_utf8(output.unwrap().stdout).unwrap();
    // A line may send several requests (`for`, `[1-6]`): the last one counts.
    text.get(text.len().saturating_sub(3)..).and_then(|t| t.parse().ok()).unwrap_or(0)
}

/// The status that a line promises: the last `# … 200 …` on it, or in the line before.
fn promised(line: &str) -> Option<u16> {
    let comment = line.rsplit_once('#')?.1;
    let digits = |word: &str| word.trim_matches(|c: char| !c.is_ascii_digit()).parse().ok();
    comment.split_whitespace().filter_map(digits).find(|n| (100..600).contains(n))
}

#[test]
fn the_demo_keeps_its_promises() {
    let dir = TempDir::new().unwrap();
    let (_demo, lines) = start(&dir, &["demo", "--listen", "127.0.0.1:0"]);
    let mut kept = Vec::new();
    for line in &lines {
        let status = paste(&dir, line);
        let promise = promised(line).unwrap_or_else(|| panic!("no promise in {line}"));
        assert_eq!(status, promise, "{line}");
        kept.push(status);
    }
    for status in [200, 401, 403, 429] {
        assert!(kept.contains(&status), "{status} among {kept:?}");
    }
    assert!(lines.iter().any(|line| line.contains("revocations")), "a revocation: {lines:#?}");
}

#[test]
fn dev_protects_the_users_own_service() {
    let app = Upstream::start();
    let dir = TempDir::new().unwrap();
    let (_dev, lines) = start(&dir, &["dev", &app.url(), "--listen", "127.0.0.1:0"]);
    let with_token = lines.iter().find(|line| line.contains("Bearer")).expect("a curl line");
    assert_eq!(paste(&dir, with_token), 200, "{with_token}");
    assert_eq!(app.count(), 1);
    assert!(app.last().header("x-auth-subject").is_some());
    app.forget();
    let at = with_token.find("eyJ").expect("the token is in the line");
    let broken = with_token.replacen("eyJ", "eyK", 1);
    assert_eq!(paste(&dir, &broken), 401, "changed at {at}");
    app.saw_nothing("a broken token");
}
