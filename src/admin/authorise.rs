//! Who may use the admin listener: whoever knows the secret, from no other site's page.

use http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HOST, ORIGIN, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode};
use subtle::ConstantTimeEq as _;

use super::Admin;

/// Why a request is not served.
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) detail: &'static str,
}

/// Host (no DNS rebinding), Origin, the secret, and for changes the media type, in this order.
pub(super) fn check<B>(admin: &Admin, request: &Request<B>) -> Result<(), Refusal> {
    let headers = request.headers();
    let host = known_host(headers)
        .ok_or(Refusal { status: StatusCode::MISDIRECTED_REQUEST, detail: "unknown Host" })?;
    if headers.contains_key(ORIGIN)
        && only(headers, &ORIGIN).is_none_or(|origin| origin != format!("http://{host}"))
    {
        return Err(Refusal { status: StatusCode::FORBIDDEN, detail: "foreign Origin" });
    }
    let secret = only(headers, &AUTHORIZATION)
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("Bearer"))
        .map(|(_, secret)| secret.trim());
    let known = secret
        .is_some_and(|secret| secret.as_bytes().ct_eq(admin.secret.expose().as_bytes()).into());
    if !known {
        return Err(Refusal {
            status: StatusCode::UNAUTHORIZED,
            detail: "the admin secret is needed; it is in the state directory",
        });
    }
    let carries = headers.contains_key(TRANSFER_ENCODING)
        || only(headers, &CONTENT_LENGTH).is_some_and(|length| length != "0");
    let changes = request.method() != Method::GET && request.method() != Method::HEAD;
    let is_json = only(headers, &CONTENT_TYPE).is_some_and(|kind| {
        kind.split(';').next().is_some_and(|kind| kind.trim() == "application/json")
    });
    if changes && carries && !is_json {
        return Err(Refusal {
            status: StatusCode::UNSUPPORTED_MEDIA_TYPE,
            detail: "changes are application/json",
        });
    }
    Ok(())
}

/// The Host, when it is an address or a name of this machine: a page that rebinds its own name to
/// this listener sends that name.
fn known_host(headers: &HeaderMap) -> Option<&str> {
    let host = only(headers, &HOST)?;
    let authority: http::uri::Authority = host.parse().ok()?;
    let name = authority.host().trim_start_matches('[').trim_end_matches(']');
    let known = name.eq_ignore_ascii_case("localhost") || name.parse::<std::net::IpAddr>().is_ok();
    known.then_some(host)
}

fn only<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    let mut values = headers.get_all(name).iter();
    let first: &HeaderValue = values.next()?;
    values.next().is_none().then(|| first.to_str().ok()).flatten()
}
