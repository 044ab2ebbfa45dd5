//! WebSocket: after the upstream's own 101, and not a byte before (R32, CVE-2026-2833), the two
//! connections are joined.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::header::{CONNECTION, UPGRADE};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Response, Version};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, copy, split};
use tokio::time::timeout;

use super::connection::Connection;
use super::guard::{Hop, Upgrade};
use super::outgoing::Ending;
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

/// Once one side has ended its direction, how long the other may go on: a WebSocket is closed by
/// both ends (RFC 6455 §7.1.1), so this is for what is on its way, and no end can hold the
/// connections open by itself.
const AFTER_THE_END: Duration = Duration::from_secs(5);

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
        let copied = relay(TokioIo::new(client), TokioIo::new(upstream), AFTER_THE_END).await;
        if let Some(ending) = &mut ending {
            ending.complete = copied.is_some();
            if let Some(record) = &mut ending.record {
                record.bytes_out = copied.unwrap_or_default();
            }
        }
        // Counted as open, and waited for when draining, until here.
        drop(connection);
    }));
    answer
}

/// Copies both ways. The bytes that went to the client, if both directions came to their end.
async fn relay<C, U>(client: C, upstream: U, grace: Duration) -> Option<u64>
where
    C: AsyncRead + AsyncWrite,
    U: AsyncRead + AsyncWrite,
{
    let (mut from_client, mut to_client) = split(client);
    let (mut from_upstream, mut to_upstream) = split(upstream);
    let up = async {
        copy(&mut from_client, &mut to_upstream).await.ok()?;
        to_upstream.shutdown().await.ok()
    };
    let down = async {
        let bytes = copy(&mut from_upstream, &mut to_client).await.ok()?;
        to_client.shutdown().await.ok().map(|()| bytes)
    };
    let (mut up, mut down) = (pin!(up), pin!(down));
    tokio::select! {
        ended = &mut up => {
            ended?;
            timeout(grace, down).await.ok()?
        }
        ended = &mut down => {
            let bytes = ended?;
            timeout(grace, up).await.ok()??;
            Some(bytes)
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, duplex};

    use super::*;

    #[tokio::test]
    async fn neither_end_alone_holds_the_tunnel_open() {
        let (mut client, ours) = duplex(64);
        let (mut upstream, theirs) = duplex(64);
        let relayed = tokio::spawn(relay(ours, theirs, Duration::from_millis(50)));
        client.write_all(b"up").await.unwrap();
        let mut got = [0; 2];
        upstream.read_exact(&mut got).await.unwrap();
        assert_eq!(&got, b"up");
        client.shutdown().await.unwrap();
        assert_eq!(upstream.read(&mut got).await.unwrap(), 0, "the end is passed on");
        // The upstream neither answers nor closes.
        assert_eq!(relayed.await.unwrap(), None);
    }

    #[tokio::test]
    async fn what_is_on_its_way_still_arrives() {
        let (mut client, ours) = duplex(64);
        let (mut upstream, theirs) = duplex(64);
        let relayed = tokio::spawn(relay(ours, theirs, Duration::from_millis(50)));
        client.shutdown().await.unwrap();
        upstream.write_all(b"bye").await.unwrap();
        drop(upstream);
        let mut got = Vec::new();
        client.read_to_end(&mut got).await.unwrap();
        assert_eq!((got.as_slice(), relayed.await.unwrap()), (&b"bye"[..], Some(3)));
    }
}
