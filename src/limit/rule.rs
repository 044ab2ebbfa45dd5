//! A route's limit as the pipeline uses it: what its key is made of, and when those parts are
//! known.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use governor::clock::{Clock, DefaultClock};
use http::{HeaderMap, HeaderName};
use serde_json::{Map, Value};

use super::field::{FieldError, form_field, json_field, normalised};
use super::key::Key;
use super::limiter::Limiter;
use super::shared::{Shared, Taken};
use crate::token::ClaimPath;

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Count {
    /// Every request, at admission.
    All,
    /// Requests that the upstream answers with 401 or 403; see [`super::Reservation`].
    Failures,
}

/// One part of a limit's key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum By {
    /// The account that somebody logs in to, folded: see [`super::normalised`].
    Account,
    /// A verified claim.
    Claim(ClaimPath),
    /// The client's network; see [`super::client_network`].
    Client,
    /// A form field of the body.
    Form(String),
    /// A header field of the request, all its lines in order.
    Header(HeaderName),
    /// A string in the JSON body.
    Json(ClaimPath),
}

/// The parts of a request that a key may be made of, as far as they are known.
#[derive(Clone, Copy)]
pub struct Parts<'r> {
    /// The client's address.
    pub client: IpAddr,
    /// The request's header fields.
    pub headers: &'r HeaderMap,
    /// The whole body, at most [`super::BODY_BYTES_MAX`], if any limit of the route needs it.
    pub body: Option<&'r [u8]>,
    /// The verified claims; `None` for an anonymous caller.
    pub claims: Option<&'r Map<String, Value>>,
    /// The account's name as it was typed, at a login.
    pub account: Option<&'r str>,
}

/// One limit of one route.
pub struct Limit<C: Clock = DefaultClock> {
    /// The policy's name in the RateLimit fields: the route's name.
    pub name: String,
    /// The parts of the key, in the configured order.
    pub by: Vec<By>,
    /// What is counted.
    pub count: Count,
    /// The counts of this gateway.
    pub limiter: Arc<Limiter<C>>,
    /// Where it is counted together with other gateways (`shared = true`).
    pub shared: Option<Shared>,
}

impl fmt::Display for By {
    /// As the configuration writes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Account => f.write_str("account"),
            Self::Claim(path) => write!(f, "claim:{path}"),
            Self::Client => f.write_str("client"),
            Self::Form(name) => write!(f, "form:{name}"),
            Self::Header(name) => write!(f, "header:{name}"),
            Self::Json(pointer) => write!(f, "json:{pointer}"),
        }
    }
}

impl<C: Clock> fmt::Debug for Limit<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limit").field("name", &self.name).finish_non_exhaustive()
    }
}

impl<C: Clock> Limit<C> {
    /// The parts of the key, as the configuration writes them.
    #[must_use]
    pub fn counts_by(&self) -> String {
        let parts: Vec<String> = self.by.iter().map(By::to_string).collect();
        parts.join("+")
    }

    /// Whether a claim is part of the key, so that the limit comes after verification.
    #[must_use]
    pub fn needs_claims(&self) -> bool {
        self.by.iter().any(|by| matches!(by, By::Claim(_)))
    }

    /// Whether a body field is part of the key, so that the body is read first.
    #[must_use]
    pub fn needs_body(&self) -> bool {
        self.by.iter().any(|by| matches!(by, By::Form(_) | By::Json(_)))
    }

    /// The key of a request. A missing header or claim is a part of its own (all requests without
    /// it count together); a missing body field is an error.
    ///
    /// # Errors
    ///
    /// [`FieldError`] when a body field cannot be read without doubt.
    pub fn key(&self, parts: &Parts<'_>) -> Result<Key, FieldError> {
        let mut key = self.shared.as_ref().map_or_else(|| self.limiter.key(), Shared::key);
        for by in &self.by {
            key = match by {
                By::Account => {
                    key.part(normalised(parts.account.ok_or(FieldError::Malformed)?).as_bytes())
                }
                By::Client => key.client(parts.client),
                By::Claim(path) => match parts.claims.and_then(|claims| path.find(claims)) {
                    Some(Value::String(text)) => key.part(text.as_bytes()),
                    None | Some(Value::Null) => key.absent(),
                    // A JSON text never equals a bare string's key: `absent` marks it.
                    Some(other) => key.absent().part(other.to_string().as_bytes()),
                },
                By::Header(name) => {
                    let lines = parts.headers.get_all(name);
                    lines.iter().fold(key, |key, line| key.part(line.as_bytes())).absent()
                }
                By::Form(name) => {
                    let body = parts.body.ok_or(FieldError::Malformed)?;
                    key.part(form_field(parts.headers, body, name)?.as_bytes())
                }
                By::Json(pointer) => {
                    let body = parts.body.ok_or(FieldError::Malformed)?;
                    key.part(json_field(parts.headers, body, pointer)?.as_bytes())
                }
            };
        }
        Ok(key.finish())
    }

    /// Decides on one request by this gateway's own counts, and counts it when it is allowed. The
    /// reservation, where there is one, is to be told how the request ended.
    pub fn take(&self, key: Key) -> Taken<C> {
        match self.count {
            Count::All => {
                Taken { decision: self.limiter.admit(key), reservation: None, flight: None }
            }
            Count::Failures => self.hold(key),
        }
    }

    /// The same with the unit only held, whatever is counted: it can be given back.
    pub fn hold(&self, key: Key) -> Taken<C> {
        let (decision, reservation) = match self.limiter.reserve(key) {
            Ok((reservation, decision)) => (decision, Some(reservation)),
            Err(decision) => (decision, None),
        };
        Taken { decision, reservation, flight: None }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;
    use std::time::Duration;

    use http::HeaderValue;

    use super::super::limiter::Quota;
    use super::*;

    fn limit(by: Vec<By>) -> Limit {
        let quota = Quota { count: NonZeroU32::MIN, per: Duration::from_secs(60) };
        let limiter = Arc::new(Limiter::new(quota));
        Limit { name: "login".into(), by, count: Count::All, limiter, shared: None }
    }

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    fn key(limit: &Limit, headers: &HeaderMap, body: Option<&[u8]>, claims: &Value) -> Key {
        let client = IpAddr::from([192, 0, 2, 1]);
        let (claims, account) = (claims.as_object(), None);
        limit.key(&Parts { client, headers, body, claims, account }).unwrap()
    }

    #[test]
    fn a_client_cannot_leave_its_quota_by_spelling() {
        let json = [("content-type", "application/json")];
        let by = limit(vec![By::Client, By::Json(ClaimPath::parse("/email").unwrap())]);
        let of = |body: &str| key(&by, &headers(&json), Some(body.as_bytes()), &Value::Null);
        let honest = of(r#"{"email":"a@example.com"}"#);
        for spelling in
            [" A@Example.com ", "\\u0061@example.com", "\u{FF41}@example.com", "a@EXAMPLE.COM"]
        {
            assert_eq!(of(&format!(r#"{{"email":"{spelling}"}}"#)), honest, "{spelling}");
        }
        assert_ne!(of(r#"{"email":"b@example.com"}"#), honest);
    }

    #[test]
    fn header_lines_are_counted_in_order_and_absence_is_a_value() {
        let by = limit(vec![By::Header(HeaderName::from_static("x-api-key"))]);
        let of = |pairs| key(&by, &headers(pairs), None, &Value::Null);
        let keys = [
            of(&[]),
            of(&[("x-api-key", "")]),
            of(&[("x-api-key", "a")]),
            of(&[("x-api-key", "a"), ("x-api-key", "b")]),
            of(&[("x-api-key", "b"), ("x-api-key", "a")]),
        ];
        for (i, a) in keys.iter().enumerate() {
            assert!(keys.iter().skip(i + 1).all(|b| a != b), "{i}");
        }
    }

    #[test]
    fn claims_of_different_types_are_different_keys() {
        let by = limit(vec![By::Claim(ClaimPath::parse("tenant").unwrap())]);
        let of = |claims: Value| key(&by, &HeaderMap::new(), None, &claims);
        let keys = [
            of(serde_json::json!({})),
            of(serde_json::json!({"tenant": "7"})),
            of(serde_json::json!({"tenant": 7})),
            of(serde_json::json!({"tenant": ["7"]})),
        ];
        for (i, a) in keys.iter().enumerate() {
            assert!(keys.iter().skip(i + 1).all(|b| a != b), "{i}");
        }
        assert!(by.needs_claims() && !by.needs_body());
    }

    #[test]
    fn a_body_that_was_not_read_is_an_error() {
        let by = limit(vec![By::Form("user".into())]);
        let client = IpAddr::from([192, 0, 2, 1]);
        let headers = HeaderMap::new();
        let parts = Parts { client, headers: &headers, body: None, claims: None, account: None };
        assert_eq!(by.key(&parts), Err(FieldError::Malformed));
        assert!(by.needs_body());
    }
}
