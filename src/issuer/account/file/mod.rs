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
use super::{Account, AccountsUnavailable, Attempt, Ended, LookedUp, Refused, failed};
use crate::secret::Secret;

pub use edit::{EditError, UsersFile};
pub use htpasswd::{ImportError, Imported, import, read_htpasswd};
pub use line::{Entry, LineError, NewEntry};
pub use table::{FileError, Table};

/// How long an upgrade waits for `postern user` to be done; else it is for the next login.
const UPGRADE_WAIT: Duration = Duration::from_millis(200);

/// Tables that one password is checked by, should each be replaced meanwhile.
const TABLES_TRIED_MAX: usize = 4;

/// From so many accounts on, the end of more than half of them is said loudly.
const MANY: usize = 10;

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
    standing: Standing,
    /// Accounts that are gone or disabled, as long as nobody has asked for them.
    ended: Vec<Ended>,
}

/// What became of the version that was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// Its accounts are in force.
    Read,
    /// It cannot be meant: the accounts of an earlier one are in force until it changes.
    Refused,
    /// The system did not let it be read, which has been told: the next look tries again.
    Unread,
    /// It was another one at the look before; it counts once it holds still.
    Unsettled,
}

impl FileAccounts {
    pub(super) fn open(path: &Path) -> Result<Self, FileError> {
        // Before it is read: a change meanwhile is seen at the next look.
        let version = version(path);
        let table = ArcSwap::from_pointee(Table::load(path)?);
        let seen = Seen { version, standing: Standing::Read, ended: Vec::new() };
        let seen = Mutex::new(seen);
        Ok(Self { path: path.to_owned(), table, seen, read_only: AtomicBool::new(false) })
    }

    /// Checks a password; every refusal takes the same time.
    pub(super) async fn check(
        self: &Arc<Self>,
        pool: &Pool,
        attempt: &Attempt<'_>,
    ) -> Result<Result<Account, Refused>, AccountsUnavailable> {
        // What cannot be a name is in no table.
        let name = attempt.name.to_owned();
        let password =
            Password::typed(attempt.password.expose()).unwrap_or_else(|_| Password::none());
        let this = self.clone();
        pool.run(attempt.client, move || this.verify(&name, &password)).await?
    }

    /// On a thread of the pool. A password that is right by a table which is no longer in force
    /// must be right by the newer one, too: it may have been changed because somebody knew it.
    fn verify(
        &self,
        name: &str,
        password: &Password,
    ) -> Result<Result<Account, Refused>, AccountsUnavailable> {
        for _ in 0..TABLES_TRIED_MAX {
            let table = self.table.load_full();
            let entry = table.get(name);
            let stored =
                entry.map(|entry| Stored { hash: entry.hash.clone(), disabled: entry.disabled });
            let upgrade = !self.read_only.load(Ordering::Relaxed);
            let outcome = verify(password, stored.as_ref(), table.works(), upgrade);
            let (matched, entry) = match (outcome.map_err(failed)?, entry) {
                (Ok(matched), Some(entry)) => (matched, entry),
                (Ok(_), None) => return Ok(Err(Refused::Unknown)),
                (Err(refused), _) => return Ok(Err(refused)),
            };
            if !self.still_has(entry) {
                continue;
            }
            if let Some(hash) = matched.upgrade {
                self.upgrade(entry, &hash);
            }
            return Ok(Ok(account(entry)));
        }
        Err(AccountsUnavailable::Busy)
    }

    /// Whether the table in force has this very account with this very hash.
    fn still_has(&self, entry: &Entry) -> bool {
        let table = self.table.load();
        let now = table.get(&entry.name);
        now.is_some_and(|now| {
            !now.disabled && now.subject() == entry.subject() && now.hash == entry.hash
        })
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
        if now != seen.version {
            (seen.version, seen.standing) = (now, Standing::Unsettled);
            return Ok(false);
        }
        let is_told = match seen.standing {
            Standing::Read | Standing::Refused => return Ok(false),
            Standing::Unread => true,
            Standing::Unsettled => false,
        };
        match Table::load(&self.path) {
            Ok(table) => {
                seen.standing = Standing::Read;
                self.put_in_force(table, &mut seen);
                self.read_only.store(false, Ordering::Relaxed);
                Ok(true)
            }
            Err(error) => {
                // What the system did not allow may be allowed without a change of the file.
                let is_systems = matches!(error, FileError::Io { .. } | FileError::Permission(_));
                seen.standing = if is_systems { Standing::Unread } else { Standing::Refused };
                if is_told && is_systems { Ok(false) } else { Err(error) }
            }
        }
    }

    /// The accounts that were there, and are gone or disabled since this was last asked.
    pub(super) fn take_ended(&self) -> Vec<Ended> {
        std::mem::take(&mut self.seen().ended)
    }

    /// Which accounts of `old` are not there, or disabled, here.
    pub(super) fn ended_since(&self, old: &Self) -> Vec<Ended> {
        ended(&old.table.load(), &self.table.load())
    }

    fn put_in_force(&self, table: Table, seen: &mut Seen) {
        seen.ended.extend(ended(&self.table.load(), &table));
        self.table.store(Arc::new(table));
    }

    /// Writes an account's new hash down, unless the old one is no longer there or somebody else
    /// is changing the file: what was not yet read as a whole, and held still, is not written over.
    fn upgrade(&self, entry: &Entry, hash: &Secret<String>) {
        // Held throughout, so that a reload never puts an older table over the newer. It is left as
        // it is: the next looks find this change like any other, and none behind it is missed.
        let mut seen = self.seen();
        match self.write_upgrade(entry, hash, &seen) {
            Ok(Some(table)) => {
                self.put_in_force(table, &mut seen);
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
        let is_as_seen = || seen.standing == Standing::Read && version(&self.path) == seen.version;
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

/// Which accounts of one table are not there, or disabled, in the next; loudly where that looks
/// like a slip: it is obeyed all the same, since whoever should still be there can log in again.
fn ended(old: &Table, new: &Table) -> Vec<Ended> {
    let ended = old.ended_in(new);
    let before = old.enabled();
    if before >= MANY && ended.len().saturating_mul(2) > before {
        tracing::error!(
            ended = ended.len(),
            before,
            "more than half of the accounts are gone from the users file, or disabled, at once; \
             their sessions are ended: was that meant?"
        );
    }
    ended
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
