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
    clippy::print_stdout,
    reason = "a test may panic, its threads may sleep, and trials print what they measured"
)]

mod harness;

mod harness_itself;

mod admin;
mod apps;
mod assertions;
mod audit;
mod audit_files;
mod audit_logins;

mod authorise;
mod blocklist;
mod revocations;
mod two_gateways;
mod backchannel_logout;
mod logout_floods;
mod provider_logout;
mod sentinel;
mod cluster;
mod valkey;
mod bounds;
mod check;
mod check_online;
mod cli;
mod cookies;
mod cookies_csrf;
mod login_page;
mod real_browser;
mod demo;
mod ended_accounts;
mod extraction;
mod faults;
mod foreign;
mod headers;
mod http2;
mod http_framing;
mod http_responses;
mod huge_bodies;
mod identity;
mod issuing;
mod issuing_attacks;
mod issuing_halfway;
mod issuing_limits;
mod issuing_outages;
mod introspection;
mod keys;
mod limits;
mod login_clients;
mod login_timing;
mod logs;
mod metrics;
mod oauth_assertions;
mod oauth_libraries;
mod oauth_published;
mod oauth_slow_bodies;
mod oauth_token;
mod oauth_tokens_of_others;
mod paths;
mod proxying;
mod reload;
mod review;
mod rotation_trials;
mod shared_limits;
mod signals;
mod slow_peers;
mod soak;
mod sql_accounts;
mod sql_misfits;
mod store_user;
mod streams;
mod stream_ends;
mod upload_ends;
mod many_streams;
mod tls;
mod listeners;
mod tokens;
mod tracked;
mod tracked_trials;
mod user_command;
mod claims;
mod websocket;
mod providers;
mod key_rotation;
mod key_outages;
mod unknown_kids;
mod hostile_jwks;
mod keycloak;
