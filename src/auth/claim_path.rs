//! Where a claim is found: a top-level name, or a JSON Pointer (RFC 6901) when it begins with `/`.

use std::fmt;
use std::str::FromStr;

use serde_json::{Map, Value};
use thiserror::Error;

/// A compiled claim path.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ClaimPath {
    written: Box<str>,
    /// Never empty. A plain name is one step, so `https://example.com/roles` is a name.
    steps: Vec<Box<str>>,
}

/// A claim path that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ClaimPathError {
    /// An empty path names the whole token.
    #[error(
        "a claim path must not be empty: write a claim's name, or a JSON Pointer like \"/a/b\""
    )]
    Empty,
    /// `~` in a pointer must be `~0` or `~1` (RFC 6901 §3).
    #[error("in a JSON Pointer write ~0 for ~ and ~1 for /")]
    Escape,
}

impl ClaimPath {
    /// The claim's value, if the token has it.
    #[must_use]
    pub fn find<'c>(&self, claims: &'c Map<String, Value>) -> Option<&'c Value> {
        let (first, rest) = self.steps.split_first()?;
        let mut value = claims.get(&**first)?;
        for step in rest {
            value = match value {
                Value::Object(members) => members.get(&**step)?,
                Value::Array(elements) => elements.get(index(step)?)?,
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => return None,
            };
        }
        Some(value)
    }

    /// The top-level claim of this name, whatever characters it has.
    pub(super) fn name(name: &str) -> Self {
        Self { written: name.into(), steps: vec![name.into()] }
    }

    /// The path as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.written
    }
}

impl fmt::Display for ClaimPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}

impl FromStr for ClaimPath {
    type Err = ClaimPathError;

    fn from_str(written: &str) -> Result<Self, ClaimPathError> {
        if written.is_empty() {
            return Err(ClaimPathError::Empty);
        }
        let steps = match written.strip_prefix('/') {
            None => vec![written.into()],
            Some(pointer) => pointer.split('/').map(unescape).collect::<Result<_, _>>()?,
        };
        Ok(Self { written: written.into(), steps })
    }
}

/// RFC 6901 §4: `~1` first, then `~0`, and nothing else after a tilde.
fn unescape(step: &str) -> Result<Box<str>, ClaimPathError> {
    let mut tail = step.split('~');
    tail.next();
    if tail.any(|after| !after.starts_with(['0', '1'])) {
        return Err(ClaimPathError::Escape);
    }
    Ok(step.replace("~1", "/").replace("~0", "~").into())
}

/// An array index: digits without a leading zero (RFC 6901 §4).
fn index(step: &str) -> Option<usize> {
    let plain = step == "0" || !step.starts_with('0');
    (plain && step.bytes().all(|byte| byte.is_ascii_digit())).then(|| step.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_pointers() {
        let claims = serde_json::json!({
            "roles": ["r"], "https://example.com/roles": 1, "a": {"b": [10, {"c": 11}], "": 12},
            "m~n": 13, "a/b": 14,
        });
        let claims = claims.as_object().unwrap();
        let cases: &[(&str, Option<i64>)] = &[
            ("https://example.com/roles", Some(1)),
            ("/a/b/0", Some(10)),
            ("/a/b/1/c", Some(11)),
            ("/a/", Some(12)),
            ("/m~0n", Some(13)),
            ("/a~1b", Some(14)),
            ("a/b", Some(14)),
            ("/a/b/00", None),
            ("/a/b/+1", None),
            ("/a/b/-", None),
            ("/a/b/9", None),
            ("/a/b/99999999999999999999999", None),
            ("/roles/0/x", None),
            ("nothing", None),
            ("/", None),
        ];
        for (path, expected) in cases {
            let found = path.parse::<ClaimPath>().unwrap().find(claims).and_then(Value::as_i64);
            assert_eq!(found, *expected, "{path}");
        }
        assert_eq!("".parse::<ClaimPath>(), Err(ClaimPathError::Empty));
        for path in ["/a~", "/~2", "/a~b"] {
            assert_eq!(path.parse::<ClaimPath>(), Err(ClaimPathError::Escape), "{path}");
        }
    }
}
