//! Which addresses of a provider may be connected to, and the connection to exactly the address
//! that was checked: a name is resolved once, so a second answer cannot lead elsewhere (DNS
//! rebinding).
//!
//! It must never connect to a private, link-local, loopback or other special address that the
//! operator did not list: behind them are metadata services and neighbours that trust their
//! network (server-side request forgery, OWASP A10:2021).

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use thiserror::Error;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use url::{Host, Url};

use crate::policy::provider::Reach;

/// Addresses of one name that are tried, at most.
const TRIES_MAX: usize = 8;

/// Why there is no connection to the URL's host.
#[derive(Debug, Error)]
pub enum AddressError {
    /// Nobody answers at any address that may be connected to.
    #[error("cannot connect to {address}: {source}")]
    Connect {
        /// The address that was tried last.
        address: SocketAddr,
        /// The system's word.
        source: io::Error,
    },
    /// `http` to a host that is not this machine.
    #[error("http is taken for loopback only ({host} is at {address}); write https")]
    PlainHttp {
        /// The URL's host.
        host: Box<str>,
        /// Its address.
        address: IpAddr,
    },
    /// Every address of the host is refused.
    #[error(
        "the host {host} is at {address} ({kind}), where no public provider is; if that is right, \
         list it: provider_addresses = [\"{address}\"]"
    )]
    Refused {
        /// The URL's host.
        host: Box<str>,
        /// The first address that was refused.
        address: IpAddr,
        /// What kind of address that is.
        kind: &'static str,
    },
    /// The name has no address.
    #[error("the host {host} cannot be resolved: {source}")]
    Unresolved {
        /// The URL's host.
        host: Box<str>,
        /// The system's word.
        source: io::Error,
    },
}

/// Whether the URL's host is written as a loopback address or as `localhost`: the one case in
/// which loopback needs no entry in `provider_addresses`, and http will do.
#[must_use]
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// Resolves the URL's host, checks its addresses and connects to the first that may be connected
/// to and answers. Each gets an equal share of what is left of the time.
pub(super) async fn connect(
    url: &Url,
    reach: &Reach,
    deadline: Instant,
) -> Result<TcpStream, AddressError> {
    let allowed = allowed(url, &resolve(url).await?, &reach.addresses, reach.plain)?;
    let mut left = u32::try_from(allowed.len()).unwrap_or(u32::MAX);
    let mut last = None;
    for address in allowed {
        let now = Instant::now();
        let share = deadline.saturating_duration_since(now) / left.max(1);
        let source = match timeout_at(now + share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => error,
            Err(_) => io::ErrorKind::TimedOut.into(),
        };
        last = Some(AddressError::Connect { address, source });
        left -= 1;
    }
    Err(last.unwrap_or_else(|| unresolved(url, io::ErrorKind::NotFound.into())))
}

async fn resolve(url: &Url) -> Result<Vec<SocketAddr>, AddressError> {
    let port = url.port_or_known_default().unwrap_or(443);
    match url.host() {
        Some(Host::Ipv4(address)) => Ok(vec![(address, port).into()]),
        Some(Host::Ipv6(address)) => Ok(vec![(address, port).into()]),
        Some(Host::Domain(name)) => {
            let found = tokio::net::lookup_host((name, port)).await;
            Ok(found.map_err(|source| unresolved(url, source))?.collect())
        }
        None => Err(unresolved(url, io::ErrorKind::InvalidInput.into())),
    }
}

fn unresolved(url: &Url, source: io::Error) -> AddressError {
    AddressError::Unresolved { host: host(url), source }
}

fn host(url: &Url) -> Box<str> {
    url.host_str().unwrap_or_default().into()
}

/// Those of the addresses that may be connected to; never none.
fn allowed(
    url: &Url,
    found: &[SocketAddr],
    listed: &[IpNet],
    plain: bool,
) -> Result<Vec<SocketAddr>, AddressError> {
    let (mut allowed, mut refused) = (Vec::new(), None);
    for at in found {
        let address = at.ip().to_canonical();
        let trusted = listed.iter().any(|net| net.contains(&address) || net.contains(&at.ip()));
        let loopback = address.is_loopback() && is_loopback(url);
        let unencrypted = address.is_loopback() || (trusted && plain);
        let error = if url.scheme() != "https" && !unencrypted {
            Some(AddressError::PlainHttp { host: host(url), address })
        } else if trusted || loopback {
            None
        } else {
            special(address).map(|kind| AddressError::Refused { host: host(url), address, kind })
        };
        match error {
            None => allowed.push(*at),
            Some(error) => refused = refused.or(Some(error)),
        }
    }
    allowed.truncate(TRIES_MAX);
    match refused {
        Some(error) if allowed.is_empty() => Err(error),
        None if allowed.is_empty() => Err(unresolved(url, io::ErrorKind::NotFound.into())),
        Some(_) | None => Ok(allowed),
    }
}

/// What kind of special address this is; `None` for one of the public internet.
fn special(address: IpAddr) -> Option<&'static str> {
    match address.to_canonical() {
        IpAddr::V4(address) => special_v4(address),
        IpAddr::V6(address) => special_v6(address),
    }
}

fn special_v4(address: Ipv4Addr) -> Option<&'static str> {
    SPECIAL_V4.iter().find(|(net, _)| net.contains(&address)).map(|(_, kind)| *kind)
}

fn special_v6(address: Ipv6Addr) -> Option<&'static str> {
    if NAT64.contains(&address) {
        let [.., a, b, c, d] = address.octets();
        return special_v4(Ipv4Addr::new(a, b, c, d)).map(|_| "NAT64 of a special address");
    }
    let row = SPECIAL_V6.iter().find(|(net, _)| net.contains(&address)).map(|(_, kind)| *kind);
    row.or_else(|| (!GLOBAL_UNICAST.contains(&address)).then_some("not global unicast"))
}

/// The IANA IPv4 special-purpose address registry (RFC 6890) without the rows that are reachable
/// from everywhere, and one platform address that lies in public space.
const SPECIAL_V4: [(Ipv4Net, &str); 17] = [
    (v4([0, 0, 0, 0], 8), "this network, RFC 791"),
    (v4([10, 0, 0, 0], 8), "private, RFC 1918"),
    (v4([100, 64, 0, 0], 10), "shared, RFC 6598"),
    (v4([127, 0, 0, 0], 8), "loopback"),
    (v4([168, 63, 129, 16], 32), "the Azure platform"),
    (v4([169, 254, 0, 0], 16), "link-local, as cloud metadata services are"),
    (v4([172, 16, 0, 0], 12), "private, RFC 1918"),
    (v4([192, 0, 0, 0], 24), "protocol assignments, RFC 6890"),
    (v4([192, 0, 2, 0], 24), "documentation, RFC 5737"),
    (v4([192, 88, 99, 0], 24), "6to4 relay, RFC 7526"),
    (v4([192, 168, 0, 0], 16), "private, RFC 1918"),
    (v4([198, 18, 0, 0], 15), "benchmarking, RFC 2544"),
    (v4([198, 51, 100, 0], 24), "documentation, RFC 5737"),
    (v4([203, 0, 113, 0], 24), "documentation, RFC 5737"),
    (v4([224, 0, 0, 0], 4), "multicast, RFC 5771"),
    (v4([255, 255, 255, 255], 32), "broadcast, RFC 919"),
    (v4([240, 0, 0, 0], 4), "reserved, RFC 1112"),
];

/// The same for IPv6. IPv4-mapped addresses are judged as what they map to, NAT64 by what it
/// embeds; 6to4, Teredo and the IPv4-compatible form are out of use and always refused.
const SPECIAL_V6: [(Ipv6Net, &str); 12] = [
    (v6([0, 0, 0, 0, 0, 0, 0, 0], 128), "unspecified"),
    (v6([0, 0, 0, 0, 0, 0, 0, 1], 128), "loopback"),
    (v6([0, 0, 0, 0, 0, 0, 0, 0], 96), "IPv4-compatible, RFC 4291"),
    (v6([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48), "local NAT64, RFC 8215"),
    (v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 32), "Teredo, RFC 4380"),
    (v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 23), "protocol assignments, RFC 2928"),
    (v6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32), "documentation, RFC 3849"),
    (v6([0x2002, 0, 0, 0, 0, 0, 0, 0], 16), "6to4, RFC 3056"),
    (v6([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20), "documentation, RFC 9637"),
    (v6([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7), "private, RFC 4193"),
    (v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10), "link-local"),
    (v6([0xff00, 0, 0, 0, 0, 0, 0, 0], 8), "multicast, RFC 4291"),
];

/// RFC 6052 §2.1: how an IPv6-only network reaches the IPv4 internet.
const NAT64: Ipv6Net = v6([0x64, 0xff9b, 0, 0, 0, 0, 0, 0], 96);

/// The only part of IPv6 that is given out to the public internet (RFC 4291 §2.4).
const GLOBAL_UNICAST: Ipv6Net = v6([0x2000, 0, 0, 0, 0, 0, 0, 0], 3);

const fn v4([a, b, c, d]: [u8; 4], bits: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), bits)
}

const fn v6([a, b, c, d, e, f, g, h]: [u16; 8], bits: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, d, e, f, g, h), bits)
}

#[cfg(test)]
mod tests;
