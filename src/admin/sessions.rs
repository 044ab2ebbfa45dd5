//! `GET /sessions?sub=S` and `DELETE /sessions/{sid}`: anybody's sessions, for operators.

use http::StatusCode;

use super::{ACTOR, Admin, Answer, json, problem};
use crate::blocklist::Revocation;
use crate::issuer::{Families, Login, Session, Unavailable};
use crate::observe::audit::{Event, Outcome};
use crate::policy::LOCAL;
use crate::time::UnixTime;

/// Why, in the entry's words.
const REASON: &str = "ended by an operator";

/// The live sessions of a subject, the last used first.
pub(super) async fn list(admin: &Admin, query: &str) -> Answer {
    let mut asked = form_urlencoded::parse(query.as_bytes());
    let subject = match (asked.next(), asked.next()) {
        (Some((name, subject)), None) if name == "sub" => subject,
        _ => return problem(StatusCode::BAD_REQUEST, "exactly one sub is needed"),
    };
    let Some(families) = families(admin) else { return nothing_is_issued() };
    match families.sessions(&subject, UnixTime::now()).await {
        Ok(sessions) => {
            let sessions: Vec<_> = sessions.iter().map(shown).collect();
            json(StatusCode::OK, &serde_json::json!({ "sessions": sessions }))
        }
        Err(error) => unavailable(&error),
    }
}

/// Ends a session, whosever it is.
pub(super) async fn end(admin: &Admin, sid: &str, event: Event) -> Answer {
    let Some(families) = families(admin) else { return nothing_is_issued() };
    let event = event.issuer(LOCAL).detail("sid", sid).reason(REASON);
    let audit = &admin.gateway.audit;
    if let Err(unwritten) = audit.record(event.clone()).await {
        return problem(StatusCode::SERVICE_UNAVAILABLE, &unwritten.to_string());
    }
    let ended = end_everywhere(admin, &families, sid).await;
    let event = match &ended {
        Ok(Some(Over::Now(login))) => event.ended(Outcome::Done).subject(&login.subject),
        Ok(Some(Over::Before)) => event.ended(Outcome::Done),
        Ok(None) => event.ended(Outcome::Failed).detail("error", "no live session of this name"),
        Err(error) => event.ended(Outcome::Failed).detail("error", error.as_str()),
    };
    let written = audit.record(event).await;
    match (ended, written) {
        (Ok(Some(_)), Ok(())) => {
            super::response(StatusCode::NO_CONTENT, "application/json", Vec::new())
        }
        (Ok(Some(_)), Err(unwritten)) => {
            let detail = format!("{unwritten}; it is ended nevertheless");
            problem(StatusCode::SERVICE_UNAVAILABLE, &detail)
        }
        (Ok(None), _) => problem(StatusCode::NOT_FOUND, "no live session of this name"),
        (Err(error), _) => problem(StatusCode::SERVICE_UNAVAILABLE, &error),
    }
}

/// A session that is over.
enum Over {
    /// Ended earlier; whoever was not told for certain asks again.
    Before,
    /// Ended by this request.
    Now(Box<Login>),
}

/// Ends it, or sees to it that its end is known; on the blocklist of every gateway when this
/// answers. `None` when there is none of this name, or it was left unused until it was over.
async fn end_everywhere(
    admin: &Admin,
    families: &Families,
    sid: &str,
) -> Result<Option<Over>, String> {
    let now = UnixTime::now();
    let ended = families.end(sid, now).await.map_err(|error| error.to_string())?;
    let over = match ended {
        Some(login) => Over::Now(Box::new(login)),
        None if families.has_ended(sid).await.map_err(|error| error.to_string())? => Over::Before,
        None => return Ok(None),
    };
    let revocation = Revocation { by: ACTOR.to_owned(), ..families.revocation_of(sid, REASON) };
    let revoked = admin.blocklist.revoke(&revocation, now).await;
    let item = revoked.map_err(|error| error.to_string())?;
    item.log(None, None);
    Ok(Some(over))
}

/// Ends the logins that a revocation was about: they could not be renewed any more, now they are
/// not there any more either. What is not ended here is refused at its next refresh.
pub(super) async fn end_revoked(admin: &Admin, revoked: &Revocation, issued_before: Option<i64>) {
    let Some(families) = families(admin) else { return };
    let now = UnixTime::now();
    match families.end_revoked(&revoked.selector, issued_before.map(UnixTime), now).await {
        Ok(0) => {}
        Ok(ended) => tracing::info!(ended, by = ACTOR, "sessions were ended by a revocation"),
        Err(error) => tracing::warn!(%error, "sessions of a revocation are still to be ended"),
    }
}

fn families(admin: &Admin) -> Option<Families> {
    let policy = admin.gateway.policy.load();
    admin.gateway.authorization_server.families(policy.issuing.as_ref()?)
}

fn shown(session: &Session) -> serde_json::Value {
    serde_json::json!({
        "sid": session.sid,
        "created_at": session.created_at.seconds(),
        "last_used_at": session.last_used_at.seconds(),
        "address": session.address,
        "user_agent": session.user_agent,
    })
}

fn nothing_is_issued() -> Answer {
    problem(StatusCode::NOT_FOUND, "nothing is issued here: there is no [issuing]")
}

fn unavailable(error: &Unavailable) -> Answer {
    problem(StatusCode::SERVICE_UNAVAILABLE, &error.to_string())
}
