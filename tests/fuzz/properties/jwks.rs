//! Any document as a key set, and as a key file: no key is taken that must not be.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use postern::auth::keys::{KeyError, KeySet, from_jwks, from_public_key};
use postern::auth::{Algorithm, Family, VerificationKey, install_provider};
use serde_json::Value;

/// What an entry may list: (algorithms, whether a secret may come from a set).
const ENTRIES: [(&[Algorithm], bool); 4] = [
    (&[Algorithm::ES256, Algorithm::EdDSA, Algorithm::RS256], false),
    (&[Algorithm::ES384, Algorithm::PS256, Algorithm::RS512], false),
    (&[Algorithm::HS256], false),
    (&[Algorithm::HS256, Algorithm::HS384, Algorithm::HS512], true),
];

/// Checks a document; true when some entry takes a key of it.
///
/// # Panics
///
/// When a key is taken that is weak, secret, private, for another use or algorithm (R1, R3, R16),
/// or when a key is neither taken nor told of.
pub fn holds(data: &[u8]) -> bool {
    install_provider();
    let mut taken = false;
    for (algorithms, secrets) in ENTRIES {
        if let Ok(set) = from_jwks(data, algorithms, secrets) {
            check_set(data, algorithms, secrets, &set);
            taken |= !set.keys.is_empty();
        }
    }
    for algorithm in Algorithm::ALL {
        match from_public_key(None, algorithm, data) {
            Ok(key) => assert_eq!(key.algorithm(), algorithm),
            Err(reason) => check_reason(&reason),
        }
    }
    taken
}

fn check_set(data: &[u8], algorithms: &[Algorithm], secrets: bool, set: &KeySet) {
    let document: Value = serde_json::from_slice(data).expect("JSON");
    let jwks = document["keys"].as_array().expect("an array of keys");
    assert_eq!(set.keys.len() + set.skipped.len(), jwks.len(), "every key is told of");
    let skipped = |index: usize| set.skipped.iter().any(|skipped| skipped.index == index);
    let taken = jwks.iter().enumerate().filter(|(index, _)| !skipped(*index)).map(|(_, jwk)| jwk);
    for (jwk, key) in taken.zip(&set.keys) {
        assert!(algorithms.contains(&key.algorithm()), "not listed: {key:?}");
        check_key(jwk, key);
        assert!(secrets || jwk["kty"] != "oct", "a secret from a set (R3)");
    }
    for skipped in &set.skipped {
        check_reason(&skipped.reason);
    }
}

/// Holds a key to its own text, read a second time.
fn check_key(jwk: &Value, key: &VerificationKey) {
    assert_eq!(jwk["kid"].as_str(), key.kid());
    assert!(jwk["alg"].is_null() || jwk["alg"] == key.algorithm().as_str(), "another alg");
    assert!(jwk["use"].is_null() || jwk["use"] == "sig", "another use");
    let operations = jwk["key_ops"].as_array();
    assert!(
        jwk["key_ops"].is_null() || operations.is_some_and(|ops| ops.contains(&"verify".into()))
    );
    let octets = |member: &str| {
        let text = jwk[member].as_str().expect("a text");
        URL_SAFE_NO_PAD.decode(text).expect("base64url")
    };
    if key.algorithm().family() == Family::Hmac {
        assert_eq!(jwk["kty"], "oct");
        assert!(Some(octets("k").len()) >= key.algorithm().secret_bytes_min(), "short");
        return;
    }
    assert!(["d", "p", "q", "dp", "dq", "qi", "oth"].iter().all(|m| jwk[m].is_null()), "private");
    match key.algorithm().family() {
        Family::Rsa => {
            assert_eq!(jwk["kty"], "RSA");
            let (n, e) = (octets("n"), octets("e"));
            let n = n.iter().skip_while(|byte| **byte == 0).copied().collect::<Vec<_>>();
            assert!(n.len() >= 256 && (n.len() > 256 || n[0] >= 0x80), "below 2048 bits");
            assert!(n.len() <= 1024, "above 8192 bits");
            let e = e.iter().skip_while(|byte| **byte == 0).copied().collect::<Vec<_>>();
            assert!(e.last().is_some_and(|byte| byte % 2 == 1) && e != [1], "a weak exponent");
        }
        Family::Ec => {
            let (curve, size) = match key.algorithm() {
                Algorithm::ES256 => ("P-256", 32),
                _ => ("P-384", 48),
            };
            assert_eq!((&jwk["kty"], &jwk["crv"]), (&"EC".into(), &curve.into()));
            assert_eq!((octets("x").len(), octets("y").len()), (size, size));
        }
        Family::Ed => {
            assert_eq!((&jwk["kty"], &jwk["crv"]), (&"OKP".into(), &"Ed25519".into()));
            assert_eq!(octets("x").len(), 32);
        }
        Family::Hmac => {}
    }
}

/// A reason goes to a log: one line, not long, whatever a stranger wrote into the document.
fn check_reason(reason: &KeyError) {
    let text = reason.to_string();
    assert!(text.len() <= 400 && !text.chars().any(char::is_control), "{text:?}");
}
