//! The id that ties the client's answer, the upstream's request and the log line together.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use uuid::Uuid;

use super::client;

/// The field, in all three places.
pub const FIELD: HeaderName = HeaderName::from_static("x-request-id");

/// The id of a request: a trusted proxy's, if it is one plain word; else a new one of 128 random
/// bits. It is a name, not a secret.
#[must_use]
pub fn of(headers: &HeaderMap, peer_trusted: bool) -> HeaderValue {
    let said = if peer_trusted { client::forwarded(headers).request_id.cloned() } else { None };
    said.unwrap_or_else(new)
}

fn new() -> HeaderValue {
    let mut text = [0; uuid::fmt::Simple::LENGTH];
    let id = Uuid::from_u64_pair(fastrand::u64(..), fastrand::u64(..));
    id.simple().encode_lower(&mut text);
    // Shared from the start: it is cloned for the upstream, and `Bytes` copied from a slice would
    // allocate once more for that.
    HeaderValue::from_maybe_shared(Bytes::from_owner(text))
        .unwrap_or_else(|_| HeaderValue::from_static("-"))
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
        for (ids, trusted) in [
            (&["edge"][..], false),
            (&["a", "b"][..], true),
            (&["a b"][..], true),
            (&[""][..], true),
        ] {
            let id = of(&with(ids), trusted);
            assert_eq!(id.len(), 32, "{ids:?}");
        }
        assert_ne!(of(&HeaderMap::new(), true), of(&HeaderMap::new(), true));
    }
}
