//! `[admin]`: the operators' listener.

use std::ops::Range;
use std::path::PathBuf;

use serde::Deserialize;
use toml::Spanned;

use super::address::Address;
use super::list::{List, ListOrOff};
use super::secret_source::SecretSource;

/// Health, reload, revocations; everything but health behind a secret.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Admin {
    /// Where it listens; default `127.0.0.1:9901`.
    pub listen: ListOrOff<Address>,
    /// The secret's file. Without any of the three a secret is made in the state directory.
    pub secret_file: Option<Spanned<PathBuf>>,
    /// The environment variable that holds the secret.
    pub secret_env: Option<Spanned<String>>,
    /// The command that prints the secret.
    pub secret_command: Option<Spanned<Vec<String>>>,
}

impl Admin {
    /// Where the secret comes from; `None` means the one in the state directory.
    #[must_use]
    pub fn secret(&self) -> Option<SecretSource> {
        SecretSource::of(&self.secret_file, &self.secret_env, &self.secret_command)
    }

    /// Where that is written.
    #[must_use]
    pub fn secret_place(&self) -> Range<usize> {
        SecretSource::place(&self.secret_file, &self.secret_env, &self.secret_command)
    }
}

impl Default for Admin {
    fn default() -> Self {
        let loopback = Address::Tcp(([127, 0, 0, 1], 9901).into());
        Self {
            listen: ListOrOff::On(List::unplaced([loopback])),
            secret_file: None,
            secret_env: None,
            secret_command: None,
        }
    }
}
