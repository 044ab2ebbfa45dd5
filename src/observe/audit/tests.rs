//! Chains over crashes, restarts and files; what verifying finds; what two at once may not do.

use std::fs::OpenOptions;
use std::io::Write as _;

use tempfile::TempDir;

use super::head::Head;
use super::verify::{Broken, Report, verify};
use super::walk::Fault;
use super::*;
use crate::secret::Secret;

fn key(byte: u8) -> Key {
    Key::new(&Secret::new(vec![byte; 32])).unwrap()
}

fn settings(dir: &TempDir) -> Settings {
    let file = dir.path().join("audit.log");
    Settings { file, key: key(1), hashed: Hashed::default(), rotate_bytes: None }
}

fn open(dir: &TempDir) -> (Audit, AuditWriter) {
    Audit::open(settings(dir), dir.path()).unwrap()
}

async fn end((audit, writer): (Audit, AuditWriter)) {
    audit.close().await;
    writer.join();
}

fn event(n: usize) -> Event {
    Event::new(Kind::Revocation, Outcome::Done).selector("jti", &format!("token-{n}"), None)
}

/// Opens the log, writes so many changes, ends it.
async fn run(dir: &TempDir, events: usize) {
    let log = open(dir);
    for n in 0..events {
        log.0.record(event(n)).await.unwrap();
    }
    end(log).await;
}

/// Every file of the log.
fn files(dir: &TempDir) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.display().to_string().contains("audit.log")).collect()
}

fn check(dir: &TempDir) -> Result<Report, Broken> {
    let head = head::read(dir.path()).unwrap();
    verify(&files(dir), &[key(1)], head.as_ref())
}

fn text(dir: &TempDir) -> String {
    std::fs::read_to_string(dir.path().join("audit.log")).unwrap()
}

fn head_of(dir: &TempDir) -> Head {
    head::read(dir.path()).unwrap().unwrap()
}

#[tokio::test]
async fn a_chain_goes_on_over_restarts() {
    let dir = TempDir::new().unwrap();
    run(&dir, 3).await;
    run(&dir, 2).await;
    let report = check(&dir).unwrap();
    assert_eq!((report.lines, report.first, report.last.seq), (6, 1, 6), "the first line opens it");
    assert_eq!(head_of(&dir).seq, 6);
    let mode = std::fs::metadata(dir.path().join("audit.log")).unwrap();
    assert_eq!(std::os::unix::fs::MetadataExt::mode(&mode) & 0o777, 0o600);
}

/// A gateway that was killed in the middle of a line: the rest is taken out, which is written
/// down, and nothing else is lost.
#[tokio::test]
async fn a_torn_line_is_put_right() {
    let dir = TempDir::new().unwrap();
    run(&dir, 3).await;
    let mut file = OpenOptions::new().append(true).open(dir.path().join("audit.log")).unwrap();
    file.write_all(b"{\"seq\":5,\"at\":\"2026-11-22T").unwrap();
    let found = check(&dir).unwrap_err();
    assert!(matches!(found, Broken::Line { line: 5, fault: Fault::Unfinished, .. }), "{found}");
    run(&dir, 1).await;
    assert_eq!(check(&dir).unwrap().lines, 6);
    let repair = text(&dir).lines().nth(4).unwrap().to_owned();
    assert!(repair.contains("\"event\":\"repair\"") && repair.contains("\"torn_bytes\":26"));
}

/// A file that only ever held half a line.
#[tokio::test]
async fn a_torn_first_line_is_put_right() {
    let dir = TempDir::new().unwrap();
    std::fs::write(dir.path().join("audit.log"), "{\"seq\":1,").unwrap();
    run(&dir, 1).await;
    assert_eq!(check(&dir).unwrap().lines, 3);
}

/// A name that was mistaken for the log's is refused, and the file is as it was: it may be the only
/// copy of a key.
#[tokio::test]
async fn what_is_no_audit_log_is_left_alone() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("audit.log");
    for text in [
        "base64:bm90IGEgbG9nIGJ1dCBhIGtleSwgYW5kIGEgbG9uZyBvbmU=",
        "base64:bm90IGEgbG9nIGJ1dCBhIGtleSwgYW5kIGEgbG9uZyBvbmU=\n",
        "[listen]\nhttps = \"0.0.0.0:443\"\n# the last line has no break",
        "\0\0\0\0",
        "{",
        "{\"se",
        "{\"sequence\":1",
        "{\"seq\":1}\n{\"seq\":2,",
    ] {
        std::fs::write(&path, text).unwrap();
        let begun = Audit::open(settings(&dir), dir.path());
        // What a kill may have left of a first line is taken out.
        if text.starts_with('{') && "{\"seq\":".starts_with(text) {
            end(begun.unwrap()).await;
            assert!(self::text(&dir).starts_with("{\"seq\":1,"), "{text:?}");
            std::fs::remove_file(dir.path().join("audit-head.json")).unwrap();
            continue;
        }
        let refused = begun.unwrap_err();
        assert!(
            matches!(refused, OpenError::Fault { fault: Fault::NotALine, .. }),
            "{text:?}: {refused}"
        );
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    }
}

/// Each file opens with the last code of the one before, moved by hand or by size.
#[tokio::test]
async fn rotation_keeps_the_chain() {
    let dir = TempDir::new().unwrap();
    let log = open(&dir);
    for n in 0..3 {
        log.0.record(event(n)).await.unwrap();
        let aside = dir.path().join(format!("audit.log.old-{n}"));
        std::fs::rename(dir.path().join("audit.log"), aside).unwrap();
        log.0.reopen().await.unwrap();
        log.0.reopen().await.unwrap();
    }
    end(log).await;
    let mut small = settings(&dir);
    small.rotate_bytes = Some(2000);
    let log = Audit::open(small, dir.path()).unwrap();
    for n in 0..50 {
        log.0.record(event(n)).await.unwrap();
    }
    end(log).await;
    let report = check(&dir).unwrap();
    assert!(report.files.len() > 8, "{}", report.files.len());
    assert_eq!(report.lines, 53 + report.files.len() as u64, "each file has a line that opens it");
    for file in files(&dir) {
        assert!(std::fs::metadata(&file).unwrap().len() < 3000, "{}", file.display());
    }
    // Moved away while nothing runs: the state directory knows how to go on.
    std::fs::rename(dir.path().join("audit.log"), dir.path().join("audit.log.away")).unwrap();
    let written = head_of(&dir).seq;
    run(&dir, 1).await;
    check(&dir).unwrap();
    // Moved, or removed: the log says that the file was not there.
    let repair = text(&dir).lines().nth(1).unwrap().to_owned();
    let says = |what: &str| repair.contains(what);
    assert!(says("\"repair\"") && says(&format!("\"empty_after\":{written}")), "{repair}");
    // A file in the middle is missing.
    let gone = &report.files[4];
    std::fs::remove_file(gone).unwrap();
    let found = check(&dir).unwrap_err();
    assert!(matches!(found, Broken::Line { line: 1, fault: Fault::Number { .. }, .. }), "{found}");
}

/// What somebody who has the file and not the key may try (issue 5, item 9): each is found, at the
/// first line that is not as it was.
#[tokio::test]
async fn manipulations_are_found() {
    let dir = TempDir::new().unwrap();
    run(&dir, 8).await;
    let path = dir.path().join("audit.log");
    let good = text(&dir);
    let lines: Vec<&str> = good.lines().collect();
    let joined = |lines: &[&str]| lines.iter().map(|line| format!("{line}\n")).collect::<String>();
    let without = |n: usize| joined(&[&lines[..n], &lines[n + 1..]].concat());
    let mut swapped = lines.clone();
    swapped.swap(3, 4);
    let twice = joined(&[&lines[..5], &lines[4..]].concat());
    let forged = lines[4].replace("token-3", "token-x");
    let renumbered = without(4).replace("\"seq\":6", "\"seq\":5");
    let mut foreign = Vec::new();
    let _ = key(2).seal(
        &chain::Mac::GENESIS,
        &format!("{}}}", lines[4].split(",\"mac\"").next().unwrap()),
        &mut foreign,
    );
    let foreign = String::from_utf8(foreign).unwrap();
    for (what, text, line) in [
        ("altered", good.replace("token-3", "token-x"), 5),
        (
            "one character of its code",
            good.replace(lines[4].get(lines[4].len() - 9..).unwrap(), "AAAAAAA\"}"),
            5,
        ),
        ("deleted", without(4), 5),
        ("deleted and renumbered", renumbered, 5),
        ("reordered", joined(&swapped), 4),
        ("repeated", twice, 6),
        ("inserted", joined(&[&lines[..4], &[&*forged], &lines[4..]].concat()), 5),
        ("sealed with another key", good.replace(lines[4], foreign.trim_end()), 5),
        ("first line gone", without(0), 1),
        ("blank line", good.replacen('\n', "\n\n", 1), 2),
        ("a space", good.replacen("\"event\":", "\"event\": ", 3), 1),
        ("cut in the middle of the last line", good.get(..good.len() - 20).unwrap().to_owned(), 9),
        ("no last line break", good.get(..good.len() - 1).unwrap().to_owned(), 9),
    ] {
        std::fs::write(&path, text).unwrap();
        match check(&dir) {
            Err(Broken::Line { line: found, .. }) => assert_eq!(found, line, "{what}"),
            other => panic!("{what}: {other:?}"),
        }
    }
    // Whole lines cut off the end: only the state directory tells.
    std::fs::write(&path, joined(&lines[..7])).unwrap();
    assert_eq!(verify(std::slice::from_ref(&path), &[key(1)], None).unwrap().lines, 7);
    let found = check(&dir).unwrap_err();
    assert!(matches!(found, Broken::End { found: 7, written: 9, .. }), "{found}");
    std::fs::write(&path, &good).unwrap();
    check(&dir).unwrap();
    assert!(matches!(
        verify(&[path], &[key(2)], None).unwrap_err(),
        Broken::Line { line: 1, fault: Fault::UnknownKey(_), .. }
    ));
    assert!(matches!(verify(&[], &[key(1)], None), Err(Broken::Nothing)));
}

/// An end that was cut off is noticed at the next start, and the chain shows the gap for ever.
#[tokio::test]
async fn a_missing_end_stays_visible() {
    let dir = TempDir::new().unwrap();
    run(&dir, 5).await;
    let shorter: String = text(&dir).lines().take(4).map(|line| format!("{line}\n")).collect();
    std::fs::write(dir.path().join("audit.log"), shorter).unwrap();
    run(&dir, 2).await;
    let found = check(&dir).unwrap_err();
    let fault = Fault::Number { expected: 5, found: 7 };
    assert!(matches!(&found, Broken::Line { line: 5, fault: f, .. } if *f == fault), "{found}");
    assert!(text(&dir).contains("\"missing_from\":5,\"missing_to\":6"));
}

/// What was written and not yet on disk may go with the machine's power: that is no manipulation.
#[tokio::test]
async fn lines_lost_with_the_power_are_no_manipulation() {
    let dir = TempDir::new().unwrap();
    run(&dir, 5).await;
    let (file, head) = HeadFile::open(dir.path()).unwrap();
    file.write(&Head { synced: 4, ..head.unwrap() }).unwrap();
    let shorter: String = text(&dir).lines().take(4).map(|line| format!("{line}\n")).collect();
    std::fs::write(dir.path().join("audit.log"), shorter).unwrap();
    check(&dir).unwrap();
    run(&dir, 1).await;
    assert_eq!(check(&dir).unwrap().lines, 5);
}

#[tokio::test]
async fn one_file_is_for_one_gateway_and_one_key() {
    let dir = TempDir::new().unwrap();
    let first = open(&dir);
    first.0.record(event(0)).await.unwrap();
    let other = TempDir::new().unwrap();
    let at_once = Audit::open(settings(&dir), other.path()).unwrap_err();
    assert!(matches!(at_once, OpenError::InUse(_)), "{at_once}");
    end(first).await;
    let fault = |result: Result<(Audit, AuditWriter), OpenError>| match result {
        Err(OpenError::Fault { fault, .. }) => fault,
        other => panic!("{other:?}"),
    };
    let foreign = fault({
        run(&other, 1).await;
        Audit::open(settings(&dir), other.path())
    });
    assert!(matches!(foreign, Fault::Gateway(_)), "{foreign}");
    let mut rekeyed = settings(&dir);
    rekeyed.key = key(2);
    let unknown = fault(Audit::open(rekeyed, dir.path()));
    assert!(matches!(unknown, Fault::UnknownKey(_)), "{unknown}");
    // With the old file away, the new key goes on from it.
    let aside = dir.path().join("audit.log.old");
    std::fs::rename(dir.path().join("audit.log"), &aside).unwrap();
    let mut rekeyed = settings(&dir);
    rekeyed.key = key(2);
    end(Audit::open(rekeyed, dir.path()).unwrap()).await;
    let head = head_of(&dir);
    let report = verify(&files(&dir), &[key(2), key(1)], Some(&head)).unwrap();
    assert_eq!(report.files[0], aside);
    assert!(matches!(
        Audit::open(Settings { file: dir.path().into(), ..settings(&dir) }, dir.path()),
        Err(OpenError::Io { .. } | OpenError::NotAFile(_))
    ));
}

/// A state directory that was lost: the file itself says where to go on.
#[tokio::test]
async fn a_lost_state_directory_is_no_new_chain() {
    let dir = TempDir::new().unwrap();
    run(&dir, 3).await;
    std::fs::remove_file(dir.path().join("audit-head.json")).unwrap();
    run(&dir, 1).await;
    assert_eq!(check(&dir).unwrap().lines, 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn everything_said_at_once_is_there() {
    let dir = TempDir::new().unwrap();
    let log = open(&dir);
    let tasks = (0..1000).map(|n| {
        let audit = log.0.clone();
        tokio::spawn(async move {
            if n % 2 == 0 {
                audit.record(event(n)).await.unwrap()
            } else {
                audit.note(event(n)).await
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    end(log).await;
    assert_eq!(check(&dir).unwrap().lines, 1001);
    let text = text(&dir);
    for n in 0..1000 {
        assert_eq!(text.matches(&format!("\"token-{n}\"")).count(), 1, "{n}");
    }
}

/// What finds no room is counted, not forgotten: also when nobody waits for it any more.
#[tokio::test(start_paused = true)]
async fn what_is_missed_is_counted() {
    let (urgent, _changes) = mpsc::channel(1);
    let (notes, _noted) = mpsc::channel(1);
    let condition = Arc::new(Condition::default());
    let audit = Audit(Some(Arc::new(Shared { urgent, notes, condition: condition.clone() })));
    audit.note(event(0)).await;
    let begun = tokio::time::Instant::now();
    audit.note(event(1)).await;
    assert_eq!(begun.elapsed(), ROOM_WAIT, "it waits for room first");
    drop(tokio::time::timeout(Duration::from_secs(1), audit.note(event(2))).await);
    assert_eq!(condition.missed.load(Ordering::Relaxed), 2);
    assert_eq!(audit.status(), Some(Status { up: true, missed: 2 }));
    // A refusal on its way to the writer is the writer's; one that finds no room is counted.
    for missed in [2, 3] {
        drop(tokio::time::timeout(Duration::from_secs(1), audit.record_refusal(event(3))).await);
        assert_eq!(condition.missed.load(Ordering::Relaxed), missed);
    }
}

/// A disk that hangs (a dead network drive) refuses changes; it does not hold up who makes them,
/// also when the queue is full of others that wait.
#[tokio::test(start_paused = true)]
async fn a_disk_that_hangs_holds_up_nobody_for_long() {
    let (urgent, _changes) = mpsc::channel(1);
    let (notes, _noted) = mpsc::channel(1);
    let audit = Audit(Some(Arc::new(Shared { urgent, notes, condition: Arc::default() })));
    assert_eq!(audit.status().map(|status| status.up), Some(true));
    for what in ["the disk", "room"] {
        let begun = tokio::time::Instant::now();
        audit.record(event(0)).await.unwrap_err();
        assert_eq!(begun.elapsed(), DISK_WAIT, "{what}");
        audit.record_refusal(event(0)).await.unwrap_err();
        assert_eq!(begun.elapsed(), 2 * DISK_WAIT, "{what}");
    }
    assert_eq!(audit.status().map(|status| status.up), Some(false), "and it is seen");
    assert!(!audit.takes_lines());
    audit.reopen().await.unwrap_err();
}

#[tokio::test]
async fn off_takes_everything() {
    let audit = Audit::off();
    audit.record(event(0)).await.unwrap();
    audit.note(event(0)).await;
    audit.reopen().await.unwrap();
    audit.close().await;
    assert!(!audit.is_on() && audit.status().is_none());
}
