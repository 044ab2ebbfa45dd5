//! Which keys of a document are used, and what is said about the others.

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::*;
use crate::provider::scripted::{Act, Server, ok, ok_with, reach};

/// RFC 7517 appendix A.1, the first key; its own `use` is `enc`.
const X: &str = "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4";
const Y: &str = "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM";

const ED: &[Algorithm] = &[Algorithm::EdDSA];

/// A new Ed25519 key (RFC 8037 section 2).
fn ed(kid: &str) -> Value {
    let x = URL_SAFE_NO_PAD.encode(Ed25519KeyPair::generate().unwrap().public_key());
    json!({"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": kid, "x": x})
}

fn ec(kid: &str) -> Value {
    json!({"kty": "EC", "crv": "P-256", "kid": kid, "x": X, "y": Y})
}

fn set(keys: &[Value]) -> String {
    json!({ "keys": keys }).to_string()
}

fn read(keys: &[Value], algorithms: &[Algorithm]) -> Result<(Vec<String>, Vec<String>), String> {
    let read = read_keys(set(keys).as_bytes(), algorithms);
    let (keys, notes) = read.map_err(|error| error.to_string())?;
    let kids = keys.iter().map(|key| key.kid().unwrap_or("-").to_owned()).collect();
    Ok((kids, notes))
}

fn with(mut jwk: Value, member: &str, value: Value) -> Value {
    jwk[member] = value;
    jwk
}

#[test]
fn every_key_that_fits_is_used_and_nothing_is_said() {
    let algorithms = [Algorithm::EdDSA, Algorithm::ES256];
    let (kids, notes) = read(&[ed("a"), ec("b"), ed("c")], &algorithms).unwrap();
    assert_eq!((kids, notes), (vec!["a".into(), "b".into(), "c".into()], Vec::<String>::new()));
}

#[test]
fn what_is_left_out_is_said_in_one_line() {
    let encrypting = with(ec("enc-1"), "use", json!("enc"));
    let mut nameless = encrypting.clone();
    nameless.as_object_mut().unwrap().remove("kid");
    let (kids, notes) = read(&[encrypting, ed("a"), nameless], ED).unwrap();
    assert_eq!(kids, ["a"]);
    assert_eq!(
        notes.join("; "),
        "1 of 3 keys used; key \"enc-1\": the key is not for signatures (use or key_ops say \
         otherwise); key 3 (without kid): the key is not for signatures (use or key_ops say \
         otherwise)"
    );
}

/// R3: never a shared secret from the network, even where the entry's algorithms are HMAC.
#[test]
fn secrets_from_the_network_are_never_keys() {
    let oct = json!({"kty": "oct", "kid": "s", "k": URL_SAFE_NO_PAD.encode([7; 64])});
    for algorithms in [&[Algorithm::HS256][..], &[Algorithm::HS512], ED] {
        let error = read(std::slice::from_ref(&oct), algorithms).unwrap_err();
        assert!(error.contains("no usable key") && error.contains("shared secret"), "{error}");
    }
    let (kids, notes) = read(&[oct, ed("a")], ED).unwrap();
    assert_eq!((kids, notes.len()), (vec!["a".to_owned()], 2));
}

/// R5 for keys that nobody configured: what one token could mean twice, it does not mean at all.
#[test]
fn keys_that_share_a_name_are_left_out_and_copies_count_once() {
    let (one, two) = (ed("a"), ed("a"));
    let (kids, notes) = read(&[one.clone(), two, ed("b")], ED).unwrap();
    assert_eq!(kids, ["b"]);
    assert_eq!(notes, ["1 of 3 keys used", "key \"a\": several different keys have this kid"]);

    let (kids, notes) = read(&[one.clone(), one.clone(), ed("b")], ED).unwrap();
    assert_eq!((kids, notes), (vec!["a".into(), "b".into()], Vec::<String>::new()));

    // Three of one name, two of them the same key.
    let (kids, _) = read(&[one.clone(), one.clone(), ed("a"), ed("b")], ED).unwrap();
    assert_eq!(kids, ["b"]);

    // One name, two algorithms: a token's `alg` tells them apart (RFC 7517 section 4.5).
    let (kids, _) = read(&[one, ec("a")], &[Algorithm::EdDSA, Algorithm::ES256]).unwrap();
    assert_eq!(kids, ["a", "a"]);

    // Without a kid, each may be meant; how many are tried is bounded elsewhere (R4).
    let nameless = |mut jwk: Value| {
        jwk.as_object_mut().unwrap().remove("kid");
        jwk
    };
    let (kids, notes) = read(&[nameless(ed("")), nameless(ed(""))], ED).unwrap();
    assert_eq!((kids.len(), notes.len()), (2, 0));
}

#[test]
fn documents_without_a_usable_key_are_errors() {
    let rows = [
        (set(&[]), "no usable key in the document (it holds none)"),
        (set(&[ec("b")]), "no usable key in the document (key \"b\": "),
        (set(&[ed("a"), ed("a")]), "no usable key in the document (key \"a\": several"),
        ("<!DOCTYPE html><html>".into(), "the answer is HTML, not JSON"),
        ("{}".into(), "no array \"keys\""),
        ("[]".into(), "not a JSON object"),
        (format!("{},{}", set(&[ed("a")]), set(&[ed("b")])), "not a JSON object"),
        ("{\"keys\":[],\"keys\":[]}".into(), "not a JSON object"),
        (String::new(), "not a JSON object"),
    ];
    for (text, why) in rows {
        let error = read_keys(text.as_bytes(), ED).unwrap_err().to_string();
        assert!(error.contains(why), "{text}: {error}");
    }
}

#[test]
fn the_number_of_keys_and_of_words_is_bounded() {
    let encrypting = with(ec("e"), "use", json!("enc"));
    let mut keys = vec![encrypting; 99];
    keys.push(ed("a"));
    let (kids, notes) = read(&keys, ED).unwrap();
    assert_eq!((kids.len(), notes.len()), (1, REASONS_MAX + 2));
    assert_eq!(notes.last().unwrap(), "and 91 more");
    keys.push(ed("b"));
    let error = read(&keys, ED).unwrap_err();
    assert_eq!(error, "101 keys in the document; at most 100 are taken");
}

#[test]
fn kids_from_the_network_are_clipped_and_escaped() {
    let odd = "\u{1b}[2J\r\nlevel=error \"x\" \u{202e}".to_owned() + &"k".repeat(200);
    let (_, notes) = read(&[with(ec(&odd), "use", json!("enc")), ed("a")], ED).unwrap();
    let line = notes.join("; ");
    assert!(line.is_ascii() || line.replace('…', "").is_ascii(), "{line}");
    assert!(!line.contains(|c: char| c.is_control()) && line.len() < 300, "{line}");
}

fn source(published: provider::Published, issuer: Option<&str>) -> KeySource {
    KeySource {
        entry: "idp".into(),
        issuer: issuer.map(Into::into),
        published,
        hosts: Vec::new(),
        reach: reach(),
        algorithms: ED.to_vec(),
        refresh: Duration::from_secs(300),
        cooldown: Duration::from_secs(10),
        max_stale: Duration::from_secs(86400),
        required: true,
    }
}

#[tokio::test]
async fn keys_are_fetched_from_a_url_with_everything_that_belongs_to_them() {
    let document = set(&[ed("a"), with(ec("e"), "use", json!("enc"))]);
    let answer = ok_with("cache-control: max-age=60\r\n", &document);
    let server = Server::start_tls("localhost", move |_, _| Act::Finish(answer.clone())).await;
    let jwks = provider::Published::Jwks(server.url("/jwks"));
    let published = fetch_keys(&source(jwks, None)).await.unwrap();
    assert_eq!(published.keys.len(), 1);
    assert_eq!(published.notes.first().unwrap(), "1 of 2 keys used");
    assert_eq!(published.max_age, Some(Duration::from_secs(60)));
    assert_eq!(published.text, document.into_bytes());
}

#[tokio::test]
async fn keys_are_fetched_where_discovery_says() {
    let document = set(&[ed("a")]);
    let server = Server::start(move |request, _| {
        let host = request.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
        let issuer = format!("http://{host}/");
        let metadata = json!({"issuer": issuer, "jwks_uri": format!("{issuer}keys?v=1")});
        match request.starts_with("GET /keys?v=1 ") {
            true => Act::Finish(ok(&document)),
            false => Act::Finish(ok(&metadata.to_string())),
        }
    })
    .await;
    let issuer = server.url("/").to_string();
    let found = source(provider::Published::Discovery, Some(&issuer));
    assert_eq!(fetch_keys(&found).await.unwrap().keys.len(), 1);
    // The document is not that of an issuer one slash shorter, nor of nobody's.
    let other = source(provider::Published::Discovery, Some(issuer.trim_end_matches('/')));
    let error = fetch_keys(&other).await.unwrap_err();
    assert!(matches!(error, SourceError::Discovery(DiscoveryError::Document { .. })), "{error}");
    let nobody = source(provider::Published::Discovery, None);
    let error = fetch_keys(&nobody).await.unwrap_err();
    assert!(matches!(error, SourceError::Discovery(DiscoveryError::Issuer { .. })), "{error}");
}

#[tokio::test]
async fn errors_say_where_without_the_query() {
    let server = Server::start(|_, _| Act::Finish(ok("<html>sign in: hunter2</html>"))).await;
    let jwks = provider::Published::Jwks(server.url("/jwks?key=hunter2"));
    let error = fetch_keys(&source(jwks, None)).await.unwrap_err().to_string();
    let place = server.url("/jwks");
    assert_eq!(error, format!("{place}: the answer is HTML, not JSON; is it the URL of the JWKS?"));
    let large = ok(&" ".repeat(BYTES_MAX + 1));
    let server = Server::start(move |_, _| Act::Finish(large.clone())).await;
    let jwks = provider::Published::Jwks(server.url("/jwks"));
    let error = fetch_keys(&source(jwks, None)).await.unwrap_err().to_string();
    assert!(error.contains("over 1048576 bytes"), "{error}");
}
