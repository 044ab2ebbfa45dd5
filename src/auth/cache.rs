//! Tokens that were verified before. It holds facts; whether they still count is asked on every
//! hit, so a reload flushes nothing and forgets everything that no longer holds (invariant 1).
//!
//! The key is the whole token, not a digest: nothing can be confused, and it is faster. Failures
//! are never kept, so strangers cannot fill it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use moka::Expiry;
use moka::sync::Cache;

use super::{Issuers, Verified};

/// What one entry costs beyond its key and value: the cache's own bookkeeping, roughly.
const ENTRY_OVERHEAD_BYTES: usize = 300;

/// Longest that an entry stays, however long the token lives; then it is verified once more.
const KEPT_MAX: Duration = Duration::from_secs(24 * 60 * 60);

type Entries = Cache<Box<str>, Arc<Verified>, foldhash::quality::RandomState>;

/// The verified-token cache; lives beside the snapshots and survives reloads.
pub struct TokenCache {
    entries: Entries,
}

impl TokenCache {
    /// A cache that takes about this many bytes (`[token_cache] bytes`).
    #[must_use]
    pub fn new(bytes: u64) -> Self {
        let entries = Cache::builder()
            .max_capacity(bytes)
            .weigher(weight)
            .expire_after(UntilExp)
            .build_with_hasher(foldhash::quality::RandomState::default());
        Self { entries }
    }

    /// What was verified of exactly this token, if the snapshot's issuers would verify it again.
    /// Times, issuer filter, blocklist and rules are still to be asked.
    #[must_use]
    pub fn get(&self, token: &str, issuers: &Issuers) -> Option<Arc<Verified>> {
        self.entries.get(token).filter(|verified| issuers.still_holds(verified))
    }

    /// Keeps what was verified of this token.
    pub fn insert(&self, token: &str, verified: Arc<Verified>) {
        self.entries.insert(token.into(), verified);
    }

    /// Number of entries, approximately.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.entries.entry_count()
    }

    /// Whether nothing is kept, approximately.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Settles what the cache does in the background, so that a test can count.
    #[cfg(test)]
    pub(super) fn settle(&self) {
        self.entries.run_pending_tasks();
    }
}

impl std::fmt::Debug for TokenCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenCache").field("len", &self.len()).finish_non_exhaustive()
    }
}

/// Bytes that an entry takes.
#[allow(clippy::borrowed_box, reason = "the cache's own signature")]
fn weight(token: &Box<str>, verified: &Arc<Verified>) -> u32 {
    let bytes = token.len() + verified.bytes() + ENTRY_OVERHEAD_BYTES;
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

/// An entry leaves when its token has expired. This only frees memory.
struct UntilExp;

impl Expiry<Box<str>, Arc<Verified>> for UntilExp {
    fn expire_after_create(
        &self,
        _token: &Box<str>,
        verified: &Arc<Verified>,
        _created_at: Instant,
    ) -> Option<Duration> {
        Some(verified.lives_for().min(KEPT_MAX))
    }

    fn expire_after_update(
        &self,
        _token: &Box<str>,
        verified: &Arc<Verified>,
        _updated_at: Instant,
        _remaining: Option<Duration>,
    ) -> Option<Duration> {
        Some(verified.lives_for().min(KEPT_MAX))
    }
}
