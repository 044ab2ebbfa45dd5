//! Accounts that are gone from the users file, or disabled: their sessions end, and their access
//! tokens are refused (ASVS 5.0 7.4.2), as with `postern revoke --sub`.
//!
//! What cannot be done just then, since the store or the audit log does not answer, is tried again
//! until it is done; an account that has come back meanwhile was gone all the same. It must never
//! hold up a request or a reload, nor end a session that began after the account's entry.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;

use crate::blocklist::{Revocation, RevokeError};
use crate::issuer::account::{Ended, EndedWhy};
use crate::observe::audit::{Event, Kind, Outcome};
use crate::policy::Issuing;
use crate::policy::revocation::{self, Asked};
use crate::proxy::Gateway;
use crate::time::UnixTime;
use crate::token::Selector;

/// Who revokes.
const ACTOR: &str = "users-file";

/// Before the second attempt; twice as long before each further one.
const PAUSE: Duration = Duration::from_millis(250);
/// Not longer than this: a store that is back is to be used soon.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// Where accounts that have ended are handed in.
#[derive(Clone)]
pub(super) struct Endings {
    sender: mpsc::UnboundedSender<Ended>,
    /// Handed in and not done.
    left: Arc<AtomicUsize>,
}

/// What is still to be done about one `sub`.
struct Task {
    why: EndedWhy,
    /// How far its lines in the audit log are.
    told: Told,
    /// The entry, once it is there: then its sessions are left.
    entry: Option<(Selector, Option<UnixTime>)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Told {
    Nothing,
    /// That it is about to be done.
    Asked,
    /// That it could not be done so far.
    Failed,
}

/// Why nothing came of an attempt.
enum Failure {
    /// It never will.
    Final(String),
    /// It may later.
    Unavailable(String),
}

impl Endings {
    /// Begins to work them off on the current (main) runtime.
    pub(super) fn begin(gateway: Arc<Gateway>) -> Self {
        let (sender, inbox) = mpsc::unbounded_channel();
        let left = Arc::new(AtomicUsize::new(0));
        drop(tokio::spawn(work_off(gateway, inbox, left.clone())));
        Self { sender, left }
    }

    /// The sessions of these accounts are to end. Does not wait for it.
    pub(super) fn hand_in(&self, accounts: Vec<Ended>) {
        for ended in accounts {
            self.left.fetch_add(1, Ordering::AcqRel);
            drop(self.sender.send(ended));
        }
    }

    /// Says at the end of the process what nobody will do any more.
    pub(super) fn warn_of_the_rest(&self) {
        let left = self.left.load(Ordering::Acquire);
        if left > 0 {
            tracing::error!(
                left,
                "sessions of accounts that are gone or disabled were not ended: the store or the \
                 audit log did not answer; `postern revoke --sub` ends them"
            );
        }
    }
}

async fn work_off(
    gateway: Arc<Gateway>,
    mut inbox: mpsc::UnboundedReceiver<Ended>,
    left: Arc<AtomicUsize>,
) {
    let mut tasks: BTreeMap<String, Task> = BTreeMap::new();
    let mut pause = PAUSE;
    loop {
        if tasks.is_empty() {
            let Some(ended) = inbox.recv().await else { return };
            add(&mut tasks, ended, &left);
        }
        while let Ok(ended) = inbox.try_recv() {
            add(&mut tasks, ended, &left);
        }
        let Some(mut first) = tasks.first_entry() else { continue };
        let subject = first.key().clone();
        match first.get_mut().attempt(&gateway, &subject).await {
            Err(Failure::Unavailable(error)) => {
                if pause == PAUSE {
                    let waiting = tasks.len();
                    tracing::warn!(
                        waiting,
                        error,
                        "the sessions of accounts that are gone or disabled could not be ended; \
                         it is tried again until they are"
                    );
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(PAUSE_MAX);
                continue;
            }
            Err(Failure::Final(error)) => {
                tracing::error!(subject, error, "the sessions of an account cannot be ended");
            }
            Ok(()) => pause = PAUSE,
        }
        first.remove();
        left.fetch_sub(1, Ordering::AcqRel);
        // Thousands of them must not keep signals and probes waiting.
        tokio::task::yield_now().await;
    }
}

/// One that waits already has ended a second time: the entry must be of the later one.
fn add(tasks: &mut BTreeMap<String, Task>, ended: Ended, left: &AtomicUsize) {
    let Ended { subject, why } = ended;
    let told = tasks.get(&subject).map_or(Told::Nothing, |task| task.told);
    if tasks.insert(subject, Task { why, told, entry: None }).is_some() {
        left.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Task {
    /// Goes on where the last attempt came to.
    async fn attempt(&mut self, gateway: &Gateway, subject: &str) -> Result<(), Failure> {
        let policy = gateway.policy.load_full();
        let Some(issuing) = policy.issuing.as_deref() else {
            return Err(Failure::Final("there is no [issuing] any more".to_owned()));
        };
        let now = UnixTime::now();
        if self.entry.is_none() {
            let asked = self.asked(subject, issuing);
            let wanted = revocation::of(&asked, ACTOR, &policy.issuers, now);
            let wanted = wanted.map_err(|error| Failure::Final(error.to_string()))?;
            let issued_before = self.revoke(gateway, &wanted, now).await?;
            self.entry = Some((wanted.selector, issued_before));
        }
        let families = gateway.authorization_server.families(issuing);
        let (Some(families), Some((selector, issued_before))) = (families, &self.entry) else {
            return Ok(());
        };
        let ended = families.end_revoked(selector, *issued_before, now).await;
        let ended = ended.map_err(|error| Failure::Unavailable(error.to_string()))?;
        let why = self.why.as_str();
        tracing::info!(subject, why, ended, "an account has ended, and its sessions with it");
        Ok(())
    }

    fn asked(&self, subject: &str, issuing: &Issuing) -> Asked {
        Asked {
            sub: Some(subject.to_owned()),
            of_issuer: Some(issuing.issuer.clone()),
            reason: self.why.as_str().to_owned(),
            ..Asked::default()
        }
    }

    /// Puts the entry on the blocklist, which tells streams of it; what was issued up to when it
    /// is about.
    async fn revoke(
        &mut self,
        gateway: &Gateway,
        wanted: &Revocation,
        now: UnixTime,
    ) -> Result<Option<UnixTime>, Failure> {
        let Selector { kind, issuer, value } = &wanted.selector;
        let event = Event::new(Kind::Revocation, Outcome::Asked).actor(ACTOR).issuer(issuer);
        let event = event.selector(kind.as_str(), value, Some(&wanted.selector.id()));
        let event = event.reason(&wanted.reason);
        let audit = &gateway.audit;
        if self.told == Told::Nothing {
            let written = audit.record(event.clone()).await;
            written.map_err(|unwritten| Failure::Unavailable(unwritten.to_string()))?;
            self.told = Told::Asked;
        }
        let revoked = gateway.blocklist.revoke(wanted, now).await;
        let error = match revoked {
            Ok(item) => {
                item.log(None, None);
                let done = event.ended(Outcome::Done).detail("expires", item.expires);
                if let Err(error) = audit.record(done).await {
                    tracing::error!(%error, "the end of an account's sessions was not written");
                }
                return Ok(item.issued_before.map(UnixTime));
            }
            Err(error) => error,
        };
        // One line for however many attempts fail.
        if self.told == Told::Asked {
            let failed = event.ended(Outcome::Failed).detail("error", error.to_string());
            audit.note(failed).await;
            self.told = Told::Failed;
        }
        Err(match error {
            RevokeError::Store(error) => Failure::Unavailable(error.to_string()),
            RevokeError::AlreadyOver | RevokeError::Invalid(_) => Failure::Final(error.to_string()),
        })
    }
}
