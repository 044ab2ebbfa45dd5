//! The identity providers: their published keys, fetched and kept current, and their word on
//! opaque tokens. [`Providers`] lives beside the snapshots and outlives them.
//!
//! Keys are fetched in the background and put into the snapshot; a request never waits for a fetch
//! unless its token names a key that nobody has seen ([`Providers::look_again`]), and then once for
//! all who ask, under a cooldown. What a provider says is data from the network: bounded in size,
//! number and time, read strictly, and never a reason to connect to where the operator did not say.
//!
//! It must never: follow a URL out of a token, take a shared secret (`oct`) from the network, drop
//! working keys because a provider is down (before `max_stale`), or log a document, a token or a
//! client secret.

pub mod address;
pub mod discovery;
pub mod document;
pub mod exchange;
pub mod introspection;
mod last_good;
mod refresh;
mod schedule;
#[cfg(test)]
mod scripted;
mod source;
mod unknown;

#[cfg(test)]
mod tests;

use std::future::{Future, poll_fn};
use std::path::Path;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::task::AbortHandle;

use self::introspection::{Introspector, Introspectors};
use self::last_good::LastGood;
use self::source::{Fetch, Source, Surroundings, is_same};
use crate::auth::Wanted;
use crate::observe::metrics::Metrics;
use crate::policy::Snapshot;
use crate::policy::provider::{Introspection, KeySource};

/// How much longer than its timeout the first try of a source is waited for: its document is also
/// written.
const FIRST_TRY_GRACE: Duration = Duration::from_secs(3);

/// Every provider of the configuration in force.
pub struct Providers {
    around: Surroundings,
    introspectors: Introspectors,
    running: Mutex<Vec<Running>>,
    /// [`Providers::follow`] has been called.
    followed: AtomicBool,
    /// Every required source has had keys at some moment since the start.
    were_ready: AtomicBool,
}

/// What came of looking for a key once more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Looked {
    /// Nobody has such a key, or it was asked for a moment ago: the token is refused.
    Unknown,
    /// It cannot be said whether the token is good: the provider could not be asked, the entry has
    /// no keys or not the provider's latest, or too many requests wait for the answer already.
    Unavailable,
    /// The snapshot may have it now: check the token once more, against the current snapshot.
    Again,
}

/// How one source of keys is, for `/readyz`, `/status` and metrics.
#[derive(Clone, Debug)]
pub struct KeySourceStatus {
    /// The issuer entry.
    pub entry: Box<str>,
    /// Whether readiness waits for it.
    pub required: bool,
    /// Keys in use.
    pub keys: usize,
    /// Whether it has had keys at least once.
    pub had_keys: bool,
    /// Time since the document in use was fetched; `None` before the first.
    pub age: Option<Duration>,
    /// Why the last fetch failed; `None` after one that went well.
    pub last_error: Option<String>,
}

/// A source and its task, which ends with this.
struct Running {
    source: Arc<Source>,
    task: AbortHandle,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
        self.source.end();
    }
}

impl Providers {
    /// Knows the state directory for its last-good key sets; fetches nothing yet.
    #[must_use]
    pub fn new(
        policy: Arc<ArcSwap<Snapshot>>,
        state_dir: &Path,
        metrics: Arc<Metrics>,
    ) -> Arc<Self> {
        let fetch: Fetch = Arc::new(|settings: Arc<KeySource>| {
            Box::pin(async move { document::fetch_keys(&settings).await })
        });
        Self::with_fetch(policy, state_dir, metrics, fetch)
    }

    fn with_fetch(
        policy: Arc<ArcSwap<Snapshot>>,
        state_dir: &Path,
        metrics: Arc<Metrics>,
        fetch: Fetch,
    ) -> Arc<Self> {
        let introspectors = Introspectors::new(policy.clone());
        let around = Surroundings { policy, last_good: LastGood::new(state_dir), metrics, fetch };
        Arc::new(Self {
            around,
            introspectors,
            running: Mutex::default(),
            followed: AtomicBool::new(false),
            were_ready: AtomicBool::new(false),
        })
    }

    /// Follows the sources of the snapshot in force: starts what is new, ends what is gone, leaves
    /// what stayed the same, puts every key that it has into the snapshot. That much is done when
    /// this returns. The future is ready when each new source has been tried once, so that a
    /// listener opened afterwards has keys; that takes no longer than the longest of their
    /// timeouts, and nothing stops when it is dropped.
    ///
    /// Call it at the start and after every change of the snapshot, from the main runtime.
    pub fn follow(&self) -> impl Future<Output = ()> + Send + use<> {
        let wanted = self.around.policy.load().key_sources.clone();
        // What was ready stays so, also when nobody had looked.
        let _ = self.were_ready();
        self.followed.store(true, Ordering::Release);
        let mut first_tries = Vec::new();
        {
            let mut running = self.running();
            let mut before = std::mem::take(&mut *running);
            for settings in &wanted {
                let same = |running: &Running| is_same(&running.source.settings(), settings);
                let Some(place) = before.iter().position(same) else {
                    let started = self.start(settings.clone());
                    first_tries.push((started.source.watch_progress(), settings.reach.timeout));
                    running.push(started);
                    continue;
                };
                let kept = before.swap_remove(place);
                kept.source.adopt(settings);
                kept.source.put_in_force();
                running.push(kept);
            }
        }
        self.forget_files();
        async move {
            let longest = first_tries.iter().map(|(_, timeout)| *timeout).max().unwrap_or_default();
            let all = async {
                for (progress, _) in &mut first_tries {
                    drop(progress.wait_for(|progress| progress.tried || progress.ended).await);
                }
            };
            drop(tokio::time::timeout(longest.saturating_add(FIRST_TRY_GRACE), all).await);
        }
    }

    /// The snapshot with every key that is already known, for a reload: so that no request meets a
    /// snapshot without its fetched keys.
    #[must_use]
    pub fn furnish(&self, mut snapshot: Snapshot) -> Snapshot {
        for source in self.sources() {
            let settings = source.settings();
            if snapshot.key_sources.iter().any(|wanted| is_same(wanted, &settings)) {
                snapshot.issuers = snapshot.issuers.with_fetched(&settings.entry, &source.keys());
            }
        }
        snapshot
    }

    /// Looks for a key that no snapshot has: at most one fetch for all who wait, under the
    /// source's cooldown; a kid that was looked for in vain is not looked for again for a while.
    /// Waits no longer than the timeout of the slowest source that may have the key. Callable from
    /// any runtime.
    pub async fn look_again(&self, wanted: &Wanted) -> Looked {
        let kid = wanted.kid.as_deref();
        let named = |source: &Arc<Source>| wanted.entries.contains(&source.settings().entry);
        let sources: Vec<Arc<Source>> = self.sources().into_iter().filter(named).collect();
        if let [source] = sources.as_slice() {
            return source.look_again(kid).await;
        }
        type Look<'l> = Pin<Box<dyn Future<Output = Looked> + Send + 'l>>;
        let mut looks: Vec<Look<'_>> = Vec::new();
        for source in &sources {
            looks.push(Box::pin(source.look_again(kid)));
        }
        // An entry whose source has just gone, or is not there yet.
        let mut best = if sources.is_empty() { Looked::Unavailable } else { Looked::Unknown };
        // Side by side. The first that has the key is enough; whether one has it, only a kid tells.
        poll_fn(|context| {
            looks.retain_mut(|look| match look.as_mut().poll(context) {
                Poll::Ready(looked) => {
                    best = best.max(looked);
                    false
                }
                Poll::Pending => true,
            });
            if looks.is_empty() || (best == Looked::Again && kid.is_some()) {
                Poll::Ready(best)
            } else {
                Poll::Pending
            }
        })
        .await
    }

    /// Who asks an introspection endpoint by these settings of a snapshot.
    #[must_use]
    pub fn introspector(&self, settings: &Arc<Introspection>) -> Arc<Introspector> {
        self.introspectors.of(settings)
    }

    /// How each source is.
    #[must_use]
    pub fn status(&self) -> Vec<KeySourceStatus> {
        self.sources().iter().map(|source| source.status()).collect()
    }

    /// Whether every required source has had keys, now or at an earlier moment: a source that a
    /// reload adds, and that cannot be reached, must not take the whole gateway out of service.
    #[must_use]
    pub fn were_ready(&self) -> bool {
        if self.were_ready.load(Ordering::Acquire) {
            return true;
        }
        let has_had_keys = |source: &KeySourceStatus| source.had_keys || !source.required;
        let ready = self.followed.load(Ordering::Acquire) && self.status().iter().all(has_had_keys);
        if ready {
            self.were_ready.store(true, Ordering::Release);
        }
        ready
    }

    /// Ends every task; whoever still waits is told that the provider is unavailable.
    pub fn stop(&self) {
        self.running().clear();
    }

    fn start(&self, settings: Arc<KeySource>) -> Running {
        let source = Arc::new(Source::new(settings, self.around.clone()));
        let task = tokio::spawn(refresh::supervise(source.clone())).abort_handle();
        Running { source, task }
    }

    /// Removes the last-good files of sources that are gone.
    fn forget_files(&self) {
        let (last_good, policy) = (self.around.last_good.clone(), self.around.policy.clone());
        drop(tokio::task::spawn_blocking(move || {
            // As they are now: a change that came meanwhile may want again what was gone.
            if let Err(error) = last_good.retain(&policy.load().key_sources) {
                tracing::warn!(%error, "kept keys of issuers that are gone were not removed");
            }
        }));
    }

    fn sources(&self) -> Vec<Arc<Source>> {
        self.running().iter().map(|running| running.source.clone()).collect()
    }

    fn running(&self) -> MutexGuard<'_, Vec<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
