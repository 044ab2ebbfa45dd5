//! A password as it is checked: within bounds, and as Unicode means it.
//!
//! The same letters can be typed as different bytes (`é` or `e` and an accent). New hashes are of
//! the NFC form, so both open the account (RFC 8265 §4.2.2); imported ones may be of whatever the
//! old system was sent, so the raw bytes are tried first.
//!
//! It must never put a password into an error or `Debug`.

use thiserror::Error;
use unicode_normalization::{UnicodeNormalization as _, is_nfc};

use crate::secret::Secret;

/// Longest password, in bytes as typed.
pub const PASSWORD_BYTES_MAX: usize = 1024;

/// Fewest characters of a password that is set here (ASVS 5.0, 6.2.1).
const NEW_CHARS_MIN: usize = 8;

/// Why something is no password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PasswordError {
    /// Nothing.
    #[error("the password is empty")]
    Empty,
    /// Over [`PASSWORD_BYTES_MAX`].
    #[error("the password is longer than {PASSWORD_BYTES_MAX} bytes")]
    Long,
    /// It is what the account is called.
    #[error("the password is the account's name")]
    Name,
    /// Some implementations of bcrypt stop there.
    #[error("the password has a NUL byte")]
    Nul,
    /// Under eight characters.
    #[error("the password has fewer than {NEW_CHARS_MIN} characters")]
    Short,
}

/// A password within bounds.
#[derive(Clone, Debug)]
pub struct Password {
    /// As typed, where that is not the NFC form.
    raw: Option<Secret<String>>,
    nfc: Secret<String>,
    /// Stands for what is no password.
    none: bool,
}

impl Password {
    /// What was typed at a login.
    ///
    /// # Errors
    ///
    /// [`PasswordError`].
    pub fn typed(text: &str) -> Result<Self, PasswordError> {
        if text.is_empty() {
            return Err(PasswordError::Empty);
        }
        if text.len() > PASSWORD_BYTES_MAX {
            return Err(PasswordError::Long);
        }
        if text.contains('\0') {
            return Err(PasswordError::Nul);
        }
        if is_nfc(text) {
            return Ok(Self { raw: None, nfc: Secret::new(text.to_owned()), none: false });
        }
        // Room for all, so that no copy is left behind: NFC is at most three times as long.
        let mut nfc = String::with_capacity(text.len() * 3);
        nfc.extend(text.nfc());
        let raw = Some(Secret::new(text.to_owned()));
        Ok(Self { raw, nfc: Secret::new(nfc), none: false })
    }

    /// A password that is being set for `account`.
    ///
    /// # Errors
    ///
    /// [`PasswordError`].
    pub fn chosen(text: &str, account: &str) -> Result<Self, PasswordError> {
        let password = Self::typed(text)?;
        if password.nfc.expose().chars().nth(NEW_CHARS_MIN - 1).is_none() {
            return Err(PasswordError::Short);
        }
        if password.nfc.expose().to_lowercase() == account.to_lowercase() {
            return Err(PasswordError::Name);
        }
        Ok(password)
    }

    /// What stands in for what is no password, so that its refusal takes its time too. It opens
    /// nothing, whatever is stored.
    pub(super) const fn none() -> Self {
        Self { raw: None, nfc: Secret::new(String::new()), none: true }
    }

    /// Whether it stands for what is no password.
    pub(super) const fn is_none(&self) -> bool {
        self.none
    }

    /// What is tried against a hash: the bytes as typed, then the NFC form where that differs. How
    /// many there are depends on the password alone.
    pub(super) fn tries(&self) -> impl Iterator<Item = &[u8]> {
        self.raw.iter().chain([&self.nfc]).map(|text| text.expose().as_bytes())
    }

    /// What a new hash is of.
    #[must_use]
    pub fn whole(&self) -> &[u8] {
        self.nfc.expose().as_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_password() {
        let long = "x".repeat(PASSWORD_BYTES_MAX + 1);
        for (text, refused) in [
            ("", PasswordError::Empty),
            ("secret\0", PasswordError::Nul),
            ("\0", PasswordError::Nul),
            (&long, PasswordError::Long),
        ] {
            assert_eq!(Password::typed(text).err(), Some(refused));
        }
        let longest = "x".repeat(PASSWORD_BYTES_MAX);
        for text in ["x", " ", "\n", &longest] {
            assert!(Password::typed(text).is_ok(), "{text:?}");
        }
    }

    #[test]
    fn what_may_not_be_chosen() {
        for (text, refused) in [
            ("seven77", PasswordError::Short),
            ("\u{e9}\u{e9}\u{e9}", PasswordError::Short),
            // Eight code points, four letters.
            ("e\u{301}e\u{301}e\u{301}e\u{301}", PasswordError::Short),
            ("Alice@Example.com", PasswordError::Name),
        ] {
            let chosen = Password::chosen(text, "alice@example.com");
            assert_eq!(chosen.err(), Some(refused), "{text:?}");
        }
        assert!(Password::chosen("eight888", "alice").is_ok());
    }

    #[test]
    fn both_ways_to_type_a_letter_end_in_one() {
        let (composed, decomposed) = ("caf\u{e9} noir", "cafe\u{301} noir");
        let typed = Password::typed(composed).unwrap();
        assert_eq!(typed.tries().collect::<Vec<_>>(), [composed.as_bytes()]);
        let typed = Password::typed(decomposed).unwrap();
        assert_eq!(typed.whole(), composed.as_bytes());
        assert_eq!(
            typed.tries().collect::<Vec<_>>(),
            [decomposed.as_bytes(), composed.as_bytes()],
            "the raw bytes first"
        );
        assert_eq!(Password::none().tries().collect::<Vec<_>>(), [b""]);
        assert!(!format!("{typed:?}").contains("noir"));
    }
}
