//! Keys and headers of assertions compiled.
