//! Asking a route's rate limits: before the token by client, header and body field; after it by
//! claim.

use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use tokio::task::JoinHandle;

use super::authenticate::Caller;
use super::forward::Inbound;
use super::reject::Limited;
use super::{Rejection, Trip};
use crate::body::Body;
use crate::limit::{
    self, BODY_BYTES_MAX, Decision, FieldError, Flight, Limit, Quota, Reservation, Taken,
    policy_field, rate_limit_field, retry_after,
};
use crate::policy::Route;

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const LEFT: HeaderName = HeaderName::from_static("ratelimit");

/// What the limits said, and what they still wait to hear.
#[derive(Default)]
pub struct Tally {
    reservations: Vec<Reservation>,
    flights: Vec<Flight>,
    asked: Vec<(String, Quota, Decision)>,
}

// Most routes have no limit: what waits is boxed, so that a request's future stays small (it is
// moved when the request arrives).

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
        Box::pin(inbound.buffer(BODY_BYTES_MAX, trip.policy.timeouts.body_idle)).await?;
    }
    for limit in &route.early_limits {
        Box::pin(tally.ask(limit, trip, &parts.headers, inbound, None)).await?;
    }
    Ok(tally)
}

/// Asks the limits by claim.
///
/// # Errors
///
/// As [`early`].
pub async fn late(
    trip: &Trip,
    route: &Route,
    parts: &Parts,
    inbound: &Inbound,
    caller: Option<&Caller>,
    mut tally: Tally,
) -> Result<Tally, Rejection> {
    for limit in &route.late_limits {
        Box::pin(tally.ask(limit, trip, &parts.headers, inbound, caller)).await?;
    }
    Ok(tally)
}

impl Tally {
    async fn ask(
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
            account: None,
        };
        let key = limit.key(&parts).map_err(|error| match error {
            FieldError::Malformed => Rejection::BadRequest("limit_field"),
            FieldError::Unsupported => Rejection::UnsupportedMedia,
        })?;
        let counter = trip.worker.blocklist.store().counter();
        let Taken { decision, reservation, flight } = match limit.shared.as_ref().zip(counter) {
            Some((shared, counter)) => limit.take_shared(shared, counter, key).await,
            None => limit.take(key),
        };
        self.reservations.extend(reservation);
        self.flights.extend(flight);
        self.asked.push((limit.name.clone(), limit.limiter.quota(), decision));
        if decision.allowed {
            return Ok(());
        }
        trip.series().limited(&limit.counts_by());
        // Refused here, this request is nobody's failed attempt.
        drop(self.give_back());
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
    pub async fn settle(
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
                    Box::pin(given_back(self.give_back())).await;
                }
                response.headers_mut().extend(self.fields());
                Ok(response)
            }
            // The upstream was never reached: nobody failed. Anything later counts.
            Err(rejection) => {
                if rejection.is_before_the_upstream() {
                    Box::pin(given_back(self.give_back())).await;
                }
                Err(rejection)
            }
        }
    }

    /// Gives back every unit held; what the store is still being told.
    fn give_back(&mut self) -> Vec<JoinHandle<()>> {
        self.reservations.drain(..).for_each(Reservation::succeeded);
        self.flights.drain(..).filter_map(Flight::give_back).collect()
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

/// Waits until the store knows, so that a client which has its answer has its unit too; each
/// within `[store] timeout`.
pub(super) async fn given_back(tasks: Vec<JoinHandle<()>>) {
    for task in tasks {
        drop(task.await);
    }
}
