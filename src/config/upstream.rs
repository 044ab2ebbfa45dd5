//! `[upstreams.NAME]`: a service behind the gateway.

use std::path::PathBuf;

use serde::Deserialize;
use toml::Spanned;

use super::address::Server;
use super::assertion::Assertion;
use super::duration::Period;
use super::list::List;
use super::unplaced;

/// One service.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Upstream {
    /// Its servers.
    pub servers: List<Server>,
    /// Authorities for https servers, PEM; default the system's.
    #[serde(default)]
    pub ca: Option<Spanned<PathBuf>>,
    /// How long an idle connection to it is kept; default 4 s, below the 5 s after which many
    /// application servers close theirs.
    #[serde(default = "default_keep_alive")]
    pub keep_alive: Spanned<Period>,
    /// A token made for it; default none.
    #[serde(default)]
    pub assertion: Option<Spanned<Assertion>>,
}

fn default_keep_alive() -> Spanned<Period> {
    unplaced(Period::seconds(4))
}
