//! Requests of one worker share round trips.
//!
//! The first request opens a batch and starts its task; whoever comes before that task runs joins.
//! Once the task runs the batch is closed, then handed to the socket: nobody joins a question
//! that may already be under way (invariant 9). No timer is involved: on an idle gateway the task
//! runs at once, on a busy one after the requests that are ready.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::time::Instant;

use super::cluster;
use super::keys::{BatchKeys, Names};
use super::lookup::{self, Findings};
use super::road::Road;
use crate::store::{Error, Found};
use crate::token::Lookup;

/// Tokens in one batch; bounds the size of a question and of its answer.
const TOKENS_MAX: usize = 512;

/// Gathers lookups into batches.
pub(super) struct Batcher {
    road: Road,
    names: Arc<Names>,
    timeout: Duration,
    open: Mutex<Option<Arc<Batch>>>,
}

#[derive(Default)]
struct Batch(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    keys: BatchKeys,
    waiting: Vec<Option<Waker>>,
    outcome: Option<Result<Arc<Answers>, Error>>,
}

/// What a batch was answered.
enum Answers {
    /// By one server, for everybody.
    All(Findings),
    /// By a cluster's nodes, each of which may have failed.
    Each(Vec<Result<Found, Error>>),
}

impl Answers {
    fn of(&self, place: usize) -> Result<Found, Error> {
        match self {
            Self::All(findings) => Ok(findings.of(place)),
            Self::Each(found) => found.get(place).cloned().unwrap_or(Err(Error::Lost)),
        }
    }
}

impl Batcher {
    pub(super) fn new(road: Road, names: Arc<Names>, timeout: Duration) -> Arc<Self> {
        Arc::new(Self { road, names, timeout, open: Mutex::new(None) })
    }

    /// Asks for one token, together with whoever else is asking.
    pub(super) fn look_up(self: &Arc<Self>, lookup: &Lookup) -> Waiting {
        let mut open = lock(&self.open);
        let batch = match &*open {
            Some(batch) => Arc::clone(batch),
            None => {
                let batch = Arc::new(Batch::default());
                let ending = Ending(Arc::clone(&batch));
                tokio::spawn(Arc::clone(self).run(ending, Instant::now() + self.timeout));
                *open = Some(Arc::clone(&batch));
                batch
            }
        };
        let place = {
            let mut inner = lock(&batch.0);
            inner.waiting.push(None);
            inner.keys.add(&self.names, lookup)
        };
        if place + 1 >= TOKENS_MAX {
            *open = None;
        }
        Waiting { batch, place }
    }

    async fn run(self: Arc<Self>, ending: Ending, deadline: Instant) {
        let keys = self.close(&ending.0);
        let link = match &self.road {
            Road::Link(link) => link,
            Road::Cluster { router, markers } => {
                let found = cluster::look_up(router, markers, &keys, deadline).await;
                return ending.0.finish(Ok(Arc::new(Answers::Each(found))));
            }
        };
        let mut outcome = lookup::ask(link, &self.names, &keys, deadline).await;
        if outcome.as_ref().is_err_and(|error| *error == Error::Lost) {
            // The server closed the connection (idle, restarted); asking again changes nothing.
            outcome = lookup::ask(link, &self.names, &keys, deadline).await;
        }
        ending.0.finish(outcome.map(|findings| Arc::new(Answers::All(findings))));
    }

    /// From here on nobody joins.
    fn close(&self, batch: &Arc<Batch>) -> BatchKeys {
        let mut open = lock(&self.open);
        if open.as_ref().is_some_and(|current| Arc::ptr_eq(current, batch)) {
            *open = None;
        }
        std::mem::take(&mut lock(&batch.0).keys)
    }
}

impl Batch {
    fn finish(&self, outcome: Result<Arc<Answers>, Error>) {
        let waiting = {
            let mut inner = lock(&self.0);
            if inner.outcome.is_some() {
                return;
            }
            inner.outcome = Some(outcome);
            std::mem::take(&mut inner.waiting)
        };
        waiting.into_iter().flatten().for_each(Waker::wake);
    }
}

/// Nobody waits for ever: a batch whose task ends in any other way is answered with an error.
struct Ending(Arc<Batch>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.finish(Err(Error::Lost));
    }
}

/// One request's share of a batch.
pub(super) struct Waiting {
    batch: Arc<Batch>,
    place: usize,
}

impl Future for Waiting {
    type Output = Result<Found, Error>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut inner = lock(&self.batch.0);
        match &inner.outcome {
            Some(Ok(answers)) => Poll::Ready(answers.of(self.place)),
            Some(Err(error)) => Poll::Ready(Err(error.clone())),
            None => {
                if let Some(slot) = inner.waiting.get_mut(self.place) {
                    match slot {
                        Some(waker) => waker.clone_from(context.waker()),
                        None => *slot = Some(context.waker().clone()),
                    }
                }
                Poll::Pending
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
