//! Keeps the copy current: makes the connection, carries questions and answers between it and
//! [`Core`], and tells what comes of it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::core::{Answer, Command, Core};
use super::{Limits, Noticed, Tracked, Why};
use crate::blocklist::Shared;
use crate::store::{Backoff, Error, Key, Push, Questions, Reports, Tracker};
use crate::time::Moment;

/// The first pause between two connections.
const PAUSE_MIN: Duration = Duration::from_millis(50);
/// The longest.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// Between two answers while the snapshot is read.
const BREATH: Duration = Duration::from_millis(1);

/// What a follower is made of.
pub(in crate::blocklist) struct Follower {
    shared: Arc<Shared>,
    core: Core,
    nudges: mpsc::Receiver<Box<str>>,
    /// The canary under way, and when it was written.
    canary: Option<(u64, Instant)>,
    /// Whether it was said that the copy is used, and that there are too many entries.
    is_used: bool,
    is_full: bool,
    /// Whether the copy was used on this connection.
    was_used: bool,
    last_error: Option<Error>,
}

/// What one task brings back.
enum Outcome {
    Answer(Result<Answer, Error>),
    CanaryWritten,
}

impl Follower {
    pub(in crate::blocklist) fn new(shared: Arc<Shared>, limits: Limits) -> Self {
        let tracked = &shared.tracked;
        let core = Core::new(limits, Arc::clone(&tracked.copy), fastrand::u64(..));
        let nudges = tracked.nudged();
        Self {
            shared,
            core,
            nudges,
            canary: None,
            is_used: false,
            is_full: false,
            was_used: false,
            last_error: None,
        }
    }

    /// Runs until it is aborted.
    pub(in crate::blocklist) async fn run(mut self, tracker: Tracker) {
        let tracker = Arc::new(tracker);
        let mut backoff = Backoff::new(PAUSE_MIN, PAUSE_MAX);
        loop {
            match tracker.connect().await {
                Ok((mut connection, reports)) => {
                    self.was_used = false;
                    self.last_error = None;
                    self.core.connected(Moment::now());
                    let questions = connection.questions();
                    tokio::select! {
                        () = self.keep(questions, reports) => {}
                        () = connection.ended() => {}
                    }
                    self.core.disconnected();
                    if self.was_used {
                        backoff.reset();
                    }
                }
                Err(error) => self.say_no_connection(error),
            }
            self.tell();
            sleep(backoff.pause()).await;
        }
    }

    /// Keeps one connection until it must be dropped.
    async fn keep(&mut self, questions: Questions, mut reports: Reports) {
        let mut tasks = JoinSet::new();
        loop {
            let now = Moment::now();
            self.look_at_contents();
            self.core.passed(now);
            while let Some(command) = self.core.next(now) {
                match command {
                    Command::Again => tokio::task::yield_now().await,
                    Command::Disconnect(why) => {
                        self.say(Err(why));
                        return;
                    }
                    command => self.start(command, &questions, &mut tasks),
                }
            }
            self.tell();
            let rest = self.core.wake_at().since(Moment::now()) + Duration::from_millis(1);
            tokio::select! {
                push = reports.next() => self.take_in(push, &mut reports),
                Some(outcome) = tasks.join_next() => {
                    if !self.finish(outcome, &mut reports) {
                        return;
                    }
                    if self.core.is_reading_snapshot() {
                        // Requests come first: the snapshot takes no more than every other moment.
                        sleep(BREATH).await;
                    }
                }
                Some(suffix) = self.nudges.recv() => self.nudged(suffix),
                _ = timeout(rest, std::future::pending::<()>()) => {}
            }
        }
    }

    fn nudged(&mut self, suffix: Box<str>) {
        self.core.pushed(Push::Changed(vec![Key::Entry(suffix)]), Moment::now());
    }

    fn take_in(&mut self, push: Push, reports: &mut Reports) {
        let now = Moment::now();
        let mut next = Some(push);
        while let Some(push) = next {
            self.core.pushed(push, now);
            next = reports.take();
        }
    }

    fn start(&mut self, command: Command, questions: &Questions, tasks: &mut JoinSet<Outcome>) {
        let questions = questions.clone();
        match command {
            Command::Ping => {
                let pong = async { questions.ping().await.map(|()| Answer::Ponged) };
                drop(tasks.spawn(async { Outcome::Answer(pong.await) }));
            }
            Command::Confirm => {
                let contents = async {
                    let contents = questions.contents().await?;
                    let (generation, listed) = (contents.generation, contents.listed);
                    Ok(Answer::Confirmed { generation, listed })
                };
                drop(tasks.spawn(async { Outcome::Answer(contents.await) }));
            }
            Command::Scan(cursor) => {
                let page = async move {
                    let page = questions.names(cursor).await?;
                    Ok(Answer::Scanned { keys: page.keys, next: page.next })
                };
                drop(tasks.spawn(async { Outcome::Answer(page.await) }));
            }
            Command::Read(keys) => {
                let readings = async move { questions.read(&keys).await.map(Answer::Read) };
                drop(tasks.spawn(async { Outcome::Answer(readings.await) }));
            }
            Command::Canary(value) => {
                // One that is written again has been on its way since the first time.
                if self.canary.is_none_or(|(under_way, _)| under_way != value) {
                    self.canary = Some((value, Instant::now()));
                }
                let shared = Arc::clone(&self.shared);
                drop(tasks.spawn(async move {
                    let written = shared.store.write_canary(&shared.tracked.id, value).await;
                    if let Err(error) = written {
                        tracing::debug!(detail = %error, "the canary was not written");
                    }
                    Outcome::CanaryWritten
                }));
            }
            Command::Again | Command::Disconnect(_) => {}
        }
    }

    /// Takes in what a task brings; whether the connection is still good.
    fn finish(
        &mut self,
        outcome: Result<Outcome, tokio::task::JoinError>,
        reports: &mut Reports,
    ) -> bool {
        match outcome {
            Ok(Outcome::Answer(Ok(answer))) => {
                // First what this process changed: an answer may have been read before that.
                while let Ok(suffix) = self.nudges.try_recv() {
                    self.nudged(suffix);
                }
                self.core.answered(answer, || reports.take(), Moment::now());
                true
            }
            Ok(Outcome::CanaryWritten) => {
                self.core.canary_written();
                true
            }
            Ok(Outcome::Answer(Err(error))) => {
                tracing::debug!(detail = %error, "the tracking connection is of no use");
                false
            }
            Err(_) => false,
        }
    }

    /// Takes over whose contents count, and sees to it that it is found out.
    fn look_at_contents(&mut self) {
        // The era first: a change in between makes the copy useless rather than wrong.
        let era = self.shared.era.load(Ordering::Acquire);
        let known = self.shared.known.load();
        self.core.know(known.as_ref().map(|known| known.as_str()), era);
        drop(known);
        if self.core.is_strange() {
            self.shared.surprise.notify_one();
        }
    }

    /// Passes on what was found, and says whether the copy is used.
    fn tell(&mut self) {
        for noticed in self.core.take_noticed() {
            match noticed {
                Noticed::Entry(suffix) => self.shared.announcer.announce(&suffix),
                Noticed::Canary(value) => {
                    if let Some((_, began)) = self.canary.take_if(|(v, _)| *v == value) {
                        self.shared.tracked.propagation.observe(began.elapsed());
                    }
                }
            }
        }
        let now = Moment::now();
        let state = self.core.why_not(now).map_or(Ok(()), Err);
        self.was_used |= state.is_ok();
        self.shared.tracked.stand(state.err(), self.core.vouched_from());
        self.say(state);
    }

    /// Says once when the copy begins to be used and when it ceases to be.
    fn say(&mut self, state: Result<(), Why>) {
        let is_full = state == Err(Why::TooManyEntries);
        match state {
            Ok(()) if !self.is_used => {
                let entries = self.shared.tracked.copy.len();
                tracing::info!(entries, "the local copy of the blocklist is used");
            }
            Err(why) if self.is_used || (is_full && !self.is_full) => tracing::warn!(
                reason = why.reason(),
                "the local copy of the blocklist is not used; the store is asked per request"
            ),
            Ok(()) | Err(_) => {}
        }
        self.is_used = state.is_ok();
        self.is_full = is_full || (self.is_full && !self.is_used);
    }

    /// Says once why there is no connection.
    fn say_no_connection(&mut self, error: Error) {
        if self.last_error.as_ref() != Some(&error) {
            tracing::warn!(
                reason = error.reason(),
                detail = %error,
                "the local copy of the blocklist cannot be kept current"
            );
        }
        self.last_error = Some(error);
    }
}

impl Tracked {
    /// What this process itself has changed comes here, until the next follower.
    fn nudged(&self) -> mpsc::Receiver<Box<str>> {
        let (sender, receiver) = mpsc::channel(NUDGES);
        self.nudges.store(Some(Arc::new(sender)));
        receiver
    }
}

/// Changes of our own that may wait to be read.
const NUDGES: usize = 1024;
