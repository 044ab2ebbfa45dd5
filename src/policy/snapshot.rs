//! Everything that is derived from the configuration and its files: immutable, without locks and
//! without I/O. A request takes one and keeps it.

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use serde_json::{Map, Value};

use super::canonical::folded;
use super::client::Clients;
use super::cookies::Cookies;
use super::identity::IdentityHeaders;
use super::issuing::Issuing;
use super::origin::Origin;
use super::own_paths::OwnPaths;
use super::provider::{Introspection, KeySource};
use super::reserved::ReservedNames;
use super::route::Route;
use super::router::{Found, Router};
use super::tls;
use super::trusted::TrustedProxies;
use crate::auth::Issuers;
use crate::limit::{AuthFailures, Quota};

/// One compiled configuration. A clone is made when a provider publishes other keys.
#[derive(Clone)]
pub struct Snapshot {
    /// Host, path, method → index into `routes`.
    pub router: Router,
    /// The same with every path as a case-blind upstream reads it.
    pub folded_router: Router,
    /// Whether any route's path is spelled otherwise than its folded form.
    pub paths_fold: bool,
    /// The paths that no route has.
    pub own_paths: OwnPaths,
    /// The routes, in the order of the file.
    pub routes: Vec<Arc<Route>>,
    /// Whose tokens are accepted.
    pub issuers: Issuers,
    /// Postern as an issuer; `None` when it issues nothing.
    pub issuing: Option<Arc<Issuing>>,
    /// The public keys of everything that the gateway signs (RFC 7517 §5): access tokens and
    /// assertions. Each has `kid`, `alg` and `use`, no two the same `kid`; never a shared secret.
    pub published_keys: Arc<[Map<String, Value>]>,
    /// Who may get tokens in its own name; nobody when Postern issues nothing.
    pub clients: Arc<Clients>,
    /// The public URL of `[endpoints] prefix`, as far as anybody knows it.
    pub endpoints_url: Option<String>,
    /// Where issuers publish their keys.
    pub key_sources: Vec<Arc<KeySource>>,
    /// Whom to ask about opaque tokens.
    pub introspections: Vec<Arc<Introspection>>,
    /// Names that only the gateway may speak.
    pub reserved: ReservedNames,
    /// What the upstream is told of the caller.
    pub identity: IdentityHeaders,
    /// Tells this table from those of other snapshots; equal tables share it.
    pub identity_table: u64,
    /// Peers that are believed.
    pub trusted: TrustedProxies,
    /// Sizes and counts.
    pub limits: RequestLimits,
    /// How long a client may take.
    pub timeouts: ClientTimeouts,
    /// When live connections end.
    pub streams: StreamRules,
    /// Certificates; absent without an HTTPS listener.
    pub tls: Option<Arc<tls::Server>>,
    /// The origin that browsers know.
    pub public_url: Option<Origin>,
    /// Whether the blocklist is asked at all (`check` is not `"off"`); which way is its business.
    pub check_blocklist: bool,
    /// The limit on failed verifications, with the rate that it was made for.
    pub failures: Option<(Quota, Arc<AuthFailures>)>,
}

/// `[limits]`, as far as a request meets them.
#[derive(Clone, Copy, Debug)]
pub struct RequestLimits {
    /// Names and values of all fields together, in bytes.
    pub header_bytes: usize,
    /// Fields.
    pub header_count: usize,
    /// The target as sent, in bytes.
    pub target_bytes: usize,
    /// The Authorization field, and a token wherever it stands, in bytes.
    pub authorization_bytes: usize,
    /// Open connections.
    pub connections: usize,
    /// Open connections of one client.
    pub connections_per_client: u32,
    /// Open requests of one client.
    pub requests_per_client: u32,
}

/// `[timeouts]`, as far as a client meets them.
#[derive(Clone, Copy, Debug)]
pub struct ClientTimeouts {
    /// The TLS handshake, a PROXY protocol header included.
    pub handshake: Duration,
    /// The whole request head.
    pub header: Duration,
    /// Between two pieces of a body, and for the client to take something.
    pub body_idle: Duration,
    /// Between two requests.
    pub keep_alive: Duration,
    /// From the wish to stop until connections are cut.
    pub drain: Duration,
}

/// `[streams]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamRules {
    /// Whether a WebSocket ends with its token's `exp`.
    pub websocket: bool,
    /// Whether an event stream does.
    pub sse: bool,
    /// Whether a gRPC stream does.
    pub grpc: bool,
    /// How long after `exp`; and how long a stream goes on while the blocklist cannot be asked.
    pub grace: Duration,
}

impl Snapshot {
    /// Whether both were compiled together, so that they differ in published keys at most.
    #[must_use]
    pub fn is_same_configuration(&self, other: &Self) -> bool {
        let mut pairs = self.routes.iter().zip(&other.routes);
        self.routes.len() == other.routes.len() && pairs.all(|(one, two)| Arc::ptr_eq(one, two))
    }

    /// Postern's own cookies, where it sets any.
    #[must_use]
    pub fn cookies(&self) -> Option<&Cookies> {
        self.issuing.as_ref()?.cookies.as_ref()
    }

    /// Whether an upstream that ignores case, or dots and spaces at a segment's end, would read
    /// this path as another route's than the one that was found.
    #[must_use]
    pub fn reads_twice(&self, host: &str, path: &str, method: &Method, found: &Found<'_>) -> bool {
        let reading = folded(path);
        if reading.is_none() && !self.paths_fold {
            return false;
        }
        self.folded_router.find(host, reading.as_deref().unwrap_or(path), method) != *found
    }
}
