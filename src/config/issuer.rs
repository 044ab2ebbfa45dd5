//! `[[issuers]]`: whose tokens are believed, with which keys and under which rules.

use std::path::PathBuf;

use serde::Deserialize;
use toml::Spanned;

use super::claim::ClaimPath;
use super::duration::{Leeway, Period};
use super::list::{List, ListOrOff};
use super::scalar::{OrOff, Scalar};
use super::secret_source::SecretSource;
use super::unplaced;

/// One issuer entry.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Issuer {
    /// The entry's name: for routes, logs and metrics.
    pub name: Spanned<String>,
    /// What `iss` must be, exactly; off for tokens without `iss`.
    pub issuer: Spanned<OrOff<Text>>,
    /// One of these must be in `aud`; off for tokens without `aud`.
    pub audiences: ListOrOff<Text>,
    /// The algorithms of its keys; no default (R1).
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
    /// A JWKS (RFC 7517 §5) file, relative to the configuration file.
    #[serde(default)]
    pub jwks_file: Option<Spanned<PathBuf>>,
    /// `[[issuers.keys]]`: keys one by one.
    #[serde(default)]
    pub keys: Vec<Spanned<Key>>,
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

fn default_required_claims() -> List<Text> {
    List::unplaced([Text("sub".to_owned())])
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

/// Signature algorithms (RFC 7518 §3.1, RFC 8037).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "Scalar")]
pub enum Algorithm {
    /// ECDSA on P-256 with SHA-256.
    ES256,
    /// ECDSA on P-384 with SHA-384.
    ES384,
    /// Ed25519.
    EdDSA,
    /// HMAC with SHA-256.
    HS256,
    /// HMAC with SHA-384.
    HS384,
    /// HMAC with SHA-512.
    HS512,
    /// RSASSA-PSS with SHA-256.
    PS256,
    /// RSASSA-PSS with SHA-384.
    PS384,
    /// RSASSA-PSS with SHA-512.
    PS512,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    RS256,
    /// RSASSA-PKCS1-v1_5 with SHA-384.
    RS384,
    /// RSASSA-PKCS1-v1_5 with SHA-512.
    RS512,
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::ES256,
        Self::ES384,
        Self::EdDSA,
        Self::HS256,
        Self::HS384,
        Self::HS512,
        Self::PS256,
        Self::PS384,
        Self::PS512,
        Self::RS256,
        Self::RS384,
        Self::RS512,
    ];

    /// The name in a token's `alg`; compared with case (R1).
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ES256 => "ES256",
            Self::ES384 => "ES384",
            Self::EdDSA => "EdDSA",
            Self::HS256 => "HS256",
            Self::HS384 => "HS384",
            Self::HS512 => "HS512",
            Self::PS256 => "PS256",
            Self::PS384 => "PS384",
            Self::PS512 => "PS512",
            Self::RS256 => "RS256",
            Self::RS384 => "RS384",
            Self::RS512 => "RS512",
        }
    }

    /// Whether signer and verifier share one secret.
    #[must_use]
    pub const fn is_hmac(self) -> bool {
        matches!(self, Self::HS256 | Self::HS384 | Self::HS512)
    }
}

impl TryFrom<Scalar> for Algorithm {
    type Error = String;

    fn try_from(scalar: Scalar) -> Result<Self, String> {
        let text = scalar.text("an algorithm such as \"RS256\"")?;
        Self::ALL.into_iter().find(|algorithm| algorithm.as_str() == text).ok_or_else(|| {
            let known = Self::ALL.map(Self::as_str).join(", ");
            format!("{text:?} is not an algorithm that tokens may use\nwrite one of {known}")
        })
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
