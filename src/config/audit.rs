//! `[audit]`: the log of who changed what and who was refused.

use std::ops::Range;
use std::path::PathBuf;

use serde::Deserialize;
use toml::Spanned;

use super::list::List;
use super::scalar::{OrOff, Scalar};
use super::secret_source::SecretSource;
use super::size::Size;
use super::unplaced;

/// Where it is written, what its lines are chained with, what is left out of them.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Audit {
    /// The file; default off.
    pub file: Spanned<OrOff<LogPath>>,
    /// The key's file. One of the three is required where a file is named.
    pub key_file: Option<Spanned<PathBuf>>,
    /// The environment variable that holds the key.
    pub key_env: Option<Spanned<String>>,
    /// The command that prints the key.
    pub key_command: Option<Spanned<Vec<String>>>,
    /// What is written as a keyed hash instead of a value; default nothing.
    pub hash: List<Personal>,
    /// A file of this size is moved aside and a new one begun; default off.
    pub rotate: Spanned<OrOff<Size>>,
}

impl Audit {
    /// Where the key comes from.
    #[must_use]
    pub fn key(&self) -> Option<SecretSource> {
        SecretSource::of(&self.key_file, &self.key_env, &self.key_command)
    }

    /// Where that is written.
    #[must_use]
    pub fn key_place(&self) -> Range<usize> {
        SecretSource::place(&self.key_file, &self.key_env, &self.key_command)
    }
}

impl Default for Audit {
    fn default() -> Self {
        Self {
            file: unplaced(OrOff::Off),
            key_file: None,
            key_env: None,
            key_command: None,
            hash: List::default(),
            rotate: unplaced(OrOff::Off),
        }
    }
}

/// A file, relative to the configuration file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogPath(pub PathBuf);

impl TryFrom<Scalar> for LogPath {
    type Error = String;

    fn try_from(scalar: Scalar) -> Result<Self, String> {
        let text = scalar.text("a file or \"off\"")?;
        if text.is_empty() {
            return Err("an empty name\nwrite a file or \"off\"".to_owned());
        }
        Ok(Self(text.into()))
    }
}

/// What tells of a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(try_from = "Scalar")]
pub enum Personal {
    /// The client's address.
    Address,
    /// The token's subject.
    Subject,
}

impl TryFrom<Scalar> for Personal {
    type Error = String;

    fn try_from(scalar: Scalar) -> Result<Self, String> {
        let text = scalar.text("\"subject\" or \"address\"")?;
        match text.as_str() {
            "address" => Ok(Self::Address),
            "subject" => Ok(Self::Subject),
            other => Err(format!("{other:?} cannot be hashed\nwrite \"subject\" or \"address\"")),
        }
    }
}
