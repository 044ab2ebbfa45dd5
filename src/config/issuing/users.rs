//! `[issuing.users]`: who has an account, and who checks the password. Exactly one of a users file,
//! an SQL table and an upstream's own login endpoint.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use serde::Deserialize;
use toml::Spanned;
use url::{Host, Url};

use super::super::claim::check_pointer;
use super::super::duration::Period;
use super::super::issuer::Text;
use super::super::list::List;
use super::super::listen::Network;
use super::super::provider::bare_url;
use super::super::scalar::Scalar;
use super::super::secret_source::SecretSource;
use super::super::unplaced;

/// The section.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Users {
    /// A file of lines `account:hash:roles`.
    pub file: Option<Spanned<PathBuf>>,
    /// A table.
    pub sql: Option<Spanned<SqlUsers>>,
    /// A service.
    pub upstream: Option<Spanned<UpstreamUsers>>,
}

/// The one that is meant.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum UserSource<'a> {
    /// A file of lines.
    File(&'a Spanned<PathBuf>),
    /// A table.
    Sql(&'a Spanned<SqlUsers>),
    /// A service.
    Upstream(&'a Spanned<UpstreamUsers>),
}

impl Users {
    /// The one that is given; `None` with none or several, which validation has said.
    #[must_use]
    pub fn source(&self) -> Option<UserSource<'_>> {
        match (&self.file, &self.sql, &self.upstream) {
            (Some(file), None, None) => Some(UserSource::File(file)),
            (None, Some(sql), None) => Some(UserSource::Sql(sql)),
            (None, None, Some(upstream)) => Some(UserSource::Upstream(upstream)),
            _ => None,
        }
    }
}

/// A table that is asked with a query of the operator's.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SqlUsers {
    /// Where the database is, when there is no password in it.
    #[serde(default)]
    pub url: Option<Spanned<Text>>,
    /// The file that holds the URL.
    #[serde(default)]
    pub url_file: Option<Spanned<PathBuf>>,
    /// The environment variable that holds it.
    #[serde(default)]
    pub url_env: Option<Spanned<String>>,
    /// The command that prints it.
    #[serde(default)]
    pub url_command: Option<Spanned<Vec<String>>>,
    /// Finds one account by its name, the statement's only parameter.
    pub query: Spanned<Text>,
    /// Puts the new hash (first parameter) in the place of the old (third) for an account
    /// (second); without it, hashes stay as they are.
    #[serde(default)]
    pub update: Option<Spanned<Text>>,
    /// Which column is what.
    #[serde(default)]
    pub columns: SqlColumns,
    /// The beginnings of the hashes that the table holds, by kind and cost.
    #[serde(default)]
    pub kinds: List<Text>,
    /// One question, connecting included; default 2 s.
    #[serde(default = "default_sql_timeout")]
    pub timeout: Spanned<Period>,
    /// Connections at most; default 4.
    #[serde(default = "default_connections")]
    pub connections: Spanned<u8>,
}

impl SqlUsers {
    /// Where the URL comes from, unless it stands in the file.
    #[must_use]
    pub fn secret_url(&self) -> Option<SecretSource> {
        SecretSource::of(&self.url_file, &self.url_env, &self.url_command)
    }
}

/// Columns of the query's result, by what they are; a name that is given must be in the result.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SqlColumns {
    /// `sub`; default `id`.
    pub subject: Option<Spanned<Text>>,
    /// The hash; default `password_hash`.
    pub password: Option<Spanned<Text>>,
    /// Default `roles`.
    pub roles: Option<Spanned<Text>>,
    /// Default `permissions`.
    pub permissions: Option<Spanned<Text>>,
    /// Whether the account may not log in; default `disabled`.
    pub disabled: Option<Spanned<Text>>,
    /// The same the other way round; default `enabled`.
    pub enabled: Option<Spanned<Text>>,
    /// Claims besides: claim = column.
    pub claims: BTreeMap<Spanned<String>, Spanned<Text>>,
}

/// A service that checks the password itself.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UpstreamUsers {
    /// The endpoint: https; http on this machine or in `addresses`.
    pub url: Spanned<LoginUrl>,
    /// Claim = JSON Pointer into the answer; `sub` must be there, `roles` and `permissions` are
    /// what they are called.
    pub claims: Spanned<BTreeMap<Spanned<String>, Spanned<Pointer>>>,
    /// What name and password are called in the posted document.
    #[serde(default)]
    pub fields: UpstreamFields,
    /// One login with everything around it; default 5 s.
    #[serde(default = "default_upstream_timeout")]
    pub timeout: Spanned<Period>,
    /// Authorities for the endpoint's certificate, PEM; default the system's.
    #[serde(default)]
    pub ca: Option<Spanned<PathBuf>>,
    /// Private networks that may be connected to, without TLS too.
    #[serde(default)]
    pub addresses: List<Network>,
}

/// Members of the posted document.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct UpstreamFields {
    /// The account's name; default `username`.
    pub username: Spanned<Text>,
    /// Default `password`.
    pub password: Spanned<Text>,
}

impl Default for UpstreamFields {
    fn default() -> Self {
        let named = |name: &str| unplaced(Text(name.to_owned()));
        Self { username: named("username"), password: named("password") }
    }
}

/// Where a login is posted to: without user and fragment.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Scalar")]
pub struct LoginUrl(pub Url);

impl LoginUrl {
    /// Whether it leads to this machine by its very text.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        match self.0.host() {
            Some(Host::Domain(name)) => name == "localhost",
            Some(Host::Ipv4(address)) => IpAddr::from(address).is_loopback(),
            Some(Host::Ipv6(address)) => IpAddr::from(address).is_loopback(),
            None => false,
        }
    }
}

impl TryFrom<Scalar> for LoginUrl {
    type Error = String;

    fn try_from(scalar: Scalar) -> Result<Self, String> {
        let text = scalar.text("a URL such as \"http://127.0.0.1:3000/api/login\"")?;
        bare_url(&text).map(Self)
    }
}

/// A JSON Pointer to a member (RFC 6901).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Scalar")]
pub struct Pointer(pub String);

impl TryFrom<Scalar> for Pointer {
    type Error = String;

    fn try_from(scalar: Scalar) -> Result<Self, String> {
        let text = scalar.text("a JSON Pointer such as \"/user/id\"")?;
        check_pointer(&text).map(|()| Self(text))
    }
}

fn default_sql_timeout() -> Spanned<Period> {
    unplaced(Period::seconds(2))
}

fn default_connections() -> Spanned<u8> {
    unplaced(4)
}

fn default_upstream_timeout() -> Spanned<Period> {
    unplaced(Period::seconds(5))
}
