//! Where to listen, where the upstream is, and under which name the world knows this gateway.

use std::net::SocketAddr;
use std::path::PathBuf;

use http::Uri;
use http::uri::Authority;
use serde::Deserialize;

use super::scalar::Scalar;

/// Something to listen on: `"0.0.0.0:8443"`, `"[::]:8443"` (both families) or `"unix:PATH"`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Scalar")]
pub enum Address {
    /// An address and port; port 0 is any free one.
    Tcp(SocketAddr),
    /// A unix socket, relative to the configuration file.
    Unix(PathBuf),
}

impl TryFrom<Scalar> for Address {
    type Error = String;

    fn try_from(scalar: Scalar) -> Result<Self, String> {
        let text = scalar.text("an address such as \"0.0.0.0:8443\"")?;
        if let Some(path) = text.strip_prefix("unix:") {
            if path.is_empty() || path.contains('\0') {
                return Err(format!("{text:?} names no socket\nwrite \"unix:run/postern.sock\""));
            }
            return Ok(Self::Unix(PathBuf::from(path)));
        }
        text.parse().map(Self::Tcp).map_err(|_| {
            format!(
                "{text:?} is not an address to listen on\nwrite an IP address and a port: \
                 \"0.0.0.0:8443\", \"[::]:8443\" for both families, \"127.0.0.1:8443\", or \
                 \"unix:PATH\""
            )
        })
    }
}

/// `[listen] public_url`: an https origin, or nothing when it is `""`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Scalar")]
pub struct PublicUrl(Option<Authority>);

impl PublicUrl {
    /// Host and port as written, lower-cased, without `:443`; `None` when not configured.
    #[must_use]
    pub const fn authority(&self) -> Option<&Authority> {
        self.0.as_ref()
    }

    /// The origin in its serialised form (RFC 6454 §6.2), for example `https://api.example.com`.
    #[must_use]
    pub fn origin(&self) -> Option<String> {
        self.0.as_ref().map(|authority| format!("https://{authority}"))
    }
}

impl TryFrom<Scalar> for PublicUrl {
    type Error = String;

    fn try_from(scalar: Scalar) -> Result<Self, String> {
        let text = scalar.text("a URL such as \"https://api.example.com\"")?;
        if text.is_empty() {
            return Ok(Self(None));
        }
        let refuse = || {
            format!(
                "{text:?} is not an https origin\nwrite the scheme and host alone: \
                 \"https://api.example.com\""
            )
        };
        let (scheme, authority) = origin(&text).ok_or_else(refuse)?;
        if scheme != "https" {
            return Err(refuse());
        }
        let lower = authority.as_str().to_ascii_lowercase();
        let shortest = lower.strip_suffix(":443").unwrap_or(&lower);
        shortest.parse().map(|authority| Self(Some(authority))).map_err(|_| refuse())
    }
}

/// One server of an upstream: `"http://10.0.0.4:3000"`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Scalar")]
pub struct Server {
    /// Whether it is reached over TLS.
    pub tls: bool,
    /// Host and optional port as written; see [`Server::host`] and [`Server::port`].
    pub authority: Authority,
}

impl Server {
    /// The host name or address; an IPv6 address is without its brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        self.authority.host().trim_start_matches('[').trim_end_matches(']')
    }

    /// The port written, else that of the scheme.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.authority.port_u16().unwrap_or(if self.tls { 443 } else { 80 })
    }
}

impl TryFrom<Scalar> for Server {
    type Error = String;

    fn try_from(scalar: Scalar) -> Result<Self, String> {
        let text = scalar.text("a server such as \"http://10.0.0.4:3000\"")?;
        let refuse = || {
            format!(
                "{text:?} is not a server\nwrite scheme, host and port, without a path: \
                 \"http://10.0.0.4:3000\""
            )
        };
        let (scheme, authority) = origin(&text).ok_or_else(refuse)?;
        let tls = match scheme.as_str() {
            "http" => false,
            "https" => true,
            _ => return Err(refuse()),
        };
        if authority.port_u16() == Some(0) {
            return Err(refuse());
        }
        Ok(Self { tls, authority })
    }
}

/// Scheme and authority of a URL that has nothing else: no user, path, query or fragment.
fn origin(text: &str) -> Option<(String, Authority)> {
    let bare = text.strip_suffix('/').unwrap_or(text);
    let (_, rest) = bare.split_once("://")?;
    if rest.is_empty() || rest.contains(['/', '?', '#', '@', '\\']) {
        return None;
    }
    let uri = bare.parse::<Uri>().ok()?;
    let scheme = uri.scheme_str()?.to_ascii_lowercase();
    let authority = uri.authority()?.clone();
    // `host:` and `host:99999` parse as authorities without a port.
    let port_is_whole =
        authority.as_str().len() == authority.host().len() || authority.port_u16().is_some();
    (!authority.host().is_empty() && port_is_whole).then_some((scheme, authority))
}
