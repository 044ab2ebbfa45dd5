//! One connection with its time limits and the wish to drain, as one future.
//!
//! One lazily armed timer serves them all: a busy connection touches it at most once in
//! `keep_alive`, and a request costs no timer operation.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::proxy::connection::Activity;

/// The limits of a client connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    pub(super) header: Duration,
    pub(super) keep_alive: Duration,
    pub(super) body_idle: Duration,
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// By itself.
    Closed,
    /// The request head did not come in time (408 is owed on HTTP/1).
    HeadTimeout,
    /// Idle for too long, or the client took nothing for too long.
    Expired,
}

/// Drives the connection to its end. `finish` is hyper's graceful shutdown: complete what is
/// running, accept nothing new.
pub(super) async fn watch<C: Future>(
    mut connection: Pin<&mut C>,
    finish: fn(Pin<&mut C>),
    activity: &Activity,
    patience: Patience,
    mut drain: watch::Receiver<bool>,
) -> Ended {
    let mut sleep = pin!(tokio::time::sleep(patience.header));
    let mut draining = *drain.borrow_and_update();
    if draining {
        finish(connection.as_mut());
    }
    let mut asked = pin!(drain.changed());
    poll_fn(|cx| {
        if connection.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Ended::Closed);
        }
        if !draining && asked.as_mut().poll(cx).is_ready() {
            draining = true;
            finish(connection.as_mut());
            if connection.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Ended::Closed);
            }
        }
        loop {
            let next = next_deadline(activity, patience);
            if next.at < sleep.deadline().into_std() {
                sleep.as_mut().reset(next.at.into());
            }
            if sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            if next.at <= Instant::now() {
                return Poll::Ready(next.then);
            }
            sleep.as_mut().reset(next.at.into());
        }
    })
    .await
}

struct Deadline {
    at: Instant,
    then: Ended,
}

fn next_deadline(activity: &Activity, patience: Patience) -> Deadline {
    let stalled = activity.stalled_since().map(|since| since + patience.body_idle);
    let waiting = match (activity.head_since(), activity.idle_since()) {
        (Some(since), _) => Deadline { at: since + patience.header, then: Ended::HeadTimeout },
        (None, Some(since)) => Deadline { at: since + patience.keep_alive, then: Ended::Expired },
        // Requests are running: look again later.
        (None, None) => Deadline { at: Instant::now() + patience.keep_alive, then: Ended::Expired },
    };
    match stalled {
        Some(at) if at < waiting.at => Deadline { at, then: Ended::Expired },
        _ => waiting,
    }
}
