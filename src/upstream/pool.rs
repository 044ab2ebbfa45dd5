//! Idle upstream connections of one worker. Each worker has its own pool: its lock is never
//! contended and a connection never moves between threads.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hyper::client::conn::http1::SendRequest;
use tokio::task::AbortHandle;

use super::Alarm;
use super::connect::Driven;
use crate::body::Body;

/// Idle connections kept for one server, at most; more are closed.
const IDLE_PER_SERVER_MAX: usize = 1024;

/// A connection to one server, for one request after another.
pub(super) struct Line {
    pub(super) sender: SendRequest<Body>,
    /// The task that drives it.
    pub(super) driver: AbortHandle,
    /// For the waits on it.
    pub(super) alarm: Alarm,
}

struct Idle {
    line: Line,
    until: Instant,
}

impl Line {
    pub(super) fn new((sender, driver): Driven) -> Self {
        Self { sender, driver, alarm: Alarm::default() }
    }
}

/// The idle connections of one worker, by [`crate::policy::upstream::Server::key`].
#[derive(Default)]
pub struct Pool {
    idle: Mutex<HashMap<Box<str>, Vec<Idle>, foldhash::fast::RandomState>>,
}

impl Pool {
    /// An empty pool.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }

    /// The most recently used connection to the server that is still open and young enough.
    pub(super) fn take(&self, server: &str, now: Instant) -> Option<Line> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let list = idle.get_mut(server)?;
        while let Some(candidate) = list.pop() {
            if !candidate.line.sender.is_closed() && candidate.until > now {
                return Some(candidate.line);
            }
        }
        None
    }

    /// Gives a connection back for `keep_alive`.
    pub(super) fn put(&self, server: &str, line: Line, keep_alive: Duration) {
        if line.sender.is_closed() {
            return;
        }
        let until = Instant::now() + keep_alive;
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        match idle.get_mut(server) {
            Some(list) if list.len() < IDLE_PER_SERVER_MAX => list.push(Idle { line, until }),
            Some(_) => {}
            None => drop(idle.insert(server.into(), vec![Idle { line, until }])),
        }
    }

    /// Closes connections that have been idle for too long. Called every second by the worker.
    pub fn sweep(&self) {
        let now = Instant::now();
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|_, list| {
            list.retain(|entry| entry.until > now && !entry.line.sender.is_closed());
            !list.is_empty()
        });
    }

    /// How many connections are idle; for tests and the status page.
    #[must_use]
    pub fn idle_connections(&self) -> usize {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.values().map(Vec::len).sum()
    }
}
