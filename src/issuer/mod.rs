//! Postern as the issuer: accounts, and what a login turns into.
//!
//! It speaks no HTTP: the proxy's endpoints translate requests into calls and outcomes into
//! answers. It must never: say to the outside why a login failed, or keep a password longer than
//! its check takes.
//!
//! A login becomes a [`Families`] family: one refresh token at a time, rotated at each use. A
//! [`Mint`] makes the access tokens beside it. For browsers the tokens stay in the store, sealed
//! under the [`SessionId`] that the cookie holds.
//!
//! [`Assertions`] are something else: tokens for upstreams, whoever issued the caller's own.

pub mod account;
mod assertion;
mod authorization_server;
mod family;
mod metadata;
mod mint;
mod outcome;
mod refresh_token;
mod seal;
mod session;

#[cfg(test)]
mod tests;

pub use assertion::{AssertionError, Assertions, TYP as ASSERTION_TYP};
pub use authorization_server::AuthorizationServer;
pub use family::Families;
pub use metadata::metadata;
pub use mint::{AccessToken, Mint, MintError, Rights};
pub use outcome::{
    Began, ClientTrace, Introspected, Issued, NewLogin, RefusedWhy, Rotation, Session, Unavailable,
};
pub use session::{BrowserSession, SessionId};

pub use crate::store::Login;
