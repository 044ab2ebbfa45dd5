//! What kind of text a token is: one that says itself what it is (a compact JWS), or one that only
//! its maker can read. The way of checking and the name in the blocklist both rest on this answer,
//! so there is one place that gives it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

/// Whether the text has the form of a compact JWS (RFC 7515 §7.1): three base64url parts, the
/// first of which is a JSON object with `alg`. A JWE has five parts and is none.
///
/// Says nothing of whether it is a good one: every JWS that could be verified has this form.
#[must_use]
pub fn is_compact_jws(token: &str) -> bool {
    let mut parts = token.split('.');
    let (Some(header), Some(payload), Some(signature), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return false;
    };
    let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).ok();
    let has_alg = |header: Vec<u8>| {
        serde_json::from_slice::<Map<String, Value>>(&header)
            .is_ok_and(|members| members.contains_key("alg"))
    };
    decode(header).is_some_and(has_alg) && decode(payload).is_some() && decode(signature).is_some()
}

/// What makes this token this token: header and payload of a compact JWS, for a second valid
/// ECDSA signature can be made of the first; all of any other token.
#[must_use]
pub fn own_part(token: &str) -> &str {
    match token.rsplit_once('.') {
        Some((signed, _)) if is_compact_jws(token) => signed,
        _ => token,
    }
}

/// Whether the text can be a bearer token at all: `b64token` of RFC 6750 §2.1.
#[must_use]
pub fn is_b64token(token: &str) -> bool {
    let body = token.trim_end_matches('=');
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte);
    !body.is_empty() && body.bytes().all(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jws(header: &str) -> String {
        format!("{}.e30.c2ln", URL_SAFE_NO_PAD.encode(header))
    }

    #[test]
    fn only_three_parts_with_a_header_are_a_jws() {
        let good = jws(r#"{"alg":"ES256"}"#);
        assert!(is_compact_jws(&good));
        assert!(is_compact_jws(&jws("{ \"typ\":\"JWT\", \"alg\":\"none\" }")));
        assert!(is_compact_jws(good.trim_end_matches("c2ln")), "an empty signature");
        let others = [
            ("empty", String::new()),
            ("no dot", "2YotnFZFEjr1zCsicMWpAA".to_owned()),
            ("two parts", "a.b".to_owned()),
            ("three parts that are no JSON", "aaaa.bbbb.cccc".to_owned()),
            ("no alg", jws("{}")),
            ("header is a list", jws(r#"["alg"]"#)),
            ("JWE (RFC 7516 section 7.1)", format!("{good}.eHh4.eHh4")),
            ("padding", format!("{good}=")),
            ("payload is no base64url", good.replace("e30", "e+0")),
        ];
        for (name, token) in others {
            assert!(!is_compact_jws(&token), "{name}");
            assert_eq!(own_part(&token), token, "{name}");
        }
        assert_eq!(own_part(&good), good.trim_end_matches(".c2ln"));
    }

    #[test]
    fn a_bearer_token_has_its_characters() {
        for good in ["a", "2YotnFZ.FEjr1-zCsicM_Wp~AA+/==", "-"] {
            assert!(is_b64token(good), "{good}");
        }
        for bad in ["", "=", "a=b", "a b", "a,b", "a%20", "\u{e4}", "a\"", "a&b", "a\n"] {
            assert!(!is_b64token(bad), "{bad:?}");
        }
    }
}
