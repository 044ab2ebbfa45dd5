//! `[[issuers]]`: whose tokens are believed, with which keys and under which rules.

use std::path::PathBuf;

use serde::Deserialize;
use toml::Spanned;

use super::algorithm::Algorithm;
use super::claim::ClaimPath;
use super::duration::{Leeway, Period, Reuse};
use super::list::{List, ListOrOff};
use super::listen::Network;
use super::provider::{ClientAuthentication, HostName, IssuerKind, ProviderUrl, TokenType};
use super::scalar::{OrOff, Scalar};
use super::secret_source::SecretSource;
use super::unplaced;

/// One issuer entry.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Issuer {
    /// The entry's name: for routes, logs and metrics.
    pub name: Spanned<String>,
    /// How its tokens are checked; default by their signature.
    #[serde(default = "default_kind")]
    pub kind: Spanned<IssuerKind>,
    /// What `iss` must be, exactly; off for tokens without `iss`.
    pub issuer: Spanned<OrOff<Text>>,
    /// One of these must be in `aud`; off for tokens without `aud`.
    pub audiences: ListOrOff<Text>,
    /// The algorithms of its keys; no default (R1). An introspected entry has none.
    #[serde(default)]
    pub algorithms: List<Algorithm>,
    /// How far its clock may be off; default 30 s, at most 60 s (R11).
    #[serde(default = "default_leeway")]
    pub leeway: Spanned<Leeway>,
    /// The longest `exp - iat`; default 24 h.
    #[serde(default = "default_max_lifetime")]
    pub max_lifetime: Spanned<OrOff<Period>>,
    /// The longest `now - iat`; default off.
    #[serde(default = "default_max_age")]
    pub max_age: Spanned<OrOff<Period>>,
    /// Claims that must be there besides `exp`, `iss` and `aud`; default `sub`.
    #[serde(default = "default_required_claims")]
    pub required_claims: List<Text>,
    /// Where subject, roles and the rest are found.
    #[serde(default)]
    pub claims: ClaimMap,
    /// Which `typ` is taken; default any that an access token may have (R13).
    #[serde(default = "default_token_type")]
    pub token_type: Spanned<TokenType>,
    /// Whether the provider may end sessions here (OpenID Connect Back-Channel Logout 1.0);
    /// default no.
    #[serde(default)]
    pub backchannel_logout: Option<Spanned<BackchannelLogout>>,

    /// A JWKS (RFC 7517 §5) file, relative to the configuration file.
    #[serde(default)]
    pub jwks_file: Option<Spanned<PathBuf>>,
    /// Where the provider publishes its JWKS.
    #[serde(default)]
    pub jwks_url: Option<Spanned<ProviderUrl>>,
    /// Whether the provider's metadata say where its JWKS is; default false.
    #[serde(default = "default_discovery")]
    pub discovery: Spanned<bool>,
    /// Hosts besides the issuer's own on which a discovered JWKS may be; default none.
    #[serde(default)]
    pub jwks_hosts: List<HostName>,
    /// `[[issuers.keys]]`: keys one by one.
    #[serde(default)]
    pub keys: Vec<Spanned<Key>>,

    /// Addresses that are not public and may be connected to all the same; default none.
    #[serde(default)]
    pub provider_addresses: List<Network>,
    /// Authorities of the provider's certificate, PEM; default the system's.
    #[serde(default)]
    pub ca: Option<Spanned<PathBuf>>,
    /// The longest time between two fetches; default 5 min.
    #[serde(default = "default_refresh")]
    pub refresh: Spanned<Period>,
    /// The shortest time between two fetches that unknown key ids cause; default 10 s.
    #[serde(default = "default_cooldown")]
    pub cooldown: Spanned<Period>,
    /// How long keys are used after the last good fetch; default 24 h.
    #[serde(default = "default_max_stale")]
    pub max_stale: Spanned<Period>,
    /// One exchange with the provider with everything around it; default 5 s.
    #[serde(default = "default_timeout")]
    pub timeout: Spanned<Period>,
    /// Whether readiness waits for its keys; default true.
    #[serde(default = "default_required")]
    pub required: Spanned<bool>,

    /// The introspection endpoint (RFC 7662).
    #[serde(default)]
    pub url: Option<Spanned<ProviderUrl>>,
    /// The gateway's client id at the provider.
    #[serde(default)]
    pub client_id: Option<Spanned<Text>>,
    /// The file of the client's secret.
    #[serde(default)]
    pub client_secret_file: Option<Spanned<PathBuf>>,
    /// The environment variable that holds the client's secret.
    #[serde(default)]
    pub client_secret_env: Option<Spanned<String>>,
    /// The command that prints the client's secret.
    #[serde(default)]
    pub client_secret_command: Option<Spanned<Vec<String>>>,
    /// How the client says who it is; default `Authorization: Basic`.
    #[serde(default = "default_client_auth")]
    pub client_auth: Spanned<ClientAuthentication>,
    /// How long an answer of the provider is used again; default not at all.
    #[serde(default = "default_cache")]
    pub cache: Spanned<Reuse>,
}

impl Issuer {
    /// Whether its keys come from the provider over the network.
    #[must_use]
    pub fn fetches(&self) -> bool {
        self.jwks_url.is_some() || *self.discovery.get_ref()
    }

    /// Whether the provider is asked about each token.
    #[must_use]
    pub fn introspects(&self) -> bool {
        *self.kind.get_ref() == IssuerKind::Introspection
    }

    /// Where the client's secret comes from.
    #[must_use]
    pub fn client_secret(&self) -> Option<SecretSource> {
        SecretSource::of(
            &self.client_secret_file,
            &self.client_secret_env,
            &self.client_secret_command,
        )
    }
}

fn default_kind() -> Spanned<IssuerKind> {
    unplaced(IssuerKind::Jwt)
}

fn default_leeway() -> Spanned<Leeway> {
    unplaced(Leeway::DEFAULT)
}

fn default_max_lifetime() -> Spanned<OrOff<Period>> {
    unplaced(OrOff::On(Period::seconds(24 * 3600)))
}

fn default_max_age() -> Spanned<OrOff<Period>> {
    unplaced(OrOff::Off)
}

fn default_token_type() -> Spanned<TokenType> {
    unplaced(TokenType::Any)
}

fn default_discovery() -> Spanned<bool> {
    unplaced(false)
}

fn default_refresh() -> Spanned<Period> {
    unplaced(Period::seconds(300))
}

fn default_cooldown() -> Spanned<Period> {
    unplaced(Period::seconds(10))
}

fn default_max_stale() -> Spanned<Period> {
    unplaced(Period::seconds(24 * 3600))
}

fn default_timeout() -> Spanned<Period> {
    unplaced(Period::seconds(5))
}

fn default_required() -> Spanned<bool> {
    unplaced(true)
}

fn default_client_auth() -> Spanned<ClientAuthentication> {
    unplaced(ClientAuthentication::Basic)
}

fn default_cache() -> Spanned<Reuse> {
    unplaced(Reuse::NEVER)
}

fn default_required_claims() -> List<Text> {
    List::unplaced([Text("sub".to_owned())])
}

/// What the provider knows the gateway as when it sends a logout token.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackchannelLogout {
    /// The client for which the provider has the gateway's logout URI; it stands in the logout
    /// token's `aud`.
    pub client_id: Spanned<Text>,
}

/// Text that is not empty.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "Scalar")]
pub struct Text(pub String);

impl TryFrom<Scalar> for Text {
    type Error = String;

    fn try_from(scalar: Scalar) -> Result<Self, String> {
        let text = scalar.text("text")?;
        if text.is_empty() {
            return Err("an empty string means nothing here".to_owned());
        }
        Ok(Self(text))
    }
}

/// Where the claims that rules and headers speak of are found.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClaimMap {
    /// Who the token is about; default `sub`.
    pub subject: Spanned<ClaimPath>,
    /// Roles; default `roles`.
    pub roles: Spanned<ClaimPath>,
    /// Scopes; default `scope`.
    pub scopes: Spanned<ClaimPath>,
    /// Permissions; default `permissions`.
    pub permissions: Spanned<ClaimPath>,
    /// The client; default `azp` and `client_id`.
    pub client: List<ClaimPath>,
    /// The session; default `sid`.
    pub session: Spanned<ClaimPath>,
}

impl Default for ClaimMap {
    fn default() -> Self {
        let named = |name| unplaced(ClaimPath::named(name));
        Self {
            subject: named("sub"),
            roles: named("roles"),
            scopes: named("scope"),
            permissions: named("permissions"),
            client: List::unplaced(["azp", "client_id"].map(ClaimPath::named)),
            session: named("sid"),
        }
    }
}

/// One key of an issuer. Several make a rotation (R5).
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Key {
    /// The key's id; without it the key serves tokens without `kid` only.
    #[serde(default)]
    pub kid: Option<Spanned<String>>,
    /// The one algorithm that it is used with.
    pub algorithm: Spanned<Algorithm>,
    /// The HMAC secret's file.
    #[serde(default)]
    pub secret_file: Option<Spanned<PathBuf>>,
    /// The environment variable that holds the HMAC secret.
    #[serde(default)]
    pub secret_env: Option<Spanned<String>>,
    /// The command that prints the HMAC secret.
    #[serde(default)]
    pub secret_command: Option<Spanned<Vec<String>>>,
    /// A public key as PEM (SPKI or certificate) or JWK.
    #[serde(default)]
    pub public_key_file: Option<Spanned<PathBuf>>,
}

impl Key {
    /// Where the HMAC secret comes from; `None` for a public key.
    #[must_use]
    pub fn secret(&self) -> Option<SecretSource> {
        SecretSource::of(&self.secret_file, &self.secret_env, &self.secret_command)
    }
}
