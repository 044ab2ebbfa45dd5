//! Logout tokens: a provider says that a session has ended (OpenID Connect Back-Channel Logout
//! 1.0). Read as strictly as access tokens, with the same keys and in the same two steps: what is
//! cheap ([`Issuers::prepare_logout`]), and what needs cryptography ([`LogoutCandidate::verify`]).
//!
//! It must never take for a logout token what was made for something else: an access token or an
//! ID token in the wrong place would end a session that nobody asked to end (§4.1, RFC 8725 §2.8).
//! Whether a token was executed before is the store's knowledge, not a matter of the token.

use std::fmt;
use std::time::Duration;

use serde_json::{Map, Value};
use thiserror::Error;

use super::issuers::Try;
use super::verify::{Parts, decode};
use super::{IssuerFilter, Issuers, VerifyError, Wanted, claims, header, json};
use crate::time::UnixTime;
use crate::token::{ClaimPath, Kind, Lookup, Selector};

/// Oldest `iat` that is taken, leeway aside. §2.4 has tokens expire within "at most two minutes";
/// one that says otherwise is not taken for longer.
const AGE_MAX: Duration = Duration::from_secs(120);

/// The member of `events` that makes a logout token (§2.4).
const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";

/// A logout token that passed every cheap check. Nothing in it is to be trusted: its signature has
/// not been looked at.
pub struct LogoutCandidate<'t> {
    issuers: &'t Issuers,
    message: &'t str,
    signature: &'t str,
    claims: Map<String, Value>,
    tries: Vec<Try<'t>>,
}

/// What a provider wants to end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogoutToken {
    /// Name of the issuer entry that verified it.
    pub entry: Box<str>,
    /// The `iss` string.
    pub issuer: Box<str>,
    /// Whose tokens.
    pub whom: Whom,
    /// The token's own id; executed once.
    pub jti: Box<str>,
    /// When it is too old everywhere: so long must it be known that it was executed.
    pub until: UnixTime,
    /// Under which keys it is itself revoked: issuer, key and `jti`.
    pub lookup: Lookup,
}

/// Whose tokens are to be refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whom {
    /// Those of this session (`sid`), alone, whoever its user is (§2.4).
    Session(Box<str>),
    /// All that this user (`sub`) has got until now.
    Subject(Box<str>),
}

/// Why a logout token is refused. The sender never learns which; the log line does.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LogoutTokenError {
    /// `events` is absent, no object, or without the logout's member as an object (§2.4).
    #[error("events does not say that this is a logout")]
    Event,
    /// Neither `sid` nor `sub` (§2.4).
    #[error("neither sid nor sub")]
    Nobody,
    /// `nonce` is prohibited: with it an ID token would pass (§2.4).
    #[error("it has a nonce")]
    Nonce,
    /// Only `sub`, but an entry of this issuer takes its tokens' subject from another claim, so
    /// that nothing would be refused.
    #[error("only sub, and the issuer's access tokens name their subject in another claim")]
    Subject,
    /// As with any other token.
    #[error(transparent)]
    Token(VerifyError),
    /// `typ` is not `logout+jwt` (§2.4, RFC 8725 §3.11).
    #[error("typ is not logout+jwt")]
    Type,
}

impl LogoutTokenError {
    /// A stable word for logs and metrics; from this fixed list only.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Event => "logout_event",
            Self::Nobody => "logout_nobody",
            Self::Nonce => "logout_nonce",
            Self::Subject => "logout_subject",
            Self::Token(error) => error.reason(),
            Self::Type => "token_type",
        }
    }

    /// Whether `[auth_failures]` counts it: everything but what a slow or badly set clock does to
    /// an honest provider's token. Nobody else has any business here.
    #[must_use]
    pub const fn counts_as_failure(&self) -> bool {
        !matches!(
            self,
            Self::Token(
                VerifyError::Expired
                    | VerifyError::IssuedInFuture
                    | VerifyError::NotYetValid
                    | VerifyError::TooOld
            )
        )
    }
}

impl From<VerifyError> for LogoutTokenError {
    fn from(error: VerifyError) -> Self {
        if error == VerifyError::TokenType { Self::Type } else { Self::Token(error) }
    }
}

impl Issuers {
    /// Whether any provider may end sessions here.
    #[must_use]
    pub fn take_logouts(&self) -> bool {
        self.settings().any(|entry| entry.backchannel_logout.is_some())
    }

    /// Form, `typ`, event, issuer, key and times, in this order and without any cryptography.
    ///
    /// # Errors
    ///
    /// [`LogoutTokenError`].
    pub fn prepare_logout<'t>(
        &'t self,
        token: &'t str,
        now: UnixTime,
    ) -> Result<LogoutCandidate<'t>, LogoutTokenError> {
        let Parts { message, header, payload, signature } = Parts::of(token)?;
        let header = header::read_logout_token(&decode(header)?)?;
        let claims = json::object(&decode(payload)?).ok_or(VerifyError::Malformed)?;
        decode(signature)?;
        check_event(&claims)?;
        let issuer = claims::optional_text(&claims, "iss")?;
        let issuer = issuer.ok_or_else(|| VerifyError::MissingClaim("iss".into()))?;
        let tries = self.tries(Some(issuer), &header, &self.of_logouts())?;
        let leeway = tries.iter().map(|try_| try_.settings.leeway).max().unwrap_or_default();
        Times::of(&claims)?.check(leeway, now)?;
        Ok(LogoutCandidate { issuers: self, message, signature, claims, tries })
    }

    /// As [`Issuers::wanted`], for a logout token.
    #[must_use]
    pub fn wanted_for_logout(&self, token: &str, refusal: &LogoutTokenError) -> Option<Wanted> {
        let LogoutTokenError::Token(refusal) = refusal else { return None };
        self.wanted_by(header::read_logout_token, token, &self.of_logouts(), refusal)
    }

    /// The entries whose providers may end sessions here.
    fn of_logouts(&self) -> IssuerFilter {
        let entries = self.settings().filter(|entry| entry.backchannel_logout.is_some());
        IssuerFilter::Only(entries.map(|entry| entry.name.as_str().into()).collect())
    }

    /// Whether every entry of this issuer finds a token's subject where a logout token has it.
    fn name_subjects_by_sub(&self, issuer: &str) -> bool {
        let mut entries = self.settings().filter(|entry| entry.issuer.as_deref() == Some(issuer));
        entries.all(|entry| entry.claims.subject == ClaimPath::Name("sub".to_owned()))
    }
}

impl LogoutCandidate<'_> {
    /// The signature, with the algorithm of each possible key and no other, then the claims, then
    /// the times. Where entries share a key, the first for whose client the token is counts.
    ///
    /// # Errors
    ///
    /// [`VerifyError::Signature`] when no key made it; else what is wrong with the claims.
    pub fn verify(self, now: UnixTime) -> Result<LogoutToken, LogoutTokenError> {
        let made_it = |try_: &&Try<'_>| try_.key.verifies(self.message, self.signature);
        let mut refusal = None;
        for made in self.tries.iter().filter(made_it) {
            match self.accept(made, now) {
                Ok(token) => return Ok(token),
                Err(error) => drop(refusal.get_or_insert(error)),
            }
        }
        Err(refusal.unwrap_or(LogoutTokenError::Token(VerifyError::Signature)))
    }

    fn accept(&self, made: &Try<'_>, now: UnixTime) -> Result<LogoutToken, LogoutTokenError> {
        let (settings, claims) = (made.settings, &self.claims);
        let client = settings.backchannel_logout.as_deref();
        claims::has_audience(claims, |audience| client == Some(audience))?;
        let times = Times::of(claims)?;
        times.check(settings.leeway, now)?;
        let jti = claims::naming(claims.get("jti"), "jti")?.filter(|jti| !jti.is_empty());
        let jti = jti.ok_or_else(|| VerifyError::MissingClaim("jti".into()))?;
        let issuer: Box<str> = settings.issuer.as_deref().unwrap_or_default().into();
        let whom = self.whom(&issuer)?;
        let until = times.until(settings.leeway);
        let lookup = lookup(&issuer, made.key.kid(), &jti, &times, until);
        Ok(LogoutToken { entry: settings.name.as_str().into(), issuer, whom, jti, until, lookup })
    }

    /// The session where one is named, else the user.
    fn whom(&self, issuer: &str) -> Result<Whom, LogoutTokenError> {
        let named = |claim: &'static str| -> Result<Option<Box<str>>, VerifyError> {
            let text = claims::naming(self.claims.get(claim), claim)?;
            match text {
                Some(text) if text.is_empty() => Err(VerifyError::ClaimType(claim)),
                text => Ok(text),
            }
        };
        match (named("sid")?, named("sub")?) {
            (Some(sid), _) => Ok(Whom::Session(sid)),
            (None, Some(sub)) if self.issuers.name_subjects_by_sub(issuer) => {
                Ok(Whom::Subject(sub))
            }
            (None, Some(_)) => Err(LogoutTokenError::Subject),
            (None, None) => Err(LogoutTokenError::Nobody),
        }
    }
}

impl fmt::Debug for LogoutCandidate<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogoutCandidate").field("tries", &self.tries.len()).finish_non_exhaustive()
    }
}

/// What separates it from an ID token and from other security events (§2.4).
fn check_event(claims: &Map<String, Value>) -> Result<(), LogoutTokenError> {
    if claims.contains_key("nonce") {
        return Err(LogoutTokenError::Nonce);
    }
    let event = claims.get("events").and_then(Value::as_object).and_then(|all| all.get(EVENT));
    event.and_then(Value::as_object).map(drop).ok_or(LogoutTokenError::Event)
}

struct Times {
    issued_at: UnixTime,
    expires_at: UnixTime,
    not_before: Option<UnixTime>,
}

impl Times {
    /// `iat` and `exp` are required (§2.4), `nbf` is any token's (RFC 7519 §4.1.5).
    fn of(claims: &Map<String, Value>) -> Result<Self, VerifyError> {
        let issued_at = claims::optional_seconds(claims, "iat")?;
        Ok(Self {
            issued_at: issued_at.ok_or_else(|| VerifyError::MissingClaim("iat".into()))?,
            expires_at: claims::expiry(claims)?,
            not_before: claims::optional_seconds(claims, "nbf")?,
        })
    }

    fn check(&self, leeway: Duration, now: UnixTime) -> Result<(), VerifyError> {
        let horizon = now.plus(leeway);
        if now >= self.expires_at.plus(leeway) {
            Err(VerifyError::Expired)
        } else if self.expires_at < self.issued_at {
            Err(VerifyError::Lifetime)
        } else if self.issued_at > horizon {
            Err(VerifyError::IssuedInFuture)
        } else if self.not_before.is_some_and(|not_before| not_before > horizon) {
            Err(VerifyError::NotYetValid)
        } else if now > self.issued_at.plus(AGE_MAX).plus(leeway) {
            Err(VerifyError::TooOld)
        } else {
            Ok(())
        }
    }

    /// The last second at which it is taken, or later.
    fn until(&self, leeway: Duration) -> UnixTime {
        self.expires_at.min(self.issued_at.plus(AGE_MAX)).plus(leeway)
    }
}

/// A stolen key ends no sessions once it is revoked.
fn lookup(issuer: &str, kid: Option<&str>, jti: &str, times: &Times, until: UnixTime) -> Lookup {
    let named = [(Kind::Issuer, Some("")), (Kind::Kid, kid), (Kind::Jti, Some(jti))];
    let suffix = |(kind, value): (Kind, Option<&str>)| -> Option<Box<str>> {
        let value = value?.to_owned();
        Some(Selector { kind, issuer: issuer.to_owned(), value }.suffix().into())
    };
    let undated = named.into_iter().filter_map(suffix).collect();
    Lookup::new(undated, Vec::new(), Vec::new(), Some(times.issued_at), until)
}
