//! `[listen]`: where requests come in.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::Deserialize;
use toml::Spanned;

use super::address::{Address, PublicUrl};
use super::list::{List, ListOrOff};
use super::scalar::Scalar;
use super::unplaced;

/// The listeners and what is believed of the peers that reach them.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Listen {
    /// TLS listeners; default `0.0.0.0:8443`.
    pub https: ListOrOff<Address>,
    /// Listeners that answer 308 to the https origin and serve nothing else; default off.
    pub http: ListOrOff<Address>,
    /// Listeners without TLS, for trusted proxies and unix sockets only; default off.
    pub plain: ListOrOff<Address>,
    /// Listeners for `/livez` and `/readyz` alone; default off.
    pub health: ListOrOff<Address>,
    /// The https origin under which clients reach this gateway; default none.
    pub public_url: Spanned<PublicUrl>,
    /// Peers whose forwarding headers and PROXY protocol are believed; default nobody.
    pub trusted_proxies: List<Network>,
    /// Whether connections of trusted proxies begin with a PROXY protocol header; default off.
    pub proxy_protocol: Spanned<ProxyProtocol>,
    /// Worker threads; 0, the default, is one per core.
    pub workers: Spanned<Workers>,
}

impl Default for Listen {
    fn default() -> Self {
        let everywhere = Address::Tcp(([0, 0, 0, 0], 8443).into());
        Self {
            https: ListOrOff::On(List::unplaced([everywhere])),
            http: ListOrOff::Off,
            plain: ListOrOff::Off,
            health: ListOrOff::Off,
            public_url: unplaced(PublicUrl::default()),
            trusted_proxies: List::default(),
            proxy_protocol: unplaced(ProxyProtocol::Off),
            workers: unplaced(Workers::default()),
        }
    }
}

/// Whether the PROXY protocol (v1 and v2) is spoken; only ever believed from trusted proxies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProxyProtocol {
    /// Not spoken.
    Off,
    /// Taken when a connection begins with it.
    Optional,
    /// A connection without it is closed.
    Required,
}

/// A network in CIDR form, or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Scalar")]
pub struct Network(pub IpNet);

impl TryFrom<Scalar> for Network {
    type Error = String;

    fn try_from(scalar: Scalar) -> Result<Self, String> {
        let text = scalar.text("a network such as \"10.0.0.0/8\"")?;
        let network = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        let network = network.map_err(|_| {
            format!("{text:?} is not a network\nwrite \"10.0.0.0/8\", \"fd00::/8\" or one address")
        })?;
        if network.addr() != network.network() {
            return Err(format!(
                "{text:?} has bits set behind its prefix\nwrite \"{}\", or a longer prefix",
                network.trunc()
            ));
        }
        Ok(Self(network))
    }
}

/// A number of threads, at most 1024.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Scalar")]
pub struct Workers(pub u16);

impl TryFrom<Scalar> for Workers {
    type Error = String;

    /// Text is taken too, because `POSTERN_WORKERS` and `${VAR}` are text.
    fn try_from(scalar: Scalar) -> Result<Self, String> {
        let count = match &scalar {
            Scalar::Integer(number) => u16::try_from(*number).ok(),
            Scalar::Text(text) => text.parse().ok(),
            Scalar::Boolean(_) => None,
        };
        count
            .filter(|count| *count <= 1024)
            .map(Self)
            .ok_or_else(|| "expected a number of threads from 0 (one per core) to 1024".to_owned())
    }
}
