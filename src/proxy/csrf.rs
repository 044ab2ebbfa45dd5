//! A token that a browser sends by itself, in a cookie, must not be spent by another site's page.
//!
//! Asked only when the token came in a cookie. Bearer tokens are not sent by themselves. Here is
//! what the browser says of a request's origin (`csrf = "origin"`); Postern's own cookies need a
//! [`double_submit`] token as well ([`session`]).

pub mod double_submit;
pub mod session;

use http::header::ORIGIN;
use http::{HeaderMap, HeaderName, Method};

use crate::policy::origin::Origin;

static SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Why a request may be another site's doing. All are 403, without a challenge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CrossOrigin {
    /// Origin or Sec-Fetch-Site is there twice.
    #[error("Origin or Sec-Fetch-Site is there twice")]
    Doubled,
    /// Another origin's page asked for it, or one that browsers do not name (`null`).
    #[error("the request comes from another origin")]
    Other,
    /// The browser does not say whose page asked for it.
    #[error("neither Origin nor Sec-Fetch-Site")]
    Unsaid,
}

/// Whether a request may spend a cookie. Safe methods (RFC 9110 §9.2.1) may, unless they upgrade
/// the connection: a WebSocket carries commands, and its handshake is a GET that no same-origin
/// rule stops.
///
/// Origin must be `public` exactly; Sec-Fetch-Site must be `same-origin`, or `none` (the user did
/// it: no page is behind it). `same-site` is another origin. What is there must not contradict,
/// and one of the two must be there; an upgrade without either is refused as well, since every
/// browser sends Origin with it.
///
/// # Errors
///
/// [`CrossOrigin`].
pub fn check(
    method: &Method,
    upgrade: bool,
    headers: &HeaderMap,
    public: &Origin,
) -> Result<(), CrossOrigin> {
    if is_safe(method) && !upgrade {
        return Ok(());
    }
    not_contradicted(headers, public)?;
    if headers.contains_key(&ORIGIN) || headers.contains_key(&SEC_FETCH_SITE) {
        return Ok(());
    }
    Err(CrossOrigin::Unsaid)
}

/// RFC 9110 §9.2.1.
#[must_use]
pub fn is_safe(method: &Method) -> bool {
    [Method::GET, Method::HEAD, Method::OPTIONS].contains(method)
}

/// Whether what the browser says of the request's origin, if it says anything, is that it is ours:
/// Origin is `public` exactly, Sec-Fetch-Site is `same-origin` or `none`.
///
/// # Errors
///
/// [`CrossOrigin`].
pub fn not_contradicted(headers: &HeaderMap, public: &Origin) -> Result<(), CrossOrigin> {
    let origin = only(headers, &ORIGIN)?;
    let site = only(headers, &SEC_FETCH_SITE)?;
    if origin.is_some_and(|origin| origin != public.as_str().as_bytes()) {
        return Err(CrossOrigin::Other);
    }
    match site {
        None | Some(b"same-origin" | b"none") => Ok(()),
        Some(_) => Err(CrossOrigin::Other),
    }
}

fn only<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<Option<&'h [u8]>, CrossOrigin> {
    let mut lines = headers.get_all(name).iter();
    match (lines.next(), lines.next()) {
        (line, None) => Ok(line.map(http::HeaderValue::as_bytes)),
        (_, Some(_)) => Err(CrossOrigin::Doubled),
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn ask(method: &str, upgrade: bool, pairs: &[(&'static str, &str)]) -> Result<(), CrossOrigin> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        let public = Origin::parse("https://api.example.com").unwrap();
        check(&Method::from_bytes(method.as_bytes()).unwrap(), upgrade, &headers, &public)
    }

    /// Sources: design "CSRF"; Fetch "Sec-Fetch-Site"; RFC 6454 §7.3 (`null`); cross-site
    /// WebSocket hijacking (CWE-1385).
    #[test]
    fn another_sites_page_is_refused() {
        use CrossOrigin::*;
        for (pairs, why) in [
            (&[][..], Unsaid),
            (&[("origin", "https://evil.example")], Other),
            (&[("origin", "null")], Other),
            (&[("origin", "")], Other),
            (&[("origin", "http://api.example.com")], Other),
            (&[("origin", "https://api.example.com:8443")], Other),
            (&[("origin", "https://api.example.com.evil.example")], Other),
            (&[("origin", "https://api.example.com/")], Other),
            (&[("origin", "https://other.example.com")], Other),
            (&[("origin", "https://api.example.com https://evil.example")], Other),
            (&[("origin", "https://api.example.com"), ("origin", "https://evil.example")], Doubled),
            (&[("origin", "https://api.example.com"), ("sec-fetch-site", "cross-site")], Other),
            (&[("origin", "https://evil.example"), ("sec-fetch-site", "same-origin")], Other),
            (&[("sec-fetch-site", "same-site")], Other),
            (&[("sec-fetch-site", "cross-site")], Other),
            (&[("sec-fetch-site", "Same-Origin")], Other),
            (&[("sec-fetch-site", "")], Other),
            (&[("sec-fetch-site", "same-origin, cross-site")], Other),
            (&[("sec-fetch-site", "same-origin"), ("sec-fetch-site", "same-origin")], Doubled),
            (&[("referer", "https://api.example.com/")], Unsaid),
        ] {
            for (method, upgrade) in [
                ("POST", false),
                ("DELETE", false),
                ("get", false),
                ("PURGE", false),
                ("GET", true),
            ] {
                assert_eq!(ask(method, upgrade, pairs), Err(why), "{method} {pairs:?}");
            }
        }
    }

    #[test]
    fn our_own_page_and_the_user_may() {
        for pairs in [
            &[("origin", "https://api.example.com")][..],
            &[("sec-fetch-site", "same-origin")],
            &[("sec-fetch-site", "none")],
            &[("origin", "https://api.example.com"), ("sec-fetch-site", "same-origin")],
        ] {
            for (method, upgrade) in [("POST", false), ("GET", true)] {
                assert_eq!(ask(method, upgrade, pairs), Ok(()), "{method} {pairs:?}");
            }
        }
    }

    #[test]
    fn reading_is_never_refused() {
        for method in ["GET", "HEAD", "OPTIONS"] {
            for pairs in [&[][..], &[("origin", "https://evil.example")]] {
                assert_eq!(ask(method, false, pairs), Ok(()), "{method}");
            }
        }
    }
}
