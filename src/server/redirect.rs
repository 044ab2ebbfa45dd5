//! The plain listener that sends everybody to HTTPS and serves nothing else (R51).

use http::header::{CONTENT_LENGTH, HOST, LOCATION};
use http::{HeaderValue, Request, Response, StatusCode};
use hyper::body::Incoming;

use crate::body::Body;
use crate::policy::Snapshot;
use crate::proxy::Outgoing;

/// 308 to `public_url`, or to the request's own host when a route names it; otherwise 400: a
/// redirect to whatever the Host field says would be an open redirect.
#[must_use]
pub fn redirect(policy: &Snapshot, request: &Request<Incoming>) -> Response<Outgoing> {
    let mut response = Response::new(Outgoing::plain(Body::Empty));
    response.headers_mut().insert(CONTENT_LENGTH, 0.into());
    match location(policy, request) {
        Some(location) => {
            *response.status_mut() = StatusCode::PERMANENT_REDIRECT;
            response.headers_mut().insert(LOCATION, location);
        }
        None => *response.status_mut() = StatusCode::BAD_REQUEST,
    }
    response
}

fn location(policy: &Snapshot, request: &Request<Incoming>) -> Option<HeaderValue> {
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    if !path.starts_with('/') {
        return None;
    }
    let origin = match &policy.public_url {
        Some(url) => url.as_str().to_owned(),
        None => {
            let mut hosts = request.headers().get_all(HOST).iter();
            let host = hosts.next()?.to_str().ok()?;
            let authority: http::uri::Authority = host.parse().ok()?;
            let name = authority.host().to_ascii_lowercase();
            if hosts.next().is_some() || !policy.router.names_host(&name) {
                return None;
            }
            format!("https://{name}")
        }
    };
    HeaderValue::try_from(format!("{origin}{path}")).ok()
}
