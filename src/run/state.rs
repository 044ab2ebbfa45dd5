//! The state directory: private, ours alone, locked while we run.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::private_file;
use crate::secret::Secret;

const LOCK: &str = "lock";
const ADMIN_SECRET: &str = "admin-secret";
const ADDRESSES: &str = "addresses.json";
const SECRET_BYTES: usize = 32;

/// Why the state directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another gateway runs with it.
    #[error("{} is in use by another gateway; give each its own [state] dir", .0.display())]
    InUse(PathBuf),
    /// The system said no.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What it said.
        #[source]
        source: io::Error,
    },
    /// Others may read or change it.
    #[error(
        "{} belongs to another user, or others may enter it; it holds secrets: chmod 700 it, or \
         name another [state] dir",
        .0.display()
    )]
    Open(PathBuf),
}

/// The directory, locked until this is dropped.
#[derive(Debug)]
pub struct State {
    dir: PathBuf,
    _lock: File,
}

impl State {
    /// Makes the directory (0700) when it is missing, checks it, locks it.
    ///
    /// # Errors
    ///
    /// [`Error`].
    pub fn open(dir: &Path) -> Result<Self, Error> {
        let at = |path: &Path| {
            let path = path.to_owned();
            move |source| Error::Io { path, source }
        };
        DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(at(dir))?;
        let meta = std::fs::metadata(dir).map_err(at(dir))?;
        if meta.mode() & 0o077 != 0 || meta.uid() != rustix::process::geteuid().as_raw() {
            return Err(Error::Open(dir.to_owned()));
        }
        let path = dir.join(LOCK);
        let mut options = OpenOptions::new();
        let lock = options.create(true).truncate(false).write(true).mode(0o600).open(&path);
        let lock = lock.map_err(at(&path))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { dir: dir.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(Error::InUse(dir.to_owned())),
            Err(TryLockError::Error(source)) => Err(Error::Io { path, source }),
        }
    }

    /// Where it is.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The admin secret; made at the first start.
    ///
    /// # Errors
    ///
    /// [`Error::Io`].
    pub fn admin_secret(&self) -> Result<Secret<String>, Error> {
        match admin_secret(&self.dir) {
            Ok(secret) => Ok(secret),
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                let mut bytes = [0; SECRET_BYTES];
                let path = self.dir.join(ADMIN_SECRET);
                aws_lc_rs::rand::fill(&mut bytes).map_err(|_| Error::Io {
                    path: path.clone(),
                    source: io::Error::other("the system gives no randomness"),
                })?;
                let secret = URL_SAFE_NO_PAD.encode(bytes);
                write(&path, secret.as_bytes())?;
                Ok(Secret::new(secret))
            }
            Err(error) => Err(error),
        }
    }

    /// Leaves word where this gateway listens, for the command line.
    ///
    /// # Errors
    ///
    /// [`Error::Io`].
    pub fn write_addresses(&self, document: &[u8]) -> Result<(), Error> {
        write(&self.dir.join(ADDRESSES), document)
    }
}

impl Drop for State {
    fn drop(&mut self) {
        drop(std::fs::remove_file(self.dir.join(ADDRESSES)));
    }
}

/// The admin secret of the gateway whose state directory this is.
///
/// # Errors
///
/// [`Error::Io`].
pub fn admin_secret(dir: &Path) -> Result<Secret<String>, Error> {
    let path = dir.join(ADMIN_SECRET);
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(Secret::new(text.trim().to_owned())),
        Err(source) => Err(Error::Io { path, source }),
    }
}

/// Where the gateway whose state directory this is listens; `None` when it does not run.
#[must_use]
pub fn addresses(dir: &Path) -> Option<serde_json::Value> {
    serde_json::from_slice(&std::fs::read(dir.join(ADDRESSES)).ok()?).ok()
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    private_file::write(path, bytes).map_err(|source| Error::Io { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_directory_serves_one_gateway() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        let state = State::open(&path).unwrap();
        assert!(matches!(State::open(&path), Err(Error::InUse(_))));
        drop(state);
        assert!(State::open(&path).is_ok());
    }

    #[test]
    fn a_directory_that_others_may_enter_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        drop(State::open(&path).unwrap());
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o750)).unwrap();
        assert!(matches!(State::open(&path), Err(Error::Open(_))));
    }

    #[test]
    fn the_admin_secret_is_made_once_and_private() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        let state = State::open(&path).unwrap();
        let first = state.admin_secret().unwrap();
        assert!(first.expose().len() >= 43, "256 bits");
        assert_eq!(state.admin_secret().unwrap().expose(), first.expose());
        assert_eq!(admin_secret(&path).unwrap().expose(), first.expose());
        let mode = std::fs::metadata(path.join(ADMIN_SECRET)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn addresses_leave_with_the_gateway() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        let state = State::open(&path).unwrap();
        state.write_addresses(br#"{"admin":["127.0.0.1:1"]}"#).unwrap();
        assert!(addresses(&path).is_some());
        drop(state);
        assert!(addresses(&path).is_none());
    }
}
