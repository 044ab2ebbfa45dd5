//! What the auth engine accepts and, mostly, what it refuses. Keys are made at run time.

mod attacks;
mod authorize;
mod cache;
mod claims;
mod introspected;
mod logout_token;
mod never_panics;
mod selection;
mod token_types;
mod vectors;

use std::sync::LazyLock;

use serde_json::{Map, Value, json};

use super::{Algorithm, IssuerFilter, IssuerSettings, Issuers, SigningKey, Verified, VerifyError};
use crate::time::UnixTime;

pub(super) const NOW: UnixTime = UnixTime(1_800_000_000);
pub(super) const ISSUER: &str = "https://id.example";

pub(super) static RSA: LazyLock<SigningKey> = LazyLock::new(|| key(Algorithm::RS256));
pub(super) static EC: LazyLock<SigningKey> = LazyLock::new(|| key(Algorithm::ES256));
pub(super) static HMAC: LazyLock<SigningKey> = LazyLock::new(|| key(Algorithm::HS256));

pub(super) fn key(algorithm: Algorithm) -> SigningKey {
    super::install_provider();
    SigningKey::generate(algorithm).unwrap()
}

/// An entry with one RS256 key `rs` and one ES256 key `es`.
pub(super) fn settings() -> IssuerSettings {
    let mut settings = IssuerSettings::new("main", vec![Algorithm::RS256, Algorithm::ES256]);
    settings.issuer = Some(ISSUER.into());
    settings.audiences = Some(vec!["api".into(), "other".into()]);
    settings.keys =
        vec![RSA.verification_key(Some("rs")).unwrap(), EC.verification_key(Some("es")).unwrap()];
    settings
}

pub(super) fn issuers() -> Issuers {
    Issuers::new(vec![settings()], Vec::new()).unwrap()
}

/// The settings with one change, as a set of issuers.
pub(super) fn issuers_with(change: impl FnOnce(&mut IssuerSettings)) -> Issuers {
    let mut settings = settings();
    change(&mut settings);
    Issuers::new(vec![settings], Vec::new()).unwrap()
}

pub(super) fn good_header() -> Value {
    json!({"alg": "ES256", "typ": "JWT", "kid": "es"})
}

pub(super) fn good_claims() -> Value {
    json!({
        "iss": ISSUER, "aud": "api", "sub": "ada", "jti": "j-1", "iat": NOW.0 - 10,
        "exp": NOW.0 + 600, "roles": ["user"], "scope": "read write",
    })
}

/// The good claims with some replaced; `null` in `changes` is a null in the token.
pub(super) fn claims_with(changes: Value) -> Value {
    let mut claims = good_claims();
    for (name, value) in changes.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims
}

pub(super) fn claims_without(name: &str) -> Value {
    let mut claims = good_claims();
    claims.as_object_mut().unwrap().remove(name);
    claims
}

/// A token with exactly this header and these claims, signed by the ES256 key.
pub(super) fn token(header: &Value, claims: &Value) -> String {
    EC.sign_parts(header.to_string().as_bytes(), claims.to_string().as_bytes()).unwrap()
}

pub(super) fn good_token() -> String {
    token(&good_header(), &good_claims())
}

pub(super) fn verify(issuers: &Issuers, token: &str) -> Result<Verified, VerifyError> {
    verify_at(issuers, token, NOW)
}

pub(super) fn verify_at(
    issuers: &Issuers,
    token: &str,
    now: UnixTime,
) -> Result<Verified, VerifyError> {
    issuers.prepare(token, &IssuerFilter::All, now)?.verify(now)
}

/// What verifying these claims with the standard entry says.
pub(super) fn verdict(claims: &Value) -> Result<Verified, VerifyError> {
    verify(&issuers(), &token(&good_header(), claims))
}

pub(super) fn map(value: &Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

pub(super) fn words(words: &[&str]) -> Vec<Box<str>> {
    words.iter().map(|word| (*word).into()).collect()
}
