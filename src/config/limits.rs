//! `[limits]`, `[token_cache]` and `[auth_failures]`: how much of anything is let in.

use std::num::NonZeroU32;

use serde::Deserialize;
use toml::Spanned;

use super::rate::Rate;
use super::scalar::OrOff;
use super::size::Size;
use super::unplaced;

/// Sizes and counts (R36, R39); the refusal's status in brackets.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// The whole request head \[431\]; default 32 KiB.
    pub header_bytes: Spanned<Size>,
    /// Header fields \[431\]; default 100.
    pub header_count: Spanned<NonZeroU32>,
    /// The request target \[414\]; default 8 KiB.
    pub target_bytes: Spanned<Size>,
    /// The Authorization field \[400\]; default 8 KiB.
    pub authorization_bytes: Spanned<Size>,
    /// The request body \[413\]; default 10 MiB. A route may override.
    pub body_bytes: Spanned<OrOff<Size>>,
    /// Connections over all listeners \[closed\]; default 10000.
    pub connections: Spanned<NonZeroU32>,
    /// Connections of one client address \[closed\]; default 1000.
    pub connections_per_client: Spanned<NonZeroU32>,
    /// Concurrent requests of one client over all its connections \[503\]; default 1000.
    pub requests_per_client: Spanned<NonZeroU32>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            header_bytes: unplaced(Size::bytes(32 << 10)),
            header_count: unplaced(nonzero(100)),
            target_bytes: unplaced(Size::bytes(8 << 10)),
            authorization_bytes: unplaced(Size::bytes(8 << 10)),
            body_bytes: unplaced(OrOff::On(Size::bytes(10 << 20))),
            connections: unplaced(nonzero(10_000)),
            connections_per_client: unplaced(nonzero(1_000)),
            requests_per_client: unplaced(nonzero(1_000)),
        }
    }
}

/// Memory for verified tokens.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TokenCache {
    /// Upper bound of the cache's memory; default 64 MiB. Off verifies every token anew.
    pub bytes: Spanned<OrOff<Size>>,
}

impl Default for TokenCache {
    fn default() -> Self {
        Self { bytes: unplaced(OrOff::On(Size::bytes(64 << 20))) }
    }
}

/// Failed verifications of one client (R40).
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AuthFailures {
    /// How many before 429; default 20 in a minute.
    pub rate: Spanned<OrOff<Rate>>,
}

impl Default for AuthFailures {
    fn default() -> Self {
        Self { rate: unplaced(OrOff::On(Rate::per_minute(nonzero(20)))) }
    }
}

/// A default count.
const fn nonzero(count: u32) -> NonZeroU32 {
    match NonZeroU32::new(count) {
        Some(count) => count,
        None => NonZeroU32::MIN,
    }
}
