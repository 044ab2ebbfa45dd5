//! The thread that writes: it alone knows the file and where the chain stands.
//!
//! Lines are written in groups and brought to disk together: at once when somebody waits for it,
//! else within [`SYNC_AFTER`]. While the file cannot be written, changes are told so at once, and
//! other events stay where they are.

#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use super::Unwritten;
use super::chain::{Key, Mac};
use super::event::{Event, Kind, Outcome};
use super::file::{LogFile, OpenError};
use super::head::{Head, HeadFile};
use super::line::{Hashed, Place, json};
use super::walk::Reached;

/// How long a line that nobody waits for may be on its way to the disk.
const SYNC_AFTER: Duration = Duration::from_millis(50);
/// Between two attempts to write to a file that cannot be written.
const TRY_AGAIN: Duration = Duration::from_secs(1);
/// Lines of one group.
const GROUP_MAX: usize = 1024;
/// Events that stay to be written; more are counted.
const LEFT_MAX: usize = 2 * GROUP_MAX;
/// The form of the lines, in each file's first line.
const FORMAT: u64 = 1;

/// Whoever waits for a line to be on disk.
type Told = oneshot::Sender<Result<(), Unwritten>>;

/// How the log stands; shared with whoever asks.
#[derive(Debug, Default)]
pub(super) struct Condition {
    /// The last attempt to write went wrong.
    pub(super) failing: AtomicBool,
    /// The writer has something to try again by itself.
    pub(super) tries_again: AtomicBool,
    /// Events that were not written, and are not yet written down as missed.
    pub(super) missed: AtomicU64,
    /// The same since the start.
    pub(super) missed_ever: AtomicU64,
}

/// An event on its way, and when it happened.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) event: Event,
    pub(super) at: SystemTime,
    /// Whether it has happened whatever the disk says, so that it stays to be written.
    pub(super) stays: bool,
}

/// What must not wait behind denials.
#[derive(Debug)]
pub(super) enum Urgent {
    /// Write everything and end.
    Close,
    /// A change or a refusal; somebody waits for the line.
    Line(Message, Told),
    /// The file may have been moved away: look, and begin a new one.
    Reopen(Told),
}

/// The writer's state.
pub(super) struct Writer {
    means: Means,
    file: LogFile,
    head: Head,
    /// Events that could not be written.
    left: Vec<Message>,
    /// By when what was written must be on disk.
    sync_by: Option<Instant>,
    /// The last line of which a sync that failed leaves open whether it is on disk.
    doubtful: Option<u64>,
    /// When a new file that could not be begun is tried again.
    renew_after: Option<Instant>,
}

/// What a writer works with.
pub(super) struct Means {
    pub(super) key: Key,
    pub(super) hashed: Hashed,
    pub(super) path: PathBuf,
    pub(super) rotate_bytes: Option<u64>,
    pub(super) condition: Arc<Condition>,
    pub(super) head_file: HeadFile,
}

impl Writer {
    /// Opens the file and writes what opening it calls for. `head` is what the state directory
    /// knows.
    ///
    /// # Errors
    ///
    /// [`OpenError`].
    pub(super) fn open(means: Means, head: Option<Head>) -> Result<Self, OpenError> {
        let mut found = LogFile::open(&means.path, &means.key, head.as_ref())?;
        if let (None, Some(head)) = (&found.reached, &head)
            && head.seq > 0
        {
            found.repair = Some(nothing_there(&means.path, head.seq, found.repair));
        }
        let head = head.unwrap_or_else(|| Head {
            gateway: uuid::Uuid::new_v4().to_string(),
            seq: 0,
            mac: Mac::GENESIS,
            bytes: 0,
            synced: 0,
        });
        let path = means.path.clone();
        let mut writer = Self::new(means, found.file, head);
        let begun = writer.go_on(found.reached, found.repair);
        begun.map_err(|source| OpenError::Io { path, source })?;
        Ok(writer)
    }

    fn new(means: Means, file: LogFile, head: Head) -> Self {
        let (sync_by, doubtful, renew_after) = (None, None, None);
        Self { means, file, head, left: Vec::new(), sync_by, doubtful, renew_after }
    }

    /// Writes until it is told to end, or until nobody is left who could tell it.
    pub(super) async fn run(
        mut self,
        mut urgent: mpsc::Receiver<Urgent>,
        mut notes: mpsc::Receiver<Message>,
    ) {
        loop {
            let failing = !self.left.is_empty();
            let until = if failing { Some(Instant::now() + TRY_AGAIN) } else { self.sync_by };
            let (mut waiting, mut close) = (Vec::new(), false);
            tokio::select! {
                biased;
                first = urgent.recv() => {
                    let first = first.unwrap_or(Urgent::Close);
                    close = self.take_urgent(first, &mut urgent, &mut waiting);
                }
                note = notes.recv(), if !failing => self.left.extend(note),
                () = pause(until) => {}
            }
            while self.left.len() < GROUP_MAX
                && let Ok(note) = notes.try_recv()
            {
                self.left.push(note);
            }
            self.write(waiting);
            if close && notes.is_empty() {
                return self.end();
            }
            if close {
                urgent.close();
            }
        }
    }

    /// Everything urgent that is there; whether to end.
    fn take_urgent(
        &mut self,
        first: Urgent,
        urgent: &mut mpsc::Receiver<Urgent>,
        waiting: &mut Vec<(Message, Told)>,
    ) -> bool {
        let mut next = Some(first);
        while let Some(urgency) = next {
            match urgency {
                Urgent::Close => return true,
                Urgent::Line(message, told) => waiting.push((message, told)),
                Urgent::Reopen(told) => drop(told.send(self.reopen().map_err(Unwritten))),
            }
            next = if waiting.len() < GROUP_MAX { urgent.try_recv().ok() } else { None };
        }
        false
    }

    /// Writes what is there, and brings it to disk when somebody waits or when it is time.
    fn write(&mut self, waiting: Vec<(Message, Told)>) {
        let (waited_for, told): (Vec<Message>, Vec<Told>) = waiting.into_iter().unzip();
        let mut messages = std::mem::take(&mut self.left);
        messages.extend(waited_for);
        let mut result = if messages.is_empty() { Ok(()) } else { self.append(&messages) };
        if result.is_err() {
            self.leave(messages);
        } else if !messages.is_empty() {
            self.sync_by.get_or_insert_with(|| Instant::now() + SYNC_AFTER);
        }
        let due = self.sync_by.is_some_and(|by| Instant::now() >= by);
        if due || (result.is_ok() && !told.is_empty()) {
            // Also after lines that did not fit: those before them have waited long enough.
            let synced = self.sync();
            result = result.and(synced);
        }
        let again = !self.left.is_empty() || self.sync_by.is_some();
        self.means.condition.tries_again.store(again, Ordering::Release);
        // A line that was taken is no good sign yet: the disk has to say so.
        if result.is_err() || self.sync_by.is_none() {
            self.note_condition(&result);
        }
        for waiter in told {
            let answer = result.as_ref().copied().map_err(|error| Unwritten(error.to_string()));
            drop(waiter.send(answer));
        }
        if result.is_ok() && self.sync_by.is_none() && self.is_full() {
            self.rotate();
        }
    }

    /// After lines that could not be written: whoever makes a change is told, what has happened
    /// stays, and what there is no room for is counted.
    fn leave(&mut self, mut messages: Vec<Message>) {
        messages.retain(|message| message.stays);
        let surplus = messages.len().saturating_sub(LEFT_MAX);
        messages.truncate(LEFT_MAX);
        let surplus = u64::try_from(surplus).unwrap_or(u64::MAX);
        self.means.condition.missed.fetch_add(surplus, Ordering::AcqRel);
        self.means.condition.missed_ever.fetch_add(surplus, Ordering::Relaxed);
        self.left = messages;
    }

    /// Appends lines, all or none, and moves the chain on.
    fn append(&mut self, messages: &[Message]) -> io::Result<()> {
        let missed = self.means.condition.missed.swap(0, Ordering::AcqRel);
        let missing = (missed > 0).then(|| Message {
            event: Event::new(Kind::Missed, Outcome::Failed).detail("count", missed),
            at: messages.last().map_or(SystemTime::UNIX_EPOCH, |message| message.at),
            stays: false,
        });
        let (mut lines, mut seq, mut mac) = (Vec::new(), self.head.seq, self.head.mac);
        // The number missed comes last: a file's first line is the one that opens it.
        for message in messages.iter().chain(&missing) {
            seq += 1;
            let place = Place { seq, at: message.at, gateway: &self.head.gateway };
            let text = json(&message.event, place, &self.means.key, self.means.hashed);
            mac = self.means.key.seal(&mac, &text, &mut lines);
        }
        if let Err(error) = self.file.append(&lines) {
            self.means.condition.missed.fetch_add(missed, Ordering::AcqRel);
            return Err(error);
        }
        (self.head.seq, self.head.mac, self.head.bytes) = (seq, mac, self.file.bytes());
        self.write_head();
        Ok(())
    }

    /// Brings everything to disk, and writes down how far it is known to be there.
    ///
    /// The system tells of lines that did not get there once, and then forgets that they have not:
    /// that the next try goes well says nothing about them. It does about lines that were added
    /// since, and the known end is the last of these, whatever has become of the ones before (a
    /// hole that verifying finds).
    fn sync(&mut self) -> io::Result<()> {
        if let Err(error) = self.file.sync() {
            self.doubtful = Some(self.head.seq);
            self.sync_by = Some(Instant::now() + TRY_AGAIN);
            return Err(error);
        }
        self.sync_by = None;
        if self.doubtful.is_none_or(|doubtful| self.head.seq > doubtful) {
            self.doubtful = None;
            self.head.synced = self.head.seq;
            self.write_head();
        }
        Ok(())
    }

    fn write_head(&self) {
        let head_file = &self.means.head_file;
        if let Err(error) = head_file.write(&self.head) {
            let file = head_file.path().display();
            tracing::error!(%file, %error, "where the audit log stands cannot be written down");
        }
    }

    /// The chain goes on in the file that was just opened; a new one is given its first line.
    fn go_on(&mut self, reached: Option<Reached>, repair: Option<Event>) -> io::Result<()> {
        let mut events = Vec::new();
        match reached {
            Some(Reached { gateway, seq, mac }) => {
                let (bytes, synced) = (self.file.bytes(), self.head.synced);
                self.head = Head { gateway, seq, mac, bytes, synced };
            }
            None => events.push(
                Event::new(Kind::Open, Outcome::Done)
                    .detail("format", FORMAT)
                    .detail("previous", self.head.mac.to_string())
                    .detail("key", self.means.key.id()),
            ),
        }
        events.extend(repair);
        let messages: Vec<Message> = events.into_iter().map(Message::now).collect();
        if !messages.is_empty() {
            self.append(&messages)?;
        }
        self.sync()?;
        self.means.head_file.sync()
    }

    fn is_full(&self) -> bool {
        self.means.rotate_bytes.is_some_and(|limit| self.file.bytes() >= limit)
            && self.renew_after.is_none_or(|after| Instant::now() >= after)
    }

    /// Moves the full file aside and begins a new one. When that does not work, the old one grows
    /// on.
    fn rotate(&mut self) {
        if !self.file.was_moved()
            && let Err(error) = self.file.move_aside(self.head.seq)
        {
            let file = self.means.path.display();
            tracing::error!(%file, %error, "the audit log cannot be moved aside; it grows on");
            self.means.rotate_bytes = None;
            return;
        }
        if let Err(error) = self.renew() {
            self.renew_after = Some(Instant::now() + TRY_AGAIN);
            tracing::error!(error, "no new audit log can be begun; the old one grows on");
        }
    }

    /// Begins a new file if the old one was moved away.
    fn reopen(&mut self) -> Result<(), String> {
        if !self.file.was_moved() {
            return Ok(());
        }
        self.sync().map_err(|error| error.to_string())?;
        self.renew()
    }

    fn renew(&mut self) -> Result<(), String> {
        let Means { path, key, .. } = &self.means;
        let found =
            LogFile::open(path, key, Some(&self.head)).map_err(|error| error.to_string())?;
        let (is_new, before) = (found.reached.is_none(), self.head.seq);
        let old = std::mem::replace(&mut self.file, found.file);
        if let Err(error) = self.go_on(found.reached, found.repair) {
            // Without its first line nothing could follow from it; the old one still takes lines.
            if is_new && self.head.seq == before {
                self.file = old;
            }
            return Err(error.to_string());
        }
        tracing::info!(seq = self.head.seq, mac = %self.head.mac, "a new audit log was begun");
        Ok(())
    }

    fn end(&mut self) {
        if !self.left.is_empty() {
            let events = self.left.len();
            tracing::error!(events, "events were never written to the audit log");
        }
        if let Err(error) = self.sync().and_then(|()| self.means.head_file.sync()) {
            tracing::error!(%error, "the end of the audit log may not be on disk");
        }
        if let Some(seq) = self.doubtful {
            tracing::error!(seq, "audit log lines up to this number may not be on disk");
        }
        // Kept elsewhere, this shows whether the end of the file was cut off.
        tracing::info!(seq = self.head.seq, mac = %self.head.mac, "the audit log ends here");
    }

    fn note_condition(&self, result: &io::Result<()>) {
        let failing = result.is_err();
        if self.means.condition.failing.swap(failing, Ordering::AcqRel) == failing {
            return;
        }
        let file = self.means.path.display();
        match result {
            Ok(()) => tracing::warn!(%file, "the audit log can be written again"),
            Err(error) => tracing::error!(
                %file, %error,
                "the audit log cannot be written; changes are refused until it can"
            ),
        }
    }
}

impl Message {
    /// An event that happens now.
    #[allow(clippy::disallowed_methods, reason = "a line's time stamp decides nothing")]
    pub(super) fn now(event: Event) -> Self {
        Self { event, at: SystemTime::now(), stays: true }
    }

    /// A change, which is not made without its line.
    pub(super) fn change(event: Event) -> Self {
        Self { stays: false, ..Self::now(event) }
    }
}

/// Lines were written, and the file that they should be in is empty or absent: moved away while
/// nothing ran, or removed. Nobody but the operator knows which; the chain keeps that it was so.
fn nothing_there(path: &Path, written: u64, repair: Option<Event>) -> Event {
    let file = path.display();
    tracing::warn!(
        %file, written,
        "the audit log is empty or absent, and lines were written before: if nobody has moved it \
         away, it was removed"
    );
    let repair = repair.unwrap_or_else(|| Event::new(Kind::Repair, Outcome::Done));
    repair.detail("empty_after", written)
}

async fn pause(until: Option<Instant>) {
    match until {
        Some(until) => sleep_until(until).await,
        None => std::future::pending().await,
    }
}
