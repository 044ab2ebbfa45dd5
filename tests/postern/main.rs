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

mod proxying;
mod http_framing;
mod http_responses;
mod http2;
mod paths;
mod headers;
mod tokens;
mod extraction;
mod foreign;
mod blocklist;
mod faults;
mod slow_peers;
mod limits;
mod bounds;
mod authorise;
mod identity;
mod logs;
mod tls;
mod admin;
mod signals;
mod reload;
mod websocket;
mod cli;
mod check;
mod demo;
mod apps;
