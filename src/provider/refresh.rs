//! The task of one source: fetches when it is time or when somebody asked, takes keys out of force
//! that are too old, and keeps the last good document.
//!
//! It never ends by itself: a fetch that fails, hangs or panics is an outage of the provider, not
//! of the gateway.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::document::{self, Published};
use super::last_good::{Kept, LastGood};
use super::schedule::{Schedule, later};
use super::source::{Change, Fetched, Source};
use crate::auth::VerificationKey;
use crate::observe::metrics::Outcome;
use crate::policy::provider::KeySource;
use crate::time::UnixTime;

/// How often the wall clock is looked at, which may leap while the machine sleeps.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// How often a failure that stays the same is told.
const SAY_EVERY: Duration = Duration::from_secs(60);
/// Distinct failures that are told within that time.
const FAILURES_MAX: usize = 8;
/// How often the file of a document that stays the same is written, so that it does not age.
const REDATE_EVERY: Duration = Duration::from_secs(60);
/// How long a slow disk is waited for.
const WRITE_TIME: Duration = Duration::from_secs(2);
/// Between a panic and the next attempt.
const AFTER_PANIC: Duration = Duration::from_secs(1);
/// Key ids named in one log line.
const KIDS_SAID: usize = 20;

/// Runs the task and starts it again when it panics, until this future is dropped.
pub(super) async fn supervise(source: Arc<Source>) {
    loop {
        // Dropped with this future, and the task with it.
        let mut task = JoinSet::new();
        task.spawn(Task::new(source.clone()).run());
        drop(task.join_next().await);
        tracing::error!(
            issuer = &*source.settings().entry,
            "fetching the issuer's keys went wrong inside the gateway; it is started anew"
        );
        // Nobody waits for an answer that was lost.
        source.note(Some("the last fetch went wrong inside the gateway"));
        source.finish();
        source.tried();
        sleep(AFTER_PANIC).await;
    }
}

struct Task {
    source: Arc<Source>,
    settings: watch::Receiver<Arc<KeySource>>,
    schedule: Option<Schedule>,
    /// Failures that were told a short while ago; forgotten when the provider is back.
    said: Vec<(Box<str>, Instant)>,
    /// The document in the file, and when it was written.
    written: Option<(Vec<u8>, Instant)>,
    writing: Option<JoinHandle<()>>,
}

impl Task {
    fn new(source: Arc<Source>) -> Self {
        let settings = source.watch_settings();
        Self { source, settings, schedule: None, said: Vec::new(), written: None, writing: None }
    }

    async fn run(mut self) {
        loop {
            self.fetch().await;
            self.source.tried();
            self.wait().await;
        }
    }

    /// Until it is time to fetch, or somebody asked.
    async fn wait(&mut self) {
        loop {
            self.retire();
            let now = Instant::now();
            let settings = self.settings.borrow_and_update().clone();
            let due = self.schedule.map_or(now, |schedule| schedule.due(&settings));
            if self.source.is_asked() || now >= due {
                return;
            }
            let until = self.source.stale_at().unwrap_or(due).min(due).min(later(now, LOOK_EVERY));
            tokio::select! {
                () = sleep_until(until) => {}
                () = self.source.asked.notified() => {}
                _ = self.settings.changed() => {}
            }
        }
    }

    /// One fetch, whatever comes of it.
    async fn fetch(&mut self) {
        let settings = self.source.settings();
        let (at, now) = (UnixTime::now(), Instant::now());
        self.source.begin(now);
        let exchanged = self.exchange(&settings).await;
        let outcome = if exchanged.is_ok() { Outcome::Success } else { Outcome::Failure };
        self.source.around.metrics.keys_fetched(&settings.entry, outcome);
        match exchanged {
            Ok(published) => {
                let fetched = Fetched { at, noted: now, age: Duration::ZERO };
                self.succeeded(&settings, published, fetched).await;
            }
            Err(error) => self.failed(&settings, &error).await,
        }
    }

    /// The document, within the source's timeout. Keys grow too old meanwhile as at other times.
    async fn exchange(&self, settings: &Arc<KeySource>) -> Result<Published, String> {
        let limit = settings.reach.timeout;
        let fetching = (self.source.around.fetch)(settings.clone());
        let mut fetching = pin!(timeout(limit, fetching));
        loop {
            let stale_at = self.source.stale_at();
            tokio::select! {
                fetched = &mut fetching => return match fetched {
                    Ok(Ok(published)) if published.keys.is_empty() => {
                        Err("no usable key in the document".to_owned())
                    }
                    Ok(fetched) => fetched.map_err(|error| error.to_string()),
                    Err(_) => Err(format!("the keys were not there within {limit:?}")),
                },
                () = sleep_until(stale_at.unwrap_or_else(Instant::now)), if stale_at.is_some() => {
                    self.retire();
                }
            }
        }
    }

    async fn succeeded(&mut self, settings: &KeySource, published: Published, fetched: Fetched) {
        let Published { keys, notes, max_age, text } = published;
        let failures = self.failures();
        let count = keys.len();
        self.source.note(None);
        let change = self.source.accept(keys, fetched);
        self.source.finish();
        self.schedule = Some(Schedule::after(Instant::now(), max_age, 0, fastrand::f64()));
        self.said.clear();
        let issuer = &*settings.entry;
        if failures > 0 {
            tracing::info!(issuer, failures, "the issuer's keys can be fetched again");
        }
        if change.is_any() {
            say_change(issuer, count, &change);
            if !notes.is_empty() {
                let notes = notes.join("; ");
                tracing::warn!(issuer, notes, "some of the issuer's keys are not used");
            }
        }
        self.keep(settings, text, fetched.at).await;
    }

    async fn failed(&mut self, settings: &KeySource, error: &str) {
        let failures = self.failures().saturating_add(1);
        self.source.note(Some(error));
        self.complain(settings, error);
        if self.schedule.is_none() && !self.source.had_keys() {
            self.fall_back(settings).await;
        }
        self.source.finish();
        self.schedule = Some(Schedule::after(Instant::now(), None, failures, fastrand::f64()));
    }

    fn failures(&self) -> u32 {
        self.schedule.map_or(0, |schedule| schedule.failures())
    }

    /// Says what is wrong: a new failure at once, a known one from time to time.
    fn complain(&mut self, settings: &KeySource, error: &str) {
        let now = Instant::now();
        self.said.retain(|(_, at)| now.saturating_duration_since(*at) < SAY_EVERY);
        if self.said.iter().any(|(said, _)| **said == *error) || self.said.len() >= FAILURES_MAX {
            return;
        }
        self.said.push((error.into(), now));
        let keys = self.source.keys().len();
        tracing::warn!(
            issuer = &*settings.entry,
            error,
            keys,
            "the issuer's keys cannot be fetched; those in use stay in use"
        );
    }

    /// Takes the document of an earlier run, where it still counts.
    async fn fall_back(&self, settings: &KeySource) {
        let (last_good, settings) = (self.source.around.last_good.clone(), settings.clone());
        let issuer = settings.entry.clone();
        let read = move || read_kept(&last_good, &settings);
        match tokio::task::spawn_blocking(read).await {
            Ok(Ok(None)) => {}
            Ok(Ok(Some((keys, fetched_at)))) => {
                let age = UnixTime::now().since(fetched_at);
                let (issuer, count, age_seconds) = (&*issuer, keys.len(), age.as_secs());
                let fetched = Fetched { at: fetched_at, noted: Instant::now(), age };
                self.source.accept(keys, fetched);
                tracing::warn!(
                    issuer,
                    keys = count,
                    age_seconds,
                    "keys of an earlier run are used"
                );
            }
            Ok(Err(error)) => {
                tracing::warn!(issuer = &*issuer, error, "keys of an earlier run are not used");
            }
            Err(error) => {
                tracing::error!(issuer = &*issuer, %error, "keys of an earlier run were not read");
            }
        }
    }

    /// Takes keys out of force that are too old.
    fn retire(&self) {
        if let Some(age) = self.source.retire_if_stale(UnixTime::now(), Instant::now()) {
            tracing::error!(
                issuer = &*self.source.settings().entry,
                age_seconds = age.as_secs(),
                "the issuer's keys are older than max_stale and no longer used"
            );
        }
    }

    /// Writes a document that is new, or one whose date in the file has grown old.
    async fn keep(&mut self, settings: &KeySource, text: Vec<u8>, at: UnixTime) {
        let is_fresh = |written: &Instant| written.elapsed() < REDATE_EVERY;
        let known = self.written.as_ref();
        let busy = self.writing.as_ref().is_some_and(|writing| !writing.is_finished());
        if busy || known.is_some_and(|(known, written)| *known == text && is_fresh(written)) {
            return;
        }
        let (last_good, settings) = (self.source.around.last_good.clone(), settings.clone());
        let document = text.clone();
        let mut writing = tokio::task::spawn_blocking(move || {
            if let Err(error) = last_good.write(&settings, &document, at) {
                let (issuer, file) = (&*settings.entry, last_good.path(&settings));
                let file = file.display();
                tracing::warn!(issuer, %file, %error, "the keys were not kept for the next start");
            }
        });
        self.written = Some((text, Instant::now()));
        if timeout(WRITE_TIME, &mut writing).await.is_err() {
            self.writing = Some(writing);
        }
    }
}

/// The keys of an earlier run and when they were fetched, where they still count. Blocks.
fn read_kept(
    last_good: &LastGood,
    settings: &KeySource,
) -> Result<Option<(Vec<VerificationKey>, UnixTime)>, String> {
    let kept = last_good.read(settings, UnixTime::now()).map_err(|error| error.to_string())?;
    let Some(Kept { text, fetched_at }) = kept else { return Ok(None) };
    let keys = document::read_keys(&text, &settings.algorithms);
    let (keys, _) =
        keys.map_err(|error| format!("{}: {error}", last_good.path(settings).display()))?;
    Ok(Some((keys, fetched_at)))
}

fn say_change(issuer: &str, keys: usize, change: &Change) {
    let first =
        |kids: &[Box<str>]| -> Vec<Box<str>> { kids.iter().take(KIDS_SAID).cloned().collect() };
    let (added, removed) = (first(&change.added), first(&change.removed));
    tracing::info!(issuer, keys, ?added, ?removed, "the issuer's keys have changed");
}
