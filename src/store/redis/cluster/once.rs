//! Names that count once, each on the master of its slot.

use std::time::Duration;

use super::Cluster;
use crate::store::Error;
use crate::store::redis::{answer, once};

impl Cluster {
    /// As [`crate::store::Store::is_spent`].
    pub(in crate::store) async fn is_spent(&self, name: &str) -> Result<bool, Error> {
        let key = self.names.once(name);
        let asked = self.control.run(&key, once::asking(&key), self.deadline()).await;
        Ok(answer::count(asked?)? > 0)
    }

    /// As [`crate::store::Store::spend`].
    pub(in crate::store) async fn spend(&self, name: &str, ttl: Duration) -> Result<bool, Error> {
        let key = self.names.once(name);
        let set = self.control.run(&key, once::spending(&key, ttl), self.deadline()).await;
        once::was_first(set?)
    }
}
