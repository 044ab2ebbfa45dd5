//! A list that may be written as one value when it has one element.

use std::fmt;
use std::marker::PhantomData;
use std::slice;

use serde::Deserialize;
use serde::de::{Deserializer, Error, SeqAccess, Visitor};
use toml::Spanned;

use super::scalar::{OrOff, Scalar};

/// `"a"` or `["a", "b"]`; each element knows its place.
#[derive(Clone, Debug, PartialEq)]
pub struct List<T>(pub Vec<Spanned<T>>);

impl<T> List<T> {
    /// The values, in the order written.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map(Spanned::get_ref)
    }

    /// The values with their places.
    pub fn spanned(&self) -> slice::Iter<'_, Spanned<T>> {
        self.0.iter()
    }

    /// Whether nothing is listed.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A default: these values, standing nowhere in the file.
    pub(super) fn unplaced(values: impl IntoIterator<Item = T>) -> Self {
        Self(values.into_iter().map(super::unplaced).collect())
    }
}

impl<T> Default for List<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: TryFrom<Scalar, Error = String>> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let written = Spanned::<Written<T>>::deserialize(deserializer)?;
        let span = written.span();
        Ok(match written.into_inner() {
            Written::One(value) => Self(vec![Spanned::new(span, value)]),
            Written::Many(values) => Self(values),
        })
    }
}

/// As [`List`], or the word `"off"`.
#[derive(Clone, Debug, PartialEq)]
pub enum ListOrOff<T> {
    /// Switched off.
    Off,
    /// These values.
    On(List<T>),
}

impl<T> ListOrOff<T> {
    /// The values with their places; none when off.
    #[must_use]
    pub fn spanned(&self) -> &[Spanned<T>] {
        match self {
            Self::Off => &[],
            Self::On(list) => &list.0,
        }
    }

    /// Whether it was switched off.
    pub const fn is_off(&self) -> bool {
        matches!(self, Self::Off)
    }
}

impl<'de, T: TryFrom<Scalar, Error = String>> Deserialize<'de> for ListOrOff<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let list = List::<OrOff<T>>::deserialize(deserializer)?.0;
        if matches!(list.as_slice(), [only] if matches!(only.get_ref(), OrOff::Off)) {
            return Ok(Self::Off);
        }
        let values = list.into_iter().map(|element| {
            let span = element.span();
            match element.into_inner() {
                OrOff::On(value) => Ok(Spanned::new(span, value)),
                OrOff::Off => Err(D::Error::custom("`off` cannot stand beside other values")),
            }
        });
        values.collect::<Result<_, _>>().map(|values| Self::On(List(values)))
    }
}

/// The two ways to write a list.
enum Written<T> {
    One(T),
    Many(Vec<Spanned<T>>),
}

impl<'de, T: TryFrom<Scalar, Error = String>> Deserialize<'de> for Written<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(WrittenVisitor(PhantomData))
    }
}

struct WrittenVisitor<T>(PhantomData<T>);

impl<'de, T: TryFrom<Scalar, Error = String>> Visitor<'de> for WrittenVisitor<T> {
    type Value = Written<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value or a list of values")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        T::try_from(Scalar::Text(text.to_owned())).map(Written::One).map_err(E::custom)
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Self::Value, E> {
        T::try_from(Scalar::Integer(number)).map(Written::One).map_err(E::custom)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Self::Value, E> {
        T::try_from(Scalar::Boolean(value)).map(Written::One).map_err(E::custom)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut values = Vec::new();
        while let Some(element) = list.next_element::<Spanned<Element<T>>>()? {
            let span = element.span();
            values.push(Spanned::new(span, element.into_inner().0));
        }
        Ok(Written::Many(values))
    }
}

/// One element, converted where its place is still known, so that an error points at it.
struct Element<T>(T);

impl<'de, T: TryFrom<Scalar, Error = String>> Deserialize<'de> for Element<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let scalar = Scalar::deserialize(deserializer)?;
        T::try_from(scalar).map(Self).map_err(D::Error::custom)
    }
}
