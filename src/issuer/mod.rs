//! Postern as the issuer: accounts, and what a login turns into.
//!
//! It speaks no HTTP: the proxy's endpoints translate requests into calls and outcomes into
//! answers. It must never: say to the outside why a login failed, or keep a password longer than
//! its check takes.

pub mod account;
