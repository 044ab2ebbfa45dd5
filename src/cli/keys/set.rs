//! The keys of `jwks.json`: which is which, and which have had their time.

use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use crate::auth::{Algorithm, Family, SigningKey, keys};
use crate::time::UnixTime;

/// Members that make a key; the others describe it.
const MATERIAL: [&str; 7] = ["kty", "crv", "x", "y", "n", "e", "k"];

/// A JWK. For HS256 it holds the secret: never to be printed as it is.
pub(super) type Jwk = Map<String, Value>;

/// A JWK Set (RFC 7517 §5) with, in the members of OpenID Federation's historical keys, when a key
/// entered it (`iat`) and until when it verifies (`exp`), in Unix seconds. Others ignore them.
pub(super) struct Set(pub(super) Vec<Jwk>);

impl Set {
    pub(super) fn parse(text: &[u8]) -> Result<Self, &'static str> {
        let document: Value = serde_json::from_slice(text).map_err(|_| "not JSON")?;
        let Some(Value::Array(keys)) = document.get("keys") else {
            return Err("no JWKS: no array \"keys\" in it");
        };
        let keys = keys.iter().map(|key| key.as_object().cloned()).collect::<Option<_>>();
        keys.map(Self).ok_or("no JWKS: not every key is an object")
    }

    pub(super) fn text(&self) -> Zeroizing<String> {
        Zeroizing::new(format!("{:#}\n", json!({ "keys": self.0 })))
    }

    /// The entry that verifies what this key file signs, and the key.
    pub(super) fn holder(&self, file: &[u8]) -> Option<(&Jwk, SigningKey)> {
        self.0.iter().find_map(|entry| {
            let algorithm: Algorithm = text(entry, "alg")?.parse().ok()?;
            let key = signing_key(algorithm, file).ok()?;
            let own = key.verifying_jwk().ok()?;
            same_key(entry, &own).then_some((entry, key))
        })
    }

    pub(super) fn has_kid(&self, kid: &str) -> bool {
        self.0.iter().any(|entry| text(entry, "kid") == Some(kid))
    }

    /// Drops the keys whose time is over, except those that `kept` names; says how many.
    pub(super) fn prune(&mut self, now: UnixTime, kept: &[&str]) -> usize {
        let before = self.0.len();
        self.0.retain(|entry| {
            let kept = text(entry, "kid").is_some_and(|kid| kept.contains(&kid));
            kept || !is_over(entry, now)
        });
        before - self.0.len()
    }
}

/// A member that is text.
pub(super) fn text<'j>(jwk: &'j Jwk, member: &str) -> Option<&'j str> {
    jwk.get(member)?.as_str()
}

/// A member that is a time.
pub(super) fn time(jwk: &Jwk, member: &str) -> Option<UnixTime> {
    jwk.get(member)?.as_i64().map(UnixTime)
}

/// Whether the last token of this key has expired.
pub(super) fn is_over(jwk: &Jwk, now: UnixTime) -> bool {
    time(jwk, "exp").is_some_and(|exp| exp <= now)
}

/// Whether two JWKs are the same key, whatever they are called.
pub(super) fn same_key(one: &Jwk, other: &Jwk) -> bool {
    MATERIAL.iter().all(|member| one.get(*member) == other.get(*member))
}

fn signing_key(algorithm: Algorithm, file: &[u8]) -> Result<SigningKey, keys::KeyError> {
    match algorithm.family() {
        Family::Hmac => SigningKey::from_secret(algorithm, keys::secret_bytes(file)?.expose()),
        Family::Ec | Family::Ed | Family::Rsa => SigningKey::from_pem(algorithm, file),
    }
}
