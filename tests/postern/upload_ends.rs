//! Uploads end with their token although their upstream does not read them, and nothing else on
//! the client's connection ends with them.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::time::timeout;

use crate::harness::gateway::Gateway;
use crate::harness::h2::runtime;
use crate::harness::pki::authority;
use crate::harness::setup::{HOST, Setup};
use crate::harness::soon;
use crate::harness::tokens::Token;
use crate::harness::upstream::{After, Seen, Upstream, reply};
use crate::streams::{reason, signed};

/// Far more than anything here takes.
const SOON: Duration = Duration::from_secs(15);
/// Pieces of a neighbour's stream that take longer than whoever is asked to end may take.
const BEATS: usize = 75;
const BEAT: Duration = Duration::from_millis(40);

/// A service that reads no upload until it is told to.
struct Deaf {
    upstream: Upstream,
    ears: Arc<Ears>,
}

#[derive(Default)]
struct Ears {
    are_open: AtomicBool,
    /// All that came then, to the end of the connection.
    heard: Mutex<Option<Vec<u8>>>,
}

impl Deaf {
    fn start() -> Self {
        let ears = Arc::new(Ears::default());
        let theirs = Arc::clone(&ears);
        let upstream = Upstream::early(move |seen, stream| answer(&theirs, seen, stream));
        Self { upstream, ears }
    }

    fn gateway(&self) -> Gateway {
        let setup = Setup::standard(&self.upstream);
        Gateway::start(&setup.set("limits", "body_bytes", "\"off\""))
    }

    /// What was still on its way.
    fn hears(&self) -> Vec<u8> {
        self.ears.are_open.store(true, Ordering::SeqCst);
        let mut heard = None;
        soon("the service sees the end of its connection", || {
            heard = self.ears.heard.lock().unwrap().take();
            heard.is_some()
        });
        self.ears.are_open.store(false, Ordering::SeqCst);
        heard.unwrap()
    }
}

fn answer(ears: &Ears, seen: &Seen, stream: &mut TcpStream) -> After {
    const BEGINS: &[u8] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n.\r\n";
    match seen.target.as_str() {
        "/api/neighbour" => {
            drop(stream.write_all(BEGINS));
            while stream.write_all(b"1\r\n.\r\n").is_ok() {
                std::thread::sleep(BEAT);
            }
        }
        "/api/upload" | "/api/answered" => {
            if seen.target == "/api/answered" {
                drop(stream.write_all(BEGINS));
            }
            while !ears.are_open.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(10));
            }
            let mut heard = Vec::new();
            drop(stream.read_to_end(&mut heard));
            *ears.heard.lock().unwrap() = Some(heard);
        }
        _ => {
            reply(stream, "200 OK", &[], "plain");
            return After::Keep;
        }
    }
    After::Close
}

/// A body without end, as fast as it is taken.
#[derive(Clone, Default)]
struct Endless {
    pieces: Arc<AtomicUsize>,
    /// What it consists of.
    letter: Arc<AtomicU8>,
}

impl Endless {
    /// Waits until nothing more is taken.
    fn stalls(&self) {
        let mut last = 0;
        soon("the upload stalls", || {
            std::thread::sleep(Duration::from_millis(500));
            let now = self.pieces.load(Ordering::SeqCst);
            now > 0 && std::mem::replace(&mut last, now) == now
        });
    }
}

impl Body for Endless {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.pieces.fetch_add(1, Ordering::SeqCst);
        let piece = vec![self.letter.load(Ordering::SeqCst); 16384];
        Poll::Ready(Some(Ok(Frame::data(piece.into()))))
    }
}

type Sender = SendRequest<BoxBody<Bytes, std::convert::Infallible>>;

async fn connect(gateway: &Gateway) -> Sender {
    let config = authority().client(&[b"h2"], rustls::DEFAULT_VERSIONS);
    let tcp = tokio::net::TcpStream::connect(gateway.address("https")).await.unwrap();
    let name = HOST.try_into().unwrap();
    let tls = tokio_rustls::TlsConnector::from(config).connect(name, tcp).await.unwrap();
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(tls))
            .await
            .unwrap();
    tokio::spawn(connection);
    sender
}

fn request(method: &str, path: &str, token: &Token) -> http::request::Builder {
    let request = http::Request::builder().method(method).uri(format!("https://{HOST}{path}"));
    request.header("authorization", format!("Bearer {}", signed(token)))
}

/// On HTTP/2 the upload's stream ends, answered or not; the requests of others on the same
/// connection go on. Nothing that its client sends from then on reaches the service.
#[test]
fn an_upload_that_nobody_reads_ends_alone() {
    let deaf = Deaf::start();
    let gateway = deaf.gateway();
    let other = Token::good().claim("sub", "bob");
    let mut sender = runtime().block_on(connect(&gateway));
    let neighbour = request("GET", "/api/neighbour", &other).body(BoxBody::new(Empty::new()));
    let neighbour = sender.send_request(neighbour.unwrap());
    let mut neighbour = runtime().block_on(neighbour).unwrap().into_body();
    for path in ["/api/upload", "/api/answered"] {
        let token = Token::good();
        let body = Endless::default();
        body.letter.store(b'x', Ordering::SeqCst);
        let upload = request("POST", path, &token).body(BoxBody::new(body.clone())).unwrap();
        let upload = runtime().spawn(sender.send_request(upload));
        body.stalls();
        gateway.revoke_jti(token.jti());
        body.letter.store(b'y', Ordering::SeqCst);
        runtime().block_on(async {
            let answer = timeout(SOON, upload).await.unwrap().unwrap().unwrap();
            if path == "/api/upload" {
                assert_eq!(answer.status(), 401);
            } else {
                assert_eq!(answer.status(), 200);
                let error = timeout(SOON, answer.into_body().collect()).await.unwrap();
                let error = format!("{:?}", error.unwrap_err());
                assert!(error.contains("CANCEL"), "{error}");
            }
            for _ in 0..BEATS {
                let beat = timeout(SOON, neighbour.frame()).await.unwrap();
                beat.expect(path).expect(path);
            }
            let next = request("GET", "/api/next", &other).body(BoxBody::new(Empty::new()));
            let next = sender.send_request(next.unwrap());
            assert_eq!(timeout(SOON, next).await.unwrap().unwrap().status(), 200, "{path}");
        });
        assert!(!deaf.hears().contains(&b'y'), "{path}");
    }
}

/// On HTTP/1.1 it is refused as it is when the service reads.
#[test]
fn an_upload_that_nobody_reads_is_refused() {
    let deaf = Deaf::start();
    let gateway = deaf.gateway();
    let token = Token::good();
    let mut connection = gateway.https().connect();
    let head = gateway.post("/api/upload").bearer(&signed(&token));
    connection.write(&head.header("Content-Length", "1000000000").bytes());
    connection.tcp().set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    while connection.try_write(&[b'x'; 65536]).is_ok() {}
    gateway.revoke_jti(token.jti());
    // What the client has sent and nobody reads may cost it the answer (RFC 9112 §9.6).
    if let Ok(answer) = connection.try_answer("POST") {
        answer.refused(401);
    }
    assert!(connection.closes_within(SOON));
    assert_eq!(reason(&gateway, token.jti()), ("refused".to_owned(), "revoked".to_owned()));
    let heard = deaf.hears();
    assert!(heard.len() < 1_000_000_000, "{} bytes", heard.len());
}
