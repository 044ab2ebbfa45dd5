//! HTTP/2: hyper's client for what a browser does, and single frames for what it would not.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use tokio::runtime::Runtime;

use super::client::{Answer, Connection, Endpoint};
use super::pki::authority;

/// The runtime of all HTTP/2 clients of this process.
pub fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(1).enable_all().build().unwrap()
    })
}

/// An HTTP/2 connection.
#[derive(Clone)]
pub struct H2 {
    sender: SendRequest<Full<Bytes>>,
    host: String,
}

impl H2 {
    /// Connects, with `host` for SNI; panics unless ALPN chose h2.
    pub fn connect(address: SocketAddr, host: &str) -> Self {
        let config = authority().client(&[b"h2", b"http/1.1"], rustls::DEFAULT_VERSIONS);
        let sender = runtime().block_on(async {
            let tcp = tokio::net::TcpStream::connect(address).await.unwrap();
            let name = ServerName::try_from(host.to_owned()).unwrap();
            let tls = tokio_rustls::TlsConnector::from(config).connect(name, tcp).await.unwrap();
            assert_eq!(tls.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
            let (sender, connection) =
                handshake(TokioExecutor::new(), TokioIo::new(tls)).await.unwrap();
            tokio::spawn(connection);
            sender
        });
        Self { sender, host: host.to_owned() }
    }

    /// A request whose `:authority` is the connection's host.
    pub fn request(&self, method: &str, path: &str) -> http::request::Builder {
        http::Request::builder().method(method).uri(format!("https://{}{path}", self.host))
    }

    /// Sends a request and reads its whole answer.
    pub fn send(&self, request: http::Request<Full<Bytes>>) -> Result<Answer, hyper::Error> {
        runtime().block_on(self.sending(request))
    }

    /// The same as a future.
    pub async fn sending(
        &self,
        request: http::Request<Full<Bytes>>,
    ) -> Result<Answer, hyper::Error> {
        let response = self.sender.clone().send_request(request).await?;
        let text = |v: &http::HeaderValue| String::from_utf8_lossy(v.as_bytes()).into_owned();
        let status = response.status().as_u16();
        let fields = |map: &http::HeaderMap| {
            map.iter().map(|(n, v)| (n.to_string(), text(v))).collect::<Vec<_>>()
        };
        let headers = fields(response.headers());
        let collected = response.into_body().collect().await?;
        let trailers = collected.trailers().map(fields).unwrap_or_default();
        let body = collected.to_bytes().to_vec();
        Ok(Answer { status, headers, body, trailers, interim: Vec::new() })
    }

    /// A GET with an optional bearer token.
    pub fn get(&self, path: &str, token: Option<&str>) -> Result<Answer, hyper::Error> {
        let mut request = self.request("GET", path);
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        self.send(request.body(Full::default()).unwrap())
    }
}

/// Frame types (RFC 9113 §6).
pub mod kind {
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PING: u8 = 6;
    pub const GOAWAY: u8 = 7;
    pub const WINDOW_UPDATE: u8 = 8;
    pub const CONTINUATION: u8 = 9;
}

/// One frame.
#[derive(Clone, Debug)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

/// What the gateway made of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// HEADERS with `:status` 200.
    Ok,
    /// HEADERS with another status.
    Refused,
    /// RST_STREAM.
    Reset,
    /// GOAWAY or the end of the connection.
    Closed,
}

/// An HTTP/2 connection on which any frame can be written.
pub struct Frames {
    connection: Connection,
    buffer: Vec<u8>,
}

impl Frames {
    /// TLS with ALPN h2, the preface and empty SETTINGS.
    pub fn connect(address: SocketAddr, host: &str) -> Self {
        let tls = authority().client(&[b"h2"], rustls::DEFAULT_VERSIONS);
        let endpoint = Endpoint { address, tls: Some(Arc::clone(&tls)), host: host.to_owned() };
        let mut frames = Self { connection: endpoint.connect(), buffer: Vec::new() };
        frames.connection.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        frames.write(kind::SETTINGS, 0, 0, &[]);
        frames
    }

    /// Writes one frame; false once the peer has closed.
    pub fn write(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> bool {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let mut frame = vec![length[1], length[2], length[3], kind, flags];
        frame.extend(stream.to_be_bytes());
        frame.extend(payload);
        self.connection.try_write(&frame).is_ok()
    }

    /// Writes a whole request head, END_HEADERS set and END_STREAM when `end`.
    pub fn head(&mut self, stream: u32, fields: &[(&str, &str)], end: bool) -> bool {
        let block = hpack(fields);
        self.write(kind::HEADERS, 0x4 | u8::from(end), stream, &block)
    }

    /// The next frame, acknowledging SETTINGS and PING on the way; `None` at the end.
    pub fn next(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = self.take() {
                return Some(frame);
            }
            let bytes = self.connection.read_some().ok()?;
            if bytes.is_empty() {
                return None;
            }
            self.buffer.extend(bytes);
        }
    }

    /// Waits for what becomes of `stream`.
    pub fn outcome(&mut self, stream: u32) -> Outcome {
        while let Some(frame) = self.next() {
            match frame.kind {
                kind::HEADERS if frame.stream == stream => {
                    // Static table index 8 is ":status: 200" (RFC 7541 appendix A).
                    let ok = frame.payload.first() == Some(&0x88);
                    return if ok { Outcome::Ok } else { Outcome::Refused };
                }
                kind::RST_STREAM if frame.stream == stream => return Outcome::Reset,
                kind::GOAWAY => return Outcome::Closed,
                _ => {}
            }
        }
        Outcome::Closed
    }

    /// Whether the peer ends the connection within `limit`.
    pub fn closes_within(&mut self, limit: Duration) -> bool {
        self.connection.closes_within(limit)
    }

    fn take(&mut self) -> Option<Frame> {
        if self.buffer.len() < 9 {
            return None;
        }
        let length = u32::from_be_bytes([0, self.buffer[0], self.buffer[1], self.buffer[2]]);
        let total = 9 + usize::try_from(length).unwrap();
        if self.buffer.len() < total {
            return None;
        }
        let bytes: Vec<u8> = self.buffer.drain(..total).collect();
        let frame = Frame {
            kind: bytes[3],
            flags: bytes[4],
            stream: u32::from_be_bytes([bytes[5] & 0x7f, bytes[6], bytes[7], bytes[8]]),
            payload: bytes[9..].to_vec(),
        };
        if frame.kind == kind::SETTINGS && frame.flags & 1 == 0 {
            self.write(kind::SETTINGS, 1, 0, &[]);
        }
        Some(frame)
    }
}

/// A header block of literals without indexing and without Huffman coding (RFC 7541 §6.2.2).
pub fn hpack(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            length(&mut block, text.len());
            block.extend(text.bytes());
        }
    }
    block
}

fn length(block: &mut Vec<u8>, mut value: usize) {
    if value < 127 {
        block.push(u8::try_from(value).unwrap());
        return;
    }
    block.push(127);
    value -= 127;
    while value >= 128 {
        block.push(u8::try_from(value % 128).unwrap() | 128);
        value /= 128;
    }
    block.push(u8::try_from(value).unwrap());
}
