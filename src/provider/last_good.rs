//! The last document of each source that gave keys, kept in the state directory, so that a start
//! succeeds while a provider is down.
//!
//! A file counts only when nobody else can have written it, it is whole, it is of this very source
//! (entry, issuer, place, trust) and it is younger than `max_stale`. What it holds is read again by
//! the rules of today. It must never make a start fail.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::policy::provider::KeySource;
use crate::private_file::{self, ReadError};
use crate::time::UnixTime;

const FOLDER: &str = "keys";
const EXTENSION: &str = "jwks";
const FORMAT: &str = "postern-keys/1";

/// More than any document that is fetched.
const BYTES_MAX: usize = 4 * 1024 * 1024;

/// How far ahead of us the clock of the gateway that wrote a file may have been.
const SKEW_MAX: Duration = Duration::from_secs(60);

/// The folder of the files.
#[derive(Clone, Debug)]
pub(super) struct LastGood {
    folder: PathBuf,
}

/// A document that was good.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Kept {
    /// As the provider sent it.
    pub(super) text: Vec<u8>,
    /// When.
    pub(super) fetched_at: UnixTime,
}

/// Why a file is not used.
#[derive(Debug, Error)]
pub(super) enum Unusable {
    /// Not what was written there.
    #[error("{} is damaged: {what}", path.display())]
    Damaged { path: PathBuf, what: &'static str },
    /// Written from another issuer, place or trust.
    #[error("{} is of another source", .0.display())]
    Foreign(PathBuf),
    /// By its own word it was fetched after now.
    #[error("{} is from the future; is the clock right?", .0.display())]
    Future(PathBuf),
    /// Others may write it, or it cannot be read.
    #[error(transparent)]
    Unread(#[from] ReadError),
    /// Older than `max_stale`.
    #[error("{} was fetched {age:?} ago, longer than max_stale", path.display())]
    TooOld { path: PathBuf, age: Duration },
}

/// The first line of a file; the document follows as it is.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Header {
    format: String,
    entry: String,
    issuer: Option<String>,
    /// Of everything that says where the document came from and why it was believed.
    source: String,
    fetched_at: i64,
    /// Of the fields above and the document.
    sha256: String,
}

impl LastGood {
    /// The files in this state directory.
    pub(super) fn new(state_dir: &Path) -> Self {
        Self { folder: state_dir.join(FOLDER) }
    }

    /// Keeps a document. Blocks.
    ///
    /// # Errors
    ///
    /// Whatever the system said.
    pub(super) fn write(
        &self,
        settings: &KeySource,
        text: &[u8],
        fetched_at: UnixTime,
    ) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
        let mut header = Header {
            format: FORMAT.to_owned(),
            entry: settings.entry.to_string(),
            issuer: settings.issuer.as_deref().map(str::to_owned),
            source: source_digest(settings),
            fetched_at: fetched_at.seconds(),
            sha256: String::new(),
        };
        header.sha256 = header.checksum(text);
        let mut bytes = serde_json::to_vec(&header).map_err(io::Error::other)?;
        bytes.push(b'\n');
        bytes.extend_from_slice(text);
        private_file::write(&self.path(settings), &bytes)
    }

    /// The document kept of this source; `None` when there is none. Blocks.
    ///
    /// # Errors
    ///
    /// [`Unusable`]: there is a file, and it does not count.
    pub(super) fn read(
        &self,
        settings: &KeySource,
        now: UnixTime,
    ) -> Result<Option<Kept>, Unusable> {
        let path = self.path(settings);
        let bytes = match private_file::read(&path, BYTES_MAX) {
            Err(error) if error.is_missing() => return Ok(None),
            other => other?,
        };
        let damaged = |what| Unusable::Damaged { path: path.clone(), what };
        let end =
            bytes.iter().position(|byte| *byte == b'\n').ok_or_else(|| damaged("no header"))?;
        let (head, text) = bytes.split_at_checked(end).ok_or_else(|| damaged("no header"))?;
        let text = text.get(1..).unwrap_or_default();
        let header: Header =
            serde_json::from_slice(head).map_err(|_| damaged("the header cannot be read"))?;
        if header.format != FORMAT {
            return Err(damaged("the format is not one of ours"));
        }
        if header.sha256 != header.checksum(text) {
            return Err(damaged("the checksum does not fit"));
        }
        if header.source != source_digest(settings) {
            return Err(Unusable::Foreign(path));
        }
        let fetched_at = UnixTime(header.fetched_at);
        if fetched_at > now.plus(SKEW_MAX) {
            return Err(Unusable::Future(path));
        }
        let age = now.since(fetched_at);
        if age >= settings.max_stale {
            return Err(Unusable::TooOld { path, age });
        }
        Ok(Some(Kept { text: text.to_vec(), fetched_at }))
    }

    /// Removes the files of sources that are not among these, and what writers left behind that
    /// were killed. Blocks.
    ///
    /// # Errors
    ///
    /// Whatever the system said.
    pub(super) fn retain(&self, sources: &[Arc<KeySource>]) -> io::Result<()> {
        let kept: Vec<PathBuf> = sources.iter().map(|settings| self.path(settings)).collect();
        let entries = match std::fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other?,
        };
        for entry in entries {
            let path = entry?.path();
            if path.extension().is_some_and(|end| end == EXTENSION) && !kept.contains(&path) {
                private_file::remove_drafts(&path)?;
                private_file::remove(&path)?;
            }
        }
        Ok(())
    }

    /// Where the document of this source is kept: a name that needs no escaping, whatever the
    /// operator called the entry.
    pub(super) fn path(&self, settings: &KeySource) -> PathBuf {
        let KeySource { entry, issuer, published, .. } = settings;
        let name = sha256(format!("{entry:?} {issuer:?} {published:?}").as_bytes());
        self.folder.join(format!("{name}.{EXTENSION}"))
    }
}

impl Header {
    fn checksum(&self, text: &[u8]) -> String {
        let Self { format, entry, issuer, source, fetched_at, sha256: _ } = self;
        let fields = format!("{format:?} {entry:?} {issuer:?} {source:?} {fetched_at}\n");
        sha256(&[fields.as_bytes(), text].concat())
    }
}

/// A digest of what a document must have come from to be believed. The algorithms are not part of
/// it: the document is read anew.
fn source_digest(settings: &KeySource) -> String {
    let KeySource { entry, issuer, published, hosts, reach, .. } = settings;
    let (trust, addresses) = (&reach.trust, &reach.addresses);
    // Debug output quotes and escapes strings, so no two different sources read the same.
    let text = format!("{entry:?} {issuer:?} {published:?} {hosts:?} {trust:?} {addresses:?}");
    sha256(text.as_bytes())
}

fn sha256(bytes: &[u8]) -> String {
    HEXLOWER.encode(digest(&SHA256, bytes).as_ref())
}

#[cfg(test)]
mod tests;
