//! The configuration compiled: one immutable snapshot that a request is judged by.
//!
//! Compiling reads key and certificate files and nothing else; it changes nothing, so a
//! configuration that does not compile leaves everything as it was.

pub mod assertion;
pub mod canonical;
mod client;
pub mod compile;
pub mod cookies;
pub mod identity;
mod issuing;
pub mod origin;
pub mod own_paths;
pub mod provider;
pub mod reserved;
pub mod revocation;
pub mod route;
pub mod router;
mod snapshot;
pub mod tls;
pub mod trusted;
pub mod upstream;

pub use client::{Client, Clients, Credentials};
pub use compile::{Access as FileAccess, Context, compile};
pub use issuing::{Issuing, IssuingKey, LOCAL};
pub use route::Route;
pub use snapshot::{ClientTimeouts, RequestLimits, Snapshot, StreamRules};
