//! Where in a token's claims a value is found.

use serde::Deserialize;

use super::scalar::Scalar;

/// A claim's name (`"roles"`) or, beginning with a slash, a JSON Pointer into the claims
/// (`"/realm_access/roles"`, RFC 6901).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "Scalar")]
pub struct ClaimPath(String);

impl ClaimPath {
    /// A default.
    pub(super) fn named(name: &str) -> Self {
        Self(name.to_owned())
    }

    /// As written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is a JSON Pointer rather than the name of a top-level claim.
    #[must_use]
    pub fn is_pointer(&self) -> bool {
        self.0.starts_with('/')
    }

    /// Reads a path that stands in a longer text.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() || text.len() > 256 || text.chars().any(char::is_control) {
            return Err(format!("{text:?} is not a claim's name"));
        }
        if text.starts_with('/') {
            check_pointer(text)?;
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<Scalar> for ClaimPath {
    type Error = String;

    fn try_from(scalar: Scalar) -> Result<Self, String> {
        Self::parse(&scalar.text("a claim's name or a JSON Pointer")?)
    }
}

/// Refuses what is no JSON Pointer to a member: it starts with a slash, and `~` is always followed
/// by `0` or `1` (RFC 6901 §3).
pub(super) fn check_pointer(text: &str) -> Result<(), String> {
    let escapes_hold =
        text.split('~').skip(1).all(|rest| rest.starts_with('0') || rest.starts_with('1'));
    if text.len() > 1 && text.starts_with('/') && escapes_hold {
        Ok(())
    } else {
        Err(format!(
            "{text:?} is not a JSON Pointer\nwrite \"/member\" or \"/outer/inner\"; `~` is \"~0\" \
             and `/` within a name \"~1\""
        ))
    }
}
