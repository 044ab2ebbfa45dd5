//! A compiled route: where a request goes and what it takes to go there.

use std::sync::Arc;

use http::HeaderValue;

use super::assertion::RouteAssertion;
use super::upstream::{Timeouts, Upstream};
use crate::auth::extract::TokenSource;
use crate::auth::{IssuerFilter, Rule};
use crate::limit::Limit;
use crate::observe::metrics::RouteSeries;

/// One `[[routes]]` entry, ready to use.
pub struct Route {
    /// Its name; the label in logs.
    pub name: Box<str>,
    /// Where requests go.
    pub upstream: Arc<Upstream>,
    /// Who may send them.
    pub access: Access,
    /// Whether the verified token's own field or cookie goes on to the upstream. A query token
    /// never does.
    pub forward_token: bool,
    /// Whether `Upgrade: websocket` is offered to the upstream.
    pub websocket: bool,
    /// Whether a CORS preflight goes on without a token.
    pub forward_preflight: bool,
    /// What proof of origin cookies need.
    pub csrf: Csrf,
    /// Whether the upstream is told of the caller in identity headers.
    pub identity_headers: bool,
    /// The token made for the upstream, where it wants one.
    pub assertion: Option<RouteAssertion>,
    /// The Host that the upstream sees.
    pub host: HostRule,
    /// Whether a request goes on when the blocklist cannot be asked (`on_unreachable = "allow"`).
    pub allow_unreachable: bool,
    /// Largest request body; `None` is unlimited.
    pub body_bytes: Option<u64>,
    /// How long to wait for the upstream.
    pub timeouts: Timeouts,
    /// Limits asked before the token is looked at.
    pub early_limits: Vec<Limit>,
    /// Limits by claim, asked after the token was accepted.
    pub late_limits: Vec<Limit>,
    /// Where its requests are counted; the same over reloads.
    pub series: Arc<RouteSeries>,
}

/// Who may send requests to a route.
#[derive(Debug)]
pub enum Access {
    /// Anybody; a token is not even looked at.
    Public,
    /// Anybody without a token, or with a good one.
    Optional(Demand),
    /// Only with a good token.
    Required(Demand),
}

/// What proof of origin an unsafe request, or an upgrade, needs when its token came in a cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Csrf {
    /// With Postern's session cookie the double-submit token; with an application's own cookie
    /// Origin or Sec-Fetch-Site.
    DoubleSubmit,
    /// None.
    Off,
    /// Origin or Sec-Fetch-Site, whosever cookie it is.
    Origin,
}

/// What a token must be for a route.
#[derive(Debug)]
pub struct Demand {
    /// Where it may stand in the request.
    pub source: TokenSource,
    /// Whose it may be.
    pub issuers: IssuerFilter,
    /// What it must allow.
    pub rule: Rule,
}

/// The Host field of the forwarded request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostRule {
    /// As the client sent it.
    Preserve,
    /// The server's own name.
    Upstream,
    /// This one.
    Literal(HeaderValue),
}

impl Route {
    /// What a token must be; `None` on public routes.
    #[must_use]
    pub const fn demand(&self) -> Option<&Demand> {
        match &self.access {
            Access::Public => None,
            Access::Optional(demand) | Access::Required(demand) => Some(demand),
        }
    }

    /// Whether a limit looks into the body, so that it is read before it is forwarded.
    #[must_use]
    pub fn reads_body(&self) -> bool {
        self.early_limits.iter().chain(&self.late_limits).any(Limit::needs_body)
    }
}
