//! What a login or a refresh is answered with (RFC 6749 §5.1).
//!
//! It must never be kept by a cache, nor printed.

use http::header::{CACHE_CONTROL, CONTENT_TYPE, PRAGMA};
use http::{HeaderValue, Response};
use serde::Serialize;

use crate::body::Body;
use crate::issuer::{AccessToken, Issued};

/// Tokens to hand out.
pub(in crate::proxy) struct Tokens {
    /// The refresh token, and what it is about.
    pub(in crate::proxy) issued: Issued,
    /// The access token beside it.
    pub(in crate::proxy) access: AccessToken,
}

#[derive(Serialize)]
struct Document<'t> {
    access_token: &'t str,
    token_type: &'static str,
    /// Seconds.
    expires_in: u64,
    refresh_token: &'t str,
    /// Seconds.
    refresh_expires_in: u64,
}

impl Tokens {
    /// The answer to who may have them.
    pub(super) fn answer(&self) -> Response<Body> {
        let Self { issued, access } = self;
        let document = Document {
            access_token: access.text.expose(),
            token_type: "Bearer",
            expires_in: access.expires_at.since(issued.at).as_secs(),
            refresh_token: issued.refresh.expose(),
            refresh_expires_in: issued.until.since(issued.at).as_secs(),
        };
        json(&document)
    }
}

/// 200 with a document for this client alone and this once.
pub(super) fn json(document: &impl Serialize) -> Response<Body> {
    let mut response = Response::new(Body::full(serde_json::to_vec(document).unwrap_or_default()));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(PRAGMA, HeaderValue::from_static("no-cache"));
    response
}

/// 204.
pub(super) fn nothing() -> Response<Body> {
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = http::StatusCode::NO_CONTENT;
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
