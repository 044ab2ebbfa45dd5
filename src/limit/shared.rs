//! Limits that several gateways keep together (`shared = true`): counted in the store, so that N
//! gateways do not allow N times as much.
//!
//! Whatever the store allows is counted in this gateway's own limiter as well. When the store
//! cannot be asked that limiter decides, with all that this gateway has let through: an outage
//! turns N gateways into N quotas, never into none, and login stays possible.
//!
//! A key is the first half of a SHA-256 over what the limit is and the parts of its key: the same
//! on every gateway, never an account name in the clear. It is no secret: who may read the store
//! can find out whether a name that he guesses is being counted.
//!
//! A key that finds no room of its own in this gateway's limiter counts under its shared cell in
//! the store too: a stranger who makes up names cannot fill the store that holds the blocklist.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use aws_lc_rs::digest;
use governor::clock::{Clock, DefaultClock};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::failures::Reservation;
use super::key::{Key, KeyBuilder};
use super::limiter::Decision;
use super::registry::LimiterId;
use super::rule::{By, Count, Limit};
use crate::store::{Counter, Error, Level, Meter, Outcome};

/// What sets these hashes apart from all others; changes with what is hashed.
const DOMAIN: &[u8] = b"postern limit 1";

/// So long must the store answer before an outage is over: one that comes and goes is one.
const CALM: Duration = Duration::from_secs(1);

/// What makes a limit the same limit on every gateway.
pub struct Shared {
    start: digest::Context,
    limit: u64,
    outage: Outage,
}

/// What a limit said of a request, and what wants to know how the request ends.
#[must_use = "dropping reservation or flight counts as a failure"]
pub struct Taken<C: Clock = DefaultClock> {
    /// The decision.
    pub decision: Decision,
    /// The unit held in this gateway.
    pub reservation: Option<Reservation<C>>,
    /// The unit held in the store.
    pub flight: Option<Flight>,
}

/// A unit held in the store. Dropped, it counts as a failure.
#[must_use = "dropping a flight counts as a failure"]
pub struct Flight {
    counter: Counter,
    meter: Meter,
    id: u128,
    /// Whether the store said that it holds the unit.
    held: bool,
    /// Whether its end is still to be told.
    open: bool,
}

impl Shared {
    /// The limit of this name, the same on whichever gateway it is made.
    #[must_use]
    pub fn new(id: &LimiterId, by: &[By]) -> Self {
        let name = |context: &mut digest::Context, bytes: &[u8]| {
            context.update(&(bytes.len() as u64).to_be_bytes());
            context.update(bytes);
        };
        let mut start = digest::Context::new(&digest::SHA256);
        name(&mut start, DOMAIN);
        name(&mut start, id.route.as_bytes());
        name(&mut start, &(id.index as u64).to_be_bytes());
        name(&mut start, &id.quota.count.get().to_be_bytes());
        name(&mut start, &id.quota.per.as_nanos().to_be_bytes());
        name(&mut start, if id.count == Count::All { b"all" } else { b"failures" });
        for by in by {
            let (kind, what) = match by {
                By::Account => ("account", String::new()),
                By::Claim(path) => ("claim", path.to_string()),
                By::Client => ("client", String::new()),
                By::Form(name) => ("form", name.clone()),
                By::Header(name) => ("header", name.to_string()),
                By::Json(pointer) => ("json", pointer.to_string()),
            };
            name(&mut start, kind.as_bytes());
            name(&mut start, what.as_bytes());
        }
        let hash = start.clone().finish();
        let limit = hash.as_ref().first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes));
        Self { start, limit, outage: Outage::default() }
    }

    /// Starts a key of this limit.
    #[must_use]
    pub fn key(&self) -> KeyBuilder {
        KeyBuilder::shared(&self.start)
    }
}

impl Limit {
    /// Decides on one request by the counts of all gateways, and counts it when it is allowed.
    /// When the store cannot be asked, this gateway's own counts decide.
    pub async fn take_shared(&self, shared: &Shared, counter: &Counter, key: Key) -> Taken {
        let key = self.limiter.resolve(key);
        let (answer, flight) = self.ask_the_store(shared, counter, key).await;
        self.decide(shared, answer, key, flight)
    }

    /// Decides where nothing can come of a request without the store: it alone does. The unit is
    /// only held, whatever is counted: whoever has it says whether it counts.
    ///
    /// # Errors
    ///
    /// It cannot be asked. The request is nobody's failed attempt.
    pub async fn hold_kept(
        &self,
        shared: &Shared,
        counter: &Counter,
        key: Key,
    ) -> Result<Taken, Error> {
        let key = self.limiter.resolve(key);
        let (answer, flight) = reserve(counter, self.meter(shared, key)).await;
        shared.outage.note(&self.name, answer.as_ref().err(), NOBODY_PASSES);
        match answer {
            Ok(Level::Allowed { left }) => {
                // What it says does not matter: the store knows better.
                let reservation = self.hold(key).reservation;
                let flight = Some(flight.held());
                Ok(Taken { decision: self.limiter.admission(left), reservation, flight })
            }
            Ok(Level::Refused { wait }) => {
                flight.forget();
                let decision = self.limiter.refusal(wait);
                Ok(Taken { decision, reservation: None, flight: None })
            }
            Err(error) => {
                drop(flight.give_back());
                Err(error)
            }
        }
    }

    async fn ask_the_store(
        &self,
        shared: &Shared,
        counter: &Counter,
        key: Key,
    ) -> (Result<Level, Error>, Option<Flight>) {
        let meter = self.meter(shared, key);
        match self.count {
            Count::All => (counter.count(&meter).await, None),
            Count::Failures => {
                let (answer, flight) = reserve(counter, meter).await;
                (answer, Some(flight))
            }
        }
    }

    fn meter(&self, shared: &Shared, key: Key) -> Meter {
        let quota = self.limiter.quota();
        let (count, interval) = (quota.count, quota.interval());
        Meter { limit: shared.limit, key: key.0, count, interval }
    }

    fn decide(
        &self,
        shared: &Shared,
        answer: Result<Level, Error>,
        key: Key,
        flight: Option<Flight>,
    ) -> Taken {
        shared.outage.note(&self.name, answer.as_ref().err(), COUNTS_ITSELF);
        match answer {
            Ok(Level::Allowed { left }) => {
                // What it says does not matter: the store knows better.
                let reservation = self.take(key).reservation;
                let flight = flight.map(Flight::held);
                Taken { decision: self.limiter.admission(left), reservation, flight }
            }
            Ok(Level::Refused { wait }) => {
                if let Some(flight) = flight {
                    flight.forget();
                }
                Taken { decision: self.limiter.refusal(wait), reservation: None, flight: None }
            }
            Err(_) => {
                let own = self.take(key);
                if own.decision.allowed {
                    return Taken { flight, ..own };
                }
                // Refused, it is nobody's failed attempt.
                flight.map(Flight::give_back);
                own
            }
        }
    }
}

async fn reserve(counter: &Counter, meter: Meter) -> (Result<Level, Error>, Flight) {
    // Made before the store is asked: if nobody waits for the answer, it is a failure.
    let flight = Flight::new(counter.clone(), meter);
    (counter.reserve(&meter, flight.id).await, flight)
}

impl Flight {
    fn new(counter: Counter, meter: Meter) -> Self {
        // No secret: it only tells this request from others in flight.
        Self { counter, meter, id: fastrand::u128(..), held: false, open: true }
    }

    /// The store holds the unit.
    fn held(mut self) -> Self {
        self.held = true;
        self
    }

    /// The store refused: there is nothing to give back and nothing to count.
    fn forget(mut self) {
        self.open = false;
    }

    /// The request did not fail: its unit is given back. Waiting for what is returned makes sure
    /// that whoever gets the answer can use the unit; there is nothing to wait for when the store
    /// did not say that it holds one.
    pub fn give_back(mut self) -> Option<JoinHandle<()>> {
        self.tell(Outcome::Succeeded).filter(|_| self.held)
    }

    /// The unit counts. What is returned is as with [`Flight::give_back`]: once waited for, the
    /// count is as durable as the store.
    pub fn count(mut self) -> Option<JoinHandle<()>> {
        self.tell(Outcome::Failed).filter(|_| self.held)
    }

    /// Tells the store in a task of its own, so that a client which goes away changes nothing.
    fn tell(&mut self, outcome: Outcome) -> Option<JoinHandle<()>> {
        if !std::mem::take(&mut self.open) {
            return None;
        }
        let (counter, meter, id) = (self.counter.clone(), self.meter, self.id);
        let telling = settle(counter, meter, id, outcome);
        // Without a runtime the gateway is at its end, and the store counts it in due time.
        Handle::try_current().ok().map(|runtime| runtime.spawn(telling))
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        drop(self.tell(Outcome::Failed));
    }
}

async fn settle(counter: Counter, meter: Meter, id: u128, outcome: Outcome) {
    if let Err(error) = counter.settle(&meter, id, outcome).await {
        tracing::debug!(reason = error.reason(), "the end of a request was not counted");
    }
}

/// What follows when a limit cannot be asked that may be counted anywhere.
const COUNTS_ITSELF: &str = "this gateway counts for itself";
/// The same of one that is nothing without the store.
const NOBODY_PASSES: &str = "whoever it is for gets 503";

/// Whether the store can be asked, told to the log once each way.
#[derive(Default)]
struct Outage {
    is_on: AtomicBool,
    last_failure: Mutex<Option<Instant>>,
}

impl Outage {
    fn note(&self, limit: &str, error: Option<&Error>, so: &str) {
        if error.is_none() && !self.is_on.load(Ordering::Relaxed) {
            return;
        }
        let mut last = self.last_failure.lock().unwrap_or_else(PoisonError::into_inner);
        match (error, *last) {
            (Some(error), before) => {
                *last = Some(Instant::now());
                self.is_on.store(true, Ordering::Relaxed);
                if before.is_none() {
                    tracing::warn!(
                        route = limit,
                        reason = error.reason(),
                        %error,
                        "a shared limit cannot be asked of the store; {so}"
                    );
                }
            }
            (None, Some(at)) if at.elapsed() >= CALM => {
                *last = None;
                self.is_on.store(false, Ordering::Relaxed);
                tracing::info!(route = limit, "a shared limit is counted in the store again");
            }
            (None, _) => {}
        }
    }
}

#[cfg(test)]
mod tests;
