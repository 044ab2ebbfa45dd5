//! Sealing what the store keeps, under a key that only the bearer of a token can derive: the store
//! alone, stolen as a whole, opens nothing.
//!
//! HKDF-SHA-256 (RFC 5869) from 256 random bits, then AES-256-GCM with a random nonce. One key
//! seals a handful of messages in its life, far from what random nonces bear (SP 800-38D §8.3).

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};
use zeroize::Zeroizing;

use crate::secret::Secret;

/// A key for one purpose.
pub(super) struct Seal(RandomizedNonceKey);

/// The library could not seal.
#[derive(Debug)]
pub(super) struct SealError;

impl Seal {
    /// The key that follows from `secret` for `purpose`.
    pub(super) fn derive(secret: &[u8], purpose: &str) -> Result<Self, SealError> {
        let mut key = Zeroizing::new([0; 32]);
        Salt::new(HKDF_SHA256, b"postern")
            .extract(secret)
            .expand(&[purpose.as_bytes()], HKDF_SHA256)
            .and_then(|okm| okm.fill(key.as_mut_slice()))
            .map_err(|_| SealError)?;
        RandomizedNonceKey::new(&AES_256_GCM, key.as_slice()).map(Self).map_err(|_| SealError)
    }

    /// Nonce, ciphertext and tag. `about` is not kept, and must be the same at opening.
    pub(super) fn seal(&self, about: &str, text: &str) -> Result<Vec<u8>, SealError> {
        let mut sealed = Zeroizing::new(text.as_bytes().to_vec());
        let nonce = self
            .0
            .seal_in_place_append_tag(Aad::from(about.as_bytes()), &mut *sealed)
            .map_err(|_| SealError)?;
        Ok([nonce.as_ref().as_slice(), &sealed].concat())
    }

    /// The text; `None` when it was sealed under another key, about something else, or changed.
    pub(super) fn open(&self, about: &str, sealed: &[u8]) -> Option<Secret<String>> {
        let (nonce, sealed) = sealed.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut text = Zeroizing::new(sealed.to_vec());
        let text = self.0.open_in_place(nonce, Aad::from(about.as_bytes()), &mut text).ok()?;
        std::str::from_utf8(text).ok().map(|text| Secret::new(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each part decides: the key, what it is about, every byte of what is kept.
    #[test]
    fn only_the_same_key_and_matter_open_it() {
        let seal = Seal::derive(&[7; 32], "test").unwrap();
        let sealed = seal.seal("sid", "token").unwrap();
        assert_eq!(seal.open("sid", &sealed).unwrap().expose(), "token");
        assert!(!sealed.windows(5).any(|window| window == b"token"));
        assert_ne!(sealed, seal.seal("sid", "token").unwrap(), "a nonce of its own");
        assert!(seal.open("other", &sealed).is_none());
        for other in [Seal::derive(&[8; 32], "test"), Seal::derive(&[7; 32], "other")] {
            assert!(other.unwrap().open("sid", &sealed).is_none());
        }
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(seal.open("sid", &changed).is_none(), "byte {at}");
            assert!(seal.open("sid", &sealed[..at]).is_none(), "cut at {at}");
        }
    }
}
