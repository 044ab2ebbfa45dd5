//! One HTTP/1.1 connection to a provider: opened to a checked address, asked, read within limits.

use std::time::Duration;

use headers::{Age, CacheControl, HeaderMapExt as _};
use http::header::CONTENT_ENCODING;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body as _, Bytes, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::AbortHandle;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use url::{Host, Url};

use super::{Answer, Cause};
use crate::policy::provider::Reach;
use crate::provider::address;

/// A response head above this size is refused.
const HEAD_BYTES_MAX: usize = 32 * 1024;
/// More response fields than this are refused.
const FIELDS_MAX: usize = 100;

/// An open connection; the socket closes when this is dropped.
pub(super) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    _driver: Driver,
}

/// The task that moves the bytes, on the runtime that opened the connection. Stopped when dropped:
/// a server that reads nothing more must not keep it alive.
struct Driver(AbortHandle);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Connection {
    /// Connects; the caller sets the deadline, which here only divides the time among addresses.
    pub(super) async fn open(url: &Url, reach: &Reach, deadline: Instant) -> Result<Self, Cause> {
        let tls = match url.scheme() {
            "https" => Some((TlsConnector::from(reach.tls.clone()), server_name(url)?)),
            _ => None,
        };
        let tcp = address::connect(url, reach, deadline).await?;
        // Costs time, not correctness, where the system does not have it.
        let _ = tcp.set_nodelay(true);
        match tls {
            Some((tls, name)) => {
                Self::handshake(tls.connect(name, tcp).await.map_err(Cause::Tls)?).await
            }
            None => Self::handshake(tcp).await,
        }
    }

    async fn handshake<S>(stream: S) -> Result<Self, Cause>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, connection) = http1::Builder::new()
            .max_header_size(HEAD_BYTES_MAX)
            .max_headers(FIELDS_MAX)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(Cause::Incomplete)?;
        // Its error is also what the request in flight is answered with.
        let driver = tokio::spawn(async move { drop(connection.await) });
        Ok(Self { sender, _driver: Driver(driver.abort_handle()) })
    }

    /// Sends a request and waits for the response's head.
    pub(super) async fn send(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, hyper::Error> {
        self.sender.ready().await?;
        self.sender.send_request(request).await
    }

    /// Whether no request can be sent any more.
    pub(super) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }
}

fn server_name(url: &Url) -> Result<ServerName<'static>, Cause> {
    match url.host() {
        Some(Host::Domain(name)) => ServerName::try_from(name.to_owned())
            .map_err(|_| Cause::Url("has a host that no certificate can name")),
        Some(Host::Ipv4(address)) => Ok(std::net::IpAddr::from(address).into()),
        Some(Host::Ipv6(address)) => Ok(std::net::IpAddr::from(address).into()),
        None => Err(Cause::Url("has no host")),
    }
}

/// Reads a response to its end, or not at all.
pub(super) async fn receive(
    response: Response<Incoming>,
    url: &Url,
    bytes_max: usize,
) -> Result<Answer, Cause> {
    let status = response.status();
    if status != StatusCode::OK {
        return Err(Cause::Status(status));
    }
    let max_age = max_age(response.headers());
    Ok(Answer { status, url: url.clone(), max_age, body: content(response, bytes_max).await? })
}

/// Reads a response's content to its end, whatever its status.
pub(super) async fn content(
    response: Response<Incoming>,
    bytes_max: usize,
) -> Result<Vec<u8>, Cause> {
    let (head, body) = response.into_parts();
    let mut encodings = head.headers.get_all(CONTENT_ENCODING).iter();
    if encodings.any(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return Err(Cause::Encoding);
    }
    read(body, bytes_max).await
}

async fn read(mut body: Incoming, bytes_max: usize) -> Result<Vec<u8>, Cause> {
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if announced > bytes_max {
        return Err(Cause::TooLarge(bytes_max));
    }
    let mut content = Vec::with_capacity(announced);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(Cause::Incomplete)?;
        let data = frame.data_ref().map_or(&[][..], |data| data);
        if content.len() + data.len() > bytes_max {
            return Err(Cause::TooLarge(bytes_max));
        }
        content.extend_from_slice(data);
    }
    Ok(content)
}

/// Freshness by the answer's own word (RFC 9111 §4.2.1, §4.2.3).
fn max_age(headers: &HeaderMap) -> Option<Duration> {
    let control = headers.typed_get::<CacheControl>()?;
    if control.no_store() || control.no_cache() {
        return Some(Duration::ZERO);
    }
    let age = headers.typed_get::<Age>().map_or(0, |age| age.as_secs());
    control.max_age().map(|max_age| max_age.saturating_sub(Duration::from_secs(age)))
}
