//! Keys in the form that others verify with: JWKs (RFC 7517) of public members only, and their
//! thumbprints (RFC 7638).
//!
//! What it must never do: let a private member or a shared secret through.

#[cfg(test)]
mod tests;

use aws_lc_rs::digest;
use aws_lc_rs::rsa;
use aws_lc_rs::signature::RsaPublicKeyComponents;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};

use super::{KeyError, SigningKey, from_jwk, pem, public};
use crate::auth::{Algorithm, Family, json};

/// One algorithm for every kind of key, to find out of which kind a key is.
const KINDS: [Algorithm; 4] =
    [Algorithm::ES256, Algorithm::ES384, Algorithm::EdDSA, Algorithm::RS256];

/// The members that make a public key, and those that describe it. Everything else stays behind:
/// what is not known to be public is not.
const PUBLIC: [&str; 8] = ["kty", "crv", "x", "y", "n", "e", "kid", "alg"];

/// What a key file publishes: the public JWK of a public or private key in PEM, of a certificate,
/// of a JWK, or of every key of a JWKS.
///
/// Each has `use` "sig". `kid`, `alg` and `exp` are taken over from a JWK; a key from PEM has no
/// `kid`, and `alg` only where its type leaves no choice.
///
/// # Errors
///
/// [`KeyError`] for the first key that a gateway would refuse, and for every shared secret
/// ([`KeyError::Octet`]).
pub fn public_jwks(text: &[u8]) -> Result<Vec<Map<String, Value>>, KeyError> {
    if !text.trim_ascii_start().starts_with(b"{") {
        return from_any_pem(text).map(|jwk| vec![jwk]);
    }
    let document =
        json::object(text).ok_or(KeyError::Jwk("not a JSON object without repeated names"))?;
    match document.get("keys") {
        None => from_private_or_public(&document).map(|jwk| vec![jwk]),
        Some(Value::Array(keys)) => {
            let members = |jwk: &Value| {
                let members = jwk.as_object().ok_or(KeyError::Jwk("not an object"))?;
                from_private_or_public(members)
            };
            keys.iter().map(members).collect()
        }
        Some(_) => Err(KeyError::Jwk("no array \"keys\" in the document")),
    }
}

/// The RFC 7638 thumbprint (SHA-256, base64url) of a public JWK: a name that follows from the key
/// alone. `None` for a shared secret, whose digest would be a target to guess against, and for
/// what is no key.
#[must_use]
pub fn thumbprint(jwk: &Map<String, Value>) -> Option<String> {
    let required: &[&str] = match jwk.get("kty")?.as_str()? {
        "EC" => &["crv", "kty", "x", "y"],
        "OKP" => &["crv", "kty", "x"],
        "RSA" => &["e", "kty", "n"],
        _ => return None,
    };
    let mut text = String::from("{");
    for name in required {
        if text.len() > 1 {
            text.push(',');
        }
        let value = jwk.get(*name)?.as_str()?;
        text.push_str(&format!("{}:{}", json!(name), json!(value)));
    }
    text.push('}');
    Some(URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, text.as_bytes())))
}

/// The JWK of a public key, which is in the form that `public::canonical` gives.
pub(super) fn jwk(algorithm: Algorithm, canonical: &[u8]) -> Option<Map<String, Value>> {
    let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    // A SubjectPublicKeyInfo ends with the key itself (RFC 5280 §4.1, RFC 8410 §4).
    let end = |size: usize| canonical.get(canonical.len().checked_sub(size)?..);
    let point = |curve: &str, size: usize| {
        let (x, y) = end(2 * size)?.split_at_checked(size)?;
        Some(json!({ "kty": "EC", "crv": curve, "x": text(x), "y": text(y) }))
    };
    let mut jwk = match algorithm {
        Algorithm::ES256 => point("P-256", 32)?,
        Algorithm::ES384 => point("P-384", 48)?,
        Algorithm::EdDSA => json!({ "kty": "OKP", "crv": "Ed25519", "x": text(end(32)?) }),
        Algorithm::PS256
        | Algorithm::PS384
        | Algorithm::PS512
        | Algorithm::RS256
        | Algorithm::RS384
        | Algorithm::RS512 => {
            let key = rsa::PublicKey::from_der(canonical).ok()?;
            let key = RsaPublicKeyComponents::<Vec<u8>>::from(&key);
            json!({ "kty": "RSA", "n": text(&key.n), "e": text(&key.e) })
        }
        Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512 => return None,
    };
    let members = jwk.as_object_mut()?;
    members.insert("alg".to_owned(), algorithm.as_str().into());
    members.insert("use".to_owned(), "sig".into());
    Some(std::mem::take(members))
}

fn from_any_pem(text: &[u8]) -> Result<Map<String, Value>, KeyError> {
    let private = KINDS.into_iter().find_map(|kind| SigningKey::from_pem(kind, text).ok());
    if let Some(key) = private {
        return key.verifying_jwk().map(any_rsa);
    }
    let der = pem::public_der(text)?;
    for kind in KINDS {
        match public::canonical(kind, &der) {
            Ok(key) => return jwk(kind, &key).map(any_rsa).ok_or(KeyError::NotAKey),
            // Of another type: perhaps the next one fits.
            Err(KeyError::KeyType { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    let wanted = "P-256, P-384, Ed25519 and RSA are taken".into();
    Err(KeyError::KeyType { kind: "different public", wanted })
}

/// A PEM file does not say with which of six algorithms an RSA key is used.
fn any_rsa(mut jwk: Map<String, Value>) -> Map<String, Value> {
    if jwk.get("kty").is_some_and(|kty| kty == "RSA") {
        jwk.remove("alg");
    }
    jwk
}

fn from_private_or_public(members: &Map<String, Value>) -> Result<Map<String, Value>, KeyError> {
    if members.get("kty").is_some_and(|kty| kty == "oct") {
        return Err(KeyError::Octet);
    }
    let other_use = members.get("use").is_some_and(|purpose| purpose != "sig");
    let other_operations = members.get("key_ops").is_some_and(|operations| {
        let signs = |operation: &Value| operation == "sign" || operation == "verify";
        !operations.as_array().is_some_and(|operations| operations.iter().any(signs))
    });
    if other_use || other_operations {
        return Err(KeyError::Use);
    }
    let mut jwk: Map<String, Value> =
        members.iter().filter(|(name, _)| PUBLIC.contains(&name.as_str())).map(cloned).collect();
    check(&jwk)?;
    if let Some(exp) = members.get("exp").filter(|exp| exp.is_i64()) {
        jwk.insert("exp".to_owned(), exp.clone());
    }
    jwk.insert("use".to_owned(), "sig".into());
    Ok(jwk)
}

fn cloned((name, value): (&String, &Value)) -> (String, Value) {
    (name.clone(), value.clone())
}

/// Refuses what a gateway would refuse: a weak key is not made better by publishing it.
fn check(jwk: &Map<String, Value>) -> Result<(), KeyError> {
    let text = serde_json::to_vec(jwk).map_err(|_| KeyError::Jwk("not a JSON object"))?;
    let named = jwk.get("alg").and_then(Value::as_str);
    let algorithms: Vec<Algorithm> = match named {
        Some(name) => {
            let unknown = |_| KeyError::AlgorithmDisagrees(name.chars().take(20).collect());
            vec![name.parse().map_err(unknown)?]
        }
        None => KINDS.to_vec(),
    };
    let mut refused = KeyError::NotAKey;
    for algorithm in algorithms.into_iter().filter(|a| a.family() != Family::Hmac) {
        match from_jwk(None, algorithm, &text) {
            Ok(_) => return Ok(()),
            // Of another type: perhaps the next one fits.
            Err(KeyError::KeyType { .. }) => {}
            Err(error) => refused = error,
        }
    }
    Err(refused)
}
