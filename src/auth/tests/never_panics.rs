//! Arbitrary bytes are refused, never a panic (R54).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use proptest::prelude::*;

use super::*;
use crate::auth::extract::{TokenSource, remove_cookie, remove_query, token};

proptest! {
    #[test]
    fn any_text_as_a_token(text in ".{0,300}") {
        prop_assert!(verify(&issuers(), &text).is_err());
    }

    #[test]
    fn any_octets_in_three_parts(
        header in prop::collection::vec(any::<u8>(), 0..80),
        payload in prop::collection::vec(any::<u8>(), 0..80),
        signature in prop::collection::vec(any::<u8>(), 0..80),
    ) {
        let text = [header, payload, signature].map(|part| URL_SAFE_NO_PAD.encode(part)).join(".");
        prop_assert!(verify(&issuers(), &text).is_err());
    }

    /// Signed by a trusted key, so that the claims' code is reached with anything in it.
    #[test]
    fn any_json_in_a_signed_token(
        name in "exp|nbf|iat|iss|aud|sub|jti|sid|azp|roles|scope|permissions|nonce",
        value in json_value(),
    ) {
        let mut claims = good_claims();
        claims[name] = value;
        let token = super::token(&good_header(), &claims);
        if let Ok(verified) = verify(&issuers(), &token) {
            prop_assert!(verified.expires_at > UnixTime(NOW.0 - 30));
        }
    }

    /// One changed octet anywhere is refused.
    #[test]
    fn a_changed_token_is_refused(place in any::<prop::sample::Index>(), octet in 0x21_u8..0x7f) {
        let mut text = good_token().into_bytes();
        let place = place.index(text.len());
        prop_assume!(text[place] != octet);
        text[place] = octet;
        prop_assert!(verify(&issuers(), &String::from_utf8(text).unwrap()).is_err());
    }

    #[test]
    fn any_fields(
        authorization in prop::collection::vec(any::<u8>(), 0..60),
        cookie in prop::collection::vec(any::<u8>(), 0..60),
        query in ".{0,60}",
    ) {
        let mut headers = http::HeaderMap::new();
        for (name, value) in [("authorization", authorization), ("cookie", cookie)] {
            if let Ok(value) = http::HeaderValue::from_bytes(&value) {
                headers.insert(name, value);
            }
        }
        let source = TokenSource { cookie: Some("t".into()), query: Some("t".into()), session: Some("s".into()) };
        let _ = token(&headers, Some(&query), &source, 40);
        let _ = remove_query(&query, "t");
        remove_cookie(&mut headers, "t");
    }
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-c]{1,2}", inner, 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}
