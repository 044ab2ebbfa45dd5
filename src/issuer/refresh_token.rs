//! The text of a refresh token: `{family}.{256-bit secret}`, both base64url.
//!
//! The family's part is a secret too: its name in the store and in tokens, the `sid`, is a digest
//! of it. So whoever knows a `sid` (a service behind, a log, a list of sessions) cannot name the
//! family, and above all cannot end it by presenting a made-up token under its name.

use aws_lc_rs::digest::{Context, SHA256};
use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

use super::seal::{Seal, SealError};
use crate::secret::Secret;

const FAMILY_BYTES: usize = 16;
const SECRET_BYTES: usize = 32;
/// Bytes of a token's text; anything else is none (and is never hashed or looked up).
const TEXT_BYTES: usize = 22 + 1 + 43;

/// A refresh token. Wiped when dropped, never printed.
pub(super) struct RefreshToken {
    family: Zeroizing<[u8; FAMILY_BYTES]>,
    secret: Zeroizing<[u8; SECRET_BYTES]>,
}

/// The system gives no randomness.
#[derive(Debug)]
pub(super) struct NoRandomness;

impl RefreshToken {
    /// The first token of a new family.
    pub(super) fn first() -> Result<Self, NoRandomness> {
        Ok(Self { family: random()?, secret: random()? })
    }

    /// Another token of the same family.
    pub(super) fn successor(&self) -> Result<Self, NoRandomness> {
        Ok(Self { family: self.family.clone(), secret: random()? })
    }

    /// Reads what was presented; exactly the form that [`RefreshToken::text`] gives.
    pub(super) fn parse(text: &str) -> Option<Self> {
        if text.len() != TEXT_BYTES {
            return None;
        }
        let (family, secret) = text.split_once('.')?;
        Some(Self { family: decoded(family)?, secret: decoded(secret)? })
    }

    /// What the client gets.
    pub(super) fn text(&self) -> Secret<String> {
        let mut text = String::with_capacity(TEXT_BYTES);
        URL_SAFE_NO_PAD.encode_string(self.family.as_slice(), &mut text);
        text.push('.');
        URL_SAFE_NO_PAD.encode_string(self.secret.as_slice(), &mut text);
        Secret::new(text)
    }

    /// The family's public name.
    pub(super) fn sid(&self) -> String {
        let digest = digest("sid", &[self.family.as_slice()]);
        URL_SAFE_NO_PAD.encode(digest.first_chunk::<16>().map_or(&[][..], |half| half))
    }

    /// What the store keeps of it.
    pub(super) fn digest(&self) -> String {
        let parts = [self.family.as_slice(), self.secret.as_slice()];
        URL_SAFE_NO_PAD.encode(digest("refresh token", &parts))
    }

    /// The seal of what only the bearer of this token may read.
    pub(super) fn seal(&self) -> Result<Seal, SealError> {
        Seal::derive(self.secret.as_slice(), "the successor of a refresh token")
    }
}

/// A SHA-256 that means one thing.
pub(super) fn digest(purpose: &str, parts: &[&[u8]]) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    for part in [&[b"postern", purpose.as_bytes()], parts].concat() {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    let mut digest = [0; 32];
    digest.copy_from_slice(context.finish().as_ref());
    digest
}

/// Fresh random bytes.
pub(super) fn random<const N: usize>() -> Result<Zeroizing<[u8; N]>, NoRandomness> {
    let mut bytes = Zeroizing::new([0; N]);
    SystemRandom::new().fill(bytes.as_mut_slice()).map_err(|_| NoRandomness)?;
    Ok(bytes)
}

/// Exactly so many bytes, in their one spelling (no padding, no loose bits).
pub(super) fn decoded<const N: usize>(text: &str) -> Option<Zeroizing<[u8; N]>> {
    let bytes = Zeroizing::new(URL_SAFE_NO_PAD.decode(text).ok()?);
    let bytes: &[u8; N] = bytes.as_slice().try_into().ok()?;
    Some(Zeroizing::new(*bytes))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_token_is_read_as_it_was_written() {
        let token = RefreshToken::first().unwrap();
        let read = RefreshToken::parse(token.text().expose()).unwrap();
        assert_eq!((read.sid(), read.digest()), (token.sid(), token.digest()));
        let next = token.successor().unwrap();
        assert_eq!(next.sid(), token.sid());
        assert_ne!(next.digest(), token.digest());
        assert_ne!(RefreshToken::first().unwrap().sid(), token.sid());
        assert_eq!((token.sid().len(), token.text().expose().len()), (22, 66));
        assert!(!token.text().expose().contains(&token.sid()), "a sid names no family");
    }

    /// RFC 4648 §3.5: another spelling of the same bytes is another token.
    #[test]
    fn a_token_has_one_spelling() {
        let text = format!("{}.{}", "A".repeat(22), "A".repeat(43));
        assert!(RefreshToken::parse(&text).is_some());
        for wrong in [
            format!("{}B.{}", "A".repeat(21), "A".repeat(43)),
            format!("{}.{}B", "A".repeat(22), "A".repeat(42)),
            format!("{}.{}", "A".repeat(23), "A".repeat(42)),
            format!("{}.{}=", "A".repeat(22), "A".repeat(42)),
            format!("{}+{}", "A".repeat(22), "A".repeat(43)),
            format!(" {}", text.trim_end_matches("A")),
            text.replacen('A', " ", 1),
            format!("{text}\n"),
            text.replacen('A', "/", 1),
            String::new(),
        ] {
            assert!(RefreshToken::parse(&wrong).is_none(), "{wrong:?}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_reading_panic(text in ".{0,80}") {
            let _ = RefreshToken::parse(&text);
        }
    }
}
