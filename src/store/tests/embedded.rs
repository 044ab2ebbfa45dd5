//! The embedded store: durable, private, single, and honest about damage.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};

use super::*;
use crate::store::{Hits, OpenError, Store};

/// Tells the child of `it_survives_kill_9` where to write.
const CHILD_DIR: &str = "POSTERN_TEST_EMBEDDED_DIR";

fn open(dir: &std::path::Path) -> Result<Store, OpenError> {
    Store::open(&Settings::new(Address::Embedded { dir: dir.to_owned() }))
}

/// Design section 6: durable before the answer, survives kill -9.
#[tokio::test]
async fn it_survives_kill_9() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "--nocapture", "store::tests::embedded::child_of_kill_9"])
        .env(CHILD_DIR, dir.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let kept = lines.filter_map(|line| line.strip_prefix("kept ").map(str::to_owned));
    let kept: Vec<String> = kept.take(40).collect();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(kept.len(), 40, "the child wrote too little");
    let store = open(dir.path()).unwrap();
    for jti in kept {
        let found = store.worker().look_up(&lookup(&jti), NOW).await.unwrap();
        assert!(matches!(found.hits, Hits::Some(_)), "{jti} was acknowledged and forgotten");
    }
}

#[tokio::test]
#[ignore = "started and killed by it_survives_kill_9"]
async fn child_of_kill_9() {
    let store = open(std::env::var(CHILD_DIR).unwrap().as_ref()).unwrap();
    for i in 0.. {
        store.put(&format!("jti:i:{i}"), &record(), None, NOW).await.unwrap();
        let mut out = std::io::stdout();
        writeln!(out, "kept {i}").and_then(|()| out.flush()).unwrap();
    }
}

#[tokio::test]
async fn it_serves_one_process() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path()).unwrap();
    assert!(matches!(open(dir.path()), Err(OpenError::AlreadyOpen(_))));
    drop(first);
    assert!(open(dir.path()).is_ok());
}

#[tokio::test]
async fn it_is_private() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("a/b");
    let _store = open(&place).unwrap();
    let mode = |path: &std::path::Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&place), 0o700);
    assert_eq!(mode(&place.join("store.redb")), 0o600);
}

/// Damage of every kind is a clear error, never an empty blocklist.
#[tokio::test]
async fn a_damaged_file_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    for i in 0..200 {
        store.put(&format!("jti:i:{i}"), &record(), None, NOW).await.unwrap();
    }
    drop(store);
    let file = dir.path().join("store.redb");
    let whole = std::fs::read(&file).unwrap();
    let half = whole[..whole.len() / 2].to_vec();
    let mut headless = whole.clone();
    headless[..64].fill(0xff);
    for damaged in [half, headless, b"garbage".to_vec(), vec![0; 4096]] {
        std::fs::write(&file, &damaged).unwrap();
        match open(dir.path()) {
            Err(OpenError::Corrupt { .. } | OpenError::Io { .. }) => {}
            Err(error) => panic!("another error: {error}"),
            Ok(_) => panic!("{} damaged bytes were accepted", damaged.len()),
        }
    }
    // A file that was emptied opens, as another store: its generation tells the loss.
    std::fs::write(&file, &whole).unwrap();
    let before = open(dir.path()).unwrap().generation().await.unwrap();
    std::fs::write(&file, b"").unwrap();
    assert_ne!(open(dir.path()).unwrap().generation().await.unwrap(), before);
}

/// "A lookup completes without yielding."
#[tokio::test]
async fn a_lookup_never_waits() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    store.put("jti:i:1", &record(), None, NOW).await.unwrap();
    let worker = store.worker();
    let token = lookup("1");
    let mut asking = std::pin::pin!(worker.look_up(&token, NOW));
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(asking.as_mut().poll(&mut context).is_ready());
}
