//! One TOML value that is not a list or a table, as the value types of this module take it, and
//! the word `off`.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, Visitor};

/// A string, whole number or boolean.
///
/// The value types are made from it by `TryFrom<Scalar, Error = String>`. The error's first line is
/// the message; a second line, if any, becomes the `help:` line. It may quote the whole value but
/// never a part of it, so that an interpolated value can be recognised and left out.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Scalar {
    Text(String),
    Integer(i64),
    Boolean(bool),
}

impl Scalar {
    /// The string, or an error that says what was `wanted`.
    pub(super) fn text(self, wanted: &str) -> Result<String, String> {
        match self {
            Self::Text(text) => Ok(text),
            Self::Integer(_) => Err(format!("expected {wanted}, found a number")),
            Self::Boolean(_) => Err(format!("expected {wanted}, found a boolean")),
        }
    }
}

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ScalarVisitor)
    }
}

struct ScalarVisitor;

impl Visitor<'_> for ScalarVisitor {
    type Value = Scalar;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string, a whole number or a boolean")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Scalar, E> {
        Ok(Scalar::Text(text.to_owned()))
    }

    fn visit_string<E: Error>(self, text: String) -> Result<Scalar, E> {
        Ok(Scalar::Text(text))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Scalar, E> {
        Ok(Scalar::Integer(number))
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Scalar, E> {
        Ok(Scalar::Boolean(value))
    }
}

/// A value that the word `"off"` may take the place of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OrOff<T> {
    /// Switched off.
    Off,
    /// This value.
    On(T),
}

impl<T> OrOff<T> {
    /// The value, `None` when off.
    pub const fn on(&self) -> Option<&T> {
        match self {
            Self::Off => None,
            Self::On(value) => Some(value),
        }
    }
}

impl<T: TryFrom<Scalar, Error = String>> TryFrom<Scalar> for OrOff<T> {
    type Error = String;

    fn try_from(scalar: Scalar) -> Result<Self, String> {
        match scalar {
            Scalar::Text(text) if text == "off" => Ok(Self::Off),
            other => T::try_from(other).map(Self::On),
        }
    }
}

impl<'de, T: TryFrom<Scalar, Error = String>> Deserialize<'de> for OrOff<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::try_from(Scalar::deserialize(deserializer)?).map_err(Error::custom)
    }
}
