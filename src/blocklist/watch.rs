//! The background work of one process: knowing the store's contents, noticing a loss, asserting
//! what is remembered, remembering what was seen, letting go of what is over.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use super::{NOTHING, Shared, Sighting, memory};
use crate::store::{Entry, Error, Record};
use crate::time::UnixTime;

/// How often the store is asked when nothing calls for it.
const INTERVAL: Duration = Duration::from_secs(1);
/// How often what is over is let go, and what was lifted elsewhere is forgotten.
const HOUSEKEEPING: Duration = Duration::from_secs(60);
/// Between two attempts to put things right.
const PAUSE: Duration = Duration::from_millis(100);
/// Sweeps in one go, so that a loss is not noticed late because of them.
const SWEEPS: usize = 100;
/// Names asked for at once while housekeeping.
const NAMES_AT_ONCE: usize = 500;

/// Runs until it is aborted.
pub(super) async fn run(
    shared: Arc<Shared>,
    mut sightings: mpsc::Receiver<Sighting>,
    mut changes: mpsc::Receiver<String>,
) {
    let mut housekeeping = Instant::now() + HOUSEKEEPING;
    // One clock for all turns: what comes in between, however often, does not hold it up.
    let mut clock = interval(INTERVAL);
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let is_to_settle = tokio::select! {
            () = shared.surprise.notified() => true,
            () = shared.store.arrival() => true,
            _ = clock.tick() => true,
            Some(sighting) = sightings.recv() => {
                shared.take_in(sighting, UnixTime::now()).await;
                false
            }
            Some(name) = changes.recv() => {
                shared.look_at(&name, UnixTime::now()).await;
                false
            }
        };
        let now = UnixTime::now();
        if is_to_settle && !shared.settle(now).await {
            // Requests that find the store out of order wake us without end.
            sleep(PAUSE).await;
        }
        if Instant::now() >= housekeeping {
            housekeeping = Instant::now() + HOUSEKEEPING;
            if let Err(error) = shared.keep_house(now).await {
                tracing::debug!(%error, "housekeeping of the blocklist was cut short");
            }
        }
    }
}

impl Shared {
    /// Finds out where we stand and puts it right; whether that went well.
    pub(super) async fn settle(&self, now: UnixTime) -> bool {
        let result = self.try_settle(now).await;
        self.condition().note(result.as_ref().copied(), now);
        if let Err(error) = &result {
            tracing::debug!(reason = error.reason(), detail = %error, "the store was not reached");
        }
        result.is_ok()
    }

    async fn try_settle(&self, now: UnixTime) -> Result<(), Error> {
        let arrivals = self.store.arrivals();
        let generation = self.store.generation().await?;
        let known = self.known.load_full();
        let same = known.is_some() && known.as_ref().map(|id| id.as_str()) == generation.as_deref();
        if !same {
            let id = match generation {
                Some(id) => id,
                None => self.store.begin_generation(&uuid::Uuid::new_v4().to_string()).await?,
            };
            match known {
                None => self.begin(&id),
                Some(_) => self.lost(&id, now).await,
            }
        }
        if self.asserted.load(Ordering::Acquire) != arrivals {
            self.assert(now).await?;
            self.stand_asserted(arrivals);
            self.look_at_settings().await;
        }
        Ok(())
    }

    /// The first contact ever: whatever is there is the truth.
    fn begin(&self, id: &str) {
        self.ledger.change(|ledger| ledger.generation = Some(id.to_owned()));
        self.adopt(Some(Arc::new(id.to_owned())));
        tracing::info!(generation = id, "the blocklist was met for the first time");
    }

    /// The contents are others than those that held the revocations.
    async fn lost(&self, id: &str, now: UnixTime) {
        // Doubt first: from here on remembered entries stand in until they are written back.
        self.stand_asserted(NOTHING);
        let lost_at = self.store.time(now).await.map_or(now, |time| time.max(now)).seconds();
        self.lost_at.store(lost_at, Ordering::Release);
        let ledger = self.ledger.change(|ledger| {
            ledger.generation = Some(id.to_owned());
            ledger.lost += 1;
            ledger.lost_at = Some(lost_at);
            ledger.alarm = true;
        });
        self.adopt(Some(Arc::new(id.to_owned())));
        self.announcer.announce_doubt();
        tracing::error!(
            generation = id,
            lost = ledger.lost,
            remembered = self.remembered.as_ref().map_or(0, memory::Remembered::len),
            "the store has lost its revocations (flushed, restarted without persistence, or \
             failed over); those that this gateway remembers stay in force and are written back"
        );
    }

    /// Writes what is remembered, because the server may have forgotten some of it.
    async fn assert(&self, now: UnixTime) -> Result<(), Error> {
        let Some(remembered) = &self.remembered else { return Ok(()) };
        let entries = remembered.ours(now);
        for chunk in entries.chunks(NAMES_AT_ONCE) {
            // What was lifted meanwhile, here or elsewhere, is forgotten already.
            let left: Vec<Entry> =
                chunk.iter().filter_map(|entry| remembered.get(&entry.suffix, now)).collect();
            self.store.put_all(&left, now).await?;
            // Before anybody relies on it: a local copy may not have been told of these yet.
            left.iter().for_each(|entry| self.tracked.nudge(&entry.suffix));
        }
        if !entries.is_empty() {
            tracing::info!(entries = entries.len(), "remembered revocations were asserted");
        }
        Ok(())
    }

    /// Another gateway has changed an entry that is remembered here: takes over what it is now.
    /// Gone on firm ground means lifted; it must not be written back at the next connection.
    async fn look_at(&self, name: &str, now: UnixTime) {
        let Some(remembered) = &self.remembered else { return };
        let before = self.footing();
        let Ok(found) = self.store.get(name, now).await else { return };
        match found {
            Some(entry) => self.remember(entry, now).await,
            None if before.is_firm() && self.is_generation_known().await => {
                if before == self.footing()
                    && let Err(error) = remembered.forget(vec![name.to_owned()]).await
                {
                    tracing::debug!(%error, "a lifted revocation was not forgotten");
                }
            }
            None => {}
        }
    }

    async fn look_at_settings(&self) {
        let Ok(warnings) = self.store.warnings().await else { return };
        let is_new = {
            let mut condition = self.condition();
            let is_new = condition.warnings != warnings;
            condition.warnings.clone_from(&warnings);
            is_new
        };
        if is_new {
            warnings.iter().for_each(|warning| tracing::warn!("store: {warning}"));
        }
    }

    /// Remembers an entry that refused, with the end that the store gives it.
    async fn take_in(&self, sighting: Sighting, now: UnixTime) {
        let Some(remembered) = &self.remembered else { return };
        let Sighting { name, value, until, is_lost } = sighting;
        if remembered.covers(&name, value.as_deref(), now) {
            return;
        }
        let seen = Entry {
            suffix: name.clone(),
            record: value.as_deref().and_then(Record::parse).unwrap_or_else(|| Record {
                reason: "seen in the store".to_owned(),
                by: String::new(),
                at: now.seconds(),
                issued_before: None,
            }),
            // Without end, if it had none.
            expires: (until.seconds() != i64::MAX).then_some(until.seconds()),
        };
        let entry = if memory::is_extra(&name) {
            Some(seen)
        } else if is_lost {
            // Written back, as what was remembered is.
            if let Err(error) = self.store.put_all(std::slice::from_ref(&seen), now).await {
                tracing::debug!(%error, "a lost revocation was not written back");
            }
            Some(seen)
        } else {
            match self.store.get(&name, now).await {
                Ok(Some(entry)) => Some(entry),
                // Gone meanwhile: lifted, if the contents are still the same.
                Ok(None) => (!self.is_generation_known().await).then_some(seen),
                Err(_) => Some(seen),
            }
        };
        if let Some(entry) = entry {
            self.remember(entry, now).await;
        }
    }

    async fn is_generation_known(&self) -> bool {
        let known = self.known.load_full();
        let generation = self.store.generation().await;
        generation.is_ok_and(|id| id.as_deref() == known.as_ref().map(|known| known.as_str()))
    }

    pub(super) async fn keep_house(&self, now: UnixTime) -> Result<(), Error> {
        for _ in 0..SWEEPS {
            if self.store.sweep(now).await? == 0 {
                break;
            }
        }
        let Some(remembered) = &self.remembered else { return Ok(()) };
        remembered.sweep(now).await?;
        let names: Vec<String> = remembered.ours(now).into_iter().map(|e| e.suffix).collect();
        for chunk in names.chunks(NAMES_AT_ONCE) {
            let before = self.footing();
            let (exist, generation) = self.store.exist(chunk, now).await?;
            let known = self.known.load_full();
            let same = generation.as_deref() == known.as_ref().map(|id| id.as_str());
            // Absence means lifted only on firm ground; otherwise it may mean lost.
            if !same || !before.is_firm() || before != self.footing() {
                return Ok(());
            }
            let lifted = chunk.iter().zip(exist).filter(|(_, exists)| !exists);
            remembered.forget(lifted.map(|(name, _)| name.clone()).collect()).await?;
        }
        Ok(())
    }
}
