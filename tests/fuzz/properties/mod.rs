//! What holds for every input, whatever it is: one module for each thing that strangers write.
//!
//! Each `holds` panics when its property does not hold, and says whether the input was accepted.
//! The fuzz targets and the test `tests/fuzz.rs` call the same functions.

pub mod claims;
pub mod guard;
pub mod jwks;
pub mod path;
pub mod token;
