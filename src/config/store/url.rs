//! `[store] url`: which store, and where. Never quotes the text: it may hold a password that does
//! not belong there.

use std::path::PathBuf;

use http::Uri;
use serde::Deserialize;

use super::super::scalar::Scalar;

/// Where Redis listens unless a port is written.
const REDIS_PORT: u16 = 6379;
/// Where a sentinel listens unless a port is written.
const SENTINEL_PORT: u16 = 26379;
/// The most sentinels or seeds of a cluster that a URL may name.
const HOSTS_MAX: usize = 32;

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
    /// `redis-sentinel://H1,H2,H3/SERVICE/DB`, or `rediss-sentinel://` with TLS: the master that
    /// the sentinels name.
    Sentinel {
        /// The sentinels; their port is 26379 unless written.
        sentinels: Vec<StoreHost>,
        /// What they call the master.
        service: String,
        /// The database's number, else 0.
        db: u16,
        /// Whether the sentinels and the master are reached over TLS.
        tls: bool,
    },
    /// `redis-cluster://H1,H2,H3`, or `rediss-cluster://` with TLS: Redis Cluster.
    Cluster {
        /// Nodes to begin with; the cluster tells of the others. Port 6379 unless written.
        seeds: Vec<StoreHost>,
        /// Whether the nodes are reached over TLS.
        tls: bool,
    },
}

/// One of several servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreHost {
    /// Name or address; an IPv6 address is without its brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl StoreUrl {
    /// Whether the store is reached over TLS.
    #[must_use]
    pub const fn is_tls(&self) -> bool {
        matches!(
            self,
            Self::Redis { tls: true, .. }
                | Self::Sentinel { tls: true, .. }
                | Self::Cluster { tls: true, .. }
        )
    }
}

impl TryFrom<Scalar> for StoreUrl {
    type Error = String;

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
            "redis-sentinel" => sentinel(rest, false),
            "rediss-sentinel" => sentinel(rest, true),
            "redis-cluster" => cluster(rest, false),
            "rediss-cluster" => cluster(rest, true),
            _ => Err(unknown_scheme()),
        }
    }
}

fn unknown_scheme() -> String {
    "not a store's URL\nwrite \"embedded:DIR\", \"redis://HOST:6379/0\", \"rediss://HOST:6379/0\", \
     \"redis+unix:///PATH?db=0\", \"redis-sentinel://H1,H2,H3/SERVICE/0\" or \
     \"redis-cluster://H1,H2,H3\""
        .to_owned()
}

/// What follows `redis://` or `rediss://`: host, port and database, and nothing else.
fn redis(rest: &str, tls: bool) -> Result<StoreUrl, String> {
    without_user(rest)?;
    let wrong = || "not a Redis URL\nwrite \"redis://HOST:6379/0\"".to_owned();
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let StoreHost { host, port } = address(authority, REDIS_PORT).ok_or_else(wrong)?;
    let db = database(path).ok_or_else(wrong)?;
    Ok(StoreUrl::Redis { host, port, db, tls })
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

/// What follows `redis-sentinel://`: sentinels, the service's name and perhaps a database.
fn sentinel(rest: &str, tls: bool) -> Result<StoreUrl, String> {
    without_user(rest)?;
    let wrong = || "not Redis sentinels' URL\nwrite \"redis-sentinel://H1,H2,H3/SERVICE/0\"";
    let (hosts, path) = rest.split_once('/').ok_or_else(wrong)?;
    let sentinels = addresses(hosts, SENTINEL_PORT).ok_or_else(wrong)?;
    let (service, db) = path.split_once('/').unwrap_or((path, ""));
    // What Sentinel itself takes for a name.
    let legal = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c);
    if service.is_empty() || !service.chars().all(legal) {
        return Err(wrong().to_owned());
    }
    let db = database(db).ok_or_else(wrong)?;
    Ok(StoreUrl::Sentinel { sentinels, service: service.to_owned(), db, tls })
}

/// What follows `redis-cluster://`: nodes to begin with.
fn cluster(rest: &str, tls: bool) -> Result<StoreUrl, String> {
    without_user(rest)?;
    let (hosts, path) = rest.split_once('/').unwrap_or((rest, ""));
    if !matches!(path, "" | "0") {
        return Err("Redis Cluster has one database\nwrite \"redis-cluster://H1,H2,H3\"".to_owned());
    }
    let seeds = addresses(hosts, REDIS_PORT)
        .ok_or("not a Redis Cluster's URL\nwrite \"redis-cluster://H1,H2,H3\"")?;
    Ok(StoreUrl::Cluster { seeds, tls })
}

fn without_user(rest: &str) -> Result<(), String> {
    if rest.contains('@') {
        return Err("a user or password in the URL is refused: the URL is shown in logs\nwrite \
                    `username`, and `password_file`, `password_env` or `password_command`"
            .to_owned());
    }
    Ok(())
}

fn addresses(hosts: &str, port: u16) -> Option<Vec<StoreHost>> {
    let hosts: Option<Vec<StoreHost>> = hosts.split(',').map(|host| address(host, port)).collect();
    hosts.filter(|hosts| hosts.len() <= HOSTS_MAX)
}

/// One `HOST` or `HOST:PORT`.
fn address(text: &str, default_port: u16) -> Option<StoreHost> {
    if text.contains(['/', '?', '#']) {
        return None;
    }
    // `http::Uri` judges host and port; the scheme is our own business.
    let uri = format!("http://{text}").parse::<Uri>().ok()?;
    let authority = uri.authority()?;
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    let written_port = authority.as_str().len() > authority.host().len();
    let port = match (authority.port_u16(), written_port) {
        (Some(port), _) if port > 0 => port,
        (None, false) => default_port,
        _ => return None,
    };
    (!host.is_empty()).then(|| StoreHost { host: host.to_owned(), port })
}

fn database(text: &str) -> Option<u16> {
    if text.is_empty() { Some(0) } else { text.parse().ok() }
}
