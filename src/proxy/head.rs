//! Reading the request head in one way only: sizes, target, host, path, and what a trusted proxy
//! says of the client.

use std::borrow::Cow;

use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Uri, Version};

use super::target::{Form, Refusal, host_name, target};
use super::{Rejection, Trip, client};
use crate::policy::origin::Origin;
use crate::policy::{RequestLimits, Snapshot};

static FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

const HTTP: HeaderValue = HeaderValue::from_static("http");
const HTTPS: HeaderValue = HeaderValue::from_static("https");

/// What the pipeline needs of the head after the guard has been over it.
#[derive(Debug)]
pub struct Head {
    /// The host that the request is for, with its port, as sent; absent only in HTTP/1.0.
    pub authority: Option<HeaderValue>,
    /// Whether `authority` is what the Host field says.
    pub host_field: bool,
    /// The scheme that the client used, as far as can be told.
    pub scheme: HeaderValue,
    /// What a trusted proxy said of the hops before it.
    pub forwarded_for: Option<Vec<u8>>,
    /// The host that a trusted proxy was asked for.
    pub forwarded_host: Option<HeaderValue>,
}

impl Head {
    /// Checks the head and leaves the canonical target in `parts.uri`, in origin form.
    ///
    /// # Errors
    ///
    /// 400, 405, 414, 421 or 431.
    pub fn read(parts: &mut Parts, trip: &mut Trip) -> Result<Self, Rejection> {
        check_sizes(parts, &trip.policy.limits)?;
        let target = target(&parts.method, &parts.uri, parts.version, &parts.headers)?;
        let host_field = target.field.is_some();
        let authority = match (target.field, target.authority) {
            (Some(host), _) => Some(host.clone()),
            (None, Some(authority)) => HeaderValue::from_str(authority).ok(),
            (None, None) => None,
        };
        if parts.version == Version::HTTP_2
            && let (Some(tls), Some(host)) = (&trip.connection.tls, target.host())
            && !tls.covers(&host)
        {
            return Err(Rejection::Misdirected);
        }
        let Form::Path(path) = target.form else { return Err(Rejection::NotFound) };
        let rewritten = path.changed().then(|| path.as_str().to_owned());
        origin_form(&mut parts.uri, rewritten)?;
        let mut head = Self::of_peer(authority, &parts.headers, trip);
        head.host_field = host_field;
        Ok(head)
    }

    /// The host to route by: lower case, without port; empty when there is none.
    #[must_use]
    pub fn host(&self) -> Cow<'_, str> {
        let authority = self.authority.as_ref().and_then(|value| value.to_str().ok());
        authority.map_or(Cow::Borrowed(""), host_name)
    }

    /// The origin that a browser must name: `public_url`, else the host that was asked for.
    #[must_use]
    pub fn origin(&self, policy: &Snapshot) -> Option<Origin> {
        policy.public_url.clone().or_else(|| {
            let host = self.authority.as_ref()?.to_str().ok()?;
            Origin::parse(&format!("{}://{host}", self.scheme.to_str().ok()?)).ok()
        })
    }

    /// What the peer says, when it is believed; the connection's own scheme otherwise.
    fn of_peer(authority: Option<HeaderValue>, headers: &HeaderMap, trip: &Trip) -> Self {
        let scheme = if trip.connection.tls.is_some() { HTTPS } else { HTTP };
        let (forwarded_for, forwarded_host) = (None, None);
        let mut head = Self { authority, host_field: false, scheme, forwarded_for, forwarded_host };
        if trip.peer_trusted {
            let said = client::forwarded(headers);
            let chain: Vec<&[u8]> =
                headers.get_all(&FORWARDED_FOR).iter().map(HeaderValue::as_bytes).collect();
            if let Some(tls) = said.tls {
                head.scheme = if tls { HTTPS } else { HTTP };
            }
            head.forwarded_for = (!chain.is_empty()).then(|| chain.join(&b", "[..]));
            head.forwarded_host = said.host.and_then(|host| HeaderValue::from_str(host).ok());
        }
        head
    }
}

/// 414 before 431: a long target alone is told as such.
fn check_sizes(parts: &Parts, limits: &RequestLimits) -> Result<(), Rejection> {
    let target = parts.uri.path_and_query().map_or(0, |target| target.as_str().len());
    if target > limits.target_bytes {
        return Err(Rejection::TargetTooLong);
    }
    let bytes: usize =
        parts.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    if bytes > limits.header_bytes || parts.headers.len() > limits.header_count {
        return Err(Rejection::FieldsTooLarge);
    }
    Ok(())
}

/// Leaves path and query alone in the URI.
fn origin_form(uri: &mut Uri, rewritten: Option<String>) -> Result<(), Rejection> {
    let unreadable = |_| Rejection::BadRequest("ambiguous_target");
    *uri = match (rewritten, uri.authority().is_some()) {
        (Some(target), _) => Uri::from(PathAndQuery::try_from(target).map_err(unreadable)?),
        (None, true) => match uri.path_and_query() {
            Some(target) => Uri::from(target.clone()),
            None => return Err(Rejection::BadRequest("target_form")),
        },
        (None, false) => return Ok(()),
    };
    Ok(())
}

impl From<Refusal> for Rejection {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Ambiguous(_) => Self::BadRequest("ambiguous_target"),
            Refusal::Host => Self::BadRequest("host"),
            Refusal::Form => Self::BadRequest("target_form"),
            Refusal::Method => Self::MethodNotAllowed(Box::default()),
        }
    }
}
