//! Which addresses of a provider may be connected to, and the connection to exactly the address
//! that was checked: a name is resolved once, so a second answer cannot lead elsewhere (DNS
//! rebinding).
//!
//! It must never connect to a private, link-local, loopback or other special address that the
//! operator did not list: behind them are metadata services and neighbours that trust their
//! network (server-side request forgery, OWASP A10:2021).

use std::net::IpAddr;

use thiserror::Error;

/// Why there is no connection to the URL's host.
#[derive(Debug, Error)]
pub enum AddressError {
    /// The name has no address.
    #[error("the host {host} cannot be resolved: {source}")]
    Unresolved {
        /// The URL's host.
        host: Box<str>,
        /// The system's word.
        source: std::io::Error,
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
    /// `http` to a host that is not this machine.
    #[error("http is taken for loopback only ({host} is at {address}); write https")]
    PlainHttp {
        /// The URL's host.
        host: Box<str>,
        /// Its address.
        address: IpAddr,
    },
}
