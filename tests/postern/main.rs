//! The specification of Postern as tests: the real binary, a real redis-server, real TLS, and
//! upstreams that know nothing of Postern. The `mod` list below is the table of contents.
//!
//! Every refusal asserts that the upstream saw nothing; every attack names its source.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::disallowed_methods,
    reason = "a test may panic, and its threads may sleep"
)]

mod harness;

mod harness_itself;
