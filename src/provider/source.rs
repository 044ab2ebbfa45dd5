//! One source of published keys: which keys it has given, how fresh they are, and who may ask for
//! more. [`super::refresh`] is the task that fetches for it.
//!
//! It must never hold a lock while it waits, fetch more than once at a time, or let what a stranger
//! sends decide how often the provider is asked: at most once per `cooldown`.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::Instant;

use super::document::{Published, SourceError};
use super::last_good::LastGood;
use super::schedule::later;
use super::unknown::UnknownKids;
use super::{KeySourceStatus, Looked};
use crate::auth::VerificationKey;
use crate::observe::metrics::Metrics;
use crate::policy::Snapshot;
use crate::policy::provider::KeySource;
use crate::time::UnixTime;

/// Requests that may wait for one source at once; more are told at once to come back.
pub(super) const WAITING_MAX: usize = 1000;

/// How a document is got.
pub(super) type Fetch = Arc<dyn Fn(Arc<KeySource>) -> Fetching + Send + Sync>;
/// A document on its way.
pub(super) type Fetching =
    Pin<Box<dyn Future<Output = Result<Published, SourceError>> + Send + 'static>>;

/// What every source needs of its surroundings.
#[derive(Clone)]
pub(super) struct Surroundings {
    /// Where the keys are put into force.
    pub(super) policy: Arc<ArcSwap<Snapshot>>,
    /// The files for a start without the provider.
    pub(super) last_good: LastGood,
    /// Where fetches are counted.
    pub(super) metrics: Arc<Metrics>,
    /// How documents are got.
    pub(super) fetch: Fetch,
}

/// One source.
pub(super) struct Source {
    pub(super) around: Surroundings,
    settings: watch::Sender<Arc<KeySource>>,
    state: Mutex<State>,
    progress: watch::Sender<Progress>,
    /// Somebody asked; the task sleeps otherwise.
    pub(super) asked: Notify,
    waiting: Semaphore,
    unknown: UnknownKids,
}

/// What those who wait are told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Progress {
    /// The first try is over.
    pub(super) tried: bool,
    /// Questions up to this one are answered.
    answered: u64,
    /// Nothing will be fetched any more.
    pub(super) ended: bool,
}

struct State {
    /// In force; none before the first document and after `max_stale`.
    keys: Arc<[VerificationKey]>,
    /// When the document of these keys was fetched.
    fetched: Option<Fetched>,
    had_keys: bool,
    last_error: Option<Box<str>>,
    question: Question,
    /// The number of the last question.
    questions: u64,
    /// When the last question was put to the provider.
    put_at: Option<Instant>,
}

/// Where the one question that may be open stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Question {
    None,
    /// The task has not begun with it.
    Open,
    /// A fetch that began after it was asked is under way.
    Put,
}

/// When a document was fetched, on both clocks: the wall clock counts what happened while the
/// process or the machine was not running, the other one cannot be set back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fetched {
    pub(super) at: UnixTime,
    /// When this was noted, and how old the document was by then.
    pub(super) noted: Instant,
    pub(super) age: Duration,
}

/// What becomes of a question.
enum Ask {
    Told(Looked),
    /// Wait until the question of this number is answered. One that was put before this request
    /// came may be answered with a document that is older than the key.
    Wait {
        number: u64,
        is_older: bool,
    },
}

/// What a document has changed.
pub(super) struct Change {
    /// Keys that were not there before, and keys that are gone.
    pub(super) added: Vec<Box<str>>,
    pub(super) removed: Vec<Box<str>>,
}

/// Whether both settings name the same keys at the same place, reached and believed in the same
/// way; timings aside.
pub(super) fn is_same(one: &KeySource, other: &KeySource) -> bool {
    identity(one) == identity(other)
}

fn identity(settings: &KeySource) -> impl PartialEq {
    let KeySource { entry, issuer, published, hosts, reach, algorithms, .. } = settings;
    (entry, issuer, published, hosts, &reach.trust, &reach.addresses, algorithms)
}

impl Source {
    /// A source that has been asked for its first keys already: who comes meanwhile shares that.
    pub(super) fn new(settings: Arc<KeySource>, around: Surroundings) -> Self {
        Self {
            around,
            settings: watch::Sender::new(settings),
            state: Mutex::new(State {
                keys: Arc::new([]),
                fetched: None,
                had_keys: false,
                last_error: None,
                question: Question::Open,
                questions: 1,
                put_at: None,
            }),
            progress: watch::Sender::new(Progress::default()),
            asked: Notify::new(),
            waiting: Semaphore::new(WAITING_MAX),
            unknown: UnknownKids::new(),
        }
    }

    /// The settings in force.
    pub(super) fn settings(&self) -> Arc<KeySource> {
        self.settings.borrow().clone()
    }

    /// To be told of new settings.
    pub(super) fn watch_settings(&self) -> watch::Receiver<Arc<KeySource>> {
        self.settings.subscribe()
    }

    /// To be told when the first try is over.
    pub(super) fn watch_progress(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    /// Takes over changed timings; the keys and where the schedule stands are kept.
    pub(super) fn adopt(&self, settings: &Arc<KeySource>) {
        self.settings.send_replace(settings.clone());
    }

    /// Tells everybody that nothing will be fetched any more.
    pub(super) fn end(&self) {
        self.progress.send_modify(|progress| progress.ended = true);
    }

    /// The keys in force.
    pub(super) fn keys(&self) -> Arc<[VerificationKey]> {
        self.state().keys.clone()
    }

    /// How it is.
    pub(super) fn status(&self) -> KeySourceStatus {
        let settings = self.settings();
        let state = self.state();
        KeySourceStatus {
            entry: settings.entry.clone(),
            required: settings.required,
            keys: state.keys.len(),
            had_keys: state.had_keys,
            age: state.fetched.map(|fetched| fetched.age(UnixTime::now(), Instant::now())),
            last_error: state.last_error.as_deref().map(str::to_owned),
        }
    }

    /// Looks for a key that no snapshot has. Waits for the provider at most for the source's
    /// timeout, and only when the key may be looked for now.
    pub(super) async fn look_again(&self, kid: Option<&str>) -> Looked {
        let mut progress = self.watch_progress();
        let (number, is_older) = match self.ask(kid, Instant::now()) {
            Ask::Told(looked) => return looked,
            Ask::Wait { number, is_older } => (number, is_older),
        };
        let Ok(_place) = self.waiting.try_acquire() else { return Looked::Unavailable };
        let answer = async {
            loop {
                if self.has(kid) {
                    return Looked::Again;
                }
                let seen = *progress.borrow_and_update();
                if seen.answered >= number {
                    return self.answer(kid, is_older, Instant::now());
                }
                if seen.ended || progress.changed().await.is_err() {
                    return Looked::Unavailable;
                }
            }
        };
        let timeout = self.settings().reach.timeout;
        tokio::time::timeout(timeout, answer).await.unwrap_or(Looked::Unavailable)
    }

    /// Puts a question to the task, joins one that is open, or tells at once.
    fn ask(&self, kid: Option<&str>, now: Instant) -> Ask {
        if self.has(kid) {
            return Ask::Told(Looked::Again);
        }
        let cooldown = self.settings.borrow().cooldown;
        let in_vain = kid.is_some_and(|kid| self.unknown.contains(kid, now, cooldown));
        let mut state = self.state();
        if in_vain && state.is_current() {
            return Ask::Told(Looked::Unknown);
        }
        if state.question == Question::None {
            if state.put_at.is_some_and(|put_at| now < later(put_at, cooldown)) {
                let known = state.is_current();
                return Ask::Told(if known { Looked::Unknown } else { Looked::Unavailable });
            }
            state.question = Question::Open;
            state.questions += 1;
            self.asked.notify_one();
        }
        let is_older = state.question == Question::Put;
        Ask::Wait { number: state.questions, is_older }
    }

    /// What came of a question that was answered.
    fn answer(&self, kid: Option<&str>, is_older: bool, now: Instant) -> Looked {
        if !self.state().is_current() {
            return Looked::Unavailable;
        }
        // Without a kid only trying tells whether the right key is there now.
        let Some(kid) = kid else { return Looked::Again };
        // A key that was published while the document was on its way is asked for again.
        if !is_older {
            self.unknown.insert(kid, now);
        }
        Looked::Unknown
    }

    fn has(&self, kid: Option<&str>) -> bool {
        kid.is_some() && self.state().keys.iter().any(|key| key.kid() == kid)
    }

    /// Whether somebody waits for a fetch to begin.
    pub(super) fn is_asked(&self) -> bool {
        self.state().question == Question::Open
    }

    /// A fetch begins: it answers the question that is open, if one is. The very first is asked by
    /// nobody and does not count against the cooldown.
    pub(super) fn begin(&self, now: Instant) {
        let first = !self.progress.borrow().tried;
        let mut state = self.state();
        if state.question == Question::Open {
            state.question = Question::Put;
            if !first {
                state.put_at = Some(now);
            }
        }
    }

    /// A fetch has ended; everything that it brought has been taken in.
    pub(super) fn finish(&self) {
        let answered = {
            let mut state = self.state();
            let put = state.question == Question::Put;
            if put {
                state.question = Question::None;
            }
            put.then_some(state.questions)
        };
        self.progress.send_modify(|progress| {
            progress.answered = answered.unwrap_or(progress.answered);
        });
    }

    /// The first try is over, its document kept.
    pub(super) fn tried(&self) {
        self.progress.send_modify(|progress| progress.tried = true);
    }

    /// Takes in the keys of a document: they are in force from now on.
    pub(super) fn accept(&self, keys: Vec<VerificationKey>, fetched: Fetched) -> Change {
        let keys: Arc<[VerificationKey]> = keys.into();
        let before = {
            let mut state = self.state();
            state.fetched = Some(fetched);
            state.had_keys = true;
            std::mem::replace(&mut state.keys, keys.clone())
        };
        let change = Change::between(&before, &keys);
        if change.is_any() {
            self.put_in_force();
        }
        for kid in keys.iter().filter_map(VerificationKey::kid) {
            self.unknown.forget(kid);
        }
        change
    }

    /// Notes how the last fetch went.
    pub(super) fn note(&self, error: Option<&str>) {
        self.state().last_error = error.map(Into::into);
    }

    /// Whether there has been a document, of the provider or from a file.
    pub(super) fn had_keys(&self) -> bool {
        self.state().had_keys
    }

    /// When the keys in force become too old; `None` without keys.
    pub(super) fn stale_at(&self) -> Option<Instant> {
        let max_stale = self.settings.borrow().max_stale;
        let state = self.state();
        let fetched = state.fetched.filter(|_| !state.keys.is_empty())?;
        fetched.noted.checked_add(max_stale.saturating_sub(fetched.age))
    }

    /// Takes the keys out of force when they are too old; their age if so.
    pub(super) fn retire_if_stale(&self, at: UnixTime, now: Instant) -> Option<Duration> {
        let max_stale = self.settings.borrow().max_stale;
        let age = {
            let mut state = self.state();
            let age = state.fetched.map(|fetched| fetched.age(at, now))?;
            if state.keys.is_empty() || age < max_stale {
                return None;
            }
            state.keys = Arc::new([]);
            age
        };
        self.put_in_force();
        Some(age)
    }

    /// Puts the keys into the snapshot in force, if that still wants them from this source.
    pub(super) fn put_in_force(&self) {
        let (settings, keys) = (self.settings(), self.keys());
        self.around.policy.rcu(|snapshot| {
            if !snapshot.key_sources.iter().any(|other| is_same(other, &settings)) {
                return snapshot.clone();
            }
            let issuers = snapshot.issuers.with_fetched(&settings.entry, &keys);
            Arc::new(Snapshot { issuers, ..(**snapshot).clone() })
        });
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change under this lock is complete before anything could panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Whether what it has is what the provider last said, so that "unknown" can be said.
    fn is_current(&self) -> bool {
        !self.keys.is_empty() && self.last_error.is_none()
    }
}

impl Fetched {
    fn age(&self, at: UnixTime, now: Instant) -> Duration {
        // The wall clock has whole seconds: one of them may be rounding.
        let by_wall_clock = at.since(self.at).saturating_sub(Duration::from_secs(1));
        by_wall_clock.max(self.age + now.saturating_duration_since(self.noted))
    }
}

impl Change {
    fn between(before: &[VerificationKey], after: &[VerificationKey]) -> Self {
        let is_in = |keys: &[VerificationKey], key: &VerificationKey| {
            keys.iter()
                .any(|other| other.kid() == key.kid() && other.fingerprint() == key.fingerprint())
        };
        let name = |key: &VerificationKey| key.kid().unwrap_or("(without kid)").into();
        Self {
            added: after.iter().filter(|key| !is_in(before, key)).map(name).collect(),
            removed: before.iter().filter(|key| !is_in(after, key)).map(name).collect(),
        }
    }

    /// Whether there is any.
    pub(super) fn is_any(&self) -> bool {
        !self.added.is_empty() || !self.removed.is_empty()
    }
}
