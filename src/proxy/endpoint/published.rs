//! What others verify by: `GET {prefix}/jwks.json` (RFC 7517) and the metadata (RFC 8414).
//!
//! Public, and the same for everybody: no secret is ever among it.

use http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderValue, Method, Response};
use serde_json::json;

use crate::body::Body;
use crate::issuer::metadata;
use crate::policy::Issuing;
use crate::proxy::measure::Decision;
use crate::proxy::{Rejection, Trip};

/// So long may a verifier use what it has: a key that is to sign is published for longer before.
const CACHE: HeaderValue = HeaderValue::from_static("public, max-age=300");
const JWK_SET: HeaderValue = HeaderValue::from_static("application/jwk-set+json");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// The public keys of everything that is signed here: access tokens and assertions.
pub(super) fn jwks(trip: &mut Trip, method: &Method) -> Response<Body> {
    let document = json!({ "keys": &*trip.policy.published_keys });
    published(trip, method, &document, JWK_SET)
}

/// The metadata, below `/.well-known/`.
///
/// # Errors
///
/// 404 where nothing is issued, or nobody knows under which URL.
pub(super) fn well_known(trip: &mut Trip, method: &Method) -> Result<Response<Body>, Rejection> {
    let issuing = issuing(trip)?;
    let endpoints = trip.policy.endpoints_url.clone().ok_or(Rejection::NotFound)?;
    Ok(published(trip, method, &metadata(&issuing, &endpoints).into(), JSON))
}

fn issuing(trip: &Trip) -> Result<std::sync::Arc<Issuing>, Rejection> {
    trip.policy.issuing.clone().ok_or(Rejection::NotFound)
}

fn published(
    trip: &mut Trip,
    method: &Method,
    document: &serde_json::Value,
    media: HeaderValue,
) -> Response<Body> {
    let bytes = document.to_string().into_bytes();
    let length = bytes.len();
    let is_head = *method == Method::HEAD;
    let mut response = Response::new(if is_head { Body::Empty } else { Body::full(bytes) });
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, media);
    headers.insert(CACHE_CONTROL, CACHE);
    if is_head {
        headers.insert(CONTENT_LENGTH, length.into());
    }
    trip.decide(Decision::Allowed("published"));
    response
}
