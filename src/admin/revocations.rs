//! `POST`, `GET` and `DELETE /revocations`.

use std::sync::Arc;
use std::time::Duration;

use http::{Request, StatusCode};
use hyper::body::Incoming;
use serde::Deserialize;

use super::{Admin, Answer, body, json, problem};
use crate::auth::Issuers;
use crate::blocklist::{End, ListError, Revocation, RevokeError};
use crate::policy::revocation::{self, Named, NamedError};
use crate::time::UnixTime;

/// Entries on a page unless asked otherwise.
const PAGE_ENTRIES: usize = 100;

/// The body of `POST /revocations`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Create {
    jti: Option<String>,
    token: Option<String>,
    of_issuer: Option<String>,
    r#for: Option<String>,
    #[serde(default)]
    reason: String,
}

pub(super) async fn create(admin: &Admin, request: Request<Incoming>) -> Answer {
    let create: Create = match body(request).await {
        Ok(create) => create,
        Err(answer) => return answer,
    };
    let now = UnixTime::now();
    let policy = admin.gateway.policy.load_full();
    let wanted = match wanted(&create, &policy.issuers, now) {
        Ok(wanted) => wanted,
        Err(detail) => return problem(StatusCode::BAD_REQUEST, &detail),
    };
    match admin.blocklist.revoke(&wanted, now).await {
        Ok(item) => {
            tracing::info!(id = item.id, kind = item.kind, value = item.value, "revoked");
            json(StatusCode::CREATED, &item)
        }
        Err(RevokeError::Store(error)) => {
            problem(StatusCode::SERVICE_UNAVAILABLE, &error.to_string())
        }
        Err(error) => problem(StatusCode::BAD_REQUEST, &error.to_string()),
    }
}

fn wanted(create: &Create, issuers: &Issuers, now: UnixTime) -> Result<Revocation, String> {
    let span = create.r#for.as_deref().map(humantime::parse_duration).transpose();
    let span: Option<Duration> = span.map_err(|error| format!("for: {error}"))?;
    let issuer = create.of_issuer.as_deref();
    let named = match (&create.jti, &create.token) {
        (Some(jti), None) => Named::Jti { jti, issuer, span },
        (None, Some(token)) => Named::Token { token, issuer, span },
        _ => return Err("name one of jti, token".into()),
    };
    revocation::of(&named, issuers, now)
        .map(|found| Revocation {
            selector: found.selector,
            end: End::At(found.until),
            issued_before: None,
            reason: create.reason.clone(),
            by: "admin".to_owned(),
        })
        .map_err(|error: NamedError| error.to_string())
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
            tracing::info!(id, "revocation lifted");
            super::response(StatusCode::NO_CONTENT, "application/json", Vec::new())
        }
        Ok(false) => problem(StatusCode::NOT_FOUND, "no entry of this id"),
        Err(error) => problem(StatusCode::SERVICE_UNAVAILABLE, &error.to_string()),
    }
}
