//! What the operator typed: the configuration file as plain types, read with every error at once.
//!
//! One file per section of `postern.toml`; the value types (durations, sizes, rates, patterns) each
//! refuse what cannot be meant. [`load`] reads, interpolates, applies `--set` and checks whatever
//! can be decided without opening another file. Compiling the result into what a request runs on
//! is `policy`'s work; nothing here may open a key, a certificate or a connection, except that
//! [`SecretSource::read`] and `${file:}` read what the operator named, when they are asked to.
//!
//! Values carry their place in the file ([`Spanned`]) wherever a later check may want to point at
//! them; a default has the empty place `0..0`, which [`Problems`] prints without a line.

mod problem;
mod source;

mod assignment;
mod interpolate;
mod load;
mod permission;
mod secret_source;
mod shape;
mod suggest;
mod tree;
mod validate;

mod address;
mod algorithm;
mod claim;
mod duration;
mod limit_key;
mod list;
mod pattern;
mod provider;
mod rate;
mod scalar;
mod size;

mod admin;
mod assertion;
mod audit;
mod clients;
mod endpoints;
mod identity;
mod issuer;
mod issuing;
mod limits;
mod listen;
mod log;
mod revocation;
mod route;
mod state;
mod store;
mod streams;
mod timeouts;
mod tls;
mod upstream;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::Deserialize;
pub use toml::Spanned;

pub use address::{Address, PublicUrl, Server};
pub use admin::Admin;
pub use algorithm::Algorithm;
pub use assertion::{Assertion, Bind};
pub use audit::{Audit, LogPath, Personal};
pub use claim::ClaimPath;
pub use clients::{Client, ClientId, Grant, MayRevoke, Scope};
pub use duration::{Leeway, Period, Reuse};
pub use endpoints::{Endpoints, Prefix};
pub use identity::{Identity, Preset};
pub use interpolate::Interpolated;
pub use issuer::{BackchannelLogout, ClaimMap, Issuer, Key, Text};
pub use issuing::{
    CookieName, Cookies, IssuerUrl, Issuing, IssuingKey, IssuingLimit, IssuingLimitKey, SameSite,
    SqlColumns, SqlUsers, UpstreamFields, UpstreamUsers, UserSource, Users,
};
pub use limit_key::{LimitKey, LimitPart};
pub use limits::{AuthFailures, Limits, TokenCache};
pub use list::{List, ListOrOff};
pub use listen::{Listen, Network, ProxyProtocol, Workers};
pub use load::{Environment, Failure, Loaded, Options, load, parse};
pub use log::{AccessLog, Log, LogFormat, LogLevel};
pub use pattern::{HeaderPattern, HostPattern, PathPattern};
pub use permission::{
    PermissionError, check_certificate_key_permissions, check_file_permissions,
    check_key_permissions,
};
pub use problem::{Problem, Problems};
pub use provider::{ClientAuthentication, HostName, IssuerKind, ProviderUrl, TokenType};
pub use rate::Rate;
pub use revocation::{Check, KeyTemplate, OnLoss, OnUnreachable, Revocation, TemplatePart};
pub use route::{
    Auth, Count, Csrf, HostRule, Method, Preflight, Require, RequiredValue, Route, RouteLimit,
    RouteTimeouts, RouteToken, Upgrade,
};
pub use scalar::OrOff;
pub use secret_source::{SecretError, SecretSource};
pub use size::Size;
pub use source::Source;
pub use state::State;
pub use store::{Store, StoreHost, StoreUrl};
pub use streams::{Grace, StreamKind, Streams};
pub use timeouts::Timeouts;
pub use tls::{CertificatePair, ClientAuth, ClientAuthMode, MinVersion, Tls};
pub use upstream::Upstream;

/// The whole file.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// `[listen]`: where requests come in.
    pub listen: Listen,
    /// `[admin]`: the operators' listener.
    pub admin: Admin,
    /// `[state]`: the directory that outlives the process.
    pub state: State,
    /// `[tls]`: certificates and protocol versions.
    pub tls: Tls,
    /// `[store]`: Redis or the embedded store.
    pub store: Store,
    /// `[revocation]`: how the blocklist is asked.
    pub revocation: Revocation,
    /// `[token_cache]`: memory for verified tokens.
    pub token_cache: TokenCache,
    /// `[limits]`: sizes and counts.
    pub limits: Limits,
    /// `[timeouts]`: how long anything may take.
    pub timeouts: Timeouts,
    /// `[streams]`: live connections.
    pub streams: Streams,
    /// `[auth_failures]`: failed verifications per client.
    pub auth_failures: AuthFailures,
    /// `[log]`: the program's log and the access log.
    pub log: Log,
    /// `[audit]`: the log of changes and refusals.
    pub audit: Audit,
    /// `[endpoints]`: the paths that are the gateway's own.
    pub endpoints: Endpoints,
    /// `[[issuers]]`: whose tokens are believed.
    pub issuers: Vec<Spanned<Issuer>>,
    /// `[issuing]`: Postern as an issuer; without it, none.
    pub issuing: Option<Spanned<Issuing>>,
    /// `[[clients]]`: programs that get tokens in their own name, or ask about tokens.
    pub clients: Vec<Spanned<Client>>,
    /// `[upstreams.NAME]`: the services behind.
    pub upstreams: BTreeMap<Spanned<String>, Upstream>,
    /// `[[routes]]`: which request goes where, and who may send it.
    pub routes: Vec<Spanned<Route>>,
    /// `[identity]`: the headers that tell the upstream who is calling.
    pub identity: Identity,
}

impl Config {
    /// What is allowed and may surprise; for `postern check` and the log.
    #[must_use]
    pub fn warnings(&self) -> Problems {
        validate::warnings(self)
    }
}

/// A default: a value that stands nowhere in the file.
fn unplaced<T>(value: T) -> Spanned<T> {
    Spanned::new(0..0, value)
}
