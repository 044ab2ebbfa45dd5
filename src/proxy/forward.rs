//! The request as the upstream gets it, and the upstream's answer as the client gets it.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::header::{
    CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, HOST, HeaderName, TE, TRANSFER_ENCODING, VIA,
};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, Version};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use hyper::upgrade::OnUpgrade;
use tokio::time::Instant as Deadline;

use super::escort::{Escort, ended};
use super::guard::{self, Hop};
use super::head::Head;
use super::measure::Decision;
use super::{Rejection, Trip, request_id, tunnel};
use crate::body::Body;
use crate::policy::Route;
use crate::policy::route::HostRule;
use crate::stream::Kind;
use crate::upstream::{self, Failure, Outcome, Progress, Streamed, Upgraded, Upload};

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

/// Fields that forwarding adds at most, so that the map grows once.
const FIELDS_ADDED: usize = 9;

/// The client's body: still coming, read already, or none.
pub enum Inbound {
    /// Read already, for a limit.
    Buffered(Bytes),
    /// None.
    Empty,
    /// Still coming; at most so many bytes, and all of them by then.
    Streaming(Incoming, Option<u64>, Option<Deadline>),
}

/// The request, checked and guarded.
pub struct Outbound<'h> {
    /// Head of the request.
    pub parts: Parts,
    /// What was read from it.
    pub head: &'h Head,
    /// What the hop-by-hop fields said.
    pub hop: Hop,
    /// Whether to ask the upstream for a WebSocket.
    pub upgrade: bool,
}

impl Inbound {
    /// Looks at the body without reading it.
    ///
    /// # Errors
    ///
    /// 400 for any transfer coding but `chunked`; 413 when Content-Length says that it is too
    /// large; 417 for an unknown expectation.
    pub fn new(
        body: Incoming,
        headers: &HeaderMap,
        bytes_max: Option<u64>,
    ) -> Result<Self, Rejection> {
        if headers
            .get(EXPECT)
            .is_some_and(|value| !value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
        {
            return Err(Rejection::Expectation);
        }
        if body.is_end_stream() {
            return Ok(Self::Empty);
        }
        if has_other_coding(headers) {
            return Err(Rejection::BadRequest("transfer_coding"));
        }
        match (body.size_hint().exact(), bytes_max) {
            (Some(length), Some(max)) if length > max => Err(Rejection::BodyTooLarge),
            _ => Ok(Self::Streaming(body, bytes_max, None)),
        }
    }

    /// The same, to be read to its end by then, however steadily it comes.
    #[must_use]
    pub fn by(self, deadline: Deadline) -> Self {
        match self {
            Self::Streaming(body, bytes_max, _) => Self::Streaming(body, bytes_max, Some(deadline)),
            read @ (Self::Buffered(_) | Self::Empty) => read,
        }
    }

    /// Reads the whole body, at most `max` bytes; each piece within `idle`.
    ///
    /// # Errors
    ///
    /// 413, 408 or 400.
    pub async fn buffer(&mut self, max: usize, idle: Duration) -> Result<(), Rejection> {
        let Self::Streaming(body, _, by) = self else { return Ok(()) };
        if body.size_hint().lower() > max as u64 {
            return Err(Rejection::BodyTooLarge);
        }
        let mut bytes = BytesMut::new();
        loop {
            let idle_until = Deadline::now() + idle;
            let until = by.map_or(idle_until, |by| by.min(idle_until));
            let frame = tokio::time::timeout_at(until, body.frame())
                .await
                .map_err(|_| Rejection::BodyTimeout)?;
            let Some(frame) = frame else { break };
            let Ok(data) = frame.map_err(|_| Rejection::BodyBroken)?.into_data() else { continue };
            if bytes.len().saturating_add(data.len()) > max {
                return Err(Rejection::BodyTooLarge);
            }
            bytes.extend_from_slice(&data);
        }
        *self = Self::Buffered(bytes.freeze());
        Ok(())
    }

    /// The body, when it was read.
    #[must_use]
    pub fn buffered(&self) -> Option<&[u8]> {
        match self {
            Self::Buffered(bytes) => Some(bytes),
            Self::Empty => Some(&[]),
            Self::Streaming(..) => None,
        }
    }

    fn into_body(
        self,
        idle: Duration,
        escort: impl FnOnce() -> Option<Escort>,
    ) -> (Body, Option<Arc<Progress>>) {
        match self {
            Self::Buffered(bytes) => (Body::full(bytes), Some(Progress::complete())),
            Self::Empty => (Body::Empty, None),
            Self::Streaming(body, max, _) => {
                let (upload, progress) = Upload::wrap(body, max, idle);
                let body = match escort() {
                    Some(escort) => Body::stream(escort.with(upload, progress.clone())),
                    None => Body::stream(upload),
                };
                (body, Some(progress))
            }
        }
    }
}

/// Sends the request on and brings the answer back. The only place from which an upstream hears.
///
/// # Errors
///
/// 502 and 504 for the upstream's failures; 400, 408, 413 for the client's while uploading.
pub fn forward<'t>(
    trip: &'t mut Trip,
    route: &'t Route,
    outbound: Outbound<'t>,
    inbound: Inbound,
) -> impl Future<Output = Result<Response<Body>, Rejection>> + 't {
    // Everything but the wait is done here: what an async function is given is moved twice.
    let Outbound { mut parts, head, hop, upgrade } = outbound;
    let upgrade = upgrade && matches!(inbound, Inbound::Empty);
    let client_side = parts.extensions.remove::<OnUpgrade>().filter(|_| upgrade);
    let (body, progress) =
        inbound.into_body(route.timeouts.body_idle, || Escort::of(trip, Kind::of(&parts.headers)));
    let repeatable = progress.is_none() && upstream::is_idempotent(&parts.method);
    let draft = repeatable.then(|| Draft::of(&parts));
    let trailers = hop.trailers && !upgrade;
    address(&mut parts, trip, route, head, trailers);
    let request = Request::from_parts(parts, body);
    let handed = Instant::now();
    trip.note(|record| record.forwarded = Some(handed));
    async move {
        if let Some(client_side) = client_side {
            return Box::pin(switch(trip, route, request, client_side, handed)).await;
        }
        let sent = {
            let (pool, trip) = (&trip.worker.pool, &*trip);
            let again = draft.map(|draft| || draft.request(trip, route, head, trailers));
            let upload = progress.clone();
            upstream::send(pool, &route.upstream, &route.timeouts, request, upload, again).await
        };
        let response =
            sent.map_err(|failure| reject(trip, route, &failure, progress.as_deref()))?;
        receive(trip, route, response, handed)
    }
}

/// What is left of the client's head before the gateway adds its own fields: enough to make the
/// request once more, and cheaper to copy than the finished one.
struct Draft {
    method: Method,
    uri: Uri,
    version: Version,
    fields: Vec<(HeaderName, HeaderValue)>,
}

impl Draft {
    fn of(parts: &Parts) -> Self {
        let fields = parts.headers.iter().map(|(name, value)| (name.clone(), value.clone()));
        Self {
            method: parts.method.clone(),
            uri: parts.uri.clone(),
            version: parts.version,
            fields: fields.collect(),
        }
    }

    fn request(self, trip: &Trip, route: &Route, head: &Head, trailers: bool) -> Request<Body> {
        let (mut parts, body) = Request::new(Body::Empty).into_parts();
        parts.method = self.method;
        parts.uri = self.uri;
        parts.version = self.version;
        parts.headers.extend(self.fields);
        address(&mut parts, trip, route, head, trailers);
        Request::from_parts(parts, body)
    }
}

/// A WebSocket handshake, on a connection of its own.
async fn switch(
    trip: &mut Trip,
    route: &Route,
    mut request: Request<Body>,
    client: OnUpgrade,
    handed: Instant,
) -> Result<Response<Body>, Rejection> {
    tunnel::mark(request.headers_mut());
    let sent = upstream::send_upgrade(&route.upstream, &route.timeouts, request).await;
    match sent.map_err(|failure| reject(trip, route, &failure, None))? {
        Upgraded::Declined(response) => receive(trip, route, response, handed),
        Upgraded::Switched(mut response) => {
            note_answer(trip, route, response.status(), handed);
            let hop = guard::strip_response(response.headers_mut());
            if !tunnel::is_websocket(&hop) {
                return Err(Rejection::UpstreamBroken("upstream_wrong_protocol"));
            }
            tunnel::mark(response.headers_mut());
            trip.decide(Decision::Allowed("tunnel"));
            trip.answers(response.status());
            let life = trip.life(Kind::WebSocket);
            let mut ending = trip.ending.take();
            if let Some(ending) = &mut ending {
                ending.life = life;
            }
            Ok(tunnel::join(client, response, ending, trip.connection.clone()))
        }
    }
}

fn receive(
    trip: &mut Trip,
    route: &Route,
    mut response: Response<Streamed>,
    handed: Instant,
) -> Result<Response<Body>, Rejection> {
    note_answer(trip, route, response.status(), handed);
    let headers = response.headers_mut();
    // Two lengths: one of them would end the message somewhere else for the client (R34).
    let coded = headers.keys().any(|name| matches!(*name, TRANSFER_ENCODING));
    if coded && (has_other_coding(headers) || headers.contains_key(CONTENT_LENGTH)) {
        return Err(Rejection::UpstreamBroken("upstream_framing"));
    }
    guard::strip_response(headers);
    Ok(response.map(Body::stream))
}

/// The head of the upstream's answer is here.
fn note_answer(trip: &mut Trip, route: &Route, status: StatusCode, handed: Instant) {
    let took = handed.elapsed();
    route.upstream.series.answered(status.as_u16(), took);
    trip.note(|record| record.answered = Some(handed + took));
}

/// Rewrites the head for the next hop (RFC 9110 §7.6). Everything that the client said in these
/// fields is gone already; what a trusted proxy said is in `head`.
fn address(parts: &mut Parts, trip: &Trip, route: &Route, head: &Head, trailers: bool) {
    let via = match parts.version {
        Version::HTTP_2 => "2 postern",
        Version::HTTP_10 => "1.0 postern",
        _ => "1.1 postern",
    };
    parts.version = Version::HTTP_11;
    let headers = &mut parts.headers;
    replace_hop_fields(headers);
    headers.reserve(FIELDS_ADDED);
    address_host(headers, route, head);
    headers.append(VIA, HeaderValue::from_static(via));
    headers.insert(FORWARDED_FOR, forwarded_for(trip, head));
    headers.insert(FORWARDED_PROTO, head.scheme.clone());
    if let Some(host) = head.forwarded_host.as_ref().or(head.authority.as_ref()) {
        headers.insert(FORWARDED_HOST, host.clone());
    }
    headers.insert(REAL_IP, trip.client_value());
    headers.insert(request_id::FIELD, trip.request_id.clone());
    if trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
        headers.insert(CONNECTION, HeaderValue::from_static("te"));
    }
}

/// Takes out what was said of this connection's framing, and makes one Cookie field of several.
/// One look at each name instead of a search for each of these, which most requests do not have.
fn replace_hop_fields(headers: &mut HeaderMap) {
    let (mut expects, mut coded, mut cookies) = (false, false, false);
    for name in headers.keys() {
        match *name {
            EXPECT => expects = true,
            TRANSFER_ENCODING => coded = true,
            COOKIE => cookies = true,
            _ => {}
        }
    }
    if expects {
        headers.remove(EXPECT);
    }
    if coded {
        headers.remove(TRANSFER_ENCODING);
    }
    if cookies {
        join_cookies(headers);
    }
}

/// Sets the Host field as the route says; in most requests it stands there already.
fn address_host(headers: &mut HeaderMap, route: &Route, head: &Head) {
    let of_upstream = || route.upstream.servers.first().map(|server| &server.authority);
    let host = match &route.host {
        HostRule::Literal(host) => Some(host),
        HostRule::Preserve if head.host_field => None,
        HostRule::Preserve => head.authority.as_ref().or_else(of_upstream),
        HostRule::Upstream => of_upstream(),
    };
    if let Some(host) = host {
        headers.insert(HOST, host.clone());
    }
}

/// The chain of a trusted proxy with that proxy appended, or the peer alone.
fn forwarded_for(trip: &Trip, head: &Head) -> HeaderValue {
    let peer = &trip.connection.peer_value;
    let Some(chain) = &head.forwarded_for else { return peer.clone() };
    let chain = [chain, peer.as_bytes()].join(&b", "[..]);
    HeaderValue::from_bytes(&chain).unwrap_or_else(|_| peer.clone())
}

/// HTTP/2 clients may split the Cookie field; HTTP/1.1 has one (RFC 9113 §8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let mut fields = headers.get_all(COOKIE).iter();
    if fields.next().is_none() || fields.next().is_none() {
        return;
    }
    let all: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if let Ok(mut joined) = HeaderValue::from_bytes(&all.join(&b"; "[..])) {
        joined.set_sensitive(true);
        headers.insert(COOKIE, joined);
    }
}

/// Whether the body is anything but chunked once (R29). hyper takes any list that ends in
/// `chunked` and removes that last coding alone; forwarded, the rest would be gone from the head
/// and still be on the body.
fn has_other_coding(headers: &HeaderMap) -> bool {
    let mut lines = headers.get_all(TRANSFER_ENCODING).iter();
    match (lines.next(), lines.next()) {
        (None, _) => false,
        (Some(only), None) => !only.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked"),
        (Some(_), Some(_)) => true,
    }
}

fn reject(trip: &Trip, route: &Route, failure: &Failure, upload: Option<&Progress>) -> Rejection {
    let rejection = rejection(trip, route, failure, upload);
    route.upstream.series.unanswered(rejection.reason());
    rejection
}

fn rejection(
    trip: &Trip,
    route: &Route,
    failure: &Failure,
    upload: Option<&Progress>,
) -> Rejection {
    match upload.map(Progress::outcome) {
        Some(Outcome::TooLarge) => return Rejection::BodyTooLarge,
        Some(Outcome::Stalled) => return Rejection::BodyTimeout,
        Some(Outcome::Broken) => return Rejection::BodyBroken,
        Some(Outcome::Abandoned) => return upload.map_or(Rejection::BodyBroken, ended),
        Some(Outcome::Complete | Outcome::Running) | None => {}
    }
    tracing::warn!(
        request_id = trip.request_id.to_str().unwrap_or_default(),
        upstream = &*route.upstream.name,
        servers = route.upstream.to_string(),
        error = %failure,
        "the upstream did not answer"
    );
    match failure {
        Failure::Connect(_) => Rejection::UpstreamBroken("upstream_connect"),
        Failure::ConnectTimeout => Rejection::UpstreamTimeout("upstream_connect_timeout"),
        Failure::ResponseTimeout => Rejection::UpstreamTimeout("upstream_response_timeout"),
        Failure::Broken(_) => Rejection::UpstreamBroken("upstream_broken"),
        Failure::Unasked101 => Rejection::UpstreamBroken("upstream_switched_unasked"),
    }
}
