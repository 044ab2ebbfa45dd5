//! What a revocation that is asked for means under this configuration: which entry, from which
//! `iat` on, and until when (design: "What an entry means").
//!
//! An entry never ends before the last token that it is about; what could end too early, or could
//! be about another issuer's tokens, is refused, not guessed at.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Snapshot;
use crate::auth::{
    ISSUER_OFF, IssuerFilter, IssuerSettings, Issuers, TokenCheck, Verified, VerifyError,
};
use crate::blocklist::{End, IssuedBefore, Revocation};
use crate::time::UnixTime;
use crate::token::{Kind, Selector, token_digest};

#[cfg(test)]
mod tests;

/// Longest `for`. Longer is a slip of the hand, and too much for a store's clock.
const SPAN_MAX: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// A revocation as it is asked for: the body of `POST /revocations`. Exactly one of the first
/// seven.
#[derive(Clone, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Asked {
    /// Every token of this client (`azp`, `client_id`) that was issued until now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// Every token of this `iss`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// The token with this id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jti: Option<String>,
    /// Every token that the key with this id verified.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kid: Option<String>,
    /// Every token of this session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sid: Option<String>,
    /// Every token of this subject that was issued until now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sub: Option<String>,
    /// This token, by its text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// The `iss` that it is about; needed when there are several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub of_issuer: Option<String>,
    /// How long the entry lives, as a duration in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub r#for: Option<String>,
    /// `sub` and `client`: tokens issued up to this Unix second, instead of until now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issued_before: Option<i64>,
    /// Why, for the record.
    pub reason: String,
}

/// Why nothing can be revoked, in words for the operator.
#[derive(Debug, thiserror::Error)]
pub enum AskedError {
    /// No selector, or several.
    #[error("name exactly one of jti, sub, sid, client, issuer, kid, token")]
    Selectors,
    /// `for` is no duration.
    #[error("for: {0}")]
    Span(#[from] humantime::DurationError),
    /// `for` is beyond every token's life.
    #[error("for: more than 100 years")]
    SpanTooLong,
    /// Several issuers, and none named.
    #[error("there are several issuers: say which with of_issuer")]
    IssuerNeeded,
    /// No issuer of that name.
    #[error("no issuer is called {0:?}")]
    IssuerUnknown(String),
    /// An issuer is its own.
    #[error("issuer names the issuer already: leave of_issuer out")]
    IssuerTwice,
    /// No key verifies tokens that are introspected.
    #[error("the provider of this issuer is asked about its tokens: no key verifies them")]
    Keyless,
    /// The token says itself whose it is and when it ends.
    #[error("the token says itself who issued it and when it ends: leave of_issuer and for out")]
    SaysItself,
    /// Only entries for a subject or a client have a date.
    #[error("issued_before belongs to sub and client alone")]
    Undated,
    /// A date that has not come.
    #[error("issued_before lies in the future; it is in Unix seconds")]
    InFuture,
    /// Nothing would be refused.
    #[error("no token that was issued up to then can be alive still; it is in Unix seconds")]
    LongPast,
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

/// What is common to the tokens of one `iss`, over all entries that share it.
struct Tokens {
    /// Under which entries are written.
    issuer: String,
    /// How long one may be accepted from now on; `None` when nothing bounds it.
    lifetime: Option<Duration>,
    /// How long a login of ours may be renewed; `None` for another's tokens.
    renewable: Option<Duration>,
    leeway: Duration,
    /// Whether keys verify any of them.
    keyed: bool,
}

/// Works out the revocation; `by` is who asks.
///
/// # Errors
///
/// [`AskedError`].
pub fn of(
    asked: &Asked,
    by: &str,
    issuers: &Issuers,
    now: UnixTime,
) -> Result<Revocation, AskedError> {
    let (kind, value) = asked.selector()?;
    let span = asked.span()?;
    if asked.issued_before.is_some() && !kind.is_dated() {
        return Err(AskedError::Undated);
    }
    let of_issuer = asked.of_issuer.as_deref();
    let (selector, end, issued_before) = if kind == Kind::Token {
        let (selector, end) = of_token(value.trim(), of_issuer, span, issuers, now)?;
        (selector, end, None)
    } else {
        let tokens = Tokens::of(issuers.settings(), named_issuer(kind, value, of_issuer)?)?;
        if kind == Kind::Kid && !tokens.keyed {
            return Err(AskedError::Keyless);
        }
        let end = tokens.end(kind, span)?;
        let issued_before = tokens.issued_before(kind, asked.issued_before, now)?;
        let value = if kind == Kind::Issuer { "" } else { value };
        (Selector { kind, issuer: tokens.issuer, value: value.to_owned() }, end, issued_before)
    };
    let (reason, by) = (asked.reason.clone(), by.to_owned());
    Ok(Revocation { selector, end, issued_before, reason, by })
}

/// As [`of`], under everything that a snapshot verifies: a token that is to be revoked by its text
/// may also be one that Postern has issued for somebody else's audience, which no route takes.
///
/// # Errors
///
/// [`AskedError`].
pub fn under(
    policy: &Snapshot,
    asked: &Asked,
    by: &str,
    now: UnixTime,
) -> Result<Revocation, AskedError> {
    of(asked, by, &policy.issuers, now).or_else(|error| match error {
        AskedError::Token(_) => of(asked, by, &policy.clients.issued, now).map_err(|_| error),
        _ => Err(error),
    })
}

impl Asked {
    /// The one selector with its value.
    fn selector(&self) -> Result<(Kind, &str), AskedError> {
        let all = [
            (Kind::Client, &self.client),
            (Kind::Issuer, &self.issuer),
            (Kind::Jti, &self.jti),
            (Kind::Kid, &self.kid),
            (Kind::Sid, &self.sid),
            (Kind::Sub, &self.sub),
            (Kind::Token, &self.token),
        ];
        let mut named = all.into_iter().filter_map(|(kind, value)| Some((kind, value.as_deref()?)));
        match (named.next(), named.next()) {
            (Some(one), None) => Ok(one),
            _ => Err(AskedError::Selectors),
        }
    }

    fn span(&self) -> Result<Option<Duration>, AskedError> {
        let span = self.r#for.as_deref().map(humantime::parse_duration).transpose()?;
        if span.is_some_and(|span| span > SPAN_MAX) {
            Err(AskedError::SpanTooLong)
        } else {
            Ok(span)
        }
    }
}

/// Whose tokens it is about, as far as that was said.
fn named_issuer<'n>(
    kind: Kind,
    value: &'n str,
    of_issuer: Option<&'n str>,
) -> Result<Option<&'n str>, AskedError> {
    match (kind, of_issuer) {
        (Kind::Issuer, Some(_)) => Err(AskedError::IssuerTwice),
        (Kind::Issuer, None) => Ok(Some(value)),
        (_, of_issuer) => Ok(of_issuer),
    }
}

/// By its `jti` when it has one, else by its digest; the signature must be good, so that nobody can
/// fill the blocklist with made-up entries. A token that only its provider can judge is revoked
/// whatever that would say: it may be down, and what it calls inactive is refused anyway.
fn of_token(
    token: &str,
    issuer: Option<&str>,
    span: Option<Duration>,
    issuers: &Issuers,
    now: UnixTime,
) -> Result<(Selector, End), AskedError> {
    let digest =
        || Selector { kind: Kind::Token, issuer: String::new(), value: token_digest(token) };
    let introspecting = issuers.introspecting(token, &IssuerFilter::All);
    if !introspecting.is_empty() {
        let tokens = Tokens::of(introspecting.into_iter(), issuer)?;
        return Ok((digest(), tokens.end(Kind::Token, span)?));
    }
    if issuer.is_some() || span.is_some() {
        return Err(AskedError::SaysItself);
    }
    let verified = verified(token, issuers, now).map_err(AskedError::Token)?;
    let issuer = verified.issuer.clone().into_string();
    // Another entry of the same issuer may take it for longer after its `exp`.
    let leeway = Tokens::of(issuers.settings(), Some(&issuer))?.leeway;
    let end = End::At(verified.expires_at.plus(leeway));
    let selector = match &verified.jti {
        Some(jti) => Selector { kind: Kind::Jti, issuer, value: jti.clone().into_string() },
        None => digest(),
    };
    Ok((selector, end))
}

/// The token as any entry takes it; a route may accept one that the first entry refuses.
fn verified(token: &str, issuers: &Issuers, now: UnixTime) -> Result<Verified, VerifyError> {
    let by = |allowed: &IssuerFilter| {
        issuers.prepare(token, allowed, now).and_then(|candidate| candidate.verify(now))
    };
    by(&IssuerFilter::All).or_else(|refusal| {
        let names = issuers.settings().map(|entry| entry.name.as_str());
        let mut entries = names.map(|name| IssuerFilter::Only(vec![name.into()]));
        entries.find_map(|entry| by(&entry).ok()).ok_or(refusal)
    })
}

impl Tokens {
    /// Of the entries with this `iss`, or of all when they share one: the longest life and the
    /// largest leeway hold.
    fn of<'i>(
        entries: impl Iterator<Item = &'i IssuerSettings>,
        named: Option<&str>,
    ) -> Result<Self, AskedError> {
        let iss = |entry: &'i IssuerSettings| entry.issuer.as_deref().unwrap_or(ISSUER_OFF);
        let mut entries = entries.filter(|entry| named.is_none_or(|named| iss(entry) == named));
        let Some(first) = entries.next() else {
            return Err(AskedError::IssuerUnknown(named.unwrap_or_default().to_owned()));
        };
        let is_keyed = |entry: &IssuerSettings| entry.check != TokenCheck::Introspection;
        let mut tokens = Self {
            issuer: iss(first).to_owned(),
            lifetime: first.lives_at_most(),
            renewable: first.renewable,
            leeway: first.leeway,
            keyed: is_keyed(first),
        };
        for entry in entries {
            if iss(entry) != tokens.issuer {
                return Err(AskedError::IssuerNeeded);
            }
            tokens.lifetime = tokens.lifetime.zip(entry.lives_at_most()).map(|(a, b)| a.max(b));
            tokens.leeway = tokens.leeway.max(entry.leeway);
            tokens.renewable = tokens.renewable.max(entry.renewable);
            tokens.keyed |= is_keyed(entry);
        }
        Ok(tokens)
    }

    /// When an entry may be forgotten: not before the longest-lived token that it could be about.
    fn end(&self, kind: Kind, span: Option<Duration>) -> Result<End, AskedError> {
        match (span, self.lifetime(kind)) {
            (Some(span), Some(least)) if span < least => Err(AskedError::SpanTooShort(least)),
            (Some(span), _) => Ok(End::For(span)),
            // What a stolen key signs, it signs for ever.
            (None, _) if matches!(kind, Kind::Issuer | Kind::Kid) => Ok(End::Never),
            (None, Some(least)) => Ok(End::For(least)),
            (None, None) => Err(AskedError::SpanNeeded),
        }
    }

    /// For how long something that this kind of entry is about may be accepted. A refresh token of
    /// ours is renewed by its login, whose subject, client and session the entry speaks about.
    fn lifetime(&self, kind: Kind) -> Option<Duration> {
        let is_of_logins = matches!(kind, Kind::Client | Kind::Sid | Kind::Sub);
        match self.renewable {
            Some(renewable) if is_of_logins => {
                self.lifetime.map(|life| life.saturating_add(renewable))
            }
            Some(_) | None => self.lifetime,
        }
    }

    /// Up to which `iat` tokens are refused. Another issuer's clock may be ahead by the leeway;
    /// ours is the store's, and a new login must work at once.
    fn issued_before(
        &self,
        kind: Kind,
        asked: Option<i64>,
        now: UnixTime,
    ) -> Result<Option<IssuedBefore>, AskedError> {
        let Some(asked) = asked.map(UnixTime) else {
            let leeway = if self.renewable.is_some() { Duration::ZERO } else { self.leeway };
            return Ok(kind.is_dated().then_some(IssuedBefore::Now { leeway }));
        };
        if asked > now.plus(self.leeway) {
            return Err(AskedError::InFuture);
        }
        let is_over = |lifetime: Duration| asked.plus(lifetime) <= now;
        if asked < UnixTime(0) || self.lifetime(kind).is_some_and(is_over) {
            return Err(AskedError::LongPast);
        }
        Ok(Some(IssuedBefore::At(asked)))
    }
}
