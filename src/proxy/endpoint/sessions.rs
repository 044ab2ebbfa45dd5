//! `GET {prefix}/sessions`, `DELETE {prefix}/sessions/{sid}`.

use http::Response;

use super::Call;
use crate::body::Body;
use crate::proxy::{Rejection, Trip};

pub(super) async fn list(_trip: &mut Trip, _call: Call<'_>) -> Result<Response<Body>, Rejection> {
    Err(Rejection::NotFound)
}

pub(super) async fn end_one(
    _trip: &mut Trip,
    _call: Call<'_>,
) -> Result<Response<Body>, Rejection> {
    Err(Rejection::NotFound)
}
