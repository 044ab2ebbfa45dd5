//! What the writer says of lines that the disk did not take.

use std::fs::File;
use std::os::fd::OwnedFd;

use tempfile::TempDir;

use super::*;
use crate::secret::Secret;

fn open(dir: &TempDir) -> Writer {
    let (head_file, head) = HeadFile::open(dir.path()).unwrap();
    let means = Means {
        key: Key::new(&Secret::new(vec![1; 32])).unwrap(),
        hashed: Hashed::default(),
        path: dir.path().join("audit.log"),
        rotate_bytes: None,
        condition: Arc::default(),
        head_file,
    };
    Writer::open(means, head).unwrap()
}

fn message() -> Message {
    Message::now(Event::new(Kind::Revocation, Outcome::Done))
}

/// A change, as whoever makes it is told of it.
fn change(writer: &mut Writer) -> Result<(), Unwritten> {
    let (told, mut answer) = oneshot::channel();
    writer.write(vec![(message(), told)]);
    answer.try_recv().unwrap()
}

/// A pipe takes lines and has no disk: fdatasync(2) fails with EINVAL.
fn without_disk(writer: &mut Writer) -> (LogFile, io::PipeReader) {
    let (reader, pipe) = io::pipe().unwrap();
    let pipe = LogFile::of(writer.means.path.clone(), File::from(OwnedFd::from(pipe)));
    (std::mem::replace(&mut writer.file, pipe), reader)
}

fn is_up(writer: &Writer) -> bool {
    !writer.means.condition.failing.load(Ordering::Acquire)
}

/// While it fails it is tried once a second, not all the time, and nobody is told that it works
/// because a line was taken.
#[test]
fn a_disk_that_fails_is_left_alone_for_a_while() {
    let dir = TempDir::new().unwrap();
    let mut writer = open(&dir);
    let _there = without_disk(&mut writer);
    change(&mut writer).unwrap_err();
    let again = writer.sync_by.unwrap();
    assert!(again > Instant::now() + TRY_AGAIN / 2, "it would be tried without a pause");
    writer.left.push(message());
    writer.write(Vec::new());
    assert!(writer.left.is_empty() && !is_up(&writer), "taken, and not on disk");
    assert_eq!(writer.sync_by, Some(again));
    writer.sync_by = Some(Instant::now());
    writer.write(Vec::new());
    assert!(writer.sync_by.unwrap() > again, "the next failure, the next pause");
}

/// That a sync goes well says nothing of lines that one before has lost (fsync(2): an error is told
/// once).
#[test]
fn no_more_is_known_than_what_was_added_since() {
    let dir = TempDir::new().unwrap();
    let mut writer = open(&dir);
    change(&mut writer).unwrap();
    assert_eq!((writer.head.seq, writer.head.synced), (2, 2));
    let (file, _reader) = without_disk(&mut writer);
    change(&mut writer).unwrap_err();
    writer.file = file;
    writer.sync().unwrap();
    assert_eq!((writer.head.seq, writer.head.synced), (3, 2), "nobody knows of the third");
    assert_eq!(writer.sync_by, None, "there is nothing more to try");
    change(&mut writer).unwrap();
    assert_eq!((writer.head.seq, writer.head.synced), (4, 4));
    assert!(is_up(&writer));
}

/// A file's first line is the one that opens it, also when events were missed before.
#[test]
fn the_number_missed_does_not_open_a_file() {
    let dir = TempDir::new().unwrap();
    let mut writer = open(&dir);
    let path = writer.means.path.clone();
    std::fs::rename(&path, dir.path().join("audit.log.1")).unwrap();
    writer.means.condition.missed.store(3, Ordering::Release);
    writer.reopen().unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    let has = |line: usize, what: &str| text.lines().nth(line).unwrap().contains(what);
    assert!(has(0, "\"event\":\"open\"") && has(1, "\"count\":3"), "{text}");
    drop(writer);
    assert_eq!(open(&dir).head.seq, 3, "it can be gone on with");
}
