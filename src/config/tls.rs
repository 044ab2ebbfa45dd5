//! `[tls]`: certificates, versions and client certificates.

use std::fmt;
use std::path::PathBuf;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error, MapAccess, Visitor};
use toml::Spanned;

use super::unplaced;

/// What the https listeners speak.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tls {
    /// The oldest version accepted; default 1.2.
    pub min_version: Spanned<MinVersion>,
    /// Certificates with their keys; SNI chooses, the first serves unknown names.
    pub certificates: Vec<Spanned<CertificatePair>>,
    /// Whether clients show certificates; default off.
    pub client_auth: Spanned<ClientAuth>,
}

impl Default for Tls {
    fn default() -> Self {
        Self {
            min_version: unplaced(MinVersion::Tls12),
            certificates: Vec::new(),
            client_auth: unplaced(ClientAuth::Off),
        }
    }
}

/// The oldest TLS version accepted (R51: nothing below 1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum MinVersion {
    /// TLS 1.2.
    #[serde(rename = "1.2")]
    Tls12,
    /// TLS 1.3.
    #[serde(rename = "1.3")]
    Tls13,
}

/// A certificate chain and its private key, both PEM.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CertificatePair {
    /// The chain, leaf first.
    pub cert: Spanned<PathBuf>,
    /// The private key.
    pub key: Spanned<PathBuf>,
}

/// `"off"`, or `{ mode, ca }`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientAuth {
    /// Clients are not asked for a certificate.
    Off,
    /// Clients are asked for a certificate that `ca` has signed.
    On {
        /// Whether a client may do without.
        mode: ClientAuthMode,
        /// The authorities' certificates, PEM.
        ca: Spanned<PathBuf>,
    },
}

/// Whether a client certificate is asked for or demanded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClientAuthMode {
    /// A client without one is served.
    Optional,
    /// A client without one is refused in the handshake.
    Required,
}

impl<'de> Deserialize<'de> for ClientAuth {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ClientAuthVisitor)
    }
}

struct ClientAuthVisitor;

impl<'de> Visitor<'de> for ClientAuthVisitor {
    type Value = ClientAuth;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"off\" or { mode = \"required\", ca = \"FILE\" }")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<ClientAuth, E> {
        if text == "off" {
            Ok(ClientAuth::Off)
        } else {
            Err(E::invalid_value(serde::de::Unexpected::Str(text), &self))
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<ClientAuth, A::Error> {
        let On { mode, ca } = On::deserialize(MapAccessDeserializer::new(map))?;
        Ok(ClientAuth::On { mode, ca })
    }
}

/// The table form of [`ClientAuth`].
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct On {
    mode: ClientAuthMode,
    ca: Spanned<PathBuf>,
}
