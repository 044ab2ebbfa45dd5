//! What a provider's JWKS may hold besides good keys, and what becomes of it (RFC 7517, RFC 7518
//! §6, RFC 8037): one key that cannot be used never costs the others, and none is guessed at.

use serde_json::{Value, json};

use super::*;

/// RFC 7517 appendix A.1, without `alg`, `use` and `kid`.
fn ec() -> Value {
    json!({
        "kty": "EC", "crv": "P-256", "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
        "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM",
    })
}

/// RFC 7517 appendix A.1, without `alg` and `kid`.
fn rsa() -> Value {
    json!({
        "kty": "RSA", "e": "AQAB",
        "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6t\
              Soc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-6\
              5YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLy\
              rdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJz\
              KnqDKgw",
    })
}

/// RFC 8037 appendix A.2.
fn ed() -> Value {
    json!({
        "kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
    })
}

fn with(mut jwk: Value, changes: Value) -> Value {
    for (name, value) in changes.as_object().unwrap() {
        jwk[name] = value.clone();
    }
    jwk
}

/// All algorithms with public keys that one entry of an operator may list.
const LISTED: [Algorithm; 4] =
    [Algorithm::RS256, Algorithm::ES256, Algorithm::ES384, Algorithm::EdDSA];

/// As from a URL.
fn set(jwks: &[Value]) -> KeySet {
    crate::auth::install_provider();
    let text = json!({ "keys": jwks }).to_string();
    from_jwks(text.as_bytes(), &LISTED, false).unwrap()
}

/// As large as a document may be, of distinct values: the thread that reads it has other things to
/// do (CWE-407).
#[test]
fn many_key_ops_cost_no_more_than_their_size() {
    let mut ops: Vec<String> = (0..130_000).map(|number| format!("{number:x}")).collect();
    ops.push("verify".to_owned());
    let began = std::time::Instant::now();
    let keys = set(&[with(ec(), json!({"kid": "es", "key_ops": ops}))]).keys;
    assert!(began.elapsed().as_secs() < 5, "{:?}", began.elapsed());
    assert_eq!(keys.len(), 1, "other operations do not hinder verifying");
    ops.push("0".to_owned());
    assert!(set(&[with(ec(), json!({"kid": "es", "key_ops": ops}))]).keys.is_empty());
}

#[test]
fn good_keys_survive_whatever_stands_beside_them() {
    let good = [
        with(rsa(), json!({"kid": "rs", "use": "sig", "alg": "RS256", "x5t": "", "ext": 1})),
        with(ec(), json!({"kid": "es", "key_ops": ["verify"]})),
        with(ed(), json!({"kid": "ed"})),
    ];
    let bad = [
        ("use enc (RFC 7517 §4.2)", with(rsa(), json!({"use": "enc"}))),
        ("use in another case", with(rsa(), json!({"use": "SIG"}))),
        ("use null", with(rsa(), json!({"use": null}))),
        ("use an array", with(rsa(), json!({"use": ["sig"]}))),
        ("an algorithm of encryption", with(rsa(), json!({"use": "sig", "alg": "RSA-OAEP-256"}))),
        ("alg null", with(rsa(), json!({"alg": null}))),
        ("alg none (R2)", with(rsa(), json!({"alg": "none"}))),
        ("alg in another case (R1)", with(rsa(), json!({"alg": "rs256"}))),
        ("alg not listed", with(rsa(), json!({"alg": "PS256"}))),
        ("alg of another curve", with(ec(), json!({"alg": "ES384"}))),
        ("HMAC with an RSA key (R3)", with(rsa(), json!({"alg": "HS256"}))),
        ("key_ops without verify (RFC 7517 §4.3)", with(ec(), json!({"key_ops": ["encrypt"]}))),
        ("key_ops empty", with(ec(), json!({"key_ops": []}))),
        ("key_ops null", with(ec(), json!({"key_ops": null}))),
        ("key_ops with a number", with(ec(), json!({"key_ops": ["verify", 1]}))),
        (
            "key_ops twice the same (RFC 7517 §4.3: MUST NOT)",
            with(ec(), json!({"key_ops": ["verify", "verify"]})),
        ),
        (
            "key_ops against use (RFC 7517 §4.3: consistent)",
            with(ec(), json!({"use": "sig", "key_ops": ["deriveKey"]})),
        ),
        ("use against key_ops", with(ec(), json!({"use": "enc", "key_ops": ["verify"]}))),
        (
            "a shared secret (R3)",
            json!({"kty": "oct", "k": "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0"}),
        ),
        ("a private key", with(ed(), json!({"d": "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"}))),
        ("an unknown kty (RFC 7517 §5)", json!({"kty": "AKP", "alg": "ML-DSA-44", "pub": "AA"})),
        ("kty in another case (RFC 7517 §4.1)", with(rsa(), json!({"kty": "rsa"}))),
        ("no kty", json!({"crv": "P-256"})),
        ("an unknown curve", with(ec(), json!({"crv": "P-521"}))),
        ("a curve of other money", with(ec(), json!({"crv": "secp256k1"}))),
        ("a curve of key agreement (RFC 8037 §3.2)", with(ed(), json!({"crv": "X25519"}))),
        ("Ed448", with(ed(), json!({"crv": "Ed448"}))),
        ("no curve", json!({"kty": "EC", "x": "AA", "y": "AA"})),
        ("a point off the curve", with(ec(), json!({"y": ec()["x"]}))),
        ("a coordinate cut short (RFC 7518 §6.2.1.2)", with(ec(), json!({"x": "MKBCTNIc"}))),
        ("an RSA key below 2048 bits (R16)", with(rsa(), json!({"n": "0vx7agoebGcQSuuPiLJX"}))),
        ("an exponent of 1 (R16)", with(rsa(), json!({"e": "AQ"}))),
        ("an even exponent", with(rsa(), json!({"e": "Ag"}))),
        ("padded base64url (RFC 7515 §2)", with(rsa(), json!({"e": "AQAB="}))),
        ("no modulus", json!({"kty": "RSA", "e": "AQAB"})),
        ("a kid that is a number", with(rsa(), json!({"kid": 1}))),
        ("a kid over 256 bytes", with(rsa(), json!({"kid": "x".repeat(257)}))),
        ("a kid with a line break (R25)", with(rsa(), json!({"kid": "a\nb"}))),
        ("no object", json!("key")),
    ];
    let mut jwks: Vec<Value> = bad.iter().map(|(_, jwk)| jwk.clone()).collect();
    jwks.splice(5..5, good);
    let found = set(&jwks);
    let kids: Vec<_> = found.keys.iter().map(|key| (key.kid(), key.algorithm())).collect();
    let wanted = [("rs", Algorithm::RS256), ("es", Algorithm::ES256), ("ed", Algorithm::EdDSA)];
    assert_eq!(kids, wanted.map(|(kid, algorithm)| (Some(kid), algorithm)));
    assert_eq!(found.skipped.len(), bad.len());
    for (what, jwk) in &bad {
        let alone = set(std::slice::from_ref(jwk));
        assert!(alone.keys.is_empty() && alone.skipped.len() == 1, "{what}: {alone:?}");
    }
}

#[test]
fn a_key_without_alg_has_the_only_one_that_fits() {
    crate::auth::install_provider();
    let found = |jwk: Value, listed: &[Algorithm]| {
        let text = json!({"keys": [jwk]}).to_string();
        let set = from_jwks(text.as_bytes(), listed, false).unwrap();
        set.keys.first().map(VerificationKey::algorithm)
    };
    assert_eq!(found(rsa(), &[Algorithm::PS384, Algorithm::ES256]), Some(Algorithm::PS384));
    // RFC 8725 §3.1: one key, one algorithm. Which of two is not for the token to say.
    assert_eq!(found(rsa(), &[Algorithm::RS256, Algorithm::PS256]), None);
    let named = with(rsa(), json!({"alg": "PS256"}));
    assert_eq!(found(named, &[Algorithm::RS256, Algorithm::PS256]), Some(Algorithm::PS256));
    let twice = [Algorithm::RS256, Algorithm::ES256, Algorithm::RS256];
    assert_eq!(found(rsa(), &twice), Some(Algorithm::RS256), "a list with a repetition");
    assert_eq!(found(ec(), &[Algorithm::ES384]), None, "the curve decides");
}

#[test]
fn reasons_never_hold_key_material() {
    let jwk = with(ed(), json!({"d": "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"}));
    let oct = json!({"kty": "oct", "kid": "s", "k": "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0"});
    let told = format!("{:?}", set(&[jwk, oct]).skipped);
    assert!(!told.contains("nWGx") && !told.contains("c2Vj"), "{told}");
}
