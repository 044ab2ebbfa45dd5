//! A browser's session in the pipeline: the cookie becomes the access token that the store keeps,
//! which is then verified, looked up on the blocklist and judged like any other.
//!
//! What a gateway remembers of a session saves it the store's answer and decides nothing: every
//! request asks the blocklist, where a session's end stands before anybody is told of it. Without a
//! blocklist (`check = "off"`) nothing is remembered. No request without the cookie comes here.

pub mod cookies;
mod kept;
mod refusal;
mod renewal;
pub mod return_to;

use std::sync::Arc;

use http::HeaderMap;
use http::request::Parts;

pub use self::kept::{Kept, Sessions};
pub use self::refusal::{NoSession, refuse};
use self::renewal::{Failed, Renewal};
use super::authenticate::{may_fail, note_failure};
use super::csrf::session::Asked;
use super::endpoint::errand::Errand;
use super::forward::Inbound;
use super::head::Head;
use super::{Rejection, Trip, csrf};
use crate::auth::IssuerFilter;
use crate::issuer::{BrowserSession, SessionId};
use crate::policy::{LOCAL, Route, Snapshot};
use crate::secret::Secret;
use crate::time::UnixTime;

/// The access token behind a session cookie: the one that is remembered, the one that the store
/// keeps, or a new one where that has expired or is about to.
///
/// # Errors
///
/// [`Rejection::NoSession`] when there is no such session (any more); 429 for a client that has
/// tried too many; 503 when that cannot be asked, or the account cannot.
pub(super) async fn access_token(
    trip: &Trip,
    headers: &HeaderMap,
    cookie: &str,
    now: UnixTime,
) -> Result<Arc<Kept>, Rejection> {
    let gateway = &trip.worker.gateway;
    let remembers = trip.policy.check_blocklist;
    if remembers
        && let Some(kept) = gateway.sessions.get(cookie, now)
        && gateway.tokens.get(kept.access.expose(), &trip.policy.issuers).is_some()
    {
        return Ok(kept);
    }
    // Boxed: the way of every other request stays as small as it was.
    Box::pin(ask(trip, headers, cookie, now)).await
}

async fn ask(
    trip: &Trip,
    headers: &HeaderMap,
    cookie: &str,
    now: UnixTime,
) -> Result<Arc<Kept>, Rejection> {
    let gateway = &trip.worker.gateway;
    let Some(id) = SessionId::parse(cookie) else {
        note_nobodys(trip, cookie);
        return Err(Rejection::no_session("session_malformed"));
    };
    if !may_be_asked(trip, cookie)? {
        return Err(Rejection::no_session("session_unknown"));
    }
    let errand = Errand::of(trip, headers)?;
    let found = errand.families.session(&id, now).await;
    let found = found.map_err(|error| errand.unavailable(&error))?;
    let Some(session) = found else {
        note_nobodys(trip, cookie);
        return Err(Rejection::no_session("session_unknown"));
    };
    let standing = standing(trip, &session, now);
    if let Some(kept) = &standing
        && now < kept.renew_at
    {
        return Ok(gateway.sessions.remember(cookie, kept.clone(), trip.policy.check_blocklist));
    }
    (Renewal { errand, id }).once(cookie, standing).await.map_err(|failed| match failed {
        Failed::Over(reason) => Rejection::no_session(reason),
        Failed::Unavailable(why) => Rejection::Unavailable(why),
    })
}

/// Whether the store is to be asked for the session behind a cookie: each answer costs a round
/// trip, so that inventing ids is guessing like any other (`[auth_failures]`). `false` when it has
/// just said that there is none.
///
/// # Errors
///
/// 429.
pub(super) fn may_be_asked(trip: &Trip, cookie: &str) -> Result<bool, Rejection> {
    if trip.worker.gateway.sessions.is_nobodys(cookie) {
        return Ok(false);
    }
    may_fail(trip).map(|()| true)
}

/// Notes that there is no session behind a cookie. Counted once: a browser whose session is over
/// asks for a page and all that is in it.
pub(super) fn note_nobodys(trip: &Trip, cookie: &str) {
    if trip.worker.gateway.sessions.note_nobodys(cookie) {
        note_failure(trip);
    }
}

/// Whether this request may spend its session's cookie ([`csrf`]).
///
/// # Errors
///
/// [`Rejection::Csrf`]; 413, 408 and 400 while a form is read.
pub(super) async fn may_spend(
    trip: &Trip,
    head: &Head,
    parts: &Parts,
    route: &Route,
    (upgrade, inbound): (bool, &mut Inbound),
) -> Result<(), Rejection> {
    let public = head.origin(&trip.policy).ok_or(Rejection::Csrf("csrf"))?;
    let cookies = trip.policy.cookies().ok_or(Rejection::Csrf("csrf"))?;
    let idle = route.timeouts.body_idle;
    let asked = Asked { rule: route.csrf, upgrade, public: &public, cookies, idle };
    csrf::session::guard(asked, parts, inbound).await
}

/// The session's own access token, where this snapshot accepts it.
fn standing(trip: &Trip, session: &BrowserSession, now: UnixTime) -> Option<Arc<Kept>> {
    let access = session.access.as_ref()?;
    let gateway = &trip.worker.gateway;
    verified(&trip.policy, &gateway.tokens, access, now)
}

/// Verifies a token that is our own, so that whoever verifies it next finds it verified.
fn verified(
    policy: &Snapshot,
    tokens: &crate::auth::TokenCache,
    access: &Secret<String>,
    now: UnixTime,
) -> Option<Arc<Kept>> {
    let text = access.expose();
    let verified = match tokens.get(text, &policy.issuers) {
        Some(verified) => verified,
        None => {
            let local = IssuerFilter::Only(vec![LOCAL.into()]);
            let candidate = policy.issuers.prepare(text, &local, now).ok()?;
            let verified = Arc::new(candidate.verify(now).ok()?);
            tokens.insert(text, verified.clone());
            verified
        }
    };
    verified.check_times(now).ok()?;
    let renew_at = renewal::due(policy.issuing.as_ref()?, verified.issued_at, verified.expires_at);
    Some(Arc::new(Kept { access: access.clone(), renew_at }))
}
