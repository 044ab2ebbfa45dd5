//! Postern: a reverse-proxy authentication gateway.
//!
//! The way of a request, and the module that owns each step:
//!
//! accept, TLS, HTTP ([`server`]) → canonical path, client address, header guard, route, limits,
//! token, verify, blocklist, authorise, csrf, identify, forward, answer ([`proxy`]).
//!
//! Modules are layers; each imports only lower ones (`tests/tidy.rs` enforces the table):
//!
//! | layer | modules | what they are |
//! |---|---|---|
//! | 0 | [`token`], [`time`], [`secret`], [`body`] | the vocabulary |
//! | 1 | [`observe`], [`config`] | what is written down; what the operator typed |
//! | 1 | [`private_file`] | files that are ours alone, read and written as a whole |
//! | 2 | [`store`] | every word to Redis or the embedded store |
//! | 3 | [`auth`], [`limit`], [`blocklist`] | engines: who, how often, revoked? |
//! | 4 | [`policy`] | raw configuration compiled to one immutable snapshot |
//! | 5 | [`upstream`], [`provider`] | connections to the services behind; the identity providers |
//! | 5 | [`stream`] | live connections that end with their token |
//! | 6 | [`issuer`] | accounts, and what a login turns into |
//! | 7 | [`proxy`] | the pipeline |
//! | 8 | [`server`], [`admin`] | listeners |
//! | 9 | [`run`] | start, reload, stop |
//! | 10 | [`cli`] | the command line |

pub mod body;
pub mod secret;
pub mod time;
pub mod token;

pub mod admin;
pub mod auth;
pub mod blocklist;
pub mod cli;
pub mod config;
pub mod issuer;
pub mod limit;
pub mod observe;
pub mod policy;
pub mod private_file;
pub mod provider;
pub mod proxy;
pub mod run;
pub mod server;
pub mod store;
pub mod stream;
pub mod upstream;
