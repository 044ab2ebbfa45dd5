//! `POST {prefix}/introspect` (RFC 7662).

use http::Response;

use super::Call;
use crate::body::Body;
use crate::proxy::{Rejection, Trip};

pub(super) async fn answer(_trip: &mut Trip, _call: Call<'_>) -> Result<Response<Body>, Rejection> {
    Err(Rejection::NotFound)
}
