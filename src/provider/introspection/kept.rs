//! Answers that may be used again, and tokens that were good a while ago. Bounded in bytes; a
//! refusal is never kept, so strangers cannot fill it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use moka::sync::Cache;

use super::Recalled;
use crate::auth::{Issuers, Verified};
use crate::time::UnixTime;

/// Most bytes, for one endpoint.
const BYTES_MAX: u64 = 16 * 1024 * 1024;

/// How long a token counts as known, used again or not.
const KNOWN_FOR: Duration = Duration::from_secs(10 * 60);

/// What one entry costs beyond its key and value, roughly.
const ENTRY_OVERHEAD_BYTES: usize = 300;

/// Keyed by the whole token.
pub(super) struct Kept {
    entries: Cache<Box<str>, Entry, foldhash::quality::RandomState>,
    /// `cache` of the entry.
    reused: Duration,
}

#[derive(Clone)]
struct Entry {
    verified: Arc<Verified>,
    /// When the question was put.
    asked: Instant,
}

impl Kept {
    pub(super) fn new(reused: Duration) -> Self {
        let entries = Cache::builder()
            .max_capacity(BYTES_MAX)
            .weigher(weight)
            .time_to_live(reused.max(KNOWN_FOR))
            .build_with_hasher(foldhash::quality::RandomState::default());
        Self { entries, reused }
    }

    /// An answer is used again only within the configured time since its question, before the
    /// token's `exp`, and under the settings of the entry under which it was accepted.
    pub(super) fn recall(&self, token: &str, issuers: &Issuers, now: UnixTime) -> Recalled {
        match self.entries.get(token) {
            None => Recalled::Unknown,
            Some(entry)
                if entry.asked.elapsed() < self.reused
                    && now < entry.verified.expires_at
                    && issuers.still_holds(&entry.verified) =>
            {
                Recalled::Fresh(entry.verified)
            }
            Some(_) => Recalled::Known,
        }
    }

    pub(super) fn insert(&self, token: &str, asked: Instant, verified: Arc<Verified>) {
        self.entries.insert(token.into(), Entry { verified, asked });
    }

    pub(super) fn forget(&self, token: &str) {
        self.entries.invalidate(token);
    }
}

#[allow(clippy::borrowed_box, reason = "the cache's own signature")]
fn weight(token: &Box<str>, entry: &Entry) -> u32 {
    let bytes = token.len() + entry.verified.bytes() + ENTRY_OVERHEAD_BYTES;
    u32::try_from(bytes).unwrap_or(u32::MAX)
}
