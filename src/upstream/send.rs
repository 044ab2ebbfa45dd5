//! One request to one upstream: a pooled connection or a new one, time limits, and the retry of
//! requests that cannot have been acted upon.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::Duration;

use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use tokio::time::Instant;

use super::connect::{Driven, Purpose, connect};
use super::pool::Line;
use super::streamed::{Lease, Streamed};
use super::{Alarm, Pool, Progress};
use crate::body::Body;
use crate::policy::upstream::{Server, Timeouts, Upstream};

/// Why there is no response.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Refused, unreachable, name unknown, TLS not accepted.
    #[error("cannot connect: {0}")]
    Connect(#[source] io::Error),
    /// No connection in time.
    #[error("no connection within the connect timeout")]
    ConnectTimeout,
    /// The request was handed over and no response head came in time.
    #[error("no response head within the response timeout")]
    ResponseTimeout,
    /// The connection broke or what came over it is not HTTP.
    #[error("{0}")]
    Broken(#[source] hyper::Error),
    /// A 101 that nobody asked for.
    #[error("the upstream switched protocols unasked")]
    Unasked101,
}

/// A response to an upgrade request.
pub enum Upgraded {
    /// 101: the response, with hyper's handle to the raw connection in its extensions.
    Switched(Response<Incoming>),
    /// Anything else: an ordinary response; the connection is not used again.
    Declined(Response<Streamed>),
}

/// Pooled connections that may turn out dead one after another before a new one is opened.
const STALE_MAX: usize = 8;

/// Sends the request and returns the response as soon as its head has arrived.
///
/// A request that hyper hands back unsent goes to another connection. One whose *reused* connection
/// broke before a response is made `again` and sent once more, on a new connection (RFC 9110
/// §9.2.2): `again` is for idempotent requests without a body alone. Nothing else is ever sent
/// twice.
///
/// # Errors
///
/// See [`Failure`]; when all servers of the upstream refuse the connection, the last one's error.
#[allow(clippy::manual_async_fn, reason = "an async fn would move the request once more")]
pub fn send<'s, A: FnOnce() -> Request<Body> + 's>(
    pool: &'s Arc<Pool>,
    upstream: &'s Upstream,
    timeouts: &'s Timeouts,
    mut request: Request<Body>,
    upload: Option<Arc<Progress>>,
    mut again: Option<A>,
) -> impl Future<Output = Result<Response<Streamed>, Failure>> + use<'s, A> {
    async move {
        let mut stale = 0;
        let mut fresh_only = false;
        loop {
            let now = Instant::now();
            let pooled = if fresh_only { None } else { take(pool, upstream, now).await };
            let reused = pooled.is_some();
            let (server, mut line, begin) = match pooled {
                Some((server, line)) => (server, line, now),
                None => {
                    // Rare and large (a TLS handshake): boxed, so that every request's future is
                    // small.
                    let (server, driven) =
                        Box::pin(open(upstream, Purpose::Requests, timeouts)).await?;
                    (server, Line::new(driven), Instant::now())
                }
            };
            if let Some(upload) = &upload {
                upload.is_driven_by(&line.driver);
            }
            let sent = line.sender.try_send_request(request);
            let wait = Wait { begin, limit: timeouts.response, upload: upload.as_deref() };
            let mut error = match wait.until(sent, &mut line.alarm).await {
                None => return Err(Failure::ResponseTimeout),
                Some(Ok(response)) => {
                    let keep_alive = upstream.keep_alive;
                    let pool = pool.clone();
                    let lease = Lease { pool, server, line, keep_alive, upload };
                    return receive(response, lease, timeouts);
                }
                Some(Err(error)) => error,
            };
            stale += 1;
            fresh_only = stale >= STALE_MAX;
            request = match error.take_message() {
                Some(unsent) if reused => unsent,
                None if reused && broke_before_a_response(error.error()) => {
                    fresh_only = true;
                    match again.take() {
                        Some(again) => again(),
                        None => return Err(Failure::Broken(error.into_error())),
                    }
                }
                _ => return Err(Failure::Broken(error.into_error())),
            };
        }
    }
}

/// A wait for a response head.
struct Wait<'w> {
    begin: Instant,
    limit: Duration,
    upload: Option<&'w Progress>,
}

impl Wait<'_> {
    /// What came in time. The clock starts when the whole request was handed over: a body that
    /// moves sets it back, however long the upload takes; one that the upstream does not read does
    /// not.
    async fn until<F: Future>(self, response: F, alarm: &mut Alarm) -> Option<F::Output> {
        let mut response = pin!(response);
        let mut deadline = self.begin + self.limit;
        poll_fn(|cx| {
            if let Poll::Ready(output) = response.as_mut().poll(cx) {
                return Poll::Ready(Some(output));
            }
            loop {
                ready!(alarm.poll_at(deadline, cx));
                let moved = self.upload.map(|upload| Instant::from_std(upload.last_moved()));
                match moved.map(|moved| moved + self.limit).filter(|later| *later > deadline) {
                    Some(later) => deadline = later,
                    None => return Poll::Ready(None),
                }
            }
        })
        .await
    }
}

/// Sends an upgrade request on a connection of its own.
///
/// # Errors
///
/// As [`send`], without any retry.
pub async fn send_upgrade(
    upstream: &Upstream,
    timeouts: &Timeouts,
    request: Request<Body>,
) -> Result<Upgraded, Failure> {
    let (_, (mut sender, _)) = open(upstream, Purpose::Upgrade, timeouts).await?;
    let response = tokio::time::timeout(timeouts.response, sender.send_request(request))
        .await
        .map_err(|_| Failure::ResponseTimeout)?
        .map_err(Failure::Broken)?;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return Ok(Upgraded::Switched(response));
    }
    let idle = body_idle(&response, timeouts);
    Ok(Upgraded::Declined(response.map(|body| Streamed::new(body, None, idle))))
}

async fn take(pool: &Pool, upstream: &Upstream, now: Instant) -> Option<(Arc<Server>, Line)> {
    for server in upstream.in_turn() {
        while let Some(mut line) = pool.take(&server.key, now.into_std()) {
            if line.sender.is_ready() || line.sender.ready().await.is_ok() {
                return Some((server.clone(), line));
            }
        }
    }
    None
}

async fn open(
    upstream: &Upstream,
    purpose: Purpose,
    timeouts: &Timeouts,
) -> Result<(Arc<Server>, Driven), Failure> {
    let mut last = Failure::ConnectTimeout;
    for server in upstream.in_turn() {
        match connect(server, purpose, timeouts.connect).await {
            Ok(driven) => return Ok((server.clone(), driven)),
            Err(failure) => last = failure,
        }
    }
    Err(last)
}

fn receive(
    response: Response<Incoming>,
    lease: Lease,
    timeouts: &Timeouts,
) -> Result<Response<Streamed>, Failure> {
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return Err(Failure::Unasked101);
    }
    let idle = body_idle(&response, timeouts);
    Ok(response.map(|body| Streamed::new(body, Some(lease), idle)))
}

/// Event streams are quiet by nature; everything else must keep moving.
fn body_idle(response: &Response<Incoming>, timeouts: &Timeouts) -> Option<Duration> {
    let kind = response.headers().get(http::header::CONTENT_TYPE);
    let events = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
    (!events).then_some(timeouts.body_idle)
}

/// Whether the method may be sent twice (RFC 9110 §9.2.2).
#[must_use]
pub const fn is_idempotent(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS | Method::PUT | Method::DELETE)
}

fn broke_before_a_response(error: &hyper::Error) -> bool {
    use std::error::Error as _;
    let io = || error.source().and_then(|source| source.downcast_ref::<io::Error>());
    error.is_incomplete_message()
        || error.is_canceled()
        || error.is_closed()
        || io().is_some_and(|io| {
            matches!(io.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe)
        })
}
