//! What is measured of every request, whether it is logged or not: its route, what became of it,
//! and how long that took.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::StatusCode;

use crate::observe::metrics::{Metrics, RouteSeries};
use crate::policy::Route;

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Forwarded, and why.
    Allowed(&'static str),
    /// Forwarded, and ended while it went on, because its token counted no longer; and why.
    Ended(&'static str),
    /// Not forwarded, or not answered by the upstream, and why.
    Refused(&'static str),
}

/// One request's measures. It is counted once: its decision when that is final, the rest when its
/// answer is over.
pub struct Measure {
    began: Instant,
    /// The route, once found.
    pub route: Option<Arc<Route>>,
    /// Why it was refused, or the word for why not.
    pub decision: Decision,
    /// Status of the answer; 499, as nginx writes it, while there is none.
    pub status: StatusCode,
    decided: bool,
}

impl Measure {
    /// A request whose head has just been read.
    #[must_use]
    pub fn begin() -> Self {
        Self {
            began: Instant::now(),
            route: None,
            decision: Decision::Refused("unfinished"),
            status: StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST),
            decided: false,
        }
    }

    /// Where it is counted.
    #[must_use]
    pub fn series<'m>(&'m self, metrics: &'m Metrics) -> &'m RouteSeries {
        self.route.as_ref().map_or(&metrics.unrouted, |route| &route.series)
    }

    /// The decision is final: counts it.
    pub fn decide(&mut self, metrics: &Metrics) {
        if !self.decided {
            self.decided = true;
            match self.decision {
                Decision::Allowed(reason) => self.series(metrics).allowed(reason),
                // Decided before it ended, so this is not reached.
                Decision::Ended(_) => {}
                Decision::Refused(reason) => self.series(metrics).refused(reason),
            }
        }
    }

    /// The answer is over: counts the request. How long it took.
    pub fn finish(&mut self, metrics: &Metrics) -> Duration {
        self.decide(metrics);
        let took = self.began.elapsed();
        self.series(metrics).finished(self.status.as_u16(), took);
        took
    }
}
