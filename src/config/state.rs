//! `[state]`: the directory that outlives the process.

use std::path::PathBuf;

use serde::Deserialize;
use toml::Spanned;

use super::unplaced;

/// Where the admin secret, the store's generation and snapshots are kept.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct State {
    /// The directory, relative to the configuration file, made 0700; default `state`.
    pub dir: Spanned<PathBuf>,
}

impl Default for State {
    fn default() -> Self {
        Self { dir: unplaced(PathBuf::from("state")) }
    }
}
