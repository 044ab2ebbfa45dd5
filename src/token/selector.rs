//! What a revocation names: one token, or all tokens of a session, subject, client, issuer or key.
//!
//! A selector's *suffix* is the part of its Redis key after `{prefix}blocklist:`; its *id* is the
//! base64url of that suffix. Claim values are data: every byte outside `A-Za-z0-9-._~` is
//! percent-encoded, so no value can reach into another key (R46).

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::form::own_part;

/// Everything but RFC 3986's unreserved characters.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// An encoded component above this many bytes is replaced by `sha256.` and its digest.
const COMPONENT_BYTES_MAX: usize = 200;

/// What a selector selects by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// The tokens of one client (`azp` or `client_id`) issued up to a time.
    Client,
    /// Every token of an issuer.
    Issuer,
    /// One token, by `jti`.
    Jti,
    /// Every token that this key verified.
    Kid,
    /// Every token of one session (`sid`).
    Sid,
    /// The tokens of one subject issued up to a time.
    Sub,
    /// One token, by [`token_digest`].
    Token,
}

impl Kind {
    /// The word used in keys, in the admin API and on the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Issuer => "issuer",
            Self::Jti => "jti",
            Self::Kid => "kid",
            Self::Sid => "sid",
            Self::Sub => "sub",
            Self::Token => "token",
        }
    }

    /// Whether an entry refuses only tokens issued up to its `issued_before`
    /// (`sub`, `client`) rather than by existing.
    #[must_use]
    pub const fn is_dated(self) -> bool {
        matches!(self, Self::Client | Self::Sub)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Kind {
    type Err = ();

    fn from_str(word: &str) -> Result<Self, ()> {
        [Self::Client, Self::Issuer, Self::Jti, Self::Kid, Self::Sid, Self::Sub, Self::Token]
            .into_iter()
            .find(|kind| kind.as_str() == word)
            .ok_or(())
    }
}

/// One selector with its value.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Selector {
    /// What it selects by.
    pub kind: Kind,
    /// The `iss` string; `-` for an issuer entry that is configured `issuer = "off"`. Unused for
    /// [`Kind::Token`].
    pub issuer: String,
    /// The claim's value; empty for [`Kind::Issuer`]; lower-case hex for [`Kind::Token`].
    pub value: String,
}

impl Selector {
    /// The key's part after `{prefix}blocklist:`, for example `jti:https%3A%2F%2Fid:4711`.
    #[must_use]
    pub fn suffix(&self) -> String {
        let kind = self.kind.as_str();
        match self.kind {
            Kind::Token => format!("{kind}:{}", self.value),
            Kind::Issuer => format!("{kind}:{}", component(&self.issuer)),
            Kind::Client | Kind::Jti | Kind::Kid | Kind::Sid | Kind::Sub => {
                format!("{kind}:{}:{}", component(&self.issuer), component(&self.value))
            }
        }
    }

    /// The entry's id in the admin API: base64url of the suffix.
    #[must_use]
    pub fn id(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.suffix())
    }

    /// The suffix that an id stands for; `None` when it is not one of ours.
    #[must_use]
    pub fn suffix_of_id(id: &str) -> Option<String> {
        let suffix = String::from_utf8(URL_SAFE_NO_PAD.decode(id).ok()?).ok()?;
        let (kind, rest) = suffix.split_once(':')?;
        (kind.parse::<Kind>().is_ok() && !rest.is_empty()).then_some(suffix)
    }
}

/// One percent-encoded key component, hashed when long.
fn component(value: &str) -> String {
    let encoded = utf8_percent_encode(value, RESERVED).to_string();
    if encoded.len() <= COMPONENT_BYTES_MAX {
        encoded
    } else {
        format!("sha256.{}", sha256_hex(value.as_bytes()))
    }
}

/// Lower-case hex SHA-256.
#[must_use]
pub fn sha256_hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
    digest.as_ref().iter().fold(String::with_capacity(64), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// The digest under which a token is revoked: SHA-256 over `header.payload` of a JWT, because an
/// ECDSA signature can be replaced by a second valid one (design: blocklist); over the whole of an
/// opaque token, dots or not.
#[must_use]
pub fn token_digest(token: &str) -> String {
    sha256_hex(own_part(token).as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selector(kind: Kind, issuer: &str, value: &str) -> Selector {
        Selector { kind, issuer: issuer.into(), value: value.into() }
    }

    #[test]
    fn a_value_cannot_reach_into_another_key() {
        let honest = selector(Kind::Jti, "a", "b:c").suffix();
        let hostile = selector(Kind::Jti, "a:b", "c").suffix();
        assert_eq!(honest, "jti:a:b%3Ac");
        assert_eq!(hostile, "jti:a%3Ab:c");
        assert_eq!(selector(Kind::Sub, "i", "*\r\n{x}").suffix(), "sub:i:%2A%0D%0A%7Bx%7D");
    }

    #[test]
    fn a_long_value_is_hashed() {
        let suffix = selector(Kind::Jti, "i", &"x".repeat(201)).suffix();
        assert!(suffix.starts_with("jti:i:sha256."), "{suffix}");
        assert_eq!(suffix.len(), "jti:i:sha256.".len() + 64);
        assert!(selector(Kind::Jti, "i", &"x".repeat(200)).suffix().ends_with(&"x".repeat(200)));
    }

    #[test]
    fn an_id_leads_back_to_its_suffix() {
        let selector = selector(Kind::Issuer, "https://id.example", "");
        assert_eq!(Selector::suffix_of_id(&selector.id()), Some(selector.suffix()));
        assert_eq!(Selector::suffix_of_id("bm9uc2Vuc2U"), None);
        assert_eq!(Selector::suffix_of_id("%%"), None);
    }

    #[test]
    fn a_token_is_named_by_what_is_signed() {
        // {"alg":"ES256"}
        let header = "eyJhbGciOiJFUzI1NiJ9";
        let digest = |rest: &str| token_digest(&format!("{header}.{rest}"));
        assert_eq!(digest("e30.YQ"), digest("e30.Yg"));
        assert_ne!(digest("e30.YQ"), digest("W10.YQ"));
        assert_ne!(token_digest("aa.bb.cc"), token_digest("aa.bb.dd"), "opaque, with dots");
    }
}
