//! What a revocation by `jti` or by token stands for under this configuration: which entry, and
//! until when.

use std::time::Duration;

use crate::auth::{ISSUER_OFF, IssuerFilter, IssuerSettings, Issuers, VerifyError};
use crate::time::UnixTime;
use crate::token::{Kind, Selector, token_digest};

/// How the operator names a token.
#[derive(Debug)]
pub enum Named<'n> {
    /// By its id.
    Jti {
        /// The id.
        jti: &'n str,
        /// The `iss`, needed when there are several issuers.
        issuer: Option<&'n str>,
        /// How long the entry lives; default as long as such a token may.
        span: Option<Duration>,
    },
    /// By itself.
    Token {
        /// The text.
        token: &'n str,
        /// The `iss`, needed when only their providers can say whose token it is, and there are
        /// several of these; not for a token that says so itself.
        issuer: Option<&'n str>,
        /// How long the entry lives, when only its provider can say how long the token does.
        span: Option<Duration>,
    },
}

/// The entry to write.
#[derive(Debug)]
pub struct Found {
    /// What it selects.
    pub selector: Selector,
    /// When it may be forgotten.
    pub until: UnixTime,
}

/// Why nothing can be revoked.
#[derive(Debug, thiserror::Error)]
pub enum NamedError {
    /// Several issuers, and none named.
    #[error("there are several issuers: say which with of_issuer")]
    IssuerNeeded,
    /// No issuer of that name.
    #[error("no issuer is called {0:?}")]
    IssuerUnknown(String),
    /// The token says itself whose it is and when it ends.
    #[error("the token says itself who issued it and when it ends: leave of_issuer and for out")]
    SaysItself,
    /// Tokens may live for ever, and no end was given.
    #[error(
        "tokens of this issuer have no certain end (max_lifetime = \"off\", or introspected \
         without \"exp\" in required_claims): say how long the entry must live with for"
    )]
    SpanNeeded,
    /// The entry would end before the token.
    #[error(
        "a token of this issuer may live for {}; the entry must not end before",
        humantime::format_duration(*.0)
    )]
    SpanTooShort(Duration),
    /// The token is not one that would be accepted.
    #[error("the token would be refused anyway: {0}")]
    Token(#[source] VerifyError),
}

/// Works out the entry.
///
/// # Errors
///
/// [`NamedError`], in words for the operator.
pub fn of(named: &Named<'_>, issuers: &Issuers, now: UnixTime) -> Result<Found, NamedError> {
    match named {
        Named::Token { token, issuer, span } => {
            of_token(token.trim(), (*issuer, *span), issuers, now)
        }
        Named::Jti { jti, issuer, span } => {
            let (issuer, lifetime) = chosen(issuers.settings(), *issuer)?;
            let until = end(*span, lifetime, now)?;
            let selector = Selector { kind: Kind::Jti, issuer, value: (*jti).to_owned() };
            Ok(Found { selector, until })
        }
    }
}

/// By its `jti` when it has one, else by its digest; the signature must be good, so that nobody can
/// fill the blocklist with made-up entries. A token that only its provider can judge is revoked
/// whatever that would say: it may be down, and what it calls inactive is refused anyway.
fn of_token(
    token: &str,
    (issuer, span): (Option<&str>, Option<Duration>),
    issuers: &Issuers,
    now: UnixTime,
) -> Result<Found, NamedError> {
    let digest =
        || Selector { kind: Kind::Token, issuer: String::new(), value: token_digest(token) };
    let introspecting = issuers.introspecting(token, &IssuerFilter::All);
    if !introspecting.is_empty() {
        let (_, lifetime) = chosen(introspecting.into_iter(), issuer)?;
        return Ok(Found { selector: digest(), until: end(span, lifetime, now)? });
    }
    if issuer.is_some() || span.is_some() {
        return Err(NamedError::SaysItself);
    }
    let verified = issuers
        .prepare(token, &IssuerFilter::All, now)
        .and_then(|candidate| candidate.verify(now))
        .map_err(NamedError::Token)?;
    let issuer = verified.issuer.clone().into_string();
    let selector = match &verified.jti {
        Some(jti) => Selector { kind: Kind::Jti, issuer, value: jti.clone().into_string() },
        None => digest(),
    };
    Ok(Found { selector, until: verified.lookup.until })
}

/// When an entry may be forgotten: not before the longest-lived token that it could be about.
fn end(
    span: Option<Duration>,
    lifetime: Option<Duration>,
    now: UnixTime,
) -> Result<UnixTime, NamedError> {
    match (span, lifetime) {
        (Some(span), Some(least)) if span < least => Err(NamedError::SpanTooShort(least)),
        (Some(span), _) => Ok(now.plus(span)),
        (None, Some(span)) => Ok(now.plus(span)),
        (None, None) => Err(NamedError::SpanNeeded),
    }
}

/// The `iss` under which entries are written, and how long a token of it may live at most, leeway
/// included. Entries that share an `iss` count together: the longest life holds.
fn chosen<'i>(
    entries: impl Iterator<Item = &'i IssuerSettings>,
    named: Option<&str>,
) -> Result<(String, Option<Duration>), NamedError> {
    let iss = |entry: &IssuerSettings| entry.issuer.clone().unwrap_or_else(|| ISSUER_OFF.into());
    let matches = |entry: &&IssuerSettings| named.is_none_or(|named| iss(entry) == named);
    let mut entries = entries.filter(matches);
    let Some(first) = entries.next() else {
        return Err(NamedError::IssuerUnknown(named.unwrap_or_default().to_owned()));
    };
    let issuer = iss(first);
    let mut lifetime = first.lives_at_most();
    for entry in entries {
        if iss(entry) != issuer {
            return Err(NamedError::IssuerNeeded);
        }
        lifetime = lifetime.zip(entry.lives_at_most()).map(|(a, b)| a.max(b));
    }
    Ok((issuer, lifetime))
}
