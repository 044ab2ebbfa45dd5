//! Tokens that only their provider can judge, and what its answer is worth (RFC 7662).
//!
//! Here it is decided which token goes to which entry's provider, and whether an answer makes its
//! bearer a caller. Asking is `crate::provider`. It must never send a token to a provider that did
//! not make it where the token says who did, and never read more into an answer than it says: what
//! is not `"active": true`, strictly, is a refusal.

use std::time::Duration;

use serde_json::{Map, Value};
use thiserror::Error;

use super::issuers::{Entry, Fact};
use super::verified::Basis;
use super::verify::{FOREIGN_CLAIMS, Parts, TOKEN_BYTES_MAX, decode};
use super::{IssuerFilter, IssuerSettings, Issuers, Verified, VerifyError, claims, header, json};
use crate::time::UnixTime;
use crate::token::{is_b64token, is_compact_jws};

/// How long a token without `exp` counts as known at least: what is remembered of its revocation
/// must outlast the request.
const KNOWN_MIN: Duration = Duration::from_secs(60);

/// Members of an answer that say what kind of token it is about, each with the words that stand
/// for an access token. RFC 7662 §2.2 has `token_type`; Keycloak and others add `typ`
/// ("Bearer", "Refresh", "Offline", "ID"), Hydra and Cognito `token_use`. Any other word refuses.
const KINDS: [(&str, &[&str]); 3] = [
    ("token_type", &["Bearer", "access_token", ACCESS_TOKEN_URN]),
    ("typ", &["Bearer", "JWT", "at+jwt", "application/at+jwt", "access_token"]),
    ("token_use", &["access", "access_token"]),
];

/// RFC 8693 §3.
const ACCESS_TOKEN_URN: &str = "urn:ietf:params:oauth:token-type:access_token";

/// A token about which one provider must be asked. Nothing in it is to be trusted.
#[derive(Clone, Copy)]
pub struct Introspectable<'t> {
    issuers: &'t Issuers,
    settings: &'t IssuerSettings,
    fact: Fact,
    token: &'t str,
}

/// Why a provider's answer does not make its token's bearer a caller.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NotAccepted {
    /// The answer is none: it cannot be said whether the token is good.
    #[error("the provider's answer cannot be read: {0}")]
    Nonsense(&'static str),
    /// The token is refused.
    #[error(transparent)]
    Refused(#[from] VerifyError),
}

impl Issuers {
    /// The entries whose providers could be asked about this token: all of them for an opaque one,
    /// those of its `iss` for a JWT, unless its signature can be checked here. Empty for what is
    /// no token, and for a JWT of a form that is refused anyway.
    #[must_use]
    pub fn introspecting(&self, token: &str, allowed: &IssuerFilter) -> Vec<&IssuerSettings> {
        self.asked(token, allowed).into_iter().map(|(entry, _)| &*entry.settings).collect()
    }

    /// Whose provider must be asked about this token. `None`, and at once where no entry
    /// introspects, when it is to be checked by its signature ([`Issuers::prepare`], which also
    /// says what is wrong with it), or when there would be a choice.
    #[must_use]
    pub fn introspected_by<'t>(
        &'t self,
        token: &'t str,
        allowed: &IssuerFilter,
    ) -> Option<Introspectable<'t>> {
        match *self.asked(token, allowed) {
            [(entry, fact)] => {
                Some(Introspectable { issuers: self, settings: &entry.settings, fact, token })
            }
            _ => None,
        }
    }

    fn asked(&self, token: &str, allowed: &IssuerFilter) -> Vec<(&Entry, Fact)> {
        if !self.introspects || token.len() > TOKEN_BYTES_MAX {
            return Vec::new();
        }
        let entries = || self.entries.iter().filter(|entry| allowed.allows(&entry.settings.name));
        let asked = || entries().filter_map(|entry| Some((entry, entry.introspected?)));
        if !is_compact_jws(token) {
            return if is_b64token(token) { asked().collect() } else { Vec::new() };
        }
        let Some(claims) = readable(token) else { return Vec::new() };
        let Ok(issuer) = claims::optional_text(&claims, "iss") else { return Vec::new() };
        let is_its = |entry: &Entry| entry.settings.issuer.as_deref() == issuer;
        if entries().any(|entry| entry.introspected.is_none() && is_its(entry)) {
            return Vec::new();
        }
        asked().filter(|(entry, _)| is_its(entry)).collect()
    }
}

/// The claims of a JWT, none of them verified; `None` when its form alone refuses it.
fn readable(token: &str) -> Option<Map<String, Value>> {
    let parts = Parts::of(token).ok()?;
    header::read(&decode(parts.header).ok()?).ok()?;
    let claims = json::object(&decode(parts.payload).ok()?)?;
    let foreign = FOREIGN_CLAIMS.iter().any(|name| claims.contains_key(*name));
    (!foreign).then_some(claims)
}

impl<'t> Introspectable<'t> {
    /// The entry whose provider is to be asked.
    #[must_use]
    pub const fn entry(&self) -> &'t IssuerSettings {
        self.settings
    }

    /// The token; to be kept from logs.
    #[must_use]
    pub const fn token(&self) -> &'t str {
        self.token
    }

    /// Reads the provider's answer, as strictly as a token's own claims. `reused` is for how long
    /// it may be used again.
    ///
    /// # Errors
    ///
    /// [`NotAccepted`].
    pub fn accept(
        &self,
        answer: &[u8],
        reused: Duration,
        now: UnixTime,
    ) -> Result<Verified, NotAccepted> {
        let mut said = json::object(answer).ok_or(NotAccepted::Nonsense("not a JSON object"))?;
        match said.get("active") {
            Some(Value::Bool(true)) => {}
            Some(Value::Bool(false)) => return Err(VerifyError::Inactive.into()),
            _ => return Err(NotAccepted::Nonsense("active is neither true nor false")),
        }
        check_kind(&said)?;
        let known_until = now.plus(reused.max(KNOWN_MIN));
        let checked = claims::check_introspected(self.settings, &said, known_until, now)?;
        // The entry's provider speaks for its own issuer, said or not; upstreams are told.
        if let (Some(issuer), false) = (&self.settings.issuer, said.contains_key("iss")) {
            said.insert("iss".to_owned(), Value::String(issuer.clone()));
        }
        let basis = Basis { settings: self.settings, kid: None, fact: self.fact, key: None };
        let verified =
            Verified::new(basis, self.token, said, checked, &self.issuers.extra_keys, now);
        verified.check_times(now)?;
        Ok(verified)
    }
}

impl std::fmt::Debug for Introspectable<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Introspectable").field("entry", &self.settings.name).finish_non_exhaustive()
    }
}

/// A refresh token or an ID token that the provider calls active is still no access token.
fn check_kind(said: &Map<String, Value>) -> Result<(), VerifyError> {
    if FOREIGN_CLAIMS.iter().any(|name| said.contains_key(*name)) {
        return Err(VerifyError::TokenType);
    }
    for (name, words) in KINDS {
        if let Some(kind) = claims::optional_text(said, name)?
            && !words.iter().any(|word| word.eq_ignore_ascii_case(kind))
        {
            return Err(VerifyError::TokenType);
        }
    }
    Ok(())
}
