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
    Token(&'n str),
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
    /// Tokens may live for ever, and no end was given.
    #[error("the issuer has max_lifetime = \"off\": say how long the entry must live with for")]
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
        Named::Token(token) => of_token(token.trim(), issuers, now),
        Named::Jti { jti, issuer, span } => {
            let (issuer, lifetime) = chosen(issuers, *issuer)?;
            let until = match (span, lifetime) {
                (Some(span), Some(least)) if *span < least => {
                    return Err(NamedError::SpanTooShort(least));
                }
                (Some(span), _) => now.plus(*span),
                (None, Some(span)) => now.plus(span),
                (None, None) => return Err(NamedError::SpanNeeded),
            };
            let selector = Selector { kind: Kind::Jti, issuer, value: (*jti).to_owned() };
            Ok(Found { selector, until })
        }
    }
}

/// By its `jti` when it has one, else by its digest; the signature must be good, so that nobody can
/// fill the blocklist with made-up entries.
fn of_token(token: &str, issuers: &Issuers, now: UnixTime) -> Result<Found, NamedError> {
    let verified = issuers
        .prepare(token, &IssuerFilter::All, now)
        .and_then(|candidate| candidate.verify(now))
        .map_err(NamedError::Token)?;
    let issuer = verified.issuer.clone().into_string();
    let selector = match &verified.jti {
        Some(jti) => Selector { kind: Kind::Jti, issuer, value: jti.clone().into_string() },
        None => Selector { kind: Kind::Token, issuer: String::new(), value: token_digest(token) },
    };
    Ok(Found { selector, until: verified.lookup.until })
}

/// The `iss` under which entries are written, and how long a token of it may live at most, leeway
/// included. Entries that share an `iss` count together: the longest life holds.
fn chosen(
    issuers: &Issuers,
    named: Option<&str>,
) -> Result<(String, Option<Duration>), NamedError> {
    let iss = |entry: &IssuerSettings| entry.issuer.clone().unwrap_or_else(|| ISSUER_OFF.into());
    let matches = |entry: &&IssuerSettings| named.is_none_or(|named| iss(entry) == named);
    let mut entries = issuers.settings().filter(matches);
    let Some(first) = entries.next() else {
        return Err(NamedError::IssuerUnknown(named.unwrap_or_default().to_owned()));
    };
    let issuer = iss(first);
    let mut lifetime = first.max_lifetime.map(|life| life + first.leeway);
    for entry in entries {
        if iss(entry) != issuer {
            return Err(NamedError::IssuerNeeded);
        }
        lifetime = lifetime.zip(entry.max_lifetime).map(|(a, b)| a.max(b + entry.leeway));
    }
    Ok((issuer, lifetime))
}
