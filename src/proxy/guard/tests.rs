//! Goal: nothing that a client sends can reach an upstream under a name that only the gateway may
//! speak, in whatever spelling, and no field of one connection reaches another.

use proptest::prelude::*;

use super::*;

fn reserved() -> ReservedNames {
    let identity = [HeaderName::from_static("x-tenant"), HeaderName::from_static("tenant_id")];
    ReservedNames::compile(["X-Auth-*"], &identity).unwrap()
}

fn headers<'n>(pairs: impl IntoIterator<Item = (&'n str, &'n str)>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        headers.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    headers
}

/// The names that are left, sorted.
fn left<'n>(pairs: impl IntoIterator<Item = (&'n str, &'n str)>) -> Vec<String> {
    let mut headers = headers(pairs);
    guard(&mut headers, &reserved());
    let mut names: Vec<_> = headers.keys().map(|name| name.as_str().to_owned()).collect();
    names.sort();
    names
}

/// Each row's source is its advisory or requirement (security.md).
#[test]
fn what_only_the_gateway_may_say_is_gone() {
    for (name, source) in [
        ("X-Auth-Subject", "R24"),
        ("X-AUTH-subject", "R24"),
        ("x_auth_subject", "CVE-2025-64484"),
        ("X-Auth_Subject", "GO-2026-5346"),
        ("X.Auth.Subject", "R24"),
        ("X--Auth_Subject", "R24, `_`"),
        ("X-Tenant", "R24, configured"),
        ("X_Tenant", "R24, configured"),
        ("Tenant-Id", "R24, configured with `_`"),
        ("Tenant_Id", "R24, configured with `_`"),
        ("any_thing", "nginx underscores_in_headers"),
        ("Proxy", "CVE-2016-5385"),
        ("X-Original-URL", "R22"),
        ("X-Rewrite-URL", "R22"),
        ("X-HTTP-Method-Override", "R22"),
        ("X_HTTP_Method_Override", "R22"),
        ("CF-Connecting-IP", "R27"),
        ("True-Client-IP", "R27"),
        ("X-Real-IP", "R27"),
        ("Forwarded", "R27"),
        ("X-Forwarded-For", "CVE-2024-47070"),
        ("X-Forwarded-Proto", "R27"),
        ("X-Forwarded-Host", "R27"),
        ("X-Forwarded-Uri", "GHSA-7rh7-c77v-6434"),
        ("X-Forwarded-User", "CVE-2025-64484"),
        ("X-Forwarded-Client-Cert", "design"),
        ("X-Authentik-Username", "design"),
        ("Remote-User", "CVE-2026-30851"),
        ("Remote.User", "CVE-2026-30851"),
        ("X-JWT-Payload", "CVE-2023-27487"),
        ("X-Consumer-Username", "CVE-2026-31908"),
        ("SSL-Client-Verify", "design"),
        ("HTTP2-Settings", "R32"),
        ("Proxy-Authorization", "RFC 9110 §11.7.2"),
        ("Proxy-Connection", "RFC 9112 §C.2.2"),
        ("Keep-Alive", "R26"),
        ("TE", "R26"),
        ("Trailer", "R24, trailers"),
        ("Upgrade", "R26"),
    ] {
        assert_eq!(left([(name, "1"), (name, "2"), ("accept", "*/*")]), ["accept"], "{source}");
    }
}

#[test]
fn what_a_client_may_say_is_left_alone() {
    let pairs = [
        ("accept", "*/*"),
        ("authorization", "Bearer x"),
        ("content-length", "3"),
        ("content-type", "text/plain"),
        ("cookie", "a=b"),
        ("host", "a"),
        ("origin", "https://a"),
        ("sec-websocket-key", "x"),
        ("traceparent", "00-1-2-01"),
        ("transfer-encoding", "chunked"),
        ("x--auth-subject", "not a spelling of ours"),
        ("x-access-token", "an application's own"),
        ("x-csrf-token", "x"),
        ("x-requested-with", "XMLHttpRequest"),
    ];
    assert_eq!(left(pairs), pairs.map(|(name, _)| name));
}

/// Sources: R26; Pingora CVE-2026-105299 (a gateway's header removed by the client's Connection);
/// CVE-2024-45410 (Traefik, the same).
#[test]
fn connection_removes_what_it_names_before_ours_are_set() {
    for (connection, expected) in [
        ("X-Custom", &["accept", "connection-x"][..]),
        ("close, X-CUSTOM", &["accept", "connection-x"]),
        ("keep-alive", &["accept", "connection-x", "x-custom"]),
        ("close,,  ,accept", &["connection-x", "x-custom"]),
        ("bad name, accept", &["connection-x", "x-custom"]),
        ("X-Auth-Subject", &["accept", "connection-x", "x-custom"]),
    ] {
        let pairs = [
            ("connection", connection),
            ("accept", "*/*"),
            ("x-custom", "1"),
            ("connection-x", "1"),
            ("x-auth-subject", "forged"),
        ];
        assert_eq!(left(pairs), expected, "{connection}");
    }
    let several = [("connection", "accept"), ("connection", "x-custom"), ("accept", "*/*")];
    assert_eq!(left(several), [""; 0]);
}

/// Source: R29; a client must not say where its message ends by a second way.
#[test]
fn connection_cannot_remove_the_framing() {
    let pairs = [
        ("connection", "host, content-length, transfer-encoding, authorization"),
        ("host", "a"),
        ("content-length", "3"),
        ("transfer-encoding", "chunked"),
        ("authorization", "Bearer x"),
    ];
    assert_eq!(left(pairs), ["content-length", "host", "transfer-encoding"]);
}

#[test]
fn what_the_pipeline_needs_is_told() {
    let hop = |pairs: &[(&'static str, &'static str)]| {
        guard(&mut headers(pairs.iter().copied()), &reserved())
    };
    assert_eq!(hop(&[]), Hop::default());
    assert!(hop(&[("te", "gzip;q=0.5, Trailers")]).trailers);
    assert!(hop(&[("connection", "keep-alive, Close")]).close);
    for (connection, upgrade, expected) in [
        ("Upgrade", "websocket", Upgrade::WebSocket),
        ("keep-alive, upgrade", "WebSocket", Upgrade::WebSocket),
        ("upgrade", "h2c", Upgrade::Other),
        ("upgrade, http2-settings", "h2c, websocket", Upgrade::Other),
        ("upgrade", "websocket, websocket", Upgrade::Other),
        ("upgrade", "websocket/13", Upgrade::Other),
        ("upgrade", "", Upgrade::None),
        ("keep-alive", "websocket", Upgrade::None),
    ] {
        let pairs = [("connection", connection), ("upgrade", upgrade)];
        assert_eq!(hop(&pairs).upgrade, expected, "{connection}: {upgrade}");
    }
    let twice = [("connection", "upgrade"), ("upgrade", "websocket"), ("upgrade", "h2c")];
    assert_eq!(hop(&twice).upgrade, Upgrade::Other);
}

#[test]
fn responses_lose_their_connections_fields() {
    let mut headers = headers([
        ("connection", "close, x-hop"),
        ("keep-alive", "timeout=5"),
        ("proxy-authenticate", "Basic"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "h2c"),
        ("x-hop", "1"),
        ("content-length", "3"),
        ("set-cookie", "a=b"),
        ("set-cookie", "c=d"),
        ("trailer", "grpc-status"),
        ("x_legacy", "a response may"),
    ]);
    assert!(strip_response(&mut headers).close);
    let mut names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["content-length", "set-cookie", "trailer", "x_legacy"]);
    assert_eq!(headers.get_all("set-cookie").iter().count(), 2);
}

/// A reserved name with its case and marks changed at random.
fn spelling() -> impl Strategy<Value = String> {
    let names = prop::sample::select(vec![
        "x-auth-subject",
        "x-tenant",
        "tenant-id",
        "remote-user",
        "x-forwarded-for",
        "x-real-ip",
        "forwarded",
        "proxy",
        "x-http-method-override",
        "x-jwt-claim-sub",
        "x-consumer-id",
    ]);
    let marks = prop::collection::vec(prop::sample::select(b"-_.!#$%&'*+^`|~".to_vec()), 8);
    (names, marks, any::<u64>()).prop_map(|(name, marks, raised)| {
        let mut marks = marks.into_iter().map(char::from);
        let spell = |(at, letter): (usize, char)| match letter {
            '-' => marks.next().unwrap_or('-'),
            letter if raised >> at & 1 == 1 => letter.to_ascii_uppercase(),
            letter => letter,
        };
        name.chars().enumerate().map(spell).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    #[test]
    fn no_spelling_survives(
        names in prop::collection::vec(spelling(), 1..6),
        listed in spelling(),
    ) {
        let mut headers = headers(names.iter().map(|name| (&**name, "forged")));
        let connection = format!("upgrade, {listed}, accept");
        headers.insert(CONNECTION, HeaderValue::try_from(connection).unwrap());
        headers.insert(http::header::COOKIE, HeaderValue::from_static("a=b"));
        guard(&mut headers, &reserved());
        let names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        prop_assert_eq!(names, ["cookie"]);
    }

    #[test]
    fn nothing_that_folds_to_a_reserved_name_is_left(
        names in prop::collection::vec(
            "[xXtT][-_.]?(auth|Auth|tenant|Forwarded|real)?[-_.a-zA-Z]{0,9}",
            0..20,
        ),
    ) {
        let reserved = reserved();
        let mut headers = headers(names.iter().map(|name| (&**name, "1")));
        guard(&mut headers, &reserved);
        for name in headers.keys() {
            let folded = name.as_str().replace(|c: char| !c.is_ascii_alphanumeric(), "-");
            prop_assert!(!reserved.contains(&folded), "{}", name);
            prop_assert!(!folded.starts_with("x-auth-"), "{}", name);
            prop_assert!(!name.as_str().contains('_'), "{}", name);
        }
    }
}
