//! Access tokens (RFC 9068): what a login may do, signed, for as long as `access_lifetime`.
//!
//! `iat` is the store's clock, as it was in the step that renewed the login: a revocation that
//! comes later is dated no earlier, so that it covers the token, as long as that clock does not go
//! back. Where it did (a time server's correction, a failover to a machine whose clock is behind)
//! a `sub` or `client` revocation misses what was dated ahead of it. What is ahead by more than 30
//! seconds is refused until that time has come.

use std::sync::Arc;

use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use thiserror::Error;

use crate::auth::keys::SignError;
use crate::policy::Issuing;
use crate::secret::Secret;
use crate::store::Login;
use crate::time::UnixTime;

/// `typ` of an access token (RFC 9068 §2.1).
const TYP: &str = "at+jwt";

/// Claims that only the mint writes, or that would make the token another kind of token.
const OWN_CLAIMS: [&str; 22] = [
    "act",
    "acr",
    "amr",
    "at_hash",
    "aud",
    "auth_time",
    "azp",
    "c_hash",
    "client_id",
    "cnf",
    "events",
    "exp",
    "iat",
    "iss",
    "jti",
    "may_act",
    "nbf",
    "nonce",
    "permissions",
    "roles",
    "sid",
    "sub",
];

/// What an account may do, at its login or now.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Rights {
    /// `roles`.
    pub roles: Vec<String>,
    /// `permissions`.
    pub permissions: Vec<String>,
    /// Further claims. Those that the mint writes itself are left out, whoever names them.
    pub claims: Map<String, Value>,
}

/// A signed token and what has to be known of it.
#[derive(Debug)]
pub struct AccessToken {
    /// The token.
    pub text: Secret<String>,
    /// `jti`, for the audit log.
    pub jti: String,
    /// `exp`.
    pub expires_at: UnixTime,
}

/// No token could be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum MintError {
    /// `[[issuing.keys]]` is empty.
    #[error("there is no key to sign with")]
    NoKey,
    /// The system gives no randomness.
    #[error("the system gives no randomness")]
    NoRandomness,
    /// The library could not sign.
    #[error(transparent)]
    Sign(#[from] SignError),
}

/// Makes access tokens under the rules of one snapshot.
#[derive(Clone, Debug)]
pub struct Mint(Arc<Issuing>);

impl Mint {
    /// A mint with these keys and rules.
    #[must_use]
    pub const fn new(issuing: Arc<Issuing>) -> Self {
        Self(issuing)
    }

    /// The token of a login that began or was renewed `at` and ends at `until`
    /// ([`super::Issued`]): no token outlives its login.
    ///
    /// # Errors
    ///
    /// [`MintError`].
    pub fn of_login(
        &self,
        login: &Login,
        rights: &Rights,
        at: UnixTime,
        until: UnixTime,
    ) -> Result<AccessToken, MintError> {
        let audiences = &self.0.audiences;
        let mut claims = self.claims(rights, &login.subject, &login.client, audiences);
        claims.insert("sid".to_owned(), login.sid.as_str().into());
        self.signed(claims, at, at.plus(self.0.access_lifetime).min(until))
    }

    /// The token of a client in its own name (RFC 6749 §4.4): `sub` is `client:{id}`, which no
    /// account may be called, and there is no session.
    ///
    /// # Errors
    ///
    /// [`MintError`].
    pub fn of_client(
        &self,
        client: &str,
        audiences: &[String],
        rights: &Rights,
        at: UnixTime,
    ) -> Result<AccessToken, MintError> {
        let claims = self.claims(rights, &format!("client:{client}"), client, audiences);
        self.signed(claims, at, at.plus(self.0.access_lifetime))
    }

    fn claims(
        &self,
        rights: &Rights,
        subject: &str,
        client: &str,
        audiences: &[String],
    ) -> Map<String, Value> {
        let further = rights.claims.iter().filter(|(name, _)| !OWN_CLAIMS.contains(&name.as_str()));
        let mut claims: Map<String, Value> =
            further.map(|(name, value)| (name.clone(), value.clone())).collect();
        let aud = match audiences {
            [one] => Value::from(one.as_str()),
            several => Value::from(several),
        };
        for (name, value) in [
            ("iss", Value::from(self.0.issuer.as_str())),
            ("aud", aud),
            ("sub", subject.into()),
            ("client_id", client.into()),
            ("roles", rights.roles.as_slice().into()),
            ("permissions", rights.permissions.as_slice().into()),
        ] {
            claims.insert(name.to_owned(), value);
        }
        claims
    }

    fn signed(
        &self,
        mut claims: Map<String, Value>,
        at: UnixTime,
        expires_at: UnixTime,
    ) -> Result<AccessToken, MintError> {
        let key = self.0.signer().ok_or(MintError::NoKey)?;
        let jti = random_id()?;
        for (name, value) in [
            ("iat", Value::from(at.seconds())),
            ("nbf", at.seconds().into()),
            ("exp", expires_at.seconds().into()),
            ("jti", jti.as_str().into()),
        ] {
            claims.insert(name.to_owned(), value);
        }
        let text = key.signing.sign(TYP, Some(&key.kid), &claims)?;
        Ok(AccessToken { text: Secret::new(text), jti, expires_at })
    }
}

impl Rights {
    /// As the store keeps it beside a login.
    pub(super) fn to_text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// What was known at a login; nothing when that cannot be read.
    #[must_use]
    pub fn at_login(login: &Login) -> Self {
        serde_json::from_str(&login.known).unwrap_or_default()
    }
}

/// 128 random bits as a UUID (RFC 9562 §5.4), from the library's generator.
fn random_id() -> Result<String, MintError> {
    let mut bytes = [0; 16];
    SystemRandom::new().fill(&mut bytes).map_err(|_| MintError::NoRandomness)?;
    Ok(uuid::Builder::from_random_bytes(bytes).into_uuid().to_string())
}
