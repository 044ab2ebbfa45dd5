//! The double-submit token of Postern's own cookies (OWASP: signed double-submit cookie).
//!
//! It is an HMAC under the cookie secret over the session's id and a random value that a second
//! cookie holds: another site can neither read one nor make one, and one of another session, or of
//! none, is of no use. Nothing of it is kept.

use aws_lc_rs::hmac;
use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, HeaderName};

use crate::auth::extract::cookie_value;
use crate::policy::cookies::Cookies;

/// Where a script puts the token.
pub static FIELD: HeaderName = HeaderName::from_static("x-csrf-token");

/// What the field of a form is called.
pub const FORM_FIELD: &str = "csrf_token";

/// Random bytes in the second cookie.
const NONCE_BYTES: usize = 32;

/// The random value of the second cookie.
pub struct Nonce(String);

/// The system gives no randomness.
#[derive(Debug)]
pub struct NoRandomness;

impl Nonce {
    /// A new one.
    ///
    /// # Errors
    ///
    /// [`NoRandomness`].
    pub fn new() -> Result<Self, NoRandomness> {
        let mut bytes = [0; NONCE_BYTES];
        SystemRandom::new().fill(&mut bytes).map_err(|_| NoRandomness)?;
        Ok(Self(URL_SAFE_NO_PAD.encode(bytes)))
    }

    /// The one that the client has; `None` without one that could be ours, or with several.
    #[must_use]
    pub fn of(headers: &HeaderMap, cookies: &Cookies) -> Option<Self> {
        let text = cookie_value(headers, &cookies.csrf).ok()??;
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        (bytes.len() == NONCE_BYTES).then(|| Self(text.to_owned()))
    }

    /// The cookie's value.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.0
    }
}

/// What a token is good for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Bound<'s> {
    /// Logging in: there is no session yet (login CSRF).
    Login,
    /// Requests of the session with this id.
    Session(&'s str),
}

impl Bound<'_> {
    fn digest(self, cookies: &Cookies, nonce: &Nonce) -> hmac::Context {
        let (purpose, id) = match self {
            Self::Login => ("login", ""),
            Self::Session(id) => ("session", id),
        };
        let mut context = hmac::Context::with_key(&cookies.key);
        for part in [purpose, id, &nonce.0] {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part.as_bytes());
        }
        context
    }

    /// The token.
    #[must_use]
    pub fn token(self, cookies: &Cookies, nonce: &Nonce) -> String {
        URL_SAFE_NO_PAD.encode(self.digest(cookies, nonce).sign())
    }

    /// Whether this is the token, compared in constant time.
    #[must_use]
    pub fn accepts(self, token: &str, cookies: &Cookies, nonce: &Nonce) -> bool {
        let wanted = self.digest(cookies, nonce).sign();
        let Ok(token) = URL_SAFE_NO_PAD.decode(token) else { return false };
        aws_lc_rs::constant_time::verify_slices_are_equal(wanted.as_ref(), &token).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use http::header::COOKIE;

    use super::*;

    fn cookies(secret: u8) -> Cookies {
        Cookies::new("__Host-postern", false, true, &[secret; 32])
    }

    /// Sources: OWASP CSRF Prevention ("Signed Double-Submit Cookie": bound to the session, so that
    /// an attacker's own pair is of no use); login CSRF (Barth et al. 2008).
    #[test]
    fn a_token_is_good_for_one_session_one_nonce_and_one_secret() {
        let (own, other) = (cookies(1), cookies(2));
        let (nonce, stranger) = (Nonce::new().unwrap(), Nonce::new().unwrap());
        let (alice, mallory) = (Bound::Session("alice's"), Bound::Session("mallory's"));
        let token = alice.token(&own, &nonce);
        assert!(alice.accepts(&token, &own, &nonce));
        assert!(!mallory.accepts(&token, &own, &nonce), "another session");
        assert!(!Bound::Login.accepts(&token, &own, &nonce), "no session");
        assert!(!alice.accepts(&token, &own, &stranger), "another cookie");
        assert!(!alice.accepts(&token, &other, &nonce), "another secret");
        assert!(!alice.accepts(&Bound::Login.token(&own, &nonce), &own, &nonce));
        let (text, first) = (token.as_str(), &token.chars().next().unwrap().to_string());
        for wrong in [
            "",
            "x",
            &text.replacen(first, "", 1),
            &format!("{text}A"),
            &text.to_lowercase(),
            nonce.text(),
        ] {
            assert!(!alice.accepts(wrong, &own, &nonce), "{wrong}");
        }
        // Where one part ends and the next begins is part of it.
        let moved = Bound::Session("alice");
        assert!(!moved.accepts(&token, &own, &Nonce(format!("'s{}", nonce.text()))));
    }

    #[test]
    fn one_well_formed_cookie_is_a_nonce() {
        let own = cookies(1);
        let nonce = Nonce::new().unwrap();
        let of = |cookie: &str| {
            let value = HeaderValue::from_str(cookie).unwrap();
            Nonce::of(&HeaderMap::from_iter([(COOKIE, value)]), &own).map(|nonce| nonce.0)
        };
        let text = nonce.text();
        assert_eq!(of(&format!("a=1; __Host-postern-csrf={text}")).as_deref(), Some(text));
        for wrong in [
            String::new(),
            format!("__Host-postern={text}"),
            format!("__host-postern-csrf={text}"),
            format!("__Host-postern-csrf={text}A"),
            format!("__Host-postern-csrf={text}; __Host-postern-csrf={text}"),
            "__Host-postern-csrf=".to_owned(),
        ] {
            assert!(of(&wrong).is_none(), "{wrong}");
        }
    }
}
