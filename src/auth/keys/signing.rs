//! Keys that sign: for `postern token mint`, for tokens that the gateway issues, for tests.

use std::fmt;

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair,
    EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair as _, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::EncodingKey;
use serde_json::{Map, Value};
use thiserror::Error;
use zeroize::Zeroizing;

use super::pair::Pair;
use super::secret::check_secret;
use super::{KeyError, VerificationKey, from_secret, public, publish};
use crate::auth::{Algorithm, Family};
use crate::secret::Secret;

/// A private key or secret with the one algorithm it signs with.
pub struct SigningKey {
    algorithm: Algorithm,
    pair: Pair,
    /// The key's bytes.
    encoding: EncodingKey,
    /// SPKI or PKCS#1 of the public half; empty for a secret.
    public: Vec<u8>,
}

/// The library could not sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("signing failed")]
pub struct SignError;

impl SigningKey {
    /// A new random key: RSA with 2048 bits, a secret of the hash's size.
    ///
    /// # Errors
    ///
    /// [`SignError`] when the system gives no randomness.
    pub fn generate(algorithm: Algorithm) -> Result<Self, SignError> {
        let ecdsa = |signing| {
            let pair = EcdsaKeyPair::generate(signing).map_err(|_| SignError)?;
            let private = pair.to_pkcs8v1().map_err(|_| SignError)?;
            Self::ecdsa(algorithm, signing, private.as_ref()).map_err(|_| SignError)
        };
        match algorithm {
            Algorithm::ES256 => ecdsa(&ECDSA_P256_SHA256_FIXED_SIGNING),
            Algorithm::ES384 => ecdsa(&ECDSA_P384_SHA384_FIXED_SIGNING),
            Algorithm::EdDSA => {
                let pair = Ed25519KeyPair::generate().map_err(|_| SignError)?;
                let private = pair.to_pkcs8v1().map_err(|_| SignError)?;
                Self::ed25519(private.as_ref()).map_err(|_| SignError)
            }
            Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512 => {
                let mut secret = vec![0; algorithm.secret_bytes_min().unwrap_or(64)];
                SystemRandom::new().fill(&mut secret).map_err(|_| SignError)?;
                Self::from_secret(algorithm, &secret).map_err(|_| SignError)
            }
            Algorithm::PS256
            | Algorithm::PS384
            | Algorithm::PS512
            | Algorithm::RS256
            | Algorithm::RS384
            | Algorithm::RS512 => {
                let pair = RsaKeyPair::generate(KeySize::Rsa2048).map_err(|_| SignError)?;
                let private: Pkcs8V1Der<'_> = pair.as_der().map_err(|_| SignError)?;
                Self::rsa(algorithm, private.as_ref()).map_err(|_| SignError)
            }
        }
    }

    /// An HMAC key; the same conditions as for verifying.
    ///
    /// # Errors
    ///
    /// As [`from_secret`]; of PEM text [`KeyError::PemAsSigningSecret`].
    pub fn from_secret(algorithm: Algorithm, secret: &[u8]) -> Result<Self, KeyError> {
        check_secret(algorithm, secret).map_err(|error| match error {
            KeyError::PemAsSecret => KeyError::PemAsSigningSecret,
            other => other,
        })?;
        let pair = Pair::secret(algorithm, secret).ok_or(KeyError::NotAKey)?;
        let encoding = EncodingKey::from_secret(secret);
        Ok(Self { algorithm, pair, encoding, public: Vec::new() })
    }

    /// A private key in PEM: PKCS#8 (`PRIVATE KEY`), PKCS#1 (`RSA PRIVATE KEY`) or SEC 1
    /// (`EC PRIVATE KEY`).
    ///
    /// # Errors
    ///
    /// [`KeyError`]: not one PEM block, not a private key, or not of the algorithm's type.
    pub fn from_pem(algorithm: Algorithm, text: &[u8]) -> Result<Self, KeyError> {
        let blocks = pem::parse_many(text).map_err(|_| KeyError::NotAKey)?;
        let block = blocks.iter().find(|block| block.tag().ends_with("PRIVATE KEY"));
        let der = block.ok_or(KeyError::NotAKey)?.contents();
        match algorithm {
            Algorithm::ES256 => Self::ecdsa(algorithm, &ECDSA_P256_SHA256_FIXED_SIGNING, der),
            Algorithm::ES384 => Self::ecdsa(algorithm, &ECDSA_P384_SHA384_FIXED_SIGNING, der),
            Algorithm::EdDSA => Self::ed25519(der),
            Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512 => {
                Err(KeyError::PemAsSigningSecret)
            }
            Algorithm::PS256
            | Algorithm::PS384
            | Algorithm::PS512
            | Algorithm::RS256
            | Algorithm::RS384
            | Algorithm::RS512 => Self::rsa(algorithm, der),
        }
    }

    /// The algorithm that it signs with.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The key that verifies what this one signs.
    ///
    /// # Errors
    ///
    /// [`KeyError`] when the public half would be refused as a verification key.
    pub fn verification_key(&self, kid: Option<&str>) -> Result<VerificationKey, KeyError> {
        match self.algorithm.family() {
            Family::Hmac => from_secret(kid, self.algorithm, self.encoding.as_bytes()),
            Family::Ec | Family::Ed | Family::Rsa => {
                public::from_der(kid, self.algorithm, &self.public)
            }
        }
    }

    /// The JWK (RFC 7517) that verifies what this one signs, with `alg` and `use`, without `kid`.
    /// **For a shared secret it holds the secret itself**: to be written to private files only.
    ///
    /// # Errors
    ///
    /// [`KeyError`] when the public half would be refused as a verification key.
    pub fn verifying_jwk(&self) -> Result<Map<String, Value>, KeyError> {
        if self.algorithm.family() != Family::Hmac {
            let public = public::canonical(self.algorithm, &self.public)?;
            return publish::jwk(self.algorithm, &public).ok_or(KeyError::NotAKey);
        }
        let mut jwk = Map::new();
        jwk.insert("kty".to_owned(), "oct".into());
        jwk.insert("k".to_owned(), URL_SAFE_NO_PAD.encode(self.encoding.as_bytes()).into());
        jwk.insert("alg".to_owned(), self.algorithm.as_str().into());
        jwk.insert("use".to_owned(), "sig".into());
        Ok(jwk)
    }

    /// What a key file holds: PKCS#8 in PEM (RFC 5958), or for a shared secret `base64:` and its
    /// bytes, as `secret_file` takes them. [`SigningKey::from_pem`] and
    /// [`super::secret_bytes`] read it.
    ///
    /// # Errors
    ///
    /// [`SignError`] when the library cannot encode the key.
    pub fn to_file(&self) -> Result<Secret<String>, SignError> {
        let material = self.encoding.as_bytes();
        let der = match self.algorithm.family() {
            Family::Hmac => {
                let mut text = String::with_capacity(2 * material.len() + 16);
                text.push_str("base64:");
                STANDARD.encode_string(material, &mut text);
                text.push('\n');
                return Ok(Secret::new(text));
            }
            Family::Ec | Family::Ed => Zeroizing::new(material.to_vec()),
            Family::Rsa => {
                let pair = RsaKeyPair::from_der(material).map_err(|_| SignError)?;
                let pkcs8: Pkcs8V1Der<'_> = pair.as_der().map_err(|_| SignError)?;
                Zeroizing::new(pkcs8.as_ref().to_vec())
            }
        };
        let block = pem::Pem::new("PRIVATE KEY", der.as_slice());
        let lines = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
        Ok(Secret::new(pem::encode_config(&block, lines)))
    }

    /// A signed token with this `typ`, `kid` and these claims.
    ///
    /// # Errors
    ///
    /// [`SignError`] when the library fails.
    pub fn sign(
        &self,
        typ: &str,
        kid: Option<&str>,
        claims: &Map<String, Value>,
    ) -> Result<String, SignError> {
        let mut header = Map::new();
        header.insert("alg".to_owned(), self.algorithm.as_str().into());
        header.insert("typ".to_owned(), typ.into());
        if let Some(kid) = kid {
            header.insert("kid".to_owned(), kid.into());
        }
        let header = serde_json::to_vec(&header).map_err(|_| SignError)?;
        let claims = serde_json::to_vec(claims).map_err(|_| SignError)?;
        self.sign_parts(&header, &claims)
    }

    /// A compact JWS over exactly these octets.
    pub(in crate::auth) fn sign_parts(
        &self,
        header: &[u8],
        payload: &[u8],
    ) -> Result<String, SignError> {
        let mut token = URL_SAFE_NO_PAD.encode(header);
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(payload, &mut token);
        let signature = self.pair.sign(self.algorithm, token.as_bytes())?;
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut token);
        Ok(token)
    }

    fn ecdsa(
        algorithm: Algorithm,
        signing: &'static EcdsaSigningAlgorithm,
        der: &[u8],
    ) -> Result<Self, KeyError> {
        let pair = EcdsaKeyPair::from_pkcs8(signing, der)
            .or_else(|_| EcdsaKeyPair::from_private_key_der(signing, der))
            .map_err(|_| wrong_private_key(algorithm))?;
        let pkcs8 = pair.to_pkcs8v1().map_err(|_| wrong_private_key(algorithm))?;
        let public = pair.public_key().as_ref().to_vec();
        let encoding = EncodingKey::from_ec_der(pkcs8.as_ref());
        Ok(Self { algorithm, pair: Pair::Ec(pair), encoding, public })
    }

    fn ed25519(der: &[u8]) -> Result<Self, KeyError> {
        let algorithm = Algorithm::EdDSA;
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der)
            .map_err(|_| wrong_private_key(algorithm))?;
        let pkcs8 = pair.to_pkcs8v1().map_err(|_| wrong_private_key(algorithm))?;
        let public = pair.public_key().as_ref().to_vec();
        let encoding = EncodingKey::from_ed_der(pkcs8.as_ref());
        Ok(Self { algorithm, pair: Pair::Ed(pair), encoding, public })
    }

    fn rsa(algorithm: Algorithm, der: &[u8]) -> Result<Self, KeyError> {
        let pair =
            RsaKeyPair::from_pkcs8(der).or_else(|_| RsaKeyPair::from_der(der)).map_err(|_| {
                match public::private_rsa_bits(der) {
                    // The library takes no other sizes.
                    Some(bits) => KeyError::WeakRsa { bits },
                    None => wrong_private_key(algorithm),
                }
            })?;
        let public = pair.public_key().as_ref().to_vec();
        let pkcs8: Pkcs8V1Der<'_> = pair.as_der().map_err(|_| wrong_private_key(algorithm))?;
        // jsonwebtoken signs with PKCS#1 only, and takes it out of a PKCS#8 PEM itself.
        let text = Zeroizing::new(pem::encode(&pem::Pem::new("PRIVATE KEY", pkcs8.as_ref())));
        let encoding =
            EncodingKey::from_rsa_pem(text.as_bytes()).map_err(|_| wrong_private_key(algorithm))?;
        Ok(Self { algorithm, pair: Pair::Rsa(pair), encoding, public })
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}

fn wrong_private_key(algorithm: Algorithm) -> KeyError {
    let wanted = format!("{algorithm} needs a private key of its own type and size").into();
    KeyError::KeyType { kind: "different private", wanted }
}
