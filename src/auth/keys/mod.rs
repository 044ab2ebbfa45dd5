//! Keys: loading them, refusing weak ones, and what they are used for. One key, one algorithm (R1).
//!
//! Keys come from configuration only, never from a token (R4). Nothing here reads a file: the
//! callers hand in bytes, and keep their own word for where those came from.

mod error;
mod jwk;
mod pair;
mod pem;
mod public;
mod publish;
mod secret;
mod signing;

#[cfg(test)]
pub(super) mod tests;

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::digest;
use jsonwebtoken::DecodingKey;

use super::Algorithm;

pub use error::KeyError;
pub use jwk::{KeySet, SkippedKey, from_jwk, from_jwks};
pub use pem::from_pem;
pub use publish::{public_jwks, thumbprint};
pub use secret::{from_secret, secret_bytes};
pub use signing::{SignError, SigningKey};

/// One key that verifies tokens, with the one algorithm that it is used with. A clone shares the
/// key.
#[derive(Clone)]
pub struct VerificationKey {
    kid: Option<Box<str>>,
    algorithm: Algorithm,
    fingerprint: [u8; 32],
    /// SHA-256 over the key alone.
    material: [u8; 32],
    decoding: Arc<DecodingKey>,
}

impl VerificationKey {
    /// The key id; a key without one serves only tokens without one.
    #[must_use]
    pub fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// The one algorithm that this key is used with.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// SHA-256 over the algorithm and the key. Never printed: for a weak secret it would be a
    /// target to guess against.
    #[must_use]
    pub const fn fingerprint(&self) -> &[u8; 32] {
        &self.fingerprint
    }

    /// Whether both are one key, whatever they are called and whichever algorithm each is used
    /// with.
    #[must_use]
    pub fn is_same_material(&self, other: &Self) -> bool {
        self.material == other.material
    }

    /// Whether this key made `signature` (base64url) over `message` with its own algorithm.
    pub(super) fn verifies(&self, message: &str, signature: &str) -> bool {
        let algorithm = self.algorithm.jose();
        matches!(
            jsonwebtoken::crypto::verify(signature, message.as_bytes(), &self.decoding, algorithm),
            Ok(true)
        )
    }

    fn new(kid: Option<&str>, algorithm: Algorithm, material: &[u8], key: DecodingKey) -> Self {
        Self {
            kid: kid.map(Into::into),
            algorithm,
            fingerprint: sha256(&[b"key", algorithm.as_str().as_bytes(), material]),
            material: sha256(&[b"material", material]),
            decoding: Arc::new(key),
        }
    }
}

impl fmt::Debug for VerificationKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerificationKey")
            .field("kid", &self.kid)
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}

/// Reads a public key file: a JWK when it begins with `{`, else PEM. A `kid` in the configuration
/// and one in the JWK must agree.
///
/// # Errors
///
/// As [`from_jwk`] and [`from_pem`].
pub fn from_public_key(
    kid: Option<&str>,
    algorithm: Algorithm,
    bytes: &[u8],
) -> Result<VerificationKey, KeyError> {
    if bytes.trim_ascii_start().starts_with(b"{") {
        from_jwk(kid, algorithm, bytes)
    } else {
        from_pem(kid, algorithm, bytes)
    }
}

/// SHA-256 over parts, each preceded by its length, so that no two lists of parts collide.
pub(super) fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    let mut out = [0; 32];
    out.copy_from_slice(context.finish().as_ref());
    out
}
