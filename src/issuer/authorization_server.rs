//! What issuing keeps beside the snapshot, and what survives a reload (RFC 6749 §1.1: the
//! authorization server): the way to families in the store, and the accounts.
//!
//! It must never decide anything: it hands out who does.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwapOption;

use super::Families;
use super::account::Accounts;
use crate::policy::Issuing;
use crate::store::{self, Store};

/// Postern as an authorization server.
pub struct AuthorizationServer {
    /// `None` on a Redis Cluster, where the configuration takes no `[issuing]`.
    families: Option<Arc<store::Families>>,
    accounts: ArcSwapOption<Accounts>,
}

impl AuthorizationServer {
    /// On this store; without accounts so far. To be called inside the main runtime.
    #[must_use]
    pub fn new(store: &Store) -> Self {
        Self { families: store.families().map(Arc::new), accounts: ArcSwapOption::empty() }
    }

    /// Logins and sessions under the rules of a snapshot.
    #[must_use]
    pub fn families(&self, issuing: &Issuing) -> Option<Families> {
        self.families.as_ref().map(|store| Families::new(store.clone(), issuing))
    }

    /// Who checks passwords; `None` when nobody does.
    #[must_use]
    pub fn accounts(&self) -> Option<Arc<Accounts>> {
        self.accounts.load_full()
    }

    /// From now on these accounts are asked.
    pub fn set_accounts(&self, accounts: Option<Accounts>) {
        self.accounts.store(accounts.map(Arc::new));
    }
}

impl fmt::Debug for AuthorizationServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthorizationServer").finish_non_exhaustive()
    }
}
