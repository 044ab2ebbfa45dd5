//! `[upstreams.NAME.assertion]`: a short-lived token that the gateway makes for this upstream
//! alone, so that the upstream need not believe a bare header.

use serde::Deserialize;
use toml::Spanned;

use super::claim::ClaimPath;
use super::duration::Period;
use super::issuer::Text;
use super::issuing::IssuingKey;
use super::list::List;
use super::unplaced;

/// What the token says, in which header it goes, and by which keys.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Assertion {
    /// `aud`: the upstream's own name.
    pub audience: Spanned<Text>,
    /// The header that carries it; default `X-Postern-Assertion`.
    #[serde(default = "default_header")]
    pub header: Spanned<String>,
    /// `iss`; default the origin of `[listen] public_url`.
    #[serde(default)]
    pub issuer: Option<Spanned<Text>>,
    /// How long it lives, 5 s to 60 s; default 60 s. Never longer than the caller's own token.
    #[serde(default = "default_ttl")]
    pub ttl: Spanned<Period>,
    /// Claims of the caller's token that it carries besides its own; default none.
    #[serde(default)]
    pub claims: List<ClaimPath>,
    /// What it is bound to besides its audience; default the route.
    #[serde(default = "default_bind")]
    pub bind: Spanned<Bind>,
    /// Whether the upstream gets the identity headers too; default yes.
    #[serde(default = "default_identity_headers")]
    pub identity_headers: Spanned<bool>,
    /// `[[upstreams.NAME.assertion.keys]]`: the first signs, the others are published beside it.
    #[serde(default)]
    pub keys: Vec<Spanned<IssuingKey>>,
}

/// What an assertion is good for besides its audience.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Bind {
    /// Every route to the upstream.
    Off,
    /// The route that it was made on, which it names.
    Route,
}

impl Assertion {
    /// `iss`: the configured one, or this gateway's origin.
    #[must_use]
    pub fn issuer_or(&self, origin: Option<String>) -> Option<String> {
        self.issuer.as_ref().map(|issuer| issuer.get_ref().0.clone()).or(origin)
    }
}

fn default_header() -> Spanned<String> {
    unplaced("X-Postern-Assertion".to_owned())
}

fn default_ttl() -> Spanned<Period> {
    unplaced(Period::seconds(60))
}

fn default_bind() -> Spanned<Bind> {
    unplaced(Bind::Route)
}

fn default_identity_headers() -> Spanned<bool> {
    unplaced(true)
}
