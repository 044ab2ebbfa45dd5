//! A timer that runs only while something is being waited for.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

/// Measures one wait at a time. Allocates nothing until the first wait.
#[derive(Debug)]
pub struct IdleTimer {
    sleep: Option<Pin<Box<Sleep>>>,
    armed: bool,
    after: Option<Duration>,
}

impl IdleTimer {
    /// A timer for waits of at most `after`; `None` waits for ever.
    #[must_use]
    pub const fn new(after: Option<Duration>) -> Self {
        Self { sleep: None, armed: false, after }
    }

    /// Something arrived: the wait, if any, is over.
    pub const fn progressed(&mut self) {
        self.armed = false;
    }

    /// Still waiting: ready once the wait has lasted too long.
    pub fn poll_expired(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(after) = self.after else { return Poll::Pending };
        let sleep = self.sleep.get_or_insert_with(|| {
            self.armed = true;
            Box::pin(tokio::time::sleep(after))
        });
        if !self.armed {
            sleep.as_mut().reset(Instant::now() + after);
            self.armed = true;
        }
        sleep.as_mut().poll(cx)
    }
}
