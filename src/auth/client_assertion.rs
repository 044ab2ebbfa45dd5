//! Assertions by which a client proves who it is (`private_key_jwt`: RFC 7523 §2.2, §3, OpenID
//! Connect Core §9). Read as strictly as access tokens, with the client's own registered keys.
//!
//! `aud` is the issuer's identifier, as the one string. The token endpoint's URL is not taken, nor
//! a list: a client that can be talked into naming another server's endpoint would sign its way in
//! here (CVE-2025-27370, CVE-2025-27371; draft-ietf-oauth-rfc7523bis §4).
//!
//! Whether an assertion was used before is the store's knowledge, not a matter of the assertion.

use std::time::Duration;

use serde_json::{Map, Value};
use thiserror::Error;

use super::header::Header;
use super::keys::{self, KeyError};
use super::verify::{FOREIGN_CLAIMS, Parts, decode};
use super::{Algorithm, VerificationKey, VerifyError, claims, header, json};
use crate::time::UnixTime;

/// What an assertion may be signed with; never a shared secret.
pub const ASSERTION_ALGORITHMS: [Algorithm; 3] =
    [Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA];

/// How far a client's clock may be off.
const LEEWAY: Duration = Duration::from_secs(30);
/// The longest that an assertion may be good from now on: so long is it known that it was used.
const LIFETIME_MAX: Duration = Duration::from_secs(300);
/// Keys that are tried for an assertion without `kid`.
const TRIES_MAX: usize = 4;

/// The public keys that a client has registered.
#[derive(Clone, Debug)]
pub struct ClientKeys(Vec<VerificationKey>);

/// Why a client's JWKS is not taken.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ClientKeysError {
    /// Two keys with one `kid`.
    #[error("has the kid {0:?} twice")]
    DuplicateKid(Box<str>),
    /// A private key or a shared secret is in it, or it is no JWKS.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Nothing can be verified with it.
    #[error("holds no usable key ({0})")]
    Useless(String),
}

/// An assertion whose form is good. Nothing in it is to be trusted: its signature has not been
/// looked at.
pub struct ClientAssertion<'t> {
    message: &'t str,
    signature: &'t str,
    header: Header,
    claims: Map<String, Value>,
    client: String,
}

/// What an accepted assertion proves, once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// The assertion's own id, unique for its client.
    pub jti: Box<str>,
    /// When it is too old everywhere: so long must it be known that it was used.
    pub until: UnixTime,
}

/// Why an assertion is refused. The client never learns which; the log line does.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ClientAssertionError {
    /// `aud` is not the issuer's identifier as a string.
    #[error("aud is not the issuer's identifier alone")]
    Audience,
    /// Expired, or from the future.
    #[error("expired or not yet valid")]
    Expired,
    /// No registered key fits its header.
    #[error("no registered key has its kid and algorithm")]
    Key,
    /// `exp` is too far ahead.
    #[error("exp is more than {} s ahead", LIFETIME_MAX.as_secs())]
    Lifetime,
    /// No JWT, or claims are missing or of the wrong type, or `iss` and `sub` differ.
    #[error("not a client's assertion: {0}")]
    Malformed(VerifyError),
    /// None of the keys made the signature.
    #[error("the signature does not verify")]
    Signature,
}

impl ClientAssertionError {
    /// A stable word for logs and metrics; from this fixed list only.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Audience => "assertion_audience",
            Self::Expired => "assertion_expired",
            Self::Key => "assertion_key",
            Self::Lifetime => "assertion_lifetime",
            Self::Malformed(_) => "assertion_malformed",
            Self::Signature => "assertion_signature",
        }
    }
}

impl From<VerifyError> for ClientAssertionError {
    fn from(error: VerifyError) -> Self {
        Self::Malformed(error)
    }
}

impl ClientKeys {
    /// Reads a client's JWKS (RFC 7517 §5).
    ///
    /// # Errors
    ///
    /// [`ClientKeysError`]; a private key or a shared secret in it is one, too, since whoever
    /// registers keys should have kept it.
    pub fn from_jwks(text: &[u8]) -> Result<Self, ClientKeysError> {
        let set = keys::from_jwks(text, &ASSERTION_ALGORITHMS, false)?;
        let leaked = |reason: &KeyError| matches!(reason, KeyError::Private | KeyError::Octet);
        if let Some(skipped) = set.skipped.iter().find(|skipped| leaked(&skipped.reason)) {
            return Err(skipped.reason.clone().into());
        }
        if set.keys.is_empty() {
            let reasons = set.skipped.iter().map(|skipped| skipped.reason.to_string());
            return Err(ClientKeysError::Useless(reasons.collect::<Vec<_>>().join("; ")));
        }
        let mut kids: Vec<&str> = set.keys.iter().filter_map(VerificationKey::kid).collect();
        kids.sort_unstable();
        if let Some([twice, _]) = kids.windows(2).find(|pair| matches!(pair, [a, b] if a == b)) {
            return Err(ClientKeysError::DuplicateKid((*twice).into()));
        }
        Ok(Self(set.keys))
    }

    /// The keys that fit a header; the algorithm is the key's (R1).
    fn tries(&self, header: &Header) -> impl Iterator<Item = &VerificationKey> {
        let algorithm: Option<Algorithm> = header.alg.parse().ok();
        let kid = header.kid.clone();
        let fits = move |key: &&VerificationKey| {
            Some(key.algorithm()) == algorithm && (kid.is_none() || key.kid() == kid.as_deref())
        };
        self.0.iter().filter(fits).take(TRIES_MAX)
    }
}

impl<'t> ClientAssertion<'t> {
    /// Form, header and the types of the claims, without any cryptography.
    ///
    /// # Errors
    ///
    /// [`ClientAssertionError::Malformed`].
    pub fn read(text: &'t str) -> Result<Self, ClientAssertionError> {
        let Parts { message, header, payload, signature } = Parts::of(text)?;
        let header = header::read_client_assertion(&decode(header)?)?;
        let claims = json::object(&decode(payload)?).ok_or(VerifyError::Malformed)?;
        decode(signature)?;
        if FOREIGN_CLAIMS.iter().any(|name| claims.contains_key(*name)) {
            return Err(VerifyError::TokenType.into());
        }
        let named = |name: &'static str| {
            let text = claims::optional_text(&claims, name)?;
            text.ok_or_else(|| VerifyError::MissingClaim(name.into()))
        };
        // RFC 7523 §3: issuer and subject are the client.
        let (iss, sub) = (named("iss")?, named("sub")?);
        if iss != sub {
            return Err(VerifyError::UnknownIssuer.into());
        }
        let client = sub.to_owned();
        Ok(Self { message, signature, header, claims, client })
    }

    /// Who it says that it is.
    #[must_use]
    pub fn client(&self) -> &str {
        &self.client
    }

    /// Audience, times and `jti`, then the signature by one of the client's keys. `audience` is the
    /// issuer's identifier.
    ///
    /// # Errors
    ///
    /// [`ClientAssertionError`].
    pub fn verify(
        self,
        keys: &ClientKeys,
        audience: &str,
        now: UnixTime,
    ) -> Result<Proof, ClientAssertionError> {
        let proof = self.check(audience, now)?;
        let mut tries = keys.tries(&self.header).peekable();
        if tries.peek().is_none() {
            return Err(ClientAssertionError::Key);
        }
        let made = tries.any(|key| key.verifies(self.message, self.signature));
        if made { Ok(proof) } else { Err(ClientAssertionError::Signature) }
    }

    fn check(&self, audience: &str, now: UnixTime) -> Result<Proof, ClientAssertionError> {
        if claims::optional_text(&self.claims, "aud") != Ok(Some(audience)) {
            return Err(ClientAssertionError::Audience);
        }
        let expires_at = claims::expiry(&self.claims)?;
        let ahead = now.plus(LEEWAY);
        if now >= expires_at.plus(LEEWAY) {
            return Err(ClientAssertionError::Expired);
        }
        if expires_at > ahead.plus(LIFETIME_MAX) {
            return Err(ClientAssertionError::Lifetime);
        }
        for name in ["iat", "nbf"] {
            if claims::optional_seconds(&self.claims, name)?.is_some_and(|time| time > ahead) {
                return Err(ClientAssertionError::Expired);
            }
        }
        let jti = claims::naming(self.claims.get("jti"), "jti")?.filter(|jti| !jti.is_empty());
        let jti = jti.ok_or_else(|| VerifyError::MissingClaim("jti".into()))?;
        Ok(Proof { jti, until: expires_at.plus(LEEWAY) })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::SigningKey;
    use super::*;

    const NOW: UnixTime = UnixTime(1_800_000_000);
    const ISSUER: &str = "https://login.example";

    fn claims(change: impl FnOnce(&mut Map<String, Value>)) -> Map<String, Value> {
        let claims = serde_json::json!({
            "iss": "reports", "sub": "reports", "aud": ISSUER, "exp": NOW.0 + 60, "jti": "j",
        });
        let mut claims = claims.as_object().unwrap().clone();
        change(&mut claims);
        claims
    }

    fn key(kid: &str) -> (SigningKey, Value) {
        crate::auth::install_provider();
        let key = SigningKey::generate(Algorithm::ES256).unwrap();
        let mut jwk = key.verifying_jwk().unwrap();
        jwk.insert("kid".to_owned(), kid.into());
        (key, Value::Object(jwk))
    }

    fn keys(jwks: &[&Value]) -> ClientKeys {
        let text = serde_json::json!({ "keys": jwks }).to_string();
        ClientKeys::from_jwks(text.as_bytes()).unwrap()
    }

    /// The edges of the times; the rest is attacked from outside (`tests/postern/oauth_token.rs`).
    #[test]
    fn an_assertion_is_good_for_a_while() {
        let (key, jwk) = key("1");
        let keys = keys(&[&jwk]);
        let verify = |exp: i64, now: i64| {
            let claims = claims(|claims| drop(claims.insert("exp".to_owned(), exp.into())));
            let text = key.sign("JWT", Some("1"), &claims).unwrap();
            let read = ClientAssertion::read(&text).unwrap();
            read.verify(&keys, ISSUER, UnixTime(now)).map(|proof| proof.until.0)
        };
        let now = NOW.0;
        assert_eq!(verify(now + 60, now), Ok(now + 90));
        assert_eq!(verify(now - 29, now), Ok(now + 1), "known until it is too old everywhere");
        assert_eq!(verify(now - 30, now), Err(ClientAssertionError::Expired));
        assert_eq!(verify(now + 330, now), Ok(now + 360));
        assert_eq!(verify(now + 331, now), Err(ClientAssertionError::Lifetime));
    }

    /// R1 to R5: the key decides; a kid leads to one key, and without one a few are tried.
    #[test]
    fn only_the_clients_own_keys_count() {
        let ((one, jwk_one), (two, jwk_two)) = (key("1"), key("2"));
        let (_, stranger) = key("1");
        let verify = |key: &SigningKey, kid: Option<&str>, keys: &ClientKeys| {
            let text = key.sign("client-authentication+jwt", kid, &claims(|_| ())).unwrap();
            ClientAssertion::read(&text).unwrap().verify(keys, ISSUER, NOW).map(drop)
        };
        let both = keys(&[&jwk_one, &jwk_two]);
        assert_eq!(verify(&one, Some("1"), &both), Ok(()));
        assert_eq!(verify(&two, None, &both), Ok(()));
        assert_eq!(verify(&two, Some("1"), &both), Err(ClientAssertionError::Signature));
        assert_eq!(verify(&one, Some("3"), &both), Err(ClientAssertionError::Key));
        assert_eq!(
            verify(&one, Some("1"), &keys(&[&stranger])),
            Err(ClientAssertionError::Signature)
        );
        let mut nameless = jwk_one.clone();
        nameless.as_object_mut().unwrap().remove("kid");
        assert_eq!(verify(&one, Some("1"), &keys(&[&nameless])), Err(ClientAssertionError::Key));
    }

    proptest! {
        #[test]
        fn no_text_makes_reading_panic(text in ".{0,200}", middle in "[A-Za-z0-9_-]{0,80}") {
            let _ = ClientAssertion::read(&text).is_ok();
            let _ = ClientAssertion::read(&format!("eyJhbGciOiJFUzI1NiJ9.{middle}.AA")).is_ok();
        }
    }
}
