//! A compiled upstream: the servers behind a name and how to reach them.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::HeaderValue;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;

use super::assertion::Assertion;
use crate::observe::metrics::UpstreamSeries;

/// The servers behind one name.
#[derive(Debug)]
pub struct Upstream {
    /// The name in `[upstreams.NAME]`; the label in logs.
    pub name: Box<str>,
    /// At least one server.
    pub servers: Vec<Arc<Server>>,
    /// How long an idle connection is kept for reuse. Below the server's own limit, so that the
    /// gateway closes first (Node's default is 5 s).
    pub keep_alive: Duration,
    /// The token made for it.
    pub assertion: Option<Arc<Assertion>>,
    /// Whether it gets identity headers.
    pub identity_headers: bool,
    /// Where its answers are counted; the same over reloads.
    pub series: Arc<UpstreamSeries>,
    turn: AtomicUsize,
}

/// One server of an upstream.
#[derive(Debug)]
pub struct Server {
    /// `scheme://host:port` and, for TLS, the trust settings' fingerprint: servers with equal keys
    /// share idle connections, across reloads too.
    pub key: Box<str>,
    /// Host name or address to connect to.
    pub host: Box<str>,
    /// Port to connect to.
    pub port: u16,
    /// The Host field for `host = "upstream"`.
    pub authority: HeaderValue,
    /// Present for `https` servers.
    pub tls: Option<ServerTls>,
}

/// How to verify an `https` server.
#[derive(Debug)]
pub struct ServerTls {
    /// The roots and protocol versions.
    pub config: Arc<ClientConfig>,
    /// The name that the certificate must carry.
    pub name: ServerName<'static>,
}

impl Upstream {
    /// An upstream of these servers.
    #[must_use]
    pub fn new(
        servers: Vec<Arc<Server>>,
        keep_alive: Duration,
        series: Arc<UpstreamSeries>,
    ) -> Self {
        let name = series.name().into();
        let (assertion, identity_headers, turn) = (None, true, AtomicUsize::new(0));
        Self { name, servers, keep_alive, assertion, identity_headers, series, turn }
    }

    /// The servers in the order in which to try them: each request starts one further on.
    pub fn in_turn(&self) -> impl Iterator<Item = &Arc<Server>> {
        let start = if self.servers.len() > 1 {
            self.turn.fetch_add(1, Ordering::Relaxed) % self.servers.len()
        } else {
            0
        };
        self.servers.iter().cycle().skip(start).take(self.servers.len())
    }
}

impl fmt::Display for Upstream {
    /// Its servers' addresses, for log lines.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, server) in self.servers.iter().enumerate() {
            let comma = if at > 0 { ", " } else { "" };
            write!(f, "{comma}{}:{}", server.host, server.port)?;
        }
        Ok(())
    }
}

/// How long to wait for an upstream.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// For a connection, TLS included.
    pub connect: Duration,
    /// For the response head, from the moment the request was handed over.
    pub response: Duration,
    /// Between two pieces of a body, in either direction.
    pub body_idle: Duration,
}
