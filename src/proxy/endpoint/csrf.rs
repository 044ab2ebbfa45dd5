//! `GET {prefix}/csrf`: the double-submit token of this browser's session, or without a session
//! the one that logs in.
//!
//! Only pages of the same origin can read the answer: it names no other (CORS).

use http::header::{CACHE_CONTROL, CONTENT_TYPE, SET_COOKIE, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response};
use serde::Serialize;

use super::Call;
use crate::auth::extract::cookie_value;
use crate::body::Body;
use crate::policy::cookies::Cookies;
use crate::proxy::csrf::double_submit::{Bound, Nonce};
use crate::proxy::measure::Decision;
use crate::proxy::{Rejection, Trip};

static RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

#[derive(Serialize)]
struct Document<'t> {
    csrf_token: &'t str,
}

/// The token, with the cookie that it goes with where the browser has none yet.
///
/// # Errors
///
/// 404 without `[issuing.cookies]`; 503.
pub(super) async fn answer(trip: &mut Trip, call: Call<'_>) -> Result<Response<Body>, Rejection> {
    let policy = trip.policy.clone();
    let cookies = policy.cookies().ok_or(Rejection::NotFound)?;
    let headers = &call.parts.headers;
    let (nonce, set) = nonce(headers, cookies)?;
    let id = cookie_value(headers, &cookies.session).ok().flatten();
    let token = id.map_or(Bound::Login, Bound::Session).token(cookies, &nonce);
    let body = serde_json::to_vec(&Document { csrf_token: &token }).unwrap_or_default();
    let body = if call.parts.method == Method::HEAD { Body::Empty } else { Body::full(body) };
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(&RESOURCE_POLICY, HeaderValue::from_static("same-origin"));
    headers.extend(set.map(|cookie| (SET_COOKIE, cookie)));
    trip.decide(Decision::Allowed("csrf_issued"));
    Ok(response)
}

/// The browser's own nonce, so that pages that are open stay good, or a new one with its cookie.
///
/// # Errors
///
/// 503 without randomness.
pub(super) fn nonce(
    headers: &HeaderMap,
    cookies: &Cookies,
) -> Result<(Nonce, Option<HeaderValue>), Rejection> {
    if let Some(nonce) = Nonce::of(headers, cookies) {
        return Ok((nonce, None));
    }
    let nonce = Nonce::new().map_err(|_| Rejection::Unavailable("issuing_failed"))?;
    let set = cookies.set_csrf(nonce.text());
    Ok((nonce, Some(set)))
}
