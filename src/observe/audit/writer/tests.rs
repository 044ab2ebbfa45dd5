//! What the writer says of lines that the disk did not take.

use std::fs::File;
use std::os::fd::OwnedFd;

use tempfile::TempDir;

use super::*;
use crate::secret::Secret;

/// So many wait.
const QUEUE: usize = 200;

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

fn event() -> Event {
    Event::new(Kind::Revocation, Outcome::Done)
}

/// A change, as whoever makes it is told of it.
fn change(writer: &mut Writer) -> Result<(), Unwritten> {
    let (told, mut answer) = oneshot::channel();
    writer.write(vec![(Message::change(event()), told)]);
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
    writer.left.push(Message::now(event()));
    writer.write(Vec::new());
    assert!(writer.left.is_empty() && !is_up(&writer), "taken, and not on disk");
    assert_eq!(writer.sync_by, Some(again));
    writer.sync_by = Some(Instant::now());
    writer.write(Vec::new());
    assert!(writer.sync_by.unwrap() > again, "the next failure, the next pause");
}

/// A change that was refused never was; a refusal was one whatever the disk says. What there is no
/// room to keep is counted.
#[test]
fn what_has_happened_stays_to_be_written() {
    let dir = TempDir::new().unwrap();
    let mut writer = open(&dir);
    let full = File::options().write(true).open("/dev/full").unwrap();
    let full = LogFile::of(writer.means.path.clone(), full);
    let file = std::mem::replace(&mut writer.file, full);
    change(&mut writer).unwrap_err();
    assert!(writer.left.is_empty());
    let more = 10;
    let (waiting, answers): (Vec<_>, Vec<_>) = (0..LEFT_MAX + more)
        .map(|_| {
            let (told, answer) = oneshot::channel();
            ((Message::now(event()), told), answer)
        })
        .unzip();
    writer.write(waiting);
    assert!(answers.into_iter().all(|mut answer| answer.try_recv().unwrap().is_err()));
    assert_eq!(writer.left.len(), LEFT_MAX);
    let missed = writer.means.condition.missed.load(Ordering::Acquire);
    assert_eq!(missed, more as u64);
    writer.file = file;
    writer.write(Vec::new());
    assert!(writer.left.is_empty());
    writer.sync().unwrap();
    let text = std::fs::read_to_string(&writer.means.path).unwrap();
    // The first line opens the file, the last says how many are missing.
    assert_eq!(text.lines().count(), LEFT_MAX + 2);
    assert!(text.lines().last().unwrap().contains("\"count\":10"));
}

/// Whoever waits at the same time shares one trip to the disk, whatever they wait for.
#[test]
fn all_that_wait_share_one_sync() {
    let dir = TempDir::new().unwrap();
    let mut writer = open(&dir);
    let before = writer.head.seq;
    let (urgent, mut urgencies) = mpsc::channel(QUEUE);
    let mut answers = Vec::new();
    for n in 0..QUEUE {
        let (told, answer) = oneshot::channel();
        let message = if n % 2 == 0 { Message::now(event()) } else { Message::change(event()) };
        urgent.try_send(Urgent::Line(message, told)).unwrap();
        answers.push(answer);
    }
    let mut waiting = Vec::new();
    let first = urgencies.try_recv().unwrap();
    assert!(!writer.take_urgent(first, &mut urgencies, &mut waiting));
    assert_eq!(waiting.len(), QUEUE, "all are taken at once");
    writer.write(waiting);
    assert!(answers.into_iter().all(|mut answer| answer.try_recv().unwrap().is_ok()));
    assert_eq!(writer.head.synced, before + QUEUE as u64);
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
