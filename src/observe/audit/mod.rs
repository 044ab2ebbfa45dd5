//! The audit log: who changed what, and who was refused, in a file of JSON lines that only grows
//! and whose every line vouches for the one before (an HMAC chain; [`verify`] checks it).
//!
//! It must never lose an event silently: a change waits until its line is on disk and is refused
//! when it cannot be, and so does the answer to whoever showed a credential that is not accepted; a
//! denial waits for room in the queue, and what could not be written is counted in a line of its
//! own. It must never hold a token.

pub mod chain;
mod event;
mod file;
pub mod head;
mod line;
#[cfg(test)]
mod tests;
pub mod verify;
pub mod walk;
mod writer;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use self::chain::Key;
pub use self::event::{Event, Kind, Outcome};
pub use self::file::OpenError;
use self::head::HeadFile;
pub use self::line::Hashed;
use self::writer::{Condition, Means, Message, Urgent, Writer};

/// Events that may wait for the writer; more make whoever has them wait.
const QUEUE_EVENTS: usize = 4096;
/// Changes, and refusals that somebody waits for, on their way to the writer.
const QUEUE_CHANGES: usize = 256;
/// How long a denial waits for room. Then it is counted as missed, and its request goes on to be
/// denied.
const ROOM_WAIT: Duration = Duration::from_secs(5);
/// How long a change waits for the disk. Then it is refused: whoever waits may have signals to
/// take, and a disk that hangs must not take the gateway with it.
const DISK_WAIT: Duration = Duration::from_secs(5);

/// The line is not known to be on disk, so that what it says must not be done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the audit log cannot be written: {0}")]
pub struct Unwritten(String);

/// `[audit]`, ready to use.
pub struct Settings {
    /// Where lines go.
    pub file: PathBuf,
    /// What they are chained with.
    pub key: Key,
    /// What is written as a hash.
    pub hashed: Hashed,
    /// A file of so many bytes is moved aside.
    pub rotate_bytes: Option<u64>,
}

/// The audit log of this process; cheap to clone. Off, it takes everything and writes nothing.
#[derive(Clone, Debug, Default)]
pub struct Audit(Option<Arc<Shared>>);

#[derive(Debug)]
struct Shared {
    urgent: mpsc::Sender<Urgent>,
    notes: mpsc::Sender<Message>,
    condition: Arc<Condition>,
}

/// How the log stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// Whether the last attempt to write went well.
    pub up: bool,
    /// Events since the start of which only the number was written.
    pub missed: u64,
}

/// Ends the log: joining this waits for what is queued.
#[derive(Debug)]
pub struct AuditWriter(JoinHandle<()>);

impl AuditWriter {
    /// Waits until everything is on disk. [`Audit::close`] must have been called.
    pub fn join(self) {
        drop(self.0.join());
    }
}

impl Audit {
    /// `[audit] file = "off"`.
    #[must_use]
    pub const fn off() -> Self {
        Self(None)
    }

    /// Opens the file, puts right what a crash left, and starts the writer. Blocks.
    ///
    /// # Errors
    ///
    /// [`OpenError`].
    pub fn open(settings: Settings, state_dir: &Path) -> Result<(Self, AuditWriter), OpenError> {
        let state = |source| OpenError::Io { path: state_dir.to_owned(), source };
        let (head_file, head) = HeadFile::open(state_dir).map_err(state)?;
        let Settings { file, key, hashed, rotate_bytes } = settings;
        let condition = Arc::new(Condition::default());
        let path = file.clone();
        let means =
            Means { key, hashed, path, rotate_bytes, condition: condition.clone(), head_file };
        let writer = Writer::open(means, head)?;
        let thread = |source: io::Error| OpenError::Io { path: file, source };
        let (urgent, changes) = mpsc::channel(QUEUE_CHANGES);
        let (notes, noted) = mpsc::channel(QUEUE_EVENTS);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        let spawned = runtime.and_then(|runtime| {
            std::thread::Builder::new()
                .name("audit-log".to_owned())
                .spawn(move || runtime.block_on(writer.run(changes, noted)))
        });
        let handle = spawned.map_err(thread)?;
        Ok((Self(Some(Arc::new(Shared { urgent, notes, condition }))), AuditWriter(handle)))
    }

    /// Whether events are written: ask before an event is put together on a request's path.
    #[must_use]
    pub const fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Writes a change down; when this returns `Ok`, the line is on disk. For what must not happen
    /// without a line: call it before the change ([`Outcome::Asked`]) and after
    /// ([`Event::ended`]).
    ///
    /// # Errors
    ///
    /// [`Unwritten`]: nothing of what the event says may be done, or told as done. When the disk
    /// does not answer for five seconds, too; the line may still come to be written then.
    pub async fn record(&self, event: Event) -> Result<(), Unwritten> {
        self.urgent(Missed(None), |told| Urgent::Line(Message::change(event), told)).await
    }

    /// Writes down that something was refused; when this returns `Ok`, the line is on disk. Unlike
    /// a change, it has happened: what cannot be written now is written when it can be, and what
    /// finds no room is counted.
    ///
    /// # Errors
    ///
    /// [`Unwritten`]: the answer must not tell what was decided.
    pub async fn record_refusal(&self, event: Event) -> Result<(), Unwritten> {
        // Also when whoever waits here goes away.
        let missed = Missed(self.0.as_ref().map(|shared| &*shared.condition));
        self.urgent(missed, |told| Urgent::Line(Message::now(event), told)).await
    }

    /// Hands an event to the writer, waiting for room while the queue is full. For what has
    /// happened already and for refusals that tell a guesser nothing. An event that finds no room
    /// is counted, and the count is written.
    pub async fn note(&self, event: Event) {
        let Some(shared) = &self.0 else { return };
        let message = Message::now(event);
        let message = match shared.notes.try_send(message) {
            Ok(()) => return,
            Err(
                mpsc::error::TrySendError::Full(message)
                | mpsc::error::TrySendError::Closed(message),
            ) => message,
        };
        // Also when whoever waits here goes away.
        let mut missed = Missed(Some(&shared.condition));
        let sent = tokio::time::timeout(ROOM_WAIT, shared.notes.send(message)).await;
        if matches!(sent, Ok(Ok(()))) {
            missed.0 = None;
        }
    }

    /// Goes on in a new file if the old one was moved away.
    ///
    /// # Errors
    ///
    /// When there can be no new file; the old one is gone on with.
    pub async fn reopen(&self) -> Result<(), Unwritten> {
        self.urgent(Missed(None), Urgent::Reopen).await
    }

    /// Ends the log: what is queued is still written, what comes later is not.
    pub async fn close(&self) {
        if let Some(shared) = &self.0 {
            drop(shared.urgent.send(Urgent::Close).await);
        }
    }

    /// Whether a line may be expected to be taken. Not while the last attempt went wrong and the
    /// writer tries again by itself; after that, whoever comes is the next attempt.
    #[must_use]
    pub fn takes_lines(&self) -> bool {
        self.0.as_ref().is_none_or(|shared| {
            let condition = &shared.condition;
            !(condition.failing.load(Ordering::Acquire)
                && condition.tries_again.load(Ordering::Acquire))
        })
    }

    /// How it stands; `None` when it is off.
    #[must_use]
    pub fn status(&self) -> Option<Status> {
        let condition = &self.0.as_ref()?.condition;
        Some(Status {
            up: !condition.failing.load(Ordering::Acquire),
            missed: condition.missed_ever.load(Ordering::Relaxed),
        })
    }

    async fn urgent(
        &self,
        mut missed: Missed<'_>,
        what: impl FnOnce(oneshot::Sender<Result<(), Unwritten>>) -> Urgent,
    ) -> Result<(), Unwritten> {
        let Some(shared) = &self.0 else { return Ok(()) };
        let (told, answer) = oneshot::channel();
        let gone = || Unwritten("its writer has ended".to_owned());
        let answered = async {
            shared.urgent.send(what(told)).await.map_err(|_| gone())?;
            missed.0 = None;
            answer.await.map_err(|_| gone())?
        };
        let answered = tokio::time::timeout(DISK_WAIT, answered).await;
        answered.unwrap_or_else(|_| {
            // The writer itself cannot say it: it is waiting, too.
            shared.condition.tries_again.store(true, Ordering::Release);
            if !shared.condition.failing.swap(true, Ordering::AcqRel) {
                tracing::error!("the audit log's disk does not answer; changes are refused");
            }
            Err(Unwritten("its disk does not answer".to_owned()))
        })
    }
}

/// Counts an event as missed when it is dropped with something in it.
struct Missed<'c>(Option<&'c Condition>);

impl Drop for Missed<'_> {
    fn drop(&mut self) {
        if let Some(condition) = self.0 {
            condition.missed.fetch_add(1, Ordering::AcqRel);
            condition.missed_ever.fetch_add(1, Ordering::Relaxed);
        }
    }
}
