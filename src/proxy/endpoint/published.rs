//! What others verify by: `GET {prefix}/jwks.json` (RFC 7517) and the metadata (RFC 8414).

use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Response};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::body::Body;
use crate::proxy::{Rejection, Trip};

/// RFC 7517 §8.5.2.
const JWK_SET: HeaderValue = HeaderValue::from_static("application/jwk-set+json");
/// Long enough to spare the gateway, short enough for a rotation within the hour.
const REUSED: HeaderValue = HeaderValue::from_static("public, max-age=300");

#[derive(Serialize)]
struct Jwks<'s> {
    keys: &'s [Map<String, Value>],
}

/// The public keys of everything that is signed here: access tokens and assertions.
pub(super) fn jwks(trip: &mut Trip) -> Result<Response<Body>, Rejection> {
    let jwks = Jwks { keys: &trip.policy.published_keys };
    let mut response = Response::new(Body::full(serde_json::to_vec(&jwks).unwrap_or_default()));
    response.headers_mut().insert(CONTENT_TYPE, JWK_SET);
    response.headers_mut().insert(CACHE_CONTROL, REUSED);
    Ok(response)
}
