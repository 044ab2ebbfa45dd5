//! `POST`, `GET` and `DELETE /revocations`.

use std::net::IpAddr;
use std::sync::Arc;

use http::{Request, StatusCode};
use hyper::body::Incoming;
use percent_encoding::percent_decode_str;

use super::{ACTOR, Admin, Answer, body, json, problem, sessions};
use crate::blocklist::{ListError, RevokeError};
use crate::observe::audit::{Event, Kind, Outcome, Unwritten};
use crate::policy::revocation::{self, Asked};
use crate::time::UnixTime;
use crate::token::Selector;

/// Entries on a page unless asked otherwise.
const PAGE_ENTRIES: usize = 100;

pub(super) async fn create(admin: &Admin, request: Request<Incoming>, peer: IpAddr) -> Answer {
    let event = super::by(Kind::Revocation, &request, peer);
    let asked: Asked = match body(request).await {
        Ok(asked) => asked,
        Err(answer) => return answer,
    };
    let now = UnixTime::now();
    let policy = admin.gateway.policy.load_full();
    let wanted = match revocation::under(&policy, &asked, ACTOR, now) {
        Ok(wanted) => wanted,
        Err(error) => return problem(StatusCode::BAD_REQUEST, &error.to_string()),
    };
    let (kind, value) = (wanted.selector.kind.as_str(), wanted.selector.value.clone());
    let event = event.issuer(&wanted.selector.issuer).reason(&wanted.reason);
    let event = event.selector(kind, &value, Some(&wanted.selector.id()));
    let audit = &admin.gateway.audit;
    if let Err(unwritten) = audit.record(event.clone()).await {
        return not_audited(&unwritten, "nothing was revoked");
    }
    let revoked = admin.blocklist.revoke(&wanted, now).await;
    let ended = match &revoked {
        Ok(item) => event.ended(Outcome::Done).detail("expires", item.expires),
        Err(error) => event.ended(Outcome::Failed).detail("error", error.to_string()),
    };
    let audited = audit.record(ended).await;
    match revoked {
        Ok(item) => {
            item.log(None, None);
            sessions::end_revoked(admin, &wanted, item.issued_before).await;
            match audited {
                Ok(()) => json(StatusCode::CREATED, &item),
                Err(unwritten) => not_audited(&unwritten, "it is revoked nevertheless"),
            }
        }
        Err(RevokeError::Store(error)) => {
            let (id, kind) = (wanted.selector.id(), wanted.selector.kind.as_str());
            let (by, reason) = (wanted.by, wanted.reason);
            tracing::warn!(id, kind, by, reason, %error, "a revocation was not confirmed");
            problem(StatusCode::SERVICE_UNAVAILABLE, &error.to_string())
        }
        Err(error) => problem(StatusCode::BAD_REQUEST, &error.to_string()),
    }
}

pub(super) async fn list(admin: &Admin, query: &str) -> Answer {
    let mut limit = PAGE_ENTRIES;
    let mut after: Option<Arc<str>> = None;
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        match name.as_ref() {
            "limit" => match value.parse() {
                Ok(number) if (1..=1000).contains(&number) => limit = number,
                _ => return problem(StatusCode::BAD_REQUEST, "limit is a number from 1 to 1000"),
            },
            "after" => after = Some(value.as_ref().into()),
            _ => return problem(StatusCode::BAD_REQUEST, "only limit and after are known"),
        }
    }
    match admin.blocklist.list(limit, after.as_deref(), UnixTime::now()).await {
        Ok(page) => json(StatusCode::OK, &page),
        Err(error @ ListError::Cursor) => problem(StatusCode::BAD_REQUEST, &error.to_string()),
        Err(ListError::Store(error)) => {
            problem(StatusCode::SERVICE_UNAVAILABLE, &error.to_string())
        }
    }
}

pub(super) async fn remove(admin: &Admin, id: &str, event: Event) -> Answer {
    let suffix = Selector::suffix_of_id(id).unwrap_or_default();
    let parts: Vec<_> =
        suffix.split(':').map(|part| percent_decode_str(part).decode_utf8_lossy()).collect();
    // A token's digest and an issuer stand alone; everything else is of an issuer.
    let (kind, issuer, value) = match parts.as_slice() {
        [kind, value] => (&**kind, "", &**value),
        [kind, issuer, value] => (&**kind, &**issuer, &**value),
        _ => return problem(StatusCode::NOT_FOUND, "no entry of this id"),
    };
    let event = event.selector(kind, value, Some(id)).issuer(issuer);
    let audit = &admin.gateway.audit;
    if let Err(unwritten) = audit.record(event.clone()).await {
        return not_audited(&unwritten, "nothing was lifted");
    }
    let removed = admin.blocklist.remove(id).await;
    let ended = match &removed {
        Ok(true) => event.ended(Outcome::Done),
        Ok(false) => event.ended(Outcome::Failed).detail("error", "no entry of this id"),
        Err(error) => event.ended(Outcome::Failed).detail("error", error.to_string()),
    };
    let audited = audit.record(ended).await;
    match removed {
        Ok(true) => {
            tracing::info!(id, kind, by = ACTOR, "revocation lifted");
            match audited {
                Ok(()) => super::response(StatusCode::NO_CONTENT, "application/json", Vec::new()),
                Err(unwritten) => not_audited(&unwritten, "it is lifted nevertheless"),
            }
        }
        Ok(false) => problem(StatusCode::NOT_FOUND, "no entry of this id"),
        Err(error) => problem(StatusCode::SERVICE_UNAVAILABLE, &error.to_string()),
    }
}

/// The operator knows of a loss.
pub(super) async fn acknowledge(admin: &Admin, event: Event) -> Answer {
    let audit = &admin.gateway.audit;
    if let Err(unwritten) = audit.record(event.clone()).await {
        return not_audited(&unwritten, "the alarm stands");
    }
    let acknowledged = admin.blocklist.ack();
    match audit.record(event.ended(Outcome::Done).detail("alarm", acknowledged)).await {
        Ok(()) => json(StatusCode::OK, &serde_json::json!({ "acknowledged": acknowledged })),
        Err(unwritten) => not_audited(&unwritten, "the alarm is over nevertheless"),
    }
}

/// 503: nothing security-relevant happens without its line, or is told as done without it.
fn not_audited(unwritten: &Unwritten, so: &str) -> Answer {
    problem(StatusCode::SERVICE_UNAVAILABLE, &format!("{unwritten}; {so}"))
}
