//! `[endpoints]`: the paths that are the gateway's own.

use serde::Deserialize;
use toml::Spanned;

use super::scalar::Scalar;
use super::unplaced;

/// Where the gateway answers itself.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Endpoints {
    /// What every path of the gateway's own begins with; default `/_postern`.
    pub prefix: Spanned<Prefix>,
}

impl Default for Endpoints {
    fn default() -> Self {
        Self { prefix: unplaced(Prefix("/_postern".to_owned())) }
    }
}

/// A path of one or more whole segments in lower case, without a final slash. No escape and no
/// upper case: then there is one spelling that a request can have, and every other that an
/// upstream might take for it is known by its folded form.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Scalar")]
pub struct Prefix(String);

impl Prefix {
    /// The path, for example `/_postern`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<Scalar> for Prefix {
    type Error = String;

    fn try_from(scalar: Scalar) -> Result<Self, String> {
        let text = scalar.text("a path such as \"/_postern\"")?;
        let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-._~".contains(c);
        let is_segment = |segment: &str| {
            !segment.is_empty() && !segment.ends_with('.') && segment.chars().all(legal)
        };
        let segments = text.strip_prefix('/');
        if segments.is_some_and(|segments| segments.split('/').all(is_segment)) {
            return Ok(Self(text));
        }
        Err(format!(
            "{text:?} cannot be what the gateway's own paths begin with\nwrite whole segments of \
             lower-case letters, digits, `-`, `.`, `_` or `~`, without a final slash: \
             \"/_postern\""
        ))
    }
}
