//! `[identity]`: the headers that tell the upstream who is calling.

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::Spanned;

use super::claim::ClaimPath;
use super::list::List;
use super::pattern::HeaderPattern;
use super::unplaced;

/// Header and claim by default.
const HEADERS: [(&str, &str); 6] = [
    ("X-Auth-Email", "email"),
    ("X-Auth-Issuer", "iss"),
    ("X-Auth-Roles", "roles"),
    ("X-Auth-Scopes", "scope"),
    ("X-Auth-Subject", "sub"),
    ("X-Auth-Token-Id", "jti"),
];

/// Identity headers; set by the gateway alone (invariant 5).
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Identity {
    /// The headers of another gateway, set besides the table below; default none.
    pub preset: Spanned<Preset>,
    /// Further headers that are taken from every client; default `X-Auth-*`.
    pub reserved: List<HeaderPattern>,
    /// `[identity.headers]`: header name to claim; writing the table replaces the defaults.
    pub headers: BTreeMap<Spanned<String>, Spanned<ClaimPath>>,
}

impl Default for Identity {
    fn default() -> Self {
        let headers = HEADERS.map(|(header, claim)| {
            (unplaced(header.to_owned()), unplaced(ClaimPath::named(claim)))
        });
        Self {
            preset: unplaced(Preset::None),
            reserved: List::unplaced([HeaderPattern::Prefix("x-auth-".to_owned())]),
            headers: BTreeMap::from(headers),
        }
    }
}

/// Whose identity headers are imitated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Preset {
    /// Authelia's `Remote-*`.
    Authelia,
    /// Envoy's JWT filter.
    Envoy,
    /// Kong's `X-Consumer-*` and kin.
    Kong,
    /// Nobody's.
    None,
    /// oauth2-proxy's `X-Auth-Request-*` and kin.
    #[serde(rename = "oauth2-proxy")]
    Oauth2Proxy,
}
