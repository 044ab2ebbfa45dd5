//! `postern demo` and `postern dev`: what they print is what happens.
//!
//! They print blocks: a line `# 200 …` that promises, and below it, indented, what to paste.

use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::harness::eventually;
use crate::harness::gateway::postern;
use crate::harness::process::Process;
use crate::harness::upstream::Upstream;

/// A promise and the commands below it.
#[derive(Debug)]
struct Block {
    promise: String,
    commands: Vec<String>,
}

/// Starts a verb and reads its blocks, once it has printed all it has to say.
fn start(dir: &TempDir, arguments: &[&str]) -> (Process, Vec<Block>) {
    let process = Process::spawn(postern(dir).args(arguments), "");
    let said = || process.stdout.text().contains("until you press Ctrl-C");
    eventually("everything is printed", Duration::from_secs(30), said);
    let mut blocks: Vec<Block> = Vec::new();
    for line in process.stdout.all() {
        if let Some(promise) = line.strip_prefix("# ") {
            blocks.push(Block { promise: promise.to_owned(), commands: Vec::new() });
        } else if let (Some(command), Some(block)) = (line.strip_prefix("  "), blocks.last_mut()) {
            block.commands.push(command.to_owned());
        }
    }
    (process, blocks)
}

/// Runs a command as a user would paste it; of an answer, its status alone.
fn paste(dir: &TempDir, command: &str) -> Vec<u16> {
    let asks = command.contains("%{http_code}");
    let whole = r"curl -s -o /dev/null -w '%{http_code}\n' ";
    let command = if asks { command.to_owned() } else { command.replacen("curl -s ", whole, 1) };
    let output = Command::new("sh").arg("-c").arg(&command).current_dir(dir.path()).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    statuses(&String::from_utf8_lossy(&output.stdout))
}

/// The numbers in `text` that are HTTP statuses.
fn statuses(text: &str) -> Vec<u16> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric());
    words.filter(|word| word.len() == 3).filter_map(|word| word.parse().ok()).collect()
}

#[test]
fn the_demo_keeps_its_promises() {
    let dir = TempDir::new().unwrap();
    let (_demo, blocks) = start(&dir, &["demo", "--listen", "127.0.0.1:0"]);
    let mut kept = Vec::new();
    for block in &blocks {
        let mut got = Vec::new();
        for command in &block.commands {
            let answered = paste(&dir, command);
            if command.contains("curl") {
                got.extend(answered);
            }
        }
        assert_eq!(got, statuses(&block.promise), "{block:#?}");
        kept.extend(got);
    }
    for status in [200, 401, 403, 429] {
        assert!(kept.contains(&status), "{status} among {kept:?}");
    }
    assert!(blocks.iter().any(|block| block.promise.contains("revoke")), "{blocks:#?}");
}

#[test]
fn dev_protects_the_users_own_service() {
    let app = Upstream::start();
    let dir = TempDir::new().unwrap();
    let (_dev, blocks) = start(&dir, &["dev", &app.url(), "--listen", "127.0.0.1:0"]);
    let with_token = &blocks[0].commands[0];
    assert_eq!(paste(&dir, with_token), [200], "{with_token}");
    assert_eq!(app.count(), 1);
    assert!(app.last().header("x-auth-subject").is_some());
    app.forget();
    for (command, status) in
        [(blocks[1].commands[0].clone(), 401), (with_token.replacen("Bearer ", "Bearer x", 1), 401)]
    {
        assert_eq!(paste(&dir, &command), [status], "{command}");
    }
    app.saw_nothing("no token and a broken one");
}
