//! `POST`, `GET` and `DELETE /revocations`.

use std::sync::Arc;

use http::{Request, StatusCode};
use hyper::body::Incoming;

use super::{Admin, Answer, body, json, problem};
use crate::blocklist::{ListError, RevokeError};
use crate::policy::revocation::{self, Asked};
use crate::time::UnixTime;
use crate::token::Selector;

/// Who revokes through this listener: whoever has its secret.
const ACTOR: &str = "admin";

/// Entries on a page unless asked otherwise.
const PAGE_ENTRIES: usize = 100;

pub(super) async fn create(admin: &Admin, request: Request<Incoming>) -> Answer {
    let asked: Asked = match body(request).await {
        Ok(asked) => asked,
        Err(answer) => return answer,
    };
    let now = UnixTime::now();
    let policy = admin.gateway.policy.load_full();
    let wanted = match revocation::of(&asked, ACTOR, &policy.issuers, now) {
        Ok(wanted) => wanted,
        Err(error) => return problem(StatusCode::BAD_REQUEST, &error.to_string()),
    };
    match admin.blocklist.revoke(&wanted, now).await {
        Ok(item) => {
            tracing::info!(
                id = item.id,
                kind = item.kind,
                value = item.value,
                issuer = item.issuer,
                issued_before = item.issued_before,
                expires = item.expires,
                by = item.by,
                reason = item.reason,
                "revoked"
            );
            json(StatusCode::CREATED, &item)
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

pub(super) async fn remove(admin: &Admin, id: &str) -> Answer {
    match admin.blocklist.remove(id).await {
        Ok(true) => {
            let suffix = Selector::suffix_of_id(id).unwrap_or_default();
            let kind = suffix.split(':').next();
            tracing::info!(id, kind, by = ACTOR, "revocation lifted");
            super::response(StatusCode::NO_CONTENT, "application/json", Vec::new())
        }
        Ok(false) => problem(StatusCode::NOT_FOUND, "no entry of this id"),
        Err(error) => problem(StatusCode::SERVICE_UNAVAILABLE, &error.to_string()),
    }
}
