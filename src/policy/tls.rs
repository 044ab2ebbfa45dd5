//! Certificates and TLS settings, compiled to rustls.
//!
//! TLS 1.2 and 1.3 with rustls's suites (ECDHE and AEAD only), no early data (R51).

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion};
use x509_cert::Certificate;
use x509_cert::der::Decode as _;

/// Why TLS settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read or is not PEM.
    #[error("{}: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The certificate and the key do not belong together.
    #[error("{} does not belong to {}: {reason}", key.display(), cert.display())]
    Mismatch {
        /// The key file.
        key: PathBuf,
        /// The certificate file.
        cert: PathBuf,
        /// rustls's word.
        reason: String,
    },
    /// No usable root certificates.
    #[error("no trusted root certificates: {0}")]
    Roots(String),
    /// rustls refuses the settings as a whole.
    #[error("{0}")]
    Settings(#[source] rustls::Error),
}

/// Whether clients show certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientAuth {
    /// Nobody is asked.
    Off,
    /// Asked; a wrong certificate is refused, none is fine.
    Optional(PathBuf),
    /// No handshake without a certificate from this authority.
    Required(PathBuf),
}

/// Input of [`Server::compile`].
#[derive(Clone, Debug)]
pub struct Settings {
    /// Whether TLS 1.2 is refused.
    pub only_1_3: bool,
    /// Pairs of certificate chain and key file; the first is the default.
    pub certificates: Vec<(PathBuf, PathBuf)>,
    /// Client certificates.
    pub client_auth: ClientAuth,
}

/// The listener's TLS: the rustls configuration and which names each certificate covers.
#[derive(Debug)]
pub struct Server {
    /// For the acceptor.
    pub config: Arc<ServerConfig>,
    certificates: Arc<Certificates>,
}

/// The certificates, by the DNS names they carry.
struct Certificates {
    /// When each ends, by its subject; Unix seconds.
    ends: BTreeMap<String, i64>,
    by_name: HashMap<String, Arc<CertifiedKey>>,
    default: Arc<CertifiedKey>,
}

impl Server {
    /// Reads all files and builds the configuration.
    ///
    /// # Errors
    ///
    /// The first file that cannot be used, named.
    pub fn compile(settings: &Settings) -> Result<Self, Vec<Error>> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let certificates = Arc::new(Certificates::load(&settings.certificates, &provider)?);
        let versions: &[&SupportedProtocolVersion] = if settings.only_1_3 {
            &[&rustls::version::TLS13]
        } else {
            &[&rustls::version::TLS13, &rustls::version::TLS12]
        };
        let builder = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .map_err(|error| vec![Error::Settings(error)])?;
        let builder =
            match &settings.client_auth {
                ClientAuth::Off => builder.with_no_client_auth(),
                ClientAuth::Optional(ca) => builder
                    .with_client_cert_verifier(client_verifier(ca, true).map_err(|e| vec![e])?),
                ClientAuth::Required(ca) => builder
                    .with_client_cert_verifier(client_verifier(ca, false).map_err(|e| vec![e])?),
            };
        let mut config = builder.with_cert_resolver(certificates.clone());
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        config.ticketer =
            aws_lc_rs::Ticketer::new().map_err(|error| vec![Error::Settings(error)])?;
        config.send_tls13_tickets = 1;
        config.max_early_data_size = 0;
        Ok(Self { config: Arc::new(config), certificates })
    }

    /// When each certificate ends, by its subject; Unix seconds.
    #[must_use]
    pub fn ends(&self) -> &BTreeMap<String, i64> {
        &self.certificates.ends
    }

    /// Whether the certificate that a client with this SNI was shown also covers `host`; when
    /// not, the request was meant for another connection (421, RFC 9110 §15.5.20).
    #[must_use]
    pub fn covers(&self, sni: Option<&str>, host: &str) -> bool {
        let shown = self.certificates.choose(sni);
        let Some(leaf) = shown.cert.first() else { return false };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let Ok(name) = ServerName::try_from(host) else { return false };
        webpki::EndEntityCert::try_from(leaf)
            .is_ok_and(|cert| cert.verify_is_valid_for_subject_name(&name).is_ok())
    }
}

impl Certificates {
    fn load(
        files: &[(PathBuf, PathBuf)],
        provider: &rustls::crypto::CryptoProvider,
    ) -> Result<Self, Vec<Error>> {
        let (mut keys, mut errors) = (Vec::new(), Vec::new());
        for (cert, key) in files {
            match certified_key(cert, key, provider) {
                Ok(certified) => keys.push(Arc::new(certified)),
                Err(error) => errors.push(error),
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let default = keys.first().cloned().ok_or_else(|| {
            vec![Error::Settings(rustls::Error::General("no certificate".into()))]
        })?;
        let mut ends = BTreeMap::new();
        for (subject, end) in keys.iter().filter_map(|key| end(key)) {
            // Two of one subject (an ECDSA and an RSA one, say): the first to end counts.
            ends.entry(subject)
                .and_modify(|known: &mut i64| *known = end.min(*known))
                .or_insert(end);
        }
        let mut by_name = HashMap::new();
        for key in keys {
            for name in dns_names(&key) {
                by_name.entry(name).or_insert_with(|| key.clone());
            }
        }
        Ok(Self { ends, by_name, default })
    }

    fn choose(&self, sni: Option<&str>) -> &Arc<CertifiedKey> {
        sni.and_then(|name| {
            let name = name.to_ascii_lowercase();
            self.by_name.get(&name).or_else(|| {
                let (_, parent) = name.split_once('.')?;
                self.by_name.get(&format!("*.{parent}"))
            })
        })
        .unwrap_or(&self.default)
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.choose(hello.server_name()).clone())
    }
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.by_name.keys()).finish()
    }
}

/// The TLS settings for upstreams and providers: the system's roots, or one authority's file.
///
/// # Errors
///
/// When the file cannot be read or no root can be found.
pub fn client_config(ca: Option<&Path>) -> Result<Arc<ClientConfig>, Error> {
    let roots = match ca {
        Some(path) => roots_from(path)?,
        None => system_roots()?,
    };
    trusting(roots)
}

/// TLS settings with which every handshake fails, for a peer that is spoken to without TLS.
///
/// # Errors
///
/// Whatever rustls has against its own defaults.
pub fn client_config_trusting_nobody() -> Result<Arc<ClientConfig>, Error> {
    trusting(RootCertStore::empty())
}

fn trusting(roots: RootCertStore) -> Result<Arc<ClientConfig>, Error> {
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(Error::Settings)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

fn client_verifier(
    ca: &Path,
    optional: bool,
) -> Result<Arc<dyn rustls::server::danger::ClientCertVerifier>, Error> {
    let roots = Arc::new(roots_from(ca)?);
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = WebPkiClientVerifier::builder_with_provider(roots, provider);
    let builder = if optional { builder.allow_unauthenticated() } else { builder };
    builder.build().map_err(|error| Error::File { path: ca.into(), reason: error.to_string() })
}

fn roots_from(path: &Path) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    for cert in chain(path)? {
        roots
            .add(cert)
            .map_err(|error| Error::File { path: path.into(), reason: error.to_string() })?;
    }
    Ok(roots)
}

/// What this system trusts.
///
/// # Errors
///
/// [`Error::Roots`] when it trusts nobody.
pub fn system_roots() -> Result<RootCertStore, Error> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(found.certs);
    if added == 0 {
        let why = found.errors.first().map(ToString::to_string);
        return Err(Error::Roots(why.unwrap_or_else(|| "the system has none; set `ca`".into())));
    }
    Ok(roots)
}

fn certified_key(
    cert: &Path,
    key: &Path,
    provider: &rustls::crypto::CryptoProvider,
) -> Result<CertifiedKey, Error> {
    let chain = chain(cert)?;
    let der = PrivateKeyDer::from_pem_file(key)
        .map_err(|error| Error::File { path: key.into(), reason: pem_reason(&error) })?;
    let signing = provider
        .key_provider
        .load_private_key(der)
        .map_err(|error| Error::File { path: key.into(), reason: error.to_string() })?;
    let certified = CertifiedKey::new(chain, signing);
    certified.keys_match().map_err(|error| Error::Mismatch {
        key: key.into(),
        cert: cert.into(),
        reason: match error {
            rustls::Error::InconsistentKeys(_) => "it is another key's".to_owned(),
            other => other.to_string(),
        },
    })?;
    Ok(certified)
}

fn chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let file = |reason: String| Error::File { path: path.into(), reason };
    let chain: Vec<_> = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|error| file(pem_reason(&error)))?;
    if chain.is_empty() {
        return Err(file("no certificate in this file; expected PEM".into()));
    }
    Ok(chain)
}

fn pem_reason(error: &rustls::pki_types::pem::Error) -> String {
    use rustls::pki_types::pem::Error as Pem;
    match error {
        Pem::Io(io) => io.to_string(),
        Pem::NoItemsFound => "nothing usable in this file; expected PEM".into(),
        other => format!("not valid PEM: {other}"),
    }
}

/// The leaf's subject, or its first DNS name where that is empty, and when it ends.
fn end(key: &CertifiedKey) -> Option<(String, i64)> {
    let leaf = Certificate::from_der(key.cert.first()?).ok()?;
    let leaf = leaf.tbs_certificate();
    let subject = leaf.subject().to_string();
    let subject = if subject.is_empty() { dns_names(key).into_iter().next()? } else { subject };
    let end = leaf.validity().not_after.to_unix_duration().as_secs();
    Some((subject, i64::try_from(end).unwrap_or(i64::MAX)))
}

fn dns_names(key: &CertifiedKey) -> Vec<String> {
    key.cert
        .first()
        .and_then(|leaf| webpki::EndEntityCert::try_from(leaf).ok())
        .map(|cert| cert.valid_dns_names().map(str::to_ascii_lowercase).collect())
        .unwrap_or_default()
}
