//! Why a key cannot be used, and what to do about it.

use thiserror::Error;

use crate::auth::Algorithm;

/// A key that is refused at load. Never contains key material.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum KeyError {
    /// A JWK without `alg` where several algorithms of the issuer would fit.
    #[error(
        "the key does not say its algorithm and {0} of the issuer's algorithms fit it; add \"alg\" \
         to the JWK, or list only one that fits"
    )]
    Ambiguous(usize),
    /// `alg` in the JWK is not the configured one, or not in the issuer's list.
    #[error("the JWK is for another algorithm ({0:?}) than the configuration allows")]
    AlgorithmDisagrees(Box<str>),
    /// A certificate that cannot be read.
    #[error("the certificate cannot be read (X.509 version 3 in PEM is expected)")]
    Certificate,
    /// `base64:` or `hex:` is not followed by what it announces.
    #[error("what follows {0} is not valid {1}")]
    Encoding(&'static str, &'static str),
    /// No algorithm of the issuer takes such a key.
    #[error("a {kind} key, but {wanted}")]
    KeyType {
        /// What the key is.
        kind: &'static str,
        /// What was expected.
        wanted: Box<str>,
    },
    /// The JWK is not usable as such.
    #[error("not a valid JWK or JWKS: {0}")]
    Jwk(&'static str),
    /// `kid` in the configuration and in the JWK differ.
    #[error("the configured kid is not the one in the JWK; leave it out or correct it")]
    KidDisagrees,
    /// More than one key in a file that is to hold one.
    #[error("{0} PEM blocks where exactly one is expected: give each key its own file")]
    Many(usize),
    /// Neither PEM nor JWK.
    #[error("neither PEM (-----BEGIN PUBLIC KEY-----) nor a JWK ({{\"kty\": ...}})")]
    NotAKey,
    /// A shared secret where only public keys may be (R3).
    #[error(
        "a shared secret (kty \"oct\") is only taken from a file, in an \
         entry whose algorithms are all HMAC"
    )]
    Octet,
    /// A PEM file offered as an HMAC secret (R3, CVE-2015-9235).
    #[error(
        "this is a PEM file, not an HMAC secret: public_key_file takes it, with \
         an RS, PS, ES or EdDSA algorithm"
    )]
    PemAsSecret,
    /// The same where keys sign: there it is a private one.
    #[error(
        "this is a PEM file, not an HMAC secret: private_key_file takes it, with RS256, ES256 or \
         EdDSA"
    )]
    PemAsSigningSecret,
    /// A private key where a public one belongs.
    #[error("this is a private key; the gateway needs, and should have, only the public one")]
    Private,
    /// A PEM block of a kind that is not taken.
    #[error("PEM block {0:?} is not taken: PUBLIC KEY, RSA PUBLIC KEY or CERTIFICATE is")]
    Tag(Box<str>),
    /// An RSA key made by the faulty generator of CVE-2017-15361 (ROCA): its private half can be
    /// computed.
    #[error("an RSA key with the ROCA fault (CVE-2017-15361): replace it")]
    Roca,
    /// The secret is shorter than the hash of its algorithm (RFC 7518 §3.2, R16).
    #[error(
        "the secret has {bytes} bytes, {algorithm} needs at least {min}; make \
         one with `openssl rand -base64 {min}` and write base64: before it"
    )]
    SecretTooShort {
        /// Bytes that it has.
        bytes: usize,
        /// Bytes that it needs.
        min: usize,
        /// The algorithm that needs them.
        algorithm: Algorithm,
    },
    /// An RSA key below 2048 or above 8192 bits, or with an exponent below 3 (R16).
    #[error(
        "a weak or oversized RSA key ({bits} bits; 2048 to 8192 are taken, with an odd \
         exponent of 3 or more)"
    )]
    WeakRsa {
        /// Bits of the modulus.
        bits: usize,
    },
    /// The key is for encryption or another operation than verifying.
    #[error("the key is not for signatures (use or key_ops say otherwise)")]
    Use,
}
