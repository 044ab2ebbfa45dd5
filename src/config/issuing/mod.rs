//! `[issuing]`: Postern as the issuer of tokens. Without the section it issues nothing.

mod cookies;
mod keys;
mod lifetimes;
mod limits;
mod users;

use serde::Deserialize;
use toml::Spanned;

use super::duration::Period;
use super::issuer::Text;
use super::list::List;
use super::provider::provider_url;
use super::scalar::Scalar;
use super::unplaced;

pub use cookies::{CookieName, Cookies, SameSite};
pub use keys::{IssuingKey, SigningAlgorithm};
pub use limits::{IssuingLimit, IssuingLimitKey};
pub use users::{SqlColumns, SqlUsers, UpstreamFields, UpstreamUsers, UserSource, Users};

/// Who issues, to whom, and for how long.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Issuing {
    /// `iss` of every token, and the issuer's URL (RFC 8414 §2).
    pub issuer: Spanned<IssuerUrl>,
    /// `aud` of access tokens.
    pub audiences: List<Text>,
    /// How long an access token lives; default 15 min.
    #[serde(default = "lifetimes::access")]
    pub access_lifetime: Spanned<Period>,
    /// How long a refresh token may stay unused; default 7 d.
    #[serde(default = "lifetimes::idle")]
    pub refresh_idle: Spanned<Period>,
    /// How long a login may be renewed; default 30 d.
    #[serde(default = "lifetimes::login")]
    pub refresh_lifetime: Spanned<Period>,
    /// How long a retry with the token before gets the same answer; default 10 s.
    #[serde(default = "lifetimes::grace")]
    pub refresh_grace: Spanned<Period>,
    /// `client_id` of tokens from a login; default `postern`.
    #[serde(default = "default_client_id")]
    pub client_id: Spanned<Text>,
    /// How often somebody may try to log in; by default 5 in 15 min per client and account, and 50
    /// failures in an hour per account.
    #[serde(default = "limits::login")]
    pub login_limits: Vec<Spanned<IssuingLimit>>,
    /// How often a client may fail at refresh, token, revoke and introspect; default 60 in 1 min.
    #[serde(default = "limits::refresh")]
    pub refresh_limits: Vec<Spanned<IssuingLimit>>,
    /// `[[issuing.keys]]`: the first signs, the others verify.
    #[serde(default)]
    pub keys: Vec<Spanned<IssuingKey>>,
    /// `[issuing.cookies]`: how browsers keep a login.
    #[serde(default)]
    pub cookies: Option<Spanned<Cookies>>,
    /// `[issuing.users]`: who checks passwords.
    #[serde(default)]
    pub users: Option<Spanned<Users>>,
}

fn default_client_id() -> Spanned<Text> {
    unplaced(Text("postern".to_owned()))
}

/// An issuer's URL: https, or http on this machine; kept as it is written, because `iss` is
/// compared byte by byte.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Scalar")]
pub struct IssuerUrl(pub String);

impl TryFrom<Scalar> for IssuerUrl {
    type Error = String;

    fn try_from(scalar: Scalar) -> Result<Self, String> {
        let text = scalar.text("a URL such as \"https://auth.example.com\"")?;
        let url = provider_url(&text)?;
        if url.query().is_some() {
            return Err(format!(
                "{text:?} has a query, which an issuer's URL never has (RFC 8414)\nleave out `?` \
                 and what follows"
            ));
        }
        Ok(Self(text))
    }
}
