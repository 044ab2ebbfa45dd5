//! What is remembered of a request until its last byte is sent, and the line it then becomes.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use http::header::USER_AGENT;
use http::request::Parts;
use http::{HeaderValue, Method, Version};

use super::measure::{Decision, Measure};
use crate::auth::Verified;
use crate::observe::access_log::{AccessLog, Line};

/// The notes on one request. Kept only while the access log is on.
pub struct Record {
    at: SystemTime,
    method: Method,
    path: Box<str>,
    version: Version,
    user_agent: Option<HeaderValue>,
    /// The client, once known; the peer before.
    pub client: IpAddr,
    /// The id, once made.
    pub request_id: Option<HeaderValue>,
    /// The token's facts, once verified.
    pub caller: Option<Arc<Verified>>,
    /// Whether those facts came from the cache.
    pub cached: Option<bool>,
    /// When the request was handed to the upstream.
    pub forwarded: Option<Instant>,
    /// When the upstream's response head arrived.
    pub answered: Option<Instant>,
    /// Body bytes sent.
    pub bytes_out: u64,
}

impl Record {
    /// Notes from the request head as it arrived. The query is never noted.
    #[must_use]
    #[allow(clippy::disallowed_methods, reason = "a log line's time stamp decides nothing")]
    pub fn new(parts: &Parts, peer: IpAddr) -> Self {
        Self {
            at: SystemTime::now(),
            method: parts.method.clone(),
            path: parts.uri.path().into(),
            version: parts.version,
            user_agent: parts.headers.get(USER_AGENT).cloned(),
            client: peer,
            request_id: None,
            caller: None,
            cached: None,
            forwarded: None,
            answered: None,
            bytes_out: 0,
        }
    }

    /// Writes the line of a request that took so long. `complete` is false when the client went
    /// away first.
    pub fn write(&self, log: &AccessLog, measure: &Measure, took: Duration, complete: bool) {
        let route = measure.route.as_deref();
        let (decision, reason) = match measure.decision {
            Decision::Allowed(why) => ("allowed", why),
            Decision::Ended(why) => ("ended", why),
            Decision::Refused(why) => ("refused", why),
        };
        let text = |value: &Option<HeaderValue>| {
            value.as_ref().map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
        };
        let upstream_ms = self.forwarded.zip(self.answered);
        let upstream_ms = upstream_ms.map(|(from, to)| ms(to.saturating_duration_since(from)));
        log.write(&Line {
            at: self.at,
            event: "access",
            request_id: text(&self.request_id).as_deref().unwrap_or("-"),
            client: self.client,
            method: self.method.as_str(),
            path: &self.path,
            status: measure.status.as_u16(),
            route: route.map(|route| &*route.name),
            duration_ms: ms(took),
            upstream: self.forwarded.and(route).map(|route| &*route.upstream.name),
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

fn ms(span: Duration) -> f64 {
    span.as_secs_f64() * 1000.0
}
