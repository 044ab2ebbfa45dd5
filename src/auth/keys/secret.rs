//! HMAC secrets.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jsonwebtoken::DecodingKey;
use zeroize::Zeroizing;

use super::{KeyError, VerificationKey};
use crate::auth::Algorithm;
use crate::secret::Secret;

/// The secret that a file, variable or command holds: its bytes less one trailing newline;
/// `base64:` and `hex:` in front are decoded (base64 in the standard alphabet, with padding).
///
/// # Errors
///
/// [`KeyError::Encoding`] when what follows a prefix is not in that encoding.
pub fn secret_bytes(content: &[u8]) -> Result<Secret<Vec<u8>>, KeyError> {
    let newline = content.strip_suffix(b"\r\n").or_else(|| content.strip_suffix(b"\n"));
    let content = newline.unwrap_or(content);
    let decoded = if let Some(text) = content.strip_prefix(b"base64:") {
        STANDARD.decode(text).map_err(|_| KeyError::Encoding("base64:", "base64 (with padding)"))?
    } else if let Some(text) = content.strip_prefix(b"hex:") {
        hex(text).ok_or(KeyError::Encoding("hex:", "hexadecimal"))?
    } else {
        content.to_vec()
    };
    Ok(Secret::new(decoded))
}

/// A key from the secret's own bytes.
///
/// # Errors
///
/// [`KeyError::KeyType`] when the algorithm is not HMAC, [`KeyError::PemAsSecret`] when the bytes
/// are PEM text (R3), [`KeyError::SecretTooShort`] below the hash's size (R16).
pub fn from_secret(
    kid: Option<&str>,
    algorithm: Algorithm,
    secret: &[u8],
) -> Result<VerificationKey, KeyError> {
    check_secret(algorithm, secret)?;
    Ok(VerificationKey::new(kid, algorithm, secret, DecodingKey::from_secret(secret)))
}

pub(super) fn check_secret(algorithm: Algorithm, secret: &[u8]) -> Result<(), KeyError> {
    let Some(min) = algorithm.secret_bytes_min() else {
        let wanted = format!("{algorithm} takes a public key").into();
        return Err(KeyError::KeyType { kind: "shared secret", wanted });
    };
    if secret.windows(10).any(|window| window == b"-----BEGIN") {
        return Err(KeyError::PemAsSecret);
    }
    if secret.len() < min {
        return Err(KeyError::SecretTooShort { bytes: secret.len(), min, algorithm });
    }
    Ok(())
}

fn hex(text: &[u8]) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = text
        .iter()
        .map(|digit| char::from(*digit).to_digit(16).and_then(|value| u8::try_from(value).ok()))
        .collect();
    let digits = Zeroizing::new(digits?);
    let (pairs, []) = digits.as_chunks::<2>() else { return None };
    Some(pairs.iter().map(|[high, low]| high << 4 | low).collect())
}
