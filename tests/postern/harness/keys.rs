//! Key pairs of every algorithm, made at run time and shared by the tests of one process.

use std::collections::HashMap;
use std::sync::{Mutex, OnceLock};

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{self, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

/// Every algorithm that the gateway verifies.
pub const ALGORITHMS: [&str; 12] = [
    "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256",
    "ES384", "EdDSA",
];

enum Private {
    Secret(Vec<u8>),
    Rsa(RsaKeyPair),
    Ec(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
}

/// A signing key with the one algorithm that it serves.
pub struct Key {
    pub kid: String,
    pub algorithm: &'static str,
    private: Private,
}

impl Key {
    /// A fresh key.
    pub fn generate(algorithm: &'static str, kid: &str) -> Self {
        let private = match &algorithm[..2] {
            "HS" => Private::Secret(random(64)),
            "RS" | "PS" => Private::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).unwrap()),
            "ES" => Private::Ec(EcdsaKeyPair::generate(ecdsa(algorithm)).unwrap()),
            _ => Private::Ed(Ed25519KeyPair::generate().unwrap()),
        };
        Self { kid: kid.to_owned(), algorithm, private }
    }

    /// A key whose secret the test chooses.
    pub fn secret(algorithm: &'static str, kid: &str, secret: &[u8]) -> Self {
        Self { kid: kid.to_owned(), algorithm, private: Private::Secret(secret.to_vec()) }
    }

    /// The key of that algorithm which all tests share; its kid is `shared-{algorithm}`.
    pub fn shared(algorithm: &'static str) -> &'static Self {
        static KEYS: OnceLock<Mutex<HashMap<&'static str, &'static Key>>> = OnceLock::new();
        let mut keys = KEYS.get_or_init(Mutex::default).lock().unwrap();
        keys.entry(algorithm).or_insert_with(|| {
            Box::leak(Box::new(Self::generate(algorithm, &format!("shared-{algorithm}"))))
        })
    }

    /// The signature of `message` under this key's own algorithm, in JOSE form.
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.sign_as(self.algorithm, message)
    }

    /// The signature under another algorithm of the same family.
    pub fn sign_as(&self, algorithm: &str, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &self.private {
            Private::Secret(secret) => {
                let key = hmac::Key::new(mac(algorithm), secret);
                hmac::sign(&key, message).as_ref().to_vec()
            }
            Private::Rsa(pair) => {
                let mut out = vec![0; pair.public_modulus_len()];
                pair.sign(padding(algorithm), &random, message, &mut out).unwrap();
                out
            }
            Private::Ec(pair) => pair.sign(&random, message).unwrap().as_ref().to_vec(),
            Private::Ed(pair) => pair.sign(message).as_ref().to_vec(),
        }
    }

    /// The shared secret; panics for other kinds.
    pub fn secret_bytes(&self) -> &[u8] {
        match &self.private {
            Private::Secret(secret) => secret,
            _ => panic!("{} has no secret", self.algorithm),
        }
    }

    /// The public key as DER SubjectPublicKeyInfo.
    pub fn public_der(&self) -> Vec<u8> {
        let der: PublicKeyX509Der<'_> = match &self.private {
            Private::Secret(_) => panic!("a secret has no public half"),
            Private::Rsa(pair) => pair.public_key().as_der().unwrap(),
            Private::Ec(pair) => pair.public_key().as_der().unwrap(),
            Private::Ed(pair) => pair.public_key().as_der().unwrap(),
        };
        der.as_ref().to_vec()
    }

    /// The public key as PEM.
    pub fn public_pem(&self) -> String {
        pem("PUBLIC KEY", &self.public_der())
    }

    /// The private key as PKCS#8 PEM.
    pub fn private_pem(&self) -> String {
        let der = match &self.private {
            Private::Secret(_) => panic!("a secret has no PEM"),
            Private::Rsa(pair) => {
                let der: aws_lc_rs::encoding::Pkcs8V1Der<'_> = pair.as_der().unwrap();
                der.as_ref().to_vec()
            }
            Private::Ec(pair) => pair.to_pkcs8v1().unwrap().as_ref().to_vec(),
            Private::Ed(pair) => pair.to_pkcs8v1().unwrap().as_ref().to_vec(),
        };
        pem("PRIVATE KEY", &der)
    }

    /// The public JWK (RFC 7517), with `kid`, `alg` and `use`.
    pub fn jwk(&self) -> Value {
        let mut jwk = match &self.private {
            Private::Secret(secret) => json!({"kty": "oct", "k": base64url(secret)}),
            Private::Rsa(pair) => {
                let public = pair.public_key();
                let modulus = public.modulus().big_endian_without_leading_zero();
                let exponent = public.exponent().big_endian_without_leading_zero();
                json!({"kty": "RSA", "n": base64url(modulus), "e": base64url(exponent)})
            }
            Private::Ec(pair) => {
                let point = &pair.public_key().as_ref()[1..];
                let (x, y) = point.split_at(point.len() / 2);
                let curve = if x.len() == 32 { "P-256" } else { "P-384" };
                json!({"kty": "EC", "crv": curve, "x": base64url(x), "y": base64url(y)})
            }
            Private::Ed(pair) => {
                json!({"kty": "OKP", "crv": "Ed25519", "x": base64url(pair.public_key().as_ref())})
            }
        };
        jwk["kid"] = json!(self.kid);
        jwk["alg"] = json!(self.algorithm);
        jwk["use"] = json!("sig");
        jwk
    }
}

/// Unpadded base64url (RFC 7515 §2).
pub fn base64url(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// `bytes` from the system's generator.
pub fn random(bytes: usize) -> Vec<u8> {
    let mut out = vec![0; bytes];
    aws_lc_rs::rand::fill(&mut out).unwrap();
    out
}

/// PEM armour (RFC 7468).
pub fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut out = format!("-----BEGIN {label}-----\n");
    for line in text.as_bytes().chunks(64) {
        out.push_str(std::str::from_utf8(line).unwrap());
        out.push('\n');
    }
    out + &format!("-----END {label}-----\n")
}

fn ecdsa(algorithm: &str) -> &'static signature::EcdsaSigningAlgorithm {
    match algorithm {
        "ES256" => &signature::ECDSA_P256_SHA256_FIXED_SIGNING,
        "ES384" => &signature::ECDSA_P384_SHA384_FIXED_SIGNING,
        other => panic!("{other} is not an ECDSA algorithm of the gateway"),
    }
}

fn mac(algorithm: &str) -> hmac::Algorithm {
    match algorithm {
        "HS256" => hmac::HMAC_SHA256,
        "HS384" => hmac::HMAC_SHA384,
        "HS512" => hmac::HMAC_SHA512,
        other => panic!("{other} is not an HMAC algorithm"),
    }
}

fn padding(algorithm: &str) -> &'static dyn signature::RsaEncoding {
    match algorithm {
        "RS256" => &signature::RSA_PKCS1_SHA256,
        "RS384" => &signature::RSA_PKCS1_SHA384,
        "RS512" => &signature::RSA_PKCS1_SHA512,
        "PS256" => &signature::RSA_PSS_SHA256,
        "PS384" => &signature::RSA_PSS_SHA384,
        "PS512" => &signature::RSA_PSS_SHA512,
        other => panic!("{other} is not an RSA algorithm"),
    }
}
