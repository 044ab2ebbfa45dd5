//! Making one connection: socket, TLS, authentication, role.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, ProtocolVersion, RedisConnectionInfo, Value};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

use super::answer;
use crate::store::{Address, Error, OpenError, Settings};

/// Commands that may wait for the socket before senders must.
const PIPELINE_BUFFER: usize = 1024;

/// What a connection needs, worked out once so that connecting reads no file.
pub(super) struct Connector {
    target: Target,
    info: RedisConnectionInfo,
    allow_replica: bool,
}

enum Target {
    Tcp { host: String, port: u16 },
    Tls { host: String, port: u16, name: ServerName<'static>, tls: TlsConnector },
    Unix(PathBuf),
}

impl fmt::Display for Connector {
    /// Where it connects to.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.target {
            Target::Tcp { host, port } | Target::Tls { host, port, .. } => {
                write!(f, "{host}:{port}")
            }
            Target::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// An established connection; the socket closes when the driver is stopped.
pub(super) struct Connected {
    pub(super) handle: MultiplexedConnection,
    pub(super) driver: Driver,
}

/// The task that moves bytes; stopped when dropped.
pub(super) struct Driver(pub(super) JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Connector {
    /// # Errors
    ///
    /// TLS settings that do not fit together; nothing is connected to yet.
    pub(super) fn new(settings: &Settings) -> Result<Self, OpenError> {
        let target = match &settings.address {
            Address::Embedded { .. } => {
                return Err(OpenError::Tls("the embedded store is not connected to".to_owned()));
            }
            Address::Tcp { host, port, tls: false } => {
                Target::Tcp { host: host.clone(), port: *port }
            }
            Address::Tcp { host, port, tls: true } => Target::Tls {
                host: host.clone(),
                port: *port,
                name: ServerName::try_from(host.clone())
                    .map_err(|_| OpenError::Tls(format!("{host} is no host name")))?,
                tls: TlsConnector::from(Arc::new(tls_config(settings)?)),
            },
            Address::Unix { path } => Target::Unix(path.clone()),
            Address::Sentinel { .. } | Address::Cluster { .. } => {
                return Err(OpenError::Tls("not connected to as one server".to_owned()));
            }
        };
        let mut info = RedisConnectionInfo::default()
            .set_protocol(ProtocolVersion::RESP3)
            .set_skip_set_lib_name()
            .set_db(settings.db);
        if let Some(username) = &settings.username {
            info = info.set_username(username);
        }
        if let Some(password) = &settings.password {
            info = info.set_password(password.expose());
        }
        Ok(Self { target, info, allow_replica: settings.allow_replica })
    }

    /// Connects, authenticates, selects the database and checks the role. The caller sets the
    /// deadline.
    pub(super) async fn connect(&self) -> Result<Connected, Error> {
        let mut connected = match &self.target {
            Target::Tcp { host, port } => self.speak(tcp(host, *port).await?).await?,
            Target::Tls { host, port, name, tls } => {
                let socket = tcp(host, *port).await?;
                self.speak(tls.connect(name.clone(), socket).await.map_err(|e| down(&e))?).await?
            }
            Target::Unix(path) => {
                self.speak(UnixStream::connect(path).await.map_err(|e| down(&e))?).await?
            }
        };
        self.check_role(&mut connected.handle).await?;
        Ok(connected)
    }

    async fn speak<S>(&self, socket: S) -> Result<Connected, Error>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        // Our own deadlines hold; the crate's would start a timer per command.
        let config = AsyncConnectionConfig::new()
            .set_response_timeout(None)
            .set_connection_timeout(None)
            .set_pipeline_buffer_size(PIPELINE_BUFFER);
        let (handle, driver) = MultiplexedConnection::new_with_config(&self.info, socket, config)
            .await
            .map_err(|error| answer::error(&error))?;
        Ok(Connected { handle, driver: Driver(tokio::spawn(driver)) })
    }

    /// A replica may lag behind, so it is not asked (invariant 9). `HELLO` tells the role without
    /// a permission of its own, unlike `ROLE`.
    pub(super) async fn check_role(&self, handle: &mut MultiplexedConnection) -> Result<(), Error> {
        let mut hello = redis::cmd("HELLO");
        let reply = handle
            .send_packed_command(hello.arg("3"))
            .await
            .map_err(|error| answer::error(&error))?;
        match role(answer::checked(reply)?).as_deref() {
            Some(b"master") => Ok(()),
            Some(b"replica" | b"slave") if self.allow_replica => Ok(()),
            Some(b"replica" | b"slave") => Err(Error::Down("it is a replica, not a master".into())),
            _ => Err(Error::Shape("HELLO names no known role")),
        }
    }
}

/// The `role` in the answer to `HELLO`.
fn role(reply: Value) -> Option<Vec<u8>> {
    let Value::Map(members) = reply else { return None };
    members.into_iter().find_map(|(name, value)| {
        (answer::text(name)? == b"role").then(|| answer::text(value)).flatten()
    })
}

async fn tcp(host: &str, port: u16) -> Result<TcpStream, Error> {
    let socket = TcpStream::connect((host, port)).await.map_err(|e| down(&e))?;
    socket.set_nodelay(true).map_err(|e| down(&e))?;
    Ok(socket)
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
