//! Where the store is and how it is spoken to.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::secret::Secret;

/// Everything the store needs to know of the configuration. Built by the policy layer.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where it is.
    pub address: Address,
    /// The Redis database number.
    pub db: i64,
    /// ACL user; `None` is Redis' `default` user.
    pub username: Option<String>,
    /// Its password.
    pub password: Option<Secret<String>>,
    /// ACL user of the sentinels themselves; `None` is their `default` user.
    pub sentinel_username: Option<String>,
    /// The sentinels' own password.
    pub sentinel_password: Option<Secret<String>>,
    /// PEM certificates that the server's certificate must lead to; `None` is the system's roots.
    pub ca: Option<Vec<u8>>,
    /// PEM certificate chain to show to the server; needs `client_key`.
    pub client_cert: Option<Vec<u8>>,
    /// PEM key of `client_cert`.
    pub client_key: Option<Secret<Vec<u8>>>,
    /// The longest one command may take with everything around it, connecting included (R43).
    pub timeout: Duration,
    /// What every key begins with.
    pub prefix: String,
    /// How many replicas must have a revocation before it is acknowledged.
    pub wait_replicas: u32,
    /// Whether a server that says it is a replica may be asked (it may lag behind its master).
    pub allow_replica: bool,
}

/// The kinds of `[store] url`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// `embedded:DIR`: a database of this process alone.
    Embedded {
        /// The directory; made 0700 when missing.
        dir: PathBuf,
    },
    /// `redis://` and `rediss://`.
    Tcp {
        /// Name or address, without brackets.
        host: String,
        /// Port.
        port: u16,
        /// Whether TLS is spoken.
        tls: bool,
    },
    /// `redis+unix://`.
    Unix {
        /// The socket.
        path: PathBuf,
    },
    /// `redis-sentinel://` and `rediss-sentinel://`.
    Sentinel {
        /// The sentinels.
        sentinels: Vec<Host>,
        /// What they call the master.
        service: String,
        /// Whether TLS is spoken, to the sentinels too.
        tls: bool,
    },
    /// `redis-cluster://` and `rediss-cluster://`.
    Cluster {
        /// Nodes to begin with.
        seeds: Vec<Host>,
        /// Whether TLS is spoken.
        tls: bool,
    },
}

/// One server among several.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Host {
    /// Name or address, without brackets.
    pub name: String,
    /// Port.
    pub port: u16,
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.name.contains(':') {
            write!(f, "[{}]:{}", self.name, self.port)
        } else {
            write!(f, "{}:{}", self.name, self.port)
        }
    }
}

impl Settings {
    /// The contract's defaults around an address.
    #[must_use]
    pub fn new(address: Address) -> Self {
        Self {
            address,
            db: 0,
            username: None,
            password: None,
            sentinel_username: None,
            sentinel_password: None,
            ca: None,
            client_cert: None,
            client_key: None,
            timeout: Duration::from_millis(250),
            prefix: "postern:".to_owned(),
            wait_replicas: 0,
            allow_replica: false,
        }
    }
}
