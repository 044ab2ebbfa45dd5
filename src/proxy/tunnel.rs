//! WebSocket: after the upstream's own 101, and not a byte before (R32, CVE-2026-2833), the two
//! connections are joined.

use std::sync::Arc;

use http::header::{CONNECTION, UPGRADE};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Response, Version};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::copy_bidirectional;

use super::connection::Connection;
use super::guard::{Hop, Upgrade};
use super::outgoing::Ending;
use super::record::Decision;
use crate::body::Body;

const WEBSOCKET: HeaderValue = HeaderValue::from_static("websocket");

/// Whether the client asks for a WebSocket (RFC 6455 §4.1).
#[must_use]
pub fn is_asked_for(parts: &Parts, hop: &Hop) -> bool {
    hop.upgrade == Upgrade::WebSocket
        && parts.version == Version::HTTP_11
        && parts.method == Method::GET
}

/// Puts the two fields of a WebSocket handshake (back) onto a request or response.
pub fn mark(headers: &mut HeaderMap) {
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, WEBSOCKET);
}

/// Whether the upstream's 101 is for the protocol that was asked for.
#[must_use]
pub fn is_websocket(hop: &Hop) -> bool {
    hop.upgrade == Upgrade::WebSocket
}

/// Joins the connections once both sides have switched; ends when either side does.
pub fn join(
    client: OnUpgrade,
    mut response: Response<Incoming>,
    mut ending: Option<Ending>,
    connection: Arc<Connection>,
) -> Response<Body> {
    let upstream = hyper::upgrade::on(&mut response);
    let (parts, _) = response.into_parts();
    let mut answer = Response::new(Body::Empty);
    *answer.status_mut() = parts.status;
    *answer.headers_mut() = parts.headers;
    drop(tokio::spawn(async move {
        let (Ok(client), Ok(upstream)) = tokio::join!(client, upstream) else { return };
        let (mut client, mut upstream) = (TokioIo::new(client), TokioIo::new(upstream));
        let copied = copy_bidirectional(&mut client, &mut upstream).await;
        if let Some(ending) = &mut ending {
            ending.complete = copied.is_ok();
            if let Some(record) = &mut ending.record {
                record.bytes_out = copied.map_or(0, |(_, down)| down);
                record.decision = Decision::Allowed("tunnel");
            }
        }
        // Counted as open, and waited for when draining, until here.
        drop(connection);
    }));
    answer
}
