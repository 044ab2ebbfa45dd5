//! What `[issuing.cookies]` compiles to: which cookies are Postern's, and how they are set.
//!
//! Both are host-only, for all paths, never sent without TLS and out of reach of scripts
//! (RFC 6265bis §4.1.3.2, OWASP Session Management). They last as long as the browser; how long a
//! login lasts is decided where it is kept.

use std::fmt;

use aws_lc_rs::hmac;
use cookie::{Cookie, CookieBuilder, SameSite, time};
use http::HeaderValue;

/// Bytes that the secret has at least: those of the hash (RFC 2104 §3).
pub const SECRET_BYTES_MIN: usize = 32;

/// Postern's cookies.
pub struct Cookies {
    /// The name of the one with the session's id.
    pub session: Box<str>,
    /// The name of the one that a CSRF token is made with.
    pub csrf: Box<str>,
    /// Whether browsers are sent to a login page, and there is one.
    pub login_page: bool,
    /// What CSRF tokens are made with.
    pub key: hmac::Key,
    same_site: SameSite,
}

impl Cookies {
    /// Cookies by these settings; `strict` is `same_site = "strict"`.
    #[must_use]
    pub fn new(name: &str, strict: bool, login_page: bool, secret: &[u8]) -> Self {
        Self {
            session: name.into(),
            csrf: format!("{name}-csrf").into(),
            login_page,
            key: hmac::Key::new(hmac::HMAC_SHA256, secret),
            same_site: if strict { SameSite::Strict } else { SameSite::Lax },
        }
    }

    /// The `Set-Cookie` of a session.
    #[must_use]
    pub fn set_session(&self, id: &str) -> HeaderValue {
        self.line(Cookie::build((&*self.session, id)))
    }

    /// The `Set-Cookie` of what a CSRF token is made with.
    #[must_use]
    pub fn set_csrf(&self, nonce: &str) -> HeaderValue {
        self.line(Cookie::build((&*self.csrf, nonce)))
    }

    /// The `Set-Cookie`s that take both back.
    #[must_use]
    pub fn clear(&self) -> [HeaderValue; 2] {
        [self.clear_session(), self.line(gone(&self.csrf))]
    }

    /// The `Set-Cookie` that takes the session's back.
    #[must_use]
    pub fn clear_session(&self) -> HeaderValue {
        self.line(gone(&self.session))
    }

    fn line(&self, cookie: CookieBuilder<'_>) -> HeaderValue {
        let cookie = cookie.path("/").secure(true).http_only(true).same_site(self.same_site);
        // Names are checked, values are our own: there is nothing that a field could not carry.
        let line = HeaderValue::try_from(cookie.build().to_string());
        let mut line = line.unwrap_or(HeaderValue::from_static(""));
        line.set_sensitive(true);
        line
    }
}

fn gone(name: &str) -> CookieBuilder<'_> {
    Cookie::build((name, "")).max_age(time::Duration::ZERO)
}

impl fmt::Debug for Cookies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cookies").field("session", &self.session).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sources: design "one opaque `__Host-` session cookie"; RFC 6265bis §4.1.3.2: a browser takes
    /// the prefix only with Secure and Path=/, and without Domain.
    #[test]
    fn a_cookie_is_as_browsers_want_the_prefix() {
        let cookies = Cookies::new("__Host-postern", false, true, &[7; 32]);
        assert_eq!(
            cookies.set_session("abc"),
            "__Host-postern=abc; HttpOnly; SameSite=Lax; Secure; Path=/"
        );
        let strict = Cookies::new("__Host-x", true, true, &[7; 32]);
        assert_eq!(
            strict.set_csrf("n"),
            "__Host-x-csrf=n; HttpOnly; SameSite=Strict; Secure; Path=/"
        );
        let cleared = "__Host-postern=; HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=0";
        assert_eq!(cookies.clear_session(), cleared);
        assert!(cookies.set_session("abc").is_sensitive());
        assert!(!format!("{cookies:?}").contains('7'));
    }
}
