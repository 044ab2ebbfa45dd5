//! Proof of origin for requests with Postern's own session cookie: the double-submit token
//! decides, and what the browser says of the request's origin must not contradict.

use http::header::ORIGIN;
use http::request::Parts;

use super::double_submit::{Bound, FIELD, FORM_FIELD, Nonce};
use super::{CrossOrigin, check, is_safe, not_contradicted, only};
use crate::auth::extract::cookie_value;
use crate::policy::cookies::Cookies;
use crate::policy::origin::Origin;
use crate::policy::route::Csrf;
use crate::proxy::Rejection;
use crate::proxy::endpoint::form;
use crate::proxy::forward::Inbound;
use std::time::Duration;

/// The largest form that is read for its token; the field of a larger one goes into the header.
const FORM_BYTES_MAX: usize = 64 * 1024;

/// What is asked of the request.
pub struct Asked<'r> {
    /// By the route.
    pub rule: Csrf,
    /// Whether it asks for an upgrade that the route offers.
    pub upgrade: bool,
    /// The origin of the gateway's own pages.
    pub public: &'r Origin,
    /// Postern's cookies.
    pub cookies: &'r Cookies,
    /// How long a piece of the body may take.
    pub idle: Duration,
}

/// Whether a request may spend the session cookie. Safe methods may, unless they upgrade: a
/// WebSocket's handshake has no place for a token, so that Origin must be there and right
/// (CWE-1385).
///
/// # Errors
///
/// [`Rejection::Csrf`]; 413, 408 and 400 while a form is read.
pub async fn guard(
    asked: Asked<'_>,
    parts: &Parts,
    inbound: &mut Inbound,
) -> Result<(), Rejection> {
    let Asked { rule, upgrade, public, cookies, idle } = asked;
    if rule == Csrf::Off || (is_safe(&parts.method) && !upgrade) {
        return Ok(());
    }
    let headers = &parts.headers;
    let origin = || -> Result<(), CrossOrigin> {
        if upgrade && only(headers, &ORIGIN)?.is_none() {
            return Err(CrossOrigin::Unsaid);
        }
        match (upgrade, rule) {
            (false, Csrf::DoubleSubmit | Csrf::Off) => not_contradicted(headers, public),
            (true, _) | (false, Csrf::Origin) => check(&parts.method, upgrade, headers, public),
        }
    };
    origin().map_err(|_| Rejection::Csrf("csrf"))?;
    if upgrade || rule == Csrf::Origin {
        return Ok(());
    }
    token(parts, inbound, cookies, idle).await
}

/// Whether the request has the token of its session: in the header, or else in its form.
///
/// # Errors
///
/// [`Rejection::Csrf`]; 413, 408 and 400 while a form is read.
pub async fn token(
    parts: &Parts,
    inbound: &mut Inbound,
    cookies: &Cookies,
    idle: Duration,
) -> Result<(), Rejection> {
    let refused = || Rejection::Csrf("csrf_token");
    let headers = &parts.headers;
    let id = cookie_value(headers, &cookies.session).ok().flatten().ok_or_else(refused)?;
    let nonce = Nonce::of(headers, cookies).ok_or_else(refused)?;
    let is_good = |token: &str| Bound::Session(id).accepts(token, cookies, &nonce);
    let good = if headers.contains_key(&FIELD) {
        let field = only(headers, &FIELD).map_err(|_| refused())?;
        field.and_then(|field| std::str::from_utf8(field).ok()).is_some_and(is_good)
    } else if form::is_form(headers) {
        inbound.buffer(FORM_BYTES_MAX, idle).await?;
        let body = inbound.buffered().unwrap_or_default();
        form::only(body, FORM_FIELD).is_some_and(|token| is_good(&token))
    } else {
        false
    };
    if good { Ok(()) } else { Err(refused()) }
}
