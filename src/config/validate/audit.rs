//! `[audit]`.

use std::path::{Component, Path, PathBuf};

use super::super::audit::{Audit, LogPath};
use super::super::problem::{Problem, Problems};
use super::super::scalar::OrOff;
use super::{SecretKeys, distinct};

/// The smallest file that is moved aside: below it there would be more files than lines.
const ROTATE_BYTES_MIN: u64 = 64 << 10;

pub(super) fn validate(audit: &Audit, problems: &mut Problems) {
    SecretKeys {
        stem: "key",
        file: &audit.key_file,
        env: &audit.key_env,
        command: &audit.key_command,
    }
    .validate(problems);
    if matches!(audit.file.get_ref(), OrOff::On(_)) && audit.key().is_none() {
        problems.push(
            Problem::at(audit.file.span(), "an audit log needs a key to chain its lines with")
                .help("write key_file, key_env or key_command; 32 random bytes or more"),
        );
    }
    if let (OrOff::On(LogPath(file)), Some(key)) = (audit.file.get_ref(), &audit.key_file)
        && is_same(file, key.get_ref())
    {
        problems.push(
            Problem::at(audit.file.span(), "the audit log's file is the file of its key")
                .help("name another file"),
        );
    }
    distinct(audit.hash.spanned(), "this is listed twice", problems);
    if let OrOff::On(size) = audit.rotate.get_ref()
        && size.get() < ROTATE_BYTES_MIN
    {
        problems.push(Problem::at(
            audit.rotate.span(),
            format!("rotate is {} bytes; it is at least {ROTATE_BYTES_MIN}", size.get()),
        ));
    }
}

/// Whether both lead to one file, as far as names tell.
fn is_same(one: &Path, other: &Path) -> bool {
    let named = |path: &Path| -> PathBuf {
        path.components().filter(|part| !matches!(part, Component::CurDir)).collect()
    };
    named(one) == named(other)
}
