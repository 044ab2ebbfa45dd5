//! Where the chain stands, kept in the state directory: the last line that was written, and the
//! last one that is known to be on disk. It tells a log whose end was cut off from one that ends
//! there.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::chain::Mac;
use super::walk::Reached;

/// In the state directory.
const FILE: &str = "audit-head.json";
/// Written in place, always as long: no moment has half of it on a disk's sector.
const BYTES: usize = 256;

/// The last line that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The gateway whose chain it is.
    pub gateway: String,
    /// The line's number; zero before the first.
    pub seq: u64,
    /// The line's code.
    pub mac: Mac,
    /// Where the line ends in its file.
    pub bytes: u64,
    /// The last line that is known to be on disk; those behind it may be gone after a power cut.
    pub synced: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    gateway: String,
    seq: u64,
    mac: String,
    bytes: u64,
    synced: u64,
}

impl Head {
    /// As a place in a chain.
    #[must_use]
    pub fn reached(&self) -> Reached {
        Reached { gateway: self.gateway.clone(), seq: self.seq, mac: self.mac }
    }
}

/// The file that it is kept in.
#[derive(Debug)]
pub(super) struct HeadFile {
    path: PathBuf,
    file: File,
}

impl HeadFile {
    /// Opens the file in a state directory, with what is in it.
    ///
    /// # Errors
    ///
    /// Whatever the system says; `InvalidData` for a file that is damaged.
    pub(super) fn open(state_dir: &Path) -> io::Result<(Self, Option<Head>)> {
        let path = state_dir.join(FILE);
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(&path)?;
        let head = parse(&std::fs::read(&path)?)?;
        Ok((Self { path, file }, head))
    }

    /// Writes it in place, not forced to disk: it must outlive the process, and only may outlive
    /// the machine.
    pub(super) fn write(&self, head: &Head) -> io::Result<()> {
        let Head { gateway, seq, mac, bytes, synced } = head.clone();
        let written = Written { gateway, seq, mac: mac.to_string(), bytes, synced };
        let mut text = serde_json::to_vec(&written)?;
        text.resize(BYTES - 1, b' ');
        text.push(b'\n');
        self.file.write_all_at(&text, 0)
    }

    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

/// The head in a state directory; `None` when no log was ever written with it.
///
/// # Errors
///
/// Whatever the system says; `InvalidData` for a file that is damaged.
pub fn read(state_dir: &Path) -> io::Result<Option<Head>> {
    match std::fs::read(state_dir.join(FILE)) {
        Ok(text) => parse(&text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn parse(text: &[u8]) -> io::Result<Option<Head>> {
    if text.is_empty() {
        return Ok(None);
    }
    let damaged = || io::Error::new(io::ErrorKind::InvalidData, "it is damaged");
    let written: Written = serde_json::from_slice(text).map_err(|_| damaged())?;
    let Written { gateway, seq, mac, bytes, synced } = written;
    let mac = Mac::parse(&mac).ok_or_else(damaged)?;
    Ok(Some(Head { gateway, seq, mac, bytes, synced }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_what_was_written_last() {
        let dir = tempfile::tempdir().unwrap();
        let (file, none) = HeadFile::open(dir.path()).unwrap();
        assert_eq!((none, read(dir.path()).unwrap()), (None, None));
        let gateway = uuid::Uuid::new_v4().to_string();
        for seq in [u64::MAX, 1] {
            let head =
                Head { gateway: gateway.clone(), seq, mac: Mac::GENESIS, bytes: seq, synced: seq };
            file.write(&head).unwrap();
            assert_eq!(read(dir.path()).unwrap(), Some(head));
        }
        assert_eq!(std::fs::metadata(file.path()).unwrap().len(), BYTES as u64);
        std::fs::write(file.path(), "{\"gateway\":\"").unwrap();
        assert_eq!(read(dir.path()).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
