//! What is remembered of a request until its last byte is sent, and the line it then becomes.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use http::header::USER_AGENT;
use http::request::Parts;
use http::{HeaderValue, Method, StatusCode, Version};

use crate::auth::Verified;
use crate::observe::access_log::{AccessLog, Line};
use crate::policy::Route;

/// The notes on one request. Kept only while the access log is on.
pub struct Record {
    at: SystemTime,
    began: Instant,
    method: Method,
    path: Box<str>,
    version: Version,
    user_agent: Option<HeaderValue>,
    /// The client, once known; the peer before.
    pub client: IpAddr,
    /// The id, once made.
    pub request_id: Option<HeaderValue>,
    /// The route, once found.
    pub route: Option<Arc<Route>>,
    /// The token's facts, once verified.
    pub caller: Option<Arc<Verified>>,
    /// Whether those facts came from the cache.
    pub cached: Option<bool>,
    /// When the request was handed to the upstream.
    pub forwarded: Option<Instant>,
    /// When the upstream's response head arrived.
    pub answered: Option<Instant>,
    /// Why the request was refused, or the word for why not.
    pub decision: Decision,
    /// Status of the answer; 499, as nginx writes it, while there is none.
    pub status: StatusCode,
    /// Body bytes sent.
    pub bytes_out: u64,
}

/// What became of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Forwarded, and why.
    Allowed(&'static str),
    /// Forwarded, and ended while it went on, because its token counted no longer; and why.
    Ended(&'static str),
    /// Not forwarded, or not answered by the upstream, and why.
    Refused(&'static str),
}

impl Record {
    /// Notes from the request head as it arrived. The query is never noted.
    #[must_use]
    #[allow(clippy::disallowed_methods, reason = "a log line's time stamp decides nothing")]
    pub fn new(parts: &Parts, peer: IpAddr) -> Self {
        Self {
            at: SystemTime::now(),
            began: Instant::now(),
            method: parts.method.clone(),
            path: parts.uri.path().into(),
            version: parts.version,
            user_agent: parts.headers.get(USER_AGENT).cloned(),
            client: peer,
            request_id: None,
            route: None,
            caller: None,
            cached: None,
            forwarded: None,
            answered: None,
            decision: Decision::Refused("unfinished"),
            status: unanswered(),
            bytes_out: 0,
        }
    }

    /// Writes the line. `complete` is false when the client went away first.
    pub fn write(&self, log: &AccessLog, complete: bool) {
        let (decision, reason) = match self.decision {
            Decision::Allowed(why) => ("allowed", why),
            Decision::Ended(why) => ("ended", why),
            Decision::Refused(why) => ("refused", why),
        };
        let text = |value: &Option<HeaderValue>| {
            value.as_ref().map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
        };
        let upstream_ms = self.forwarded.zip(self.answered).map(|(from, to)| ms(from, to));
        log.write(&Line {
            at: self.at,
            event: "access",
            request_id: text(&self.request_id).as_deref().unwrap_or("-"),
            client: self.client,
            method: self.method.as_str(),
            path: &self.path,
            status: self.status.as_u16(),
            route: self.route.as_ref().map(|route| &*route.name),
            duration_ms: ms(self.began, Instant::now()),
            upstream: self.forwarded.and(self.route.as_ref()).map(|route| &*route.upstream.name),
            upstream_ms,
            decision,
            reason,
            cache: self.cached.map(|hit| if hit { "hit" } else { "miss" }),
            subject: self.caller.as_ref().and_then(|caller| caller.subject.as_deref()),
            issuer: self.caller.as_ref().map(|caller| &*caller.entry),
            jti: self.caller.as_ref().and_then(|caller| caller.jti.as_deref()),
            bytes_out: self.bytes_out,
            http_version: match self.version {
                Version::HTTP_2 => "2",
                Version::HTTP_10 => "1.0",
                _ => "1.1",
            },
            aborted: !complete && decision != "ended",
            user_agent: text(&self.user_agent).as_deref(),
        });
    }
}

/// What stands in the log when the client went away before there was an answer.
fn unanswered() -> StatusCode {
    StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST)
}

fn ms(from: Instant, to: Instant) -> f64 {
    to.saturating_duration_since(from).as_secs_f64() * 1000.0
}
