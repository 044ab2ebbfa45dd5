//! A provider's metadata: OpenID Connect Discovery 1.0 §4, else RFC 8414 §3.
//!
//! The document decides nothing that the operator did not decide: it must name the configured
//! issuer exactly, and its URLs must be on the issuer's host or on one that is listed.

use http::StatusCode;
use serde_json::{Map, Value};
use thiserror::Error;
use url::{Host, Url};

use super::address::is_loopback;
use super::exchange::{self, Answer, Cause, ExchangeError, clipped, is_html, place};
use crate::auth::json;
use crate::policy::provider::Reach;

/// Most bytes of a metadata document.
const BYTES_MAX: usize = 256 * 1024;

/// What a provider says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// Where its keys are.
    pub jwks_uri: Url,
    /// Whom to ask about opaque tokens; `None` also when that is on a host where no question of
    /// the gateway's may go.
    pub introspection_endpoint: Option<Url>,
}

/// Why there is no metadata.
#[derive(Debug, Error)]
pub enum DiscoveryError {
    /// The document is not the issuer's, or no metadata at all.
    #[error("{at}: {reason}")]
    Document {
        /// Where the document is, without the query.
        at: Box<str>,
        /// What is wrong with it.
        reason: Box<str>,
    },
    /// No document.
    #[error(transparent)]
    Exchange(#[from] ExchangeError),
    /// The configured issuer is no URL that metadata could be found at.
    #[error("issuer {issuer:?}: {reason}; without discovery, write jwks_url")]
    Issuer {
        /// The configured issuer.
        issuer: Box<str>,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// No document at either of the two places where it may be.
    #[error("no metadata (status 404) at {openid}, nor at {oauth}; write jwks_url instead")]
    Nowhere {
        /// By OpenID Connect Discovery 1.0.
        openid: Box<str>,
        /// By RFC 8414.
        oauth: Box<str>,
    },
}

/// Finds the metadata of `issuer`. Its URLs may be on the issuer's own host, whatever the port, or
/// on one of `hosts`. Takes at most two exchanges, each within the reach's timeout.
///
/// # Errors
///
/// [`DiscoveryError`].
pub async fn discover(
    issuer: &str,
    hosts: &[Box<str>],
    reach: &Reach,
) -> Result<Metadata, DiscoveryError> {
    let base =
        base(issuer).map_err(|reason| DiscoveryError::Issuer { issuer: issuer.into(), reason })?;
    let answer = find(&base, reach).await?;
    let at = &answer.url;
    let wrong = |reason: String| DiscoveryError::Document { at: place(at), reason: reason.into() };
    let rules = Rules { issuer, base: &base, hosts };
    rules.metadata(&answer.body).map_err(wrong)
}

/// The issuer as a URL to start from (OpenID Connect Discovery 1.0 §3 `issuer`, RFC 8414 §2).
fn base(issuer: &str) -> Result<Url, &'static str> {
    let base: Url = issuer.parse().map_err(|_| "not a URL")?;
    let plain = base.scheme() == "http" && is_loopback(&base);
    if base.scheme() != "https" && !plain {
        return Err("not an https URL (http is taken on loopback only)");
    }
    if base.query().is_some() || base.fragment().is_some() {
        return Err("an issuer with a query or fragment has no metadata");
    }
    if !base.username().is_empty() || base.password().is_some() {
        return Err("an issuer carries no user or password");
    }
    Ok(base)
}

async fn find(base: &Url, reach: &Reach) -> Result<Answer, DiscoveryError> {
    let openid = openid_url(base);
    match exchange::get(&openid, reach, BYTES_MAX).await {
        Err(ExchangeError { cause: Cause::Status(StatusCode::NOT_FOUND), .. }) => {}
        outcome => return Ok(outcome?),
    }
    let oauth = oauth_url(base);
    match exchange::get(&oauth, reach, BYTES_MAX).await {
        Err(ExchangeError { cause: Cause::Status(StatusCode::NOT_FOUND), .. }) => {
            Err(DiscoveryError::Nowhere { openid: place(&openid), oauth: place(&oauth) })
        }
        outcome => Ok(outcome?),
    }
}

/// OpenID Connect Discovery 1.0 §4: behind the issuer's path.
fn openid_url(base: &Url) -> Url {
    with_path(base, &format!("{}/.well-known/openid-configuration", own_path(base)))
}

/// RFC 8414 §3.1: between host and path.
fn oauth_url(base: &Url) -> Url {
    with_path(base, &format!("/.well-known/oauth-authorization-server{}", own_path(base)))
}

fn own_path(base: &Url) -> &str {
    base.path().strip_suffix('/').unwrap_or_else(|| base.path())
}

fn with_path(base: &Url, path: &str) -> Url {
    let mut url = base.clone();
    url.set_path(path);
    url
}

/// What a document must fulfil.
struct Rules<'r> {
    issuer: &'r str,
    base: &'r Url,
    hosts: &'r [Box<str>],
}

impl Rules<'_> {
    fn metadata(&self, text: &[u8]) -> Result<Metadata, String> {
        let document = json::object(text).ok_or_else(|| match is_html(text) {
            true => "the answer is HTML, not JSON".to_owned(),
            false => "the answer is not a JSON object without repeated names".to_owned(),
        })?;
        self.check_issuer(&document)?;
        let jwks_uri = self.url(&document, "jwks_uri")?.ok_or("there is no jwks_uri in it")?;
        let introspection_endpoint = self.url(&document, "introspection_endpoint").unwrap_or(None);
        Ok(Metadata { jwks_uri, introspection_endpoint })
    }

    /// OpenID Connect Discovery 1.0 §4.3, RFC 8414 §3.3: identical, or another could speak for it.
    fn check_issuer(&self, document: &Map<String, Value>) -> Result<(), String> {
        let Some(Value::String(named)) = document.get("issuer") else {
            return Err("there is no issuer in it".to_owned());
        };
        if named == self.issuer {
            return Ok(());
        }
        let (named, wanted) = (clipped(named), clipped(self.issuer));
        Err(format!(
            "it is of issuer \"{named}\", but the entry's is \"{wanted}\"; they must equal"
        ))
    }

    /// A URL of the document that may be connected to.
    fn url(&self, document: &Map<String, Value>, name: &str) -> Result<Option<Url>, String> {
        let text = match document.get(name) {
            None => return Ok(None),
            Some(Value::String(text)) => text,
            Some(_) => return Err(format!("{name} is not a string")),
        };
        let url: Url = text.parse().map_err(|_| format!("{name} is not a URL"))?;
        let plain = url.scheme() == "http" && is_loopback(&url) && is_loopback(self.base);
        if url.scheme() != "https" && !plain {
            return Err(format!("{name} does not begin with https://"));
        }
        let Some(host) = url.host() else { return Err(format!("{name} has no host")) };
        let listed = |name: &str| Host::parse(name).is_ok_and(|listed| listed == host.to_owned());
        if self.base.host() == url.host() || self.hosts.iter().any(|name| listed(name)) {
            return Ok(Some(url));
        }
        let host = clipped(&host.to_string());
        Err(format!(
            "{name} is on host {host}, which is not the issuer's; if that is right, list it: \
             jwks_hosts = [\"{host}\"]"
        ))
    }
}

#[cfg(test)]
mod tests;
