//! A users file as a whole: every account, or every line that is wrong.

use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use thiserror::Error;
use zeroize::Zeroizing;

use super::super::verify::{TooManyWorks, Works};
use super::super::{Ended, EndedWhy};
use super::line::{Entry, LineError};
use crate::config::{PermissionError, check_key_permissions};

/// The largest users file: some two hundred thousand accounts.
const FILE_BYTES_MAX: usize = 32 << 20;

/// Wrong lines that are told one by one.
const LINES_TOLD_MAX: usize = 20;

/// Why a users file is not taken. Never quotes a hash.
#[derive(Debug, Error)]
pub enum FileError {
    /// It belongs to another user: written by this one, its owner could read it no more.
    #[error(
        "{} belongs to another user: run this as that user (sudo -u '#{owner}' …)",
        path.display()
    )]
    Foreign {
        /// The file.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
    },
    /// The system said no.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What it said.
        #[source]
        source: io::Error,
    },
    /// Lines that are no accounts.
    #[error("{}", told(path, lines))]
    Lines {
        /// The file.
        path: PathBuf,
        /// Their numbers, from 1, and what is wrong.
        lines: Vec<(usize, LineError)>,
    },
    /// Another process is changing it.
    #[error("{} is being changed by another process; try again later", .0.display())]
    Locked(PathBuf),
    /// It is not UTF-8.
    #[error("{} is not text in UTF-8", .0.display())]
    NotText(PathBuf),
    /// Not there, or others may read it.
    #[error(transparent)]
    Permission(#[from] PermissionError),
    /// Over 32 MiB.
    #[error("{} is larger than 32 MiB", .0.display())]
    TooLarge(PathBuf),
    /// Too many kinds of hashes.
    #[error("{} {source}", path.display())]
    Works {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: TooManyWorks,
    },
}

fn told(path: &Path, lines: &[(usize, LineError)]) -> impl fmt::Display {
    let path = path.display();
    let told = lines.iter().take(LINES_TOLD_MAX);
    let mut text: Vec<_> = told.map(|(line, error)| format!("{path}:{line}: {error}")).collect();
    if let Some(more @ 1..) = lines.len().checked_sub(LINES_TOLD_MAX) {
        text.push(format!("{path}: and {more} more lines"));
    }
    text.join("\n")
}

/// The accounts of a file.
#[derive(Debug)]
pub struct Table {
    /// By name, with the number of the line, from 0.
    entries: HashMap<String, (usize, Entry)>,
    works: Works,
}

impl Table {
    /// Reads a file that nobody else may read (a mounted secret of root's: through its group).
    ///
    /// # Errors
    ///
    /// [`FileError`].
    pub fn load(path: &Path) -> Result<Self, FileError> {
        Self::read(path, &text(path)?)
    }

    /// Reads the text of a file called `path`.
    pub(super) fn read(path: &Path, text: &str) -> Result<Self, FileError> {
        let (mut entries, mut wrong) = (HashMap::new(), Vec::new());
        let mut subjects: HashMap<String, usize> = HashMap::new();
        for (number, line) in lines(text).enumerate() {
            if is_silent(line) {
                continue;
            }
            let entry = match Entry::parse(line) {
                Ok(entry) => entry,
                Err(error) => {
                    wrong.push((number + 1, error));
                    continue;
                }
            };
            if let Some((first, _)) = entries.get(&entry.name) {
                wrong.push((number + 1, LineError::Duplicate(*first + 1)));
            } else if let Some(first) = subjects.insert(entry.subject().to_owned(), number) {
                wrong.push((number + 1, LineError::Subject(first + 1)));
            } else {
                entries.insert(entry.name.clone(), (number, entry));
            }
        }
        if !wrong.is_empty() {
            return Err(FileError::Lines { path: path.to_owned(), lines: wrong });
        }
        let works = Works::of(entries.values().map(|(_, entry)| entry.hash.work()))
            .map_err(|source| FileError::Works { path: path.to_owned(), source })?;
        Ok(Self { entries, works })
    }

    /// The account of exactly this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Entry> {
        self.entries.get(name).map(|(_, entry)| entry)
    }

    /// Every account, in the order of the file.
    #[must_use]
    pub fn entries(&self) -> Vec<&Entry> {
        let mut all: Vec<_> = self.entries.values().collect();
        all.sort_by_key(|(line, _)| *line);
        all.into_iter().map(|(_, entry)| entry).collect()
    }

    /// How many accounts may log in.
    pub(super) fn enabled(&self) -> usize {
        self.entries.values().filter(|(_, entry)| !entry.disabled).count()
    }

    /// Which accounts may log in by this table and not by a newer one, as the same `sub`; in the
    /// order of the file.
    pub(super) fn ended_in(&self, newer: &Self) -> Vec<Ended> {
        let mut ended: Vec<_> = self
            .entries
            .values()
            .filter(|(_, entry)| !entry.disabled)
            .filter_map(|(line, entry)| {
                let why = match newer.get(&entry.name) {
                    None => EndedWhy::Removed,
                    Some(now) if now.subject() != entry.subject() => EndedWhy::OtherId,
                    Some(now) if now.disabled => EndedWhy::Disabled,
                    Some(_) => return None,
                };
                Some((line, Ended { subject: entry.subject().to_owned(), why }))
            })
            .collect();
        ended.sort_by_key(|(line, _)| *line);
        ended.into_iter().map(|(_, ended)| ended).collect()
    }

    /// The number of each account's line, from 0.
    pub(super) fn places(&self) -> HashMap<String, usize> {
        self.entries.iter().map(|(name, (line, _))| (name.clone(), *line)).collect()
    }

    /// The kinds of hashes in it.
    pub(super) const fn works(&self) -> &Works {
        &self.works
    }
}

/// The file's text.
pub(super) fn text(path: &Path) -> Result<Zeroizing<String>, FileError> {
    check_key_permissions(path)?;
    let unreadable = |source| FileError::Io { path: path.to_owned(), source };
    let file = File::open(path).map_err(unreadable)?;
    let size = file.metadata().map_err(unreadable)?.len();
    let too_large = || FileError::TooLarge(path.to_owned());
    let size = usize::try_from(size).ok().filter(|size| *size <= FILE_BYTES_MAX);
    // Room for all at once: what moves would leave copies behind.
    let mut bytes =
        Zeroizing::new(Vec::with_capacity(size.ok_or_else(too_large)?.saturating_add(1)));
    let bound = u64::try_from(FILE_BYTES_MAX).unwrap_or(u64::MAX).saturating_add(1);
    file.take(bound).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() > FILE_BYTES_MAX {
        return Err(too_large());
    }
    let text = String::from_utf8(std::mem::take(&mut *bytes));
    text.map(Zeroizing::new).map_err(|_| FileError::NotText(path.to_owned()))
}

/// Lines without their breaks; a byte-order mark is no part of the first.
pub(super) fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.strip_prefix('\u{feff}').unwrap_or(text).lines()
}

/// Whether a line says nothing.
pub(super) fn is_silent(line: &str) -> bool {
    line.trim().is_empty() || line.starts_with('#')
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "$2b$04$EGHR8YS9/f/xHOyP/8r0/OfLtW2oTsNkS/AB/TgTo7RbF5IwHxeNy";

    fn read(text: &str) -> Result<Table, String> {
        Table::read(Path::new("users"), &text.replace('H', HASH)).map_err(|e| e.to_string())
    }

    #[test]
    fn comments_and_empty_lines_say_nothing() {
        let table = read("\u{feff}# who\r\n\r\nalice:H:admin\r\n  \nbob:H\n").unwrap();
        let names: Vec<_> = table.entries().iter().map(|entry| entry.name.clone()).collect();
        assert_eq!(names, ["alice", "bob"]);
        assert_eq!(table.places().get("bob"), Some(&4));
        assert_eq!(table.get("alice").unwrap().roles, ["admin"]);
        assert!(table.get("Alice").is_none() && table.get("alice ").is_none(), "exactly");
        assert!(read("").unwrap().entries().is_empty());
    }

    #[test]
    fn every_wrong_line_is_told_and_none_is_quoted() {
        let told = read("alice:H\nbob\nalice:H\ncarol:$apr1$x$y\ndave:H::alice\n").unwrap_err();
        assert_eq!(
            told,
            "users:2: no hash\n\
             users:3: the same account as in line 1\n\
             users:4: the hash is an MD5 hash of Apache's ($apr1$), which is not taken: the \
             account needs a new password\n\
             users:5: the same id as the account in line 1 has"
        );
        let many: String = (0..30).map(|n| format!("a{n}\n")).collect();
        let told = read(&many).unwrap_err();
        assert_eq!(told.lines().count(), 21);
        assert!(told.ends_with("users: and 10 more lines"), "{told}");
    }

    /// One person's sessions and revocations must not be another's.
    #[test]
    fn two_accounts_never_share_a_subject() {
        assert!(read("a:H::7\nb:H::7\n").unwrap_err().contains("same id"));
        assert!(read("a:H::b\nb:H\n").unwrap_err().contains("same id"));
        assert!(read("a:H::b\nb:H::a\n").is_ok());
    }

    /// ASVS 5.0 7.4.2: whoever could log in and cannot any more, by the `sub` of their tokens.
    #[test]
    fn who_has_ended() {
        use EndedWhy::{Disabled, OtherId, Removed};
        let old = read("a:H\nb:H::7\nc:H::::disabled\nd:H\ne:H:x\n").unwrap();
        assert_eq!(old.enabled(), 4);
        let other = HASH.replace("EGHR", "EGHS");
        let ended = |text: &str| -> Vec<_> {
            let text = text.replace('H', HASH).replace('J', &other);
            let new = Table::read(Path::new("users"), &text).unwrap();
            let ended = old.ended_in(&new).into_iter();
            ended.map(|ended| (ended.subject, ended.why)).collect()
        };
        let of = |ended: &[(&str, EndedWhy)]| -> Vec<_> {
            ended.iter().map(|(subject, why)| ((*subject).to_owned(), *why)).collect()
        };
        let rows: [(&str, &[(&str, EndedWhy)]); 7] = [
            // Another order, hash, role; one that is enabled; one more.
            ("e:J:y\nd:H\nc:H\nb:H::7\na:H\nf:H\n", &[]),
            ("b:H::7\nc:H\nd:H\ne:H\n", &[("a", Removed)]),
            ("a:H::::disabled\nb:H::7\nd:H\ne:H\n", &[("a", Disabled)]),
            ("a:H\nb:H::8\nd:H\ne:H\n", &[("7", OtherId)]),
            ("a:H::8::disabled\nb:H::7\nd:H\ne:H\n", &[("a", OtherId)]),
            // Two that change places are each somebody else.
            ("a:H::7\nb:H::a\nd:H\ne:H\n", &[("a", OtherId), ("7", OtherId)]),
            ("", &[("a", Removed), ("7", Removed), ("d", Removed), ("e", Removed)]),
        ];
        for (text, expected) in rows {
            assert_eq!(ended(text), of(expected), "{text}");
        }
    }

    #[test]
    fn kinds_of_hashes_are_bounded() {
        let of = |costs: std::ops::Range<u32>| -> String {
            let line =
                |cost| format!("a{cost}:{}\n", HASH.replace("$04$", &format!("${cost:02}$")));
            costs.map(line).collect()
        };
        let read = |text: String| Table::read(Path::new("users"), &text);
        assert!(read(of(4..12)).is_ok());
        assert!(read(of(4..13)).unwrap_err().to_string().contains("more than 8 kinds"));
    }

    #[test]
    fn a_file_that_others_may_read_is_refused() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("users");
        std::fs::write(&path, format!("alice:{HASH}\n")).unwrap();
        let mode = |mode| std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(&path, mode(0o644)).unwrap();
        assert!(matches!(Table::load(&path), Err(FileError::Permission(_))));
        std::fs::set_permissions(&path, mode(0o600)).unwrap();
        assert_eq!(Table::load(&path).unwrap().entries().len(), 1);
        std::fs::write(&path, b"al\xffice:x\n").unwrap();
        assert!(matches!(Table::load(&path), Err(FileError::NotText(_))));
        assert!(matches!(Table::load(&dir.path().join("none")), Err(FileError::Permission(_))));
    }
}
