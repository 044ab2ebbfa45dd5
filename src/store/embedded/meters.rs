//! Counts that survive a restart: the limits on logins, for one gateway.
//!
//! The arithmetic is that of the limiter in memory (GCRA): a meter holds the moment at which its
//! quota is whole again, by the machine's clock in whole seconds. All meters are in memory; a
//! change is on disk before it is answered, many changes in one transaction, so that a flood of
//! logins waits for few writes and holds up no revocation.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redb::{Database, ReadableDatabase as _, ReadableTable as _, TableDefinition, TableError};

use super::{Embedded, Inner};
use crate::store::{Error, Level, Meter, Outcome};
use crate::time::UnixTime;

/// Limit and key → the moment, in microseconds since 1970.
const METERS: TableDefinition<'_, Name, u64> = TableDefinition::new("meters");

/// Most meters held; more are refused with an error (invariant 8). Keys that have no room of their
/// own in a gateway's limiter share cells, so that this is not reached.
const METERS_MAX: usize = 1_000_000;

type Name = (u64, u128);

/// The meters of a store.
#[derive(Default)]
pub(super) struct Meters {
    state: Mutex<State>,
    /// Held by who writes; whoever waits for it finds its change written.
    writer: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    held: HashMap<Name, Held, foldhash::fast::RandomState>,
    unwritten: HashMap<Name, u64, foldhash::fast::RandomState>,
}

#[derive(Default)]
struct Held {
    whole: u64,
    /// Requests whose end is not known yet.
    flights: Vec<u128>,
}

impl Meters {
    /// Those of a database that was just opened.
    pub(super) fn load(database: &Database) -> Result<Self, redb::Error> {
        let table = match database.begin_read()?.open_table(METERS) {
            Ok(table) => table,
            Err(TableError::TableDoesNotExist(_)) => return Ok(Self::default()),
            Err(error) => return Err(error.into()),
        };
        let mut state = State::default();
        for row in table.iter()? {
            let (name, whole) = row?;
            let held = Held { whole: whole.value(), flights: Vec::new() };
            state.held.insert(name.value(), held);
        }
        Ok(Self { state: Mutex::new(state), ..Self::default() })
    }

    /// The numbers stay true when a holder panicked: each change is one step.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A meter's rate in whole microseconds, and the moment that it is asked at.
struct Reading {
    interval: u64,
    burst: u64,
    count: u64,
    now: u64,
}

impl Reading {
    fn of(meter: &Meter, now: UnixTime) -> Self {
        let interval = u64::try_from(meter.interval.as_nanos().div_ceil(1000)).unwrap_or(u64::MAX);
        let interval = interval.max(1);
        let count = u64::from(meter.count.get());
        let now = u64::try_from(now.seconds()).unwrap_or(0).saturating_mul(1_000_000);
        Self { interval, burst: interval.saturating_mul(count), count, now }
    }

    /// Never further away than the quota allows, whatever the clock went through.
    fn bounded(&self, whole: u64) -> u64 {
        whole.clamp(self.now, self.now.saturating_add(self.burst))
    }

    /// What so many units more come to.
    fn level(&self, whole: u64, units: u64) -> Level {
        let after = whole.saturating_add(self.interval.saturating_mul(units));
        let limit = self.now.saturating_add(self.burst);
        match after.checked_sub(limit) {
            None | Some(0) => {
                let left = limit.saturating_sub(after) / self.interval;
                Level::Allowed { left: u32::try_from(left).unwrap_or(u32::MAX) }
            }
            Some(_) if units > self.count => Level::Refused { wait: Duration::ZERO },
            Some(wait) => Level::Refused { wait: Duration::from_micros(wait) },
        }
    }
}

impl Embedded {
    /// Decides on one request and, when it is allowed, counts it. Durable when it answers.
    pub(crate) async fn count(&self, meter: &Meter, now: UnixTime) -> Result<Level, Error> {
        let level = {
            let mut state = self.0.meters.lock();
            let reading = Reading::of(meter, now);
            let held = state.room(meter, now)?;
            // Kept although it is refused: a clock that was set back bounds it once, not for ever.
            held.whole = reading.bounded(held.whole);
            let level = reading.level(held.whole, 1);
            if matches!(level, Level::Refused { .. }) {
                return Ok(level);
            }
            held.whole = held.whole.saturating_add(reading.interval);
            let whole = held.whole;
            state.unwritten.insert(name(meter), whole);
            level
        };
        self.write_meters().await.map(|()| level)
    }

    /// Lets a request join those in flight, if one more than all of them would fit.
    pub(crate) fn reserve(&self, meter: &Meter, id: u128, now: UnixTime) -> Level {
        let mut state = self.0.meters.lock();
        let reading = Reading::of(meter, now);
        let Ok(held) = state.room(meter, now) else {
            return Level::Refused { wait: Duration::ZERO };
        };
        let units = held.flights.len() as u64 + 1;
        held.whole = reading.bounded(held.whole);
        let level = reading.level(held.whole, units);
        if matches!(level, Level::Allowed { .. }) {
            held.flights.push(id);
        }
        level
    }

    /// A request has ended. Its failure is durable when this answers.
    pub(crate) async fn settle(
        &self,
        meter: &Meter,
        id: u128,
        outcome: Outcome,
        now: UnixTime,
    ) -> Result<(), Error> {
        {
            let mut state = self.0.meters.lock();
            let reading = Reading::of(meter, now);
            let held = state.room(meter, now)?;
            held.flights.retain(|flight| *flight != id);
            if outcome == Outcome::Succeeded {
                return Ok(());
            }
            let whole = reading.bounded(held.whole).saturating_add(reading.interval);
            held.whole = reading.bounded(whole);
            let whole = held.whole;
            state.unwritten.insert(name(meter), whole);
        }
        self.write_meters().await
    }

    /// Writes whatever is unwritten, with everybody else's changes.
    async fn write_meters(&self) -> Result<(), Error> {
        let _writer = self.0.meters.writer.lock().await;
        let batch = std::mem::take(&mut self.0.meters.lock().unwritten);
        if batch.is_empty() {
            return Ok(());
        }
        let batch = Arc::new(batch);
        let kept = batch.clone();
        let written = self.blocking(move |inner| inner.write_meters(&batch)).await;
        if written.is_err() {
            // Whoever waits tries again, and has an error of its own.
            let mut state = self.0.meters.lock();
            for (name, whole) in kept.iter() {
                state.unwritten.entry(*name).or_insert(*whole);
            }
        }
        written
    }
}

impl Inner {
    fn write_meters(
        &self,
        batch: &HashMap<Name, u64, foldhash::fast::RandomState>,
    ) -> Result<(), redb::Error> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let transaction = self.database.begin_write()?;
        {
            let mut table = transaction.open_table(METERS)?;
            for (name, whole) in batch {
                table.insert(*name, *whole)?;
            }
        }
        Ok(transaction.commit()?)
    }

    /// Lets go of meters that say nothing any more. Writes nothing where there are none.
    pub(super) fn forget_meters(&self, now: UnixTime) -> Result<(), redb::Error> {
        let moment = u64::try_from(now.seconds()).unwrap_or(0).saturating_mul(1_000_000);
        let over: Vec<Name> = self.meters.lock().forget(moment);
        if over.is_empty() {
            return Ok(());
        }
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let transaction = self.database.begin_write()?;
        {
            let mut table = transaction.open_table(METERS)?;
            for name in over {
                let is_over = table.get(name)?.is_some_and(|whole| whole.value() <= moment);
                if is_over {
                    table.remove(name)?;
                }
            }
        }
        Ok(transaction.commit()?)
    }
}

impl State {
    /// The meter, made when there is room for it.
    fn room(&mut self, meter: &Meter, now: UnixTime) -> Result<&mut Held, Error> {
        let name = name(meter);
        if self.held.len() >= METERS_MAX && !self.held.contains_key(&name) {
            let moment = u64::try_from(now.seconds()).unwrap_or(0).saturating_mul(1_000_000);
            drop(self.forget(moment));
            if self.held.len() >= METERS_MAX {
                return Err(Error::Embedded("too many meters".into()));
            }
        }
        Ok(self.held.entry(name).or_default())
    }

    fn forget(&mut self, moment: u64) -> Vec<Name> {
        let is_over = |held: &Held| held.whole <= moment && held.flights.is_empty();
        let over = self.held.iter().filter(|(_, held)| is_over(held)).map(|(name, _)| *name);
        let over: Vec<Name> = over.collect();
        self.held.retain(|_, held| !is_over(held));
        over
    }
}

const fn name(meter: &Meter) -> Name {
    (meter.limit, meter.key)
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;

    const NOW: UnixTime = UnixTime(1_800_000_000);

    fn meter(key: u128, count: u32, seconds: u64) -> Meter {
        let count = NonZeroU32::new(count).unwrap();
        Meter { limit: 7, key, count, interval: Duration::from_secs(seconds) / count.get() }
    }

    fn open(dir: &tempfile::TempDir) -> Embedded {
        Embedded::open(dir.path(), "store.redb").unwrap()
    }

    fn allowed(level: &Level) -> bool {
        matches!(level, Level::Allowed { .. })
    }

    /// Design: limits in the store survive a restart. Nothing is closed here: as after a crash.
    #[tokio::test]
    async fn counts_survive_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let (all, failures) = (meter(1, 5, 900), meter(2, 3, 900));
        let store = open(&dir);
        for left in (0..5).rev() {
            assert_eq!(store.count(&all, NOW).await, Ok(Level::Allowed { left }));
        }
        for id in 0..3 {
            assert!(allowed(&store.reserve(&failures, id, NOW)), "{id}");
            store.settle(&failures, id, Outcome::Failed, NOW).await.unwrap();
        }
        drop(store);
        let store = open(&dir);
        let wait = Duration::from_secs(180);
        assert_eq!(store.count(&all, NOW).await, Ok(Level::Refused { wait }));
        let wait = Duration::from_secs(300);
        assert_eq!(store.reserve(&failures, 9, NOW), Level::Refused { wait });
        let later = NOW.plus(Duration::from_secs(180));
        assert_eq!(store.count(&all, later).await, Ok(Level::Allowed { left: 0 }));
        assert!(!allowed(&store.count(&all, later).await.unwrap()));
    }

    /// A burst of guesses gets as many tries as so many in a row.
    #[tokio::test]
    async fn what_is_in_flight_may_fail() {
        let dir = tempfile::tempdir().unwrap();
        let store = open(&dir);
        let meter = meter(1, 3, 900);
        let flying = (0..100).filter(|id| allowed(&store.reserve(&meter, *id, NOW))).count();
        assert_eq!(flying, 3);
        store.settle(&meter, 0, Outcome::Succeeded, NOW).await.unwrap();
        assert!(allowed(&store.reserve(&meter, 200, NOW)), "a unit was given back");
        assert!(!allowed(&store.reserve(&meter, 201, NOW)));
    }

    /// A clock that was set back must not lock anybody out for longer than the quota does.
    #[tokio::test]
    async fn a_clock_that_jumps_locks_nobody_out() {
        let dir = tempfile::tempdir().unwrap();
        let store = open(&dir);
        let meter = meter(1, 2, 60);
        let ahead = NOW.plus(Duration::from_secs(1_000_000));
        assert!(allowed(&store.count(&meter, ahead).await.unwrap()));
        let level = store.count(&meter, NOW).await.unwrap();
        assert_eq!(level, Level::Refused { wait: Duration::from_secs(30) });
        assert!(allowed(&store.count(&meter, NOW.plus(Duration::from_secs(60))).await.unwrap()));
    }

    #[tokio::test]
    async fn what_says_nothing_any_more_is_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let store = open(&dir);
        for key in 0..50 {
            store.count(&meter(key, 1, 60), NOW).await.unwrap();
        }
        assert!(allowed(&store.reserve(&meter(99, 1, 60), 1, NOW)));
        store.sweep(NOW.plus(Duration::from_secs(61))).await.unwrap();
        assert_eq!(store.0.meters.lock().held.len(), 1, "what is in flight is remembered");
        drop(store);
        assert!(open(&dir).0.meters.lock().held.is_empty());
    }
}
