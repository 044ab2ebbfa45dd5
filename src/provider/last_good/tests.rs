//! Which files count, and which do not. Each row is somebody's mistake or somebody's attempt.

use std::os::unix::fs::PermissionsExt as _;

use super::*;
use crate::policy::provider::Published;
use crate::provider::tests::key_source;

const NOW: UnixTime = UnixTime(1_800_000_000);
const TEXT: &[u8] = b"{\"keys\":[]}\nand more";

fn kept() -> (tempfile::TempDir, LastGood) {
    let dir = tempfile::tempdir().unwrap();
    let last_good = LastGood::new(dir.path());
    last_good.write(&key_source("main"), TEXT, NOW).unwrap();
    (dir, last_good)
}

fn refusal(last_good: &LastGood, settings: &KeySource, now: UnixTime) -> String {
    last_good.read(settings, now).unwrap_err().to_string()
}

#[test]
fn what_was_written_is_read() {
    let (_dir, last_good) = kept();
    let expected = Kept { text: TEXT.to_vec(), fetched_at: NOW };
    let read = |settings: &KeySource, now| last_good.read(settings, now);
    assert_eq!(read(&key_source("main"), NOW).unwrap().as_ref(), Some(&expected));
    let late = NOW.plus(Duration::from_secs(3599));
    assert_eq!(read(&key_source("main"), late).unwrap(), Some(expected));
    assert_eq!(read(&key_source("other"), NOW).unwrap(), None);
}

#[test]
fn age_is_bounded_on_both_sides() {
    let (_dir, last_good) = kept();
    let settings = key_source("main");
    let late = NOW.plus(Duration::from_secs(3600));
    assert!(refusal(&last_good, &settings, late).contains("longer than max_stale"));
    let early = |seconds| NOW.minus(Duration::from_secs(seconds));
    assert!(last_good.read(&settings, early(60)).is_ok(), "clocks differ a little");
    assert!(refusal(&last_good, &settings, early(61)).contains("from the future"));
}

/// A document that was believed for one reason is not believed for another.
#[test]
fn a_file_is_bound_to_its_source() {
    let (_dir, last_good) = kept();
    let own = last_good.path(&key_source("main"));
    let changes: [fn(&mut KeySource); 6] = [
        |settings| settings.entry = "other".into(),
        |settings| settings.issuer = None,
        |settings| settings.published = Published::Discovery,
        |settings| settings.hosts.push("keys.example".into()),
        |settings| settings.reach.trust = "ca.pem".into(),
        |settings| settings.reach.addresses.push("10.0.0.0/8".parse().unwrap()),
    ];
    for change in changes {
        let mut settings = key_source("main");
        change(&mut settings);
        // Also where somebody has given the file the name of another source.
        let theirs = last_good.path(&settings);
        if theirs != own {
            std::fs::copy(&own, &theirs).unwrap();
        }
        assert!(refusal(&last_good, &settings, NOW).contains("another source"), "{settings:?}");
    }
    let mut timings = key_source("main");
    timings.refresh = Duration::from_secs(1);
    assert!(last_good.read(&timings, NOW).is_ok());
}

#[test]
fn every_flipped_bit_is_noticed() {
    let (_dir, last_good) = kept();
    let path = last_good.path(&key_source("main"));
    let good = std::fs::read(&path).unwrap();
    for place in 0..good.len() {
        let mut bytes = good.clone();
        bytes[place] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        assert!(last_good.read(&key_source("main"), NOW).is_err(), "byte {place}");
    }
    for length in [0, 1, good.len() / 2, good.len() - 1] {
        std::fs::write(&path, &good[..length]).unwrap();
        assert!(last_good.read(&key_source("main"), NOW).is_err(), "{length} bytes");
    }
}

/// CWE-732: a file that others could have written says nothing.
#[test]
fn a_file_that_others_may_touch_does_not_count() {
    let (_dir, last_good) = kept();
    let path = last_good.path(&key_source("main"));
    for mode in [0o644, 0o660, 0o602] {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        assert!(refusal(&last_good, &key_source("main"), NOW).contains("chmod 600"));
    }
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::write(&path, vec![b'x'; BYTES_MAX + 1]).unwrap();
    assert!(refusal(&last_good, &key_source("main"), NOW).contains("larger than"));
}
