//! Claims into header values: who the caller is, in words that an upstream can trust.
//!
//! A value can never begin a new header, hide in white space, or read as two list elements (R25).
//! Made once per token and table; setting it on a request clones counted references only.

use std::fmt::Write as _;

use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Map, Value};

use crate::policy::identity::{IdentityHeaders, Source};

/// A claim that cannot become a header: 401, for a token that says such things of its subject is
/// not to be believed. Names the header, never the value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsayable {
    /// A control character (RFC 9110 §5.5, GHSA-w5w5).
    #[error("a control character in the claim for {0}")]
    Control(HeaderName),
    /// An object, or a list of anything but texts, numbers and truth values: no one text says it.
    #[error("the claim for {0} is not a text, a number or a list of these")]
    Structure(HeaderName),
}

/// The identity headers of one caller, ready to be set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// Every configured header; `None` for a claim that the token does not make.
    fields: Box<[(HeaderName, Option<HeaderValue>)]>,
}

impl Identity {
    /// Makes the values. `payload` is the token's middle part, as it was signed.
    ///
    /// Texts pass in visible ASCII and inner spaces; `%`, spaces at either end, and every other
    /// byte are percent-encoded. Numbers and truth values are written as in JSON. Lists are joined
    /// with `,`, a comma inside an element being `%2C`. An absent claim, or `null`, is an absent
    /// header; an empty text or list is an empty one.
    ///
    /// # Errors
    ///
    /// [`Unsayable`]: the request is refused with 401.
    pub fn new(
        table: &IdentityHeaders,
        claims: &Map<String, Value>,
        payload: &str,
    ) -> Result<Self, Unsayable> {
        let field = |(name, source): (&HeaderName, &Source)| {
            let text = match source {
                Source::Payload => Some(payload.to_owned()),
                Source::Claim(path) => match path.find(claims) {
                    None | Some(Value::Null) => None,
                    Some(claim) => Some(text(name, claim)?),
                },
            };
            let value = text.map(HeaderValue::try_from).transpose();
            Ok((name.clone(), value.map_err(|_| Unsayable::Control(name.clone()))?))
        };
        Ok(Self { fields: table.iter().map(field).collect::<Result<_, _>>()? })
    }

    /// See [`apply`].
    pub fn apply(&self, headers: &mut HeaderMap) {
        apply(&self.fields, headers);
    }

    /// The headers with their values.
    #[must_use]
    pub fn into_fields(self) -> Box<[(HeaderName, Option<HeaderValue>)]> {
        self.fields
    }
}

/// Sets each header exactly once, and removes those that have no value: nothing else may have put
/// one there (R24).
pub fn apply(fields: &[(HeaderName, Option<HeaderValue>)], headers: &mut HeaderMap) {
    for (name, value) in fields {
        match value {
            Some(value) => {
                headers.insert(name, value.clone());
            }
            None => {
                headers.remove(name);
            }
        }
    }
}

fn text(name: &HeaderName, claim: &Value) -> Result<String, Unsayable> {
    let mut text = String::new();
    match claim {
        Value::Array(elements) => {
            for (at, element) in elements.iter().enumerate() {
                if at > 0 {
                    text.push(',');
                }
                say(&mut text, name, element, true)?;
            }
        }
        claim => say(&mut text, name, claim, false)?,
    }
    Ok(text)
}

/// Appends one text, number or truth value.
fn say(
    text: &mut String,
    name: &HeaderName,
    value: &Value,
    in_list: bool,
) -> Result<(), Unsayable> {
    match value {
        Value::String(value) => {
            encode(text, value, in_list).map_err(|Control| Unsayable::Control(name.clone()))
        }
        Value::Bool(_) | Value::Number(_) => {
            let _ = write!(text, "{value}");
            Ok(())
        }
        Value::Array(_) | Value::Null | Value::Object(_) => Err(Unsayable::Structure(name.clone())),
    }
}

struct Control;

fn encode(text: &mut String, value: &str, in_list: bool) -> Result<(), Control> {
    if value.chars().any(char::is_control) {
        return Err(Control);
    }
    let inner = value.trim_matches(' ').as_bytes();
    // Field values are trimmed by whoever reads them: white space at the ends would be lost, and
    // one subject taken for another.
    let leading = value.len() - value.trim_start_matches(' ').len();
    let trailing = value.len() - leading - inner.len();
    text.extend(std::iter::repeat_n("%20", leading));
    for &byte in inner {
        match byte {
            b'%' => text.push_str("%25"),
            b',' if in_list => text.push_str("%2C"),
            b' '..=b'~' => text.push(char::from(byte)),
            _ => {
                let _ = write!(text, "%{byte:02X}");
            }
        }
    }
    text.extend(std::iter::repeat_n("%20", trailing));
    Ok(())
}

#[cfg(test)]
mod tests {
    use percent_encoding::percent_decode_str;
    use proptest::prelude::*;

    use super::*;
    use crate::policy::identity::Preset;
    use crate::token::ClaimPath;

    fn table() -> IdentityHeaders {
        let headers = [("x-auth-subject", "sub"), ("x-auth-roles", "/realm/roles")];
        let header = |(name, path): (&'static str, &str)| {
            (HeaderName::from_static(name), ClaimPath::parse(path).unwrap())
        };
        IdentityHeaders::new(Preset::None, headers.map(header))
    }

    fn identity(claims: &Value) -> Result<HeaderMap, Unsayable> {
        let mut headers = HeaderMap::new();
        headers.append("x-auth-subject", HeaderValue::from_static("forged"));
        headers.append("x-auth-subject", HeaderValue::from_static("forged too"));
        headers.append("x-auth-roles", HeaderValue::from_static("admin"));
        Identity::new(&table(), claims.as_object().unwrap(), "e30")?.apply(&mut headers);
        Ok(headers)
    }

    /// Sources: R25; GHSA-w5w5; RFC 9110 §5.5.
    #[test]
    fn control_characters_and_structures_are_refused() {
        let subject = HeaderName::from_static("x-auth-subject");
        for control in ["\0", "\r\nX-Auth-Roles: admin", "a\nb", "\t", "\u{1b}", "\u{7f}", "\u{85}"]
        {
            let refused = identity(&serde_json::json!({ "sub": control })).unwrap_err();
            assert_eq!(refused, Unsayable::Control(subject.clone()), "{control:?}");
            assert!(!refused.to_string().contains(control), "the value is not told");
            let list = serde_json::json!({ "sub": ["a", control] });
            assert_eq!(identity(&list), Err(Unsayable::Control(subject.clone())));
        }
        for structure in [
            serde_json::json!({}),
            serde_json::json!([[]]),
            serde_json::json!([{}]),
            serde_json::json!([null]),
        ] {
            let refused = identity(&serde_json::json!({ "sub": structure }));
            assert_eq!(refused, Err(Unsayable::Structure(subject.clone())), "{structure}");
        }
    }

    /// Source: design "Identity values".
    #[test]
    fn every_value_is_said_once() {
        for (claim, value) in [
            (serde_json::json!("u1"), "u1"),
            (serde_json::json!("a b \"c\", d"), "a b \"c\", d"),
            (serde_json::json!("100%"), "100%25"),
            (serde_json::json!("%41"), "%2541"),
            (serde_json::json!("Jürgen €"), "J%C3%BCrgen %E2%82%AC"),
            (serde_json::json!(" admin"), "%20admin"),
            (serde_json::json!("admin  "), "admin%20%20"),
            (serde_json::json!("  "), "%20%20"),
            (serde_json::json!(""), ""),
            (serde_json::json!(42), "42"),
            (serde_json::json!(-1.5), "-1.5"),
            (serde_json::json!(true), "true"),
            (serde_json::json!([]), ""),
            (serde_json::json!(["a", "b c", 7]), "a,b c,7"),
            (serde_json::json!(["a,b", "c%2C"]), "a%2Cb,c%252C"),
        ] {
            let headers = identity(&serde_json::json!({ "sub": claim })).unwrap();
            let values: Vec<_> = headers.get_all("x-auth-subject").iter().collect();
            assert_eq!(values, [value], "{claim}");
        }
    }

    /// Source: R24; CVE-2026-30851 (a header without a claim must not keep what was there).
    #[test]
    fn an_absent_claim_is_an_absent_header() {
        for claims in [
            serde_json::json!({ "sub": "u1" }),
            serde_json::json!({ "sub": "u1", "realm": {} }),
            serde_json::json!({ "sub": "u1", "realm": { "roles": null } }),
        ] {
            let headers = identity(&claims).unwrap();
            assert!(!headers.contains_key("x-auth-roles"), "{claims}");
            assert_eq!(headers.get("x-auth-subject").unwrap(), "u1");
        }
    }

    #[test]
    fn envoys_payload_is_passed_as_it_was_signed() {
        let table = IdentityHeaders::new(Preset::Envoy, []);
        let mut headers = HeaderMap::new();
        Identity::new(&table, &Map::new(), "eyJzdWIiOiJ1MSJ9").unwrap().apply(&mut headers);
        assert_eq!(headers.get("x-jwt-payload").unwrap(), "eyJzdWIiOiJ1MSJ9");
        assert_eq!(headers.len(), 1);
    }

    proptest! {
        /// What the upstream decodes is what the token said, element by element.
        #[test]
        fn decoding_gives_the_claim_back(roles in prop::collection::vec("\\PC{0,8}", 1..5)) {
            let claims = serde_json::json!({ "realm": { "roles": roles } });
            let headers = identity(&claims).unwrap();
            let value = headers.get("x-auth-roles").unwrap().to_str().unwrap();
            prop_assert_eq!(value.trim(), value);
            let decoded: Vec<_> = value
                .split(',')
                .map(|element| percent_decode_str(element).decode_utf8().unwrap().into_owned())
                .collect();
            prop_assert_eq!(decoded, roles);
        }

        #[test]
        fn two_subjects_never_share_a_value(one in "\\PC{0,6}", other in "\\PC{0,6}") {
            let value = |subject: &str| {
                let headers = identity(&serde_json::json!({ "sub": subject })).unwrap();
                headers.get("x-auth-subject").unwrap().clone()
            };
            prop_assert_eq!(value(&one) == value(&other), one == other);
        }
    }
}
