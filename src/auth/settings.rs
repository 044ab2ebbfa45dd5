//! What one issuer entry demands of its tokens, compiled.

use std::time::Duration;

use super::{Algorithm, ExtraKey, VerificationKey};
use crate::token::ClaimPath;

/// One `[[issuers]]` entry, ready to use. Policy builds it from configuration and key files.
#[derive(Debug)]
pub struct IssuerSettings {
    /// The entry's name; routes refer to it.
    pub name: String,
    /// The exact `iss`. `None` ("off") serves only tokens without `iss`.
    pub issuer: Option<String>,
    /// Any of these must be in `aud`. `None` ("off") serves only tokens without `aud`: a token
    /// made for somebody is never taken by somebody else (RFC 7519 §4.1.3).
    pub audiences: Option<Vec<String>>,
    /// The algorithms that this issuer may use; HMAC and public-key ones never together.
    pub algorithms: Vec<Algorithm>,
    /// Clock skew allowed at both ends; at most 60 s (R11).
    pub leeway: Duration,
    /// Longest `exp - iat`; `None` = "off". When set, `iat` is required.
    pub max_lifetime: Option<Duration>,
    /// Longest `now - iat`; `None` = "off". When set, `iat` is required.
    pub max_age: Option<Duration>,
    /// Top-level claims that must be there and not null, besides `exp` and what the rest implies.
    pub required_claims: Vec<String>,
    /// Where the claims with a meaning are found.
    pub claims: ClaimMapping,
    /// How tokens of this entry are checked.
    pub check: TokenCheck,
    /// Which `typ` is taken.
    pub token_type: TokenType,
    /// For the tokens that Postern issues itself: how long a login may be renewed. `None` for
    /// every other issuer, of whose logins nothing is known.
    pub renewable: Option<Duration>,
    /// The gateway's client at the provider, where that may end sessions here (OpenID Connect
    /// Back-Channel Logout 1.0).
    pub backchannel_logout: Option<String>,
    /// Current and previous keys, as far as they are configured; what a provider publishes is
    /// added by [`super::Issuers::with_fetched`].
    pub keys: Vec<VerificationKey>,
}

/// How the tokens of an entry are checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TokenCheck {
    /// By the provider itself, asked by name of the token (RFC 7662).
    Introspection,
    /// By a signature (RFC 7515), with keys that are configured.
    #[default]
    Signature,
    /// By a signature, with keys that the provider publishes: none at first.
    SignatureFetched,
}

/// Which access tokens an entry takes, by their `typ`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TokenType {
    /// `at+jwt` alone, with every claim that RFC 9068 §2.2 requires.
    AtJwt,
    /// `at+jwt`, `JWT` or none (R13).
    #[default]
    Any,
}

/// Which claims carry the subject, roles and so on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ClaimMapping {
    /// Who: a string, or an integer that becomes text.
    pub subject: ClaimPath,
    /// A string (one role) or an array of strings.
    pub roles: ClaimPath,
    /// A string, split on spaces (RFC 8693 §4.2), or an array of strings.
    pub scopes: ClaimPath,
    /// A string (one permission) or an array of strings.
    pub permissions: ClaimPath,
    /// The client, for which a token was issued; every one of these paths counts.
    pub client: Vec<ClaimPath>,
    /// The session (OpenID Connect Front-Channel Logout `sid`).
    pub session: ClaimPath,
}

impl IssuerSettings {
    /// Contract defaults for everything but what has none.
    #[must_use]
    pub fn new(name: impl Into<String>, algorithms: Vec<Algorithm>) -> Self {
        Self {
            name: name.into(),
            issuer: None,
            audiences: None,
            algorithms,
            leeway: Duration::from_secs(30),
            max_lifetime: Some(Duration::from_secs(24 * 60 * 60)),
            max_age: None,
            required_claims: vec!["sub".to_owned()],
            claims: ClaimMapping::default(),
            check: TokenCheck::default(),
            token_type: TokenType::default(),
            renewable: None,
            backchannel_logout: None,
            keys: Vec::new(),
        }
    }

    /// For how long from now a token of this entry that exists may be accepted; `None` when nothing
    /// bounds it. Its `iat` may be ahead by the leeway, and it is taken for the leeway after `exp`.
    /// What is introspected need not have an `exp` unless `required_claims` say so.
    #[must_use]
    pub fn lives_at_most(&self) -> Option<Duration> {
        let ends = self.check != TokenCheck::Introspection
            || self.required_claims.iter().any(|claim| claim == "exp");
        self.max_lifetime.filter(|_| ends).map(|life| life.saturating_add(self.leeway * 2))
    }

    /// A digest of everything that decides what a verified token means (invariant 1): a cached
    /// fact that was established under other settings does not count. Keys are not part of it.
    pub(super) fn digest(&self, extra_keys: &[ExtraKey]) -> [u8; 32] {
        // Debug output quotes and escapes strings, so no two different settings read the same; the
        // destructuring makes a new field a compile error here instead of a forgotten one.
        let Self {
            name,
            issuer,
            audiences,
            algorithms,
            leeway,
            max_lifetime,
            max_age,
            required_claims,
            claims,
            check,
            token_type,
            renewable,
            // Says nothing of access tokens, which are all that is kept.
            backchannel_logout: _,
            keys: _,
        } = self;
        let text = format!(
            "{name:?} {issuer:?} {audiences:?} {algorithms:?} {leeway:?} {max_lifetime:?} \
             {max_age:?} {required_claims:?} {claims:?} {check:?} {token_type:?} \
             {renewable:?} {extra_keys:?}"
        );
        super::keys::sha256(&[text.as_bytes()])
    }
}

fn named(claim: &str) -> ClaimPath {
    ClaimPath::Name(claim.to_owned())
}

impl Default for ClaimMapping {
    /// The contract's defaults: `sub`, `roles`, `scope`, `permissions`, `azp` and `client_id`,
    /// `sid`.
    fn default() -> Self {
        Self {
            subject: named("sub"),
            roles: named("roles"),
            scopes: named("scope"),
            permissions: named("permissions"),
            client: vec![named("azp"), named("client_id")],
            session: named("sid"),
        }
    }
}
