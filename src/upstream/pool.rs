//! Idle upstream connections of one worker. Each worker has its own pool: its lock is never
//! contended and a connection never moves between threads.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hyper::client::conn::http1::SendRequest;

use crate::body::Body;

/// Idle connections kept for one server, at most; more are closed.
const IDLE_PER_SERVER_MAX: usize = 1024;

type Sender = SendRequest<Body>;

struct Idle {
    sender: Sender,
    until: Instant,
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
    pub(super) fn take(&self, server: &str) -> Option<Sender> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let list = idle.get_mut(server)?;
        let now = Instant::now();
        while let Some(candidate) = list.pop() {
            if !candidate.sender.is_closed() && candidate.until > now {
                return Some(candidate.sender);
            }
        }
        None
    }

    /// Gives a connection back for `keep_alive`.
    pub(super) fn put(&self, server: &str, sender: Sender, keep_alive: Duration) {
        if sender.is_closed() {
            return;
        }
        let until = Instant::now() + keep_alive;
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        match idle.get_mut(server) {
            Some(list) if list.len() < IDLE_PER_SERVER_MAX => list.push(Idle { sender, until }),
            Some(_) => {}
            None => drop(idle.insert(server.into(), vec![Idle { sender, until }])),
        }
    }

    /// Closes connections that have been idle for too long. Called every second by the worker.
    pub fn sweep(&self) {
        let now = Instant::now();
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|_, list| {
            list.retain(|entry| entry.until > now && !entry.sender.is_closed());
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
