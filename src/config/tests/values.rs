//! The value types: what each takes and what it refuses.

use std::fmt::Debug;

use serde::Deserialize;

use super::super::*;

/// Reads one value; the error is its first line.
fn value<T: for<'de> Deserialize<'de> + Debug>(toml: &str) -> Result<T, String> {
    let deserializer = toml::de::ValueDeserializer::parse(toml).expect("a TOML value");
    T::deserialize(deserializer)
        .map_err(|error| error.message().lines().next().unwrap_or_default().to_owned())
}

/// Asserts that each is refused.
fn refused<T: for<'de> Deserialize<'de> + Debug>(values: &[&str]) {
    for toml in values {
        let read = value::<T>(toml);
        assert!(read.is_err(), "{toml} was read as {read:?}");
    }
}

#[test]
fn durations() {
    let millis = |toml| value::<Period>(toml).map(|period| period.get().as_millis());
    assert_eq!(millis("\"250ms\""), Ok(250));
    assert_eq!(millis("\"15m\""), Ok(900_000));
    assert_eq!(millis("\"1h 30m\""), Ok(5_400_000));
    refused::<Period>(&["\"\"", "\"0s\"", "\"-1s\"", "\"1\"", "1", "\"11y\"", "\"1 fortnight\""]);
    // The parser's sum of these overflows `Duration`, which panics: too long to get that far.
    refused::<Period>(&["\"18446744073709551615s1000ms\"", "\"584554049253y22906815s1000ms\""]);
    refused::<Period>(&["\"off\"", "true", "1.5", "[]", "{}"]);
    assert_eq!(value::<OrOff<Period>>("\"off\""), Ok(OrOff::Off));
}

#[test]
fn leeways_are_whole_seconds_up_to_a_minute() {
    assert!(value::<Leeway>("\"0s\"").is_ok());
    assert!(value::<Leeway>("\"60s\"").is_ok());
    refused::<Leeway>(&["\"61s\"", "\"500ms\"", "\"off\"", "30"]);
}

#[test]
fn sizes() {
    let bytes = |toml| value::<Size>(toml).map(Size::get);
    assert_eq!(bytes("\"1MiB\""), Ok(1 << 20));
    assert_eq!(bytes("\"1 MB\""), Ok(1_000_000));
    assert_eq!(bytes("8192"), Ok(8192));
    refused::<Size>(&["0", "-1", "\"\"", "\"MiB\"", "\"1M\"", "\"1.5MiB\"", "\"-1KiB\"", "1.5"]);
    refused::<Size>(&["\"18446744073709551615GiB\"", "\"99999999999999999999\"", "\"1TiBB\""]);
}

#[test]
fn rates() {
    let rate = value::<Rate>("\"5/15m\"").expect("a rate");
    assert_eq!((rate.count.get(), rate.per.as_secs()), (5, 900));
    refused::<Rate>(&["\"5\"", "\"/1m\"", "\"0/1m\"", "\"-1/1m\"", "\"5/0s\"", "\"5/m\"", "5"]);
    refused::<Rate>(&["\"4294967296/1s\"", "\"5/32d\"", "\"5/1m/1m\""]);
}

#[test]
fn paths() {
    let exact = |path: &str| Ok(PathPattern::Exact(path.to_owned()));
    let below = |path: &str| Ok(PathPattern::Below(path.to_owned()));
    assert_eq!(value("\"/\""), exact("/"));
    assert_eq!(value("\"/a/\""), exact("/a"));
    assert_eq!(value("\"/*\""), below(""));
    assert_eq!(value("\"/a/*\""), below("/a"));
    assert_eq!(value("\"/caf%c3%A9\""), exact("/caf%C3%A9"));
    assert_eq!(value("\"/a(b)=c,d@e:f\""), exact("/a(b)=c,d@e:f"));
    refused::<PathPattern>(&["\"\"", "\"a\"", "\"//\"", "\"/a//*\"", "\"/a*\"", "\"/./a\""]);
    refused::<PathPattern>(&["\"/%\"", "\"/%4\"", "\"/%zz\"", "\"/%00\"", "\"/%5C\"", "\"/%25\""]);
    refused::<PathPattern>(&["\"/a b\"", "\"/a\\\\b\"", "\"/a#\"", "\"/..\"", "\"/a/..;/b\""]);
}

#[test]
fn hosts() {
    let exact = |host: &str| Ok(HostPattern::Exact(host.to_owned()));
    assert_eq!(value("\"API.example.com\""), exact("api.example.com"));
    assert_eq!(value("\"[::1]\""), exact("[::1]"));
    assert_eq!(value("\"*.a.b\""), Ok(HostPattern::Below("a.b".to_owned())));
    refused::<HostPattern>(&[
        "\"\"", "\"*\"", "\"*.\"", "\"a.*\"", "\"a:80\"", "\"a..b\"", "\"a/b\"",
    ]);
}

#[test]
fn header_patterns_match_every_spelling() {
    let prefix = value::<HeaderPattern>("\"X-Auth-*\"").expect("a pattern");
    for name in ["x-auth-subject", "X_Auth_Subject", "X-AUTH_", "x.auth-a"] {
        assert!(prefix.matches(name), "R24: {name}");
    }
    assert!(!prefix.matches("x-auth"));
    let exact = value::<HeaderPattern>("\"Remote-User\"").expect("a pattern");
    assert!(exact.matches("remote_user") && !exact.matches("remote-user-id"));
    refused::<HeaderPattern>(&["\"*\"", "\"\"", "\"a*b\"", "\"a b\"", "\"**\""]);
}

#[test]
fn limit_keys() {
    let key = value::<LimitKey>("\"client+json:/email\"").expect("a key");
    assert_eq!(key.parts(), [LimitPart::Client, LimitPart::Json("/email".to_owned())]);
    assert!(key.reads_body() && !key.reads_claims() && !key.reads_form());
    assert!(value::<LimitKey>("\"header:X-Api-Key+claim:/a/b\"").expect("a key").reads_claims());
    refused::<LimitKey>(&["\"\"", "\"+\"", "\"client+\"", "\"client+client\"", "\"json:email\""]);
    refused::<LimitKey>(&["\"header:\"", "\"header:a b\"", "\"form:\"", "\"claim:\"", "\"ip\""]);
}

#[test]
fn claim_paths() {
    assert!(value::<ClaimPath>("\"/a~1b/c~0\"").expect("a pointer").is_pointer());
    assert!(!value::<ClaimPath>("\"https://x/roles\"").expect("a name").is_pointer());
    refused::<ClaimPath>(&["\"\"", "\"/\"", "\"/a~\"", "\"/a~2\"", "\"a\\u0000\"", "5"]);
}

#[test]
fn servers_and_origins() {
    let server = value::<Server>("\"https://orders.internal/\"").expect("a server");
    assert_eq!((server.host(), server.port(), server.tls), ("orders.internal", 443, true));
    refused::<Server>(&[
        "\"\"",
        "\"orders:3000\"",
        "\"http://\"",
        "\"http://a:\"",
        "\"http://a:0\"",
    ]);
    refused::<Server>(&["\"http://a?b\"", "\"http://a#b\"", "\"http://u@a\"", "\"unix:/a\""]);
    let url = value::<PublicUrl>("\"https://API.example.com:443/\"").expect("an origin");
    assert_eq!(url.origin().as_deref(), Some("https://api.example.com"));
    assert_eq!(value::<PublicUrl>("\"\"").expect("none").origin(), None);
    refused::<PublicUrl>(&[
        "\"http://a\"",
        "\"https://a/b\"",
        "\"https://u@a\"",
        "\"https://a:x\"",
    ]);
}

#[test]
fn networks_are_networks() {
    assert!(value::<Network>("\"10.0.0.0/8\"").is_ok() && value::<Network>("\"::1\"").is_ok());
    refused::<Network>(&["\"10.0.0.1/8\"", "\"10.0.0.0/33\"", "\"a\"", "\"\"", "\"10.0.0.0/\""]);
}

#[test]
fn store_urls() {
    refused::<StoreUrl>(&[
        "\"\"",
        "\"embedded:\"",
        "\"redis://\"",
        "\"redis://a:0\"",
        "\"redis://a:\"",
    ]);
    refused::<StoreUrl>(&[
        "\"redis://a/x\"",
        "\"redis://a/0/1\"",
        "\"redis://a?db=1\"",
        "\"redis:a\"",
    ]);
    refused::<StoreUrl>(&[
        "\"redis-cluster://\"",
        "\"redis-cluster://a,\"",
        "\"redis-cluster://a,,b\"",
        "\"redis-cluster://a:0\"",
        "\"redis-cluster://a/1\"",
        "\"redis-cluster://a?x=1\"",
        "\"redis-cluster://u:p@a\"",
        "\"redis-sentinel://a\"",
        "\"redis-sentinel://a/\"",
        "\"redis-sentinel:///main\"",
        "\"redis-sentinel://a/ma in\"",
        "\"redis-sentinel://a/main/x\"",
        "\"redis-sentinel://a/main/0/1\"",
        "\"redis-sentinel://a/main?db=1\"",
        "\"rediss-sentinel://p@a/main\"",
    ]);
    refused::<StoreUrl>(&["\"redis+unix://a\"", "\"redis+unix:///a?x=1\"", "\"redis://a/99999\""]);
    let error = value::<StoreUrl>("\"redis://u:hunter2@a\"").expect_err("a password in a URL");
    assert!(!error.contains("hunter2"), "{error}");
}

#[test]
fn methods() {
    assert!(value::<Method>("\"PROPFIND\"").is_ok());
    refused::<Method>(&["\"\"", "\"get\"", "\"TRACE\"", "\"CONNECT\"", "\"G T\"", "\"G\\u0000\""]);
}
