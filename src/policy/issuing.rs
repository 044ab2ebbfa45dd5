//! What `[issuing]` compiles to: who Postern is as an issuer, its keys, and how long anything it
//! makes may live.

use std::time::Duration;

use serde_json::{Map, Value};

use super::cookies::Cookies;
use crate::auth::keys::{KeyError, SigningKey};
use crate::auth::{Algorithm, Family, IssuerSettings, TokenType};
use crate::limit::Limit;

/// The name of the issuer entry that Postern's own tokens belong to.
pub const LOCAL: &str = "local";

/// How far the clocks of gateways may be apart, as for other issuers.
const LEEWAY: Duration = Duration::from_secs(30);

/// Postern as an issuer.
#[derive(Debug)]
pub struct Issuing {
    /// `iss`, exactly.
    pub issuer: String,
    /// `aud`; never empty.
    pub audiences: Vec<String>,
    /// `client_id` of tokens from a login.
    pub client_id: String,
    /// How long an access token lives.
    pub access_lifetime: Duration,
    /// How long a refresh token may stay unused.
    pub refresh_idle: Duration,
    /// How long a login may be renewed.
    pub refresh_lifetime: Duration,
    /// How long the direct predecessor gets its successor's answer again.
    pub refresh_grace: Duration,
    /// How browsers keep a login; `None` when everybody gets tokens.
    pub cookies: Option<Cookies>,
    /// The first signs; the others verify what they signed before.
    pub keys: Vec<IssuingKey>,
    /// How often somebody may try to log in; kept in the store.
    pub login_limits: Vec<Limit>,
    /// How often a client may fail at refresh, token, revoke and introspect.
    pub refresh_limits: Vec<Limit>,
}

/// One of `[[issuing.keys]]`, or of the keys of an upstream's assertion.
#[derive(Debug)]
pub struct IssuingKey {
    /// Its id; every token names the one that signed it.
    pub kid: String,
    /// The key.
    pub signing: SigningKey,
}

impl Issuing {
    /// The key that signs.
    #[must_use]
    pub fn signer(&self) -> Option<&IssuingKey> {
        self.keys.first()
    }

    /// For how long from now an access token that exists may be accepted by any gateway.
    #[must_use]
    pub fn access_token_lives_at_most(&self) -> Duration {
        self.access_lifetime.saturating_add(LEEWAY * 2)
    }

    /// The issuer entry that accepts what is minted here, and nothing else: `typ: at+jwt`, this
    /// `iss`, one of these audiences, one of these keys.
    ///
    /// # Errors
    ///
    /// A key whose public half would be refused (R16).
    pub fn verifier(&self) -> Result<IssuerSettings, KeyError> {
        let mut algorithms: Vec<Algorithm> =
            self.keys.iter().map(|key| key.signing.algorithm()).collect();
        algorithms.sort_unstable();
        algorithms.dedup();
        let keys = self.keys.iter().map(|key| key.signing.verification_key(Some(&key.kid)));
        Ok(IssuerSettings {
            issuer: Some(self.issuer.clone()),
            audiences: Some(self.audiences.clone()),
            leeway: LEEWAY,
            max_lifetime: Some(self.access_lifetime),
            token_type: TokenType::AtJwt,
            renewable: Some(self.refresh_lifetime),
            keys: keys.collect::<Result<_, _>>()?,
            ..IssuerSettings::new(LOCAL, algorithms)
        })
    }

    /// The public keys for others to verify with (RFC 7517 §5). A shared secret is never among
    /// them.
    ///
    /// # Errors
    ///
    /// A key whose public half would be refused (R16).
    pub fn jwks(&self) -> Result<Vec<Map<String, Value>>, KeyError> {
        self.keys.iter().filter_map(|key| public_jwk(key).transpose()).collect()
    }
}

/// The JWK that verifies what this key signs; `None` for a shared secret.
pub(super) fn public_jwk(key: &IssuingKey) -> Result<Option<Map<String, Value>>, KeyError> {
    if key.signing.algorithm().family() == Family::Hmac {
        return Ok(None);
    }
    let mut jwk = key.signing.verifying_jwk()?;
    jwk.insert("kid".to_owned(), key.kid.as_str().into());
    Ok(Some(jwk))
}
