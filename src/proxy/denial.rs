//! A request that was refused, or whose stream was ended, as the audit log has it: who, from where,
//! why. Never its path, its query or its token.

use http::StatusCode;

use super::endpoint::unavailable;
use super::measure::Measure;
use super::record::Record;
use super::{Rejection, Trip};
use crate::observe::audit::{Audit, Event, Kind, Outcome};
use crate::stream::Why;

/// The event, where there is an audit log and the refusal is one of the person or the token (401,
/// 403, 429) rather than of the request's form. A session that is refused is one whether or not the
/// browser is led to the login page; a person who comes without one is asked to log in, no more.
pub(super) fn event(trip: &Trip, rejection: &Rejection) -> Option<Event> {
    let status = rejection.status();
    let counts = match rejection {
        Rejection::NoSession(refusal) if refusal.login.is_some() => refusal.reason != "no_token",
        _ => matches!(
            status,
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::TOO_MANY_REQUESTS
        ),
    };
    if !counts || has_its_own(rejection) || !trip.worker.gateway.audit.is_on() {
        return None;
    }
    let mut event = Event::new(Kind::Denial, Outcome::Refused)
        .reason(rejection.reason())
        .detail("status", status.as_u16())
        .address(trip.client)
        .request(trip.request_id.to_str().unwrap_or_default());
    if let Some(user_agent) = &trip.user_agent {
        event = event.user_agent(&String::from_utf8_lossy(user_agent.as_bytes()));
    }
    let cause = match rejection {
        Rejection::Revoked(cause) => Some(*cause),
        Rejection::NoSession(refusal) => refusal.cause,
        _ => None,
    };
    if let Some(cause) = cause {
        event = event.detail("cause", cause.reason());
    }
    Some(with_caller(event, &trip.ending.as_ref()?.measure))
}

/// Writes it down. A client that was not accepted at one of OAuth's endpoints (`of_client`) is told
/// so once the line is on disk: which secret is right must not show by who gets 503. Everybody else
/// only hands it over: a flood of requests must not cost a trip to the disk each.
///
/// # Errors
///
/// 503.
pub(super) async fn write_down(
    audit: Audit,
    event: Event,
    of_client: bool,
) -> Result<(), Rejection> {
    if !of_client {
        audit.note(event).await;
        return Ok(());
    }
    audit.record_refusal(event).await.map_err(|error| {
        tracing::error!(%error, "a client's refusal was not written down");
        unavailable("audit_unavailable")
    })
}

/// Whether a login or a refresh was refused: that is an event of its own, which knows more.
fn has_its_own(rejection: &Rejection) -> bool {
    match rejection {
        Rejection::NotAccepted(_) => true,
        Rejection::Shown(shown) => has_its_own(&shown.why),
        Rejection::Limited(limited) => limited.by == "login_limits",
        _ => false,
    }
}

/// The event of a stream that was ended before its time.
pub(super) fn closed(measure: &Measure, record: Option<&Record>, why: Why) -> Event {
    let mut event = Event::new(Kind::StreamClosed, Outcome::Done).reason(why.reason());
    if let Some(record) = record {
        event = event.address(record.client);
        if let Some(id) = record.request_id.as_ref().and_then(|id| id.to_str().ok()) {
            event = event.request(id);
        }
    }
    with_caller(event, measure)
}

fn with_caller(mut event: Event, measure: &Measure) -> Event {
    if let Some(route) = &measure.route {
        event = event.detail("route", &*route.name);
    }
    let Some(caller) = &measure.caller else { return event };
    event = event.issuer(&caller.entry);
    if let Some(subject) = &caller.subject {
        event = event.subject(subject);
    }
    if let Some(client) = caller.clients.first() {
        event = event.client(client);
    }
    if let Some(jti) = &caller.jti {
        event = event.jti(jti);
    }
    event
}
