//! Checking a log afterwards: every line of every file, from the first to the last.
//!
//! What it cannot see by itself: an end that was cut off whole lines at a time. The gateway's state
//! directory knows the last line ([`super::head`]); so does whoever was sent copies of the lines.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader};
use std::path::{Path, PathBuf};

use super::chain::Key;
use super::head::Head;
use super::walk::{Fault, Reached, Walk};

/// No line is longer.
const LINE_BYTES_MAX: u64 = 1 << 20;

/// What was found to be good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Lines over all files.
    pub lines: u64,
    /// Number of the first line; above 1, older files are missing, and nothing is said of them.
    pub first: u64,
    /// The last line.
    pub last: Reached,
    /// Files, in the order in which they follow each other.
    pub files: Vec<PathBuf>,
}

/// Why a log is not good.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    /// The end is missing.
    #[error(
        "{}: the log ends with number {found}, and the gateway has written number {written}: its \
         end is missing",
        file.display()
    )]
    End {
        /// The last file.
        file: PathBuf,
        /// The last number in it.
        found: u64,
        /// The last number that the gateway knows to be on disk.
        written: u64,
    },
    /// The state directory is another gateway's, or knows the line of that number differently.
    #[error("{}: it is not the log that the state directory knows", .0.display())]
    Foreign(PathBuf),
    /// It cannot be read.
    #[error("{}: {source}", file.display())]
    Io {
        /// Which file.
        file: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A line.
    #[error("{}:{line}: {fault}", file.display())]
    Line {
        /// Which file.
        file: PathBuf,
        /// Which line, from 1.
        line: u64,
        /// What is wrong with it.
        fault: Fault,
    },
    /// There is nothing to check.
    #[error("no line to check")]
    Nothing,
}

/// Checks files of one chain, given in any order. `head` is what the state directory knows.
///
/// # Errors
///
/// [`Broken`]: the first thing that is wrong.
pub fn verify(files: &[PathBuf], keys: &[Key], head: Option<&Head>) -> Result<Report, Broken> {
    let files = in_order(files)?;
    let mut walk = Walk::new(keys);
    let (mut lines, mut first, mut known) = (0, None, head.is_none_or(|head| head.seq == 0));
    for file in &files {
        each_line(file, |number, line| {
            if number == 1 { walk.open(line) } else { walk.next(line) }?;
            lines += 1;
            if let Some(reached) = walk.reached() {
                first.get_or_insert(reached.seq);
                known |= head.is_some_and(|head| {
                    (reached.seq, reached.mac) == (head.seq, head.mac)
                        && reached.gateway == head.gateway
                });
            }
            Ok(())
        })?;
    }
    let (Some(last), Some(first), Some(file)) = (walk.reached(), first, files.last()) else {
        return Err(Broken::Nothing);
    };
    if let (false, Some(head)) = (known, head) {
        let (file, found, written) = (file.clone(), last.seq, head.synced);
        let is_own = last.gateway == head.gateway;
        if is_own && found < written {
            return Err(Broken::End { file, found, written });
        }
        // What was written and not yet on disk may be gone after a power cut.
        if !is_own || found >= head.seq {
            return Err(Broken::Foreign(file));
        }
    }
    Ok(Report { lines, first, last: last.clone(), files })
}

/// Calls `check` with each line and its number, from 1.
fn each_line(
    file: &Path,
    mut check: impl FnMut(u64, &[u8]) -> Result<(), Fault>,
) -> Result<(), Broken> {
    let mut reader = reader(file)?;
    let mut number = 0;
    while let Some((line, is_whole)) = line(&mut reader).map_err(|source| io_of(file, source))? {
        number += 1;
        let checked = if is_whole { check(number, &line) } else { Err(Fault::Unfinished) };
        checked.map_err(|fault| Broken::Line { file: file.to_owned(), line: number, fault })?;
    }
    Ok(())
}

/// The files by their first numbers; one without a readable first line stays where it was given,
/// so that walking finds what is wrong with it.
fn in_order(files: &[PathBuf]) -> Result<Vec<PathBuf>, Broken> {
    #[derive(serde::Deserialize)]
    struct Numbered {
        seq: u64,
    }
    let mut numbered = Vec::with_capacity(files.len());
    for file in files {
        let first = line(&mut reader(file)?).map_err(|source| io_of(file, source))?;
        let seq = first.and_then(|(line, _)| serde_json::from_slice::<Numbered>(&line).ok());
        numbered.push((seq.map(|line| line.seq), file.clone()));
    }
    if numbered.iter().all(|(seq, _)| seq.is_some()) {
        numbered.sort_by_key(|(seq, _)| *seq);
    }
    Ok(numbered.into_iter().map(|(_, file)| file).collect())
}

fn reader(file: &Path) -> Result<BufReader<File>, Broken> {
    File::open(file).map(BufReader::new).map_err(|source| io_of(file, source))
}

fn io_of(file: &Path, source: io::Error) -> Broken {
    Broken::Io { file: file.to_owned(), source }
}

/// The next line without its line break, and whether it had one.
fn line(reader: &mut BufReader<File>) -> io::Result<Option<(Vec<u8>, bool)>> {
    let mut line = Vec::new();
    let mut bounded = io::Read::take(reader, LINE_BYTES_MAX);
    if bounded.read_until(b'\n', &mut line)? == 0 {
        return Ok(None);
    }
    let is_whole = line.pop_if(|last| *last == b'\n').is_some();
    Ok(Some((line, is_whole)))
}
