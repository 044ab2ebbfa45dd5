//! Words about tokens that every layer shares: how a token is named in the blocklist.
//!
//! Nothing here verifies anything.

mod lookup;
mod selector;

pub use lookup::Lookup;
pub use selector::{Kind, Selector, sha256_hex, token_digest};
