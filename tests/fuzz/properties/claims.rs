//! Any header and claims, one a line, signed by a key that is trusted: what is accepted is what the
//! entry asks for, whatever else the signer wrote.

use std::sync::LazyLock;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use postern::auth::keys::from_secret;
use postern::auth::{Algorithm, IssuerFilter, IssuerSettings, Issuers, Verified, install_provider};
use postern::time::UnixTime;
use serde_json::{Map, Value};

const NOW: UnixTime = UnixTime(1_800_000_000);
const LEEWAY: i64 = 30;
const LIFETIME_MAX: i64 = 24 * 60 * 60;
const SECRET: &[u8; 32] = b"of this test alone, 32 bytes lon";

static ISSUERS: LazyLock<Issuers> = LazyLock::new(|| {
    install_provider();
    let mut entry = IssuerSettings::new("signed", vec![Algorithm::HS256]);
    entry.issuer = Some("https://id.example".to_owned());
    entry.audiences = Some(vec!["api".to_owned()]);
    entry.keys.push(from_secret(None, Algorithm::HS256, SECRET).expect("a sound secret"));
    Issuers::new(vec![entry], Vec::new()).expect("sound settings")
});

/// Checks what is signed; true when it is accepted.
///
/// # Panics
///
/// When a header or claims are accepted that the entry does not ask for (R7, R8, R10 to R13, R25).
pub fn holds(data: &[u8]) -> bool {
    let line = data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len());
    let (header, rest) = data.split_at(line);
    let claims = rest.get(1..).unwrap_or_default();
    let token = signed(header, claims);
    let candidate = ISSUERS.prepare(&token, &IssuerFilter::All, NOW);
    let Ok(verified) = candidate.and_then(|candidate| candidate.verify(NOW)) else { return false };
    check_header(header);
    check_claims(claims, &verified);
    true
}

fn signed(header: &[u8], claims: &[u8]) -> String {
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET), message.as_bytes());
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(tag.as_ref()))
}

fn check_header(header: &[u8]) {
    let header: Map<String, Value> = serde_json::from_slice(header).expect("a JSON object");
    assert_eq!(header["alg"], "HS256");
    assert!(["crit", "b64", "zip", "enc"].iter().all(|name| !header.contains_key(*name)));
    assert!(!header.contains_key("kid"), "the key has none");
    if let Some(typ) = header.get("typ") {
        let typ = typ.as_str().expect("a text").to_ascii_lowercase();
        assert!(["jwt", "at+jwt", "application/at+jwt"].contains(&&*typ), "{typ}");
    }
}

fn check_claims(claims: &[u8], verified: &Verified) {
    let claims: Map<String, Value> = serde_json::from_slice(claims).expect("a JSON object");
    assert_eq!(claims, verified.claims, "read otherwise than it was signed");
    for name in ["nonce", "at_hash", "events"] {
        assert!(!claims.contains_key(name), "{name} is in no access token");
    }
    assert_eq!(claims["iss"], "https://id.example");
    let audience = match &claims["aud"] {
        Value::String(one) => one == "api",
        Value::Array(several) => several.iter().any(|one| one == "api"),
        _ => false,
    };
    assert!(audience, "{}", claims["aud"]);
    assert!(claims["sub"].is_string() || claims["sub"].is_i64() || claims["sub"].is_u64());

    let time = |name: &str| claims.get(name).map(|value| seconds(value).expect("a number"));
    let (exp, iat) = (time("exp").expect("exp"), time("iat").expect("iat"));
    assert_eq!(verified.expires_at.0, exp);
    assert!(exp + LEEWAY > NOW.0, "expired");
    assert!(iat <= NOW.0 + LEEWAY, "issued in the future");
    assert!((0..=LIFETIME_MAX).contains(&(exp - iat)), "lives too long");
    assert!(time("nbf").is_none_or(|nbf| nbf <= NOW.0 + LEEWAY), "not yet valid");

    let lists = [&verified.roles, &verified.scopes, &verified.permissions, &verified.clients];
    let alone = [&verified.subject, &verified.session, &verified.jti];
    let texts = lists.into_iter().flatten().chain(alone.into_iter().flatten());
    for text in texts {
        assert!(!text.chars().any(char::is_control), "a control character (R25)");
    }
}

/// A NumericDate, a fraction cut off.
fn seconds(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_f64().map(|seconds| seconds.floor() as i64))
}
