//! A provider for the unit tests: a real server on loopback, with TLS where asked for, that sends
//! exactly the bytes that a test wrote.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use url::Url;

use crate::policy::provider::Reach;

/// What happens on a connection when a request has arrived.
pub(super) enum Act {
    /// These bytes, then the next request.
    Say(String),
    /// These bytes, then the end, in order (with TLS's close_notify).
    Finish(String),
    /// These bytes, then the connection breaks off (without close_notify).
    Break(String),
    /// These bytes, then nothing for ever.
    Hang(String),
    /// These bytes one by one, 20 ms apart, again and again.
    Trickle(&'static str),
    /// These bytes after a while, then the next request.
    Late(Duration, String),
}

/// The server; ends when dropped.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    tls: bool,
    seen: Arc<Seen>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Seen {
    requests: Mutex<Vec<String>>,
    connections: AtomicUsize,
    open: AtomicUsize,
    open_max: AtomicUsize,
}

type Script = Arc<dyn Fn(&str, usize) -> Act + Send + Sync>;

impl Server {
    /// Answers each request (head and content, with its number from 1) as the script says.
    pub(super) async fn start(script: impl Fn(&str, usize) -> Act + Send + Sync + 'static) -> Self {
        Self::listen(None, Arc::new(script)).await
    }

    /// The same over TLS, with a certificate for `name` from [`Authority`].
    pub(super) async fn start_tls(
        name: &str,
        script: impl Fn(&str, usize) -> Act + Send + Sync + 'static,
    ) -> Self {
        let acceptor = TlsAcceptor::from(authority().server(name));
        Self::listen(Some(acceptor), Arc::new(script)).await
    }

    async fn listen(tls: Option<TlsAcceptor>, script: Script) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Seen::default());
        let (shared, is_tls) = (seen.clone(), tls.is_some());
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (seen, script, tls) = (shared.clone(), script.clone(), tls.clone());
                seen.connections.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(async move {
                    let open = seen.open.fetch_add(1, Ordering::SeqCst) + 1;
                    seen.open_max.fetch_max(open, Ordering::SeqCst);
                    match tls {
                        None => converse(stream, &seen, &script).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                converse(stream, &seen, &script).await;
                            }
                        }
                    }
                    seen.open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Self { address, tls: is_tls, seen, task }
    }

    /// The URL of `path` on it, by the name `localhost`.
    pub(super) fn url(&self, path: &str) -> Url {
        let scheme = if self.tls { "https" } else { "http" };
        format!("{scheme}://localhost:{}{path}", self.address.port()).parse().unwrap()
    }

    /// Every request so far.
    pub(super) fn requests(&self) -> Vec<String> {
        self.seen.requests.lock().unwrap().clone()
    }

    /// How many connections were opened so far.
    pub(super) fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::SeqCst)
    }

    /// How many connections are open.
    pub(super) fn open(&self) -> usize {
        self.seen.open.load(Ordering::SeqCst)
    }

    /// How many connections were open at once.
    pub(super) fn open_max(&self) -> usize {
        self.seen.open_max.load(Ordering::SeqCst)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn converse<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, seen: &Seen, script: &Script) {
    while let Some(request) = read_request(&mut stream).await {
        let number = {
            let mut requests = seen.requests.lock().unwrap();
            requests.push(request.clone());
            requests.len()
        };
        match script(&request, number) {
            Act::Say(text) => {
                let _ = stream.write_all(text.as_bytes()).await;
            }
            Act::Late(wait, text) => {
                tokio::time::sleep(wait).await;
                let _ = stream.write_all(text.as_bytes()).await;
            }
            Act::Finish(text) => {
                let _ = stream.write_all(text.as_bytes()).await;
                let _ = stream.shutdown().await;
                return;
            }
            Act::Break(text) => {
                let _ = stream.write_all(text.as_bytes()).await;
                let _ = stream.flush().await;
                return;
            }
            Act::Hang(text) => {
                let _ = stream.write_all(text.as_bytes()).await;
                // Until the other side has had enough.
                let _ = stream.read_u8().await;
                return;
            }
            Act::Trickle(text) => loop {
                for byte in text.as_bytes() {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    if stream.write_all(&[*byte]).await.is_err() {
                        return;
                    }
                }
            },
        }
    }
}

async fn read_request<S: AsyncRead + Unpin>(stream: &mut S) -> Option<String> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        bytes.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(bytes).unwrap();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let mut content = vec![0; length.map_or(0, |length| length.trim().parse().unwrap())];
    stream.read_exact(&mut content).await.ok()?;
    Some(head + &String::from_utf8(content).unwrap())
}

/// A complete answer with status 200.
pub(super) fn ok(content: &str) -> String {
    ok_with("", content)
}

/// The same with further fields, each ended by CR LF.
pub(super) fn ok_with(fields: &str, content: &str) -> String {
    format!("HTTP/1.1 200 OK\r\n{fields}content-length: {}\r\n\r\n{content}", content.len())
}

/// How to reach the servers above.
pub(super) fn reach() -> Reach {
    Reach {
        tls: authority().client(),
        trust: "test".into(),
        addresses: Vec::new(),
        plain: false,
        timeout: Duration::from_secs(10),
    }
}

/// The same, with little patience.
pub(super) fn hasty() -> Reach {
    Reach { timeout: Duration::from_millis(300), ..reach() }
}

/// A certificate authority of this test process.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    root: CertificateDer<'static>,
}

fn authority() -> &'static Authority {
    static AUTHORITY: OnceLock<Authority> = OnceLock::new();
    AUTHORITY.get_or_init(|| {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate().unwrap();
        let root = params.self_signed(&key).unwrap().der().clone();
        Authority { issuer: Issuer::new(params, key), root }
    })
}

impl Authority {
    fn server(&self, name: &str) -> Arc<ServerConfig> {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let cert = params.signed_by(&key, &self.issuer).unwrap().der().clone();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(provider);
        let builder = builder.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
        let key = rustls::pki_types::PrivatePkcs8KeyDer::from(key.serialize_der()).into();
        Arc::new(builder.with_single_cert(vec![cert], key).unwrap())
    }

    fn client(&self) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.root.clone()).unwrap();
        client_of(roots)
    }
}

/// A client that trusts these roots.
pub(super) fn client_of(roots: RootCertStore) -> Arc<ClientConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider);
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    Arc::new(builder.with_root_certificates(roots).with_no_client_auth())
}
