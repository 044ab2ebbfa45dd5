//! Timers for waits of which nearly all end in time: those cost next to nothing.

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

/// A timer for one wait after another, each with its own deadline. It stays set from one wait to
/// the next and is set anew only when it goes off too early, so that most waits find it running.
#[derive(Debug, Default)]
pub(super) struct Alarm {
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Alarm {
    /// Ready at `deadline`, not before.
    pub(super) fn poll_at(&mut self, deadline: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if sleep.deadline() > deadline {
            sleep.as_mut().reset(deadline);
        }
        while sleep.as_mut().poll(cx).is_ready() {
            if sleep.deadline() >= deadline {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(deadline);
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    #[tokio::test]
    async fn an_alarm_goes_off_at_its_deadline_whatever_it_was_set_to_before() {
        let of = Duration::from_millis;
        for (before, then) in [(of(60_000), of(30)), (of(10), of(40)), (of(20), of(20))] {
            let mut alarm = Alarm::default();
            let begin = Instant::now();
            poll_fn(|cx| {
                assert!(alarm.poll_at(begin + before, cx).is_pending(), "{before:?}");
                Poll::Ready(())
            })
            .await;
            poll_fn(|cx| alarm.poll_at(begin + then, cx)).await;
            let took = begin.elapsed();
            assert!(took >= then, "{before:?}, {then:?}: too early, after {took:?}");
            assert!(took < of(30_000), "{before:?}, {then:?}: too late, after {took:?}");
        }
    }

    /// The next wait on a connection whose alarm went off while nobody waited.
    #[tokio::test]
    async fn an_alarm_that_went_off_unheard_is_set_anew() {
        let mut alarm = Alarm::default();
        let deadline = Instant::now() + Duration::from_millis(5);
        poll_fn(|cx| Poll::Ready(alarm.poll_at(deadline, cx).is_pending())).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
        let next = Instant::now() + Duration::from_millis(30);
        poll_fn(|cx| alarm.poll_at(next, cx)).await;
        assert!(Instant::now() >= next);
    }
}
