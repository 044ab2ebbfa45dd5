//! What a gateway remembers of sessions, by cookie, and which of them are being renewed.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use moka::sync::Cache;
use tokio::sync::watch;

use super::renewal::Failed;
use crate::secret::Secret;
use crate::time::UnixTime;

/// Memory for what is remembered.
const BYTES: u64 = 16 << 20;
/// What one entry costs beyond its token, roughly.
const ENTRY_BYTES: usize = 500;
/// How long something unused is remembered.
const IDLE: Duration = Duration::from_secs(15 * 60);
/// Most sessions that are being renewed at once; above it, 503.
const RENEWALS_MAX: usize = 10_000;
/// How long a renewal that failed is not tried again.
const REST: Duration = Duration::from_secs(1);
/// How long it is remembered that there is no session behind a cookie. An id is random: one that
/// nobody had is nobody's later.
const NOBODYS: Duration = Duration::from_secs(30);
/// Most cookies that are remembered so.
const NOBODYS_MAX: u64 = 10_000;

type Entries = Cache<Box<str>, Arc<Kept>, foldhash::quality::RandomState>;

/// How a renewal ended.
pub(super) type Outcome = Result<Arc<Kept>, Failed>;
/// Where a renewal's end is waited for.
pub(super) type Landing = watch::Receiver<Option<Outcome>>;
/// Who renews.
pub(super) type Pilot = watch::Sender<Option<Outcome>>;

/// The access token of a session.
pub struct Kept {
    /// The token.
    pub access: Secret<String>,
    /// From when on a new one is made.
    pub renew_at: UnixTime,
}

/// The sessions that a gateway knows of; lives beside the snapshots and survives reloads.
pub struct Sessions {
    entries: Entries,
    renewals: Mutex<HashMap<Box<str>, Landing>>,
    resting: Cache<Box<str>, &'static str>,
    nobodys: Cache<Box<[u8]>, ()>,
}

impl Default for Sessions {
    fn default() -> Self {
        let entries = Cache::builder()
            .max_capacity(BYTES)
            .weigher(weight)
            .time_to_idle(IDLE)
            .build_with_hasher(foldhash::quality::RandomState::default());
        let nobodys = Cache::builder().max_capacity(NOBODYS_MAX).time_to_live(NOBODYS).build();
        let most = RENEWALS_MAX as u64;
        let resting = Cache::builder().max_capacity(most).time_to_live(REST).build();
        Self { entries, renewals: Mutex::default(), resting, nobodys }
    }
}

impl Sessions {
    /// What is remembered of this cookie's session, unless its token is due for renewal.
    #[must_use]
    pub fn get(&self, cookie: &str, now: UnixTime) -> Option<Arc<Kept>> {
        self.entries.get(cookie).filter(|kept| now < kept.renew_at)
    }

    /// Forgets a session: it was ended, or is refused.
    pub fn forget(&self, cookie: &str) {
        self.entries.invalidate(cookie);
    }

    /// Whether it was found a moment ago that there is no session behind this cookie.
    pub(super) fn is_nobodys(&self, cookie: &str) -> bool {
        self.nobodys.contains_key(digest(&SHA256, cookie.as_bytes()).as_ref())
    }

    /// Notes that there is none; whether that is news.
    pub(super) fn note_nobodys(&self, cookie: &str) -> bool {
        let name: Box<[u8]> = digest(&SHA256, cookie.as_bytes()).as_ref().into();
        self.nobodys.entry(name).or_insert(()).is_fresh()
    }

    pub(super) fn remember(&self, cookie: &str, kept: Arc<Kept>, remembers: bool) -> Arc<Kept> {
        if remembers {
            self.entries.insert(cookie.into(), kept.clone());
        }
        kept
    }

    /// A place to wait at, and the pilot's seat when nobody renews this session yet: whoever gets
    /// it must begin at once. `None` when too many are being renewed.
    pub(super) fn board(&self, cookie: &str) -> Option<(Landing, Option<Pilot>)> {
        let mut renewals = self.renewals();
        if let Some(landing) = renewals.get(cookie) {
            return Some((landing.clone(), None));
        }
        if renewals.len() >= RENEWALS_MAX {
            return None;
        }
        let (pilot, landing) = watch::channel(None);
        renewals.insert(cookie.into(), landing.clone());
        Some((landing, Some(pilot)))
    }

    /// Why the renewal that was tried a moment ago came to nothing.
    pub(super) fn rests(&self, cookie: &str) -> Option<&'static str> {
        self.resting.get(cookie)
    }

    /// The renewal came to nothing, and is not tried again at once.
    pub(super) fn rest(&self, cookie: &str, why: &'static str) {
        self.resting.insert(cookie.into(), why);
    }

    /// The renewal is over, however it ended.
    pub(super) fn land(&self, cookie: &str) {
        self.renewals().remove(cookie);
    }

    /// The map is whole after every single step.
    fn renewals(&self) -> MutexGuard<'_, HashMap<Box<str>, Landing>> {
        self.renewals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[allow(clippy::borrowed_box, reason = "the cache's own signature")]
fn weight(cookie: &Box<str>, kept: &Arc<Kept>) -> u32 {
    let bytes = cookie.len() + kept.access.expose().len() + ENTRY_BYTES;
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(renew_at: i64) -> Arc<Kept> {
        let access = Secret::new("token".to_owned());
        Arc::new(Kept { access, renew_at: UnixTime(renew_at) })
    }

    #[test]
    fn what_is_due_forgotten_or_not_to_be_remembered_is_not_found() {
        let sessions = Sessions::default();
        sessions.remember("a", kept(100), true);
        sessions.remember("b", kept(100), false);
        assert!(sessions.get("a", UnixTime(99)).is_some());
        assert!(sessions.get("a", UnixTime(100)).is_none(), "due");
        assert!(sessions.get("b", UnixTime(99)).is_none(), "nothing is remembered");
        assert!(sessions.get("A", UnixTime(99)).is_none(), "another cookie");
        sessions.forget("a");
        assert!(sessions.get("a", UnixTime(99)).is_none());
    }

    #[tokio::test]
    async fn what_failed_rests_for_a_while() {
        let sessions = Sessions::default();
        sessions.rest("a", "accounts_unavailable");
        assert_eq!(sessions.rests("a"), Some("accounts_unavailable"));
        assert_eq!(sessions.rests("b"), None);
        tokio::time::sleep(REST + Duration::from_millis(100)).await;
        assert_eq!(sessions.rests("a"), None);
    }

    #[test]
    fn a_cookie_without_a_session_is_news_once() {
        let sessions = Sessions::default();
        assert!(!sessions.is_nobodys("a"));
        assert!(sessions.note_nobodys("a"));
        assert!(!sessions.note_nobodys("a"));
        assert!(sessions.is_nobodys("a") && !sessions.is_nobodys("b"));
    }

    #[test]
    fn one_renews_and_the_number_is_bounded() {
        let sessions = Sessions::default();
        let (_, pilot) = sessions.board("a").unwrap();
        assert!(pilot.is_some());
        assert!(sessions.board("a").unwrap().1.is_none(), "whoever comes then waits");
        for n in 1..RENEWALS_MAX {
            assert!(sessions.board(&n.to_string()).is_some());
        }
        assert!(sessions.board("one more").is_none());
        sessions.land("a");
        assert!(sessions.board("a").unwrap().1.is_some());
    }
}
