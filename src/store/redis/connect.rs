//! Making one connection: socket, TLS, authentication, role.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use redis::aio::{AsyncPushSender, MultiplexedConnection};
use redis::{AsyncConnectionConfig, ProtocolVersion, RedisConnectionInfo, Value};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;

use super::answer;
use super::cluster::Topology;
use super::sentinel::Sentinels;
use crate::secret::Secret;
use crate::store::{Address, Error, Host, OpenError, Settings};

/// Commands that may wait for the socket before senders must.
const PIPELINE_BUFFER: usize = 1024;

/// How long the first word about a cluster is waited for.
const FIRST_WORD_MAX: Duration = Duration::from_secs(1);

/// What a connection needs, worked out once so that connecting reads no file.
#[derive(Clone)]
pub(super) struct Connector {
    route: Route,
    tls: Option<TlsConnector>,
    info: RedisConnectionInfo,
    role: Role,
}

/// Where the server is.
#[derive(Clone)]
enum Route {
    Host(Host),
    Unix(PathBuf),
    /// Where the sentinels say.
    Named(Arc<Sentinels>),
    /// Any master of a cluster.
    AnyOf(Arc<Topology>),
}

/// As what a server may be asked.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// As what it is: it is asked about others, not for entries.
    Any,
    /// A replica may lag behind its master, so it is not asked (invariant 9).
    Master,
    /// The operator says that a replica will do.
    MasterOrReplica,
}

impl fmt::Display for Connector {
    /// Where it connects to.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.route {
            Route::Host(host) => host.fmt(f),
            Route::Unix(path) => write!(f, "unix:{}", path.display()),
            Route::Named(sentinels) => sentinels.fmt(f),
            Route::AnyOf(_) => f.write_str("any master of the cluster"),
        }
    }
}

/// An established connection; the socket closes when the driver is stopped.
pub(super) struct Connected {
    pub(super) handle: MultiplexedConnection,
    pub(super) driver: Driver,
    /// Where it leads, when others decide that.
    pub(super) named: Option<Host>,
}

/// Who is told what the server says unasked.
pub(super) type Pushes = Arc<dyn AsyncPushSender>;

/// The task that moves bytes; stopped when dropped.
pub(super) struct Driver(pub(super) JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Connector {
    /// To the server of the settings. With Sentinel this begins to watch the sentinels, on the
    /// current runtime.
    ///
    /// # Errors
    ///
    /// TLS settings that do not fit together; nothing is connected to yet.
    pub(super) fn new(settings: &Settings) -> Result<Self, OpenError> {
        let (route, tls) = match &settings.address {
            Address::Tcp { host, port, tls } => {
                (Route::Host(Host { name: host.clone(), port: *port }), *tls)
            }
            Address::Unix { path } => (Route::Unix(path.clone()), false),
            Address::Sentinel { service, tls, .. } => {
                let sentinels = Sentinels::start(&Self::of_sentinels(settings)?, service, settings);
                (Route::Named(sentinels), *tls)
            }
            Address::Embedded { .. } | Address::Cluster { .. } => {
                return Err(OpenError::Tls("the store is not one server".to_owned()));
            }
        };
        let role = if settings.allow_replica { Role::MasterOrReplica } else { Role::Master };
        let mut info = info(settings.username.as_deref(), settings.password.as_ref());
        info = info.set_db(settings.db);
        Self { route, tls: None, info, role }.with_tls(tls, settings)
    }

    /// To one of several servers that are asked with the same user and password.
    pub(super) fn to(&self, host: Host, role: Role) -> Self {
        Self { route: Route::Host(host), role, ..self.clone() }
    }

    /// To any master of a cluster, for what each of them can do.
    pub(super) fn to_any(&self, topology: Arc<Topology>) -> Self {
        Self { route: Route::AnyOf(topology), ..self.clone() }
    }

    /// A pattern for the connections to a cluster's nodes.
    pub(super) fn of_nodes(settings: &Settings, tls: bool) -> Result<Self, OpenError> {
        let info = info(settings.username.as_deref(), settings.password.as_ref());
        // Never connected to: every node gets its own by `to`.
        let route = Route::Unix(PathBuf::new());
        Self { route, tls: None, info, role: Role::Master }.with_tls(tls, settings)
    }

    fn of_sentinels(settings: &Settings) -> Result<Vec<Self>, OpenError> {
        let Address::Sentinel { sentinels, tls, .. } = &settings.address else {
            return Ok(Vec::new());
        };
        let info = info(settings.sentinel_username.as_deref(), settings.sentinel_password.as_ref());
        let connectors = sentinels.iter().map(|host| {
            let route = Route::Host(host.clone());
            Self { route, tls: None, info: info.clone(), role: Role::Any }.with_tls(*tls, settings)
        });
        connectors.collect()
    }

    fn with_tls(mut self, tls: bool, settings: &Settings) -> Result<Self, OpenError> {
        if tls {
            if let Route::Host(host) = &self.route {
                ServerName::try_from(host.name.as_str())
                    .map_err(|_| OpenError::Tls(format!("{} is no host name", host.name)))?;
            }
            self.tls = Some(TlsConnector::from(Arc::new(tls_config(settings)?)));
        }
        Ok(self)
    }

    /// Connects, authenticates, selects the database and checks the role. The caller sets the
    /// deadline.
    pub(super) async fn connect(&self) -> Result<Connected, Error> {
        self.open(None).await
    }

    /// The same; what the server says unasked goes to `pushes`.
    pub(super) async fn connect_hearing(&self, pushes: Pushes) -> Result<Connected, Error> {
        self.open(Some(pushes)).await
    }

    async fn open(&self, pushes: Option<Pushes>) -> Result<Connected, Error> {
        let mut connected = match &self.route {
            Route::Host(host) => self.over_tcp(host, pushes).await?,
            Route::Named(sentinels) => {
                let host = sentinels.master().await?;
                let connected = self.over_tcp(&host, pushes).await?;
                Connected { named: Some(host), ..connected }
            }
            Route::AnyOf(topology) => {
                let host = topology.any(Instant::now() + FIRST_WORD_MAX).await?;
                self.over_tcp(&host, pushes).await?
            }
            Route::Unix(path) => {
                let socket = UnixStream::connect(path).await.map_err(|e| down(&e))?;
                self.speak(socket, pushes).await?
            }
        };
        self.check_role(&mut connected.handle).await?;
        Ok(connected)
    }

    /// Where others say that the server is; `None` when nobody is asked, or nobody has answered.
    pub(super) fn named(&self) -> Option<Host> {
        match &self.route {
            Route::Named(sentinels) => sentinels.known(),
            Route::Host(_) | Route::Unix(_) | Route::AnyOf(_) => None,
        }
    }

    /// Completes when others say that the server is elsewhere than at `place`.
    pub(super) async fn named_elsewhere(&self, place: Option<&Host>) {
        match &self.route {
            Route::Named(sentinels) => sentinels.names_another(place).await,
            Route::Host(_) | Route::Unix(_) | Route::AnyOf(_) => std::future::pending().await,
        }
    }

    async fn over_tcp(&self, host: &Host, pushes: Option<Pushes>) -> Result<Connected, Error> {
        let socket = TcpStream::connect((host.name.as_str(), host.port)).await;
        let socket = socket.map_err(|e| down(&e))?;
        socket.set_nodelay(true).map_err(|e| down(&e))?;
        let Some(tls) = &self.tls else { return self.speak(socket, pushes).await };
        let name = ServerName::try_from(host.name.clone())
            .map_err(|_| Error::Down(format!("{} is no host name", host.name).into()))?;
        self.speak(tls.connect(name, socket).await.map_err(|e| down(&e))?, pushes).await
    }

    async fn speak<S>(&self, socket: S, pushes: Option<Pushes>) -> Result<Connected, Error>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        // Our own deadlines hold; the crate's would start a timer per command.
        let mut config = AsyncConnectionConfig::new()
            .set_response_timeout(None)
            .set_connection_timeout(None)
            .set_pipeline_buffer_size(PIPELINE_BUFFER);
        if let Some(pushes) = pushes {
            config = config.set_push_sender(pushes);
        }
        let (handle, driver) = MultiplexedConnection::new_with_config(&self.info, socket, config)
            .await
            .map_err(|error| answer::error(&error))?;
        Ok(Connected { handle, driver: Driver(tokio::spawn(driver)), named: None })
    }

    /// A replica may lag behind, so it is not asked (invariant 9). `HELLO` tells the role without
    /// a permission of its own, unlike `ROLE`.
    pub(super) async fn check_role(&self, handle: &mut MultiplexedConnection) -> Result<(), Error> {
        let mut hello = redis::cmd("HELLO");
        let reply = handle
            .send_packed_command(hello.arg("3"))
            .await
            .map_err(|error| answer::error(&error))?;
        let role = role(answer::checked(reply)?);
        match role.as_deref() {
            _ if self.role == Role::Any => Ok(()),
            Some(b"master") => Ok(()),
            Some(b"replica" | b"slave") if self.role == Role::MasterOrReplica => Ok(()),
            Some(b"replica" | b"slave") => Err(Error::Down("it is a replica, not a master".into())),
            _ => Err(Error::Shape("HELLO names no known role")),
        }
    }
}

fn info(username: Option<&str>, password: Option<&Secret<String>>) -> RedisConnectionInfo {
    let mut info =
        RedisConnectionInfo::default().set_protocol(ProtocolVersion::RESP3).set_skip_set_lib_name();
    if let Some(username) = username {
        info = info.set_username(username);
    }
    if let Some(password) = password {
        info = info.set_password(password.expose());
    }
    info
}

/// The `role` in the answer to `HELLO`.
fn role(reply: Value) -> Option<Vec<u8>> {
    let Value::Map(members) = reply else { return None };
    members.into_iter().find_map(|(name, value)| {
        (answer::text(name)? == b"role").then(|| answer::text(value)).flatten()
    })
}

fn down(error: &std::io::Error) -> Error {
    Error::Down(error.to_string().into())
}

fn tls_config(settings: &Settings) -> Result<rustls::ClientConfig, OpenError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| OpenError::Tls(error.to_string()))?
        .with_root_certificates(roots(settings.ca.as_deref())?);
    match (&settings.client_cert, &settings.client_key) {
        (None, None) => Ok(builder.with_no_client_auth()),
        (Some(chain), Some(key)) => {
            let chain = CertificateDer::pem_slice_iter(chain)
                .collect::<Result<Vec<_>, _>>()
                .map_err(|error| OpenError::Tls(format!("client_cert: {error}")))?;
            let key = PrivateKeyDer::from_pem_slice(key.expose())
                .map_err(|_| OpenError::Tls("client_key is no PEM private key".to_owned()))?;
            builder
                .with_client_auth_cert(chain, key)
                .map_err(|error| OpenError::Tls(format!("client_cert, client_key: {error}")))
        }
        _ => Err(OpenError::Tls("client_cert and client_key belong together".to_owned())),
    }
}

fn roots(ca: Option<&[u8]>) -> Result<rustls::RootCertStore, OpenError> {
    let mut roots = rustls::RootCertStore::empty();
    if let Some(pem) = ca {
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(|e| OpenError::Tls(format!("ca: {e}")))?;
            roots.add(certificate).map_err(|e| OpenError::Tls(format!("ca: {e}")))?;
        }
    } else {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    }
    if roots.is_empty() {
        return Err(OpenError::Tls("no certificate authority to trust".to_owned()));
    }
    Ok(roots)
}
