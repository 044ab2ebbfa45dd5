//! One string field of a buffered body, for a limit's key: the account name of a login.
//!
//! The upstream reads the same bytes with a parser we do not know. Where two parsers could see
//! different values (a field twice, in two spellings, in another encoding), the body is refused:
//! else a guesser would vary the value that is counted and keep the value that is tried.

use std::fmt;

use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use mime::Mime;
use serde::de::{
    DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use unicode_normalization::UnicodeNormalization as _;

use crate::token::ClaimPath;

/// A longer body on a route with a body-field limit is refused with 413 before it gets here.
pub const BODY_BYTES_MAX: usize = 8 * 1024;

/// Why a field cannot be counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FieldError {
    /// 400: the field is missing, there twice, not a string, or the body does not parse.
    #[error("the limited body field cannot be read without doubt")]
    Malformed,
    /// 415: another media type or charset, or a content coding.
    #[error("the limited body field cannot be read in this media type or content coding")]
    Unsupported,
}

/// The string at `pointer` in a JSON body, normalised for counting.
///
/// # Errors
///
/// [`FieldError::Unsupported`] unless the body is uncoded UTF-8 JSON by its header fields;
/// [`FieldError::Malformed`] unless exactly one string stands there, each step of the way being
/// there once and in no other spelling (letter case ignored: some parsers do).
pub fn json_field(
    headers: &HeaderMap,
    body: &[u8],
    pointer: &ClaimPath,
) -> Result<String, FieldError> {
    let media = media_type(headers)?;
    let json = (media.type_() == mime::APPLICATION && media.subtype() == mime::JSON)
        || media.suffix() == Some(mime::JSON);
    if !json {
        return Err(FieldError::Unsupported);
    }
    let text = text(body)?;
    let mut reader = serde_json::Deserializer::from_str(text);
    let value = Step(pointer.tokens())
        .deserialize(&mut reader)
        .and_then(|value| reader.end().map(|()| value))
        .map_err(|_| FieldError::Malformed)?;
    Ok(normalised(&value))
}

/// The value of `name` in a form body (`application/x-www-form-urlencoded`), normalised for
/// counting.
///
/// # Errors
///
/// As [`json_field`]. Names that some frameworks read as `name` (letter case, `name[]`, `.` for
/// `_`, `;` as separator) count as a second one.
pub fn form_field(headers: &HeaderMap, body: &[u8], name: &str) -> Result<String, FieldError> {
    let media = media_type(headers)?;
    if media.essence_str() != mime::APPLICATION_WWW_FORM_URLENCODED.essence_str() {
        return Err(FieldError::Unsupported);
    }
    let text = text(body)?;
    let wanted = folded_form_name(name);
    let candidates = text
        .split(['&', ';'])
        .filter_map(|piece| form_urlencoded::parse(piece.as_bytes()).next())
        .filter(|(candidate, _)| folded_form_name(candidate) == wanted)
        .count();
    let mut values =
        form_urlencoded::parse(text.as_bytes()).filter(|(candidate, _)| candidate == name);
    match (candidates, values.next(), values.next()) {
        // The decoder puts U+FFFD for what is not UTF-8.
        (1, Some((_, value)), None) if !value.contains('\u{FFFD}') => Ok(normalised(&value)),
        _ => Err(FieldError::Malformed),
    }
}

/// The one media type, in UTF-8, without a content coding.
fn media_type(headers: &HeaderMap) -> Result<Mime, FieldError> {
    let mut lines = headers.get_all(CONTENT_TYPE).iter();
    let (Some(line), None) = (lines.next(), lines.next()) else {
        return Err(FieldError::Unsupported);
    };
    let media: Option<Mime> = line.to_str().ok().and_then(|line| line.parse().ok());
    let media = media.ok_or(FieldError::Unsupported)?;
    let utf8 = media.params().all(|(name, value)| name != mime::CHARSET || value == mime::UTF_8);
    if utf8 && !headers.contains_key(CONTENT_ENCODING) {
        Ok(media)
    } else {
        Err(FieldError::Unsupported)
    }
}

fn text(body: &[u8]) -> Result<&str, FieldError> {
    if body.len() > BODY_BYTES_MAX {
        return Err(FieldError::Malformed);
    }
    std::str::from_utf8(body).map_err(|_| FieldError::Malformed)
}

/// Account names that people take for the same: NFKC, trimmed, lower case.
pub(super) fn normalised(value: &str) -> String {
    let compatible: String = value.nfkc().collect();
    compatible.trim().chars().flat_map(char::to_lowercase).collect()
}

/// Letter case removed, as Go's and .NET's JSON readers do when they look for a member.
fn folded(name: &str) -> String {
    name.chars().flat_map(char::to_uppercase).flat_map(char::to_lowercase).collect()
}

/// A form field's name as PHP, Rack and qs may read it: up to `[`, and every other mark a `_`.
fn folded_form_name(name: &str) -> String {
    let head = name.trim().split('[').next().unwrap_or_default();
    folded(head).chars().map(|c| if c.is_alphanumeric() { c } else { '_' }).collect()
}

/// The rest of a pointer, to be walked while parsing.
struct Step<'p>(&'p [String]);

impl<'de> DeserializeSeed<'de> for Step<'_> {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        // serde_json's errors never leave this module: they may quote the body.
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Step<'_> {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string at the configured pointer")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<String, E> {
        if self.0.is_empty() { Ok(text.to_owned()) } else { Err(E::custom("a string on the way")) }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<String, A::Error> {
        let Some((wanted, rest)) = self.0.split_first() else {
            return Err(A::Error::custom("an object, not a string"));
        };
        let wanted_folded = folded(wanted);
        let mut found = None;
        while let Some(name) = members.next_key::<String>()? {
            if name == *wanted && found.is_none() {
                found = Some(members.next_value_seed(Step(rest))?);
            } else if folded(&name) == wanted_folded {
                return Err(A::Error::custom("the member is there twice"));
            } else {
                members.next_value::<IgnoredAny>()?;
            }
        }
        found.ok_or_else(|| A::Error::custom("the member is missing"))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<String, A::Error> {
        let index = self.0.split_first().and_then(|(token, rest)| {
            let plain = token == "0" || !token.starts_with(['0', '+']);
            token.parse::<usize>().ok().filter(|_| plain).map(|index| (index, rest))
        });
        let Some((index, rest)) = index else {
            return Err(A::Error::custom("an array, not a string"));
        };
        for _ in 0..index {
            if elements.next_element::<IgnoredAny>()?.is_none() {
                return Err(A::Error::custom("the element is missing"));
            }
        }
        let found = elements.next_element_seed(Step(rest))?;
        while elements.next_element::<IgnoredAny>()?.is_some() {}
        found.ok_or_else(|| A::Error::custom("the element is missing"))
    }
}

#[cfg(test)]
mod tests;
