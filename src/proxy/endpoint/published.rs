//! What others verify by: `GET {prefix}/jwks.json` (RFC 7517) and the metadata (RFC 8414).

use http::Response;

use crate::body::Body;
use crate::proxy::{Rejection, Trip};

pub(super) fn jwks(_trip: &mut Trip) -> Result<Response<Body>, Rejection> {
    Err(Rejection::NotFound)
}
