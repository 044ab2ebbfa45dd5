//! Live connections that end with their token: WebSockets, event streams, gRPC streams, and every
//! other body that is still moving when its request was admitted long ago.
//!
//! A request is checked once, a stream for as long as it lives. Each worker keeps an [`Index`] of
//! its own streams and a keeper ([`keep`]) that ends them: at `exp` plus grace, when an announced
//! revocation concerns them, and when the regular second look finds one that nobody announced.
//! Whether a token is revoked is always the blocklist's word, asked anew: an announcement alone
//! ends nothing, so that a newer session of the same subject goes on.
//!
//! Nothing here knows HTTP: whoever carries a stream holds its [`Life`], and ends it when that
//! says so.

mod index;
mod keeper;
mod kind;
mod life;
mod tally;
#[cfg(test)]
mod tests;

pub use index::{Exit, Index, Sever};
pub use keeper::{Keeper, keep};
pub use kind::Kind;
pub use life::{Life, Pass};
pub use tally::{Ended, Tally, Why};
