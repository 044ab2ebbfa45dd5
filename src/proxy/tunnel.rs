//! WebSocket: after the upstream's own 101, and not a byte before (R32, CVE-2026-2833), the two
//! connections are joined, for as long as the token counts.

mod frames;
mod relay;

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use http::header::{CONNECTION, UPGRADE};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Response, Version};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;

use self::relay::{Direction, Over, farewell, relay};
use super::connection::Connection;
use super::guard::{Hop, Upgrade};
use super::outgoing::Ending;
use crate::body::Body;
use crate::stream::{Exit, Life};

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

/// Once one side has ended its direction, how long the other may go on: a WebSocket is closed by
/// both ends (RFC 6455 §7.1.1), so this is for what is on its way, and no end can hold the
/// connections open by itself.
const AFTER_THE_END: Duration = Duration::from_secs(5);

/// Joins the connections once both sides have switched; ends when either side does, or with the
/// token.
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
        let mut life = ending.as_mut().and_then(|ending| ending.life.as_mut());
        enter(life.as_deref_mut()).await;
        let (Ok(client), Ok(upstream)) = tokio::join!(client, upstream) else { return };
        let (mut client, mut upstream) = (TokioIo::new(client), TokioIo::new(upstream));
        let (mut up, mut down) = (Direction::default(), Direction::default());
        let both = (&mut up, &mut down);
        let over = relay(&mut client, &mut upstream, both, life, AFTER_THE_END).await;
        if let Some(ending) = &mut ending {
            ending.complete = over == Over::Complete;
            if let Some(record) = &mut ending.record {
                record.bytes_out = down.bytes;
            }
        }
        if matches!(over, Over::Ended(_)) {
            // The line is written and the stream no longer counted before the last words.
            drop(ending);
            let to_client = async {
                if !farewell(&mut client, &down, &frames::close()).await {
                    connection.activity.cut();
                }
                drop(client);
            };
            let to_upstream = async {
                farewell(&mut upstream, &up, &frames::masked_close()).await;
                drop(upstream);
            };
            tokio::join!(to_client, to_upstream);
        }
        // Counted as open, and waited for when draining, until here.
        drop(connection);
    }));
    answer
}

/// Enters the tunnel where live streams are kept.
async fn enter(life: Option<&mut Life>) {
    if let Some(life) = life {
        poll_fn(|cx| {
            life.enter(cx, Exit::Own);
            Poll::Ready(())
        })
        .await;
    }
}
