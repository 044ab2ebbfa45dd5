//! Opening a connection to one server: TCP, TLS where asked for, the HTTP/1.1 handshake.

use std::io;
use std::time::Duration;

use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::AbortHandle;
use tokio_rustls::TlsConnector;

use super::Failure;
use crate::body::Body;
use crate::policy::upstream::Server;

/// A response head above this size is a malformed response (502).
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// More response fields than this are a malformed response (502); as many as hyper has room for
/// without asking for memory, and as many as other gateways take.
const FIELDS_MAX: usize = 100;

/// What the connection may be used for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Requests and responses, one after another.
    Requests,
    /// One request that may turn the connection into a tunnel.
    Upgrade,
}

/// A connection, and the task that drives it.
pub(super) type Driven = (SendRequest<Body>, AbortHandle);

/// Connects within `limit`, which covers name resolution, TCP and TLS.
pub(super) async fn connect(
    server: &Server,
    purpose: Purpose,
    limit: Duration,
) -> Result<Driven, Failure> {
    tokio::time::timeout(limit, open(server, purpose))
        .await
        .map_err(|_| Failure::ConnectTimeout)?
        .map_err(Failure::Connect)
}

async fn open(server: &Server, purpose: Purpose) -> io::Result<Driven> {
    let tcp = TcpStream::connect((&*server.host, server.port)).await?;
    tcp.set_nodelay(true)?;
    match &server.tls {
        None => handshake(tcp, purpose).await,
        Some(tls) => {
            let connector = TlsConnector::from(tls.config.clone());
            handshake(connector.connect(tls.name.clone(), tcp).await?, purpose).await
        }
    }
}

async fn handshake<S>(stream: S, purpose: Purpose) -> io::Result<Driven>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = http1::Builder::new()
        .max_header_size(HEAD_BYTES_MAX)
        .max_headers(FIELDS_MAX)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(io::Error::other)?;
    // The driver ends when the sender is dropped or the server hangs up; its error, if any, is
    // what the request in flight is answered with.
    let driver = match purpose {
        Purpose::Requests => tokio::spawn(async move { drop(connection.await) }),
        Purpose::Upgrade => tokio::spawn(async move { drop(connection.with_upgrades().await) }),
    };
    Ok((sender, driver.abort_handle()))
}
