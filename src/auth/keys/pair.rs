//! Private keys that are read and checked already: doing that once more for each signature costs
//! as much as the signature, for RSA more.

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    EcdsaKeyPair, Ed25519KeyPair, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512,
    RSA_PSS_SHA256, RSA_PSS_SHA384, RSA_PSS_SHA512, RsaEncoding, RsaKeyPair,
};

use super::SignError;
use crate::auth::Algorithm;

/// One key.
pub(super) enum Pair {
    /// With its curve.
    Ec(EcdsaKeyPair),
    /// Ed25519.
    Ed(Ed25519KeyPair),
    /// With its hash.
    Hmac(Box<hmac::Key>),
    /// Of any padding and hash.
    Rsa(RsaKeyPair),
}

impl Pair {
    /// A shared secret; `None` when the algorithm takes none.
    pub(super) fn secret(algorithm: Algorithm, secret: &[u8]) -> Option<Self> {
        let hash = match algorithm {
            Algorithm::HS256 => hmac::HMAC_SHA256,
            Algorithm::HS384 => hmac::HMAC_SHA384,
            Algorithm::HS512 => hmac::HMAC_SHA512,
            Algorithm::ES256
            | Algorithm::ES384
            | Algorithm::EdDSA
            | Algorithm::PS256
            | Algorithm::PS384
            | Algorithm::PS512
            | Algorithm::RS256
            | Algorithm::RS384
            | Algorithm::RS512 => return None,
        };
        Some(Self::Hmac(Box::new(hmac::Key::new(hash, secret))))
    }

    /// The signature in JOSE's form (RFC 7518 §3). `algorithm` is the one that the key was read
    /// for.
    pub(super) fn sign(&self, algorithm: Algorithm, message: &[u8]) -> Result<Vec<u8>, SignError> {
        let random = SystemRandom::new();
        match self {
            Self::Ec(pair) => {
                let signature = pair.sign(&random, message).map_err(|_| SignError)?;
                Ok(signature.as_ref().to_vec())
            }
            Self::Ed(pair) => Ok(pair.try_sign(message).map_err(|_| SignError)?.as_ref().to_vec()),
            Self::Hmac(key) => Ok(hmac::sign(key, message).as_ref().to_vec()),
            Self::Rsa(pair) => {
                let padding = padding(algorithm).ok_or(SignError)?;
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(padding, &random, message, &mut signature).map_err(|_| SignError)?;
                Ok(signature)
            }
        }
    }
}

fn padding(algorithm: Algorithm) -> Option<&'static dyn RsaEncoding> {
    Some(match algorithm {
        Algorithm::PS256 => &RSA_PSS_SHA256,
        Algorithm::PS384 => &RSA_PSS_SHA384,
        Algorithm::PS512 => &RSA_PSS_SHA512,
        Algorithm::RS256 => &RSA_PKCS1_SHA256,
        Algorithm::RS384 => &RSA_PKCS1_SHA384,
        Algorithm::RS512 => &RSA_PKCS1_SHA512,
        Algorithm::ES256
        | Algorithm::ES384
        | Algorithm::EdDSA
        | Algorithm::HS256
        | Algorithm::HS384
        | Algorithm::HS512 => return None,
    })
}
