//! A server of key sets and metadata that does what the test wants, good and bad, and counts.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};

use super::keys::Key;
use super::pki::authority;

/// What one path answers.
#[derive(Clone)]
pub struct Page {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    delay: Duration,
    manner: Manner,
}

/// How the body is sent.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// At once, with its length.
    Whole,
    /// Half of it, and the end of the connection.
    Half,
    /// A byte every 50 ms.
    Dripping,
    /// Again and again without an end.
    Endless,
}

impl Page {
    /// 200 with this body.
    pub fn text(content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        let headers = vec![("Content-Type".to_owned(), content_type.to_owned())];
        let (delay, manner) = (Duration::ZERO, Manner::Whole);
        Self { status: 200, headers, body: body.into(), delay, manner }
    }

    /// 200 with JSON.
    pub fn json(value: &Value) -> Self {
        Self::text("application/json", value.to_string())
    }

    /// A key set (RFC 7517 §5).
    pub fn keys(keys: &[&Key]) -> Self {
        let keys: Vec<Value> = keys.iter().map(|key| key.jwk()).collect();
        Self::json(&json!({ "keys": keys }))
    }

    /// A provider's metadata (OpenID Connect Discovery 1.0 §3), as far as anybody here reads it.
    pub fn metadata(issuer: &str, jwks_uri: &str) -> Self {
        Self::json(&json!({ "issuer": issuer, "jwks_uri": jwks_uri }))
    }

    /// An error status with a page for people.
    pub fn status(status: u16) -> Self {
        Self { status, ..Self::text("text/html", "<!DOCTYPE html><h1>Sorry</h1>") }
    }

    /// 302 to there.
    pub fn redirect(location: &str) -> Self {
        Self::status(302).header("Location", location)
    }

    /// Adds a field.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Says nothing for a while.
    pub fn after(self, delay: Duration) -> Self {
        Self { delay, ..self }
    }

    /// Ends the connection in the middle of the body.
    pub fn truncated(self) -> Self {
        Self { manner: Manner::Half, ..self }
    }

    /// Sends the body a byte at a time.
    pub fn dripping(self) -> Self {
        Self { manner: Manner::Dripping, ..self }
    }

    /// Repeats the body for ever.
    pub fn endless(self) -> Self {
        Self { manner: Manner::Endless, ..self }
    }
}

#[derive(Default)]
struct Shared {
    pages: Mutex<HashMap<String, Page>>,
    fetches: Mutex<HashMap<String, usize>>,
    connections: AtomicUsize,
    sent: AtomicUsize,
    stopped: AtomicBool,
}

/// A running server; it stops when dropped. A path that was not set answers 404.
pub struct JwksServer {
    pub address: SocketAddr,
    scheme: &'static str,
    shared: Arc<Shared>,
}

impl JwksServer {
    /// Over plain HTTP.
    pub fn start() -> Self {
        Self::listen(None)
    }

    /// Over TLS, with a certificate of the test authority for `names`.
    pub fn tls(names: &[&str]) -> Self {
        let own = authority().issue(names);
        let chain = CertificateDer::from_pem_slice(own.chain.as_bytes()).unwrap();
        let key = PrivateKeyDer::from_pem_slice(own.key.as_bytes()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(provider);
        let builder = builder.with_safe_default_protocol_versions().unwrap();
        let config = builder.with_no_client_auth().with_single_cert(vec![chain], key).unwrap();
        Self::listen(Some(Arc::new(config)))
    }

    fn listen(tls: Option<Arc<ServerConfig>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let shared = Arc::<Shared>::default();
        let theirs = shared.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if theirs.stopped.load(Ordering::SeqCst) {
                    return;
                }
                theirs.connections.fetch_add(1, Ordering::SeqCst);
                let (theirs, tls) = (theirs.clone(), tls.clone());
                std::thread::spawn(move || greet(&theirs, tls, stream));
            }
        });
        Self { address, scheme, shared }
    }

    /// `http://127.0.0.1:PORT` or `https://…`, without a path.
    pub fn origin(&self) -> String {
        format!("{}://{}", self.scheme, self.address)
    }

    /// The same server under another name.
    pub fn origin_as(&self, host: &str) -> String {
        format!("{}://{host}:{}", self.scheme, self.address.port())
    }

    /// What `path` answers from now on.
    pub fn set(&self, path: &str, page: Page) {
        self.shared.pages.lock().unwrap().insert(path.to_owned(), page);
    }

    /// How often `path` was asked for.
    pub fn fetches(&self, path: &str) -> usize {
        self.shared.fetches.lock().unwrap().get(path).copied().unwrap_or_default()
    }

    /// How many connections were accepted.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// How many bytes of bodies went out.
    pub fn sent(&self) -> usize {
        self.shared.sent.load(Ordering::SeqCst)
    }
}

impl Drop for JwksServer {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(self.address));
    }
}

fn greet(shared: &Shared, tls: Option<Arc<ServerConfig>>, stream: TcpStream) {
    drop(stream.set_nodelay(true));
    match tls {
        None => drop(serve(shared, stream)),
        Some(config) => {
            let session = ServerConnection::new(config).unwrap();
            drop(serve(shared, StreamOwned::new(session, stream)));
        }
    }
}

/// One request, one answer, the end.
fn serve(shared: &Shared, stream: impl Read + Write) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut start = String::new();
    stream.read_line(&mut start)?;
    let mut field = String::new();
    while stream.read_line(&mut field)? > 2 {
        field.clear();
    }
    let path = start.split(' ').nth(1).unwrap_or_default().to_owned();
    *shared.fetches.lock().unwrap().entry(path.clone()).or_default() += 1;
    let page = shared.pages.lock().unwrap().get(&path).cloned();
    let page = page.unwrap_or_else(|| Page::status(404));
    std::thread::sleep(page.delay);
    let stream = stream.get_mut();
    write_head(stream, &page)?;
    write_body(shared, stream, &page)?;
    stream.flush()
}

fn write_head(stream: &mut impl Write, page: &Page) -> std::io::Result<()> {
    let mut head = format!("HTTP/1.1 {} Said\r\nConnection: close\r\n", page.status);
    if page.manner != Manner::Endless {
        head.push_str(&format!("Content-Length: {}\r\n", page.body.len()));
    }
    for (name, value) in &page.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    stream.write_all((head + "\r\n").as_bytes())?;
    stream.flush()
}

fn write_body(shared: &Shared, stream: &mut impl Write, page: &Page) -> std::io::Result<()> {
    let mut send = |bytes: &[u8]| -> std::io::Result<()> {
        stream.write_all(bytes)?;
        stream.flush()?;
        shared.sent.fetch_add(bytes.len(), Ordering::SeqCst);
        Ok(())
    };
    match page.manner {
        Manner::Whole => send(&page.body),
        Manner::Half => send(&page.body[..page.body.len() / 2]),
        Manner::Dripping => page.body.chunks(1).try_for_each(|byte| {
            std::thread::sleep(Duration::from_millis(50));
            send(byte)
        }),
        Manner::Endless => loop {
            send(&page.body)?;
        },
    }
}
