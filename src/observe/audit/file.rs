//! The file that is written to: opened for one gateway, put right after a crash, only ever added
//! to.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{SHA256, digest};
use data_encoding::HEXLOWER;

use super::chain::Key;
use super::event::{Event, Kind, Outcome};
use super::head::Head;
use super::walk::{Fault, Reached, Walk};

/// How every line begins.
const LINE_BEGIN: &[u8] = b"{\"seq\":";

/// Why a log cannot be written to. All of them are for the operator to settle.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It does not end as a log of this key and gateway ends.
    #[error(
        "{} cannot be continued: {fault}; move it away, the next file goes on from it",
        path.display()
    )]
    Fault {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        fault: Fault,
    },
    /// Another gateway writes to it.
    #[error("{} is written to by another gateway; give each its own", .0.display())]
    InUse(PathBuf),
    /// The system said no.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What it said.
        #[source]
        source: io::Error,
    },
    /// A directory, a pipe or a device.
    #[error("{} is not a regular file", .0.display())]
    NotAFile(PathBuf),
}

/// The open file.
#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    file: File,
    bytes: u64,
}

/// What opening has found.
pub(super) struct Found {
    pub(super) file: LogFile,
    /// Where the chain goes on; none in an empty file.
    pub(super) reached: Option<Reached>,
    /// What is to be written down about the file's end.
    pub(super) repair: Option<Event>,
}

impl LogFile {
    /// Opens and locks the file, takes a line that was cut short out of it, and finds where the
    /// chain goes on. `head` is the last line that is known to have been written.
    ///
    /// # Errors
    ///
    /// [`OpenError`].
    pub(super) fn open(path: &Path, key: &Key, head: Option<&Head>) -> Result<Found, OpenError> {
        let io = |source| OpenError::Io { path: path.to_owned(), source };
        let mut options = OpenOptions::new();
        let opened = options.read(true).append(true).create(true).mode(0o600).open(path);
        let file = opened.map_err(io)?;
        if !file.metadata().map_err(io)?.is_file() {
            return Err(OpenError::NotAFile(path.to_owned()));
        }
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(OpenError::InUse(path.to_owned())),
            Err(TryLockError::Error(source)) => return Err(io(source)),
        }
        let mut log = Self { path: path.to_owned(), file, bytes: 0 };
        let (torn, reached) = log.put_right(key, head).map_err(|error| match error {
            EndError::Fault(fault) => OpenError::Fault { path: path.to_owned(), fault },
            EndError::Io(source) => io(source),
        })?;
        let mut repair = torn.map(|torn| {
            tracing::warn!("a line of the audit log was cut short and was taken out");
            Event::new(Kind::Repair, Outcome::Done)
                .detail("torn_bytes", torn.len())
                .detail("torn_sha256", HEXLOWER.encode(digest(&SHA256, &torn).as_ref()))
        });
        let mut from = reached;
        if let (Some(reached), Some(head)) = (&from, head)
            && reached.seq < head.synced
        {
            // The end is gone: the chain goes on from what was there, so that the gap stays
            // visible for ever.
            tracing::error!(
                "the end of the audit log is missing: lines that were on disk are gone; the chain \
                 shows the gap"
            );
            let missing = Event::new(Kind::Repair, Outcome::Failed)
                .detail("missing_from", reached.seq.saturating_add(1))
                .detail("missing_to", head.synced);
            repair = Some(missing);
            from = Some(head.reached());
        }
        Ok(Found { file: log, reached: from, repair })
    }

    /// Takes a line that was cut short out of the file: bytes behind the last line break, which a
    /// gateway wrote when it was killed. Returns it, and where the chain goes on.
    ///
    /// Nothing is taken out of a file before it is known to be a log of this key: the name may be
    /// a slip, and the file somebody's only copy of something else.
    fn put_right(
        &mut self,
        key: &Key,
        head: Option<&Head>,
    ) -> Result<(Option<Vec<u8>>, Option<Reached>), EndError> {
        let length = self.file.metadata()?.len();
        self.bytes = self.last_break(length)?;
        if self.bytes == 0 && !self.begins_as_a_line()? {
            return Err(Fault::NotALine.into());
        }
        let reached = self.end(key, head)?;
        if self.bytes == length {
            return Ok((None, reached));
        }
        let mut torn = Vec::new();
        self.file.seek(SeekFrom::Start(self.bytes))?;
        (&self.file).take(length - self.bytes).read_to_end(&mut torn)?;
        self.file.set_len(self.bytes)?;
        Ok((Some(torn), reached))
    }

    /// Whether what is there may be the beginning of a first line, be it shorter than that.
    fn begins_as_a_line(&mut self) -> io::Result<bool> {
        let mut begin = Vec::new();
        self.file.seek(SeekFrom::Start(0))?;
        (&self.file).take(LINE_BEGIN.len() as u64).read_to_end(&mut begin)?;
        Ok(LINE_BEGIN.starts_with(&begin))
    }

    /// Where the last whole line ends.
    fn last_break(&mut self, length: u64) -> io::Result<u64> {
        const STEP: u64 = 64 * 1024;
        let mut end = length;
        while end > 0 {
            let begin = end.saturating_sub(STEP);
            let mut piece = Vec::new();
            self.file.seek(SeekFrom::Start(begin))?;
            (&self.file).take(end - begin).read_to_end(&mut piece)?;
            if let Some(at) = piece.iter().rposition(|byte| *byte == b'\n') {
                return Ok(begin + at as u64 + 1);
            }
            end = begin;
        }
        Ok(0)
    }

    /// Walks to the end: from the last line that is known to have been written where the file
    /// still has it in its place, else from the beginning.
    fn end(&mut self, key: &Key, head: Option<&Head>) -> Result<Option<Reached>, EndError> {
        if self.bytes == 0 {
            return Ok(None);
        }
        let keys = std::slice::from_ref(key);
        let mut lines = Lines { file: &self.file, at: 0, end: self.bytes };
        let first = lines.read()?.ok_or(Fault::NotALine)?;
        let mut walk = Walk::new(keys);
        walk.open(&first)?;
        let opened = walk.reached().map(|reached| reached.gateway.clone()).unwrap_or_default();
        if head.is_some_and(|head| head.gateway != opened) {
            return Err(Fault::Gateway(opened).into());
        }
        if let Some(head) = head.filter(|head| head.bytes <= self.bytes && head.seq > 0)
            && self.has_line_before(head)?
        {
            walk = Walk::behind(keys, key, head.reached());
            lines.at = head.bytes;
        }
        while let Some(line) = lines.read()? {
            walk.next(&line)?;
        }
        Ok(walk.reached().cloned())
    }

    /// Whether the line that ends where the head says is the one that it knows.
    fn has_line_before(&self, head: &Head) -> io::Result<bool> {
        let end = format!(",\"mac\":\"{}\"}}\n", head.mac);
        let end = end.as_bytes();
        let Some(begin) = head.bytes.checked_sub(end.len() as u64) else { return Ok(false) };
        let mut found = Vec::new();
        let mut file = &self.file;
        file.seek(SeekFrom::Start(begin))?;
        file.take(end.len() as u64).read_to_end(&mut found)?;
        Ok(found == end)
    }

    /// Something else in place of the file.
    #[cfg(test)]
    pub(super) const fn of(path: PathBuf, file: File) -> Self {
        Self { path, file, bytes: 0 }
    }

    /// Adds lines, all or none of them.
    ///
    /// # Errors
    ///
    /// Whatever the system said; the file is then as it was before.
    pub(super) fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        let written = self.file.write_all(lines);
        match written {
            Ok(()) => {
                self.bytes += lines.len() as u64;
                Ok(())
            }
            Err(error) => {
                // Half a line in the middle would break the chain for every reader.
                self.file.set_len(self.bytes)?;
                Err(error)
            }
        }
    }

    /// Everything that was added is on disk when this returns.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether the path leads to another file by now, or to none.
    pub(super) fn was_moved(&self) -> bool {
        let own = self.file.metadata();
        match (own, std::fs::metadata(&self.path)) {
            (Ok(own), Ok(there)) => (own.dev(), own.ino()) != (there.dev(), there.ino()),
            (Ok(_), Err(_)) => true,
            (Err(_), _) => false,
        }
    }

    /// Moves the file aside, under its name and the number of its last line.
    pub(super) fn move_aside(&self, seq: u64) -> io::Result<PathBuf> {
        let mut name = self.path.clone().into_os_string();
        name.push(format!(".{seq:012}"));
        let aside = PathBuf::from(name);
        // Never over a file that is there: a link fails where a rename would replace.
        std::fs::hard_link(&self.path, &aside)?;
        std::fs::remove_file(&self.path)?;
        Ok(aside)
    }
}

#[derive(Debug)]
enum EndError {
    Fault(Fault),
    Io(io::Error),
}

impl From<Fault> for EndError {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl From<io::Error> for EndError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Whole lines from some place of the file on.
struct Lines<'f> {
    file: &'f File,
    at: u64,
    end: u64,
}

impl Lines<'_> {
    fn read(&mut self) -> io::Result<Option<Vec<u8>>> {
        const STEP: u64 = 8 * 1024;
        let mut line = Vec::new();
        while self.at < self.end {
            self.file.seek(SeekFrom::Start(self.at))?;
            let from = line.len();
            self.file.take(STEP.min(self.end - self.at)).read_to_end(&mut line)?;
            let fresh = line.get(from..).unwrap_or_default();
            if let Some(end) = fresh.iter().position(|byte| *byte == b'\n') {
                self.at += end as u64 + 1;
                line.truncate(from + end);
                return Ok(Some(line));
            }
            self.at += fresh.len() as u64;
        }
        Ok(None)
    }
}
