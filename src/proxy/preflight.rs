//! CORS preflight requests: the browser's question before the real request (Fetch standard
//! §4.8). They never carry a token; a route says whether they go on without one (R23).

use http::Method;
use http::header::{
    ACCESS_CONTROL_REQUEST_METHOD, AUTHORIZATION, CONTENT_LENGTH, COOKIE, ORIGIN, TRANSFER_ENCODING,
};
use http::request::Parts;
use http_body::Body as _;
use hyper::body::Incoming;

/// A real preflight: nothing that a browser would not send.
#[derive(Debug)]
pub struct Preflight {
    /// What the real request's method will be.
    pub method: Method,
}

impl Preflight {
    /// Recognises one; anything that carries credentials or a body is an ordinary OPTIONS request.
    #[must_use]
    pub fn of(parts: &Parts, body: &Incoming) -> Option<Self> {
        if parts.method != Method::OPTIONS || !body.is_end_stream() {
            return None;
        }
        let headers = &parts.headers;
        let burdened = [AUTHORIZATION, COOKIE, TRANSFER_ENCODING, CONTENT_LENGTH]
            .iter()
            .any(|field| headers.contains_key(field));
        let mut origins = headers.get_all(ORIGIN).iter();
        let mut methods = headers.get_all(ACCESS_CONTROL_REQUEST_METHOD).iter();
        let (Some(_), None) = (origins.next(), origins.next()) else { return None };
        let (Some(method), None) = (methods.next(), methods.next()) else { return None };
        let method = Method::from_bytes(method.as_bytes()).ok()?;
        (!burdened).then_some(Self { method })
    }
}
