//! Secrets of OAuth clients (RFC 6749 §2.3.1): made with 256 random bits, kept as a digest alone.
//!
//! One SHA-256 is enough to keep what nobody can guess, and it costs nothing: whoever sends made-up
//! secrets makes the gateway compute no more than that. A password's hash would be slow on purpose,
//! for everybody who asks; it is therefore not taken, and what could be guessed is not hashed.
//!
//! It must never put a secret into an error or `Debug`, and takes the same time for every secret
//! of one length, whoever the client is.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use subtle::{Choice, ConstantTimeEq as _};
use thiserror::Error;
use zeroize::Zeroizing;

use super::keys::sha256;
use crate::secret::Secret;

/// How a line of a hash file begins.
const HEAD: &str = "postern-client-secret:sha256:";
/// Random bytes of a secret that is made here.
const SECRET_BYTES: usize = 32;
/// Shortest secret from elsewhere: 32 characters of base64 are 192 bits, of hex 128.
const TEXT_BYTES_MIN: usize = 32;
/// Longest secret.
const TEXT_BYTES_MAX: usize = 512;
/// Fewest different characters: hex has 16, of which a random text of 32 lacks a few.
const DISTINCT_MIN: usize = 10;
/// Current and next.
const HASHES_MAX: usize = 2;

/// The hashes of one client's secrets: one, or two while the secret is changed.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientSecretHashes([[u8; 32]; HASHES_MAX]);

/// Why a hash file, or a secret, is not taken. Never holds any of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ClientSecretError {
    /// No line.
    #[error("holds no hash")]
    Empty,
    /// Neither ours nor known.
    #[error(
        "line {0} is no hash of a client's secret; `postern keys generate --client-secret` makes \
         them"
    )]
    Malformed(usize),
    /// More than [`HASHES_MAX`].
    #[error("holds more than two hashes: a client has one secret, and a second while it changes")]
    Many,
    /// The hash of a password.
    #[error(
        "line {0} is a password's hash, which is slow for everybody who asks: make a secret with \
         `postern keys generate --client-secret`"
    )]
    Password(usize),
    /// The system gives no randomness.
    #[error("the system gives no randomness")]
    Randomness,
    /// It could be guessed.
    #[error(
        "a client's secret has {TEXT_BYTES_MIN} to {TEXT_BYTES_MAX} visible ASCII characters, \
         picked at random, at least {DISTINCT_MIN} of them different"
    )]
    Weak,
}

impl ClientSecretHashes {
    /// Reads a hash file: one hash a line; lines that begin with `#`, and empty ones, are nothing.
    ///
    /// # Errors
    ///
    /// [`ClientSecretError`].
    pub fn parse(text: &str) -> Result<Self, ClientSecretError> {
        let lines = (1..).zip(text.lines().map(str::trim));
        let mut hashes = Vec::new();
        for (number, line) in lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#')) {
            hashes.push(one(number, line)?);
        }
        match hashes.as_slice() {
            [] => Err(ClientSecretError::Empty),
            // Compared twice: one or two hashes take the same time.
            [one] => Ok(Self([*one, *one])),
            [one, two] => Ok(Self([*one, *two])),
            _ => Err(ClientSecretError::Many),
        }
    }

    /// What no secret fits: for clients that there are not.
    #[must_use]
    pub fn of_nobody() -> Self {
        Self([[0; 32]; HASHES_MAX])
    }

    /// Whether it is one of the secrets.
    #[must_use]
    pub fn fit(&self, presented: &Secret<String>) -> bool {
        let digest = digest(presented.expose());
        let fits = |all, hash: &[u8; 32]| all | hash.ct_eq(&digest);
        bool::from(self.0.iter().fold(Choice::from(0), fits))
    }
}

impl fmt::Debug for ClientSecretHashes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientSecretHashes([redacted])")
    }
}

/// A new secret: 256 bits, base64url.
///
/// # Errors
///
/// [`ClientSecretError::Randomness`].
pub fn new_client_secret() -> Result<Secret<String>, ClientSecretError> {
    let mut bytes = Zeroizing::new([0; SECRET_BYTES]);
    let filled = aws_lc_rs::rand::fill(bytes.as_mut_slice());
    filled.map_err(|_| ClientSecretError::Randomness)?;
    Ok(Secret::new(URL_SAFE_NO_PAD.encode(bytes.as_slice())))
}

/// The line of a hash file for a secret.
///
/// # Errors
///
/// [`ClientSecretError::Weak`] for what a person made up.
pub fn client_secret_hash(secret: &Secret<String>) -> Result<String, ClientSecretError> {
    let text = secret.expose();
    let mut distinct: Vec<u8> = text.bytes().collect();
    distinct.sort_unstable();
    distinct.dedup();
    let is_long = (TEXT_BYTES_MIN..=TEXT_BYTES_MAX).contains(&text.len());
    if !is_long || distinct.len() < DISTINCT_MIN || !text.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(ClientSecretError::Weak);
    }
    Ok(format!("{HEAD}{}", URL_SAFE_NO_PAD.encode(digest(text))))
}

fn one(number: usize, line: &str) -> Result<[u8; 32], ClientSecretError> {
    let Some(encoded) = line.strip_prefix(HEAD) else {
        let is_password = line.starts_with('$') || line.starts_with('{');
        return Err(if is_password {
            ClientSecretError::Password(number)
        } else {
            ClientSecretError::Malformed(number)
        });
    };
    let bytes = URL_SAFE_NO_PAD.decode(encoded).ok();
    bytes.and_then(|bytes| bytes.try_into().ok()).ok_or(ClientSecretError::Malformed(number))
}

/// Not the digest that other programs make of the same text: nobody takes a hash file for a list
/// of `sha256sum`s, nor the other way round.
fn digest(secret: &str) -> [u8; 32] {
    sha256(&[b"postern client secret", secret.as_bytes()])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Secret<String> {
        Secret::new(text.to_owned())
    }

    #[test]
    fn only_the_secret_fits_its_hash() {
        let (one, two) = (new_client_secret().unwrap(), new_client_secret().unwrap());
        assert_eq!(one.expose().len(), 43);
        assert_ne!(one, two);
        let line = |secret: &Secret<String>| client_secret_hash(secret).unwrap();
        let hashes = ClientSecretHashes::parse(&line(&one)).unwrap();
        assert!(hashes.fit(&one) && !hashes.fit(&two));
        let both = format!("# since May\n{}\n\n  {}\r\n", line(&one), line(&two));
        let both = ClientSecretHashes::parse(&both).unwrap();
        assert!(both.fit(&one) && both.fit(&two));
        for wrong in ["", " ", one.expose().split_at(1).1, &format!("{} ", one.expose())] {
            assert!(!both.fit(&secret(wrong)), "{wrong:?}");
        }
        assert!(!ClientSecretHashes::of_nobody().fit(&secret("")));
        assert_eq!(format!("{both:?}"), "ClientSecretHashes([redacted])");
    }

    /// RFC 9700 §2.5, RFC 6819 §5.1.4.1.3, ASVS 2.8: nothing that can be guessed, nothing slow.
    #[test]
    fn other_hash_files_are_refused() {
        use ClientSecretError as E;
        let good = client_secret_hash(&new_client_secret().unwrap()).unwrap();
        for (text, refused) in [
            (String::new(), E::Empty),
            ("# none\n".to_owned(), E::Empty),
            ("hunter2".to_owned(), E::Malformed(1)),
            (format!("#\n{good}="), E::Malformed(2)),
            (good.split_at(60).0.to_owned(), E::Malformed(1)),
            (good.to_uppercase(), E::Malformed(1)),
            ("$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ$aGFzaA".to_owned(), E::Password(1)),
            (format!("{good}\n$2y$12$abc"), E::Password(2)),
            ("{SHA}fCIvspJ9goryL1khNOiTJIBjfA0=".to_owned(), E::Password(1)),
            (format!("{good}\n{good}\n{good}\n"), E::Many),
        ] {
            let read = ClientSecretHashes::parse(&text);
            assert_eq!(read.err(), Some(refused), "{text}");
            assert!(!refused.to_string().contains("hunter2"));
        }
    }

    #[test]
    fn what_can_be_guessed_is_not_hashed() {
        let long = "a1B2c3D4e5F6".repeat(50);
        for weak in [
            "",
            "hunter2",
            "correct horse battery staple 2026!",
            &"a".repeat(43),
            "abababababababababababababababab",
            "0123456789abcdef0123456789abcde",
            "0123456789abcdef0123456789abcde\u{e9}",
            &long,
        ] {
            assert_eq!(client_secret_hash(&secret(weak)), Err(ClientSecretError::Weak), "{weak}");
        }
        assert!(client_secret_hash(&secret("9f86d081884c7d659a2feaa0c55ad015")).is_ok());
    }
}
