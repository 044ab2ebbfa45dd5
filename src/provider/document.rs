//! A JWKS document from the network: fetched, read, and told about in words for one log line.
//!
//! It must never take a shared secret (R3), choose between two keys of one name, or put anything
//! of the document into words beyond a clipped and escaped key id.

use std::collections::HashSet;
use std::time::Duration;

use thiserror::Error;

use super::discovery::{self, DiscoveryError};
use super::exchange::{self, ExchangeError, clipped, is_html, place};
use crate::auth::keys::{KeyError, KeySet, SkippedKey, from_jwks};
use crate::auth::{Algorithm, VerificationKey};
use crate::policy::provider::{self, KeySource};

/// Most bytes of a JWKS.
const BYTES_MAX: usize = 1024 * 1024;
/// Most keys of a JWKS, used or not.
const KEYS_MAX: usize = 100;
/// Keys whose reason is told one by one.
const REASONS_MAX: usize = 8;

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
    #[error("the answer is HTML, not JSON; is it the URL of the JWKS?")]
    Html,
    /// No key that the entry could use. A provider that publishes such a document must not empty
    /// a working set.
    #[error("no usable key in the document ({0})")]
    NoUsableKey(Box<str>),
    /// No JWKS.
    #[error(transparent)]
    NotKeys(#[from] KeyError),
    /// More keys than are read.
    #[error("{0} keys in the document; at most {KEYS_MAX} are taken")]
    TooMany(usize),
}

/// Fetches the keys of a source, after asking the provider where they are if it is to be asked:
/// one to three exchanges, each within the reach's timeout.
///
/// # Errors
///
/// [`SourceError`]; also for a document without a usable key.
pub async fn fetch_keys(source: &KeySource) -> Result<Published, SourceError> {
    let url = match &source.published {
        provider::Published::Jwks(url) => url.clone(),
        provider::Published::Discovery => {
            let issuer = source.issuer.as_deref().unwrap_or_default();
            discovery::discover(issuer, &source.hosts, &source.reach).await?.jwks_uri
        }
    };
    let answer = exchange::get(&url, &source.reach, BYTES_MAX).await?;
    let (keys, notes) = read_keys(&answer.body, &source.algorithms)
        .map_err(|reason| SourceError::Document { at: place(&answer.url), reason })?;
    Ok(Published { keys, notes, max_age: answer.max_age, text: answer.body })
}

/// Reads a JWKS document: the usable keys, at least one, and in words what was left out. Also for
/// the last-good file.
///
/// A key that is published twice counts once; two keys that one token could mean (same kid, same
/// algorithm) are both left out.
///
/// # Errors
///
/// [`DocumentError`].
pub fn read_keys(
    text: &[u8],
    algorithms: &[Algorithm],
) -> Result<(Vec<VerificationKey>, Vec<String>), DocumentError> {
    if is_html(text) {
        return Err(DocumentError::Html);
    }
    let KeySet { keys, skipped } = from_jwks(text, algorithms, false)?;
    let total = keys.len() + skipped.len();
    if total > KEYS_MAX {
        return Err(DocumentError::TooMany(total));
    }
    let (keys, ambiguous) = told_apart(once_each(keys));
    let mut notes: Vec<String> = skipped.iter().map(left_out).collect();
    notes.extend(ambiguous);
    if notes.len() > REASONS_MAX {
        let more = notes.len() - REASONS_MAX;
        notes.truncate(REASONS_MAX);
        notes.push(format!("and {more} more"));
    }
    if keys.is_empty() {
        if notes.is_empty() {
            notes.push("it holds none".to_owned());
        }
        return Err(DocumentError::NoUsableKey(notes.join("; ").into()));
    }
    if !notes.is_empty() {
        notes.insert(0, format!("{} of {total} keys used", keys.len()));
    }
    Ok((keys, notes))
}

/// The same key under the same name is one key.
fn once_each(keys: Vec<VerificationKey>) -> Vec<VerificationKey> {
    let mut seen = HashSet::new();
    let mut first =
        |key: &VerificationKey| seen.insert((key.kid().map(str::to_owned), *key.fingerprint()));
    keys.into_iter().filter(|key| first(key)).collect()
}

/// Leaves out keys that share their name with another of the same algorithm (R5).
fn told_apart(keys: Vec<VerificationKey>) -> (Vec<VerificationKey>, Vec<String>) {
    let mut seen = HashSet::new();
    let name = |key: &VerificationKey| Some((key.kid()?.to_owned(), key.algorithm()));
    let twice: HashSet<_> =
        keys.iter().filter_map(name).filter(|name| !seen.insert(name.clone())).collect();
    let ambiguous = |key: &VerificationKey| name(key).is_some_and(|name| twice.contains(&name));
    let words =
        |kid: &str| format!("key \"{}\": several different keys have this kid", clipped(kid));
    let mut notes: Vec<String> = twice.iter().map(|(kid, _)| words(kid)).collect();
    notes.sort();
    (keys.into_iter().filter(|key| !ambiguous(key)).collect(), notes)
}

/// Why a key is not used, in words.
fn left_out(key: &SkippedKey) -> String {
    match &key.kid {
        Some(kid) => format!("key \"{}\": {}", clipped(kid), key.reason),
        None => format!("key {} (without kid): {}", key.index + 1, key.reason),
    }
}

#[cfg(test)]
mod tests;
