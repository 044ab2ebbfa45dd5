//! Patterns over paths, hosts and header names. Each knows one wildcard in one place; there are no
//! regular expressions (security.md: oauth2-proxy).

use http::HeaderName;
use serde::Deserialize;

use super::scalar::Scalar;

/// A route's path: exact (`/api/login`), or ending in `/*` (`/api/*` is `/api` and all below it).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Scalar")]
pub enum PathPattern {
    /// This path, with or without a final slash; stored without, the root as `/`.
    Exact(String),
    /// This path and everything below it on segment borders; stored without `/*` and a final
    /// slash, so the pattern `/*` is stored as the empty string.
    Below(String),
}

impl TryFrom<Scalar> for PathPattern {
    type Error = String;

    fn try_from(scalar: Scalar) -> Result<Self, String> {
        let text = scalar.text("a path such as \"/api/*\"")?;
        let refuse = |why: &str| format!("{text:?} {why}");
        if !text.starts_with('/') {
            return Err(refuse("is not a path\na path begins with `/`"));
        }
        let (path, below) = match text.strip_suffix("/*") {
            Some(path) => (path, true),
            None => (text.as_str(), false),
        };
        if path.contains('*') {
            return Err(refuse("has a `*` in its middle\nonly a final \"/*\" is a wildcard"));
        }
        let path = path.strip_suffix('/').filter(|_| !below).unwrap_or(path);
        // The canonical form of a request's path (R19, R20): what can never arrive here is never a
        // route, and saying so now saves the search for a 404.
        let segments_hold = path.split('/').skip(1).all(segment_is_canonical);
        if !segments_hold && !path.is_empty() {
            return Err(refuse(
                "can match no request\nwrite it as it arrives: no empty, `.` or `..` segment, no \
                 `;`, `?`, `#`, `\\` or space, `%XX` only for bytes that must be encoded",
            ));
        }
        let path = upper_triplets(path);
        Ok(match (below, path.as_str()) {
            (true, _) => Self::Below(path),
            (false, "") => Self::Exact("/".to_owned()),
            (false, _) => Self::Exact(path),
        })
    }
}

/// `%c3` as `%C3` (RFC 3986 §6.2.2.1).
fn upper_triplets(path: &str) -> String {
    let mut upper = String::with_capacity(path.len());
    let mut digits = 0;
    for c in path.chars() {
        upper.push(if digits > 0 { c.to_ascii_uppercase() } else { c });
        digits = if c == '%' { 2_u8 } else { digits.saturating_sub(1) };
    }
    upper
}

/// Whether a request's canonical path could have this segment.
fn segment_is_canonical(segment: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()+,=:@".contains(&byte);
    let mut bytes = segment.bytes();
    while let Some(byte) = bytes.next() {
        let holds = if byte == b'%' {
            let hex = [bytes.next(), bytes.next()].map(|digit| {
                digit
                    .and_then(|digit| char::from(digit).to_digit(16))
                    .and_then(|d| u8::try_from(d).ok())
            });
            let [Some(high), Some(low)] = hex else { return false };
            encoded_byte_stays(high << 4 | low)
        } else {
            plain(byte)
        };
        if !holds {
            return false;
        }
    }
    !matches!(segment, "" | "." | "..")
}

/// Whether `%XX` of this byte is left encoded by the canonical form rather than decoded
/// (unreserved characters) or refused (`/`, `\`, `;`, `%`, controls).
fn encoded_byte_stays(byte: u8) -> bool {
    let unreserved = byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    !unreserved && !byte.is_ascii_control() && !b"/\\;%".contains(&byte)
}

/// A route's host: exact (`api.example.com`) or everything below a name (`*.example.com`); lower
/// case, without port.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Scalar")]
pub enum HostPattern {
    /// This name or address.
    Exact(String),
    /// Any name below this one (stored without `*.`), not the name itself.
    Below(String),
}

impl TryFrom<Scalar> for HostPattern {
    type Error = String;

    fn try_from(scalar: Scalar) -> Result<Self, String> {
        let text = scalar.text("a host such as \"api.example.com\"")?;
        let lower = text.to_ascii_lowercase();
        let refuse = || {
            format!(
                "{text:?} is not a host\nwrite a name without scheme, port or path: \
                 \"api.example.com\" or \"*.example.com\""
            )
        };
        if let Some(parent) = lower.strip_prefix("*.") {
            return is_name(parent).then(|| Self::Below(parent.to_owned())).ok_or_else(refuse);
        }
        let address = lower.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let is_host = match address {
            Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
            None => is_name(&lower),
        };
        is_host.then(|| Self::Exact(lower.clone())).ok_or_else(refuse)
    }
}

/// Whether every label is letters, digits, `-` and `_`, and none is empty.
fn is_name(name: &str) -> bool {
    let label_holds = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    name.len() <= 253 && name.split('.').all(label_holds)
}

/// Header names to strip: exact, or everything that begins with what stands before a final `*`.
/// Lower case, every other character than a letter or digit folded to `-`, as names are compared
/// (design: guard).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Scalar")]
pub enum HeaderPattern {
    /// This name.
    Exact(String),
    /// Every name that begins with this.
    Prefix(String),
}

impl HeaderPattern {
    /// Whether the header `name` falls under the pattern, in any spelling.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        let folded = fold(name);
        match self {
            Self::Exact(exact) => folded == *exact,
            Self::Prefix(prefix) => folded.starts_with(prefix.as_str()),
        }
    }
}

impl TryFrom<Scalar> for HeaderPattern {
    type Error = String;

    fn try_from(scalar: Scalar) -> Result<Self, String> {
        let text = scalar.text("a header name such as \"X-Auth-*\"")?;
        let stem = text.strip_suffix('*').unwrap_or(&text);
        if stem.parse::<HeaderName>().is_err() || stem.contains('*') {
            return Err(format!(
                "{text:?} is not a header name\nonly a final `*` is a wildcard, as in \"X-Auth-*\""
            ));
        }
        let folded = fold(stem);
        Ok(if stem.len() == text.len() { Self::Exact(folded) } else { Self::Prefix(folded) })
    }
}

/// A header name in the one spelling in which names are compared.
fn fold(name: &str) -> String {
    name.chars()
        .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' })
        .collect()
}
