//! HTTP on one accepted stream: hyper's HTTP/1 or HTTP/2 server, chosen by ALPN and never by
//! sniffing, with every limit set explicitly (R36-R38).

use std::convert::Infallible;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio::sync::watch as drain_signal;

use super::metered::Metered;
use super::socket::Socket;
use super::watch::{Ended, Patience, watch};
use crate::policy::RequestLimits;
use crate::proxy::Outgoing;
use crate::proxy::connection::Activity;

/// The longest target that `http::Uri` can hold; hyper answers longer ones with 414.
const TARGET_BYTES_MAX: usize = 65_534;
const STREAM_WINDOW_BYTES: u32 = 64 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;
const STREAMS_MAX: u32 = 100;
const MAX_FRAME_BYTES: u32 = 16 * 1024;
const SEND_BUFFER_BYTES: usize = 256 * 1024;
/// Streams that the client reset before they were accepted (rapid reset, CVE-2023-44487).
const PENDING_RESETS_MAX: usize = 20;
/// Streams that this side had to reset (`MadeYouReset`, CVE-2025-8671).
const LOCAL_RESETS_MAX: usize = 64;
const PING_EVERY: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// HTTP versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Http1,
    Http2,
}

/// What serving takes besides the stream and the service.
pub(super) struct Terms {
    pub(super) protocol: Protocol,
    /// Whether the stream is TLS: answers then carry HSTS.
    pub(super) secure: bool,
    pub(super) limits: RequestLimits,
    pub(super) patience: Patience,
    pub(super) activity: Arc<Activity>,
    pub(super) drain: drain_signal::Receiver<bool>,
}

/// Serves the stream until it ends.
pub(super) async fn serve<S, F, A>(stream: S, answer: F, terms: Terms)
where
    S: Socket,
    F: Fn(Request<Incoming>) -> A + Send + 'static,
    A: Future<Output = Result<Response<Outgoing>, Infallible>> + Send + 'static,
{
    let Terms { protocol, secure, limits, patience, activity, drain } = terms;
    let heads = protocol == Protocol::Http1;
    let io = TokioIo::new(Metered::new(stream, activity.clone(), heads));
    match protocol {
        Protocol::Http1 => {
            let mut connection =
                http1_builder(limits).serve_connection(io, service_fn(answer)).with_upgrades();
            let drain_it = http1::UpgradeableConnection::graceful_shutdown;
            let ended =
                watch(Pin::new(&mut connection), drain_it, &activity, patience, drain).await;
            if ended == Ended::HeadTimeout
                && let Some(parts) = connection.into_parts()
                && !parts.read_buf.is_empty()
            {
                request_timeout(parts.io.into_inner(), secure).await;
            }
        }
        Protocol::Http2 => {
            activity.has_windows();
            let connection = pin!(http2_builder(limits).serve_connection(io, service_fn(answer)));
            let drain_it = http2::Connection::graceful_shutdown;
            watch(connection, drain_it, &activity, patience, drain).await;
        }
    }
}

/// Tells a client that was too slow with its request head (RFC 9110 §15.5.9). Once, briefly: it
/// may not be reading either.
async fn request_timeout<S: AsyncWrite + Unpin>(mut stream: S, secure: bool) {
    let mut answer = "HTTP/1.1 408 Request Timeout\r\n".to_owned();
    if secure {
        answer.push_str("Strict-Transport-Security: max-age=31536000\r\n"); // R28
    }
    answer.push_str("Connection: close\r\nContent-Length: 0\r\n\r\n");
    let farewell = async {
        stream.write_all(answer.as_bytes()).await?;
        stream.shutdown().await
    };
    drop(tokio::time::timeout(Duration::from_secs(1), farewell).await);
}

fn http1_builder(limits: RequestLimits) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        // Room for a target of its own limit beside the fields: the pipeline tells 414 from 431.
        .max_header_size(limits.header_bytes.saturating_add(TARGET_BYTES_MAX))
        .max_headers(limits.header_count)
        // `watch` keeps the time: hyper's timer would also cut idle keep-alive connections short.
        .header_read_timeout(None)
        .half_close(false);
    builder
}

fn http2_builder(limits: RequestLimits) -> http2::Builder<TokioExecutor> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(u32::try_from(limits.header_bytes).unwrap_or(u32::MAX))
        .max_pending_accept_reset_streams(PENDING_RESETS_MAX)
        .max_local_error_reset_streams(LOCAL_RESETS_MAX)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_frame_size(MAX_FRAME_BYTES)
        .max_send_buf_size(SEND_BUFFER_BYTES)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_TIMEOUT);
    builder
}
