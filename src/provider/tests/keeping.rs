//! A start while the provider is down.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use super::*;

/// A state directory in which a gateway with this source has run, and one of its keys.
async fn used(settings: KeySource) -> (TempDir, Key) {
    let key = Key::new("a");
    let bench = Bench::started(settings, &[&key]).await;
    bench.providers.stop();
    (bench.dir, key)
}

/// A gateway that starts there with its provider down.
async fn cold(dir: TempDir, settings: KeySource) -> Bench {
    let bench = Bench::at(dir, &[settings]);
    bench.providers.follow().await;
    bench
}

fn file(dir: &TempDir) -> PathBuf {
    let mut files = std::fs::read_dir(dir.path().join("keys")).unwrap();
    let file = files.next().expect("a file is kept").unwrap().path();
    assert!(files.next().is_none(), "one source, one file");
    file
}

#[tokio::test(start_paused = true)]
async fn a_cold_start_with_the_provider_down_has_the_last_good_keys() {
    let (dir, key) = used(key_source("main")).await;
    let mode = std::fs::metadata(file(&dir)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let bench = cold(dir, key_source("main")).await;
    assert!(bench.request(&key.token()).await.is_ok());
    assert!(bench.providers.were_ready());
    let status = bench.status();
    assert!(status.had_keys && status.keys == 1 && status.last_error.is_some(), "{status:?}");
    let (kept, new) = (key, Key::new("b"));
    bench.main().publishes(&[&new]);
    pass(seconds(5)).await;
    assert!(bench.verify(&new.token()).is_ok(), "the provider's word replaces it");
    assert!(bench.verify(&kept.token()).is_err());
}

/// `max_stale` counts from the fetch, across the restart.
#[tokio::test(start_paused = true)]
async fn the_time_before_the_restart_counts() {
    let (dir, key) = used(key_source("main")).await;
    let last_good = LastGood::new(dir.path());
    let text = last_good.read(&key_source("main"), UnixTime::now()).unwrap().unwrap().text;
    let ago = UnixTime::now().minus(seconds(3000));
    last_good.write(&key_source("main"), &text, ago).unwrap();
    let bench = cold(dir, key_source("main")).await;
    assert!(bench.verify(&key.token()).is_ok());
    pass(seconds(590)).await;
    assert!(bench.verify(&key.token()).is_ok());
    pass(seconds(12)).await;
    assert!(bench.verify(&key.token()).is_err(), "3600 s in all");
    assert_eq!(bench.request(&key.token()).await.unwrap_err(), None);
}

#[tokio::test(start_paused = true)]
async fn a_file_that_does_not_count_is_no_error() {
    let spoil: [fn(&PathBuf); 4] = [
        |path| std::fs::write(path, "not ours").unwrap(),
        |path| std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644)).unwrap(),
        |path| {
            let mut bytes = std::fs::read(path).unwrap();
            *bytes.last_mut().unwrap() ^= 1;
            std::fs::write(path, bytes).unwrap();
        },
        |path| {
            std::fs::remove_file(path).unwrap();
            std::fs::create_dir(path).unwrap();
        },
    ];
    for spoil in spoil {
        let (dir, key) = used(key_source("main")).await;
        spoil(&file(&dir));
        let bench = cold(dir, key_source("main")).await;
        assert!(bench.verify(&key.token()).is_err());
        assert!(!bench.providers.were_ready());
        assert_eq!(bench.request(&key.token()).await.unwrap_err(), None);
    }
}

/// What was taken down under one configuration is read by the rules of the next.
#[tokio::test(start_paused = true)]
async fn the_rules_of_today_hold_for_the_document_of_yesterday() {
    let (dir, key) = used(key_source("main")).await;
    let mut settings = key_source("main");
    settings.algorithms = vec![Algorithm::RS256];
    let bench = cold(dir, settings).await;
    assert!(bench.verify(&key.token()).is_err());
    assert_eq!(bench.status().keys, 0);
}

#[tokio::test(start_paused = true)]
async fn the_file_follows_the_document_and_its_date_the_fetches() {
    let (old, new) = (Key::new("a"), Key::new("b"));
    let mut settings = key_source("main");
    settings.refresh = seconds(10);
    let bench = Bench::started(settings.clone(), &[&old]).await;
    let path = file(&bench.dir);
    let version = || std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(&path).unwrap());
    let first = version();
    pass(seconds(40)).await;
    assert!(bench.main().fetches() > 3);
    assert_eq!(version(), first, "not for each fetch");
    let mut versions = std::collections::HashSet::from([first]);
    for _ in 0..120 {
        pass(seconds(1)).await;
        versions.insert(version());
    }
    assert!((2..=4).contains(&versions.len()), "about once a minute: {versions:?}");
    bench.main().publishes(&[&new]);
    pass(seconds(12)).await;
    let kept = LastGood::new(bench.dir.path()).read(&settings, UnixTime::now()).unwrap().unwrap();
    assert_eq!(String::from_utf8(kept.text).unwrap(), jwks(&[&new]));
}

#[tokio::test(start_paused = true)]
async fn files_of_sources_that_are_gone_are_removed() {
    let key = Key::new("a");
    let bench = Bench::new(&[key_source("main"), key_source("second")]);
    bench.main().publishes(&[&key]);
    bench.provider("second").publishes(&[&key]);
    bench.providers.follow().await;
    let folder = bench.dir.path().join("keys");
    std::fs::write(folder.join("not-ours.txt"), "kept").unwrap();
    let count = || std::fs::read_dir(&folder).unwrap().count();
    assert_eq!(count(), 3);
    bench.reload(&[key_source("second")]).await;
    pass(seconds(1)).await;
    assert_eq!(count(), 2);
    let left = LastGood::new(bench.dir.path()).path(&key_source("second"));
    assert!(left.exists() && folder.join("not-ours.txt").exists());
}

/// A state directory that cannot be written costs the file, not the keys.
#[tokio::test(start_paused = true)]
async fn keys_are_used_although_they_cannot_be_kept() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("keys"), "a file in the way").unwrap();
    let key = Key::new("a");
    let bench = Bench::at(dir, &[key_source("main")]);
    bench.main().publishes(&[&key]);
    bench.providers.follow().await;
    assert!(bench.verify(&key.token()).is_ok());
}
