//! `[issuing.cookies]`: browsers get a session cookie instead of tokens.

use std::path::PathBuf;

use serde::Deserialize;
use toml::Spanned;

use super::super::scalar::Scalar;
use super::super::secret_source::SecretSource;
use super::super::unplaced;

/// Without the section everybody gets bearer tokens.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cookies {
    /// The session cookie's name; default `__Host-postern`. The one of CSRF tokens follows from it.
    #[serde(default = "default_name")]
    pub name: Spanned<CookieName>,
    /// With which navigations from other sites it goes; default lax.
    #[serde(default = "default_same_site")]
    pub same_site: Spanned<SameSite>,
    /// The secret behind CSRF tokens, a file; the same on every gateway.
    #[serde(default)]
    pub cookie_secret_file: Option<Spanned<PathBuf>>,
    /// The environment variable that holds it.
    #[serde(default)]
    pub cookie_secret_env: Option<Spanned<String>>,
    /// The command that prints it.
    #[serde(default)]
    pub cookie_secret_command: Option<Spanned<Vec<String>>>,
    /// Whether Postern shows a login page, and sends browsers to it; default true.
    #[serde(default = "default_login_page")]
    pub login_page: Spanned<bool>,
}

impl Cookies {
    /// Where the secret comes from.
    #[must_use]
    pub fn cookie_secret(&self) -> Option<SecretSource> {
        SecretSource::of(
            &self.cookie_secret_file,
            &self.cookie_secret_env,
            &self.cookie_secret_command,
        )
    }
}

fn default_name() -> Spanned<CookieName> {
    unplaced(CookieName("__Host-postern".to_owned()))
}

fn default_same_site() -> Spanned<SameSite> {
    unplaced(SameSite::Lax)
}

fn default_login_page() -> Spanned<bool> {
    unplaced(true)
}

/// A cookie's name with the prefix that keeps other hosts from setting it (RFC 6265bis §4.1.3.2).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Scalar")]
pub struct CookieName(String);

impl CookieName {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<Scalar> for CookieName {
    type Error = String;

    fn try_from(scalar: Scalar) -> Result<Self, String> {
        let text = scalar.text("a cookie's name such as \"__Host-postern\"")?;
        let legal = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        match text.strip_prefix("__Host-") {
            Some(own) if !own.is_empty() && text.len() <= 64 && own.chars().all(legal) => {
                Ok(Self(text))
            }
            Some(_) | None => Err(format!(
                "{text:?} cannot be the session cookie's name\nwrite `__Host-` and letters, \
                 digits, `-`, `_` or `.`, at most 64: browsers then let no other host set it"
            )),
        }
    }
}

/// With which navigations from other sites a cookie goes (RFC 6265bis §5.2). `None` is not offered:
/// the cookie would go with everything that another site's page asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SameSite {
    /// With links from other sites.
    Lax,
    /// With none.
    Strict,
}
