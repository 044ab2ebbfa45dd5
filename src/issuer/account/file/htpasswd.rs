//! Taking over the accounts of an `htpasswd` file: `name:hash`, line by line.

use std::path::Path;

use thiserror::Error;
use zeroize::Zeroizing;

use super::edit::{EditError, UsersFile};
use super::line::{Entry, LineError, NewEntry};
use super::table::{FileError, is_silent, lines};
use crate::secret::Secret;

/// Why a line was not taken over. Never quotes a hash.
#[derive(Debug, Error)]
pub enum ImportError {
    /// An account of that name is there.
    #[error("the account {0:?} is there already (--replace gives it this hash)")]
    Exists(String),
    /// It could not be read.
    #[error("{0}")]
    Line(#[from] LineError),
    /// A column that means something else in another program's file, and roles in ours.
    #[error("has more than the two columns of htpasswd")]
    Columns,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Imported {
    /// The accounts that were taken over.
    pub taken: Vec<String>,
    /// The lines that were not, by number from 1.
    pub refused: Vec<(usize, ImportError)>,
}

/// Reads a file to import. Its permissions are not looked at: it is another program's.
///
/// # Errors
///
/// [`FileError`].
pub fn read_htpasswd(path: &Path) -> Result<Zeroizing<String>, FileError> {
    let bytes = std::fs::read(path);
    let bytes = bytes.map_err(|source| FileError::Io { path: path.to_owned(), source })?;
    let text = String::from_utf8(bytes);
    text.map(Zeroizing::new).map_err(|_| FileError::NotText(path.to_owned()))
}

/// Takes over every line that can be; each gets `roles`. `replace`: an account that is there
/// already gets the hash and keeps everything else.
pub fn import(users: &mut UsersFile, text: &str, roles: &[String], replace: bool) -> Imported {
    let mut imported = Imported::default();
    for (number, line) in lines(text).enumerate() {
        if is_silent(line) {
            continue;
        }
        match take(users, line, roles, replace) {
            Ok(name) => imported.taken.push(name),
            Err(error) => imported.refused.push((number + 1, error)),
        }
    }
    imported
}

fn take(
    users: &mut UsersFile,
    line: &str,
    roles: &[String],
    replace: bool,
) -> Result<String, ImportError> {
    let mut columns = line.split(':');
    let (_, hash) = (columns.next(), columns.next().ok_or(LineError::NoHash)?);
    if columns.next().is_some() {
        return Err(ImportError::Columns);
    }
    let name = Entry::parse(line)?.name;
    let hash = Secret::new(hash.to_owned());
    let new = NewEntry { name, roles: roles.to_vec(), ..NewEntry::default() };
    match users.add(&new, &hash) {
        Ok(()) => {}
        Err(EditError::Exists(name)) if !replace => return Err(ImportError::Exists(name)),
        Err(EditError::Exists(name)) => {
            users.set_hash(&name, &hash).map_err(|_| ImportError::Exists(name))?;
        }
        Err(EditError::Line(error)) => return Err(error.into()),
        Err(EditError::Missing(_)) => return Err(LineError::NoHash.into()),
    }
    Ok(new.name)
}
