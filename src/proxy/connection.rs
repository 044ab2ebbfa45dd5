//! What is known of the connection that a request came on, and whether anything is going on there.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::Waker;
use std::time::{Duration, Instant};

use http::HeaderValue;

use super::client::Peer;
use super::clients::ConnectionPermit;
use crate::policy::tls;
use crate::stream::{Sever, Why};

/// One accepted connection.
#[derive(Debug)]
pub struct Connection {
    /// Who is at the other end, as the PROXY protocol of a trusted peer or the socket tells.
    pub peer: Peer,
    /// The peer's address as a field value.
    pub peer_value: HeaderValue,
    /// Present on TLS listeners.
    pub tls: Option<TlsSession>,
    /// Whether requests are running.
    pub activity: Arc<Activity>,
    /// Counts against the connection limits; makes request permits.
    pub permit: ConnectionPermit,
}

impl Connection {
    /// A connection that was just accepted.
    #[must_use]
    pub fn new(peer: Peer, tls: Option<TlsSession>, permit: ConnectionPermit) -> Self {
        let peer_value = HeaderValue::try_from(peer.address().to_string())
            .unwrap_or_else(|_| HeaderValue::from_static("unknown"));
        Self { peer, peer_value, tls, activity: Activity::new(), permit }
    }
}

/// What the handshake settled.
#[derive(Debug)]
pub struct TlsSession {
    server: Arc<tls::Server>,
    sni: Option<Box<str>>,
    /// The last host that the shown certificate was found to cover.
    covered: Mutex<Box<str>>,
}

impl TlsSession {
    /// A session with the certificates as they were at the handshake.
    #[must_use]
    pub fn new(server: Arc<tls::Server>, sni: Option<&str>) -> Self {
        let covered = Mutex::new(Box::default());
        Self { server, sni: sni.map(Into::into), covered }
    }

    /// Whether this connection's certificate covers `host` (without port).
    #[must_use]
    pub fn covers(&self, host: &str) -> bool {
        let mut covered = self.covered.lock().unwrap_or_else(PoisonError::into_inner);
        if **covered == *host {
            return true;
        }
        let covers = self.server.covers(self.sni.as_deref(), host);
        if covers {
            *covered = host.into();
        }
        covers
    }
}

/// The connection's pulse, read by the task that enforces `[timeouts] header`, `keep_alive` and
/// `body_idle`. Instants are milliseconds since the connection began, plus one; zero is "not now".
#[derive(Debug)]
pub struct Activity {
    began: Instant,
    running: AtomicUsize,
    idle_since: AtomicU64,
    head_since: AtomicU64,
    stalled_since: AtomicU64,
    /// HTTP/2: an answer can wait for its stream's window while the socket flows.
    windows: AtomicBool,
    /// Answers of which a piece waits for its window.
    waiting: AtomicUsize,
    /// When the first of them began to wait, or the last one went on.
    waiting_since: AtomicU64,
    /// Whether the connection is to be cut.
    severed: AtomicBool,
    /// Who drives it.
    driver: OnceLock<Waker>,
}

/// Held while a request is being answered, its response body included.
#[derive(Debug)]
pub struct Running {
    activity: Arc<Activity>,
    waits: bool,
}

impl Activity {
    /// A new connection: the first request head is awaited from now on.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            began: Instant::now(),
            running: AtomicUsize::new(0),
            idle_since: AtomicU64::new(1),
            head_since: AtomicU64::new(1),
            stalled_since: AtomicU64::new(0),
            windows: AtomicBool::new(false),
            waiting: AtomicUsize::new(0),
            waiting_since: AtomicU64::new(0),
            severed: AtomicBool::new(false),
            driver: OnceLock::new(),
        })
    }

    /// This task drives the connection: it is woken when the connection is cut.
    pub fn is_driven_by(&self, waker: &Waker) {
        self.driver.get_or_init(|| waker.clone());
    }

    /// Whether the connection is to be cut: reset, so that nothing that was sent passes for the
    /// whole.
    #[must_use]
    pub fn is_severed(&self) -> bool {
        self.severed.load(Ordering::Acquire)
    }

    /// The connection speaks HTTP/2: from now on [`Running::offers`] and
    /// [`Running::goes_on`] count.
    pub fn has_windows(&self) {
        self.windows.store(true, Ordering::Release);
    }

    /// A request begins.
    pub fn request(self: &Arc<Self>) -> Running {
        self.running.fetch_add(1, Ordering::AcqRel);
        self.head_since.store(0, Ordering::Release);
        Running { activity: self.clone(), waits: false }
    }

    /// Whether no request has come yet.
    #[must_use]
    pub fn awaits_first_request(&self) -> bool {
        self.head_since.load(Ordering::Acquire) == 1 && !self.is_busy()
    }

    /// Bytes arrived from the client.
    pub fn received(&self) {
        if self.running.load(Ordering::Acquire) == 0 && self.head_since.load(Ordering::Acquire) == 0
        {
            self.head_since.store(self.tick(), Ordering::Release);
        }
    }

    /// The client does not take what is written to it.
    pub fn stalled(&self) {
        if self.stalled_since.load(Ordering::Acquire) == 0 {
            self.stalled_since.store(self.tick(), Ordering::Release);
        }
    }

    /// The client took something.
    pub fn flowing(&self) {
        if self.stalled_since.load(Ordering::Relaxed) != 0 {
            self.stalled_since.store(0, Ordering::Release);
        }
    }

    /// Whether requests are running.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.running.load(Ordering::Acquire) > 0
    }

    /// Whether requests are running and nothing of their answers waits for the client: no limit of
    /// the connection can be over.
    #[must_use]
    pub fn is_flowing(&self) -> bool {
        self.is_busy()
            && self.stalled_since.load(Ordering::Acquire) == 0
            && self.waiting.load(Ordering::Acquire) == 0
    }

    /// Since when a request head is incomplete.
    #[must_use]
    pub fn head_since(&self) -> Option<Instant> {
        self.instant(&self.head_since).filter(|_| !self.is_busy())
    }

    /// Since when nothing has been going on.
    #[must_use]
    pub fn idle_since(&self) -> Option<Instant> {
        self.instant(&self.idle_since).filter(|_| !self.is_busy())
    }

    /// Since when the client has taken nothing of what is to be written: nothing from the socket,
    /// or nothing of any answer that waits for its window.
    #[must_use]
    pub fn stalled_since(&self) -> Option<Instant> {
        let waits = self.waiting.load(Ordering::Acquire) > 0;
        let windows = if waits { self.instant(&self.waiting_since) } else { None };
        let socket = self.instant(&self.stalled_since);
        socket.into_iter().chain(windows).min()
    }

    fn tick(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX - 1) + 1
    }

    fn instant(&self, at: &AtomicU64) -> Option<Instant> {
        let tick = at.load(Ordering::Acquire).checked_sub(1)?;
        self.began.checked_add(Duration::from_millis(tick))
    }
}

impl Sever for Activity {
    fn sever(&self, _: Why) {
        self.cut();
    }
}

impl Activity {
    /// Cuts the connection: it is reset.
    pub fn cut(&self) {
        self.severed.store(true, Ordering::Release);
        if let Some(driver) = self.driver.get() {
            driver.wake_by_ref();
        }
    }
}

impl Running {
    /// The connection that the request came on.
    #[must_use]
    pub const fn activity(&self) -> &Arc<Activity> {
        &self.activity
    }

    /// Whether the answer may have to wait for a window of its own.
    #[must_use]
    pub fn has_window(&self) -> bool {
        self.activity.windows.load(Ordering::Acquire)
    }

    /// A piece of the answer was handed over; it may have to wait for the stream's window.
    pub fn offers(&mut self) {
        if self.waits || !self.has_window() {
            return;
        }
        let activity = &self.activity;
        self.waits = true;
        if activity.waiting.fetch_add(1, Ordering::AcqRel) == 0 {
            activity.waiting_since.store(activity.tick(), Ordering::Release);
        }
    }

    /// The next piece is asked for, or nothing is any more: the client took the last one.
    pub fn goes_on(&mut self) {
        if std::mem::take(&mut self.waits) {
            let activity = &self.activity;
            activity.waiting_since.store(activity.tick(), Ordering::Release);
            activity.waiting.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.goes_on();
        self.activity.idle_since.store(self.activity.tick(), Ordering::Release);
        self.activity.running.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_counts_from_its_first_byte_until_its_request() {
        let activity = Activity::new();
        assert!(activity.head_since().is_some(), "the first head is awaited at once");
        let running = activity.request();
        activity.received();
        assert_eq!(activity.head_since(), None, "bytes of a body are no head");
        assert_eq!(activity.idle_since(), None);
        drop(running);
        assert_eq!(activity.head_since(), None);
        assert!(activity.idle_since().is_some());
        activity.received();
        assert!(activity.head_since().is_some());
    }

    #[test]
    fn an_answer_waits_for_its_window_on_http_2_only() {
        let activity = Activity::new();
        let mut running = activity.request();
        running.offers();
        assert_eq!(activity.stalled_since(), None);
        activity.has_windows();
        let mut other = activity.request();
        running.offers();
        other.offers();
        assert!(activity.stalled_since().is_some());
        running.goes_on();
        assert!(activity.stalled_since().is_some(), "the other one still waits");
        drop(other);
        assert_eq!(activity.stalled_since(), None);
    }
}
