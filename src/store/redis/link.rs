//! One connection that is kept: a supervisor makes it, watches it and makes it again.
//!
//! At most one attempt is under way per link, whoever asks. The first attempt after a loss is
//! waited for (up to the caller's deadline: a server that restarts costs no refusal); once it has
//! failed, callers are told at once until the link is up again (R43). A command that runs out of
//! time makes the connection suspect: it is dropped, because a silently dead one never recovers
//! by itself (R44). Never here: what a command means.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{Pipeline, Value};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::answer;
use super::connect::{Connected, Connector};
use crate::store::{Backoff, Error, Host};

/// The longest pause between two attempts: recovery takes at most this, an attempt and a moment.
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// The first pause.
const PAUSE_MIN: Duration = Duration::from_millis(50);
/// How often an established connection is asked for its role; this also finds a silently dead
/// one before a request does.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);

/// What a probe may take beyond the time of two commands: it may stand behind a `WAIT`.
const PROBE_ALLOWANCE: Duration = Duration::from_millis(200);

/// Counts connections made, over all links of a store. A new connection may lead to a server that
/// has forgotten something, so whoever remembers better watches this, writes it back and says so.
#[derive(Debug)]
pub(in crate::store) struct Arrivals {
    count: AtomicU64,
    changed: Notify,
    /// Up to which arrival that was done; `None` as long as nobody remembers anything.
    asserted: watch::Sender<Option<u64>>,
}

impl Default for Arrivals {
    fn default() -> Self {
        let asserted = watch::Sender::new(None);
        Self { count: AtomicU64::new(0), changed: Notify::new(), asserted }
    }
}

impl Arrivals {
    /// Connections made so far.
    pub(in crate::store) fn count(&self) -> u64 {
        self.count.load(Ordering::Acquire)
    }

    /// Completes when a connection was made, or an earlier one was not yet waited for.
    pub(in crate::store) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// What is remembered was written back on connections made after `arrivals` of them.
    pub(in crate::store) fn assert(&self, arrivals: u64) {
        self.asserted.send_replace(Some(arrivals));
    }

    /// Waits until what is remembered was written back since the last connection was made; how many
    /// there were.
    ///
    /// # Errors
    ///
    /// It was not by `deadline`.
    pub(super) async fn asserted(&self, deadline: Instant) -> Result<u64, Error> {
        let is_asserted =
            |asserted: &Option<u64>| asserted.is_none_or(|up_to| up_to == self.count());
        let mut asserted = self.asserted.subscribe();
        let waited = timeout_at(deadline, asserted.wait_for(is_asserted)).await;
        let up_to = waited.ok().and_then(|word| word.ok().map(|up_to| *up_to));
        match up_to {
            Some(up_to) => Ok(up_to.unwrap_or_else(|| self.count())),
            None => Err(Error::Down("what is remembered is not written back yet".into())),
        }
    }

    pub(super) fn announce(&self) {
        self.count.fetch_add(1, Ordering::AcqRel);
        self.changed.notify_one();
    }
}

/// A kept connection; the supervisor ends with it.
pub(super) struct Link {
    shared: Arc<Shared>,
    supervisor: JoinHandle<()>,
}

struct Shared {
    connector: Arc<Connector>,
    arrivals: Arc<Arrivals>,
    timeout: Duration,
    /// Whether this link speaks for the store in the log (one per process does).
    spokesman: bool,
    state: Mutex<State>,
    changed: Notify,
    suspect: Notify,
}

enum State {
    /// The first attempt since start or loss is under way.
    Connecting,
    /// The last attempt failed.
    Down(Error),
    Up(Current),
}

/// The connection that is in use.
#[derive(Clone)]
struct Current {
    handle: MultiplexedConnection,
    number: u64,
    /// Where it leads, when others decide that.
    named: Option<Arc<Host>>,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.supervisor.abort();
    }
}

impl Link {
    /// Starts the supervisor on the current runtime.
    pub(super) fn start(
        connector: Arc<Connector>,
        arrivals: Arc<Arrivals>,
        timeout: Duration,
        spokesman: bool,
    ) -> Self {
        let shared = Arc::new(Shared {
            connector,
            arrivals,
            timeout,
            spokesman,
            state: Mutex::new(State::Connecting),
            changed: Notify::new(),
            suspect: Notify::new(),
        });
        let supervisor = tokio::spawn(supervise(Arc::clone(&shared)));
        Self { shared, supervisor }
    }

    /// Why there is no connection; `None` when there is one or the first attempt is under way.
    pub(super) fn trouble(&self) -> Option<Error> {
        match &*self.shared.state() {
            State::Down(error) => Some(error.clone()),
            State::Connecting | State::Up(_) => None,
        }
    }

    /// Whether the server can be asked for tokens.
    ///
    /// # Errors
    ///
    /// A failover has just been, and what it lost may not be written back yet.
    pub(super) fn settled(&self) -> Result<(), Error> {
        if self.shared.connector.is_settled() {
            return Ok(());
        }
        Err(Error::Down("another master was named a moment ago".into()))
    }

    /// Sends all commands in one go and returns all answers, errors of the server among them.
    ///
    /// # Errors
    ///
    /// No connection, a connection that ended, or no answer by `deadline`.
    pub(super) async fn ask(
        &self,
        commands: &Pipeline,
        deadline: Instant,
    ) -> Result<Vec<Value>, Error> {
        self.ask_placed(commands, deadline).await.map(|(values, _)| values)
    }

    /// The same, and which server answered, when others decide on that.
    ///
    /// # Errors
    ///
    /// As [`Link::ask`].
    pub(super) async fn ask_placed(
        &self,
        commands: &Pipeline,
        deadline: Instant,
    ) -> Result<(Vec<Value>, Option<Arc<Host>>), Error> {
        let Current { mut handle, number, named } = self.connection(deadline).await?;
        let answers = handle.send_packed_commands(commands, 0, commands.len());
        match timeout_at(deadline, answers).await {
            Ok(Ok(values)) if values.len() == commands.len() => Ok((values, named)),
            Ok(Ok(_)) => {
                self.shared.distrust(number);
                Err(Error::Shape("another number of answers"))
            }
            Ok(Err(error)) => {
                // With pipelines, errors of the server are values: this is the connection's.
                self.shared.distrust(number);
                Err(answer::error(&error))
            }
            Err(_) => {
                self.shared.distrust(number);
                Err(Error::Timeout)
            }
        }
    }

    async fn connection(&self, deadline: Instant) -> Result<Current, Error> {
        loop {
            let changed = self.shared.changed.notified();
            match &*self.shared.state() {
                State::Up(current) if self.shared.connector.is_confirmed() => {
                    return Ok(current.clone());
                }
                State::Up(_) => {
                    let why = "no sentinel has confirmed the master for a second";
                    return Err(Error::Down(why.into()));
                }
                State::Down(error) => return Err(error.clone()),
                State::Connecting => {}
            }
            timeout_at(deadline, changed).await.map_err(|_| Error::Timeout)?;
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, state: State) {
        *self.state() = state;
        self.changed.notify_waiters();
    }

    /// Drops connection `number`, if it is still the current one.
    fn distrust(&self, number: u64) {
        {
            let mut state = self.state();
            match &*state {
                State::Up(current) if current.number == number => {}
                _ => return,
            }
            *state = State::Connecting;
        }
        self.suspect.notify_one();
    }
}

/// Makes connections for as long as the link lives.
async fn supervise(shared: Arc<Shared>) {
    let mut backoff = Backoff::new(PAUSE_MIN, PAUSE_MAX);
    let mut number = 0;
    let mut last: Option<Error> = None;
    loop {
        let named = shared.connector.named();
        let attempt = timeout(shared.timeout, shared.connector.connect()).await;
        match attempt.unwrap_or(Err(Error::Timeout)) {
            Ok(connected) => {
                number += 1;
                backoff.reset();
                last = None;
                let why = keep(&shared, connected, number).await;
                shared.set(State::Connecting);
                report(&shared, "connection to the store lost", &why);
            }
            Err(error) => {
                if last.as_ref() != Some(&error) {
                    report(&shared, "cannot connect to the store", &error);
                    last = Some(error.clone());
                }
                let error = match error {
                    Error::Down(_) => error,
                    error => Error::Down(error.to_string().into()),
                };
                shared.set(State::Down(error));
                tokio::select! {
                    () = sleep(backoff.pause()) => {}
                    // A failover is over: the new master is not waited for.
                    () = shared.connector.named_elsewhere(named.as_ref()) => backoff.reset(),
                }
            }
        }
    }
}

/// Announces a connection and watches it to its end; says why it ended.
async fn keep(shared: &Shared, connected: Connected, number: u64) -> Error {
    let Connected { mut handle, mut driver, named } = connected;
    // Announced before anyone can use it: see `Arrivals`.
    shared.arrivals.announce();
    let current = named.clone().map(Arc::new);
    shared.set(State::Up(Current { handle: handle.clone(), number, named: current }));
    if shared.spokesman {
        match &named {
            Some(master) => tracing::info!(%master, "connected to the store"),
            None => tracing::info!("connected to the store"),
        }
    }
    loop {
        tokio::select! {
            _ = &mut driver.0 => return Error::Lost,
            () = shared.connector.named_elsewhere(named.as_ref()) => {
                return Error::Down("the sentinels name another master".into());
            }
            () = shared.suspect.notified() => {
                // A late word about an earlier connection is no word about this one.
                if !matches!(&*shared.state(), State::Up(current) if current.number == number) {
                    return Error::Timeout;
                }
            }
            () = sleep(PROBE_INTERVAL) => {
                let patience = shared.timeout * 2 + PROBE_ALLOWANCE;
                let probe = timeout(patience, shared.connector.check_role(&mut handle));
                match probe.await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => return error,
                    Err(_) => return Error::Timeout,
                }
            }
        }
    }
}

fn report(shared: &Shared, what: &'static str, why: &Error) {
    let address = &shared.connector;
    if shared.spokesman {
        tracing::warn!(%address, reason = why.reason(), detail = %why, "{what}");
    } else {
        tracing::debug!(%address, reason = why.reason(), detail = %why, "{what}");
    }
}
