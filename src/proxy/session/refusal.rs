//! What a browser without a session is told: to log in, when it is a person who opens a page, or
//! 401.

use http::header::{ACCEPT, AUTHORIZATION};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, StatusCode};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::auth::extract::cookie_value;
use crate::blocklist::Cause;
use crate::policy::Route;
use crate::policy::cookies::Cookies;
use crate::proxy::head::Head;
use crate::proxy::{Rejection, Trip};

static SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");

/// The longest target that a browser is brought back to.
pub(in crate::proxy) const RETURN_TO_BYTES_MAX: usize = 2048;

/// Everything that means something in a query but `/`.
const IN_QUERY: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The refusal of a request that has no session.
#[derive(Debug)]
pub struct NoSession {
    /// Why, for the log.
    pub reason: &'static str,
    /// By which entry of the blocklist, where it is on that.
    pub cause: Option<Cause>,
    /// Where a browser goes instead of being told 401.
    pub login: Option<HeaderValue>,
    /// The `Set-Cookie`s that take back what belongs to a session that is over.
    pub clear: Vec<HeaderValue>,
}

impl NoSession {
    /// 303 (RFC 9110 §15.4.4) or 401.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        if self.login.is_some() { StatusCode::SEE_OTHER } else { StatusCode::UNAUTHORIZED }
    }
}

impl Rejection {
    /// 401 for a session that there is not (any more).
    pub(super) fn no_session(reason: &'static str) -> Self {
        Self::NoSession(Box::new(NoSession { reason, cause: None, login: None, clear: Vec::new() }))
    }
}

/// The refusal as a browser needs it: a person who opens a page without a session is shown where
/// to log in, and a cookie without a session is taken back with that. A refused bearer token stays
/// refused.
///
/// No other answer takes a cookie back: that of a script's request which set out before a new login
/// may arrive after it, and would take the new cookie.
#[must_use]
pub fn refuse(
    trip: &Trip,
    head: &Head,
    parts: &Parts,
    route: &Route,
    rejection: Rejection,
) -> Rejection {
    let source = route.demand().and_then(|demand| demand.source.session.as_deref());
    let (Some(name), Some(cookies)) = (source, trip.policy.cookies()) else { return rejection };
    if rejection.status() != StatusCode::UNAUTHORIZED || parts.headers.contains_key(AUTHORIZATION) {
        return rejection;
    }
    let session = cookie_value(&parts.headers, name).ok().flatten();
    if let (Rejection::Revoked(_), Some(session)) = (&rejection, session) {
        trip.worker.gateway.sessions.forget(session);
    }
    let Some(login) = login(trip, head, parts, cookies) else { return rejection };
    let is_over = matches!(rejection, Rejection::NoSession(_));
    Rejection::NoSession(Box::new(NoSession {
        reason: rejection.reason(),
        cause: if let Rejection::Revoked(cause) = rejection { Some(cause) } else { None },
        login: Some(login),
        clear: is_over.then(|| cookies.clear_session()).into_iter().collect(),
    }))
}

/// Where to log in, for a person who opens a page under the host that has the login page.
fn login(trip: &Trip, head: &Head, parts: &Parts, cookies: &Cookies) -> Option<HeaderValue> {
    let own = &trip.policy.own_paths;
    if !cookies.login_page || !own.is_served_on(&head.host()) || !is_navigation(parts) {
        return None;
    }
    let target = parts.uri.path_and_query()?.as_str();
    let page = own.path("/login");
    let location = if target == "/" || target.len() > RETURN_TO_BYTES_MAX {
        page
    } else {
        format!("{page}?return_to={}", utf8_percent_encode(target, IN_QUERY))
    };
    HeaderValue::try_from(location).ok()
}

/// Whether a person opens a page: by what the browser says (Fetch Metadata), else by what it wants.
fn is_navigation(parts: &Parts) -> bool {
    if parts.method != Method::GET {
        return false;
    }
    if let Some(mode) = parts.headers.get(&SEC_FETCH_MODE) {
        return mode == "navigate";
    }
    let ranges = parts.headers.get_all(ACCEPT).iter();
    ranges.flat_map(|line| line.as_bytes().split(|byte| *byte == b',')).any(|range| {
        let media = range.split(|byte| *byte == b';').next().unwrap_or_default();
        media.trim_ascii().eq_ignore_ascii_case(b"text/html")
    })
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    /// Sources: design "A navigation without a session"; Fetch "Sec-Fetch-Mode".
    #[test]
    fn a_person_who_opens_a_page_is_told_from_a_script() {
        let page = ("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8");
        for (method, fields, is) in [
            ("GET", &[page][..], true),
            ("GET", &[("accept", "application/json, TEXT/HTML;q=0.5")], true),
            ("GET", &[("sec-fetch-mode", "navigate")], true),
            ("GET", &[("sec-fetch-mode", "navigate"), ("accept", "*/*")], true),
            ("GET", &[("sec-fetch-mode", "cors"), page], false),
            ("GET", &[("sec-fetch-mode", "websocket"), page], false),
            ("GET", &[("sec-fetch-mode", "no-cors"), page], false),
            ("GET", &[("accept", "*/*")], false),
            ("GET", &[("accept", "text/*")], false),
            ("GET", &[("accept", "text/html5")], false),
            ("GET", &[], false),
            ("HEAD", &[page], false),
            ("POST", &[("sec-fetch-mode", "navigate"), page], false),
            ("get", &[page], false),
        ] {
            let mut request = Request::builder().method(method);
            for (name, value) in fields {
                request = request.header(*name, *value);
            }
            let (parts, ()) = request.body(()).unwrap().into_parts();
            assert_eq!(is_navigation(&parts), is, "{method} {fields:?}");
        }
    }
}
