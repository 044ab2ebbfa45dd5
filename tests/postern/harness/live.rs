//! Live streams of every kind, and the service that they lead to.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::client::{Connection, Request};
use super::gateway::Gateway;
use super::h2::H2;
use super::setup::{HOST, Setup};
use super::soon;
use super::upstream::{After, Seen, Upstream, reply};

const SWITCHED: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// Between two pieces of an answer that goes on.
const BEAT: Duration = Duration::from_millis(40);

/// A kind of stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    WebSocket,
    Sse,
    SseH2,
    GrpcH2,
    Download,
    DownloadH2,
}

/// All of them.
pub const KINDS: [Kind; 6] =
    [Kind::WebSocket, Kind::Sse, Kind::SseH2, Kind::GrpcH2, Kind::Download, Kind::DownloadH2];

impl Kind {
    fn path(self) -> &'static str {
        match self {
            Self::WebSocket => "/ws",
            Self::Sse | Self::SseH2 => "/api/events",
            Self::GrpcH2 => "/api/grpc",
            Self::Download | Self::DownloadH2 => "/api/download",
        }
    }
}

/// How a stream ended, as its client saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// A Close frame with this code.
    Code(u16),
    /// The connection ended, and what had come is no whole answer.
    Cut,
    /// RST_STREAM with this code.
    Reset(u32),
    /// Trailers with this `grpc-status`.
    Status(String),
    /// As if it were complete, or refused before it began.
    Other(String),
}

/// What the service has seen of its streams.
#[derive(Default)]
pub struct Watched {
    /// Streams that are open.
    pub open: AtomicUsize,
    /// What came through WebSockets.
    pub received: Mutex<Vec<u8>>,
    /// Whether it stops sending.
    pub is_quiet: AtomicBool,
}

/// A service with streams.
pub struct Service {
    pub upstream: Upstream,
    pub watched: Arc<Watched>,
}

impl Service {
    pub fn start() -> Self {
        let watched = Arc::new(Watched::default());
        let shared = watched.clone();
        let upstream = Upstream::with(move |seen, stream| answer(&shared, seen, stream));
        Self { upstream, watched }
    }

    /// A gateway in front of it: `/api/*` and `/ws` for any token, `/open/*` for anybody.
    pub fn setup(&self) -> Setup {
        Setup::standard(&self.upstream)
            .route("ws", "path = \"/ws\"\nupgrade = [\"websocket\"]")
            .route("open-ws", "path = \"/open/ws\"\nauth = \"none\"\nupgrade = [\"websocket\"]")
    }

    /// How many streams are open.
    pub fn open(&self) -> usize {
        self.watched.open.load(Ordering::SeqCst)
    }

    /// How many requests came with this token.
    pub fn has_seen(&self, jti: &str) -> bool {
        self.upstream.seen().iter().any(|seen| seen.header("x-auth-token-id") == Some(jti))
    }
}

fn answer(watched: &Watched, seen: &Seen, stream: &mut TcpStream) -> After {
    let beat: &[u8] = match seen.target.trim_start_matches("/open").trim_start_matches("/api") {
        "/ws" => return echo(watched, seen, stream),
        "/events" => {
            drop(stream.write_all(
                b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\
                  Transfer-Encoding: chunked\r\n\r\n",
            ));
            b"9\r\ndata: x\n\n\r\n"
        }
        "/grpc" => {
            drop(stream.write_all(
                b"HTTP/1.1 200 OK\r\nContent-Type: application/grpc+proto\r\n\
                  Transfer-Encoding: chunked\r\n\r\n",
            ));
            b"8\r\n\0\0\0\0\x03abc\r\n"
        }
        "/grpc-broken" => {
            drop(stream.write_all(
                b"HTTP/1.1 200 OK\r\nContent-Type: application/grpc\r\n\
                  Transfer-Encoding: chunked\r\n\r\n7\r\n\0\0\0\x10\0ab\r\n",
            ));
            b"1\r\nz\r\n"
        }
        "/download" => {
            drop(stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n"));
            b"0123456789"
        }
        "/firehose" => {
            drop(stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n"));
            watched.open.fetch_add(1, Ordering::SeqCst);
            let piece = [7; 65536];
            while stream.write_all(&piece).is_ok() {}
            watched.open.fetch_sub(1, Ordering::SeqCst);
            return After::Close;
        }
        _ => {
            reply(stream, "200 OK", &[], "plain");
            return After::Keep;
        }
    };
    watched.open.fetch_add(1, Ordering::SeqCst);
    beat_on(watched, stream, beat);
    watched.open.fetch_sub(1, Ordering::SeqCst);
    After::Close
}

/// Sends a piece again and again until the other side is gone.
fn beat_on(watched: &Watched, stream: &mut TcpStream, piece: &[u8]) {
    stream.set_read_timeout(Some(BEAT)).unwrap();
    loop {
        if !watched.is_quiet.load(Ordering::SeqCst) && stream.write_all(piece).is_err() {
            return;
        }
        match stream.read(&mut [0; 64]) {
            Ok(0) => return,
            Err(e) if ![ErrorKind::WouldBlock, ErrorKind::TimedOut].contains(&e.kind()) => return,
            _ => {}
        }
    }
}

fn echo(watched: &Watched, seen: &Seen, stream: &mut TcpStream) -> After {
    if seen.header("upgrade").is_none() {
        reply(stream, "200 OK", &[], "plain");
        return After::Keep;
    }
    drop(stream.write_all(SWITCHED));
    watched.open.fetch_add(1, Ordering::SeqCst);
    let mut buffer = [0; 4096];
    while let Ok(n) = stream.read(&mut buffer) {
        watched.received.lock().unwrap().extend_from_slice(&buffer[..n]);
        if n == 0 || stream.write_all(&buffer[..n]).is_err() {
            break;
        }
    }
    watched.open.fetch_sub(1, Ordering::SeqCst);
    After::Close
}

/// A WebSocket handshake.
pub fn upgrade(gateway: &Gateway, path: &str) -> Request {
    let request = gateway.get(path).header("Connection", "keep-alive, Upgrade");
    let request = request.header("Upgrade", "websocket").header("Sec-WebSocket-Version", "13");
    request.header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
}

/// An open stream, read by a thread until it ends.
pub struct Live {
    pub kind: Kind,
    thread: JoinHandle<(End, Instant)>,
}

impl Live {
    /// Opens a stream and waits until the service has its request.
    pub fn open(service: &Service, gateway: &Gateway, kind: Kind, token: &str, jti: &str) -> Self {
        let live = Self::begin(gateway, kind, token);
        soon("the service has the request", || service.has_seen(jti));
        live
    }

    /// Opens a stream without waiting for anything.
    pub fn begin(gateway: &Gateway, kind: Kind, token: &str) -> Self {
        let token = token.to_owned();
        let (https, h2) = (gateway.https(), gateway.address("https"));
        let handshake = upgrade(gateway, kind.path()).bearer(&token);
        let thread = std::thread::spawn(move || {
            let end = match kind {
                Kind::WebSocket => {
                    let mut connection = https.connect();
                    match handshake.on(&mut connection) {
                        Ok(answer) if answer.status == 101 => websocket_end(&mut connection),
                        other => End::Other(format!("{other:?}")),
                    }
                }
                Kind::Sse | Kind::Download => {
                    let mut connection = https.connect();
                    connection.write(&https.request("GET", kind.path()).bearer(&token).bytes());
                    http1_end(&mut connection)
                }
                Kind::SseH2 | Kind::GrpcH2 | Kind::DownloadH2 => {
                    http2_end(&H2::connect(h2, HOST), kind.path(), &token)
                }
            };
            (end, Instant::now())
        });
        Self { kind, thread }
    }

    /// Whether the stream goes on.
    pub fn goes_on(&self) -> bool {
        !self.thread.is_finished()
    }

    /// How it ends, which must be within `limit`; and when.
    pub fn ends_within(self, limit: Duration) -> (End, Instant) {
        let begin = Instant::now();
        while !self.thread.is_finished() {
            assert!(begin.elapsed() < limit, "{:?} goes on after {limit:?}", self.kind);
            std::thread::sleep(Duration::from_millis(2));
        }
        self.thread.join().unwrap()
    }

    /// How a stream of this kind is to end when its token counts no longer.
    pub fn proper_end(kind: Kind) -> End {
        match kind {
            Kind::WebSocket => End::Code(1008),
            Kind::Sse | Kind::Download => End::Cut,
            // CANCEL (RFC 9113 §7).
            Kind::SseH2 | Kind::DownloadH2 => End::Reset(8),
            // UNAUTHENTICATED.
            Kind::GrpcH2 => End::Status("16".to_owned()),
        }
    }
}

/// Reads frames until Close, or until the connection ends without one.
pub fn websocket_end(connection: &mut Connection) -> End {
    let mut bytes = Vec::new();
    loop {
        match connection.read_some() {
            Ok(more) if more.is_empty() => return End::Cut,
            Ok(more) => bytes.extend(more),
            Err(error) => return End::Other(error.to_string()),
        }
        while bytes.len() >= 2 && bytes.len() >= 2 + usize::from(bytes[1]) {
            let frame: Vec<u8> = bytes.drain(..2 + usize::from(bytes[1])).collect();
            if frame[0] == 0x88 {
                return End::Code(u16::from_be_bytes([frame[2], frame[3]]));
            }
        }
    }
}

fn http1_end(connection: &mut Connection) -> End {
    let mut bytes = Vec::new();
    loop {
        match connection.read_some() {
            Ok(more) if more.is_empty() => break,
            Ok(more) => bytes.extend(more),
            Err(error) => return End::Other(error.to_string()),
        }
        if bytes.ends_with(b"0\r\n\r\n") || bytes.starts_with(b"HTTP/1.1 4") {
            break;
        }
    }
    let whole = bytes.ends_with(b"0\r\n\r\n") || !bytes.starts_with(b"HTTP/1.1 200");
    if whole { End::Other(String::from_utf8_lossy(&bytes).into_owned()) } else { End::Cut }
}

fn http2_end(h2: &H2, path: &str, token: &str) -> End {
    use std::error::Error as _;
    match h2.get(path, Some(token)) {
        Ok(answer) => {
            let status = answer.trailers.iter().find(|(name, _)| name == "grpc-status");
            match status {
                Some((_, status)) => End::Status(status.clone()),
                None => End::Other(format!("{} {:?}", answer.status, answer.headers)),
            }
        }
        Err(error) => {
            let reason = error.source().and_then(|source| source.downcast_ref::<h2::Error>());
            match reason.and_then(h2::Error::reason) {
                Some(reason) => End::Reset(reason.into()),
                None => End::Other(error.to_string()),
            }
        }
    }
}
