//! `POST {prefix}/logout`: ends one's own session; with `?all=true` all of one's own.
//!
//! 204 is said once the store has confirmed: from then on no gateway lets the session's tokens
//! through (invariant 9).

use std::sync::Arc;

use http::{HeaderMap, Response};

use super::errand::{Errand, to_its_end};
use super::fields::Fields;
use super::grant::nothing;
use super::limits;
use super::{Call, browser};
use crate::auth::{IssuerFilter, Verified, VerifyError};
use crate::blocklist::{Cause, End, Revocation, RevokeError};
use crate::body::Body;
use crate::issuer::Login;
use crate::observe::audit::{Event, Kind, Outcome};
use crate::policy::LOCAL;
use crate::policy::revocation::{self, Asked};
use crate::proxy::authenticate::{shown_to_endpoint, stands};
use crate::proxy::measure::Decision;
use crate::proxy::{Rejection, Trip};
use crate::secret::Secret;
use crate::time::UnixTime;
use crate::token::{Kind as SelectorKind, Selector, token_digest};

/// Why, in the entries' words.
const REASON: &str = "logout";

/// Who revokes.
const ACTOR: &str = "logout";

/// Whose session is to end.
enum Who {
    /// Whoever bears this access token.
    Bearer(Arc<Verified>, Secret<String>),
    /// Whoever has the current refresh token of this login.
    Holder(Login),
}

/// Ends the session, or all.
///
/// # Errors
///
/// 401 without a token that counts (a second time, too: the session has ended everywhere then); 400
/// for `all` where there are no sessions or a body that is none; 503 when it was not confirmed.
pub(super) async fn answer(trip: &mut Trip, call: Call<'_>) -> Result<Response<Body>, Rejection> {
    let all = is_for_all(call.parts.uri.query())?;
    if let Some(cookie) = browser::session_cookie(call.parts, &trip.policy) {
        return browser::end(trip, call, cookie, all).await;
    }
    let Call { parts, inbound, bytes_max, .. } = call;
    let errand = Errand::of(trip, &parts.headers)?;
    let idle = trip.policy.timeouts.body_idle;
    let mut fields = Fields::read(&parts.headers, inbound, bytes_max, idle).await?;
    let refresh = fields.optional("refresh_token")?;
    let who = match bearer(trip, &parts.headers, &errand).await {
        Ok(who) => who,
        Err(rejection) => match refresh.filter(|_| may_stand_in(&rejection)) {
            None => return Err(rejection),
            Some(refresh) => Who::Holder(holder(trip, &errand, &refresh, rejection).await?),
        },
    };
    to_its_end(end(errand, who, all)).await?;
    trip.decide(Decision::Allowed("logout"));
    Ok(nothing())
}

/// Whoever bears an access token that counts. One whose session has ended does not; but what ended
/// it may have been a logout that was not confirmed, and this is its retry.
async fn bearer(trip: &mut Trip, headers: &HeaderMap, errand: &Errand) -> Result<Who, Rejection> {
    let (verified, token) = shown_to_endpoint(trip, headers, &IssuerFilter::All).await?;
    let stands = stands(trip, &verified).await;
    if let Err(Rejection::Revoked(Cause::Entry(kind))) = &stands
        && *verified.entry == *LOCAL
        && matches!(kind, SelectorKind::Sid | SelectorKind::Sub)
    {
        limits::may_try(trip)?;
        limits::note_failed(trip);
        confirm_for(errand, &verified, *kind).await?;
    }
    stands.map(|()| Who::Bearer(verified, Secret::new(token)))
}

/// What ended the session of a token of ours, or all its subject's, is seen to have ended them
/// everywhere. Of all, no later ones than this token knows of: they are its bearer's no more.
async fn confirm_for(
    errand: &Errand,
    verified: &Verified,
    kind: SelectorKind,
) -> Result<(), Rejection> {
    let Some(subject) = &verified.subject else { return Ok(()) };
    match (kind, &verified.session, verified.issued_at) {
        (SelectorKind::Sid, Some(sid), _) => {
            let event = event_of(errand, verified).detail("sid", &**sid);
            confirm(errand, event, (subject, sid)).await
        }
        (SelectorKind::Sub, _, Some(until)) => {
            let (errand, subject) = (errand.clone(), subject.to_string());
            to_its_end(async move { end_all(&errand, &subject, Some(until)).await }).await
        }
        _ => Ok(()),
    }
}

/// Whether a refresh token may stand in for the access token: for one that is absent, is too old or
/// is revoked, never for one that is forged.
const fn may_stand_in(rejection: &Rejection) -> bool {
    matches!(
        rejection,
        Rejection::InvalidToken(VerifyError::Expired) | Rejection::NoToken | Rejection::Revoked(_)
    )
}

/// `?all=true`, and no other spelling of it: whoever wants all ended must not be told 204 for one.
fn is_for_all(query: Option<&str>) -> Result<bool, Rejection> {
    let query = query.unwrap_or_default();
    let mut values = form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| name == "all");
    let value = values.next().map(|(_, value)| value);
    match (value.as_deref(), values.next()) {
        (None, None) | (Some("false"), None) => Ok(false),
        (Some("true"), None) => Ok(true),
        _ => Err(Rejection::BadRequest("logout_all")),
    }
}

/// The login of a refresh token that is current.
async fn holder(
    trip: &Trip,
    errand: &Errand,
    refresh: &Secret<String>,
    rejection: Rejection,
) -> Result<Login, Rejection> {
    limits::may_try(trip)?;
    let known = errand.families.introspect(refresh.expose(), UnixTime::now()).await;
    match known.map_err(|error| errand.unavailable(&error))? {
        Some(known) => Ok(known.login),
        None => {
            limits::note_failed(trip);
            let ended = errand.families.ended_session(refresh.expose()).await;
            if let Some(sid) = ended.map_err(|error| errand.unavailable(&error))? {
                let event = errand.event(Kind::Logout, Outcome::Asked).issuer(LOCAL);
                confirm(errand, event.detail("sid", sid.as_str()), ("", &sid)).await?;
            }
            Err(rejection)
        }
    }
}

async fn end(errand: Errand, who: Who, all: bool) -> Result<(), Rejection> {
    match who {
        Who::Holder(login) if all => end_all(&errand, &login.subject, None).await,
        Who::Holder(login) => {
            let event = errand.event_of(Kind::Logout, Outcome::Asked, &login);
            end_session(&errand, event, (&login.subject, &login.sid), None).await
        }
        Who::Bearer(verified, token) => {
            let is_local = &*verified.entry == LOCAL;
            match (&verified.subject, &verified.session) {
                (Some(subject), Some(sid)) if is_local => {
                    if all {
                        return end_all(&errand, subject, None).await;
                    }
                    let event = event_of(&errand, &verified);
                    let event = event.detail("sid", &**sid);
                    let token = Some((&*verified, &token));
                    end_session(&errand, event, (subject, sid), token).await
                }
                _ if all => Err(Rejection::BadRequest("logout_all")),
                // Its sessions are another's to end.
                _ => {
                    let event = event_of(&errand, &verified);
                    errand.record(event.clone()).await?;
                    let revoked = revoke_token(&errand, &verified, &token).await;
                    told(&errand, event, revoked).await
                }
            }
        }
    }
}

/// Sees to it that a session which has ended already has ended everywhere: only then is it said
/// that there is nothing left to log out from.
pub(super) async fn confirm(
    errand: &Errand,
    event: Event,
    (subject, sid): (&str, &str),
) -> Result<(), Rejection> {
    let (errand, subject, sid) = (errand.clone(), subject.to_owned(), sid.to_owned());
    to_its_end(async move { end_session(&errand, event, (&subject, &sid), None).await }).await
}

/// Ends one session: no refresh any more, its access tokens on the blocklist, its streams closed.
/// The one token comes last: with it revoked and the session alive, its bearer could not try again.
/// A session that is over already is revoked all the same: its tokens may live on.
pub(super) async fn end_session(
    errand: &Errand,
    event: Event,
    (subject, sid): (&str, &str),
    token: Option<(&Verified, &Secret<String>)>,
) -> Result<(), Rejection> {
    errand.record(event.clone()).await?;
    let ended = async {
        let now = UnixTime::now();
        let ended = errand.families.end_own(sid, subject, now).await;
        ended.map_err(|error| errand.unavailable(&error))?;
        let revocation =
            Revocation { by: ACTOR.to_owned(), ..errand.families.revocation_of(sid, REASON) };
        revoke(errand, &revocation, now).await?;
        match token {
            Some((verified, token)) => revoke_token(errand, verified, token).await,
            None => Ok(()),
        }
    };
    let ended = ended.await;
    told(errand, event, ended).await
}

/// Ends all sessions of a subject, or those whose tokens are dated `until` then. Its tokens first:
/// what begins meanwhile is dated after that.
pub(super) async fn end_all(
    errand: &Errand,
    subject: &str,
    until: Option<UnixTime>,
) -> Result<(), Rejection> {
    let event = errand.event(Kind::Logout, Outcome::Asked).issuer(LOCAL).subject(subject);
    let event = event.detail("all", true);
    errand.record(event.clone()).await?;
    let ended = async {
        let now = UnixTime::now();
        let asked = Asked {
            sub: Some(subject.to_owned()),
            of_issuer: Some(errand.issuing.issuer.clone()),
            issued_before: until.map(UnixTime::seconds),
            reason: REASON.to_owned(),
            ..Asked::default()
        };
        let wanted = revocation::of(&asked, ACTOR, &errand.policy.issuers, now);
        let wanted = wanted.map_err(|error| {
            tracing::error!(%error, "a logout cannot be executed");
            Rejection::Unavailable("issuing_failed")
        })?;
        revoke(errand, &wanted, now).await?;
        if until.is_some() {
            let ended = errand.families.end_revoked(&wanted.selector, until, now).await;
            return ended.map(drop).map_err(|error| errand.unavailable(&error));
        }
        let ended = errand.families.end_all(subject, now).await;
        for login in ended.map_err(|error| errand.unavailable(&error))? {
            errand.tell_ended(&login, REASON, now).await?;
        }
        Ok(())
    };
    let ended = ended.await;
    told(errand, event, ended).await
}

/// Puts the token itself on the blocklist: by its `jti`, else by its digest.
async fn revoke_token(
    errand: &Errand,
    verified: &Verified,
    token: &Secret<String>,
) -> Result<(), Rejection> {
    let selector = match &verified.jti {
        Some(jti) => Selector {
            kind: SelectorKind::Jti,
            issuer: verified.issuer.to_string(),
            value: jti.to_string(),
        },
        None => {
            let value = token_digest(token.expose());
            Selector { kind: SelectorKind::Token, issuer: String::new(), value }
        }
    };
    let revocation = Revocation {
        selector,
        end: End::At(verified.lookup.until),
        issued_before: None,
        reason: REASON.to_owned(),
        by: ACTOR.to_owned(),
    };
    revoke(errand, &revocation, UnixTime::now()).await
}

async fn revoke(errand: &Errand, what: &Revocation, now: UnixTime) -> Result<(), Rejection> {
    match errand.worker.gateway.blocklist.revoke(what, now).await {
        Ok(item) => {
            item.log(None, Some(&errand.request_id));
            Ok(())
        }
        // It expired this very moment.
        Err(RevokeError::AlreadyOver) => Ok(()),
        Err(error) => Err(errand.unrevoked(&error)),
    }
}

/// Writes down what came of it.
async fn told(
    errand: &Errand,
    event: Event,
    ended: Result<(), Rejection>,
) -> Result<(), Rejection> {
    let event = match &ended {
        Ok(()) => event.ended(Outcome::Done),
        Err(rejection) => event.ended(Outcome::Failed).detail("error", rejection.reason()),
    };
    let written = errand.record(event).await;
    ended.and(written)
}

fn event_of(errand: &Errand, verified: &Verified) -> Event {
    let event = errand.event(Kind::Logout, Outcome::Asked).issuer(&verified.entry);
    let event = match &verified.subject {
        Some(subject) => event.subject(subject),
        None => event,
    };
    match &verified.jti {
        Some(jti) => event.jti(jti),
        None => event,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// CWE-436: a word that one reader takes for yes and another for no is refused.
    #[test]
    fn all_is_asked_for_in_one_way() {
        let asked = |query: &'static str| is_for_all(Some(query)).ok();
        assert_eq!(is_for_all(None).ok(), Some(false));
        for (query, answer) in [
            ("", Some(false)),
            ("all=false", Some(false)),
            ("all=true", Some(true)),
            ("x=1&all=true", Some(true)),
            ("all", None),
            ("all=", None),
            ("all=1", None),
            ("all=True", None),
            ("all=true&all=true", None),
            ("all=false&all=true", None),
        ] {
            assert_eq!(asked(query), answer, "{query}");
        }
    }
}
