//! The one place where a refusal becomes an answer (RFC 9457, RFC 6750 §3).
//!
//! The client learns the class of the refusal and the request id; the reason is for the log.

use std::time::Duration;

use http::header::{
    ALLOW, CONNECTION, CONTENT_TYPE, LOCATION, RETRY_AFTER, SET_COOKIE, WWW_AUTHENTICATE,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};
use serde::Serialize;

use super::endpoint::login_page::Shown;
use super::session::NoSession;
use crate::auth::{Denied, VerifyError};
use crate::blocklist::Cause;
use crate::body::Body;

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");
const BASIC: HeaderValue = HeaderValue::from_static("Basic realm=\"postern\"");
const BEARER: HeaderValue = HeaderValue::from_static("Bearer");
const INVALID_REQUEST: HeaderValue = HeaderValue::from_static("Bearer error=\"invalid_request\"");
const INVALID_TOKEN: HeaderValue = HeaderValue::from_static("Bearer error=\"invalid_token\"");
const INSUFFICIENT: HeaderValue = HeaderValue::from_static("Bearer error=\"insufficient_scope\"");

/// Waiting time named when the store, a provider or an upstream cannot be reached.
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// Why a request is not forwarded, or why there is no answer to forward.
#[derive(Debug)]
pub enum Rejection {
    /// The token that the upstream wants cannot be made.
    AssertionUnavailable,
    /// The request cannot be read in one way only.
    BadRequest(&'static str),
    /// The client broke its own request body off, or it is malformed.
    BodyBroken,
    /// The body is larger than the route allows.
    BodyTooLarge,
    /// The client stopped sending its body.
    BodyTimeout,
    /// A cookie-borne token without proof of origin.
    Csrf(&'static str),
    /// A valid token that the route does not accept.
    Denied(Denied),
    /// `Expect` with anything but `100-continue`.
    Expectation,
    /// More or larger fields than `[limits]` allow.
    FieldsTooLarge,
    /// More than one token, or a token in a form that RFC 6750 does not know.
    InvalidRequest(&'static str),
    /// The provider cannot be asked whether the token is good, or answers nonsense.
    IntrospectionUnavailable,
    /// The token is not accepted.
    InvalidToken(VerifyError),
    /// It cannot be said whether the token is good: its issuer's keys cannot be fetched.
    KeysUnavailable,
    /// A rate limit.
    Limited(Box<Limited>),
    /// No route of this path has this method.
    MethodNotAllowed(Box<str>),
    /// The host is not one that this connection's certificate covers.
    Misdirected,
    /// No session, on a route that takes one.
    NoSession(Box<NoSession>),
    /// What somebody logs in or refreshes with is not accepted.
    NotAccepted(&'static str),
    /// Nobody's path.
    NotFound,
    /// An endpoint of the gateway's own refuses, in OAuth's form.
    OAuth(Box<OAuthRefusal>),
    /// No token where one is required.
    NoToken,
    /// The token is on the blocklist.
    Revoked(Cause),
    /// A refusal that a person is shown a page for.
    Shown(Box<Shown>),
    /// The blocklist cannot be asked.
    StoreUnavailable(&'static str),
    /// The target is longer than `[limits] target_bytes`.
    TargetTooLong,
    /// The client has too many requests open.
    TooManyRequests,
    /// Something that issuing needs cannot be asked.
    Unavailable(&'static str),
    /// The body's media type cannot be looked into for a limit.
    UnsupportedMedia,
    /// The upstream could not be reached or what it said is not HTTP.
    UpstreamBroken(&'static str),
    /// The upstream took too long.
    UpstreamTimeout(&'static str),
}

/// What a 429 tells the client.
#[derive(Debug)]
pub struct Limited {
    /// Which limit, for the log.
    pub by: &'static str,
    /// When to come back.
    pub retry_after: HeaderValue,
    /// `RateLimit-Policy` and `RateLimit`, where the limit is one of a route.
    pub fields: Vec<(HeaderName, HeaderValue)>,
}

/// An error answer in the form of RFC 6749 §5.2, which other protocols have taken over.
#[derive(Debug)]
pub struct OAuthRefusal {
    /// 400, 401, 403 or 503.
    pub status: StatusCode,
    /// The code: `invalid_request`, `temporarily_unavailable` ...
    pub error: &'static str,
    /// For whoever sets the other side up; never which check failed.
    pub description: &'static str,
    /// Why, for the log; a stable word from a fixed list.
    pub reason: &'static str,
}

/// RFC 6749 §5.2.
#[derive(Serialize)]
struct OAuthError<'a> {
    error: &'a str,
    error_description: &'a str,
}

/// RFC 9457 §3, and nothing else.
#[derive(Serialize)]
struct Problem<'a> {
    r#type: &'static str,
    title: &'a str,
    status: u16,
    request_id: &'a str,
}

impl Rejection {
    /// The status of the answer.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        match self {
            Self::BadRequest(_) | Self::BodyBroken | Self::InvalidRequest(_) => {
                StatusCode::BAD_REQUEST
            }
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::BodyTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::Csrf(_) | Self::Denied(_) => StatusCode::FORBIDDEN,
            Self::Expectation => StatusCode::EXPECTATION_FAILED,
            Self::FieldsTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::InvalidToken(_) | Self::NotAccepted(_) | Self::NoToken | Self::Revoked(_) => {
                StatusCode::UNAUTHORIZED
            }
            Self::Limited(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::MethodNotAllowed(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::Misdirected => StatusCode::MISDIRECTED_REQUEST,
            Self::NoSession(refusal) => refusal.status(),
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::OAuth(refusal) => refusal.status,
            Self::AssertionUnavailable
            | Self::IntrospectionUnavailable
            | Self::KeysUnavailable
            | Self::StoreUnavailable(_)
            | Self::TooManyRequests
            | Self::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Shown(shown) => shown.why.status(),
            Self::TargetTooLong => StatusCode::URI_TOO_LONG,
            Self::UnsupportedMedia => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::UpstreamBroken(_) => StatusCode::BAD_GATEWAY,
            Self::UpstreamTimeout(_) => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    /// Whether the upstream was never reached, so that it cannot have acted on the request.
    #[must_use]
    pub fn is_before_the_upstream(&self) -> bool {
        matches!(
            self,
            Self::UpstreamBroken("upstream_connect")
                | Self::UpstreamTimeout("upstream_connect_timeout")
        )
    }

    /// Whether it is about a client that has not proved who it is (RFC 6749 §5.2).
    #[must_use]
    pub fn of_client(&self) -> bool {
        matches!(self, Self::OAuth(refusal) if refusal.status == StatusCode::UNAUTHORIZED)
    }

    /// A stable word for the log; from a fixed list.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::BadRequest(why) | Self::InvalidRequest(why) | Self::Csrf(why) => why,
            Self::AssertionUnavailable => "assertion_unavailable",
            Self::NotAccepted(why) | Self::Unavailable(why) => why,
            Self::StoreUnavailable(_) => "store_unavailable",
            Self::UpstreamBroken(why) | Self::UpstreamTimeout(why) => why,
            Self::BodyBroken => "body_broken",
            Self::BodyTooLarge => "body_too_large",
            Self::BodyTimeout => "body_timeout",
            Self::Denied(denied) => denied.reason(),
            Self::Expectation => "expectation",
            Self::FieldsTooLarge => "fields_too_large",
            Self::IntrospectionUnavailable => "introspection_unavailable",
            Self::InvalidToken(error) => error.reason(),
            Self::KeysUnavailable => "keys_unavailable",
            Self::Limited(limited) => limited.by,
            Self::MethodNotAllowed(_) => "method_not_allowed",
            Self::Misdirected => "misdirected",
            Self::NoSession(refusal) => refusal.reason,
            Self::NotFound => "no_route",
            Self::OAuth(refusal) => refusal.reason,
            Self::NoToken => "no_token",
            Self::Revoked(_) => "revoked",
            Self::Shown(shown) => shown.why.reason(),
            Self::TargetTooLong => "target_too_long",
            Self::TooManyRequests => "too_many_requests",
            Self::UnsupportedMedia => "unsupported_media_type",
        }
    }

    /// The answer. A refusal that leaves the request's framing in doubt closes the connection.
    #[must_use]
    pub fn answer(&self, method: &Method, request_id: &str) -> Response<Body> {
        if let Self::Shown(shown) = self {
            let mut response = shown.answer(method);
            shown.why.add_fields(response.headers_mut());
            return response;
        }
        let status = self.status();
        let problem = Problem {
            r#type: "about:blank",
            title: status.canonical_reason().unwrap_or("Error"),
            status: status.as_u16(),
            request_id,
        };
        let (bytes, media) = match self {
            Self::OAuth(refusal) => {
                let error =
                    OAuthError { error: refusal.error, error_description: refusal.description };
                (serde_json::to_vec(&error), JSON)
            }
            _ => (serde_json::to_vec(&problem), PROBLEM_JSON),
        };
        let bytes = bytes.unwrap_or_default();
        let length = bytes.len();
        let mut response =
            Response::new(if *method == Method::HEAD { Body::Empty } else { Body::full(bytes) });
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, media);
        if *method == Method::HEAD {
            headers.insert(http::header::CONTENT_LENGTH, length.into());
        }
        headers.insert(http::header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        self.add_fields(headers);
        response
    }

    fn add_fields(&self, headers: &mut HeaderMap) {
        if let Some(challenge) = self.challenge() {
            headers.insert(WWW_AUTHENTICATE, challenge);
        }
        match self {
            Self::Limited(limited) => {
                headers.insert(RETRY_AFTER, limited.retry_after.clone());
                headers.extend(limited.fields.iter().cloned());
            }
            Self::MethodNotAllowed(allow) => {
                if let Ok(allow) = HeaderValue::from_str(allow) {
                    headers.insert(ALLOW, allow);
                }
            }
            Self::AssertionUnavailable
            | Self::IntrospectionUnavailable
            | Self::KeysUnavailable
            | Self::StoreUnavailable(_)
            | Self::TooManyRequests
            | Self::Unavailable(_) => {
                headers.insert(RETRY_AFTER, TRY_AGAIN.as_secs().into());
            }
            Self::OAuth(refusal) if refusal.status == StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(RETRY_AFTER, TRY_AGAIN.as_secs().into());
            }
            Self::NoSession(refusal) => {
                headers.extend(refusal.login.clone().map(|login| (LOCATION, login)));
                headers.extend(refusal.clear.iter().map(|cookie| (SET_COOKIE, cookie.clone())));
            }
            Self::BadRequest(_) | Self::BodyBroken | Self::BodyTimeout | Self::BodyTooLarge => {
                headers.insert(CONNECTION, HeaderValue::from_static("close"));
            }
            _ => {}
        }
    }

    /// RFC 6750 §3.1: no error code when no token was sent; none at all on a CSRF 403, which a
    /// better token does not mend.
    fn challenge(&self) -> Option<HeaderValue> {
        match self {
            // RFC 6749 §5.2: an OAuth client says who it is.
            Self::OAuth(_) if self.of_client() => Some(BASIC),
            Self::NotAccepted(_) | Self::NoToken => Some(BEARER),
            Self::NoSession(refusal) if refusal.login.is_some() => None,
            Self::NoSession(refusal) if refusal.reason == "no_token" => Some(BEARER),
            Self::NoSession(_) => Some(INVALID_TOKEN),
            Self::InvalidRequest(_) => Some(INVALID_REQUEST),
            Self::InvalidToken(_) | Self::Revoked(_) => Some(INVALID_TOKEN),
            Self::Denied(denied) => Some(insufficient(denied.scope())),
            _ => None,
        }
    }
}

fn insufficient(scope: Option<&str>) -> HeaderValue {
    scope
        .and_then(|scope| {
            HeaderValue::try_from(format!("Bearer error=\"insufficient_scope\", scope=\"{scope}\""))
                .ok()
        })
        .unwrap_or(INSUFFICIENT)
}
