//! What is counted: one [`Metrics`] for the process, encoded as OpenMetrics text when somebody
//! scrapes it. The request path holds handles and adds numbers; it looks nothing up, allocates
//! nothing and locks nothing.
//!
//! It must never take a label value from a request: labels are names from the configuration and
//! words from fixed lists, so that a stranger cannot make series.

mod exposition;
mod series;
mod shards;
mod words;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::registry::Registry;

pub use self::exposition::{Labels, Page, Title};
pub use self::series::{RouteSeries, UpstreamSeries};
use self::shards::Counters;
pub use self::shards::{Counter, Histogram};

/// What the text is, for `Content-Type`. Prometheus has taken it since 2.5.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Every name begins with it.
const PREFIX: &str = "postern";

/// In microseconds: from a local copy over a store on the same machine to the default timeout.
const CHECK_BOUNDS: [u64; 13] =
    [5, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 25_000, 50_000, 100_000, 250_000];

/// Everything that is counted in this process. It outlives every snapshot.
pub struct Metrics {
    /// What other modules have registered.
    registry: Mutex<Registry>,
    /// As long as a snapshot has them: a route that a reload takes away takes its numbers along.
    routes: Mutex<BTreeMap<Box<str>, Weak<RouteSeries>>>,
    upstreams: Mutex<BTreeMap<Box<str>, Weak<UpstreamSeries>>>,
    /// Requests that no route was found for.
    pub unrouted: Arc<RouteSeries>,
    /// Tokens whose facts were in the cache.
    pub token_cache_hits: Counter,
    /// Tokens that had to be verified, or asked about.
    pub token_cache_misses: Counter,
    /// Requests that went on although the blocklist could not be asked.
    pub unchecked_requests: Counter,
    /// How long the blocklist took to answer, or not to.
    pub blocklist_check: Histogram,
    handshakes: Counters<4>,
    connections: [AtomicI64; 3],
    key_refreshes: Mutex<BTreeMap<(Box<str>, &'static str), u64>>,
    reloads: Counters<2>,
}

/// Listeners that connections are counted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listener {
    /// `[listen] https`.
    Https,
    /// `[listen] plain`.
    Plain,
    /// `[listen] http`: redirects.
    Redirect,
}

/// How a TLS handshake ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handshake {
    /// It failed.
    Failed,
    /// The client was too slow.
    TimedOut,
    /// TLS 1.2.
    Tls12,
    /// TLS 1.3.
    Tls13,
}

/// How something that may fail ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Well.
    Success,
    /// Not.
    Failure,
}

impl Outcome {
    const ALL: [Self; 2] = [Self::Success, Self::Failure];

    /// The label.
    const fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failure => "failure",
        }
    }
}

/// An open connection; counted until this is dropped.
pub struct OpenConnection {
    metrics: Arc<Metrics>,
    listener: Listener,
}

impl Metrics {
    /// Nothing counted yet.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            registry: Mutex::new(Registry::with_prefix(PREFIX)),
            routes: Mutex::default(),
            upstreams: Mutex::default(),
            unrouted: Arc::new(RouteSeries::new("")),
            token_cache_hits: Counter::new(),
            token_cache_misses: Counter::new(),
            unchecked_requests: Counter::new(),
            blocklist_check: Histogram::new(&CHECK_BOUNDS),
            handshakes: Counters::new(),
            connections: std::array::from_fn(|_| AtomicI64::new(0)),
            key_refreshes: Mutex::default(),
            reloads: Counters::new(),
        })
    }

    /// Adds metrics of another module; `postern_` comes before their names, and the suffixes
    /// (`_total`, `_seconds`) behind them, by themselves.
    pub fn register(&self, add: impl FnOnce(&mut Registry)) {
        add(&mut self.registry.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// The numbers of the route of this name: the same ones as long as somebody holds them.
    #[must_use]
    pub fn route(&self, name: &str) -> Arc<RouteSeries> {
        find(&self.routes, name, RouteSeries::new)
    }

    /// The numbers of the upstream of this name: the same ones as long as somebody holds them.
    #[must_use]
    pub fn upstream(&self, name: &str) -> Arc<UpstreamSeries> {
        find(&self.upstreams, name, UpstreamSeries::new)
    }

    /// A handshake is over.
    pub fn handshake(&self, ended: Handshake) {
        self.handshakes.add(ended as usize, 1);
    }

    /// A connection was accepted.
    #[must_use]
    pub fn open_connection(self: &Arc<Self>, listener: Listener) -> OpenConnection {
        if let Some(connections) = self.connections.get(listener as usize) {
            connections.fetch_add(1, Ordering::Relaxed);
        }
        OpenConnection { metrics: self.clone(), listener }
    }

    /// Keys of an issuer entry were fetched, or could not be.
    pub fn keys_fetched(&self, issuer: &str, outcome: Outcome) {
        let mut refreshes = self.key_refreshes.lock().unwrap_or_else(PoisonError::into_inner);
        *refreshes.entry((issuer.into(), outcome.as_str())).or_default() += 1;
    }

    /// The configuration was read again, and is in force or not.
    pub fn reloaded(&self, outcome: Outcome) {
        self.reloads.add(outcome as usize, 1);
    }

    /// Everything as OpenMetrics text, with what `more` adds at this moment.
    ///
    /// # Errors
    ///
    /// Whatever a collector could not write.
    pub fn encode(self: &Arc<Self>, more: Box<dyn Collector>) -> Result<String, fmt::Error> {
        let mut scrape = Registry::with_prefix(PREFIX);
        scrape.register_collector(Box::new(exposition::Own(self.clone())));
        scrape.register_collector(more);
        let mut text = String::with_capacity(64 * 1024);
        encode_registry(&mut text, &scrape)?;
        {
            let registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
            encode_registry(&mut text, &registry)?;
        }
        encode_eof(&mut text)?;
        Ok(text)
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl fmt::Debug for OpenConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OpenConnection").field(&self.listener).finish()
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        if let Some(connections) = self.metrics.connections.get(self.listener as usize) {
            connections.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

type Named<T> = Mutex<BTreeMap<Box<str>, Weak<T>>>;

/// The one that somebody holds already, or a new one. Those that nobody holds any more leave.
fn find<T>(named: &Named<T>, name: &str, new: impl FnOnce(&str) -> T) -> Arc<T> {
    let mut named = named.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(held) = named.get(name).and_then(Weak::upgrade) {
        return held;
    }
    named.retain(|_, series| series.strong_count() > 0);
    let made = Arc::new(new(name));
    named.insert(name.into(), Arc::downgrade(&made));
    made
}

/// Those that somebody holds, by name.
fn held<T>(named: &Named<T>) -> Vec<Arc<T>> {
    let named = named.lock().unwrap_or_else(PoisonError::into_inner);
    named.values().filter_map(Weak::upgrade).collect()
}

#[cfg(test)]
mod tests;
