//! Changing a users file: one process at a time, the file whole at every moment.
//!
//! Comments, empty lines and the order stay. The lock is a file beside it (`NAME.lock`), since the
//! users file itself is replaced; it is let go when its holder ends, however that is.

use std::collections::HashMap;
use std::fs::{File, OpenOptions, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use thiserror::Error;
use zeroize::Zeroizing;

use super::line::{Entry, LineError, NewEntry, with_hash};
use super::table::{FileError, Table, lines, text};
use crate::private_file;
use crate::secret::Secret;

/// How often a lock that another process holds is asked for.
const LOCK_POLL: Duration = Duration::from_millis(10);

/// What the owner may do, and the group where it did: nobody else, and nothing more.
const MODE_MAX: u32 = 0o640;
const MODE_MIN: u32 = 0o600;

/// Why a change was not made.
#[derive(Debug, Error)]
pub enum EditError {
    /// There is one already.
    #[error("the account {0:?} is there already")]
    Exists(String),
    /// What is to be written cannot be.
    #[error("{0}")]
    Line(#[from] LineError),
    /// There is none of that name.
    #[error("there is no account {0:?}")]
    Missing(String),
}

/// A users file that this process alone changes, until it is dropped.
pub struct UsersFile {
    path: PathBuf,
    _lock: File,
    /// `None` where one was removed.
    lines: Vec<Option<Zeroizing<String>>>,
    /// Where each account's line is.
    places: HashMap<String, usize>,
    table: Table,
    /// Mode and group of the file as it was; none of a file that is new.
    before: Option<(u32, u32)>,
}

impl UsersFile {
    /// Locks and reads the file, waiting for the lock no longer than `wait`; a file that is not
    /// there is an empty one. A link is followed, so that it stays one.
    ///
    /// # Errors
    ///
    /// [`FileError`].
    pub fn open(path: &Path, wait: Duration) -> Result<Self, FileError> {
        let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let lock = lock(&path, wait)?;
        let before = match std::fs::metadata(&path) {
            Ok(metadata) => Some(metadata),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(source) => return Err(FileError::Io { path, source }),
        };
        let owner = before.as_ref().map(|metadata| metadata.uid());
        if let Some(owner) = owner.filter(|uid| *uid != rustix::process::geteuid().as_raw()) {
            return Err(FileError::Foreign { path, owner });
        }
        let text = if before.is_some() { text(&path)? } else { Zeroizing::default() };
        let table = Table::read(&path, &text)?;
        let lines = lines(&text).map(|line| Some(Zeroizing::new(line.to_owned()))).collect();
        let places = table.places();
        let before = before.map(|metadata| (metadata.mode(), metadata.gid()));
        Ok(Self { path, _lock: lock, lines, places, table, before })
    }

    /// The account of exactly this name, as the file was when it was opened.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Entry> {
        self.table.get(name)
    }

    /// Adds an account.
    ///
    /// # Errors
    ///
    /// [`EditError::Exists`], [`EditError::Line`].
    pub fn add(&mut self, new: &NewEntry, hash: &Secret<String>) -> Result<(), EditError> {
        if self.places.contains_key(&new.name) {
            return Err(EditError::Exists(new.name.clone()));
        }
        let line = new.line(hash.expose())?;
        self.places.insert(new.name.clone(), self.lines.len());
        self.lines.push(Some(Zeroizing::new(line.expose().clone())));
        Ok(())
    }

    /// Gives an account another hash and leaves everything else of it.
    ///
    /// # Errors
    ///
    /// [`EditError::Missing`].
    pub fn set_hash(&mut self, name: &str, hash: &Secret<String>) -> Result<(), EditError> {
        let place = self.places.get(name);
        let line = place.and_then(|place| self.lines.get_mut(*place)).and_then(Option::as_mut);
        let line = line.ok_or_else(|| EditError::Missing(name.to_owned()))?;
        *line = Zeroizing::new(with_hash(line, hash.expose()).expose().clone());
        Ok(())
    }

    /// Removes an account.
    ///
    /// # Errors
    ///
    /// [`EditError::Missing`].
    pub fn remove(&mut self, name: &str) -> Result<(), EditError> {
        let place = self.places.remove(name);
        let line = place.and_then(|place| self.lines.get_mut(place));
        *line.ok_or_else(|| EditError::Missing(name.to_owned()))? = None;
        Ok(())
    }

    /// Puts the changed file in its place, on disk when this returns; whoever looks finds the old
    /// one or the new one. What would not be read again is not written.
    ///
    /// # Errors
    ///
    /// [`FileError`].
    pub fn write(self) -> Result<Table, FileError> {
        self.replace(|| true).map(|(table, _)| table)
    }

    /// The same, if the file `may` still be replaced, asked at the last moment; `None` when it may
    /// not, and nothing has changed. Editors know nothing of the lock.
    ///
    /// # Errors
    ///
    /// [`FileError`].
    pub(super) fn write_if(self, may: impl FnOnce() -> bool) -> Result<Option<Table>, FileError> {
        self.replace(may).map(|(table, was_replaced)| was_replaced.then_some(table))
    }

    fn replace(self, may: impl FnOnce() -> bool) -> Result<(Table, bool), FileError> {
        let size = self.lines.iter().flatten().map(|line| line.len() + 1).sum();
        let mut text = Zeroizing::new(String::with_capacity(size));
        for line in self.lines.iter().flatten() {
            text.push_str(line);
            text.push('\n');
        }
        let table = Table::read(&self.path, &text)?;
        let put = self.put(text.as_bytes(), may);
        let put = put.map_err(|source| FileError::Io { path: self.path.clone(), source })?;
        Ok((table, put))
    }

    /// By way of a second file: mode and group must be right before anybody can look.
    fn put(&self, bytes: &[u8], may: impl FnOnce() -> bool) -> io::Result<bool> {
        let next = beside(&self.path, ".new");
        private_file::remove_drafts(&next)?;
        private_file::write(&next, bytes)?;
        if let Some((mode, group)) = self.before {
            if std::fs::metadata(&next)?.gid() != group {
                chown(&next, None, Some(group))?;
            }
            let mode = mode & MODE_MAX | MODE_MIN;
            std::fs::set_permissions(&next, Permissions::from_mode(mode))?;
        }
        if !may() {
            private_file::remove(&next)?;
            return Ok(false);
        }
        private_file::rename(&next, &self.path)?;
        Ok(true)
    }
}

fn lock(path: &Path, wait: Duration) -> Result<File, FileError> {
    let place = beside(path, ".lock");
    let io = |source| FileError::Io { path: place.clone(), source };
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).write(true).mode(0o600);
    let file = options.open(&place).map_err(io)?;
    let deadline = Instant::now() + wait;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(source)) => return Err(io(source)),
            Err(TryLockError::WouldBlock) if Instant::now() >= deadline => {
                return Err(FileError::Locked(path.to_owned()));
            }
            Err(TryLockError::WouldBlock) => thread::park_timeout(LOCK_POLL),
        }
    }
}

/// `NAME` and a word behind it.
fn beside(path: &Path, tail: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(tail);
    name.into()
}

#[cfg(test)]
mod tests;
