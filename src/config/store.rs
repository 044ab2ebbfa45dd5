//! `[store]`: Redis, or the store in the gateway itself.

use std::ops::Range;
use std::path::PathBuf;

use serde::Deserialize;
use toml::Spanned;

use super::duration::Period;
use super::secret_source::SecretSource;
use super::unplaced;
pub use url::{StoreHost, StoreUrl};

mod url;

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
    /// The ACL user of the sentinels themselves; default `""`, their default user.
    pub sentinel_username: Spanned<String>,
    /// The file of the sentinels' own password; default: they ask for none.
    pub sentinel_password_file: Option<Spanned<PathBuf>>,
    /// The environment variable that holds the sentinels' password.
    pub sentinel_password_env: Option<Spanned<String>>,
    /// The command that prints the sentinels' password.
    pub sentinel_password_command: Option<Spanned<Vec<String>>>,
    /// Authorities for a store that is reached over TLS, PEM; default the system's.
    pub ca: Option<Spanned<PathBuf>>,
    /// The gateway's own certificate for a store that is reached over TLS, PEM.
    pub client_cert: Option<Spanned<PathBuf>>,
    /// The key of `client_cert`, PEM.
    pub client_key: Option<Spanned<PathBuf>>,
    /// One command with everything around it, connecting included; default 250 ms.
    pub timeout: Spanned<Period>,
    /// What every key begins with; default `postern:`.
    pub prefix: Spanned<String>,
    /// Replicas that must have a revocation before it is answered; default 1 for Sentinel and
    /// Cluster, else 0.
    pub wait_replicas: Option<Spanned<u8>>,
}

impl Store {
    /// Where the password comes from; `None` when the store asks for none.
    #[must_use]
    pub fn password(&self) -> Option<SecretSource> {
        SecretSource::of(&self.password_file, &self.password_env, &self.password_command)
    }

    /// Where that is written.
    #[must_use]
    pub fn password_place(&self) -> Range<usize> {
        SecretSource::place(&self.password_file, &self.password_env, &self.password_command)
    }

    /// Where the sentinels' own password comes from; `None` when they ask for none.
    #[must_use]
    pub fn sentinel_password(&self) -> Option<SecretSource> {
        SecretSource::of(
            &self.sentinel_password_file,
            &self.sentinel_password_env,
            &self.sentinel_password_command,
        )
    }

    /// Where that is written.
    #[must_use]
    pub fn sentinel_password_place(&self) -> Range<usize> {
        SecretSource::place(
            &self.sentinel_password_file,
            &self.sentinel_password_env,
            &self.sentinel_password_command,
        )
    }

    /// Replicas that must have a revocation before it is answered. Where a failover is to be
    /// expected, one that nobody asked for must not lose what was acknowledged.
    #[must_use]
    pub fn replicas(&self) -> u8 {
        match &self.wait_replicas {
            Some(written) => *written.get_ref(),
            None => match self.url.get_ref() {
                StoreUrl::Sentinel { .. } | StoreUrl::Cluster { .. } => 1,
                StoreUrl::Embedded { .. } | StoreUrl::Redis { .. } | StoreUrl::Unix { .. } => 0,
            },
        }
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
            sentinel_username: unplaced(String::new()),
            sentinel_password_file: None,
            sentinel_password_env: None,
            sentinel_password_command: None,
            ca: None,
            client_cert: None,
            client_key: None,
            timeout: unplaced(Period::milliseconds(250)),
            prefix: unplaced("postern:".to_owned()),
            wait_replicas: None,
        }
    }
}
