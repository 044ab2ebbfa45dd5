//! Asking a route's rate limits: before the token by client, header and body field; after it by
//! claim.

use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};

use super::authenticate::Caller;
use super::forward::Inbound;
use super::reject::Limited;
use super::{Rejection, Trip};
use crate::body::Body;
use crate::limit::{
    self, BODY_BYTES_MAX, Count, Decision, FieldError, Limit, Quota, Reservation, policy_field,
    rate_limit_field, retry_after,
};
use crate::policy::Route;

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const LEFT: HeaderName = HeaderName::from_static("ratelimit");

/// What the limits said, and what they still wait to hear.
#[derive(Default)]
pub struct Tally {
    reservations: Vec<Reservation>,
    asked: Vec<(String, Quota, Decision)>,
}

/// Asks the limits that need no claim; reads the body first when one needs a field of it.
///
/// # Errors
///
/// 429 with Retry-After; for body fields 400, 408, 413, 415.
pub async fn early(
    trip: &Trip,
    route: &Route,
    parts: &Parts,
    inbound: &mut Inbound,
) -> Result<Tally, Rejection> {
    let mut tally = Tally::default();
    if route.reads_body() {
        inbound.buffer(BODY_BYTES_MAX, trip.policy.timeouts.body_idle).await?;
    }
    for limit in &route.early_limits {
        tally.ask(limit, trip, &parts.headers, inbound, None)?;
    }
    Ok(tally)
}

/// Asks the limits by claim.
///
/// # Errors
///
/// As [`early`].
pub fn late(
    trip: &Trip,
    route: &Route,
    parts: &Parts,
    inbound: &Inbound,
    caller: Option<&Caller>,
    mut tally: Tally,
) -> Result<Tally, Rejection> {
    for limit in &route.late_limits {
        tally.ask(limit, trip, &parts.headers, inbound, caller)?;
    }
    Ok(tally)
}

impl Tally {
    fn ask(
        &mut self,
        limit: &Limit,
        trip: &Trip,
        headers: &HeaderMap,
        inbound: &Inbound,
        caller: Option<&Caller>,
    ) -> Result<(), Rejection> {
        let parts = limit::Parts {
            client: trip.client,
            headers,
            body: inbound.buffered(),
            claims: caller.map(|caller| &caller.verified.claims),
        };
        let key = limit.key(&parts).map_err(|error| match error {
            FieldError::Malformed => Rejection::BadRequest("limit_field"),
            FieldError::Unsupported => Rejection::UnsupportedMedia,
        })?;
        let decision = match limit.count {
            Count::All => limit.limiter.admit(key),
            Count::Failures => match limit.limiter.reserve(key) {
                Ok((reservation, decision)) => {
                    self.reservations.push(reservation);
                    decision
                }
                Err(decision) => decision,
            },
        };
        self.asked.push((limit.name.clone(), limit.limiter.quota(), decision));
        if decision.allowed {
            return Ok(());
        }
        // Refused here, this request is nobody's failed attempt.
        self.give_back();
        Err(Rejection::Limited(Box::new(Limited {
            by: "rate_limit",
            retry_after: retry_after(&decision),
            fields: self.fields(),
        })))
    }

    /// Tells the limits that count failures how it ended, and the client what is left.
    ///
    /// # Errors
    ///
    /// Passes the rejection on.
    pub fn settle(
        mut self,
        answer: Result<Response<Body>, Rejection>,
    ) -> Result<Response<Body>, Rejection> {
        if self.asked.is_empty() {
            return answer;
        }
        match answer {
            Ok(mut response) => {
                let failed =
                    matches!(response.status(), StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
                if !failed {
                    self.give_back();
                }
                response.headers_mut().extend(self.fields());
                Ok(response)
            }
            // The upstream was never reached: nobody failed. Anything later counts.
            Err(rejection) => {
                if rejection.status().is_server_error() && rejection.reason().contains("connect") {
                    self.give_back();
                }
                Err(rejection)
            }
        }
    }

    fn give_back(&mut self) {
        self.reservations.drain(..).for_each(Reservation::succeeded);
    }

    fn fields(&self) -> Vec<(HeaderName, HeaderValue)> {
        let asked = || self.asked.iter();
        let policy = policy_field(asked().map(|(name, quota, _)| (name.as_str(), *quota)));
        let left = rate_limit_field(asked().map(|(name, _, decision)| (name.as_str(), *decision)));
        policy
            .map(|value| (POLICY, value))
            .into_iter()
            .chain(left.map(|value| (LEFT, value)))
            .collect()
    }
}
