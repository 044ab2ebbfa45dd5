//! `[[issuing.keys]]`: what Postern signs with.

use std::path::PathBuf;

use serde::Deserialize;
use toml::Spanned;

use super::super::algorithm::Algorithm;
use super::super::secret_source::SecretSource;

/// One key. Several make a rotation (R5).
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IssuingKey {
    /// The key's id; tokens name it.
    pub kid: Spanned<String>,
    /// What it signs with: RS256, ES256, EdDSA or HS256.
    pub algorithm: Spanned<Algorithm>,
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
