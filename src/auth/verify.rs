//! From token text to verified facts, in two steps: what is cheap ([`Issuers::prepare`]) and what
//! needs cryptography ([`Candidate::verify`]). Between them the limit on failures is asked.
//!
//! `jsonwebtoken` checks the signature and nothing else. Its `decode` reads header and claims
//! leniently (unknown `crit`, arrays as `iss`, wrongly typed claims as absent, the wall clock), so
//! both are read here, strictly and once; what is checked is therefore what is used.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::claims::Checked;
use super::issuers::Try;
use super::verified::Basis;
use super::{IssuerFilter, Issuers, TokenType, Verified, VerifyError, claims, header, json};
use crate::time::UnixTime;

/// Longest token that is read at all; `[limits] authorization_bytes` is the limit that operators
/// set, this one holds for cookies, files and forgotten limits.
pub(super) const TOKEN_BYTES_MAX: usize = 64 * 1024;

/// Claims of ID tokens and logout tokens, which are no access tokens (invariant 2).
pub(super) const FOREIGN_CLAIMS: [&str; 3] = ["nonce", "at_hash", "events"];

/// What Keycloak writes into the payload's `typ` of signed tokens that are no access tokens (its
/// `TokenUtil`); an access token has `Bearer` there (invariant 2).
const FOREIGN_TYPES: [&str; 4] = ["ID", "Refresh", "Offline", "Logout"];

/// A token that passed every cheap check. Nothing in it is to be trusted: its signature has not
/// been looked at.
pub struct Candidate<'t> {
    issuers: &'t Issuers,
    token: &'t str,
    message: &'t str,
    signature: &'t str,
    claims: Map<String, Value>,
    is_at_jwt: bool,
    tries: Vec<Try<'t>>,
}

impl Issuers {
    /// Form, header, issuer, key and expiry, in this order and without any cryptography.
    ///
    /// # Errors
    ///
    /// [`VerifyError`]; an expired token is [`VerifyError::Expired`] already here.
    pub fn prepare<'t>(
        &'t self,
        token: &'t str,
        allowed: &IssuerFilter,
        now: UnixTime,
    ) -> Result<Candidate<'t>, VerifyError> {
        let Parts { message, header, payload, signature } = Parts::of(token)?;
        let header = header::read(&decode(header)?)?;
        let claims = json::object(&decode(payload)?).ok_or(VerifyError::Malformed)?;
        decode(signature)?;
        if FOREIGN_CLAIMS.iter().any(|name| claims.contains_key(*name)) {
            return Err(VerifyError::TokenType);
        }
        if claims.get("typ").is_some_and(|typ| FOREIGN_TYPES.iter().any(|foreign| typ == foreign)) {
            return Err(VerifyError::TokenType);
        }
        let issuer = claims::optional_text(&claims, "iss")?;
        let tries = self.tries(issuer, &header, allowed)?;
        let leeway = tries.iter().map(|try_| try_.settings.leeway).max().unwrap_or_default();
        if now >= claims::expiry(&claims)?.plus(leeway) {
            return Err(VerifyError::Expired);
        }
        let is_at_jwt = header.is_at_jwt;
        Ok(Candidate { issuers: self, token, message, signature, claims, is_at_jwt, tries })
    }
}

impl Candidate<'_> {
    /// The signature, with the algorithm of each possible key and no other, then the claims, then
    /// the times. Where entries share a key, the first whose claims the token has counts.
    ///
    /// # Errors
    ///
    /// [`VerifyError::Signature`] when no key made it; else what is wrong with the claims.
    pub fn verify(self, now: UnixTime) -> Result<Verified, VerifyError> {
        let made_it = |try_: &&Try<'_>| try_.key.verifies(self.message, self.signature);
        let (mut accepted, mut refusal) = (None, None);
        for made in self.tries.iter().filter(made_it) {
            match self.check(made) {
                Ok(checked) => {
                    accepted = Some((made, checked));
                    break;
                }
                Err(error) => drop(refusal.get_or_insert(error)),
            }
        }
        let Some((made, checked)) = accepted else {
            return Err(refusal.unwrap_or(VerifyError::Signature));
        };
        let key = Some(*made.key.fingerprint());
        let basis = Basis { settings: made.settings, kid: made.key.kid(), fact: *made.fact, key };
        let verified =
            Verified::new(basis, self.token, self.claims, checked, &self.issuers.extra_keys, now);
        verified.check_times(now)?;
        Ok(verified)
    }

    fn check(&self, made: &Try<'_>) -> Result<Checked, VerifyError> {
        if made.settings.token_type == TokenType::AtJwt {
            if !self.is_at_jwt {
                return Err(VerifyError::TokenType);
            }
            claims::check_at_jwt(&self.claims)?;
        }
        claims::check(made.settings, &self.claims)
    }
}

impl fmt::Debug for Candidate<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Candidate").field("tries", &self.tries.len()).finish_non_exhaustive()
    }
}

/// The compact serialisation (RFC 7515 §7.1).
pub(super) struct Parts<'t> {
    /// What is signed: header, dot, payload.
    pub(super) message: &'t str,
    pub(super) header: &'t str,
    pub(super) payload: &'t str,
    pub(super) signature: &'t str,
}

impl<'t> Parts<'t> {
    /// Exactly three parts; a JWE has five.
    pub(super) fn of(token: &'t str) -> Result<Self, VerifyError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(VerifyError::Malformed);
        }
        let (message, signature) = token.rsplit_once('.').ok_or(VerifyError::Malformed)?;
        let (header, payload) = message.split_once('.').ok_or(VerifyError::Malformed)?;
        // A further dot would be in the payload, where base64url refuses it.
        Ok(Self { message, header, payload, signature })
    }
}

/// Base64url in its one canonical form: no padding, no white space, no non-zero trailing bits
/// (R6, RFC 4648 §3.5).
pub(super) fn decode(part: &str) -> Result<Vec<u8>, VerifyError> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| VerifyError::Malformed)
}
