//! Files that are nobody else's business: keys, secrets, what the gateway remembers. Written as a
//! whole or not at all, read only when nobody else can have had a hand in them.
//!
//! What it must never do: leave a moment in which a reader finds half a file or none, follow what
//! another user has laid in the way, or put contents into an error.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

/// What every name of a draft ends with.
const DRAFT: &str = ".draft";

/// Group and others, whatever they may do.
const FOREIGN: u32 = 0o077;

/// Why a private file was not read. Names the file and what to do, never what is in it.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Others may read or change it.
    #[error("others may read or change {}: chmod 600 it", .0.display())]
    Exposed(PathBuf),
    /// It belongs to neither this process's user nor root, so that somebody else wrote it.
    #[error("{} belongs to another user (number {owner})", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
    },
    /// The system said no; a file that is not there is this, too.
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
    /// More than the reader has room for.
    #[error("{} is larger than {bytes_max} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// What was allowed.
        bytes_max: usize,
    },
}

impl ReadError {
    /// Whether there simply is no such file.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

/// Writes a file that only its owner may read (0600), on disk when this returns. Whoever looks
/// finds the old content or the new one, also when the process or the machine dies meanwhile.
///
/// Several writers of one path are safe; the last one to finish wins. Blocks.
///
/// # Errors
///
/// Whatever the system said. The old content is then still there, unless only the last step failed
/// (recording the new name on disk).
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let draft = Draft::beside(path)?;
    let mut file = draft.create()?;
    file.write_all(bytes)?;
    file.sync_all()?;
    rename(&draft.0, path)
}

/// Gives a file another name in the same directory, in one step and on disk when this returns. What
/// had that name before is gone.
///
/// # Errors
///
/// Whatever the system said.
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    std::fs::rename(from, to)?;
    sync_directory(to)
}

/// Removes a file so that it stays removed when the machine dies; no file is no error.
///
/// # Errors
///
/// Whatever the system said.
pub fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Ok(()) => sync_directory(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Reads a regular file of at most `bytes_max` bytes that belongs to this process's user or to
/// root, and that nobody else may read or change. What is checked is what is read.
///
/// # Errors
///
/// [`ReadError`]; [`ReadError::is_missing`] tells a file that is not there from all others.
pub fn read(path: &Path, bytes_max: usize) -> Result<Vec<u8>, ReadError> {
    let unreadable = |source| ReadError::Io { path: path.to_owned(), source };
    // Without NONBLOCK, a pipe laid in the way would hold us for ever.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let opened = rustix::fs::open(path, flags, Mode::empty()).map_err(io::Error::from);
    let file = File::from(opened.map_err(unreadable)?);
    let metadata = file.metadata().map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(ReadError::NotAFile(path.to_owned()));
    }
    let owner = metadata.uid();
    if owner != 0 && owner != rustix::process::geteuid().as_raw() {
        return Err(ReadError::Foreign { path: path.to_owned(), owner });
    }
    if metadata.mode() & FOREIGN != 0 {
        return Err(ReadError::Exposed(path.to_owned()));
    }
    let too_large = || ReadError::TooLarge { path: path.to_owned(), bytes_max };
    let size = usize::try_from(metadata.len()).map_err(|_| too_large())?;
    if size > bytes_max {
        return Err(too_large());
    }
    // Room for all at once: a secret that moves would leave copies behind.
    let mut bytes = Vec::with_capacity(size.saturating_add(1));
    let bound = u64::try_from(bytes_max).unwrap_or(u64::MAX).saturating_add(1);
    file.take(bound).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() > bytes_max { Err(too_large()) } else { Ok(bytes) }
}

/// Removes what writers of `path` left behind when they were killed. Only for those who know that
/// nobody is writing it.
///
/// # Errors
///
/// Whatever the system said.
pub fn remove_drafts(path: &Path) -> io::Result<()> {
    let head = draft_head(path)?;
    for entry in std::fs::read_dir(directory(path))? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with(&head) && name.ends_with(DRAFT) {
            remove(&entry.path())?;
        }
    }
    Ok(())
}

/// A file that is not yet in its place; gone when dropped before it is.
struct Draft(PathBuf);

impl Draft {
    fn beside(path: &Path) -> io::Result<Self> {
        // Random, so that two writers never share one.
        let name = format!("{}{:016x}{DRAFT}", draft_head(path)?, fastrand::u64(..));
        Ok(Self(directory(path).join(name)))
    }

    fn create(&self) -> io::Result<File> {
        // EXCL also refuses a link that was laid in the way.
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let made = rustix::fs::open(&self.0, flags, Mode::RUSR | Mode::WUSR)?;
        Ok(File::from(made))
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // After the rename there is none; when it cannot be removed, it is only litter.
        drop(std::fs::remove_file(&self.0));
    }
}

/// How the names of drafts of `path` begin.
fn draft_head(path: &Path) -> io::Result<String> {
    let name = path
        .file_name()
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the path names no file"))?;
    Ok(format!(".{}.", name.to_string_lossy()))
}

fn directory(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."))
}

/// A name is only safe once its directory is.
fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(directory(path))?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let entries = fs::read_dir(dir).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn what_is_written_is_private_whole_and_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        fs::write(&path, "old and open to everybody").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o666)).unwrap();
        write(&path, b"new").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(read(&path, 3).unwrap(), b"new");
        assert_eq!(names(dir.path()), ["secret"], "no draft is left");
        remove(&path).unwrap();
        remove(&path).unwrap();
        assert!(read(&path, 3).unwrap_err().is_missing());
    }

    /// A link in the file's place is replaced, not followed (CWE-59).
    #[test]
    fn a_link_is_not_written_through() {
        let dir = tempfile::tempdir().unwrap();
        let (target, path) = (dir.path().join("target"), dir.path().join("secret"));
        fs::write(&target, "theirs").unwrap();
        symlink(&target, &path).unwrap();
        write(&path, b"ours").unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"theirs");
        assert!(fs::symlink_metadata(&path).unwrap().is_file());
    }

    #[test]
    fn a_write_that_fails_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("directory");
        fs::create_dir(&path).unwrap();
        assert!(write(&path, b"x").is_err(), "a directory is in the way");
        assert_eq!(names(dir.path()), ["directory"]);
        assert!(write(&dir.path().join("missing/secret"), b"x").is_err());
        assert!(write(Path::new("/"), b"x").is_err());
    }

    #[test]
    fn readers_never_see_half_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        let (long, short) = (vec![b'a'; 100_000], vec![b'b'; 10]);
        write(&path, &long).unwrap();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for content in [&long, &short] {
                let (path, done) = (&path, &done);
                scope.spawn(move || {
                    while !done.load(Ordering::Relaxed) {
                        write(path, content).unwrap();
                    }
                });
            }
            for _ in 0..500 {
                let seen = read(&path, 100_000).unwrap();
                assert!(seen == long || seen == short, "{} bytes", seen.len());
            }
            done.store(true, Ordering::Relaxed);
        });
        assert_eq!(names(dir.path()), ["secret"]);
    }

    #[test]
    fn only_what_is_ours_alone_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        write(&path, b"12345").unwrap();
        assert!(matches!(read(&path, 4), Err(ReadError::TooLarge { bytes_max: 4, .. })));
        for mode in [0o640, 0o604, 0o620, 0o602, 0o601] {
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            let refused = read(&path, 100).unwrap_err();
            assert!(matches!(refused, ReadError::Exposed(_)), "{mode:o}: {refused}");
            assert!(refused.to_string().contains("chmod 600"), "{refused}");
        }
        assert!(matches!(read(dir.path(), 100), Err(ReadError::NotAFile(_))));
        assert!(matches!(read(Path::new("/dev/zero"), 100), Err(ReadError::NotAFile(_))));
        // A pipe that nobody writes: refused, not waited for.
        let pipe = dir.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        assert!(matches!(read(&pipe, 100), Err(ReadError::NotAFile(_))));
    }

    #[test]
    fn a_file_of_another_user_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        write(&path, b"x").unwrap();
        // Giving a file away takes root, which is what containers run tests as.
        if std::os::unix::fs::chown(&path, Some(65534), None).is_ok() {
            assert!(matches!(read(&path, 9), Err(ReadError::Foreign { owner: 65534, .. })));
        }
    }

    #[test]
    fn drafts_of_the_killed_are_swept_and_others_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        for name in [".secret.0123456789abcdef.draft", ".other.0123456789abcdef.draft", "secret"] {
            fs::write(dir.path().join(name), "x").unwrap();
        }
        remove_drafts(&path).unwrap();
        let mut left = names(dir.path());
        left.sort();
        assert_eq!(left, [".other.0123456789abcdef.draft", "secret"]);
    }
}
