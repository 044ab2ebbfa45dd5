//! Where secrets come from, and who may read and change the files that matter.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::super::*;

fn write(dir: &Path, name: &str, content: &[u8], mode: u32) -> PathBuf {
    let path = dir.join(name);
    fs::write(&path, content).expect("written");
    fs::set_permissions(&path, Permissions::from_mode(mode)).expect("a mode");
    path
}

fn from_env(value: &str) -> Result<Vec<u8>, SecretError> {
    let environment = |_: &str| Some(value.to_owned());
    let source = SecretSource::Env("A".to_owned());
    source.read(Path::new("/"), &environment).map(|secret| secret.expose().clone())
}

fn from_command(words: &[&str]) -> Result<Vec<u8>, SecretError> {
    let source = SecretSource::Command(words.iter().map(|word| (*word).to_owned()).collect());
    source.read(Path::new("/"), &|_| None).map(|secret| secret.expose().clone())
}

#[test]
fn one_line_break_goes_and_prefixes_are_decoded() {
    for (written, read) in [
        ("abc\n", "abc"),
        ("abc\r\n", "abc"),
        ("abc\n\n", "abc\n"),
        ("abc\r", "abc\r"),
        (" abc ", " abc "),
        ("base64:YWJj\n", "abc"),
        ("base64:_-8", "\u{ff}\u{ef}"),
        ("hex:616263", "abc"),
        ("hex:4A", "J"),
    ] {
        let read: Vec<u8> =
            read.chars().map(|c| u8::try_from(u32::from(c)).expect("a byte")).collect();
        assert_eq!(from_env(written).expect(written), read, "{written:?}");
    }
}

#[test]
fn a_secret_that_is_none_is_refused_without_showing_it() {
    for written in ["", "\n", "base64:", "base64:hunter2!", "hex:hunter2", "hex:6"] {
        let error = from_env(written).expect_err(written).to_string();
        assert!(!error.contains("hunter"), "{error}");
    }
    let unset = SecretSource::Env("A".to_owned()).read(Path::new("/"), &|_| None);
    assert!(matches!(unset, Err(SecretError::Unset(name)) if name == "A"));
}

#[test]
fn a_key_file_is_its_owners_alone() {
    let dir = tempfile::tempdir().expect("a directory");
    let read = |name: &str| SecretSource::File(name.into()).read(dir.path(), &|_| None);
    for mode in [0o400, 0o600, 0o700] {
        write(dir.path(), "key", b"abc\n", mode);
        assert_eq!(read("key").expect("private").expose(), b"abc");
    }
    for mode in [0o604, 0o602, 0o620, 0o640, 0o644, 0o666] {
        let path = write(dir.path(), "key", b"abc\n", mode);
        let error = read("key").expect_err("open to others").to_string();
        assert!(error.contains(&format!("chmod 600 {}", path.display())), "{mode:o}: {error}");
        assert!(check_key_permissions(&path).is_err(), "{mode:o}");
    }
    assert!(matches!(read("none"), Err(SecretError::File(PermissionError::Unreadable(..)))));
    write(dir.path(), "large", &[b'a'; (64 << 10) + 1], 0o600);
    assert!(matches!(read("large"), Err(SecretError::TooLarge(_))));
}

#[test]
fn a_configuration_that_others_may_write_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let text = super::with("");
    for (mode, accepted) in [(0o600, true), (0o644, true), (0o664, false), (0o646, false)] {
        let path = write(dir.path(), "p.toml", text.as_bytes(), mode);
        let loaded = load(&path, &[], &|_| None, Options::ONLINE);
        assert_eq!(loaded.is_ok(), accepted, "{mode:o}: {loaded:?}");
        if let Err(failure) = loaded {
            assert!(failure.to_string().contains("chmod go-w"), "{failure}");
        }
    }
}

#[test]
fn files_that_are_no_configuration_are_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let refusal =
        |path: &Path| load(path, &[], &|_| None, Options::ONLINE).expect_err("refused").to_string();
    assert!(refusal(dir.path()).contains("is a directory"));
    assert!(refusal(&dir.path().join("none")).contains("cannot be read"));
    let path = write(dir.path(), "p.toml", b"a = 1\n\xff", 0o600);
    assert!(refusal(&path).contains("p.toml:2: not UTF-8 text"));
}

#[test]
fn relative_paths_start_at_the_file() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = write(dir.path(), "p.toml", super::with("").as_bytes(), 0o600);
    let loaded = load(&path, &[], &|_| None, Options::ONLINE).expect("valid");
    assert_eq!(loaded.source.resolve(Path::new("a/b")), dir.path().join("a/b"));
    assert_eq!(loaded.source.resolve(Path::new("/a/b")), Path::new("/a/b"));
}

#[test]
fn a_command_runs_without_a_shell() {
    assert_eq!(from_command(&["printf", "base64:%s", "YWJj"]).expect("output"), b"abc");
    assert_eq!(from_command(&["echo", "$HOME; ls"]).expect("output"), b"$HOME; ls");
}

#[test]
fn a_command_that_fails_is_refused_without_its_output() {
    let failed = from_command(&["sh", "-c", "echo hunter2; echo hunter2 >&2; exit 3"]);
    let error = failed.expect_err("exit status 3");
    assert!(matches!(error, SecretError::CommandFailed(..)), "{error}");
    assert!(!error.to_string().contains("hunter2"), "{error}");
    assert!(matches!(from_command(&["/none"]), Err(SecretError::CommandStart(..))));
    assert!(matches!(from_command(&[]), Err(SecretError::Empty(_))));
    assert!(matches!(from_command(&["true"]), Err(SecretError::Empty(_))));
}

#[test]
fn a_command_without_end_is_cut_off() {
    let begun = Instant::now();
    assert!(matches!(from_command(&["yes"]), Err(SecretError::TooLarge(_))));
    assert!(begun.elapsed() < Duration::from_secs(5), "it was not waited for");
}

#[test]
fn a_slow_command_is_ended_with_all_that_it_started() {
    let dir = tempfile::tempdir().expect("a directory");
    let marker = dir.path().join("survived");
    // The shell has gone when its child still holds the output.
    let script = format!("(sleep 1.5; touch {}) & echo abc", marker.display());
    let source = SecretSource::Command(["sh", "-c", &script].map(str::to_owned).to_vec());
    let limit = Duration::from_millis(200);
    let read = source.read_within(limit, dir.path(), &|_| None);
    assert!(matches!(read, Err(SecretError::CommandSlow(_))), "{read:?}");
    let gone = Instant::now() + Duration::from_millis(1700);
    while Instant::now() < gone {
        assert!(!marker.exists(), "a child of the command went on");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}
