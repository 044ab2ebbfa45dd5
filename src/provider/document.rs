//! A JWKS document from the network: fetched, read, and told about in words for one log line.
//!
//! It must never take a shared secret (R3), choose between two keys of one name, or put anything
//! of the document into words beyond a clipped and escaped key id.

use std::time::Duration;

use thiserror::Error;

use super::discovery::DiscoveryError;
use super::exchange::ExchangeError;
use crate::auth::keys::KeyError;
use crate::auth::{Algorithm, VerificationKey};
use crate::policy::provider::KeySource;

/// What a provider published.
#[derive(Debug)]
pub struct Published {
    /// The usable keys, at least one.
    pub keys: Vec<VerificationKey>,
    /// What was left out and why, for one log line; empty when every key is used.
    pub notes: Vec<String>,
    /// How long the document may be used by its own word.
    pub max_age: Option<Duration>,
    /// The document as it was read, for the last-good file.
    pub text: Vec<u8>,
}

/// Why there are no keys.
#[derive(Debug, Error)]
pub enum SourceError {
    /// Where the keys are could not be found out.
    #[error(transparent)]
    Discovery(#[from] DiscoveryError),
    /// What was fetched is of no use.
    #[error("{at}: {reason}")]
    Document {
        /// The document's URL, without the query.
        at: Box<str>,
        /// What is wrong with it.
        #[source]
        reason: DocumentError,
    },
    /// The keys could not be fetched.
    #[error(transparent)]
    Exchange(#[from] ExchangeError),
}

/// Why a document gives no keys.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DocumentError {
    /// A web page, as logins and proxies send it.
    #[error("the answer is HTML, not JSON")]
    Html,
    /// No JWKS.
    #[error(transparent)]
    NotKeys(KeyError),
    /// More keys than are read.
    #[error("{0} keys; at most 100 are taken")]
    TooMany(usize),
    /// No key that the entry could use.
    #[error("no usable key ({0})")]
    NoUsableKey(Box<str>),
}

/// Fetches the keys of a source, after asking the provider where they are if it is to be asked.
///
/// # Errors
///
/// [`SourceError`]. A document without a usable key is an error: it must not empty a working set.
pub async fn fetch_keys(source: &KeySource) -> Result<Published, SourceError> {
    let _ = source;
    std::future::pending().await
}

/// Reads a JWKS document: the usable keys, and what was left out. Also for the last-good file.
///
/// # Errors
///
/// [`DocumentError`].
pub fn read_keys(
    text: &[u8],
    algorithms: &[Algorithm],
) -> Result<(Vec<VerificationKey>, Vec<String>), DocumentError> {
    let _ = (text, algorithms);
    Err(DocumentError::Html)
}
