//! What is known of a verified token: facts, which the cache may keep, and never decisions
//! (invariant 1).

use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use serde_json::{Map, Value};

use super::claims::Checked;
use super::extra_key::Values;
use super::issuers::Fact;
use super::{ExtraKey, IssuerSettings, TokenCheck, VerifyError};
use crate::time::UnixTime;
use crate::token::{KeyDigest, Kind, Lookup, Selector, token_digest};

/// A token whose signature and claims are good. Whether it counts *now* is asked on every request:
/// [`Verified::check_times`], the route's issuers, the blocklist, the route's rule.
///
/// Only [`super::Candidate::verify`] and [`super::Introspectable::accept`] make one.
pub struct Verified {
    /// Tells this verification from every other of this process, of the same token too.
    pub id: u64,
    /// Name of the issuer entry that verified it.
    pub entry: Box<str>,
    /// The `iss` string, or `-` when the entry's issuer is "off".
    pub issuer: Box<str>,
    /// The verifying key's id, whatever the token's header said.
    pub kid: Option<Box<str>>,
    /// Who.
    pub subject: Option<Box<str>>,
    /// Roles, as mapped.
    pub roles: Vec<Box<str>>,
    /// Scopes, as mapped.
    pub scopes: Vec<Box<str>>,
    /// Permissions, as mapped.
    pub permissions: Vec<Box<str>>,
    /// The clients that it was issued for.
    pub clients: Vec<Box<str>>,
    /// The session.
    pub session: Option<Box<str>>,
    /// The token's own id.
    pub jti: Option<Box<str>>,
    /// `iat`.
    pub issued_at: Option<UnixTime>,
    /// `nbf`.
    pub not_before: Option<UnixTime>,
    /// `exp`, exclusive: the token is dead *at* this second (RFC 7519 §4.1.4), leeway aside. For an
    /// introspected token without `exp`: until when the answer counts as known.
    pub expires_at: UnixTime,
    /// Every claim, as signed, or as the provider said it.
    pub claims: Map<String, Value>,
    /// Under which keys it may be revoked.
    pub lookup: Lookup,
    /// What the upstream is told of the caller, worked out at the first request that was allowed.
    pub told: OnceLock<Told>,
    fact: Fact,
    /// The verifying key's fingerprint; `None` where the provider was asked.
    key: Option<Fact>,
    introspected: bool,
    leeway: Duration,
    max_age: Option<Duration>,
    verified_at: UnixTime,
}

/// What a verification rests on.
#[derive(Clone, Copy)]
pub(super) struct Basis<'i> {
    pub(super) settings: &'i IssuerSettings,
    /// Of the key; none where the provider was asked.
    pub(super) kid: Option<&'i str>,
    pub(super) fact: Fact,
    /// The key's fingerprint; none where the provider was asked.
    pub(super) key: Option<Fact>,
}

/// Header values made from the claims by one table of identity headers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// Which table; another one makes its values anew.
    pub table: u64,
    /// Every header of the table; `None` for a claim that the token does not make.
    pub fields: Box<[(HeaderName, Option<HeaderValue>)]>,
}

/// How an issuer entry without `iss` is called in the blocklist.
pub const ISSUER_OFF: &str = "-";

impl Verified {
    pub(super) fn new(
        basis: Basis<'_>,
        token: &str,
        claims: Map<String, Value>,
        checked: Checked,
        extra_keys: &[ExtraKey],
        now: UnixTime,
    ) -> Self {
        let Basis { settings, kid, fact, key } = basis;
        let issuer: Box<str> = settings.issuer.as_deref().unwrap_or(ISSUER_OFF).into();
        let lookup = lookup(settings, &issuer, kid, token, &checked, extra_keys);
        static VERIFICATIONS: AtomicU64 = AtomicU64::new(0);
        Self {
            id: VERIFICATIONS.fetch_add(1, Ordering::Relaxed),
            entry: settings.name.as_str().into(),
            issuer,
            kid: kid.map(Into::into),
            subject: checked.subject,
            roles: checked.roles,
            scopes: checked.scopes,
            permissions: checked.permissions,
            clients: checked.clients,
            session: checked.session,
            jti: checked.jti,
            issued_at: checked.issued_at,
            not_before: checked.not_before,
            expires_at: checked.expires_at,
            claims,
            lookup,
            told: OnceLock::new(),
            fact,
            key,
            introspected: settings.check == TokenCheck::Introspection,
            leeway: settings.leeway,
            max_age: settings.max_age,
            verified_at: now,
        }
    }

    /// Whether the token is valid at `now`, with the entry's leeway. Called on every request: a
    /// cached token must not outlive its `exp`.
    ///
    /// # Errors
    ///
    /// [`VerifyError::Expired`], [`VerifyError::NotYetValid`], [`VerifyError::IssuedInFuture`],
    /// [`VerifyError::TooOld`] (R11).
    pub fn check_times(&self, now: UnixTime) -> Result<(), VerifyError> {
        if now >= self.lookup.until {
            return Err(VerifyError::Expired);
        }
        let horizon = now.plus(self.leeway);
        if self.not_before.is_some_and(|not_before| not_before > horizon) {
            return Err(VerifyError::NotYetValid);
        }
        if let Some(issued_at) = self.issued_at {
            if issued_at > horizon {
                return Err(VerifyError::IssuedInFuture);
            }
            let oldest = |max_age| now > issued_at.plus(max_age).plus(self.leeway);
            if self.max_age.is_some_and(oldest) {
                return Err(VerifyError::TooOld);
            }
        }
        Ok(())
    }

    /// Whether the provider was asked about it: its claims are the provider's answer, and there is
    /// nothing to read in the token itself.
    #[must_use]
    pub const fn is_introspected(&self) -> bool {
        self.introspected
    }

    /// `exp`, where the token or its provider names one.
    #[must_use]
    pub fn token_expires_at(&self) -> Option<UnixTime> {
        self.claims.contains_key("exp").then_some(self.expires_at)
    }

    /// The fingerprint of the verifying key; `None` where the provider was asked.
    pub(super) const fn key(&self) -> Option<&Fact> {
        self.key.as_ref()
    }

    /// What this verification rests on: entry settings, key and key id.
    pub(super) const fn fact(&self) -> &Fact {
        &self.fact
    }

    /// How long the cache may keep it; [`Self::check_times`] decides all the same.
    pub(super) fn lives_for(&self) -> Duration {
        self.lookup.until.since(self.verified_at)
    }

    /// Roughly the bytes that it takes in memory, for whoever keeps it.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let texts = |texts: &[Box<str>]| texts.iter().map(|text| text.len() + 16).sum::<usize>();
        let named = [&self.kid, &self.subject, &self.session, &self.jti];
        let lists = [&self.roles, &self.scopes, &self.permissions, &self.clients];
        let keys = [&self.lookup.undated, &self.lookup.dated, &self.lookup.extra];
        size_of::<Self>()
            + self.entry.len()
            + self.issuer.len()
            + named.iter().filter_map(|text| text.as_deref()).map(str::len).sum::<usize>()
            + lists.into_iter().chain(keys).map(|list| texts(list)).sum::<usize>()
            + keys.iter().map(|list| size_of::<KeyDigest>() * list.len()).sum::<usize>()
            + self.claims.iter().map(|(name, value)| member_bytes(name, value)).sum::<usize>()
    }
}

impl fmt::Debug for Verified {
    /// Without claim values (invariant 7); a jti may be shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verified")
            .field("entry", &self.entry)
            .field("kid", &self.kid)
            .field("jti", &self.jti)
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}

/// Everything under which this token may be revoked (design: the blocklist).
fn lookup(
    settings: &IssuerSettings,
    issuer: &str,
    kid: Option<&str>,
    token: &str,
    checked: &Checked,
    extra_keys: &[ExtraKey],
) -> Lookup {
    let suffix = |kind: Kind, value: &str| -> Box<str> {
        Selector { kind, issuer: issuer.to_owned(), value: value.to_owned() }.suffix().into()
    };
    let (jti, sub, sid) =
        (checked.jti.as_deref(), checked.subject.as_deref(), checked.session.as_deref());
    let mut undated = vec![suffix(Kind::Issuer, ""), suffix(Kind::Token, &token_digest(token))];
    let named = [(Kind::Jti, jti), (Kind::Sid, sid), (Kind::Kid, kid)];
    undated.extend(named.iter().filter_map(|(kind, value)| Some(suffix(*kind, (*value)?))));
    let mut dated: Vec<Box<str>> = sub.map(|sub| suffix(Kind::Sub, sub)).into_iter().collect();
    dated.extend(checked.clients.iter().map(|client| suffix(Kind::Client, client)));
    let mut extra = Vec::new();
    for template in extra_keys {
        template.fill(&Values { token, jti, sub, sid }, &mut extra);
    }
    let until = checked.expires_at.plus(settings.leeway);
    Lookup::new(undated, dated, extra, checked.issued_at, until)
}

/// A member of a JSON object: its place in the tree, its name, what its value holds.
fn member_bytes(name: &str, value: &Value) -> usize {
    size_of::<String>() + size_of::<Value>() + 16 + name.len() + heap_bytes(value)
}

/// Depth is bounded by the parser.
fn heap_bytes(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
        Value::String(text) => text.len() + 16,
        Value::Array(elements) => {
            elements.iter().map(|element| size_of::<Value>() + heap_bytes(element)).sum()
        }
        Value::Object(members) => {
            members.iter().map(|(name, value)| member_bytes(name, value)).sum()
        }
    }
}
