//! The users file: `account:hash:roles`, one line an account ([`line`] has the format).
//!
//! Read as a whole, or not at all: one line that cannot be meant and the gateway does not start, or
//! goes on with what it had. It may be edited by hand, by `postern user`, and by this gateway when
//! a login shows the password behind an outdated hash.
//!
//! It must never write over a change that somebody else has just made.

mod edit;
mod htpasswd;
mod line;
mod table;

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;

use super::hash::Hash;
use super::password::Password;
use super::pool::Pool;
use super::verify::{Stored, verify};
use super::{Account, AccountsUnavailable, Attempt, LookedUp, Refused, failed};
use crate::secret::Secret;

pub use edit::{EditError, UsersFile};
pub use htpasswd::{ImportError, Imported, import, read_htpasswd};
pub use line::{Entry, LineError, NewEntry};
pub use table::{FileError, Table};

/// How long an upgrade waits for `postern user` to be done; else it is for the next login.
const UPGRADE_WAIT: Duration = Duration::from_millis(200);

/// What tells one version of a file from another.
type Version = Option<(u64, i64, i64, u64)>;

/// The accounts of a users file.
#[derive(Debug)]
pub(super) struct FileAccounts {
    path: PathBuf,
    table: ArcSwap<Table>,
    seen: Mutex<Seen>,
    /// A new hash could not be written: none is made until the file has changed.
    read_only: AtomicBool,
}

/// The file as it was last looked at.
#[derive(Debug)]
struct Seen {
    version: Version,
    /// A change was seen at the last look; it counts once the file holds still.
    unsettled: bool,
}

impl FileAccounts {
    pub(super) fn open(path: &Path) -> Result<Self, FileError> {
        // Before it is read: a change meanwhile is seen at the next look.
        let version = version(path);
        let table = ArcSwap::from_pointee(Table::load(path)?);
        let seen = Mutex::new(Seen { version, unsettled: false });
        Ok(Self { path: path.to_owned(), table, seen, read_only: AtomicBool::new(false) })
    }

    /// Checks a password; every refusal takes the same time.
    pub(super) async fn check(
        self: &Arc<Self>,
        pool: &Pool,
        attempt: &Attempt<'_>,
    ) -> Result<Result<Account, Refused>, AccountsUnavailable> {
        let table = self.table.load_full();
        // What cannot be a name is in no table.
        let entry = table.get(attempt.name).cloned();
        let password =
            Password::typed(attempt.password.expose()).unwrap_or_else(|_| Password::none());
        let this = self.clone();
        let work = move || this.verify(&password, entry, &table);
        pool.run(attempt.client, work).await?
    }

    /// On a thread of the pool.
    fn verify(
        &self,
        password: &Password,
        entry: Option<Entry>,
        table: &Table,
    ) -> Result<Result<Account, Refused>, AccountsUnavailable> {
        let stored = entry
            .as_ref()
            .map(|entry| Stored { hash: entry.hash.clone(), disabled: entry.disabled });
        let upgrade = !self.read_only.load(Ordering::Relaxed);
        let outcome = verify(password, stored.as_ref(), table.works(), upgrade).map_err(failed)?;
        let (matched, entry) = match (outcome, entry) {
            (Ok(matched), Some(entry)) => (matched, entry),
            (Ok(_), None) => return Ok(Err(Refused::Unknown)),
            (Err(refused), _) => return Ok(Err(refused)),
        };
        if let Some(hash) = matched.upgrade {
            self.upgrade(&entry, &hash);
        }
        Ok(Ok(account(&entry)))
    }

    pub(super) fn look_up(&self, name: &str, subject: &str) -> LookedUp {
        let table = self.table.load();
        match table.get(name) {
            Some(entry) if !entry.disabled && entry.subject() == subject => {
                LookedUp::Present(account(entry))
            }
            Some(_) | None => LookedUp::Gone,
        }
    }

    /// Reads the file again if it has changed and has then held still for one look; whether it did.
    pub(super) fn reload(&self) -> Result<bool, FileError> {
        let mut seen = self.seen();
        let now = version(&self.path);
        let changed = now != seen.version;
        let settled = seen.unsettled && !changed;
        *seen = Seen { version: now, unsettled: changed };
        if !settled {
            return Ok(false);
        }
        self.table.store(Arc::new(Table::load(&self.path)?));
        self.read_only.store(false, Ordering::Relaxed);
        Ok(true)
    }

    /// Writes an account's new hash down, unless the old one is no longer there or somebody else
    /// is changing the file: what was not yet read as a whole, and held still, is not written over.
    fn upgrade(&self, entry: &Entry, hash: &Secret<String>) {
        // Held throughout, so that a reload never puts an older table over the newer. It is left as
        // it is: the next looks find this change like any other, and none behind it is missed.
        let seen = self.seen();
        match self.write_upgrade(entry, hash, &seen) {
            Ok(Some(table)) => {
                self.table.store(Arc::new(table));
                tracing::info!("an outdated password hash was made anew at a login");
            }
            // Somebody else was faster, or is at it: theirs counts.
            Ok(None) | Err(FileError::Locked(_)) => {}
            Err(error) => {
                self.read_only.store(true, Ordering::Relaxed);
                tracing::warn!(%error, "outdated password hashes stay: the file cannot be written");
            }
        }
    }

    fn write_upgrade(
        &self,
        entry: &Entry,
        hash: &Secret<String>,
        seen: &Seen,
    ) -> Result<Option<Table>, FileError> {
        let is_as_seen = || !seen.unsettled && version(&self.path) == seen.version;
        if !is_as_seen() {
            return Ok(None);
        }
        let mut users = UsersFile::open(&self.path, UPGRADE_WAIT)?;
        let is_same = |old: &Hash| *old == entry.hash;
        if !users.get(&entry.name).is_some_and(|now| is_same(&now.hash)) {
            return Ok(None);
        }
        if users.set_hash(&entry.name, hash).is_err() {
            return Ok(None);
        }
        users.write_if(is_as_seen)
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn account(entry: &Entry) -> Account {
    Account {
        name: entry.name.clone(),
        subject: entry.subject().to_owned(),
        roles: entry.roles.clone(),
        permissions: entry.permissions.clone(),
        claims: serde_json::Map::new(),
    }
}

fn version(path: &Path) -> Version {
    let meta = std::fs::metadata(path).ok()?;
    Some((meta.ino(), meta.mtime(), meta.mtime_nsec(), meta.len()))
}

#[cfg(test)]
mod tests;
