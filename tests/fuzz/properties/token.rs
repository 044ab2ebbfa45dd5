//! Any text as a token: nothing is accepted that the keys' owners have not signed.

use std::sync::LazyLock;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};
use postern::auth::extract::{TokenSource, token};
use postern::auth::keys::from_jwk;
use postern::auth::{Algorithm, IssuerFilter, IssuerSettings, Issuers, install_provider};
use postern::time::UnixTime;
use serde_json::Value;

/// A moment at which the RFC's tokens are alive.
const NOW: UnixTime = UnixTime(1_300_819_370);

/// RFC 7515 A.1 to A.3: three keys, and one token of each.
static RFC: LazyLock<Value> = LazyLock::new(|| {
    serde_json::from_str(include_str!("../../vectors/rfc/7515.json")).expect("JSON")
});

static ISSUERS: LazyLock<Issuers> = LazyLock::new(|| {
    install_provider();
    let secret = entry("secret", &[("A.1", Algorithm::HS256)]);
    let public = entry("public", &[("A.2", Algorithm::RS256), ("A.3", Algorithm::ES256)]);
    Issuers::new(vec![secret, public], Vec::new()).expect("sound entries")
});

fn entry(name: &str, keys: &[(&str, Algorithm)]) -> IssuerSettings {
    let algorithms = keys.iter().map(|(_, algorithm)| *algorithm).collect();
    let mut entry = IssuerSettings::new(name, algorithms);
    entry.issuer = Some("joe".to_owned());
    entry.max_lifetime = None;
    entry.required_claims.clear();
    for (section, algorithm) in keys {
        let mut jwk = RFC["keys"][section].clone();
        let members = jwk.as_object_mut().expect("a JWK");
        members.retain(|name, _| !["d", "p", "q", "dp", "dq", "qi"].contains(&name.as_str()));
        let key = from_jwk(None, *algorithm, jwk.to_string().as_bytes());
        entry.keys.push(key.expect("a sound key"));
    }
    entry
}

/// Checks a text; true when it is accepted as a token.
///
/// # Panics
///
/// When it is accepted without being one of the signed ones, or in another spelling (R6).
pub fn holds(data: &[u8]) -> bool {
    as_field(data);
    let Ok(text) = str::from_utf8(data) else { return false };
    let verified = ISSUERS.prepare(text, &IssuerFilter::All, NOW).and_then(|c| c.verify(NOW));
    let (checks, reported) = ISSUERS.report(text, &IssuerFilter::All, NOW);
    assert_eq!(reported.is_some(), verified.is_ok(), "the report says otherwise");
    assert!(!checks.is_empty());
    let Ok(verified) = verified else { return false };

    // A signature may have a second form (ECDSA's is malleable), what it signs has not.
    let (message, signature) = text.rsplit_once('.').expect("parts");
    let genuine = ["A.1", "A.2", "A.3"].iter().any(|section| {
        let token = RFC["tokens"][section].as_str().expect("a token");
        token.rsplit_once('.').is_some_and(|(signed, _)| signed == message)
    });
    assert!(genuine, "nobody signed this");
    let octets = URL_SAFE_NO_PAD.decode(signature).expect("base64url");
    assert_eq!(URL_SAFE_NO_PAD.encode(octets), signature, "another spelling");
    assert_eq!(&*verified.issuer, "joe");
    assert!(ISSUERS.still_holds(&verified));
    assert!(verified.expires_at.plus(Duration::from_secs(30)) > NOW);
    true
}

/// The same bytes in a request: what is taken from the field stands in it.
fn as_field(data: &[u8]) {
    let Ok(value) = HeaderValue::from_bytes(&[b"Bearer ", data].concat()) else { return };
    let mut headers = HeaderMap::new();
    headers.insert(AUTHORIZATION, value);
    let bytes_max = 8192;
    if let Ok(Some(presented)) = token(&headers, None, &TokenSource::default(), bytes_max) {
        let found = presented.token.as_bytes();
        assert!(found.len() <= bytes_max);
        assert!(found.is_empty() || data.windows(found.len()).any(|part| part == found));
    }
}
