//! The id that ties the client's answer, the upstream's request and the log line together.

use http::{HeaderMap, HeaderName, HeaderValue};
use uuid::Uuid;

/// The field, in all three places.
pub const FIELD: HeaderName = HeaderName::from_static("x-request-id");

/// Longest id taken over from a trusted proxy.
const BYTES_MAX: usize = 128;

/// The id of a request: a trusted proxy's, if it is one plain word; else a new one of 128 random
/// bits. It is a name, not a secret.
#[must_use]
pub fn of(headers: &HeaderMap, trusted: bool) -> HeaderValue {
    let mut ids = headers.get_all(&FIELD).iter();
    match (trusted, ids.next(), ids.next()) {
        (true, Some(id), None) if is_plain(id.as_bytes()) => id.clone(),
        _ => new(),
    }
}

fn is_plain(id: &[u8]) -> bool {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    (1..=BYTES_MAX).contains(&id.len()) && id.iter().all(plain)
}

fn new() -> HeaderValue {
    let mut text = [0; uuid::fmt::Simple::LENGTH];
    let id = Uuid::from_u64_pair(fastrand::u64(..), fastrand::u64(..));
    let id: &str = id.simple().encode_lower(&mut text);
    HeaderValue::from_str(id).unwrap_or_else(|_| HeaderValue::from_static("-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_trusted_proxys_plain_id_is_taken_over() {
        let with = |ids: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for id in ids {
                headers.append(FIELD, HeaderValue::from_static(id));
            }
            headers
        };
        assert_eq!(of(&with(&["edge-1.a_b"]), true), "edge-1.a_b");
        for (ids, trusted) in
            [(&["edge"][..], false), (&["a", "b"][..], true), (&["a b"][..], true), (&[""][..], true)]
        {
            let id = of(&with(ids), trusted);
            assert_eq!(id.len(), 32, "{ids:?}");
        }
        assert_ne!(of(&HeaderMap::new(), true), of(&HeaderMap::new(), true));
    }
}
