//! What ends the streams of one worker.
//!
//! Two tasks, so that the regular second look, however long it takes, never holds up an
//! announcement: one asks about what was announced, the other looks at everything in turn.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use super::index::{Case, Key};
use super::{Index, Why};
use crate::blocklist::{Listener, News, Verdict, WorkerBlocklist};
use crate::policy::Snapshot;
use crate::time::UnixTime;

/// How often the clock is looked at: expiry, connections that do not end.
const TICK: Duration = Duration::from_secs(1);
/// How often every stream is asked about: how long a revocation that nobody announced may go
/// unnoticed.
const SECOND_LOOK: Duration = Duration::from_secs(2);
/// Tokens asked about at once.
const AT_ONCE: usize = 128;
/// Words taken in one go.
const WORDS: usize = 256;

/// What the blocklist says, or in a word why it says nothing.
type Answer = Result<Verdict, &'static str>;

/// What it takes to keep the streams of one worker.
pub struct Keeper {
    /// The streams.
    pub index: Arc<Index>,
    /// The worker's way to the blocklist.
    pub blocklist: Arc<WorkerBlocklist>,
    /// The configuration in force.
    pub policy: Arc<ArcSwap<Snapshot>>,
}

/// Keeps the streams for as long as the worker's runtime lives; to be called inside it, before
/// the first stream begins.
pub fn keep(keeper: Keeper) {
    let listener = keeper.index.announcer().subscribe();
    let (keeper, doubt) = (Arc::new(keeper), Arc::new(Notify::new()));
    drop(tokio::spawn(hear(Arc::clone(&keeper), listener, Arc::clone(&doubt))));
    drop(tokio::spawn(tick(Arc::clone(&keeper))));
    drop(tokio::spawn(look_again(keeper, doubt)));
}

/// Asks about what is announced, and about what may have missed an announcement.
async fn hear(keeper: Arc<Keeper>, mut listener: Listener, doubt: Arc<Notify>) {
    loop {
        let cases = tokio::select! {
            news = listener.next() => {
                let Some(news) = news else { return };
                let mut words = vec![news];
                while words.len() < WORDS && let Some(news) = listener.try_next() {
                    words.push(news);
                }
                if words.contains(&News::Doubt) {
                    doubt.notify_one();
                }
                keeper.index.named(words.iter().filter_map(News::suffix))
            }
            suspects = keeper.index.suspects() => suspects,
        };
        keeper.judge(cases).await;
    }
}

/// Looks at the clock.
async fn tick(keeper: Arc<Keeper>) {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if !keeper.index.is_empty() {
            keeper.look_at_the_clock(UnixTime::now(), Instant::now());
        }
    }
}

/// Asks about every stream, again and again.
async fn look_again(keeper: Arc<Keeper>, doubt: Arc<Notify>) {
    let mut looks = interval(SECOND_LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = looks.tick() => {}
            () = doubt.notified() => {}
        }
        if !keeper.index.is_empty() {
            keeper.end_untrusted();
            keeper.judge(keeper.index.all()).await;
        }
    }
}

impl Keeper {
    pub(super) fn look_at_the_clock(&self, now: UnixTime, instant: Instant) {
        self.index.settle(instant);
        let rules = self.policy.load().streams;
        let over = self.index.over(|kind, verified| {
            kind.ends_at_exp(&rules)
                && verified.token_expires_at().is_some_and(|exp| now >= exp.plus(rules.grace))
        });
        self.index.end(&over, Why::Expired, instant);
        self.index.insist(instant);
    }

    /// Ends what rests on an issuer or a key that is gone.
    pub(super) fn end_untrusted(&self) {
        let policy = self.policy.load();
        let gone = self.index.over(|_, verified| !policy.issuers.still_trust(verified));
        self.index.end(&gone, Why::Untrusted, Instant::now());
    }

    /// Asks about these streams, each token once, and ends those that are revoked.
    pub(super) async fn judge(&self, cases: Vec<Case>) {
        let policy = self.policy.load();
        let (grace, asks) = (policy.streams.grace, policy.check_blocklist);
        drop(policy);
        if cases.is_empty() || !asks {
            return;
        }
        let mut rest = self.tokens(cases).into_iter();
        let mut silence = None;
        let mut unanswered = Vec::new();
        loop {
            let round: Vec<Vec<Case>> = rest.by_ref().take(AT_ONCE).collect();
            if round.is_empty() {
                break;
            }
            let answers = self.ask(&round).await;
            let mut any = false;
            for (streams, answer) in round.iter().zip(answers) {
                let keys: Vec<Key> = streams.iter().map(|case| case.key).collect();
                match answer {
                    Ok(Verdict::Clear) => self.index.answered(keys.into_iter()),
                    Ok(Verdict::Revoked(cause)) => {
                        self.index.end(&keys, Why::Revoked(cause), Instant::now());
                    }
                    Err(reason) => {
                        silence = Some(reason);
                        unanswered.extend(keys);
                        continue;
                    }
                }
                any = true;
            }
            if !any {
                // Nobody answers: each further round would take as long and learn as little.
                unanswered.extend(rest.by_ref().flatten().map(|case| case.key));
            }
        }
        self.settle_unanswered(unanswered, silence, grace);
    }

    fn settle_unanswered(&self, keys: Vec<Key>, reason: Option<&'static str>, grace: Duration) {
        let tally = self.index.tally();
        let Some(reason) = reason else { return tally.note_answered() };
        tally.note_unanswered(keys.len(), reason);
        let now = Instant::now();
        let over = self.index.unanswered(keys.into_iter(), grace, now);
        self.index.end(&over, Why::Unanswered, now);
    }

    /// The streams of each token.
    fn tokens(&self, cases: Vec<Case>) -> Vec<Vec<Case>> {
        let hashed = cases.into_iter().map(|case| (self.index.hash(&case.verified.lookup), case));
        let mut hashed: Vec<(u64, Case)> = hashed.collect();
        hashed.sort_unstable_by_key(|(hash, _)| *hash);
        let mut tokens: Vec<Vec<Case>> = Vec::new();
        for (_, case) in hashed {
            match tokens.last_mut() {
                Some(same) if is_same_token(same, &case) => same.push(case),
                _ => tokens.push(vec![case]),
            }
        }
        tokens
    }

    /// What the blocklist says of each of these tokens.
    async fn ask(&self, tokens: &[Vec<Case>]) -> Vec<Answer> {
        let now = UnixTime::now();
        let mut asked = JoinSet::new();
        for (number, case) in tokens.iter().filter_map(|streams| streams.first()).enumerate() {
            let (blocklist, verified) = (self.blocklist.clone(), case.verified.clone());
            asked.spawn(async move { (number, blocklist.check(&verified.lookup, now).await) });
        }
        let mut answers: Vec<Answer> = tokens.iter().map(|_| Err("broken_off")).collect();
        while let Some(joined) = asked.join_next().await {
            if let Ok((number, answer)) = joined
                && let Some(place) = answers.get_mut(number)
            {
                *place = answer.map_err(|unavailable| unavailable.reason.reason());
            }
        }
        answers
    }
}

fn is_same_token(streams: &[Case], case: &Case) -> bool {
    streams.first().is_some_and(|first| first.verified.lookup == case.verified.lookup)
}
