//! A browser's session: the cookie holds one random id, the tokens stay in the store, sealed under
//! a key that follows from the id. The store knows the id's digest only.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

use super::refresh_token::{NoRandomness, decoded, digest, random};
use super::seal::{Seal, SealError};
use crate::secret::Secret;

/// What a session cookie holds: 256 random bits, constant from login to logout, new at each login.
pub struct SessionId(Zeroizing<[u8; 32]>);

/// A session that was found by its id. It says nothing about revocations: its access token is
/// verified like any other, and a renewal asks.
pub struct BrowserSession {
    /// The session's public name.
    pub sid: String,
    /// The rotation that it stands at: to be handed back with a new access token.
    pub turn: u64,
    /// The access token; `None` when one has to be made first.
    pub access: Option<Secret<String>>,
    pub(super) refresh: Secret<String>,
}

impl SessionId {
    pub(super) fn new() -> Result<Self, NoRandomness> {
        random().map(Self)
    }

    /// Reads a cookie's value; `None` when it is none of ours.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        decoded(text).map(Self)
    }

    /// The cookie's value.
    #[must_use]
    pub fn text(&self) -> Secret<String> {
        Secret::new(URL_SAFE_NO_PAD.encode(self.0.as_slice()))
    }

    /// The session's name in the store.
    pub(super) fn hash(&self) -> String {
        URL_SAFE_NO_PAD.encode(digest("session", &[self.0.as_slice()]))
    }

    pub(super) fn seal(&self) -> Result<Seal, SealError> {
        Seal::derive(self.0.as_slice(), "the tokens of a browser's session")
    }
}

/// What is sealed: one token of one session, never the other kind.
pub(super) fn about(kind: &str, sid: &str) -> String {
    format!("{kind} {sid}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_one_spelling_and_is_not_its_name() {
        let id = SessionId::new().unwrap();
        let read = SessionId::parse(id.text().expose()).unwrap();
        assert_eq!(read.hash(), id.hash());
        assert_ne!(&id.hash(), id.text().expose());
        for wrong in ["", "x", &"A".repeat(42), &"A".repeat(44), &format!("{}B", "A".repeat(42))] {
            assert!(SessionId::parse(wrong).is_none(), "{wrong:?}");
        }
    }
}
