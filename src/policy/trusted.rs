//! Which peers are believed when they speak of others: `[listen] trusted_proxies`.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// The networks of the trusted proxies. Empty by default: nobody is believed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedProxies {
    // Sorted and free of overlaps, so that one binary search answers.
    v4: Vec<Ipv4Net>,
    v6: Vec<Ipv6Net>,
}

impl TrustedProxies {
    /// Compiles the configured networks. One inside `::ffff:0:0/96` is the IPv4 network it maps.
    #[must_use]
    pub fn new(networks: impl IntoIterator<Item = IpNet>) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for network in networks {
            match network {
                IpNet::V4(network) => v4.push(network),
                IpNet::V6(network) => match mapped(network) {
                    Some(network) => v4.push(network),
                    None => v6.push(network),
                },
            }
        }
        Self { v4: Ipv4Net::aggregate(&v4), v6: Ipv6Net::aggregate(&v6) }
    }

    /// Whether `address` is a trusted proxy's. An IPv4-mapped address is the IPv4 address.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match address.to_canonical() {
            IpAddr::V4(address) => {
                let after = self.v4.partition_point(|network| network.network() <= address);
                self.v4.get(after.wrapping_sub(1)).is_some_and(|network| network.contains(&address))
            }
            IpAddr::V6(address) => {
                let after = self.v6.partition_point(|network| network.network() <= address);
                self.v6.get(after.wrapping_sub(1)).is_some_and(|network| network.contains(&address))
            }
        }
    }

    /// Whether nobody is trusted.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }
}

fn mapped(network: Ipv6Net) -> Option<Ipv4Net> {
    let address: Ipv4Addr = network.network().to_ipv4_mapped()?;
    Ipv4Net::new(address, network.prefix_len().checked_sub(96)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trusted(networks: &[&str]) -> TrustedProxies {
        TrustedProxies::new(networks.iter().map(|network| network.parse().unwrap()))
    }

    /// Source: R27 (believed only when listed; mapped addresses are the same peer).
    #[test]
    fn only_listed_networks_are_trusted() {
        let trusted = trusted(&[
            "10.0.0.0/8",
            "10.1.0.0/16",
            "192.0.2.7/32",
            "2001:db8::/32",
            "::ffff:198.51.100.0/120",
        ]);
        for (address, expected) in [
            ("9.255.255.255", false),
            ("10.0.0.0", true),
            ("10.1.2.3", true),
            ("10.255.255.255", true),
            ("11.0.0.0", false),
            ("192.0.2.6", false),
            ("192.0.2.7", true),
            ("192.0.2.8", false),
            ("::ffff:10.0.0.1", true),
            ("::ffff:11.0.0.1", false),
            ("::10.0.0.1", false),
            ("2001:db8:ffff::1", true),
            ("2001:db9::", false),
            ("198.51.100.255", true),
            ("198.51.101.0", false),
            ("0.0.0.0", false),
            ("::", false),
        ] {
            assert_eq!(trusted.contains(address.parse().unwrap()), expected, "{address}");
        }
    }

    #[test]
    fn by_default_nobody_is_trusted() {
        let nobody = TrustedProxies::default();
        assert!(nobody.is_empty());
        for address in ["127.0.0.1", "::1", "0.0.0.0", "255.255.255.255"] {
            assert!(!nobody.contains(address.parse().unwrap()), "{address}");
        }
        assert!(trusted(&["0.0.0.0/0"]).contains("255.255.255.255".parse().unwrap()));
        assert!(!trusted(&["::/0"]).contains("192.0.2.1".parse().unwrap()));
    }
}
