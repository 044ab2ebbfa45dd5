//! Published examples of JWS and JWK (`tests/vectors/`): the RFCs' own and Wycheproof's.
//!
//! Hardly any of them is a JWT with claims that an entry could ask for. They are therefore held to
//! all of the way of a token but its claims: keys are loaded as a key set is, entries compiled as
//! configured ones are, and the token is read, matched with its keys and verified by the functions
//! that [`Issuers::prepare`] and `Candidate::verify` use. Every refusal is told by its rule.

mod rfc;
mod wycheproof;

use super::*;
use crate::auth::keys::{KeyError, from_jwks};
use crate::auth::verify::{Parts, decode};
use crate::auth::{Family, SettingsError, header, install_provider};

/// What becomes of a vector: `accepted`, or the rule that refuses it.
type Outcome = &'static str;

const ACCEPTED: Outcome = "accepted";

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// What becomes of a token in an entry with these keys and algorithms. A key that cannot be loaded
/// refuses whatever it is said to have signed.
fn outcome(keys: &[Value], algorithms: &[Algorithm], token: &str) -> Outcome {
    match entry(keys, algorithms) {
        Ok(issuers) => check(&issuers, token).map_or_else(|error| error.reason(), |()| ACCEPTED),
        Err(rule) => rule,
    }
}

/// An entry for tokens without `iss` with the usable ones of these keys; if none is usable, the
/// rule against the first. Secrets are taken where all algorithms are HMAC, as from the operator's
/// own file.
fn entry(keys: &[Value], algorithms: &[Algorithm]) -> Result<Issuers, Outcome> {
    install_provider();
    let secrets = algorithms.iter().all(|algorithm| algorithm.family() == Family::Hmac);
    let text = json!({"keys": keys}).to_string();
    let set = from_jwks(text.as_bytes(), algorithms, secrets).unwrap();
    assert_eq!(set.keys.len() + set.skipped.len(), keys.len(), "every key is told of");
    if let (true, Some(skipped)) = (set.keys.is_empty(), set.skipped.first()) {
        return Err(rule(&skipped.reason));
    }
    let mut settings = IssuerSettings::new("vectors", algorithms.to_vec());
    settings.keys = set.keys;
    Issuers::new(vec![settings], Vec::new()).map_err(|problems| match problems.as_slice() {
        [SettingsError::AlgorithmFamilies(_), ..] => "entry: secrets and public keys mixed (R3)",
        [SettingsError::DuplicateKid(..)] => "entry: duplicate kid (R5)",
        other => unreachable!("{other:?}"),
    })
}

/// The way of a token but for its claims.
fn check(issuers: &Issuers, token: &str) -> Result<(), VerifyError> {
    let parts = Parts::of(token)?;
    let header = header::read(&decode(parts.header)?)?;
    decode(parts.payload)?;
    decode(parts.signature)?;
    let tries = issuers.tries(None, &header, &IssuerFilter::All)?;
    let made = tries.iter().any(|try_| try_.key.verifies(parts.message, parts.signature));
    made.then_some(()).ok_or(VerifyError::Signature)
}

/// The rule against a key.
fn rule(error: &KeyError) -> Outcome {
    match error {
        KeyError::AlgorithmDisagrees(_) => "key: another algorithm (R1)",
        KeyError::Jwk("of the EC curves P-256 and P-384 are supported") => "key: curve",
        KeyError::Jwk("of the OKP curves only Ed25519 is supported") => "key: curve",
        KeyError::Jwk("a member of the key is missing") => "key: incomplete",
        KeyError::Jwk("x or y has the wrong length for the curve") => "key: length",
        KeyError::NotAKey => "key: not on the curve",
        KeyError::Octet => "key: a secret in a set (R3)",
        KeyError::Private => "key: private",
        KeyError::Roca => "key: ROCA (CVE-2017-15361)",
        KeyError::SecretTooShort { .. } => "key: short secret (R16)",
        KeyError::Use => "key: not for signatures (R16)",
        KeyError::WeakRsa { .. } => "key: weak RSA (R16)",
        other => unreachable!("{other:?}"),
    }
}
