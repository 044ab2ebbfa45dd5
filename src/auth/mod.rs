//! Who is calling: finds the token in a request, verifies it, keeps the verified facts, and
//! compares them with what a route requires.
//!
//! The steps, in the order in which the pipeline takes them:
//!
//! 1. [`extract`]: exactly one token, from `Authorization`, a cookie or the query;
//! 2. [`TokenCache::get`]: facts that were verified before and still hold (invariant 1);
//! 3. [`Issuers::prepare`]: everything that is cheap, before any cryptography, so that a limit on
//!    failures can be asked between this and the next step;
//! 4. [`Candidate::verify`]: the signature, then the claims;
//! 5. [`Verified::check_times`]: on every request, cached or not;
//! 6. [`Rule::allows`]: roles, scopes, permissions, claims.
//!
//! What it must never do: take the algorithm or the key from the token, fetch anything, read a
//! clock, cache a decision, or let a token, a key or a claim value reach a log.

mod authorize;
mod cache;
mod claims;
mod client_assertion;
mod client_secret;
mod error;
mod extra_key;
pub mod extract;
mod header;
mod introspected;
mod issuers;
pub mod json;
pub mod keys;
mod logout_token;
mod report;
mod settings;
mod verified;
mod verify;
mod wanted;

#[cfg(test)]
mod tests;

pub use authorize::{Denied, Rule};
pub use cache::TokenCache;
pub use client_assertion::{
    ASSERTION_ALGORITHMS, ClientAssertion, ClientAssertionError, ClientKeys, ClientKeysError, Proof,
};
pub use client_secret::{
    ClientSecretError, ClientSecretHashes, client_secret_hash, new_client_secret,
};
pub use error::VerifyError;
pub use extra_key::{ExtraKey, ExtraKeyError};
pub use introspected::{Introspectable, NotAccepted};
pub use issuers::{IssuerFilter, Issuers, SettingsError};
pub use keys::{SigningKey, VerificationKey};
pub use logout_token::{LogoutCandidate, LogoutToken, LogoutTokenError, Whom};
pub use report::{Check, Outcome};
pub use settings::{ClaimMapping, IssuerSettings, TokenCheck, TokenType};
pub use verified::{ISSUER_OFF, Told, Verified};
pub use verify::Candidate;
pub use wanted::Wanted;

pub use crate::token::{Algorithm, Family, UnknownAlgorithm};

/// Chooses aws-lc as the cryptography behind `jsonwebtoken`. Call it first in `main`; calling it
/// again changes nothing.
pub fn install_provider() {
    // An error only says that a provider is installed already; this tree has just the one.
    let _ = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
}
