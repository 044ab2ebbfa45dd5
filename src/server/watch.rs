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
    /// Cut from outside.
    Severed,
}

/// A connection that has been told to end, or that never had a request, gets this long while
/// draining.
const LINGER: Duration = Duration::from_secs(1);

/// How far a connection is from its end.
#[derive(Clone, Copy)]
enum Parting {
    /// It goes on.
    No,
    /// The gateway drains. A connection that had a request is told at once; one that never had any
    /// at this instant, for its first request is on the way, most likely.
    Due(Instant),
    /// hyper was told: complete what is running, accept nothing new.
    Told(Instant),
}

/// Drives the connection to its end. `finish` is hyper's graceful shutdown: complete what is
/// running, accept nothing new, say goodbye (`close_notify`, GOAWAY).
pub(super) async fn watch<C: Future>(
    mut connection: Pin<&mut C>,
    finish: fn(Pin<&mut C>),
    activity: &Activity,
    patience: Patience,
    mut drain: watch::Receiver<bool>,
) -> Ended {
    let mut sleep = pin!(tokio::time::sleep(patience.header));
    // Whether the timer and the wish to drain know this task, so that they wake it by themselves.
    let mut known = false;
    let wish = drain.clone();
    let mut asked = pin!(drain.wait_for(|draining| *draining));
    let mut parting = Parting::No;
    poll_fn(|cx| {
        if connection.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Ended::Closed);
        }
        if activity.is_severed() {
            return Poll::Ready(Ended::Severed);
        }
        if !known {
            activity.is_driven_by(cx.waker());
        }
        let quiet = known && activity.is_flowing() && !sleep.is_elapsed();
        if quiet && matches!(parting, Parting::No) && !wish.has_changed().unwrap_or(true) {
            return Poll::Pending;
        }
        known = true;
        if matches!(parting, Parting::No) && asked.as_mut().poll(cx).is_ready() {
            parting = Parting::Due(Instant::now() + LINGER);
        }
        loop {
            let due = matches!(parting, Parting::Due(_)) && !activity.awaits_first_request();
            let then = if due {
                Then::Part
            } else {
                let next = next_deadline(activity, patience, parting);
                if next.at < sleep.deadline().into_std() {
                    sleep.as_mut().reset(next.at.into());
                }
                if sleep.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
                if next.at > Instant::now() {
                    sleep.as_mut().reset(next.at.into());
                    continue;
                }
                next.then
            };
            match then {
                Then::End(ended) => return Poll::Ready(ended),
                Then::Look => {}
                Then::Part => {
                    parting = Parting::Told(Instant::now());
                    finish(connection.as_mut());
                    if connection.as_mut().poll(cx).is_ready() {
                        return Poll::Ready(Ended::Closed);
                    }
                }
            }
        }
    })
    .await
}

struct Deadline {
    at: Instant,
    then: Then,
}

#[derive(Clone, Copy)]
enum Then {
    /// End it as it is.
    End(Ended),
    /// Look again.
    Look,
    /// Tell it to end.
    Part,
}

fn next_deadline(activity: &Activity, patience: Patience, parting: Parting) -> Deadline {
    let next = unless_stalled(activity, patience, parting);
    match activity.stalled_since().map(|since| since + patience.body_idle) {
        Some(at) if at < next.at => Deadline { at, then: Then::End(Ended::Expired) },
        _ => next,
    }
}

fn unless_stalled(activity: &Activity, patience: Patience, parting: Parting) -> Deadline {
    let first = activity.awaits_first_request();
    match (parting, activity.head_since(), activity.idle_since()) {
        (Parting::Due(at), ..) => Deadline { at, then: Then::Part },
        (Parting::No, Some(since), _) => {
            Deadline { at: since + patience.header, then: Then::End(Ended::HeadTimeout) }
        }
        (Parting::Told(_), Some(since), _) if !first => {
            Deadline { at: since + patience.header, then: Then::End(Ended::HeadTimeout) }
        }
        (Parting::No, None, Some(since)) => {
            Deadline { at: since + patience.keep_alive, then: Then::Part }
        }
        (Parting::Told(told), _, Some(since)) => {
            Deadline { at: told.max(since) + LINGER, then: Then::End(Ended::Expired) }
        }
        // Requests are running. Streams of HTTP/2 stall and end without waking this task.
        (_, _, None) => {
            let pulse = patience.keep_alive.min(patience.body_idle);
            Deadline { at: Instant::now() + pulse, then: Then::Look }
        }
    }
}
