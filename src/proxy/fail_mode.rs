//! What happens to requests while the blocklist cannot be asked (`on_unreachable`): counted for
//! each route, and said when it begins and when it is over.

use super::Rejection;
use crate::blocklist::Unavailable;
use crate::observe::metrics::Metrics;
use crate::policy::{Route, Snapshot};
use crate::time::UnixTime;

/// How long no request has met it before it counts as over.
const QUIET_SECONDS: u64 = 3;

/// One request met it.
///
/// # Errors
///
/// 503, unless the route says that requests go on.
pub(super) fn act(
    metrics: &Metrics,
    route: &Route,
    unavailable: &Unavailable,
    now: UnixTime,
) -> Result<(), Rejection> {
    let reason = unavailable.reason.reason();
    let name = &*route.name;
    if route.allow_unreachable {
        metrics.unchecked_requests.increment();
        if route.series.unchecked.meet(now) {
            tracing::warn!(
                route = name,
                reason,
                "the blocklist cannot be asked; requests go on unchecked from here \
                 (on_unreachable = \"allow\")"
            );
        }
        return Ok(());
    }
    if route.series.unavailable.meet(now) {
        tracing::warn!(
            route = name,
            reason,
            "the blocklist cannot be asked; requests are refused from here (on_unreachable = \
             \"deny\")"
        );
    }
    Err(Rejection::StoreUnavailable(reason))
}

/// Says what is over: the store answers, and no request has met the contrary for a while. To be
/// called from time to time while it does.
pub fn end(policy: &Snapshot, now: UnixTime) {
    for route in &policy.routes {
        let (name, series) = (&*route.name, &route.series);
        if let Some(past) = series.unchecked.end_if_quiet(QUIET_SECONDS, now) {
            let (requests, seconds) = (past.requests, past.seconds);
            tracing::warn!(
                route = name,
                requests,
                seconds,
                "the blocklist is asked again; so many requests went on unchecked"
            );
        }
        if let Some(past) = series.unavailable.end_if_quiet(QUIET_SECONDS, now) {
            let (requests, seconds) = (past.requests, past.seconds);
            tracing::warn!(
                route = name,
                requests,
                seconds,
                "the blocklist is asked again; so many requests were refused"
            );
        }
    }
}
