//! Strict JSON objects for JOSE headers, claims, keys and what providers say (R7): UTF-8, one
//! object, no member name twice at any depth, no trailing data, bounded depth.
//!
//! `serde_json` alone lets the last of two equal names win; whoever signed the token may have read
//! the first.

use std::fmt;

use serde::de::{self, Deserialize, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Deepest nesting of objects and arrays that is read; Keycloak's deepest claim takes four.
const DEPTH_MAX: u8 = 24;

/// Reads one JSON object; `None` when it is anything else, for whatever reason.
#[must_use]
pub fn object(text: &[u8]) -> Option<Map<String, Value>> {
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let value = Strict { depth: DEPTH_MAX }.deserialize(&mut deserializer).ok()?;
    deserializer.end().ok()?;
    match value {
        Value::Object(members) => Some(members),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            None
        }
    }
}

/// Builds a `Value`, refusing repeated names and too deep nesting.
#[derive(Clone, Copy)]
struct Strict {
    depth: u8,
}

impl Strict {
    fn deeper<E: de::Error>(self) -> Result<Self, E> {
        let depth = self.depth.checked_sub(1).ok_or_else(|| E::custom("nested too deeply"))?;
        Ok(Self { depth })
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON without repeated names")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("not a finite number"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut array = Vec::new();
        while let Some(element) = elements.next_element_seed(inner)? {
            array.push(element);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut object = Map::new();
        while let Some(Name(name)) = members.next_key()? {
            let value = members.next_value_seed(inner)?;
            if object.insert(name, value).is_some() {
                return Err(de::Error::custom("a member name appears twice"));
            }
        }
        Ok(Value::Object(object))
    }
}

/// A member name.
struct Name(String);

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_strict_object_is_read() {
        let deep =
            |levels: usize| format!("{}{}", "{\"a\":".repeat(levels), "1") + &"}".repeat(levels);
        let refused: &[(&str, &[u8])] = &[
            ("empty", b""),
            ("array (RFC 7519 section 7.2 step 10)", b"[1]"),
            ("string", b"\"a\""),
            ("trailing data (R7)", b"{}{}"),
            ("trailing NUL", b"{}\0"),
            ("byte order mark", b"\xef\xbb\xbf{}"),
            ("not UTF-8", b"{\"a\":\"\xff\"}"),
            ("UTF-16", b"{\0}\0"),
            ("lone surrogate", br#"{"a":"\ud800"}"#),
            ("name twice (RFC 7515 section 4)", br#"{"a":1,"a":2}"#),
            ("name twice, one escaped", br#"{"a":1,"\u0061":2}"#),
            ("name twice, nested", br#"{"x":{"a":1,"a":2}}"#),
            ("name twice, in an array", br#"{"x":[{"a":1,"a":2}]}"#),
            ("number out of range", br#"{"exp":1e999}"#),
            ("NaN", br#"{"exp":NaN}"#),
            ("leading zero", br#"{"exp":01}"#),
            ("comment", br#"{"a":1/**/}"#),
            ("trailing comma", br#"{"a":1,}"#),
            ("raw control character", b"{\"a\":\"\x01\"}"),
        ];
        for (what, text) in refused {
            assert!(object(text).is_none(), "{what}");
        }
        assert!(object(deep(24).as_bytes()).is_some());
        assert!(object(deep(25).as_bytes()).is_none());
        assert!(object(deep(100_000).as_bytes()).is_none(), "no stack overflow");
        assert!(object(("[".repeat(4000)).as_bytes()).is_none());
        let read = object(br#" {"a":[1,-2,0.5,null,true,"x"],"b":{}} "#).unwrap();
        assert_eq!(Value::Object(read), serde_json::json!({"a":[1,-2,0.5,null,true,"x"],"b":{}}));
    }
}
