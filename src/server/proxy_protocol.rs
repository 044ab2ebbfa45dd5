//! The PROXY protocol, versions 1 and 2 (haproxy.org, proxy-protocol.txt): an address that a load
//! balancer puts before the client's first byte.
//!
//! The caller asks only peers in `trusted_proxies`, and sets the deadline; from anyone else a
//! header would be a forged address. Nothing is read beyond the header: what follows stays in the
//! stream, but for the first bytes of a connection that turns out to have none, which are given
//! back.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use ppp::{v1, v2};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};

/// Version 1: "the worst case" of the specification, CRLF included.
const V1_BYTES_MAX: usize = 107;
/// Version 2: the fixed part.
const V2_FIXED_BYTES: usize = 16;
/// Version 2 with its addresses and extensions; the specification's packet of 536 bytes.
const V2_BYTES_MAX: usize = 536;
/// How many bytes tell a header from none: version 2's signature, the shortest of both versions'
/// headers being longer.
const SIGNATURE_BYTES: usize = 12;
const V1_SIGNATURE: &[u8] = b"PROXY ";

/// Whether a header must come first (`[listen] proxy_protocol`; `off` never gets here).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// A header, or none.
    Optional,
    /// A header, or the connection is closed.
    Required,
}

/// What stood before the client's first byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Announced {
    /// `LOCAL`, `UNKNOWN` or an address family without addresses of ours (unix): the balancer
    /// speaks for itself, as in a health check. The peer stays the peer.
    Local,
    /// No header ([`Mode::Optional`] only). These bytes, at most twelve, were read and belong to
    /// the client: see [`Replay`].
    Nothing(Vec<u8>),
    /// The client's address; from now on the peer.
    Source(SocketAddr),
}

/// Why a connection is closed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No header where one is required.
    #[error("no PROXY protocol header")]
    Absent,
    /// Not a header of version 1 or 2 that names a stream.
    #[error("an invalid PROXY protocol header")]
    Invalid,
    /// The connection ended or failed within the header.
    #[error("the connection ended within the PROXY protocol header")]
    Io(#[from] io::Error),
    /// Longer than the specification allows, or than a packet of 536 bytes.
    #[error("the PROXY protocol header is too long")]
    TooLong,
}

/// Reads a header, and nothing beyond it. Sets no deadline.
///
/// # Errors
///
/// [`Error`]; the connection must be closed without an answer.
pub async fn read<S: AsyncRead + Unpin>(stream: &mut S, mode: Mode) -> Result<Announced, Error> {
    let mut header = Vec::with_capacity(SIGNATURE_BYTES);
    while header.len() < SIGNATURE_BYTES {
        let wanted = (SIGNATURE_BYTES - header.len()) as u64;
        let read = (&mut *stream).take(wanted).read_buf(&mut header).await?;
        if read == 0 || !may_be_header(&header) {
            return match mode {
                Mode::Optional => Ok(Announced::Nothing(header)),
                Mode::Required if read == 0 => Err(io::Error::from(io::ErrorKind::UnexpectedEof))?,
                Mode::Required => Err(Error::Absent),
            };
        }
    }
    if header.starts_with(V1_SIGNATURE) {
        read_v1(stream, header).await
    } else {
        read_v2(stream, header).await
    }
}

/// Whether these first bytes can still become a header.
fn may_be_header(start: &[u8]) -> bool {
    let agree = |signature: &[u8]| start.iter().zip(signature).all(|(a, b)| a == b);
    agree(V1_SIGNATURE) || agree(v2::PROTOCOL_PREFIX)
}

async fn read_v1<S: AsyncRead + Unpin>(
    stream: &mut S,
    mut header: Vec<u8>,
) -> Result<Announced, Error> {
    // Byte by byte: the length is not announced, and the next byte is the client's. At most 95
    // reads, once a connection.
    while !header.ends_with(b"\n") {
        if header.len() >= V1_BYTES_MAX {
            return Err(Error::TooLong);
        }
        header.push(stream.read_u8().await?);
    }
    if !header.ends_with(b"\r\n") {
        return Err(Error::Invalid);
    }
    let parsed = v1::Header::try_from(header.as_slice()).map_err(|_| Error::Invalid)?;
    // The parser stops at the first CR; nothing may stand behind it but the LF.
    if parsed.header.len() != header.len() {
        return Err(Error::Invalid);
    }
    Ok(match parsed.addresses {
        v1::Addresses::Tcp4(ip) => source((ip.source_address, ip.source_port)),
        v1::Addresses::Tcp6(ip) => source((ip.source_address, ip.source_port)),
        v1::Addresses::Unknown => Announced::Local,
    })
}

async fn read_v2<S: AsyncRead + Unpin>(
    stream: &mut S,
    mut header: Vec<u8>,
) -> Result<Announced, Error> {
    let mut rest = [0; V2_FIXED_BYTES - SIGNATURE_BYTES];
    stream.read_exact(&mut rest).await?;
    let [_, _, high, low] = rest;
    let length = V2_FIXED_BYTES + usize::from(u16::from_be_bytes([high, low]));
    if length > V2_BYTES_MAX {
        return Err(Error::TooLong);
    }
    header.extend_from_slice(&rest);
    let from = header.len();
    header.resize(length, 0);
    stream.read_exact(header.get_mut(from..).unwrap_or_default()).await?;
    let parsed = v2::Header::try_from(header.as_slice()).map_err(|_| Error::Invalid)?;
    if parsed.command == v2::Command::Local {
        return Ok(Announced::Local);
    }
    match (parsed.protocol, parsed.addresses) {
        (v2::Protocol::Stream, v2::Addresses::IPv4(ip)) => {
            Ok(source((ip.source_address, ip.source_port)))
        }
        (v2::Protocol::Stream, v2::Addresses::IPv6(ip)) => {
            Ok(source((ip.source_address, ip.source_port)))
        }
        (v2::Protocol::Stream, v2::Addresses::Unix(_))
        | (v2::Protocol::Unspecified, v2::Addresses::Unspecified) => Ok(Announced::Local),
        (v2::Protocol::Datagram | v2::Protocol::Unspecified | v2::Protocol::Stream, _) => {
            Err(Error::Invalid)
        }
    }
}

fn source(address: impl Into<SocketAddr>) -> Announced {
    let address: SocketAddr = address.into();
    Announced::Source(SocketAddr::new(address.ip().to_canonical(), address.port()))
}

/// A stream with the bytes of [`Announced::Nothing`] put back before it.
#[derive(Debug)]
pub struct Replay<S> {
    start: Vec<u8>,
    given: usize,
    stream: S,
}

impl<S> Replay<S> {
    /// `stream` as if `start` had not been read from it.
    pub const fn new(start: Vec<u8>, stream: S) -> Self {
        Self { start, given: 0, stream }
    }

    /// The stream below.
    pub const fn get_ref(&self) -> &S {
        &self.stream
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Replay<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        match this.start.get(this.given..) {
            Some(left) if !left.is_empty() => {
                let count = left.len().min(buffer.remaining());
                buffer.put_slice(left.get(..count).unwrap_or_default());
                this.given += count;
                Poll::Ready(Ok(()))
            }
            _ => Pin::new(&mut this.stream).poll_read(cx, buffer),
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Replay<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;
