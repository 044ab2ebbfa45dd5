//! Key ids that were looked for in vain: strangers' texts, so there are few and they are soon
//! forgotten.

use std::time::Duration;

use moka::sync::Cache;
use tokio::time::Instant;

/// Most that are remembered of one source; each is at most 256 bytes.
const KIDS_MAX: u64 = 10_000;

/// How long a kid is remembered at most.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(60);

/// How many cooldowns a kid is not looked for again: short, because a provider may sign with a key
/// before each of its replicas publishes it; long enough that one forged kid, sent again and again,
/// does not use up every cooldown. A refresh that brings the key ends this at once.
const COOLDOWNS: u32 = 3;

/// The key ids that one source did not have when it was asked.
pub(super) struct UnknownKids {
    kids: Cache<Box<str>, Instant, foldhash::quality::RandomState>,
}

impl UnknownKids {
    pub(super) fn new() -> Self {
        let kids = Cache::builder()
            .max_capacity(KIDS_MAX)
            .time_to_live(FORGOTTEN_AFTER)
            .build_with_hasher(foldhash::quality::RandomState::default());
        Self { kids }
    }

    /// Whether it was looked for in vain a short while ago.
    pub(super) fn contains(&self, kid: &str, now: Instant, cooldown: Duration) -> bool {
        let span = cooldown.saturating_mul(COOLDOWNS).min(FORGOTTEN_AFTER);
        self.kids.get(kid).is_some_and(|at| now.saturating_duration_since(at) < span)
    }

    /// Remembers that nobody has it.
    pub(super) fn insert(&self, kid: &str, now: Instant) {
        self.kids.insert(kid.into(), now);
    }

    /// Somebody has it now.
    pub(super) fn forget(&self, kid: &str) {
        self.kids.invalidate(kid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_forgets_in_time_and_when_told() {
        let unknown = UnknownKids::new();
        let now = Instant::now();
        let cooldown = Duration::from_secs(10);
        let contains = |kid, now| unknown.contains(kid, now, cooldown);
        unknown.insert("a", now);
        unknown.insert("b", now);
        assert!(contains("a", now) && !contains("c", now));
        unknown.forget("a");
        assert!(!contains("a", now) && contains("b", now));
        assert!(contains("b", now + cooldown * 3 - Duration::from_secs(1)));
        assert!(!contains("b", now + cooldown * 3), "a replica may be late with the key");
        let hour = Duration::from_secs(3600);
        assert!(!unknown.contains("b", now + FORGOTTEN_AFTER, hour), "never longer than that");
    }

    /// Strangers choose the kid (8725bis §3.10): whatever they send, it does not grow.
    #[test]
    fn strangers_cannot_fill_it() {
        let unknown = UnknownKids::new();
        let now = Instant::now();
        for number in 0..50_000 {
            unknown.insert(&format!("{number:0>256}"), now);
        }
        unknown.kids.run_pending_tasks();
        assert!(unknown.kids.entry_count() <= KIDS_MAX, "{}", unknown.kids.entry_count());
    }
}
