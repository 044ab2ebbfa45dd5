//! A request body on its way from the client to the upstream: counted, timed, without trailers.

use std::pin::Pin;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::task::AbortHandle;

use super::IdleTimer;
use crate::body::StreamError;

/// How far the upload has come; shared between the body and whoever waits for the response.
#[derive(Debug)]
pub struct Progress {
    outcome: AtomicU8,
    began: Instant,
    /// When the last piece was handed over, in milliseconds since `began`.
    moved: AtomicU64,
    /// The task that drives the connection to the upstream, and with it the body.
    driver: Mutex<Option<AbortHandle>>,
    /// Why it was abandoned, where that was said.
    cause: OnceLock<StreamError>,
}

/// What became of an upload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Bytes are still to come.
    Running,
    /// The last byte was handed over.
    Complete,
    /// More bytes than the route allows (413).
    TooLarge,
    /// The client stopped sending (408).
    Stalled,
    /// The client broke off or sent a malformed body (400).
    Broken,
    /// Nobody waits for it any more: nothing of it reaches the upstream from here on.
    Abandoned,
}

impl Progress {
    /// Of a body that is in hand already.
    #[must_use]
    pub fn complete() -> Arc<Self> {
        let progress = Self::begin();
        progress.set(Outcome::Complete);
        Arc::new(progress)
    }

    fn begin() -> Self {
        Self {
            outcome: AtomicU8::new(0),
            began: Instant::now(),
            moved: AtomicU64::new(0),
            driver: Mutex::default(),
            cause: OnceLock::new(),
        }
    }

    /// When the upstream was last given a piece of the body, or its end.
    pub fn last_moved(&self) -> Instant {
        self.began + Duration::from_millis(self.moved.load(Ordering::Acquire))
    }

    fn moves(&self) {
        let elapsed = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.moved.store(elapsed, Ordering::Release);
    }

    /// Where the upload stands.
    pub fn outcome(&self) -> Outcome {
        match self.outcome.load(Ordering::Acquire) {
            0 => Outcome::Running,
            1 => Outcome::Complete,
            2 => Outcome::TooLarge,
            3 => Outcome::Stalled,
            4 => Outcome::Broken,
            _ => Outcome::Abandoned,
        }
    }

    /// Nobody waits for what is still to come: from here on nothing of it is handed over. What has
    /// come to its end stays as it ended.
    ///
    /// The connection to the upstream goes with it. hyper asks for more of a body only when there
    /// is room for it, so an upstream that reads nothing would keep the body from ever being told.
    pub fn abandon(&self) {
        let (running, abandoned) = (Outcome::Running.code(), Outcome::Abandoned.code());
        let was =
            self.outcome.compare_exchange(running, abandoned, Ordering::AcqRel, Ordering::Acquire);
        if was.is_ok()
            && let Some(driver) = self.driver().take()
        {
            // The task is dropped instead of being run again, whatever has woken it.
            driver.abort();
        }
    }

    /// The same, and why; the first cause stays.
    pub fn abandon_because(&self, cause: impl Into<StreamError>) {
        if self.outcome() == Outcome::Running {
            // Before whoever waits for the answer can ask.
            let _ = self.cause.set(cause.into());
            self.abandon();
        }
    }

    /// What it was abandoned for.
    pub fn cause(&self) -> Option<&StreamError> {
        self.cause.get()
    }

    /// The body is about to be sent on the connection that this task drives.
    pub(super) fn is_driven_by(&self, driver: &AbortHandle) {
        if self.outcome() == Outcome::Running {
            *self.driver() = Some(driver.clone());
        }
    }

    fn driver(&self) -> MutexGuard<'_, Option<AbortHandle>> {
        self.driver.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, outcome: Outcome) {
        self.outcome.store(outcome.code(), Ordering::Release);
    }
}

impl Outcome {
    const fn code(self) -> u8 {
        match self {
            Self::Running => 0,
            Self::Complete => 1,
            Self::TooLarge => 2,
            Self::Stalled => 3,
            Self::Broken => 4,
            Self::Abandoned => 5,
        }
    }
}

/// The body as the upstream connection reads it. Reading it is what makes hyper answer
/// `Expect: 100-continue`, so nothing is read before the request was admitted (R33).
pub struct Upload {
    body: Incoming,
    left: Option<u64>,
    idle: IdleTimer,
    progress: Arc<Progress>,
}

impl Upload {
    /// Wraps the client's body. `limit` in bytes; `None` is unlimited.
    #[must_use]
    pub fn wrap(body: Incoming, limit: Option<u64>, idle: Duration) -> (Self, Arc<Progress>) {
        let progress = Arc::new(Progress::begin());
        let upload = Self {
            body,
            left: limit,
            idle: IdleTimer::new(Some(idle)),
            progress: progress.clone(),
        };
        (upload, progress)
    }

    fn fail(&self, outcome: Outcome, why: &'static str) -> StreamError {
        self.progress.set(outcome);
        why.into()
    }

    fn count(&mut self, bytes: usize) -> Result<(), StreamError> {
        let Some(left) = self.left else { return Ok(()) };
        match left.checked_sub(bytes as u64) {
            Some(rest) => {
                self.left = Some(rest);
                Ok(())
            }
            None => Err(self.fail(Outcome::TooLarge, "request body over the limit")),
        }
    }
}

impl HttpBody for Upload {
    type Data = Bytes;
    type Error = StreamError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, StreamError>>> {
        let this = self.get_mut();
        if this.progress.outcome() == Outcome::Abandoned {
            return Poll::Ready(Some(Err("nobody waits for the answer".into())));
        }
        loop {
            return match Pin::new(&mut this.body).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    this.idle.progressed();
                    this.progress.moves();
                    // Trailers would be fields that no guard has seen (R30).
                    let Ok(data) = frame.into_data() else { continue };
                    if let Err(error) = this.count(data.len()) {
                        return Poll::Ready(Some(Err(error)));
                    }
                    if this.body.is_end_stream() {
                        this.progress.set(Outcome::Complete);
                    }
                    Poll::Ready(Some(Ok(Frame::data(data))))
                }
                Poll::Ready(Some(Err(_))) => {
                    let error = this.fail(Outcome::Broken, "the client broke off its body");
                    Poll::Ready(Some(Err(error)))
                }
                Poll::Ready(None) => {
                    this.progress.moves();
                    this.progress.set(Outcome::Complete);
                    Poll::Ready(None)
                }
                Poll::Pending => match this.idle.poll_expired(cx) {
                    Poll::Ready(()) => {
                        let error = this.fail(Outcome::Stalled, "the client stopped sending");
                        Poll::Ready(Some(Err(error)))
                    }
                    Poll::Pending => Poll::Pending,
                },
            };
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is under way ends with its connection, and says why; what has come to its end leaves
    /// the connection to whoever has it next.
    #[tokio::test]
    async fn only_what_is_under_way_is_abandoned() {
        let running = Progress::begin();
        let driver = tokio::spawn(std::future::pending::<()>());
        running.is_driven_by(&driver.abort_handle());
        running.abandon_because("revoked");
        running.abandon_because("something else");
        assert_eq!(running.outcome(), Outcome::Abandoned);
        assert_eq!(running.cause().unwrap().to_string(), "revoked");
        assert!(driver.await.unwrap_err().is_cancelled());

        let complete = Progress::begin();
        let driver = tokio::spawn(std::future::pending::<()>());
        complete.is_driven_by(&driver.abort_handle());
        complete.set(Outcome::Complete);
        complete.abandon_because("revoked");
        assert_eq!(complete.outcome(), Outcome::Complete);
        assert!(complete.cause().is_none());
        tokio::task::yield_now().await;
        assert!(!driver.is_finished());
        driver.abort();
    }
}
