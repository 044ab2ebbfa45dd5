//! The paths that are the gateway's own (`[endpoints]`): which there are, and who answers.
//!
//! Every path below the prefix is answered here, if only with 404: nothing of it ever reaches an
//! upstream. An endpoint decides nothing about other requests.

mod backchannel_logout;
mod flood;
mod form;

use http::header::CACHE_CONTROL;
use http::request::Parts;
use http::{HeaderValue, Method, Response, StatusCode};
use hyper::body::Incoming;

pub use self::flood::Flood;
use super::forward::Inbound;
use super::head::Head;
use super::reject::OAuthRefusal;
use super::{Rejection, Trip};
use crate::body::Body;
use crate::policy::Snapshot;

/// What the gateway answers itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Endpoint {
    /// OpenID Connect Back-Channel Logout 1.0.
    BackchannelLogout,
}

impl Endpoint {
    /// The endpoint of this path (behind the prefix), where the configuration offers it.
    fn find(rest: &str, policy: &Snapshot) -> Option<Self> {
        match rest {
            "/backchannel-logout" if policy.issuers.take_logouts() => Some(Self::BackchannelLogout),
            _ => None,
        }
    }

    const fn methods(self) -> &'static [Method] {
        match self {
            Self::BackchannelLogout => &[Method::POST],
        }
    }

    /// The largest body.
    const fn bytes_max(self) -> usize {
        match self {
            Self::BackchannelLogout => 16 * 1024,
        }
    }
}

/// Answers a request for one of the gateway's own paths. Its client is known, and what it may not
/// say has been taken out.
///
/// # Errors
///
/// 404 for what is not offered or not on this host, 405 with Allow, and what the endpoint refuses.
pub(super) async fn answer(
    trip: &mut Trip,
    head: &Head,
    parts: &Parts,
    body: Incoming,
) -> Result<Response<Body>, Rejection> {
    let own = &trip.policy.own_paths;
    let rest = own.rest(parts.uri.path()).filter(|_| own.is_served_on(&head.host()));
    let endpoint = rest.and_then(|rest| Endpoint::find(rest, &trip.policy));
    let endpoint = endpoint.ok_or(Rejection::NotFound)?;
    let methods = endpoint.methods();
    if !methods.contains(&parts.method) {
        let names: Vec<&str> = methods.iter().map(Method::as_str).collect();
        return Err(Rejection::MethodNotAllowed(names.join(", ").into()));
    }
    let bytes_max = endpoint.bytes_max();
    let inbound = Inbound::new(body, &parts.headers, Some(bytes_max as u64))?;
    match endpoint {
        Endpoint::BackchannelLogout => {
            backchannel_logout::answer(trip, &parts.headers, inbound, bytes_max).await
        }
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
fn unavailable(reason: &'static str) -> Rejection {
    let (status, error) = (StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable");
    let description = "try again";
    Rejection::OAuth(Box::new(OAuthRefusal { status, error, description, reason }))
}
