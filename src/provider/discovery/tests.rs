//! Metadata: where it is looked for, whose it must be, and where it may point.

use std::sync::Arc;

use serde_json::json;

use super::*;
use crate::provider::scripted::{Act, Server, hasty, ok, reach};

const NOT_FOUND: &str = "HTTP/1.1 404 x\r\ncontent-length: 0\r\n\r\n";

fn base_of(text: &str) -> Url {
    base(text).unwrap()
}

/// What a document of this issuer would give.
fn read(issuer: &str, hosts: &[&str], document: &Value) -> Result<Metadata, String> {
    let hosts: Vec<Box<str>> = hosts.iter().map(|host| (*host).into()).collect();
    let base = base_of(issuer);
    Rules { issuer, base: &base, hosts: &hosts }.metadata(document.to_string().as_bytes())
}

#[test]
fn metadata_is_looked_for_where_the_standards_say() {
    let rows = [
        // OpenID Connect Discovery 1.0 section 4.1, RFC 8414 section 3.1: the examples there.
        (
            "https://example.com",
            "https://example.com/.well-known/openid-configuration",
            "https://example.com/.well-known/oauth-authorization-server",
        ),
        (
            "https://example.com/issuer1",
            "https://example.com/issuer1/.well-known/openid-configuration",
            "https://example.com/.well-known/oauth-authorization-server/issuer1",
        ),
        (
            "https://example.com/",
            "https://example.com/.well-known/openid-configuration",
            "https://example.com/.well-known/oauth-authorization-server",
        ),
        (
            "https://example.com:8443/realms/a%20b/",
            "https://example.com:8443/realms/a%20b/.well-known/openid-configuration",
            "https://example.com:8443/.well-known/oauth-authorization-server/realms/a%20b",
        ),
    ];
    for (issuer, openid, oauth) in rows {
        let base = base_of(issuer);
        assert_eq!((openid_url(&base).as_str(), oauth_url(&base).as_str()), (openid, oauth));
    }
}

#[tokio::test]
async fn issuers_without_metadata_are_refused_before_anything_is_sent() {
    let rows = [
        ("accounts.google.com", "not a URL"),
        ("", "not a URL"),
        ("http://idp.example", "not an https URL"),
        ("urn:example:issuer", "not an https URL"),
        ("https://idp.example/?a=b", "query or fragment"),
        ("https://idp.example/#a", "query or fragment"),
        ("https://user@idp.example/", "user or password"),
    ];
    for (issuer, why) in rows {
        let error = discover(issuer, &[], &hasty()).await.unwrap_err();
        assert!(matches!(error, DiscoveryError::Issuer { .. }), "{issuer}: {error}");
        let text = error.to_string();
        assert!(text.contains(why) && text.contains("jwks_url"), "{issuer}: {text}");
    }
}

/// Mix-up and impersonation: a document of another issuer, however alike (RFC 8414 section 3.3).
#[test]
fn the_document_must_be_the_issuers_own() {
    let jwks = "https://idp.example/jwks";
    let issuer = "https://idp.example/a";
    let own = json!({"issuer": issuer, "jwks_uri": jwks});
    assert_eq!(read(issuer, &[], &own).unwrap().jwks_uri.as_str(), jwks);
    let others = [
        json!("https://idp.example/a/"),
        json!("https://idp.example/A"),
        json!("https://IDP.example/a"),
        json!("https://idp.example:443/a"),
        json!("https://evil.example/a"),
        json!("\u{1b}[2Jevil"),
        json!(["https://idp.example/a"]),
        json!(null),
    ];
    for other in others {
        let error = read(issuer, &[], &json!({"issuer": other, "jwks_uri": jwks})).unwrap_err();
        assert!(error.contains("issuer") && !error.contains('\u{1b}'), "{other}: {error}");
    }
    let error = read(issuer, &[], &json!({"jwks_uri": jwks})).unwrap_err();
    assert_eq!(error, "there is no issuer in it");
}

#[test]
fn keys_may_be_on_the_issuers_host_or_a_listed_one() {
    let issuer = "https://idp.example:8443/a";
    let hosts = ["keys.example", "[2001:4860::1]"];
    let at = |uri: Value| read(issuer, &hosts, &json!({"issuer": issuer, "jwks_uri": uri}));
    let good = [
        "https://idp.example:8443/jwks",
        "https://idp.example/jwks",
        "https://IDP.EXAMPLE:1/jwks?x=y",
        "https://keys.example/jwks",
        "https://KEYS.example:444/jwks",
        "https://[2001:4860:0::1]/jwks",
    ];
    for uri in good {
        assert!(at(json!(uri)).is_ok(), "{uri}: {:?}", at(json!(uri)));
    }
    let bad = [
        (json!("https://evil.example/jwks"), "jwks_hosts = [\"evil.example\"]"),
        (json!("https://idp.example.evil.example/"), "jwks_hosts"),
        (json!("https://a.keys.example/"), "jwks_hosts"),
        (json!("https://idp.example@evil.example/"), "jwks_hosts = [\"evil.example\"]"),
        (json!("https://169.254.169.254/"), "jwks_hosts = [\"169.254.169.254\"]"),
        (json!("http://idp.example/jwks"), "does not begin with https://"),
        (json!("http://localhost/jwks"), "does not begin with https://"),
        (json!("file:///etc/passwd"), "does not begin with https://"),
        (json!("data:application/json,{}"), "does not begin with https://"),
        (json!("/jwks"), "is not a URL"),
        (json!(1), "is not a string"),
        (json!(null), "is not a string"),
    ];
    for (uri, why) in bad {
        let error = at(uri.clone()).unwrap_err();
        assert!(error.starts_with("jwks_uri ") && error.contains(why), "{uri}: {error}");
    }
    let error = read(issuer, &[], &json!({"issuer": issuer})).unwrap_err();
    assert_eq!(error, "there is no jwks_uri in it");
    // http is for loopback, and for an issuer that is there itself.
    let local = "http://127.0.0.1:9/";
    let plain = json!({"issuer": local, "jwks_uri": "http://127.0.0.1:10/jwks"});
    assert!(read(local, &[], &plain).is_ok());
}

/// Questions carry a client secret and a token: they go where keys may come from, or nowhere.
#[test]
fn the_introspection_endpoint_is_taken_only_where_keys_may_be() {
    let issuer = "https://idp.example";
    let with = |endpoint: Value| {
        let jwks = "https://idp.example/jwks";
        let document =
            json!({"issuer": issuer, "jwks_uri": jwks, "introspection_endpoint": endpoint});
        read(issuer, &[], &document).unwrap().introspection_endpoint
    };
    let own = "https://idp.example/introspect";
    assert_eq!(with(json!(own)).unwrap().as_str(), own);
    for bad in [json!("https://evil.example/"), json!("http://idp.example/"), json!(1)] {
        assert_eq!(with(bad.clone()), None, "{bad}");
    }
}

#[test]
fn only_strict_json_objects_are_metadata() {
    let base = base_of("https://idp.example");
    let rules = Rules { issuer: "https://idp.example", base: &base, hosts: &[] };
    let good = r#""issuer":"https://idp.example","jwks_uri":"https://idp.example/a""#;
    assert!(rules.metadata(format!("{{{good}}}").as_bytes()).is_ok());
    let rows = [
        ("<html>login</html>".to_owned(), "HTML"),
        (String::new(), "JSON object"),
        ("[]".to_owned(), "JSON object"),
        (format!("{{{good}"), "JSON object"),
        (format!("{{{good}}}x"), "JSON object"),
        // Two readers, two documents (R7).
        (format!("{{{good},\"jwks_uri\":\"https://idp.example/b\"}}"), "JSON object"),
        (format!("{{\"issuer\":\"https://evil.example\",{good}}}"), "JSON object"),
    ];
    for (text, why) in rows {
        let error = rules.metadata(text.as_bytes()).unwrap_err();
        assert!(error.contains(why), "{text}: {error}");
    }
}

/// A provider that has a document at `path` only.
async fn provider(path: &'static str) -> (Server, String) {
    let port = Arc::new(std::sync::OnceLock::new());
    let own = port.clone();
    let server = Server::start(move |request, _| {
        let issuer = format!("http://localhost:{}/tenant", own.get().unwrap());
        let document = json!({"issuer": issuer, "jwks_uri": format!("{issuer}/jwks")});
        match request.starts_with(&format!("GET {path} ")) {
            true => Act::Finish(ok(&document.to_string())),
            false => Act::Finish(NOT_FOUND.into()),
        }
    })
    .await;
    port.set(server.address.port()).unwrap();
    let issuer = server.url("/tenant").to_string();
    (server, issuer)
}

#[tokio::test]
async fn both_places_are_asked_and_a_404_at_both_says_so() {
    let (server, issuer) = provider("/tenant/.well-known/openid-configuration").await;
    let found = discover(&issuer, &[], &reach()).await.unwrap();
    assert_eq!(found.jwks_uri, server.url("/tenant/jwks"));
    assert_eq!(server.requests().len(), 1);

    let (server, issuer) = provider("/.well-known/oauth-authorization-server/tenant").await;
    let found = discover(&issuer, &[], &reach()).await.unwrap();
    assert_eq!(found.jwks_uri, server.url("/tenant/jwks"));
    assert_eq!(server.requests().len(), 2);

    let (server, issuer) = provider("/elsewhere").await;
    let error = discover(&issuer, &[], &reach()).await.unwrap_err();
    assert!(matches!(error, DiscoveryError::Nowhere { .. }), "{error}");
    assert!(error.to_string().contains("/tenant/.well-known/openid-configuration, nor"), "{error}");
    assert_eq!(server.requests().len(), 2);
}

/// Only a 404 says that there is no such document; anything else is trouble, not another place.
#[tokio::test]
async fn trouble_at_the_first_place_is_told() {
    for status in ["500", "403", "302"] {
        let server = Server::start(move |_, _| {
            let head = format!("HTTP/1.1 {status} x\r\nlocation: https://evil.example/\r\n");
            Act::Finish(format!("{head}content-length: 0\r\n\r\n"))
        })
        .await;
        let error = discover(server.url("/").as_str(), &[], &reach()).await.unwrap_err();
        assert!(matches!(error, DiscoveryError::Exchange(_)), "{status}: {error}");
        assert_eq!(server.requests().len(), 1, "{status}");
    }
    let server = Server::start(|_, _| Act::Finish(ok("<html>sign in</html>"))).await;
    let error = discover(server.url("/").as_str(), &[], &reach()).await.unwrap_err();
    let place = server.url("/.well-known/openid-configuration");
    assert_eq!(error.to_string(), format!("{place}: the answer is HTML, not JSON"));
    let large = ok(&" ".repeat(BYTES_MAX + 1));
    let server = Server::start(move |_, _| Act::Finish(large.clone())).await;
    let error = discover(server.url("/").as_str(), &[], &reach()).await.unwrap_err();
    assert!(error.to_string().contains("over 262144 bytes"), "{error}");
}
