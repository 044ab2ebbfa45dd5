//! A list that may be written as one value when it has one element.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Range;
use std::slice;

use serde::Deserialize;
use serde::de::{Deserializer, Error, SeqAccess, Visitor};
use toml::Spanned;

use super::scalar::{OrOff, Scalar};

/// `"a"` or `["a", "b"]`; the list and each element know their places.
#[derive(Clone, Debug, PartialEq)]
pub struct List<T>(Spanned<Vec<Spanned<T>>>);

impl<T> List<T> {
    /// The values, in the order written.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.spanned().map(Spanned::get_ref)
    }

    /// The values with their places.
    pub fn spanned(&self) -> slice::Iter<'_, Spanned<T>> {
        self.0.get_ref().iter()
    }

    /// Where the whole list stands.
    pub fn span(&self) -> Range<usize> {
        self.0.span()
    }

    /// Whether nothing is listed.
    pub fn is_empty(&self) -> bool {
        self.0.get_ref().is_empty()
    }

    /// A default: these values, standing nowhere in the file.
    pub(super) fn unplaced(values: impl IntoIterator<Item = T>) -> Self {
        Self(super::unplaced(values.into_iter().map(super::unplaced).collect()))
    }
}

impl<T> Default for List<T> {
    fn default() -> Self {
        Self(super::unplaced(Vec::new()))
    }
}

impl<'de, T: TryFrom<Scalar, Error = String>> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let written = Spanned::<Written<T>>::deserialize(deserializer)?;
        let span = written.span();
        let values = match written.into_inner() {
            Written::One(value) => vec![Spanned::new(span.clone(), value)],
            Written::Many(values) => values,
        };
        Ok(Self(Spanned::new(span, values)))
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
            Self::On(list) => list.0.get_ref(),
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
        let span = list.span();
        let list = list.into_inner();
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
        values.collect::<Result<_, _>>().map(|values| Self::On(List(Spanned::new(span, values))))
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
        convert(Scalar::Text(text.to_owned())).map(Written::One)
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Self::Value, E> {
        convert(Scalar::Integer(number)).map(Written::One)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Self::Value, E> {
        convert(Scalar::Boolean(value)).map(Written::One)
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

/// One element.
struct Element<T>(T);

impl<'de, T: TryFrom<Scalar, Error = String>> Deserialize<'de> for Element<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ElementVisitor(PhantomData))
    }
}

/// Converts within the visit, where the parser still knows the element's place and gives it to the
/// error.
struct ElementVisitor<T>(PhantomData<T>);

impl<T: TryFrom<Scalar, Error = String>> Visitor<'_> for ElementVisitor<T> {
    type Value = Element<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string, a whole number or a boolean")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        convert(Scalar::Text(text.to_owned())).map(Element)
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Self::Value, E> {
        convert(Scalar::Integer(number)).map(Element)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Self::Value, E> {
        convert(Scalar::Boolean(value)).map(Element)
    }
}

fn convert<T: TryFrom<Scalar, Error = String>, E: Error>(scalar: Scalar) -> Result<T, E> {
    T::try_from(scalar).map_err(E::custom)
}
