//! Who is asking: the peer, or whom a trusted proxy says it speaks for (R27).
//!
//! Reads what proxies say *before* the guard removes it: a client that lists `X-Forwarded-For` in
//! `Connection` must not make the proxy's own address its address (CVE-2024-45410).

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::policy::trusted::TrustedProxies;

static X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
static X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
static X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
static X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Elements of X-Forwarded-For that are looked at, from the right. A longer chain of trusted
/// proxies does not exist; the client is then the last one looked at.
const HOPS_MAX: usize = 32;

/// A longer request id is not believed.
const REQUEST_ID_BYTES_MAX: usize = 128;

/// The other end of the connection, after the PROXY protocol if that is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// An address.
    Ip(IpAddr),
    /// A unix socket: as trusted as the permissions of its file.
    Unix,
}

impl Peer {
    /// Whether this peer is believed when it speaks of others. Asked once per connection.
    #[must_use]
    pub fn is_trusted(self, trusted: &TrustedProxies) -> bool {
        match self {
            Self::Ip(address) => trusted.contains(address),
            Self::Unix => true,
        }
    }

    /// The peer's address; a unix socket has none and stands as the loopback address.
    #[must_use]
    pub const fn address(self) -> IpAddr {
        match self {
            Self::Ip(address) => address.to_canonical(),
            Self::Unix => IpAddr::V4(Ipv4Addr::LOCALHOST),
        }
    }
}

/// The address to log, to limit by and to forward: the peer's, unless the peer is trusted; then
/// X-Forwarded-For is walked from the right, all its lines in order, as long as trusted proxies
/// speak. What is malformed ends the walk: the hop that wrote it is the client.
#[must_use]
pub fn address(peer: Peer, trusted: &TrustedProxies, headers: &HeaderMap) -> IpAddr {
    let mut client = peer.address();
    if !peer.is_trusted(trusted) {
        return client;
    }
    let lines = headers.get_all(&X_FORWARDED_FOR).iter().rev();
    let hops = lines.flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b','));
    for hop in hops.take(HOPS_MAX) {
        let Some(address) = hop_address(hop) else { break };
        client = address;
        if !trusted.contains(client) {
            break;
        }
    }
    client
}

/// `192.0.2.1`, `192.0.2.1:1234`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:1234`.
fn hop_address(hop: &[u8]) -> Option<IpAddr> {
    let hop = std::str::from_utf8(hop).ok()?.trim_matches([' ', '\t']);
    let address = hop
        .parse::<IpAddr>()
        .ok()
        .or_else(|| hop.parse::<SocketAddr>().ok().filter(|_| !hop.contains('%')).map(|a| a.ip()))
        .or_else(|| hop.strip_prefix('[')?.strip_suffix(']')?.parse().ok().map(IpAddr::V6))?;
    Some(address.to_canonical())
}

/// What a trusted peer said of the request that it forwards. Anything missing, doubled or malformed
/// is not said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Forwarded<'h> {
    /// `X-Forwarded-Proto`: whether the client spoke TLS.
    pub tls: Option<bool>,
    /// `X-Forwarded-Host`, a host with perhaps a port.
    pub host: Option<&'h str>,
    /// `X-Request-Id`: letters, digits and `-._~+/=:@`, at most 128 bytes.
    pub request_id: Option<&'h HeaderValue>,
}

/// Reads the fields of a trusted peer; the caller has asked [`Peer::is_trusted`].
#[must_use]
pub fn forwarded(headers: &HeaderMap) -> Forwarded<'_> {
    let tls = match only(headers, &X_FORWARDED_PROTO).map(HeaderValue::as_bytes) {
        Some(scheme) if scheme.eq_ignore_ascii_case(b"https") => Some(true),
        Some(scheme) if scheme.eq_ignore_ascii_case(b"http") => Some(false),
        _ => None,
    };
    let host = only(headers, &X_FORWARDED_HOST)
        .and_then(|host| host.to_str().ok())
        .filter(|host| super::target::is_host(host));
    let request_id = only(headers, &X_REQUEST_ID).filter(|id| is_request_id(id.as_bytes()));
    Forwarded { tls, host, request_id }
}

fn only<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h HeaderValue> {
    let mut lines = headers.get_all(name).iter();
    let first = lines.next()?;
    lines.next().is_none().then_some(first)
}

fn is_request_id(id: &[u8]) -> bool {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~+/=:@".contains(byte);
    (1..=REQUEST_ID_BYTES_MAX).contains(&id.len()) && id.iter().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trusted() -> TrustedProxies {
        TrustedProxies::new(["10.0.0.0/8", "2001:db8:1::/48"].map(|net| net.parse().unwrap()))
    }

    fn headers(name: &'static str, lines: &[&str]) -> HeaderMap {
        let name = HeaderName::from_static(name);
        let line = |line: &&str| (name.clone(), HeaderValue::from_bytes(line.as_bytes()).unwrap());
        lines.iter().map(line).collect()
    }

    fn client(peer: &str, lines: &[&str]) -> String {
        let peer = if peer == "unix" { Peer::Unix } else { Peer::Ip(peer.parse().unwrap()) };
        address(peer, &trusted(), &headers("x-forwarded-for", lines)).to_string()
    }

    /// Sources: R27; CVE-2024-47070 and CVE-2026-25748 (policy on a forged X-Forwarded-For).
    #[test]
    fn an_untrusted_peer_is_the_client_whatever_it_says() {
        for lines in [&[][..], &["10.0.0.1"], &["1.2.3.4, 10.0.0.1"], &["127.0.0.1", "::1"]] {
            assert_eq!(client("192.0.2.1", lines), "192.0.2.1", "{lines:?}");
            assert_eq!(client("::ffff:192.0.2.1", lines), "192.0.2.1", "{lines:?}");
        }
        let nobody = TrustedProxies::default();
        let forged = headers("x-forwarded-for", &["1.2.3.4"]);
        let loopback = Peer::Ip(Ipv4Addr::LOCALHOST.into());
        assert_eq!(address(loopback, &nobody, &forged).to_string(), "127.0.0.1");
    }

    #[test]
    fn the_client_is_the_rightmost_that_nobody_trusted_wrote() {
        for (peer, lines, expected) in [
            ("10.0.0.1", &[][..], "10.0.0.1"),
            ("10.0.0.1", &["192.0.2.1"], "192.0.2.1"),
            ("::ffff:10.0.0.1", &["192.0.2.1"], "192.0.2.1"),
            ("10.0.0.1", &["6.6.6.6, 192.0.2.1"], "192.0.2.1"),
            ("10.0.0.1", &["6.6.6.6, 192.0.2.1, 10.0.0.2"], "192.0.2.1"),
            ("10.0.0.1", &["6.6.6.6", "192.0.2.1", "10.0.0.2"], "192.0.2.1"),
            ("10.0.0.1", &["192.0.2.1,10.0.0.2 ,\t10.0.0.3"], "192.0.2.1"),
            ("10.0.0.1", &["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
            ("10.0.0.1", &["::ffff:192.0.2.1"], "192.0.2.1"),
            ("10.0.0.1", &["6.6.6.6, ::ffff:10.0.0.2"], "6.6.6.6"),
            ("10.0.0.1", &["192.0.2.1:4711"], "192.0.2.1"),
            ("10.0.0.1", &["[2001:db8::1]:4711"], "2001:db8::1"),
            ("10.0.0.1", &["[2001:db8::1]"], "2001:db8::1"),
            ("10.0.0.1", &["2001:db8::1"], "2001:db8::1"),
            ("2001:db8:1::9", &["2001:db8::1"], "2001:db8::1"),
            ("unix", &["192.0.2.1"], "192.0.2.1"),
            ("unix", &[], "127.0.0.1"),
        ] {
            assert_eq!(client(peer, lines), expected, "{peer} {lines:?}");
        }
    }

    #[test]
    fn what_is_malformed_ends_the_walk() {
        for junk in [
            "",
            "unknown",
            "_hidden",
            "010.0.0.2",
            "10.0.0.2.",
            "10.0.0.256",
            "1",
            "10.0.0.2:",
            "10.0.0.2:99999",
            "fe80::1%eth0",
            "[fe80::1%1]:1",
            "[10.0.0.2]",
            "\"10.0.0.2\"",
            "for=10.0.0.2",
            "10.0.0.2 10.0.0.3",
            "[::1",
            "::1]",
            "\u{e9}",
        ] {
            let line = format!("192.0.2.1, {junk}, 10.0.0.7");
            assert_eq!(client("10.0.0.1", &[&line]), "10.0.0.7", "{junk}");
            assert_eq!(client("10.0.0.1", &["192.0.2.1", junk]), "10.0.0.1", "{junk}");
        }
    }

    #[test]
    fn the_walk_is_bounded() {
        let chain = format!("192.0.2.1{}", ", 10.0.0.2".repeat(HOPS_MAX));
        assert_eq!(client("10.0.0.1", &[&chain]), "10.0.0.2");
        let chain = format!("192.0.2.1{}", ", 10.0.0.2".repeat(HOPS_MAX - 1));
        assert_eq!(client("10.0.0.1", &[&chain]), "192.0.2.1");
    }

    #[test]
    fn what_is_doubled_or_malformed_is_not_said() {
        for (lines, tls) in [
            (&["https"][..], Some(true)),
            (&["HTTP"], Some(false)),
            (&[], None),
            (&["https", "https"], None),
            (&["https, http"], None),
            (&["wss"], None),
        ] {
            assert_eq!(forwarded(&headers("x-forwarded-proto", lines)).tls, tls, "{lines:?}");
        }
        for (lines, host) in [
            (&["api.example.com:8443"][..], Some("api.example.com:8443")),
            (&["a", "b"], None),
            (&["a, b"], None),
            (&["a/b"], None),
            (&["user@a"], None),
            (&[""], None),
        ] {
            assert_eq!(forwarded(&headers("x-forwarded-host", lines)).host, host, "{lines:?}");
        }
        let long = "a".repeat(REQUEST_ID_BYTES_MAX + 1);
        for (lines, said) in [
            (&["0af7-651.916_cd/4:3=@+~"][..], true),
            (&[&*long], false),
            (&[""], false),
            (&["a b"], false),
            (&["a\"b"], false),
            (&["a", "a"], false),
        ] {
            let headers = headers("x-request-id", lines);
            assert_eq!(forwarded(&headers).request_id.is_some(), said, "{lines:?}");
        }
    }
}
