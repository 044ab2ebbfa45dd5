//! Who may read and write a file that this gateway's security rests on.

use std::fs::{self, File, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Group or others may write.
const FOREIGN_WRITE: u32 = 0o022;

/// Group or others may enter a directory.
const FOREIGN_SEARCH: u32 = 0o011;

/// Group or others may do anything.
const FOREIGN: u32 = 0o077;

/// Anything but reading by the owner and the group.
const BEYOND_GROUP_READ: u32 = 0o037;

/// Why a file is not trusted.
#[derive(Debug, thiserror::Error)]
pub enum PermissionError {
    /// A configuration file that others can change.
    #[error(
        "{path} may be written by others than its owner; run: chmod go-w {path}",
        path = .0.display()
    )]
    Writable(PathBuf),
    /// A key file that others can read or change.
    #[error(
        "{path} may be read or written by others than its owner; run: chmod 600 {path}",
        path = .0.display()
    )]
    Exposed(PathBuf),
    /// Not there, or not readable.
    #[error("{path} cannot be read: {}", .1, path = .0.display())]
    Unreadable(PathBuf, #[source] std::io::Error),
}

/// Refuses a configuration file that group or others may write.
///
/// # Errors
///
/// [`PermissionError::Writable`], [`PermissionError::Unreadable`].
pub fn check_file_permissions(path: &Path) -> Result<(), PermissionError> {
    let metadata = fs::metadata(path).map_err(|e| PermissionError::Unreadable(path.into(), e))?;
    configuration_file(&metadata, path)
}

/// Refuses a key or secret file that group or others may read or write. One exception, for secrets
/// that an orchestrator mounts: root's file, read by another user's process through its group.
///
/// # Errors
///
/// [`PermissionError::Exposed`], [`PermissionError::Unreadable`].
pub fn check_key_permissions(path: &Path) -> Result<(), PermissionError> {
    open_key(path).map(|_| ())
}

/// Refuses a certificate's key file that others can write, or that others can really get at: one
/// that is readable by its mode alone, below a directory that only its owner may enter, is let
/// through, because certificate tools leave such files in private directories.
///
/// # Errors
///
/// [`PermissionError::Exposed`], [`PermissionError::Unreadable`].
pub fn check_certificate_key_permissions(path: &Path) -> Result<(), PermissionError> {
    let unreadable = |error| PermissionError::Unreadable(path.into(), error);
    let metadata = fs::metadata(path).map_err(unreadable)?;
    let writable = metadata.is_file() && metadata.mode() & FOREIGN_WRITE != 0;
    if !writable && !is_reachable(&fs::canonicalize(path).map_err(unreadable)?) {
        return Ok(());
    }
    check_key_permissions(path)
}

/// Whether group or others may enter every directory on the way.
fn is_reachable(path: &Path) -> bool {
    path.ancestors().skip(1).all(|directory| {
        fs::metadata(directory).map_or(true, |metadata| metadata.mode() & FOREIGN_SEARCH != 0)
    })
}

/// Opens a key or secret file; what is checked is what will be read.
pub(super) fn open_key(path: &Path) -> Result<File, PermissionError> {
    let unreadable = |error| PermissionError::Unreadable(path.into(), error);
    let file = File::open(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    let process_is_root = rustix::process::geteuid().is_root();
    let refused = if metadata.uid() == 0 && !process_is_root { BEYOND_GROUP_READ } else { FOREIGN };
    // Not for a pipe such as /dev/stdin or a shell's `<(...)`: its mode says nothing.
    if metadata.is_file() && metadata.mode() & refused != 0 {
        return Err(PermissionError::Exposed(path.into()));
    }
    Ok(file)
}

/// Checks an open configuration file.
pub(super) fn configuration_file(metadata: &Metadata, path: &Path) -> Result<(), PermissionError> {
    if metadata.is_file() && metadata.mode() & FOREIGN_WRITE != 0 {
        return Err(PermissionError::Writable(path.into()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_certificate_key_may_lie_open_only_where_nobody_else_gets() {
        let private = tempfile::tempdir().unwrap();
        let key = private.path().join("key.pem");
        fs::write(&key, "x").unwrap();
        let mode = |path: &Path, mode| {
            fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        };
        mode(&key, 0o644);
        mode(private.path(), 0o700);
        assert!(check_certificate_key_permissions(&key).is_ok());
        mode(&key, 0o666);
        assert!(check_certificate_key_permissions(&key).is_err(), "writable");
        mode(&key, 0o600);
        mode(private.path(), 0o755);
        assert!(check_certificate_key_permissions(&key).is_ok());
        if is_reachable(&key) {
            mode(&key, 0o644);
            assert!(check_certificate_key_permissions(&key).is_err(), "reachable");
        }
    }
}
