//! Asking a provider whether a token is good (RFC 7662): who asks whom, which questions are shared,
//! how long an answer may be used.
//!
//! With `cache = "0s"`, the default, a request is answered only by a question that was put after it
//! came: an answer that was already under way is never shared (the reasoning of invariant 9), so
//! what the provider revokes is refused at once. Requests for one token that wait share the next
//! question. Every failure to get an answer is [`Unavailable`], never a yes.
//!
//! It must never: use an answer beyond the token's `exp` or the configured time, keep a refusal,
//! ask from a request's own task (its client may hang up while others wait for the same answer), or
//! log a token, a client secret or an answer.

mod flights;
mod kept;
mod question;
#[cfg(test)]
mod tests;
mod trial;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use http::StatusCode;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use self::flights::{Flights, Landing, Pilot};
use self::kept::Kept;
use self::question::Question;
use super::exchange::{Cause, Client, ExchangeError};
use crate::auth::{Issuers, Verified};
use crate::policy::Snapshot;
use crate::policy::provider::Introspection;
use crate::time::UnixTime;

pub use self::trial::{TrialError, try_out};

/// Largest answer that is read; what an upstream can be told of a caller is far less.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Most requests that wait for one endpoint; more are refused at once.
const WAITING_MAX: usize = 10_000;

/// Shortest time between two log lines of one kind about one endpoint.
const SAID_AGAIN_AFTER: Duration = Duration::from_secs(60);

/// Who asks, for every introspection entry of the snapshot in force.
pub struct Introspectors {
    policy: Arc<ArcSwap<Snapshot>>,
    /// Where questions are put from: the main runtime, which outlives every request.
    runtime: Option<Handle>,
    known: ArcSwap<Vec<Arc<Introspector>>>,
    changing: Mutex<()>,
}

/// Who asks one provider.
pub struct Introspector {
    settings: Arc<Introspection>,
    client: Client,
    question: Question,
    flights: Flights,
    waiting: Semaphore,
    kept: Arc<Kept>,
    runtime: Option<Handle>,
    began: Instant,
    /// When it was last said that the client is not accepted, that the endpoint cannot be asked,
    /// that its answers make no sense: seconds since `began`, plus one; zero is never.
    said: [AtomicU64; 3],
}

/// What the provider answered, with status 200.
#[derive(Clone)]
pub struct Answer {
    /// The content, not yet looked at.
    pub body: Arc<[u8]>,
    /// When the question was put; the time from which it may be used again counts from here.
    asked: Instant,
}

/// What is known of a token without asking.
#[derive(Debug)]
pub enum Recalled {
    /// An answer that may be used again.
    Fresh(Arc<Verified>),
    /// It was good a while ago: whoever has it is not guessing.
    Known,
    /// Nothing.
    Unknown,
}

/// It cannot be said whether the token is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unavailable {
    /// Too many requests wait already.
    Busy,
    /// The endpoint cannot be reached, refuses the question, or breaks off.
    Failed,
    /// No answer in time.
    Late,
}

/// What a log line is about.
#[derive(Clone, Copy)]
enum Trouble {
    Client,
    Endpoint,
    Answer,
}

impl Introspectors {
    /// To be called inside the main runtime.
    #[must_use]
    pub fn new(policy: Arc<ArcSwap<Snapshot>>) -> Self {
        Self {
            policy,
            runtime: Handle::try_current().ok(),
            known: ArcSwap::default(),
            changing: Mutex::new(()),
        }
    }

    /// Who asks by these settings of a snapshot. A reload makes another one, which takes over what
    /// is known of tokens when nothing about the provider has changed.
    #[must_use]
    pub fn of(&self, settings: &Arc<Introspection>) -> Arc<Introspector> {
        let find = |known: &[Arc<Introspector>]| {
            known.iter().find(|one| Arc::ptr_eq(&one.settings, settings)).cloned()
        };
        if let Some(found) = find(&self.known.load()) {
            return found;
        }
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let known = self.known.load();
        if let Some(found) = find(&known) {
            return found;
        }
        let before = known.iter().find(|one| same(&one.settings, settings));
        let kept = before.map(|one| one.kept.clone());
        let made = Arc::new(Introspector::new(settings.clone(), kept, self.runtime.clone()));
        let policy = self.policy.load();
        let in_force = |one: &&Arc<Introspector>| {
            policy.introspections.iter().any(|settings| Arc::ptr_eq(settings, &one.settings))
        };
        // What only a request from before the reload still needs is not kept.
        let next = known.iter().chain([&made]).filter(in_force).cloned().collect();
        self.known.store(Arc::new(next));
        made
    }
}

/// Whether answers to the one question are answers to the other.
fn same(one: &Introspection, other: &Introspection) -> bool {
    let of = |settings: &Introspection| {
        let Introspection { entry, url, client_id, client_secret, authentication, cache, reach } =
            settings.clone();
        (entry, url, client_id, client_secret, authentication, cache, reach.trust)
    };
    of(one) == of(other)
}

impl Introspector {
    fn new(settings: Arc<Introspection>, kept: Option<Arc<Kept>>, runtime: Option<Handle>) -> Self {
        Self {
            client: Client::new(settings.url.clone(), settings.reach.clone()),
            question: Question::new(&settings),
            flights: Flights::default(),
            waiting: Semaphore::new(WAITING_MAX),
            kept: kept.unwrap_or_else(|| Arc::new(Kept::new(settings.cache))),
            runtime,
            began: Instant::now(),
            said: Default::default(),
            settings,
        }
    }

    /// What is known of this token without asking.
    #[must_use]
    pub fn recall(&self, token: &str, issuers: &Issuers, now: UnixTime) -> Recalled {
        self.kept.recall(token, issuers, now)
    }

    /// Asks about this token, sharing a question that nobody has put yet. Waits for `timeout` at
    /// most, whatever others wait for. Callable from any runtime.
    ///
    /// # Errors
    ///
    /// [`Unavailable`].
    pub async fn ask(self: &Arc<Self>, token: &str) -> Result<Answer, Unavailable> {
        let _place = self.waiting.try_acquire().map_err(|_| Unavailable::Busy)?;
        let (landing, pilot) = self.flights.board(token).ok_or(Unavailable::Busy)?;
        if let Some(pilot) = pilot {
            let flight = fly(self.clone(), token.into(), pilot);
            match &self.runtime {
                Some(runtime) => drop(runtime.spawn(flight)),
                None => drop(tokio::spawn(flight)),
            }
        }
        match tokio::time::timeout(self.settings.reach.timeout, landed(landing)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Unavailable::Late),
        }
    }

    /// The answer was good: keeps what it says for as long as it may be used again, and that the
    /// token is known for a while.
    pub fn keep(&self, token: &str, answer: &Answer, verified: &Arc<Verified>) {
        self.kept.insert(token, answer.asked, verified.clone());
    }

    /// The answer was a refusal: nothing is known of the token any more.
    pub fn forget(&self, token: &str) {
        self.kept.forget(token);
    }

    /// The answer made no sense. `what` is of our own words.
    pub fn nonsense(&self, what: &str) {
        self.say(Trouble::Answer, &what);
    }

    async fn exchange(&self, token: &str) -> Result<Answer, Unavailable> {
        let asked = Instant::now();
        let form = self.question.form(token);
        let authorization = self.question.authorization();
        match self.client.post_form(authorization, &form, ANSWER_BYTES_MAX).await {
            Ok(answer) if answer.status == StatusCode::OK => {
                Ok(Answer { body: answer.body.into(), asked })
            }
            Ok(answer) => {
                self.say(Trouble::Endpoint, &answer.status);
                Err(Unavailable::Failed)
            }
            Err(error) => {
                self.say(trouble(&error), &error);
                Err(Unavailable::Failed)
            }
        }
    }

    /// Once a minute at most, whatever strangers present.
    fn say(&self, trouble: Trouble, error: &dyn std::fmt::Display) {
        let [client, endpoint, answer] = &self.said;
        let said = match trouble {
            Trouble::Client => client,
            Trouble::Endpoint => endpoint,
            Trouble::Answer => answer,
        };
        let now = self.began.elapsed().as_secs() + 1;
        // Another thread may have come later and been faster: `at` may be after `now`.
        let again = SAID_AGAIN_AFTER.as_secs();
        let due = |at: u64| (at == 0 || now.saturating_sub(at) >= again).then_some(now);
        if said.fetch_update(Ordering::Relaxed, Ordering::Relaxed, due).is_err() {
            return;
        }
        let entry = &*self.settings.entry;
        match trouble {
            Trouble::Client => tracing::error!(
                entry,
                %error,
                "the introspection endpoint does not accept client_id and client_secret; tokens \
                 of this issuer get 503"
            ),
            Trouble::Endpoint => tracing::error!(
                entry,
                %error,
                "the introspection endpoint cannot be asked; tokens of this issuer get 503"
            ),
            Trouble::Answer => tracing::error!(
                entry,
                %error,
                "the introspection endpoint gives no answer that RFC 7662 knows; such tokens get \
                 503"
            ),
        }
    }
}

/// RFC 7662 §2.3, RFC 6749 §5.2: 401 is about who asks.
fn trouble(error: &ExchangeError) -> Trouble {
    match error.cause {
        Cause::Status(StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => Trouble::Client,
        _ => Trouble::Endpoint,
    }
}

/// Puts one question after the other about one token, as long as somebody waits.
async fn fly(introspector: Arc<Introspector>, token: Box<str>, pilot: Pilot) {
    let mut flight = introspector.flights.begin(token, pilot);
    while let Some(pilot) = flight.pilot() {
        if pilot.receiver_count() > 0 {
            let outcome = introspector.exchange(flight.token()).await;
            flight.land(outcome);
        }
        flight.turn_round();
    }
}

async fn landed(mut landing: Landing) -> Result<Answer, Unavailable> {
    // A flight that ended without landing has no answer.
    let outcome = landing.wait_for(Option::is_some).await.map_err(|_| Unavailable::Failed)?;
    outcome.clone().unwrap_or(Err(Unavailable::Failed))
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Answer").field("bytes", &self.body.len()).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Introspector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Introspector").field("entry", &self.settings.entry).finish_non_exhaustive()
    }
}
