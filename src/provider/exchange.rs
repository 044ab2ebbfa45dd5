//! Bounded HTTP exchanges with a provider: size, time and number of redirects have limits, and a
//! redirect never leads to another host.
//!
//! It must never: go through a proxy that the environment names, follow a URL to another host,
//! take part of an answer for the whole, or put a document, a form or a credential into an error.

mod client;
mod connection;
#[cfg(test)]
mod tests;

use std::time::Duration;

use http::header::{ACCEPT, ACCEPT_ENCODING, CONNECTION, CONTENT_TYPE, HOST, LOCATION, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use http_body_util::Full;
use hyper::body::Bytes;
use thiserror::Error;
use tokio::time::{Instant, timeout_at};
use url::Url;
use zeroize::Zeroizing;

use super::address::AddressError;
use crate::policy::provider::Reach;
use crate::secret::Secret;

pub use client::Client;
use connection::{Connection, content, receive};

/// Redirects that are followed for one document.
const REDIRECTS_MAX: usize = 3;

/// Characters of somebody else's text that an error repeats.
const QUOTED_CHARS_MAX: usize = 60;

/// An answer with status 200, read to its end.
#[derive(Debug)]
pub struct Answer {
    /// 200: any other is a [`Cause::Status`].
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
    /// No connection to an address that may be connected to.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// The `Authorization` field would not be a legal one.
    #[error("the client's name or secret has characters that no header field may have")]
    Authorization,
    /// As many exchanges as are allowed at once are going on, and none ended in time.
    #[error("too many questions at once: no turn within {0:?}")]
    Busy(Duration),
    /// The answer is compressed although it was asked for plain.
    #[error("the answer has a Content-Encoding, though none was asked for")]
    Encoding,
    /// Not HTTP, too large a head, or cut off before its end.
    #[error("no complete HTTP response: {0}")]
    Incomplete(#[source] hyper::Error),
    /// A redirect that is not followed.
    #[error(
        "it redirects to {0}, which is not followed: only the same scheme, host and port are, and \
         at most 3 times; configure the URL that it ends at"
    )]
    Redirect(Box<str>),
    /// Another status than 200.
    #[error("status {0} where 200 is expected")]
    Status(StatusCode),
    /// Took longer than `timeout`.
    #[error("no complete answer within {0:?}; is the provider slow, or `timeout` too short?")]
    Timeout(Duration),
    /// The certificate is not accepted, or the other side speaks no TLS.
    #[error("no TLS connection: {0}; a certificate of an authority of your own needs `ca`")]
    Tls(#[source] std::io::Error),
    /// More bytes than are read.
    #[error("the answer is over {0} bytes")]
    TooLarge(usize),
    /// The URL cannot be used.
    #[error("the URL {0}")]
    Url(&'static str),
}

/// Fetches one document. At most 3 redirects are followed, and only to the same scheme, host and
/// port; each connects anew, to an address that is checked anew.
///
/// # Errors
///
/// [`ExchangeError`]; also for every status other than 200.
pub async fn get(url: &Url, reach: &Reach, bytes_max: usize) -> Result<Answer, ExchangeError> {
    let deadline = Instant::now() + reach.timeout;
    let mut at = url.clone();
    let followed = follow(&mut at, reach, bytes_max, deadline);
    let outcome = timeout_at(deadline, followed).await;
    match outcome.unwrap_or(Err(Cause::Timeout(reach.timeout))) {
        Ok(answer) => Ok(answer),
        Err(cause) => Err(ExchangeError { at: place(&at), cause }),
    }
}

async fn follow(
    at: &mut Url,
    reach: &Reach,
    bytes_max: usize,
    deadline: Instant,
) -> Result<Answer, Cause> {
    for _ in 0..=REDIRECTS_MAX {
        let mut request = request(Method::GET, at, Bytes::new())?;
        request.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        let mut connection = Connection::open(at, reach, deadline).await?;
        let response = connection.send(request).await.map_err(Cause::Incomplete)?;
        if !is_redirect(response.status()) {
            return receive(response, at, bytes_max).await;
        }
        *at = target(at, response.headers())?;
    }
    Err(Cause::Redirect("one URL after another".into()))
}

/// An answer to something posted, read to its end where it is a success.
#[derive(Debug)]
pub struct Reply {
    /// Any: what it means is the caller's business.
    pub status: StatusCode,
    /// The content of a 2xx answer; of any other nothing, and it was not read.
    pub body: Vec<u8>,
}

/// Posts a JSON document once, on a connection of its own: never a second time, whatever happens,
/// and no redirect is followed. `fields` are sent besides.
///
/// # Errors
///
/// [`ExchangeError`]; every status is an answer.
pub async fn post_json(
    url: &Url,
    reach: &Reach,
    fields: HeaderMap,
    document: &Secret<String>,
    bytes_max: usize,
) -> Result<Reply, ExchangeError> {
    let deadline = Instant::now() + reach.timeout;
    let exchange = async {
        let mut request = request(Method::POST, url, wiped(document))?;
        request.headers_mut().extend(fields);
        request.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        let json = HeaderValue::from_static("application/json");
        request.headers_mut().insert(CONTENT_TYPE, json);
        let mut connection = Connection::open(url, reach, deadline).await?;
        let response = connection.send(request).await.map_err(Cause::Incomplete)?;
        let status = response.status();
        let body =
            if status.is_success() { content(response, bytes_max).await? } else { Vec::new() };
        Ok(Reply { status, body })
    };
    let outcome = timeout_at(deadline, exchange).await;
    let failed = |cause| ExchangeError { at: place(url), cause };
    outcome.unwrap_or(Err(Cause::Timeout(reach.timeout))).map_err(failed)
}

/// Whether the URL's server can be connected to, over TLS where that is its scheme. Nothing is
/// asked.
///
/// # Errors
///
/// [`ExchangeError`].
pub async fn try_connecting(url: &Url, reach: &Reach) -> Result<(), ExchangeError> {
    let deadline = Instant::now() + reach.timeout;
    let connecting = async {
        check(url)?;
        Connection::open(url, reach, deadline).await.map(drop)
    };
    let outcome = timeout_at(deadline, connecting).await;
    let failed = |cause| ExchangeError { at: place(url), cause };
    outcome.unwrap_or(Err(Cause::Timeout(reach.timeout))).map_err(failed)
}

/// The bytes of what is posted, wiped when the last exchange lets go of them.
fn wiped(content: &Secret<String>) -> Bytes {
    Bytes::from_owner(Zeroizing::new(content.expose().clone().into_bytes()))
}

/// A request without credentials, as every kind of exchange sends it. The URL is checked first.
fn request(method: Method, url: &Url, content: Bytes) -> Result<Request<Full<Bytes>>, Cause> {
    check(url)?;
    let target = match url.query() {
        Some(query) => format!("{}?{query}", url.path()),
        None => url.path().to_owned(),
    };
    let unusable = |_: http::Error| Cause::Url("cannot be asked for");
    Request::builder()
        .method(method)
        .uri(target)
        .header(HOST, url.authority())
        .header(USER_AGENT, concat!("postern/", env!("CARGO_PKG_VERSION")))
        .header(ACCEPT, "application/json, application/jwk-set+json, */*;q=0.1")
        .header(ACCEPT_ENCODING, "identity")
        .body(Full::new(content))
        .map_err(unusable)
}

fn check(url: &Url) -> Result<(), Cause> {
    if !["https", "http"].contains(&url.scheme()) {
        return Err(Cause::Url("must begin with https://"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Cause::Url("must not carry a user or password"));
    }
    if url.fragment().is_some() {
        return Err(Cause::Url("must not have a fragment (#)"));
    }
    Ok(())
}

/// RFC 9110 §15.4; of the others, 300 asks a human and 304 answers what was not asked.
fn is_redirect(status: StatusCode) -> bool {
    [301, 302, 303, 307, 308].contains(&status.as_u16())
}

/// Where a redirect leads (RFC 9110 §10.2.2), if it stays with the same server.
fn target(from: &Url, headers: &HeaderMap) -> Result<Url, Cause> {
    let mut locations = headers.get_all(LOCATION).iter();
    let (Some(location), None) = (locations.next(), locations.next()) else {
        return Err(Cause::Redirect("nowhere (no single Location)".into()));
    };
    let location = location.to_str().ok().and_then(|text| from.join(text).ok());
    let to = location.ok_or_else(|| Cause::Redirect("what is no URL".into()))?;
    if to.origin() != from.origin() || !to.origin().is_tuple() {
        return Err(Cause::Redirect(elsewhere(&to)));
    }
    check(&to).map(|()| to)
}

/// Scheme, host and port, and no more.
fn elsewhere(url: &Url) -> Box<str> {
    let origin = format!("{}://{}", url.scheme(), url.host_str().unwrap_or_default());
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}{port}", clipped(&origin)).into()
}

/// The URL for an error: without query, user and fragment, and not without end.
pub(super) fn place(url: &Url) -> Box<str> {
    let mut shown = url.clone();
    shown.set_query(None);
    shown.set_fragment(None);
    // An error says that there is no authority to take it from, so that there is none to hide.
    let _ = shown.set_username("");
    let _ = shown.set_password(None);
    let text = shown.as_str();
    if text.chars().nth(300).is_none() {
        return text.into();
    }
    text.chars().take(300).chain("…".chars()).collect::<String>().into()
}

/// The beginning of somebody else's text, without anything that a terminal or a log would act on.
pub(super) fn clipped(text: &str) -> String {
    let mut shown: String =
        text.chars().take(QUOTED_CHARS_MAX).flat_map(char::escape_default).collect();
    if text.chars().nth(QUOTED_CHARS_MAX).is_some() {
        shown.push('…');
    }
    shown
}

/// Whether the content is a web page (a login, a proxy's error) rather than data.
pub(super) fn is_html(content: &[u8]) -> bool {
    content.trim_ascii_start().starts_with(b"<")
}
