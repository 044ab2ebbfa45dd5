//! Words about tokens that every layer shares: how they are signed, where a claim stands, how a
//! token is named in the blocklist.
//!
//! Nothing here verifies anything.

mod algorithm;
mod claim_path;
mod digest;
mod form;
mod lookup;
mod selector;

pub use algorithm::{Algorithm, Family, UnknownAlgorithm};
pub use claim_path::{ClaimPath, ClaimPathError};
pub use digest::KeyDigest;
pub use form::{is_b64token, is_compact_jws, own_part};
pub use lookup::Lookup;
pub use selector::{Kind, Selector, sha256_hex, token_digest};
