//! `[store]`: Redis, or the store in the gateway itself.

use std::path::PathBuf;

use http::Uri;
use serde::Deserialize;
use toml::Spanned;

use super::duration::Period;
use super::scalar::Scalar;
use super::secret_source::SecretSource;
use super::unplaced;

/// Where revocations live and how they are reached.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Store {
    /// Which store; default `embedded:state/store`.
    pub url: Spanned<StoreUrl>,
    /// The ACL user; default `""`, the store's default user.
    pub username: Spanned<String>,
    /// The password's file.
    pub password_file: Option<Spanned<PathBuf>>,
    /// The environment variable that holds the password.
    pub password_env: Option<Spanned<String>>,
    /// The command that prints the password.
    pub password_command: Option<Spanned<Vec<String>>>,
    /// Authorities for a `rediss://` store, PEM; default the system's.
    pub ca: Option<Spanned<PathBuf>>,
    /// The gateway's own certificate for a `rediss://` store, PEM.
    pub client_cert: Option<Spanned<PathBuf>>,
    /// The key of `client_cert`, PEM.
    pub client_key: Option<Spanned<PathBuf>>,
    /// One command with everything around it, connecting included; default 250 ms.
    pub timeout: Spanned<Period>,
    /// What every key begins with; default `postern:`.
    pub prefix: Spanned<String>,
    /// Replicas that must have a revocation before it is answered; default 0.
    pub wait_replicas: Spanned<u8>,
}

impl Store {
    /// Where the password comes from; `None` when the store asks for none.
    #[must_use]
    pub fn password(&self) -> Option<SecretSource> {
        SecretSource::of(&self.password_file, &self.password_env, &self.password_command)
    }
}

impl Default for Store {
    fn default() -> Self {
        Self {
            url: unplaced(StoreUrl::Embedded { dir: PathBuf::from("state/store") }),
            username: unplaced(String::new()),
            password_file: None,
            password_env: None,
            password_command: None,
            ca: None,
            client_cert: None,
            client_key: None,
            timeout: unplaced(Period::milliseconds(250)),
            prefix: unplaced("postern:".to_owned()),
            wait_replicas: unplaced(0),
        }
    }
}

/// Which store.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Scalar")]
pub enum StoreUrl {
    /// `embedded:DIR`, relative to the configuration file: one gateway, no Redis.
    Embedded {
        /// The store's directory.
        dir: PathBuf,
    },
    /// `redis://HOST:PORT/DB`, or `rediss://` with TLS.
    Redis {
        /// Name or address; an IPv6 address is without its brackets.
        host: String,
        /// The port written, else 6379.
        port: u16,
        /// The database's number, else 0.
        db: u16,
        /// Whether it is reached over TLS.
        tls: bool,
    },
    /// `redis+unix:///PATH?db=N`.
    Unix {
        /// The socket's absolute path.
        path: PathBuf,
        /// The database's number, else 0.
        db: u16,
    },
}

impl TryFrom<Scalar> for StoreUrl {
    type Error = String;

    /// Never quotes the value: it may hold a password that does not belong there.
    fn try_from(scalar: Scalar) -> Result<Self, String> {
        let text = scalar.text("a URL such as \"redis://127.0.0.1:6379/0\"")?;
        if let Some(dir) = text.strip_prefix("embedded:") {
            return match dir {
                "" => Err("the embedded store has no directory\nwrite \"embedded:DIR\"".to_owned()),
                dir => Ok(Self::Embedded { dir: PathBuf::from(dir) }),
            };
        }
        let (scheme, rest) = text.split_once("://").ok_or_else(unknown_scheme)?;
        match scheme {
            "redis" => redis(rest, false),
            "rediss" => redis(rest, true),
            "redis+unix" => unix(rest),
            "redis-cluster" | "redis-sentinel" => Err(format!(
                "{scheme}:// is not in this release\nwrite redis://, rediss://, redis+unix:// or \
                 embedded:DIR"
            )),
            _ => Err(unknown_scheme()),
        }
    }
}

fn unknown_scheme() -> String {
    "not a store's URL\nwrite \"embedded:DIR\", \"redis://HOST:6379/0\", \"rediss://HOST:6379/0\" \
     or \"redis+unix:///PATH?db=0\""
        .to_owned()
}

/// What follows `redis://` or `rediss://`: host, port and database, and nothing else.
fn redis(rest: &str, tls: bool) -> Result<StoreUrl, String> {
    if rest.contains('@') {
        return Err("a user or password in the URL is refused: the URL is shown in logs\nwrite \
                    `username`, and `password_file`, `password_env` or `password_command`"
            .to_owned());
    }
    let wrong = || "not a Redis URL\nwrite \"redis://HOST:6379/0\"".to_owned();
    // `http::Uri` judges host and port; the scheme is our own business.
    let uri = format!("http://{rest}").parse::<Uri>().map_err(|_| wrong())?;
    let authority = uri.authority().ok_or_else(wrong)?;
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    let written_port = authority.as_str().len() > authority.host().len();
    let port = match (authority.port_u16(), written_port) {
        (Some(port), _) if port > 0 => port,
        (None, false) => 6379,
        _ => return Err(wrong()),
    };
    if host.is_empty() || uri.query().is_some() || rest.contains('#') {
        return Err(wrong());
    }
    let db = database(uri.path().trim_start_matches('/')).ok_or_else(wrong)?;
    Ok(StoreUrl::Redis { host: host.to_owned(), port, db, tls })
}

/// What follows `redis+unix://`: an absolute path and perhaps `?db=N`.
fn unix(rest: &str) -> Result<StoreUrl, String> {
    let wrong = || "not a Redis socket's URL\nwrite \"redis+unix:///PATH?db=0\"".to_owned();
    let (path, db) = rest.split_once("?db=").unwrap_or((rest, ""));
    if !path.starts_with('/') || path.contains(['?', '#', '\0']) {
        return Err(wrong());
    }
    let db = database(db).ok_or_else(wrong)?;
    Ok(StoreUrl::Unix { path: PathBuf::from(path), db })
}

fn database(text: &str) -> Option<u16> {
    if text.is_empty() { Some(0) } else { text.parse().ok() }
}
