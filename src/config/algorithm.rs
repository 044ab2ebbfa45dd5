//! The names of signature algorithms.

use std::ops::Deref;

use serde::Deserialize;

use super::scalar::Scalar;
use crate::token;

/// A signature algorithm, written as in a token's `alg`, with case (R1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "Scalar")]
pub struct Algorithm(pub token::Algorithm);

impl Deref for Algorithm {
    type Target = token::Algorithm;

    fn deref(&self) -> &token::Algorithm {
        &self.0
    }
}

impl TryFrom<Scalar> for Algorithm {
    type Error = String;

    fn try_from(scalar: Scalar) -> Result<Self, String> {
        let text = scalar.text("an algorithm such as \"RS256\"")?;
        text.parse().map(Self).map_err(|_| {
            let known = token::Algorithm::ALL.map(token::Algorithm::as_str).join(", ");
            format!("{text:?} is not an algorithm that tokens may use\nwrite one of {known}")
        })
    }
}
