//! Public keys in DER, checked by the library that will use them: type, curve, point, size.

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rsa;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ECDSA_P521_SHA512_FIXED, ED25519,
    ParsedPublicKey, RsaPublicKeyComponents, VerificationAlgorithm,
};
use jsonwebtoken::DecodingKey;
use x509_cert::der::asn1::AnyRef;
use x509_cert::der::{Decode as _, SliceReader, Tag, Tagged as _};

use super::{KeyError, VerificationKey};
use crate::auth::{Algorithm, Family};

const RSA_BITS_MIN: usize = 2048;
const RSA_BITS_MAX: usize = 8192;

/// The odd primes up to 167: all of them are factors of the faulty generator's constant.
const ROCA_PRIMES: [u32; 38] = [
    3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97,
    101, 103, 107, 109, 113, 127, 131, 137, 139, 149, 151, 157, 163, 167,
];

/// A key from a SubjectPublicKeyInfo, or for RSA also from a PKCS#1 structure.
pub(super) fn from_der(
    kid: Option<&str>,
    algorithm: Algorithm,
    der: &[u8],
) -> Result<VerificationKey, KeyError> {
    let key = canonical(algorithm, der)?;
    let decoding = match algorithm.family() {
        Family::Ed => DecodingKey::from_ed_der(&key),
        Family::Ec | Family::Hmac => DecodingKey::from_ec_der(&key),
        // PKCS#1 is the form that the library tries first.
        Family::Rsa => DecodingKey::from_rsa_der(&key),
    };
    Ok(VerificationKey::new(kid, algorithm, &key, decoding))
}

/// The one encoding of a public key: SubjectPublicKeyInfo for the curves, PKCS#1 for RSA.
pub(super) fn canonical(algorithm: Algorithm, der: &[u8]) -> Result<Vec<u8>, KeyError> {
    match algorithm {
        Algorithm::ES256 => curve_key(algorithm, &ECDSA_P256_SHA256_FIXED, der),
        Algorithm::ES384 => curve_key(algorithm, &ECDSA_P384_SHA384_FIXED, der),
        Algorithm::EdDSA => curve_key(algorithm, &ED25519, der),
        Algorithm::PS256
        | Algorithm::PS384
        | Algorithm::PS512
        | Algorithm::RS256
        | Algorithm::RS384
        | Algorithm::RS512 => rsa_key(algorithm, der),
        Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512 => Err(mismatch(algorithm, der)),
    }
}

/// A key from an elliptic-curve point (uncompressed) or an Ed25519 public key.
pub(super) fn from_point(
    kid: Option<&str>,
    algorithm: Algorithm,
    point: &[u8],
) -> Result<VerificationKey, KeyError> {
    from_der(kid, algorithm, point)
}

/// A key from an RSA modulus and exponent, both big-endian.
pub(super) fn from_rsa_components(
    kid: Option<&str>,
    algorithm: Algorithm,
    n: &[u8],
    e: &[u8],
) -> Result<VerificationKey, KeyError> {
    let trimmed =
        |bytes: &[u8]| -> Vec<u8> { bytes.iter().copied().skip_while(|byte| *byte == 0).collect() };
    let components = RsaPublicKeyComponents { n: trimmed(n), e: trimmed(e) };
    check_rsa(&components)?;
    let der = components.as_der().map_err(|_| KeyError::Jwk("n and e are no RSA key"))?;
    from_der(kid, algorithm, der.as_ref())
}

fn curve_key(
    algorithm: Algorithm,
    verification: &'static dyn VerificationAlgorithm,
    der: &[u8],
) -> Result<Vec<u8>, KeyError> {
    let key = ParsedPublicKey::new(verification, der).map_err(|_| mismatch(algorithm, der))?;
    let spki = key.as_der().map_err(|_| KeyError::NotAKey)?;
    Ok(spki.as_ref().to_vec())
}

fn rsa_key(algorithm: Algorithm, der: &[u8]) -> Result<Vec<u8>, KeyError> {
    let key = rsa::PublicKey::from_der(der).map_err(|_| mismatch(algorithm, der))?;
    check_rsa(&RsaPublicKeyComponents::from(&key))?;
    Ok(key.as_ref().to_vec())
}

/// How many bits the modulus of a private RSA key has, in PKCS#8 (RFC 5958 §2) or PKCS#1 (RFC 8017
/// §A.1.2): the library does not say why it takes no small one. `None`: it is none, or of a size
/// that is taken.
pub(super) fn private_rsa_bits(der: &[u8]) -> Option<usize> {
    let (second, third) = members(der)?;
    let modulus = match second.tag() {
        Tag::Sequence => members(third.value()).filter(|_| third.tag() == Tag::OctetString)?.0,
        _ => second,
    };
    let bits = bits(modulus.value());
    let is_other = modulus.tag() == Tag::Integer && !(RSA_BITS_MIN..=RSA_BITS_MAX).contains(&bits);
    // A curve's key has nothing as large as the smallest RSA key that anybody made.
    (is_other && bits >= 256).then_some(bits)
}

/// The second and third member of a sequence, behind its version.
fn members(der: &[u8]) -> Option<(AnyRef<'_>, AnyRef<'_>)> {
    let sequence = AnyRef::from_der(der).ok().filter(|any| any.tag() == Tag::Sequence)?;
    let mut inside = SliceReader::new(sequence.value()).ok()?;
    let mut next = || AnyRef::decode(&mut inside).ok();
    next()?;
    Some((next()?, next()?))
}

/// How many bits a big-endian number has.
fn bits(number: &[u8]) -> usize {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    let unused = number.get(zeros).map_or(0, |byte| byte.leading_zeros() as usize);
    ((number.len() - zeros) * 8).saturating_sub(unused)
}

/// R16, CVE-2017-15361; `n` and `e` without leading zeros.
fn check_rsa(key: &RsaPublicKeyComponents<Vec<u8>>) -> Result<(), KeyError> {
    let bits = bits(&key.n);
    let odd = |number: &[u8]| number.last().is_some_and(|byte| byte & 1 == 1);
    let sound =
        (RSA_BITS_MIN..=RSA_BITS_MAX).contains(&bits) && odd(&key.n) && odd(&key.e) && key.e != [1];
    if !sound {
        return Err(KeyError::WeakRsa { bits });
    }
    if has_roca_fault(&key.n) { Err(KeyError::Roca) } else { Ok(()) }
}

/// Whether a modulus is of the form that the generator of CVE-2017-15361 leaves: a power of 65537
/// modulo each of many small primes (Nemec et al., "The Return of Coppersmith's Attack", 2017,
/// section 2). Of sound keys one in 239 million looks so.
fn has_roca_fault(n: &[u8]) -> bool {
    ROCA_PRIMES.iter().all(|prime| {
        let residue = n.iter().fold(0, |sum, byte| (sum * 256 + u32::from(*byte)) % prime);
        let next = |power: &u32| Some(power * (65537 % prime) % prime).filter(|next| *next != 1);
        std::iter::successors(Some(1), next).any(|power| power == residue)
    })
}

/// Says what the key is, since it is not what was expected.
fn mismatch(algorithm: Algorithm, der: &[u8]) -> KeyError {
    let is = |verification| ParsedPublicKey::new(verification, der).is_ok();
    let kind = if is(&ECDSA_P256_SHA256_FIXED) {
        "P-256"
    } else if is(&ECDSA_P384_SHA384_FIXED) {
        "P-384"
    } else if is(&ECDSA_P521_SHA512_FIXED) {
        "P-521"
    } else if is(&ED25519) {
        "Ed25519"
    } else if rsa::PublicKey::from_der(der).is_ok() {
        "RSA"
    } else {
        return KeyError::NotAKey;
    };
    let needs = match algorithm {
        Algorithm::ES256 => "a P-256 key",
        Algorithm::ES384 => "a P-384 key",
        Algorithm::EdDSA => "an Ed25519 key",
        Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512 => "a shared secret",
        Algorithm::PS256
        | Algorithm::PS384
        | Algorithm::PS512
        | Algorithm::RS256
        | Algorithm::RS384
        | Algorithm::RS512 => "an RSA key of 2048 bits or more",
    };
    KeyError::KeyType { kind, wanted: format!("{algorithm} takes {needs}").into() }
}
