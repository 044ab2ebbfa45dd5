//! Words about tokens that every layer shares: where a claim stands, how a token is named in the
//! blocklist.
//!
//! Nothing here verifies anything.

mod claim_path;
mod lookup;
mod selector;

pub use claim_path::{ClaimPath, ClaimPathError};
pub use lookup::Lookup;
pub use selector::{Kind, Selector, sha256_hex, token_digest};
