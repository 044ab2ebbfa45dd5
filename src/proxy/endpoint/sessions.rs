//! `GET {prefix}/sessions`, `DELETE {prefix}/sessions/{sid}`: one's own sessions, and nobody
//! else's.

use std::sync::Arc;

use http::Response;
use http::request::Parts;
use serde::Serialize;

use super::errand::{Errand, to_its_end};
use super::grant::{json, nothing};
use super::logout::{confirm, end_session};
use super::{Call, browser, limits, session_named};
use crate::auth::{IssuerFilter, Verified};
use crate::body::Body;
use crate::issuer::Session;
use crate::observe::audit::{Kind, Outcome};
use crate::policy::LOCAL;
use crate::proxy::authenticate::of_endpoint;
use crate::proxy::measure::Decision;
use crate::proxy::{Rejection, Trip};
use crate::time::UnixTime;

/// The answer to the list.
#[derive(Serialize)]
struct Document<'s> {
    sessions: Vec<Shown<'s>>,
}

/// One session, as its owner sees it. Times are Unix seconds.
#[derive(Serialize)]
struct Shown<'s> {
    sid: &'s str,
    created_at: i64,
    last_used_at: i64,
    address: &'s str,
    user_agent: &'s str,
    current: bool,
}

/// The caller's sessions, the last used first.
///
/// # Errors
///
/// 401 without a token of our own; 503.
pub(super) async fn list(trip: &mut Trip, call: Call<'_>) -> Result<Response<Body>, Rejection> {
    let errand = Errand::of(trip, &call.parts.headers)?;
    let caller = caller(trip, call.parts).await?;
    let subject = caller.subject.as_deref().ok_or(Rejection::NotFound)?;
    let sessions = errand.families.sessions(subject, UnixTime::now()).await;
    let sessions = sessions.map_err(|error| errand.unavailable(&error))?;
    let shown = |session| shown(session, caller.session.as_deref());
    trip.decide(Decision::Allowed("sessions"));
    Ok(json(&Document { sessions: sessions.iter().map(shown).collect() }))
}

/// Ends one of the caller's sessions.
///
/// # Errors
///
/// 401 without a token of our own; 404 for a session that is not the caller's, or over; 429 for
/// guessing; 503.
pub(super) async fn end_one(trip: &mut Trip, call: Call<'_>) -> Result<Response<Body>, Rejection> {
    let Call { head, parts, mut inbound, .. } = call;
    let errand = Errand::of(trip, &parts.headers)?;
    if browser::session_cookie(parts, &trip.policy).is_some() {
        browser::may_spend(trip, head, parts, &mut inbound).await?;
    }
    let caller = caller(trip, parts).await?;
    let subject = caller.subject.as_deref().ok_or(Rejection::NotFound)?.to_owned();
    let rest = trip.policy.own_paths.rest(parts.uri.path());
    let sid = rest.and_then(session_named).ok_or(Rejection::NotFound)?.to_owned();
    let sessions = errand.families.sessions(&subject, UnixTime::now()).await;
    let sessions = sessions.map_err(|error| errand.unavailable(&error))?;
    if !sessions.iter().any(|session| session.sid == sid) {
        see_it_ended(trip, &errand, &sid).await?;
        return Err(Rejection::NotFound);
    }
    let ended = async move {
        let event = errand.event(Kind::Logout, Outcome::Asked).issuer(LOCAL).subject(&subject);
        let event = event.detail("sid", sid.as_str());
        end_session(&errand, event, (&subject, &sid), None).await
    };
    to_its_end(ended).await?;
    trip.decide(Decision::Allowed("sessions"));
    Ok(nothing())
}

/// A request that was not confirmed may have ended it: that there is none is said once it has ended
/// everywhere.
async fn see_it_ended(trip: &Trip, errand: &Errand, sid: &str) -> Result<(), Rejection> {
    limits::may_try(trip)?;
    limits::note_failed(trip);
    let has_ended = errand.families.has_ended(sid).await;
    if !has_ended.map_err(|error| errand.unavailable(&error))? {
        return Ok(());
    }
    let event = errand.event(Kind::Logout, Outcome::Asked).issuer(LOCAL).detail("sid", sid);
    confirm(errand, event, ("", sid)).await
}

async fn caller(trip: &mut Trip, parts: &Parts) -> Result<Arc<Verified>, Rejection> {
    let local = IssuerFilter::Only(vec![LOCAL.into()]);
    of_endpoint(trip, &parts.headers, &local).await.map(|(verified, _)| verified)
}

fn shown<'s>(session: &'s Session, current: Option<&str>) -> Shown<'s> {
    Shown {
        sid: &session.sid,
        created_at: session.created_at.seconds(),
        last_used_at: session.last_used_at.seconds(),
        address: &session.address,
        user_agent: &session.user_agent,
        current: current == Some(&session.sid),
    }
}
