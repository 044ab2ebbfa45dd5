//! JSON Web Keys (RFC 7517, RFC 7518 §6, RFC 8037 §2) and sets of them.

#[cfg(test)]
mod tests;

use std::collections::HashSet;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::{KeyError, VerificationKey, from_secret, public};
use crate::auth::{Algorithm, Family, json};

/// Longest `kid` that a key may have, in bytes.
const KID_BYTES_MAX: usize = 256;

/// Most keys that one set may hold.
const KEYS_MAX: usize = 1000;

/// What a JWKS document holds for one issuer.
#[derive(Debug)]
pub struct KeySet {
    /// The usable keys, in the document's order.
    pub keys: Vec<VerificationKey>,
    /// The others: RFC 7517 §5 says that they are to be ignored, the operator wants to know.
    pub skipped: Vec<SkippedKey>,
}

/// A key of a set that is not used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SkippedKey {
    /// Its place in the document, from 0.
    pub index: usize,
    /// Its `kid`, if it has one.
    pub kid: Option<Box<str>>,
    /// Why it is not used.
    pub reason: KeyError,
}

/// A key from one JWK.
///
/// # Errors
///
/// [`KeyError`]: the JWK's `alg` (if any), type and curve must fit `algorithm`, its `kid` (if any)
/// must be the configured one (if any), and it must not hold a private key. An `oct` key is taken
/// for an HMAC algorithm: the file is the operator's own.
pub fn from_jwk(
    kid: Option<&str>,
    algorithm: Algorithm,
    text: &[u8],
) -> Result<VerificationKey, KeyError> {
    let jwk =
        json::object(text).ok_or(KeyError::Jwk("not a JSON object without repeated names"))?;
    let allow_oct = algorithm.family() == Family::Hmac;
    let jwk = Jwk { members: &jwk };
    match (kid, jwk.kid()?) {
        (Some(configured), Some(own)) if configured != own => Err(KeyError::KidDisagrees),
        (configured, own) => jwk.key(configured.or(own), &[algorithm], allow_oct),
    }
}

/// Every usable key of a JWKS document. Each key has one algorithm: its own `alg`, else the only
/// one of `algorithms` (the issuer's list) that fits its type and curve.
///
/// `oct` keys are taken only with `allow_oct`: from the operator's own file, in an entry whose
/// algorithms are all HMAC; never from a URL (R3).
///
/// # Errors
///
/// [`KeyError::Jwk`] when the document is no JWKS at all. Unusable keys are no error but
/// [`KeySet::skipped`]; two usable keys with one `kid` are left to [`crate::auth::Issuers::new`].
pub fn from_jwks(
    text: &[u8],
    algorithms: &[Algorithm],
    allow_oct: bool,
) -> Result<KeySet, KeyError> {
    let document =
        json::object(text).ok_or(KeyError::Jwk("not a JSON object without repeated names"))?;
    let Some(Value::Array(jwks)) = document.get("keys") else {
        return Err(KeyError::Jwk("no array \"keys\" in the document"));
    };
    if jwks.len() > KEYS_MAX {
        return Err(KeyError::Jwk("more than 1000 keys"));
    }
    let mut set = KeySet { keys: Vec::new(), skipped: Vec::new() };
    for (index, jwk) in jwks.iter().enumerate() {
        let kid = jwk.get("kid").and_then(Value::as_str).map(Into::into);
        let key = jwk.as_object().ok_or(KeyError::Jwk("not an object")).and_then(|members| {
            let jwk = Jwk { members };
            jwk.key(jwk.kid()?, algorithms, allow_oct)
        });
        match key {
            Ok(key) => set.keys.push(key),
            Err(reason) => set.skipped.push(SkippedKey { index, kid, reason }),
        }
    }
    Ok(set)
}

struct Jwk<'j> {
    members: &'j Map<String, Value>,
}

impl<'j> Jwk<'j> {
    fn key(
        &self,
        kid: Option<&str>,
        algorithms: &[Algorithm],
        allow_oct: bool,
    ) -> Result<VerificationKey, KeyError> {
        self.check_use()?;
        let kty = self.text("kty")?.ok_or(KeyError::Jwk("no kty"))?;
        if kty != "oct" && ["d", "p", "q", "dp", "dq", "qi", "oth"].iter().any(|m| self.has(m)) {
            return Err(KeyError::Private);
        }
        match kty {
            "RSA" => {
                let algorithm =
                    self.algorithm("an RSA", algorithms, |a| a.family() == Family::Rsa)?;
                let (n, e) = (self.octets("n")?, self.octets("e")?);
                public::from_rsa_components(kid, algorithm, &n, &e)
            }
            "EC" => self.ec_key(kid, algorithms),
            "OKP" => {
                if self.text("crv")? != Some("Ed25519") {
                    return Err(KeyError::Jwk("of the OKP curves only Ed25519 is supported"));
                }
                let fits = |a: Algorithm| a.family() == Family::Ed;
                let algorithm = self.algorithm("an Ed25519", algorithms, fits)?;
                public::from_point(kid, algorithm, &self.sized("x", 32)?)
            }
            "oct" if !allow_oct => Err(KeyError::Octet),
            "oct" => {
                let fits = |a: Algorithm| a.family() == Family::Hmac;
                let algorithm = self.algorithm("an oct", algorithms, fits)?;
                from_secret(kid, algorithm, &self.octets("k")?)
            }
            _ => Err(KeyError::Jwk("this kty is not supported; RSA, EC, OKP and oct are")),
        }
    }

    fn ec_key(
        &self,
        kid: Option<&str>,
        algorithms: &[Algorithm],
    ) -> Result<VerificationKey, KeyError> {
        let (fitting, kind, size) = match self.text("crv")? {
            Some("P-256") => (Algorithm::ES256, "a P-256", 32),
            Some("P-384") => (Algorithm::ES384, "a P-384", 48),
            _ => return Err(KeyError::Jwk("of the EC curves P-256 and P-384 are supported")),
        };
        let algorithm = self.algorithm(kind, algorithms, |a| a == fitting)?;
        let mut point = vec![4]; // SEC 1 §2.3.3: uncompressed.
        point.extend_from_slice(&self.sized("x", size)?);
        point.extend_from_slice(&self.sized("y", size)?);
        public::from_point(kid, algorithm, &point)
    }

    /// The key's one algorithm.
    fn algorithm(
        &self,
        kind: &'static str,
        listed: &[Algorithm],
        fits: impl Fn(Algorithm) -> bool,
    ) -> Result<Algorithm, KeyError> {
        if let Some(name) = self.text("alg")? {
            let disagrees = || KeyError::AlgorithmDisagrees(name.chars().take(20).collect());
            let own: Algorithm = name.parse().map_err(|_| disagrees())?;
            return (listed.contains(&own) && fits(own)).then_some(own).ok_or_else(disagrees);
        }
        let mut fitting: Vec<Algorithm> = Vec::new();
        for algorithm in listed.iter().copied().filter(|algorithm| fits(*algorithm)) {
            if !fitting.contains(&algorithm) {
                fitting.push(algorithm);
            }
        }
        match fitting.as_slice() {
            [one] => Ok(*one),
            [] => {
                let kind = kind.split_once(' ').map_or(kind, |(_, kind)| kind);
                let names: Vec<&str> = listed.iter().map(|a| a.as_str()).collect();
                let wanted = format!("the algorithms allowed are {}", names.join(", "));
                Err(KeyError::KeyType { kind, wanted: wanted.into() })
            }
            several => Err(KeyError::Ambiguous(several.len())),
        }
    }

    /// RFC 7517 §4.2, §4.3.
    fn check_use(&self) -> Result<(), KeyError> {
        if self.text("use")?.is_some_and(|purpose| purpose != "sig") {
            return Err(KeyError::Use);
        }
        let ops = match self.members.get("key_ops") {
            None => return Ok(()),
            Some(Value::Array(ops)) => ops,
            Some(_) => return Err(KeyError::Use),
        };
        let ops: Option<Vec<&str>> = ops.iter().map(Value::as_str).collect();
        let ops = ops.ok_or(KeyError::Jwk("key_ops is an array of strings"))?;
        let mut seen = HashSet::new();
        if !ops.iter().all(|op| seen.insert(*op)) {
            return Err(KeyError::Jwk("key_ops has a value twice"));
        }
        if ops.contains(&"verify") { Ok(()) } else { Err(KeyError::Use) }
    }

    fn kid(&self) -> Result<Option<&'j str>, KeyError> {
        let kid = self.text("kid")?;
        if kid.is_some_and(|kid| kid.len() > KID_BYTES_MAX) {
            return Err(KeyError::Jwk("kid is over 256 bytes"));
        }
        // It becomes part of log lines and of the blocklist's keys (R25).
        if kid.is_some_and(|kid| kid.chars().any(char::is_control)) {
            return Err(KeyError::Jwk("kid has a control character"));
        }
        Ok(kid)
    }

    fn has(&self, member: &str) -> bool {
        self.members.contains_key(member)
    }

    fn text(&self, member: &str) -> Result<Option<&'j str>, KeyError> {
        match self.members.get(member) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(KeyError::Jwk("kty, crv, use, alg, kid and the key itself are strings")),
        }
    }

    fn octets(&self, member: &str) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        let text = self.text(member)?.ok_or(KeyError::Jwk("a member of the key is missing"))?;
        let octets = URL_SAFE_NO_PAD.decode(text);
        octets.map(Zeroizing::new).map_err(|_| KeyError::Jwk("not base64url without padding"))
    }

    fn sized(&self, member: &str, size: usize) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        let octets = self.octets(member)?;
        if octets.len() != size {
            return Err(KeyError::Jwk("x or y has the wrong length for the curve"));
        }
        Ok(octets)
    }
}
