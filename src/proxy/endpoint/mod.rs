//! The paths that are the gateway's own (`[endpoints]`): which there are, and who answers.
//!
//! Every path below the prefix is answered here, if only with 404: nothing of it ever reaches an
//! upstream. An endpoint decides nothing about other requests.

mod backchannel_logout;
mod browser;
mod client;
mod client_credentials;
mod csrf;
pub(in crate::proxy) mod errand;
mod fields;
mod flood;
pub(in crate::proxy) mod form;
pub(in crate::proxy) mod grant;
mod introspect;
mod judged;
mod limits;
mod login;
pub(in crate::proxy) mod login_page;
mod logout;
mod oauth;
mod parameters;
mod presented;
mod published;
pub(in crate::proxy) mod refresh;
mod revoke;
mod sessions;
mod token;

use std::time::Duration;

use http::header::CACHE_CONTROL;
use http::request::Parts;
use http::{HeaderValue, Method, Response, StatusCode};
use hyper::body::Incoming;
use tokio::time::Instant;

pub use self::flood::Flood;
use super::forward::Inbound;
use super::head::Head;
use super::reject::OAuthRefusal;
use super::{Rejection, Trip};
use crate::body::Body;
use crate::policy::Snapshot;
use crate::policy::own_paths::Standing;

/// How long a body may take as a whole. `[timeouts] body_idle` bounds the gap between its pieces
/// alone: a caller who trickles would be judged by what held when it began.
const BODY_TIME: Duration = Duration::from_secs(10);

/// What the gateway answers itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Endpoint {
    /// OpenID Connect Back-Channel Logout 1.0.
    BackchannelLogout,
    /// The double-submit token of a browser's session.
    Csrf,
    /// RFC 7662.
    Introspect,
    /// The public keys (RFC 7517).
    Jwks,
    /// A name and a password for tokens; and the page that asks for them.
    Login,
    /// Ends one's own session, or all.
    Logout,
    /// A refresh token for new tokens.
    Refresh,
    /// RFC 7009.
    Revoke,
    /// One's own sessions.
    Sessions,
    /// One of one's own sessions.
    Session,
    /// RFC 6749 §3.2.
    Token,
    /// The metadata (RFC 8414 §3).
    WellKnown,
}

/// One request for an endpoint.
struct Call<'r> {
    head: &'r Head,
    parts: &'r Parts,
    inbound: Inbound,
    /// The largest body.
    bytes_max: usize,
}

impl Endpoint {
    /// The endpoint of this path (behind the prefix), where the configuration offers it.
    fn find(rest: &str, policy: &Snapshot) -> Option<Self> {
        let issues = policy.issuing.is_some();
        match rest {
            "/backchannel-logout" if policy.issuers.take_logouts() => Some(Self::BackchannelLogout),
            "/csrf" if policy.cookies().is_some() => Some(Self::Csrf),
            "/introspect" if issues => Some(Self::Introspect),
            "/jwks.json" if issues || !policy.published_keys.is_empty() => Some(Self::Jwks),
            "/login" if issues => Some(Self::Login),
            "/logout" if issues => Some(Self::Logout),
            "/refresh" if issues => Some(Self::Refresh),
            "/revoke" if issues => Some(Self::Revoke),
            "/sessions" if issues => Some(Self::Sessions),
            "/token" if issues => Some(Self::Token),
            below if issues && session_named(below).is_some() => Some(Self::Session),
            _ => None,
        }
    }

    fn methods(self, policy: &Snapshot) -> &'static [Method] {
        match self {
            Self::Csrf | Self::Jwks | Self::Sessions | Self::WellKnown => {
                &[Method::GET, Method::HEAD]
            }
            Self::Login if policy.cookies().is_some_and(|cookies| cookies.login_page) => {
                &[Method::GET, Method::HEAD, Method::POST]
            }
            Self::Session => &[Method::DELETE],
            Self::BackchannelLogout
            | Self::Introspect
            | Self::Login
            | Self::Logout
            | Self::Refresh
            | Self::Revoke
            | Self::Token => &[Method::POST],
        }
    }

    /// The largest body.
    const fn bytes_max(self) -> usize {
        match self {
            Self::Csrf | Self::Jwks | Self::Session | Self::Sessions | Self::WellKnown => 0,
            Self::Login | Self::Logout | Self::Refresh => 8 * 1024,
            Self::BackchannelLogout | Self::Introspect | Self::Revoke | Self::Token => 16 * 1024,
        }
    }
}

/// The sid in `/sessions/{sid}`.
fn session_named(rest: &str) -> Option<&str> {
    rest.strip_prefix("/sessions/").filter(|sid| !sid.is_empty() && !sid.contains('/'))
}

/// Answers a request for one of the gateway's own paths. Its client is known, and what it may not
/// say has been taken out.
///
/// # Errors
///
/// 404 for what is not offered or not on this host, 405 with Allow, 408 for a body that is not
/// there in time, and what the endpoint refuses.
pub(super) async fn answer(
    trip: &mut Trip,
    head: &Head,
    parts: &Parts,
    body: Incoming,
) -> Result<Response<Body>, Rejection> {
    let own = &trip.policy.own_paths;
    let rest = own.rest(parts.uri.path()).filter(|_| own.is_served_on(&head.host()));
    let endpoint = match own.standing(parts.uri.path()) {
        Standing::WellKnown => Some(Endpoint::WellKnown),
        _ => rest.and_then(|rest| Endpoint::find(rest, &trip.policy)),
    };
    let endpoint = endpoint.ok_or(Rejection::NotFound)?;
    let methods = endpoint.methods(&trip.policy);
    if !methods.contains(&parts.method) {
        let names: Vec<&str> = methods.iter().map(Method::as_str).collect();
        return Err(Rejection::MethodNotAllowed(names.join(", ").into()));
    }
    let bytes_max = endpoint.bytes_max();
    let inbound = Inbound::new(body, &parts.headers, Some(bytes_max as u64))?;
    let inbound = inbound.by(Instant::now() + BODY_TIME);
    let call = Call { head, parts, inbound, bytes_max };
    match endpoint {
        Endpoint::BackchannelLogout => {
            let Call { inbound, .. } = call;
            backchannel_logout::answer(trip, &parts.headers, inbound, bytes_max).await
        }
        Endpoint::Csrf => csrf::answer(trip, call).await,
        Endpoint::Introspect => introspect::answer(trip, call).await,
        Endpoint::Jwks => Ok(published::jwks(trip, &parts.method)),
        Endpoint::Login if parts.method == Method::POST => login::answer(trip, call).await,
        Endpoint::Login => login_page::answer(trip, call).await,
        Endpoint::Logout => logout::answer(trip, call).await,
        Endpoint::Refresh => refresh::answer(trip, call).await,
        Endpoint::Revoke => revoke::answer(trip, call).await,
        Endpoint::Session => sessions::end_one(trip, call).await,
        Endpoint::Sessions => sessions::list(trip, call).await,
        Endpoint::Token => token::answer(trip, call).await,
        Endpoint::WellKnown => published::well_known(trip, &parts.method),
    }
}

/// 200 without a body, for this client alone and this once.
fn done() -> Response<Body> {
    let mut response = Response::new(Body::Empty);
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// 400 in OAuth's form.
fn invalid(reason: &'static str, description: &'static str) -> Rejection {
    let (status, error) = (StatusCode::BAD_REQUEST, "invalid_request");
    Rejection::OAuth(Box::new(OAuthRefusal { status, error, description, reason }))
}

/// 503 in OAuth's form.
pub(super) fn unavailable(reason: &'static str) -> Rejection {
    let (status, error) = (StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable");
    let description = "try again";
    Rejection::OAuth(Box::new(OAuthRefusal { status, error, description, reason }))
}
