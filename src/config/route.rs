//! `[[routes]]`: which request goes where, and who may send it.

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::Spanned;

use super::duration::Period;
use super::issuer::Text;
use super::limit_key::LimitKey;
use super::list::List;
use super::pattern::{HostPattern, PathPattern};
use super::rate::Rate;
use super::revocation::OnUnreachable;
use super::scalar::{OrOff, Scalar};
use super::size::Size;
use super::unplaced;

/// One route.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// Its name: for logs and metrics; unique.
    pub name: Spanned<String>,
    /// The hosts it serves; default any.
    #[serde(default)]
    pub hosts: List<HostPattern>,
    /// The path it serves.
    pub path: Spanned<PathPattern>,
    /// The methods it serves; default all but TRACE and CONNECT. GET includes HEAD.
    #[serde(default)]
    pub methods: List<Method>,
    /// The upstream's name.
    pub upstream: Spanned<String>,
    /// Whether a token is needed; default required.
    #[serde(default = "default_auth")]
    pub auth: Spanned<Auth>,
    /// The issuer entries whose tokens count; default all.
    #[serde(default)]
    pub issuers: List<Text>,
    /// What the token must say; default nothing.
    #[serde(default = "default_require")]
    pub require: Spanned<Require>,
    /// Where else a token may be; default in Authorization only.
    #[serde(default)]
    pub token: RouteToken,
    /// Whether the upstream sees the Authorization field; default true.
    #[serde(default = "default_forward_token")]
    pub forward_token: Spanned<bool>,
    /// Protocols a connection may be upgraded to; default none.
    #[serde(default)]
    pub upgrade: List<Upgrade>,
    /// What happens to a CORS preflight, which carries no token; default deny.
    #[serde(default = "default_preflight")]
    pub preflight: Spanned<Preflight>,
    /// How cookies are guarded against forged requests; by default an application's own by Origin,
    /// Postern's by a double-submit token.
    #[serde(default)]
    pub csrf: Option<Spanned<Csrf>>,
    /// The Host that the upstream sees; default the client's.
    #[serde(default = "default_host")]
    pub host: Spanned<HostRule>,
    /// Overrides `[revocation] on_unreachable`.
    #[serde(default)]
    pub on_unreachable: Option<Spanned<OnUnreachable>>,
    /// Overrides `[limits] body_bytes`.
    #[serde(default)]
    pub body_bytes: Option<Spanned<OrOff<Size>>>,
    /// Override `[timeouts]`.
    #[serde(default)]
    pub timeouts: RouteTimeouts,
    /// Rate limits; default none.
    #[serde(default)]
    pub limits: Vec<Spanned<RouteLimit>>,
}

fn default_auth() -> Spanned<Auth> {
    unplaced(Auth::Required)
}

fn default_require() -> Spanned<Require> {
    unplaced(Require::default())
}

fn default_forward_token() -> Spanned<bool> {
    unplaced(true)
}

fn default_preflight() -> Spanned<Preflight> {
    unplaced(Preflight::Deny)
}

fn default_host() -> Spanned<HostRule> {
    unplaced(HostRule::Preserve)
}

/// Whether a token is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Auth {
    /// No; an Authorization field passes unverified.
    None,
    /// A request without one is anonymous; a bad one is refused.
    Optional,
    /// Yes.
    Required,
}

/// A method: an upper-case token (RFC 9110 §5.6.2), never TRACE or CONNECT (R21).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Scalar")]
pub struct Method(http::Method);

impl Method {
    /// The method.
    #[must_use]
    pub const fn get(&self) -> &http::Method {
        &self.0
    }
}

impl TryFrom<Scalar> for Method {
    type Error = String;

    fn try_from(scalar: Scalar) -> Result<Self, String> {
        let text = scalar.text("a method such as \"GET\"")?;
        if matches!(text.as_str(), "TRACE" | "CONNECT") {
            return Err(format!("{text} is never served"));
        }
        let upper = !text.bytes().any(|byte| byte.is_ascii_lowercase());
        match http::Method::from_bytes(text.as_bytes()) {
            Ok(method) if upper && text.len() <= 32 => Ok(Self(method)),
            Ok(_) | Err(_) => Err(format!(
                "{text:?} is not a method\nmethods are upper-case words and case counts: \"GET\""
            )),
        }
    }
}

/// What a token must say; everything given must hold.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Require {
    /// All of these roles.
    pub roles: List<Text>,
    /// All of these scopes.
    pub scopes: List<Text>,
    /// All of these permissions.
    pub permissions: List<Text>,
    /// At least one of these roles, when any is given.
    pub any_roles: List<Text>,
    /// At least one of these scopes, when any is given.
    pub any_scopes: List<Text>,
    /// At least one of these permissions, when any is given.
    pub any_permissions: List<Text>,
    /// Claims (a name or JSON Pointer) with the value they must have.
    pub claims: BTreeMap<Spanned<String>, Spanned<RequiredValue>>,
}

impl Require {
    /// Whether any token satisfies it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// The value that a claim must have, of the same JSON type.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Scalar")]
pub enum RequiredValue {
    /// A boolean.
    Boolean(bool),
    /// A whole number.
    Integer(i64),
    /// A string.
    Text(String),
}

impl TryFrom<Scalar> for RequiredValue {
    type Error = String;

    fn try_from(scalar: Scalar) -> Result<Self, String> {
        Ok(match scalar {
            Scalar::Boolean(value) => Self::Boolean(value),
            Scalar::Integer(number) => Self::Integer(number),
            Scalar::Text(text) => Self::Text(text),
        })
    }
}

/// Where else than in Authorization a token may be; it is removed before forwarding.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RouteToken {
    /// A cookie's name; empty for none.
    pub cookie: Spanned<String>,
    /// A query parameter's name; empty for none.
    pub query: Spanned<String>,
}

impl Default for RouteToken {
    fn default() -> Self {
        Self { cookie: unplaced(String::new()), query: unplaced(String::new()) }
    }
}

/// A protocol that a connection may be upgraded to (R32).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Scalar")]
pub enum Upgrade {
    /// RFC 6455.
    Websocket,
}

impl TryFrom<Scalar> for Upgrade {
    type Error = String;

    fn try_from(scalar: Scalar) -> Result<Self, String> {
        let text = scalar.text("\"websocket\"")?;
        if text == "websocket" {
            return Ok(Self::Websocket);
        }
        Err(format!("{text:?} is not a protocol to upgrade to\nwrite \"websocket\""))
    }
}

/// What happens to a CORS preflight (R23).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Preflight {
    /// It needs what every request of the route needs.
    Deny,
    /// A real one goes to the upstream without a token.
    Forward,
}

/// How cookies are guarded against forged requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Csrf {
    /// By a token that only a page of the same origin can know; Postern's own cookie alone.
    DoubleSubmit,
    /// Not at all.
    Off,
    /// By Origin and Sec-Fetch-Site.
    Origin,
}

/// The Host that the upstream sees.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Scalar")]
pub enum HostRule {
    /// This one, whatever the client sent.
    Literal(String),
    /// The client's.
    Preserve,
    /// The server's own, from its URL.
    Upstream,
}

impl TryFrom<Scalar> for HostRule {
    type Error = String;

    fn try_from(scalar: Scalar) -> Result<Self, String> {
        let text = scalar.text("\"preserve\", \"upstream\" or a host")?;
        match text.as_str() {
            "preserve" => Ok(Self::Preserve),
            "upstream" => Ok(Self::Upstream),
            host => match host.parse::<http::uri::Authority>() {
                Ok(authority) if !host.contains('@') && !authority.host().is_empty() => {
                    Ok(Self::Literal(text))
                }
                Ok(_) | Err(_) => Err(format!(
                    "{text:?} is not a host\nwrite \"preserve\", \"upstream\" or a host such as \
                     \"orders.internal\""
                )),
            },
        }
    }
}

/// Overrides of `[timeouts]` for one route.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RouteTimeouts {
    /// Between two pieces of a body.
    pub body_idle: Option<Spanned<Period>>,
    /// Connecting to an upstream server.
    pub connect: Option<Spanned<Period>>,
    /// The head of the upstream's response.
    pub response: Option<Spanned<Period>>,
}

/// One rate limit of a route.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouteLimit {
    /// What is counted by.
    pub by: Spanned<LimitKey>,
    /// How many in how long.
    pub rate: Spanned<Rate>,
    /// Which requests count; default all.
    #[serde(default)]
    pub count: Count,
    /// Whether all gateways of the store count together; default false.
    #[serde(default)]
    pub shared: bool,
}

/// Which requests count against a limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Count {
    /// Every one.
    #[default]
    All,
    /// Those that the upstream answers 401 or 403.
    Failures,
}
