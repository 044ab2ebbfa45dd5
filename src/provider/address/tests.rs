//! Server-side request forgery through a provider's URL: which addresses are refused.

use super::*;

/// As for a provider: http on loopback alone.
fn allowed(
    url: &Url,
    found: &[SocketAddr],
    listed: &[IpNet],
) -> Result<Vec<SocketAddr>, AddressError> {
    super::allowed(url, found, listed, false)
}

fn url(text: &str) -> Url {
    text.parse().unwrap()
}

fn at(address: &str) -> SocketAddr {
    SocketAddr::new(address.parse().unwrap(), 443)
}

/// First and last address of each range, in every form that leads there.
#[test]
fn special_addresses_are_refused_in_every_form() {
    let rows = [
        ("0.0.0.0", "this network"),
        ("0.255.255.255", "this network"),
        ("10.0.0.0", "private"),
        ("10.255.255.255", "private"),
        ("100.64.0.0", "shared"),
        ("100.100.100.200", "shared"), // Alibaba's metadata service.
        ("100.127.255.255", "shared"),
        ("127.0.0.1", "loopback"),
        ("127.255.255.255", "loopback"),
        ("168.63.129.16", "Azure"),
        ("169.254.0.0", "link-local"),
        ("169.254.169.254", "link-local"), // The metadata services of AWS, Azure, Google.
        ("172.16.0.0", "private"),
        ("172.31.255.255", "private"),
        ("192.0.0.192", "protocol"), // Oracle's metadata service.
        ("192.0.2.1", "documentation"),
        ("192.88.99.1", "6to4"),
        ("192.168.0.0", "private"),
        ("192.168.255.255", "private"),
        ("198.18.0.0", "benchmarking"),
        ("198.19.255.255", "benchmarking"),
        ("198.51.100.1", "documentation"),
        ("203.0.113.255", "documentation"),
        ("224.0.0.1", "multicast"),
        ("239.255.255.255", "multicast"),
        ("240.0.0.1", "reserved"),
        ("255.255.255.255", "broadcast"),
    ];
    for (address, kind) in rows {
        let v4: Ipv4Addr = address.parse().unwrap();
        assert!(special(v4.into()).is_some_and(|k| k.contains(kind)), "{address}");
        let mapped = special(v4.to_ipv6_mapped().into());
        assert!(mapped.is_some_and(|k| k.contains(kind)), "mapped {address}");
        let [a, b, c, d] = v4.octets().map(u16::from);
        let (high, low) = (a << 8 | b, c << 8 | d);
        let nat64 = Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low);
        assert!(special(nat64.into()).is_some_and(|k| k.contains("NAT64")), "NAT64 {address}");
        let compatible = Ipv6Addr::new(0, 0, 0, 0, 0, 0, high, low);
        assert!(special(compatible.into()).is_some(), "compatible {address}");
        let six_to_four = Ipv6Addr::new(0x2002, high, low, 0, 0, 0, 0, 1);
        assert!(special(six_to_four.into()).is_some_and(|k| k.contains("6to4")), "6to4 {address}");
        let teredo = Ipv6Addr::new(0x2001, 0, 1, 1, 0, 0, !high, !low);
        assert!(special(teredo.into()).is_some_and(|k| k.contains("Teredo")), "Teredo {address}");
    }
}

#[test]
fn special_ipv6_addresses_are_refused() {
    let rows = [
        ("::", "unspecified"),
        ("::1", "loopback"),
        ("::2", "IPv4-compatible"),
        ("64:ff9b:1::a00:1", "local NAT64"),
        ("100::1", "not global unicast"), // Discard, RFC 6666.
        ("2001:2::1", "protocol"),        // Benchmarking, RFC 5180.
        ("2001:10::1", "protocol"),       // ORCHID, RFC 4843.
        ("2001:db8::1", "documentation"),
        ("3fff:fff::1", "documentation"),
        ("4000::1", "not global unicast"),
        ("5f00::1", "not global unicast"), // Segment routing, RFC 9602.
        ("fc00::", "private"),
        ("fd00:ec2::254", "private"), // The metadata service of AWS.
        ("fe80::1", "link-local"),
        ("febf::1", "link-local"),
        ("fec0::1", "not global unicast"), // Site-local, RFC 3879.
        ("ff02::1", "multicast"),
        ("::ffff:0:7f00:1", "not global unicast"), // IPv4-translated, RFC 2765.
    ];
    for (address, kind) in rows {
        let found = special(address.parse().unwrap());
        assert!(found.is_some_and(|k| k.contains(kind)), "{address}: {found:?}");
    }
}

#[test]
fn public_addresses_are_not_refused() {
    let public = [
        "1.1.1.1",
        "9.255.255.255",
        "11.0.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "126.255.255.255",
        "128.0.0.0",
        "169.253.255.255",
        "172.15.255.255",
        "172.32.0.0",
        "192.167.255.255",
        "198.17.255.255",
        "198.20.0.0",
        "223.255.255.255",
        "::ffff:8.8.8.8",
        "64:ff9b::808:808",
        "2001:4860:4860::8888",
        "2606:4700:4700::1111",
        "2a00:1450:4001::1",
    ];
    for address in public {
        assert_eq!(special(address.parse().unwrap()), None, "{address}");
    }
}

/// Only the host as it is written opens loopback: a name of somebody else's that points to
/// loopback does not (DNS rebinding).
#[test]
fn loopback_is_for_hosts_that_say_so() {
    let loopback = [at("127.0.0.1"), at("::1")];
    for own in ["http://localhost/", "https://127.0.0.1/", "https://127.9.9.9/", "http://[::1]/"] {
        assert_eq!(allowed(&url(own), &loopback, &[]).unwrap().len(), 2, "{own}");
    }
    let others = ["https://rebind.example/", "https://a.localhost/", "https://localhost./"];
    for other in others {
        let error = allowed(&url(other), &loopback, &[]).unwrap_err();
        assert!(matches!(error, AddressError::Refused { .. }), "{other}: {error}");
    }
    // The ways to write 127.0.0.1 that the URL standard knows all end up as that address.
    for odd in ["http://127.1/", "http://2130706433/", "http://0x7f.0.0.1/", "http://0177.0.0.1/"] {
        assert!(is_loopback(&url(odd)), "{odd}");
    }
    assert!(!is_loopback(&url("http://[::ffff:127.0.0.1]/")));
    // `localhost` opens loopback and nothing else.
    assert!(allowed(&url("https://localhost/"), &[at("10.0.0.1")], &[]).is_err());
}

#[test]
fn listed_addresses_are_taken_and_no_others() {
    let listed: Vec<IpNet> = vec!["10.1.0.0/16".parse().unwrap(), "fd00::/8".parse().unwrap()];
    let idp = url("https://idp.internal/");
    for good in ["10.1.2.3", "::ffff:10.1.2.3", "fd12::1", "8.8.8.8"] {
        assert_eq!(allowed(&idp, &[at(good)], &listed).unwrap(), [at(good)], "{good}");
    }
    for bad in ["10.2.0.1", "fc00::1", "::ffff:10.2.0.1", "169.254.169.254"] {
        assert!(allowed(&idp, &[at(bad)], &listed).is_err(), "{bad}");
    }
}

#[test]
fn of_several_addresses_only_the_allowed_are_tried() {
    let idp = url("https://idp.example/");
    let found = [at("10.0.0.1"), at("8.8.8.8"), at("::1"), at("2606:4700::1")];
    assert_eq!(allowed(&idp, &found, &[]).unwrap(), [at("8.8.8.8"), at("2606:4700::1")]);
    let many: Vec<SocketAddr> = (1..=99).map(|n| at(&format!("8.8.8.{n}"))).collect();
    assert_eq!(allowed(&idp, &many, &[]).unwrap().len(), TRIES_MAX);
    let error = allowed(&idp, &[], &[]).unwrap_err();
    assert!(matches!(error, AddressError::Unresolved { .. }), "{error}");
}

#[test]
fn a_refusal_says_what_to_write() {
    let error = allowed(&url("https://idp.example/x"), &[at("169.254.169.254")], &[]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the host idp.example is at 169.254.169.254 (link-local, as cloud metadata services are), \
         where no public provider is; if that is right, list it: provider_addresses = \
         [\"169.254.169.254\"]"
    );
}

#[test]
fn http_is_for_loopback_whatever_is_listed() {
    let listed: Vec<IpNet> = vec!["10.0.0.0/8".parse().unwrap()];
    for address in ["10.0.0.1", "8.8.8.8"] {
        let error = allowed(&url("http://idp.example/"), &[at(address)], &listed).unwrap_err();
        assert!(matches!(error, AddressError::PlainHttp { .. }), "{error}");
    }
}

/// Two addresses of which the first is dead: the second is tried, and the error names the last.
#[tokio::test]
async fn the_connection_goes_to_the_checked_address() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let bound = listener.local_addr().unwrap();
    let reach = crate::provider::scripted::reach();
    let here = url(&format!("http://localhost:{}/", bound.port()));
    let deadline = Instant::now() + reach.timeout;
    let stream = connect(&here, &reach, deadline).await.unwrap();
    assert_eq!(stream.peer_addr().unwrap(), bound);
    drop(listener);
    let error = connect(&here, &reach, deadline).await.unwrap_err();
    assert!(matches!(error, AddressError::Connect { .. }), "{error}");
}

/// A service of one's own may be spoken to without TLS where the operator listed its network, and
/// nowhere else.
#[test]
fn http_goes_to_listed_networks_only_where_it_was_allowed() {
    let listed = ["10.0.0.0/8".parse().unwrap()];
    let app = url("http://app.internal:3000/login");
    for (address, plain, passes) in [
        ("10.0.0.7", true, true),
        ("10.0.0.7", false, false),
        ("192.168.0.7", true, false),
        ("8.8.8.8", true, false),
    ] {
        let outcome = super::allowed(&app, &[at(address)], &listed, plain);
        assert_eq!(outcome.is_ok(), passes, "{address} {plain}");
    }
}
