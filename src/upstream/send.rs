//! One request to one upstream: a pooled connection or a new one, time limits, and the retry of
//! requests that cannot have been acted upon.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use tokio::time::Instant;
use tokio::time::error::Elapsed;

use super::connect::{Purpose, connect};
use super::streamed::{Lease, Streamed};
use super::{Pool, Progress};
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
/// A request that hyper hands back unsent goes to another connection; an idempotent request
/// without a body (`upload` is `None`) whose *reused* connection broke before a response is sent
/// once more, on a new one (RFC 9110 §9.2.2). Nothing else is ever sent twice.
///
/// # Errors
///
/// See [`Failure`]; when all servers of the upstream refuse the connection, the last one's error.
pub async fn send(
    pool: &Arc<Pool>,
    upstream: &Upstream,
    timeouts: &Timeouts,
    mut request: Request<Body>,
    upload: Option<Arc<Progress>>,
) -> Result<Response<Streamed>, Failure> {
    let bodiless = upload.is_none();
    let mut stale = 0;
    let mut fresh_only = false;
    loop {
        let pooled = if fresh_only { None } else { take(pool, upstream).await };
        let reused = pooled.is_some();
        let (server, mut sender) = match pooled {
            Some(found) => found,
            // Rare and large (a TLS handshake): boxed, to keep every request's future small.
            None => Box::pin(open(upstream, Purpose::Requests, timeouts)).await?,
        };
        let copy = (reused && bodiless && is_idempotent(request.method())).then(|| twin(&request));
        let sent = sender.try_send_request(request);
        let mut error = match in_time(sent, timeouts.response, upload.as_deref()).await {
            Err(_) => return Err(Failure::ResponseTimeout),
            Ok(Ok(response)) => {
                let keep_alive = upstream.keep_alive;
                let lease = Lease { pool: pool.clone(), server, sender, keep_alive, upload };
                return receive(response, lease, timeouts);
            }
            Ok(Err(error)) => error,
        };
        stale += 1;
        fresh_only = stale >= STALE_MAX;
        request = match (error.take_message(), copy) {
            (Some(unsent), _) if reused => unsent,
            (None, Some(copy)) if broke_before_a_response(error.error()) => {
                fresh_only = true;
                copy
            }
            _ => return Err(Failure::Broken(error.into_error())),
        };
    }
}

/// Waits for a response head. The clock starts when the whole request was handed over: a body that
/// moves sets it back, however long the upload takes; one that the upstream does not read does not.
async fn in_time<F: Future>(
    response: F,
    limit: Duration,
    upload: Option<&Progress>,
) -> Result<F::Output, Elapsed> {
    let mut response = pin!(response);
    let mut deadline = Instant::now() + limit;
    loop {
        match tokio::time::timeout_at(deadline, response.as_mut()).await {
            Ok(output) => return Ok(output),
            Err(elapsed) => {
                let later = upload.map(|upload| Instant::from_std(upload.last_moved()) + limit);
                deadline = later.filter(|later| *later > deadline).ok_or(elapsed)?;
            }
        }
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
    let (_, mut sender) = open(upstream, Purpose::Upgrade, timeouts).await?;
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

async fn take(pool: &Pool, upstream: &Upstream) -> Option<(Arc<Server>, SendRequest<Body>)> {
    for server in upstream.in_turn() {
        while let Some(mut sender) = pool.take(&server.key) {
            if sender.is_ready() || sender.ready().await.is_ok() {
                return Some((server.clone(), sender));
            }
        }
    }
    None
}

async fn open(
    upstream: &Upstream,
    purpose: Purpose,
    timeouts: &Timeouts,
) -> Result<(Arc<Server>, SendRequest<Body>), Failure> {
    let mut last = Failure::ConnectTimeout;
    for server in upstream.in_turn() {
        match connect(server, purpose, timeouts.connect).await {
            Ok(sender) => return Ok((server.clone(), sender)),
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

/// RFC 9110 §9.2.2.
fn is_idempotent(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS | Method::PUT | Method::DELETE)
}

fn twin(request: &Request<Body>) -> Request<Body> {
    let mut copy = Request::new(Body::Empty);
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    copy
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
