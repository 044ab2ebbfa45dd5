//! What is published, and what never is.

use serde_json::{Map, Value, json};

use super::*;
use crate::auth::keys::{from_jwk, secret_bytes};
use crate::auth::tests::{HMAC, key};

fn object(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

fn published(value: &Value) -> Result<Vec<Map<String, Value>>, KeyError> {
    public_jwks(value.to_string().as_bytes())
}

/// RFC 7638 §3.1 and RFC 8037 appendix A.3.
#[test]
fn thumbprints_of_the_rfcs() {
    let rsa = object(json!({
        "kty": "RSA",
        "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw",
        "e": "AQAB",
        "alg": "RS256",
        "kid": "2011-04-29",
    }));
    assert_eq!(thumbprint(&rsa).unwrap(), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
    let ed = object(json!({
        "kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
    }));
    assert_eq!(thumbprint(&ed).unwrap(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    // A digest of a secret would be something to guess against.
    assert_eq!(thumbprint(&object(json!({"kty": "oct", "k": "AAAA"}))), None);
    assert_eq!(thumbprint(&object(json!({"kty": "EC", "crv": "P-256", "x": "AA"}))), None);
}

/// The private keys of RFC 7517 appendix A.2 (EC) and RFC 8037 appendix A.1 (Ed25519).
#[test]
fn only_the_public_half_of_a_jwk_is_published() {
    let ec = json!({
        "kty": "EC", "crv": "P-256", "kid": "1", "alg": "ES256", "key_ops": ["sign"],
        "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
        "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM",
        "d": "870MB6gfuTJ4HtUnUvYMyJpr5eUZNP4Bk43bVdj3eAE",
        "exp": 1_900_000_000, "note": "private", "x5c": ["AAAA"],
    });
    let ed = json!({
        "kty": "OKP", "crv": "Ed25519",
        "d": "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A",
        "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
    });
    let both = published(&json!({ "keys": [ec, ed] })).unwrap();
    let expected_ec = json!({
        "kty": "EC", "crv": "P-256", "kid": "1", "alg": "ES256", "use": "sig",
        "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
        "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM",
        "exp": 1_900_000_000,
    });
    let expected_ed = json!({
        "kty": "OKP", "crv": "Ed25519", "use": "sig",
        "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
    });
    assert_eq!(json!(both), json!([expected_ec, expected_ed]));
    assert_eq!(published(&ec).unwrap(), both[..1]);
}

#[test]
fn what_a_gateway_would_refuse_is_not_published() {
    let ec = json!({
        "kty": "EC", "crv": "P-256",
        "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
        "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM",
    });
    let with = |name: &str, value: Value| {
        let mut jwk = ec.clone();
        jwk[name] = value;
        jwk
    };
    let secret =
        json!({"kty": "oct", "k": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8", "alg": "HS256"});
    assert_eq!(published(&secret), Err(KeyError::Octet));
    assert_eq!(published(&json!({ "keys": [ec, secret] })), Err(KeyError::Octet));
    assert_eq!(published(&with("use", json!("enc"))), Err(KeyError::Use));
    assert_eq!(published(&with("key_ops", json!(["deriveKey"]))), Err(KeyError::Use));
    assert!(published(&with("alg", json!("HS256"))).is_err(), "another kind of algorithm");
    assert!(published(&with("alg", json!("none"))).is_err());
    // A point that is not on the curve (invalid-curve attacks, CVE-2015-7940).
    assert!(published(&with("x", json!("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"))).is_err());
    assert!(published(&json!({ "keys": "none" })).is_err());
    assert!(published(&json!({ "keys": [1] })).is_err());
    assert!(public_jwks(b"base64:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n").is_err());
    assert!(public_jwks(b"").is_err());
}

/// Every algorithm: what a key signs is verified by the JWK that it gives, and its file holds it.
#[test]
fn a_key_its_file_and_its_jwk_are_one() {
    for algorithm in Algorithm::ALL {
        let key = key(algorithm);
        let jwk = key.verifying_jwk().unwrap();
        assert_eq!(jwk["alg"], algorithm.as_str());
        let verifies = from_jwk(None, algorithm, json!(jwk).to_string().as_bytes()).unwrap();
        let own = key.verification_key(None).unwrap();
        assert_eq!(verifies.fingerprint(), own.fingerprint(), "{algorithm}");
        let file = key.to_file().unwrap();
        let file = file.expose().as_bytes();
        let again = match algorithm.family() {
            Family::Hmac => {
                SigningKey::from_secret(algorithm, secret_bytes(file).unwrap().expose())
            }
            Family::Ec | Family::Ed | Family::Rsa => SigningKey::from_pem(algorithm, file),
        };
        let again = again.unwrap().verifying_jwk().unwrap();
        assert_eq!(again, jwk, "{algorithm}");
    }
}

/// Private and public PEM publish the same; RSA keys leave their algorithm open.
#[test]
fn pem_files_publish_their_public_half() {
    for algorithm in [Algorithm::ES256, Algorithm::ES384, Algorithm::EdDSA, Algorithm::RS256] {
        let key = key(algorithm);
        let own = key.verifying_jwk().unwrap();
        let private = public_jwks(key.to_file().unwrap().expose().as_bytes()).unwrap();
        assert_eq!(private.len(), 1);
        assert_eq!(private[0].get("alg").is_some(), algorithm != Algorithm::RS256);
        assert_eq!(thumbprint(&private[0]), thumbprint(&own));
        for member in ["d", "p", "q", "dp", "dq", "qi", "k"] {
            assert!(!private[0].contains_key(member), "{algorithm}: {member}");
        }
        if [Algorithm::ES256, Algorithm::RS256].contains(&algorithm) {
            let spki = crate::auth::keys::tests::spki_pem(&key);
            assert_eq!(public_jwks(spki.as_bytes()).unwrap(), private);
        }
    }
    let certificate = rcgen::generate_simple_self_signed(vec!["x".to_owned()]).unwrap();
    let of_certificate = public_jwks(certificate.cert.pem().as_bytes()).unwrap();
    let of_key = public_jwks(certificate.signing_key.serialize_pem().as_bytes()).unwrap();
    assert_eq!(of_certificate, of_key);
}

#[test]
fn a_secret_has_no_public_half() {
    let secret = HMAC.verifying_jwk().unwrap();
    assert_eq!(public_jwks(json!(secret).to_string().as_bytes()), Err(KeyError::Octet));
}
