//! Any header fields, one `name: value` a line: what only the gateway may say does not pass.

use std::sync::LazyLock;

use http::{HeaderMap, HeaderName, HeaderValue};
use postern::policy::reserved::ReservedNames;
use postern::proxy::guard::{Hop, guard};

static RESERVED: LazyLock<ReservedNames> = LazyLock::new(|| {
    let identity = [HeaderName::from_static("x-tenant"), HeaderName::from_static("tenant_id")];
    ReservedNames::compile(["X-Auth-*"], &identity).expect("names that may be reserved")
});

/// A second list of what must never pass, folded, to hold the first one to.
const NAMES: [&str; 13] = [
    "forwarded",
    "proxy",
    "tenant-id",
    "true-client-ip",
    "x-client-cert",
    "x-http-method-override",
    "x-jwt-payload",
    "x-original-url",
    "x-real-ip",
    "x-rewrite-url",
    "x-tenant",
    "x-userinfo",
    "cf-connecting-ip",
];
const PREFIXES: [&str; 7] = [
    "remote-",
    "ssl-client-",
    "x-auth-",
    "x-authentik-",
    "x-consumer-",
    "x-forwarded-",
    "x-jwt-claim-",
];
const HOP_BY_HOP: [&str; 8] = [
    "connection",
    "http2-settings",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "upgrade",
];
const FRAMING: [&str; 3] = ["content-length", "host", "transfer-encoding"];

/// Checks some fields; true when all of them pass.
///
/// # Panics
///
/// When a field passes that must not (R22, R24, R26, R27), or one that frames the message does not.
pub fn holds(data: &[u8]) -> bool {
    let sent = fields(data);
    let named = named_by_connection(&sent);
    let mut left = sent.clone();
    guard(&mut left, &RESERVED);

    for name in left.keys() {
        let folded: String = name.as_str().chars().map(fold).collect();
        let reserved = RESERVED.contains(name.as_str())
            || RESERVED.contains(&folded)
            || NAMES.contains(&&*folded)
            || PREFIXES.iter().any(|prefix| folded.starts_with(prefix));
        assert!(!reserved, "only the gateway may say {name}");
        assert!(!name.as_str().contains('_'), "{name}");
        assert!(!HOP_BY_HOP.contains(&name.as_str()), "{name} is the connection's");
        let framing = FRAMING.contains(&name.as_str());
        assert!(framing || !named.contains(name), "{name} is named by Connection");
        assert!(sent.get_all(name).iter().eq(left.get_all(name)), "{name} has changed");
    }
    for name in FRAMING {
        assert!(sent.get_all(name).iter().eq(left.get_all(name)), "{name} frames the message");
    }

    let mut again = left.clone();
    assert_eq!(guard(&mut again, &RESERVED), Hop::default());
    assert_eq!(again, left, "a second pass finds nothing");
    left.len() == sent.len() && !sent.is_empty()
}

/// The lines that are header fields to the HTTP library; nothing else reaches the guard.
fn fields(data: &[u8]) -> HeaderMap {
    let mut fields = HeaderMap::new();
    for line in data.split(|byte| *byte == b'\n').take(200) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let (name, value) = line.split_at(colon);
        let value = value.get(1..).unwrap_or_default().trim_ascii();
        if let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(name), HeaderValue::from_bytes(value))
        {
            fields.append(name, value);
        }
    }
    fields
}

fn named_by_connection(fields: &HeaderMap) -> Vec<HeaderName> {
    let lines = fields.get_all("connection").iter();
    let options = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    options.filter_map(|option| HeaderName::from_bytes(option.trim_ascii()).ok()).collect()
}

/// As CGI, WSGI and others read a name.
fn fold(letter: char) -> char {
    if letter.is_ascii_alphanumeric() { letter.to_ascii_lowercase() } else { '-' }
}
