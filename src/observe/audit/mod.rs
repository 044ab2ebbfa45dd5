//! The audit log: who changed what, and who was refused, in a file of JSON lines that only grows
//! and whose every line vouches for the one before (an HMAC chain; [`verify`] checks it).
//!
//! It must never lose an event silently: a change waits until its line is on disk and is refused
//! when it cannot be, a denial waits for room in the queue. It must never hold a token.

mod event;

use tokio::sync::{mpsc, oneshot};

pub use self::event::{Event, Kind, Outcome};

/// The line is not on disk, so that what it says must not be done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the audit log cannot be written: {0}")]
pub struct Unwritten(String);

/// The audit log of this process; cheap to clone. Off, it takes everything and writes nothing.
#[derive(Clone, Debug, Default)]
pub struct Audit {
    queue: Option<mpsc::Sender<Message>>,
}

/// An event on its way to the writer.
#[derive(Debug)]
struct Message {
    event: Event,
    /// Told when the line is on disk, or why it is not.
    waiter: Option<oneshot::Sender<Result<(), Unwritten>>>,
}

impl Audit {
    /// `[audit] file = "off"`.
    #[must_use]
    pub const fn off() -> Self {
        Self { queue: None }
    }

    /// Whether events are written: ask before an event is put together on a request's path.
    #[must_use]
    pub const fn is_on(&self) -> bool {
        self.queue.is_some()
    }

    /// Writes a change down; when this returns `Ok`, the line is on disk. For what must not happen
    /// without a line: call it before the change ([`Outcome::Asked`]) and after
    /// ([`Event::ended`]).
    ///
    /// # Errors
    ///
    /// [`Unwritten`]: nothing of what the event says may be done, or told as done.
    pub async fn record(&self, event: Event) -> Result<(), Unwritten> {
        let Some(queue) = &self.queue else { return Ok(()) };
        let (waiter, written) = oneshot::channel();
        let gone = || Unwritten("its writer has ended".to_owned());
        queue.send(Message { event, waiter: Some(waiter) }).await.map_err(|_| gone())?;
        written.await.map_err(|_| gone())?
    }

    /// Hands an event to the writer, waiting for room while the queue is full. For what has
    /// happened already and for refusals.
    pub async fn note(&self, event: Event) {
        if let Some(queue) = &self.queue {
            drop(queue.send(Message { event, waiter: None }).await);
        }
    }
}
