//! The way to counts that are kept in the store: those that several gateways share, and those that
//! must outlive a process.

use super::embedded::Embedded;
use super::redis::Counter as RedisCounter;
use super::{Error, Level, Meter, Outcome};
use crate::time::UnixTime;

/// A worker's way to the counts in its store.
#[derive(Clone)]
pub struct Counter(Engine);

#[derive(Clone)]
enum Engine {
    Embedded(Embedded),
    Redis(RedisCounter),
}

impl Counter {
    pub(super) const fn embedded(embedded: Embedded) -> Self {
        Self(Engine::Embedded(embedded))
    }

    pub(super) const fn redis(counter: RedisCounter) -> Self {
        Self(Engine::Redis(counter))
    }

    /// Redis' own, for tests of it.
    #[cfg(test)]
    pub(super) fn of_redis(&self) -> Option<&RedisCounter> {
        match &self.0 {
            Engine::Redis(redis) => Some(redis),
            Engine::Embedded(_) => None,
        }
    }

    /// Decides on one request and, when it is allowed, counts it; durable when it answers, as far
    /// as the store is.
    ///
    /// # Errors
    ///
    /// No certain answer; it may be counted nevertheless.
    pub async fn count(&self, meter: &Meter) -> Result<Level, Error> {
        match &self.0 {
            Engine::Embedded(embedded) => embedded.count(meter, UnixTime::now()).await,
            Engine::Redis(redis) => redis.count(meter).await,
        }
    }

    /// Lets request `id` join those in flight, if one more than all of them would fit. The id must
    /// be one that no other request has.
    ///
    /// # Errors
    ///
    /// No certain answer; its unit may be held nevertheless.
    pub async fn reserve(&self, meter: &Meter, id: u128) -> Result<Level, Error> {
        match &self.0 {
            Engine::Embedded(embedded) => Ok(embedded.reserve(meter, id, UnixTime::now())),
            Engine::Redis(redis) => redis.reserve(meter, id).await,
        }
    }

    /// Request `id` has ended. A failure counts whether or not its unit is still held.
    ///
    /// # Errors
    ///
    /// No certain answer. Redis counts a request whose end it did not hear as a failure, ten
    /// minutes after it began.
    pub async fn settle(&self, meter: &Meter, id: u128, outcome: Outcome) -> Result<(), Error> {
        match &self.0 {
            Engine::Embedded(embedded) => {
                embedded.settle(meter, id, outcome, UnixTime::now()).await
            }
            Engine::Redis(redis) => redis.settle(meter, id, outcome).await,
        }
    }
}
