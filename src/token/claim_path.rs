//! Where in a token's claims a value stands: a claim's name, or a JSON Pointer.
//!
//! One syntax for the whole configuration (claim mapping, identity headers, rules, limits). A path
//! only points: it never converts what it finds.

use std::fmt;
use std::str::FromStr;

use serde_json::{Map, Value};

/// A claim by name (`"sub"`, `"https://example.com/roles"`) or by JSON Pointer (`"/realm/roles"`,
/// RFC 6901). What starts with `/` is a pointer; a claim whose name starts with `/` is written as a
/// pointer (`"/~1odd"`).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ClaimPath {
    /// A top-level claim.
    Name(String),
    /// The reference tokens of a JSON Pointer, unescaped (`~1` is `/`, `~0` is `~`).
    Pointer(Vec<String>),
}

/// A claim path that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClaimPathError {
    /// Nothing to look for.
    #[error(
        "a claim path is a claim's name or a JSON Pointer such as \"/realm/roles\"; it is empty"
    )]
    Empty,
    /// `~` not followed by `0` or `1` (RFC 6901 §3).
    #[error("in a JSON Pointer `~` is written `~0` and `/` inside a name is written `~1`")]
    Escape,
}

impl ClaimPath {
    /// Reads the configured text.
    ///
    /// # Errors
    ///
    /// [`ClaimPathError`] when it is empty or a pointer with an invalid escape.
    pub fn parse(text: &str) -> Result<Self, ClaimPathError> {
        match text.strip_prefix('/') {
            None if text.is_empty() => Err(ClaimPathError::Empty),
            None => Ok(Self::Name(text.to_owned())),
            Some(tokens) => {
                tokens.split('/').map(unescape).collect::<Result<_, _>>().map(Self::Pointer)
            }
        }
    }

    /// The steps of the way: member names (or array indices), outermost first; a name is one step.
    #[must_use]
    pub const fn tokens(&self) -> &[String] {
        match self {
            Self::Name(name) => std::slice::from_ref(name),
            Self::Pointer(tokens) => tokens.as_slice(),
        }
    }

    /// The value at this path; `None` when any step of the way is absent.
    #[must_use]
    pub fn find<'c>(&self, claims: &'c Map<String, Value>) -> Option<&'c Value> {
        match self {
            Self::Name(name) => claims.get(name),
            Self::Pointer(tokens) => {
                let (first, rest) = tokens.split_first()?;
                rest.iter().try_fold(claims.get(first)?, |value, token| step(value, token))
            }
        }
    }
}

impl FromStr for ClaimPath {
    type Err = ClaimPathError;

    fn from_str(text: &str) -> Result<Self, ClaimPathError> {
        Self::parse(text)
    }
}

impl fmt::Display for ClaimPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Pointer(tokens) => tokens.iter().try_for_each(|token| {
                write!(f, "/{}", token.replace('~', "~0").replace('/', "~1"))
            }),
        }
    }
}

/// One step of a pointer (RFC 6901 §4); an array index has no leading zero and no sign.
fn step<'c>(value: &'c Value, token: &str) -> Option<&'c Value> {
    match value {
        Value::Object(members) => members.get(token),
        Value::Array(elements) => {
            let plain = token == "0" || !token.starts_with(['0', '+']);
            elements.get(token.parse::<usize>().ok().filter(|_| plain)?)
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

fn unescape(token: &str) -> Result<String, ClaimPathError> {
    let mut parts = token.split('~');
    let mut name = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (escaped, rest) = match (part.strip_prefix('0'), part.strip_prefix('1')) {
            (Some(rest), _) => ('~', rest),
            (_, Some(rest)) => ('/', rest),
            (None, None) => return Err(ClaimPathError::Escape),
        };
        name.push(escaped);
        name.push_str(rest);
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims() -> Map<String, Value> {
        let claims = serde_json::json!({
            "sub": "u1",
            "https://example.com/roles": ["x"],
            "realm": { "roles": ["admin", "user"], "a/b": 1, "m~n": 2, "": 3 },
        });
        claims.as_object().cloned().unwrap_or_default()
    }

    #[test]
    fn what_is_not_there_is_not_found() {
        for path in [
            "nothing",
            "/realm/nothing",
            "/realm/roles/2",
            "/realm/roles/00",
            "/sub/0",
            "/realm/roles/+1",
            "/realm/roles/-",
            "/realm/roles/-1",
            "/Realm",
            "/",
        ] {
            assert_eq!(ClaimPath::parse(path).unwrap().find(&claims()), None, "{path}");
        }
    }

    /// RFC 6901 §5.
    #[test]
    fn names_and_pointers_find_their_values() {
        for (path, value) in [
            ("sub", serde_json::json!("u1")),
            ("https://example.com/roles", serde_json::json!(["x"])),
            ("/sub", serde_json::json!("u1")),
            ("/realm/roles/1", serde_json::json!("user")),
            ("/realm/a~1b", serde_json::json!(1)),
            ("/realm/m~0n", serde_json::json!(2)),
            ("/realm/", serde_json::json!(3)),
        ] {
            let parsed = ClaimPath::parse(path).unwrap();
            assert_eq!(parsed.find(&claims()), Some(&value), "{path}");
            assert_eq!(parsed.to_string(), path);
        }
    }

    #[test]
    fn unreadable_paths_are_errors() {
        assert_eq!(ClaimPath::parse(""), Err(ClaimPathError::Empty));
        for path in ["/a~", "/a~2", "/~", "/a/~b"] {
            assert_eq!(ClaimPath::parse(path), Err(ClaimPathError::Escape), "{path}");
        }
    }
}
