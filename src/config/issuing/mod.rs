//! `[issuing]`: Postern as the issuer.

mod users;

use serde::Deserialize;
use toml::Spanned;

pub use users::{SqlColumns, SqlUsers, UpstreamFields, UpstreamUsers, UserSource, Users};

/// What is needed to issue tokens.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Issuing {
    /// `[issuing.users]`: who checks passwords.
    #[serde(default)]
    pub users: Option<Spanned<Users>>,
}
