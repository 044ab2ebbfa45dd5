//! One bounded HTTP exchange with a provider: size, time and number of redirects have limits, and
//! a redirect never leads to another host.
//!
//! It must never: go through a proxy that the environment names, follow a URL to another host,
//! take part of an answer for the whole, or put a document, a form or a credential into an error.

use std::time::Duration;

use http::StatusCode;
use thiserror::Error;
use url::Url;

use super::address::AddressError;
use crate::policy::provider::Reach;
use crate::secret::Secret;

/// An answer with status 200, read to its end.
#[derive(Debug)]
pub struct Answer {
    /// Always 200 so far.
    pub status: StatusCode,
    /// Where it came from in the end, after redirects.
    pub url: Url,
    /// How long it may be used by its own word (`Cache-Control`, less `Age`; RFC 9111 §4.2);
    /// `None` when it does not say, zero for `no-store` and `no-cache`.
    pub max_age: Option<Duration>,
    /// The content.
    pub body: Vec<u8>,
}

/// An exchange that failed. Says where, without the query.
#[derive(Debug, Error)]
#[error("{at}: {cause}")]
pub struct ExchangeError {
    /// The URL without its query.
    pub at: Box<str>,
    /// What happened there.
    #[source]
    pub cause: Cause,
}

/// Why an exchange failed.
#[derive(Debug, Error)]
pub enum Cause {
    /// No address that may be connected to.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// More than 64 exchanges wait for the endpoint.
    #[error("too many questions at once: no turn within {0:?}")]
    Busy(Duration),
    /// Nobody answers there.
    #[error("cannot connect to {address}: {source}")]
    Connect {
        /// The address that was tried last.
        address: std::net::SocketAddr,
        /// The system's word.
        source: std::io::Error,
    },
    /// The answer is compressed although it was asked for plain.
    #[error("the answer has a Content-Encoding, which was not asked for")]
    Encoding,
    /// Not HTTP, or cut off before its end.
    #[error("the answer is no complete HTTP response: {0}")]
    Incomplete(#[source] hyper::Error),
    /// A redirect that is not followed.
    #[error("the answer is a redirect {0}")]
    Redirect(Box<str>),
    /// Another status than 200.
    #[error("the answer has status {0} where 200 is expected")]
    Status(StatusCode),
    /// Took longer than `timeout`.
    #[error("no complete answer within {0:?}; is the provider slow or `timeout` too short?")]
    Timeout(Duration),
    /// The certificate is not accepted, or the other side speaks no TLS.
    #[error("no TLS connection: {0}; a certificate of your own authority needs `ca`")]
    Tls(#[source] std::io::Error),
    /// More bytes than are read.
    #[error("the answer is over {0} bytes")]
    TooLarge(usize),
    /// The URL cannot be used.
    #[error("the URL {0}")]
    Url(&'static str),
}

/// Fetches one document. At most 3 redirects are followed, and only to the same scheme, host and
/// port.
///
/// # Errors
///
/// [`ExchangeError`]; also for every status other than 200.
pub async fn get(url: &Url, reach: &Reach, bytes_max: usize) -> Result<Answer, ExchangeError> {
    let _ = (url, reach, bytes_max);
    std::future::pending().await
}

/// Keep-alive connections to one endpoint, shared by all who ask it; callable from any runtime.
#[derive(Debug)]
pub struct Client {
    url: Url,
    reach: Reach,
}

impl Client {
    /// Connects to nothing yet.
    #[must_use]
    pub fn new(url: Url, reach: Reach) -> Self {
        Self { url, reach }
    }

    /// Posts a form (`application/x-www-form-urlencoded`). `authorization` is the whole value of
    /// that field. Sent once more on a new connection when a kept one turns out to be dead; so only
    /// for what may be asked twice. No redirect is followed.
    ///
    /// # Errors
    ///
    /// [`ExchangeError`]; also for every status other than 200, and when too many ask at once.
    pub async fn post_form(
        &self,
        authorization: Option<&Secret<String>>,
        form: &Secret<String>,
        bytes_max: usize,
    ) -> Result<Answer, ExchangeError> {
        let _ = (&self.url, &self.reach, authorization, form, bytes_max);
        std::future::pending().await
    }
}
