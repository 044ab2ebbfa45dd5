//! `[[issuing.keys]]`: what Postern signs with.

use std::ops::Deref;
use std::path::PathBuf;

use serde::Deserialize;
use toml::Spanned;

use super::super::scalar::Scalar;
use super::super::secret_source::SecretSource;
use crate::token::Algorithm;

/// One key. Several make a rotation (R5).
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IssuingKey {
    /// The key's id; tokens name it.
    pub kid: Spanned<String>,
    /// What it signs with.
    pub algorithm: Spanned<SigningAlgorithm>,
    /// The private key's file, PEM.
    #[serde(default)]
    pub private_key_file: Option<Spanned<PathBuf>>,
    /// The environment variable that holds the private key.
    #[serde(default)]
    pub private_key_env: Option<Spanned<String>>,
    /// The command that prints the private key.
    #[serde(default)]
    pub private_key_command: Option<Spanned<Vec<String>>>,
    /// The HMAC secret's file.
    #[serde(default)]
    pub secret_file: Option<Spanned<PathBuf>>,
    /// The environment variable that holds the HMAC secret.
    #[serde(default)]
    pub secret_env: Option<Spanned<String>>,
    /// The command that prints the HMAC secret.
    #[serde(default)]
    pub secret_command: Option<Spanned<Vec<String>>>,
}

/// What may sign: RS256, ES256, EdDSA or HS256. Others that tokens may use are read too, for
/// validation to refuse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Scalar")]
pub struct SigningAlgorithm(pub Algorithm);

impl SigningAlgorithm {
    /// What to write.
    pub(in super::super) const HELP: &str = "write RS256, ES256, EdDSA or HS256";

    /// Whether keys of it may be configured.
    #[must_use]
    pub fn is_offered(self) -> bool {
        use Algorithm::{ES256, EdDSA, HS256, RS256};
        [RS256, ES256, EdDSA, HS256].contains(&self.0)
    }
}

impl Deref for SigningAlgorithm {
    type Target = Algorithm;

    fn deref(&self) -> &Algorithm {
        &self.0
    }
}

impl TryFrom<Scalar> for SigningAlgorithm {
    type Error = String;

    fn try_from(scalar: Scalar) -> Result<Self, String> {
        let text = scalar.text("an algorithm such as \"ES256\"")?;
        text.parse().map(Self).map_err(|_| {
            format!("{text:?} is not an algorithm that tokens may use\n{}", Self::HELP)
        })
    }
}

impl IssuingKey {
    /// Where the private key comes from.
    #[must_use]
    pub fn private_key(&self) -> Option<SecretSource> {
        SecretSource::of(&self.private_key_file, &self.private_key_env, &self.private_key_command)
    }

    /// Where the HMAC secret comes from.
    #[must_use]
    pub fn secret(&self) -> Option<SecretSource> {
        SecretSource::of(&self.secret_file, &self.secret_env, &self.secret_command)
    }
}
