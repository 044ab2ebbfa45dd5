//! Which key a refused token would have needed: what a provider may be asked for anew.

use super::verify::Parts;
use super::{IssuerFilter, Issuers, TokenCheck, VerifyError, claims, header, json, verify};

/// A key that a token names, or leaves open, and that its issuer's entries do not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The entries that fetch their keys and that could have it; at least one.
    pub entries: Vec<Box<str>>,
    /// The key id in the token's header; a stranger's text of at most 256 bytes.
    pub kid: Option<Box<str>>,
}

impl Issuers {
    /// What to ask a provider for after this refusal. `None` when no newer keys could change it:
    /// the kid is known (so that a known kid never causes a fetch), the entry does not fetch, or
    /// the refusal has another reason.
    ///
    /// Only for the way of refusals: it reads the token again.
    #[must_use]
    pub fn wanted(
        &self,
        token: &str,
        allowed: &IssuerFilter,
        refusal: &VerifyError,
    ) -> Option<Wanted> {
        self.wanted_by(header::read, token, allowed, refusal)
    }

    /// The same for a token whose header is read otherwise.
    pub(super) fn wanted_by(
        &self,
        read: header::Read,
        token: &str,
        allowed: &IssuerFilter,
        refusal: &VerifyError,
    ) -> Option<Wanted> {
        if !matches!(refusal, VerifyError::Signature | VerifyError::UnknownKey) {
            return None;
        }
        let parts = Parts::of(token).ok()?;
        let header = read(&verify::decode(parts.header).ok()?).ok()?;
        if *refusal == VerifyError::Signature && header.kid.is_some() {
            return None;
        }
        let claims = json::object(&verify::decode(parts.payload).ok()?)?;
        let issuer = claims::optional_text(&claims, "iss").ok()?;
        let algorithm = header.alg.parse().ok()?;
        let entries: Vec<Box<str>> = self
            .settings()
            .filter(|entry| entry.check == TokenCheck::SignatureFetched)
            .filter(|entry| entry.issuer.as_deref() == issuer && allowed.allows(&entry.name))
            .filter(|entry| entry.algorithms.contains(&algorithm))
            .map(|entry| entry.name.as_str().into())
            .collect();
        let kid = header.kid.map(Into::into);
        (!entries.is_empty()).then_some(Wanted { entries, kid })
    }
}
