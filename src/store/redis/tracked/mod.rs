//! The connection that keeps a local copy current: RESP3, `CLIENT TRACKING ON BCAST`, the reports
//! that Redis pushes, and the questions of the copy's keeper.
//!
//! A connection of its own, without a supervisor that would make it anew: a new connection tracks
//! nothing until it is told to, and what happened in between was not reported. So whoever keeps the
//! copy makes the connection, and knows when it ended. What a report means is not decided here.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use redis::aio::{AsyncPushSender, MultiplexedConnection};
use redis::{Cmd, Pipeline, PushInfo, PushKind, Value};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use self::prefixes::Prefixes;
use super::connect::{Connected, Connector, Driver};
use super::keys::Names as OwnNames;
use super::link::Arrivals;
use super::lookup::generation_text;
use super::{Redis, answer};
use crate::store::{Contents, Cursor, Error, Key, Names, Push, Reading, Readings};

mod prefixes;

/// Reports that may wait; with more, everything counts as changed.
const REPORTS: usize = 4096;
/// Keys that one page of names looks at.
const SCAN_COUNT: usize = 1000;
/// How long a canary stands if nobody writes the next.
const CANARY_LIVES_MS: u64 = 10_000;

/// Makes tracking connections.
pub struct Tracker {
    connector: Arc<Connector>,
    arrivals: Arc<Arrivals>,
    names: Arc<OwnNames>,
    prefixes: Arc<Prefixes>,
    timeout: Duration,
}

/// A connection on which changes are reported; ended when dropped.
pub struct Tracked {
    handle: MultiplexedConnection,
    driver: Driver,
    place: Option<crate::store::Host>,
    tracker: Arc<Tracker>,
}

/// What is asked on a [`Tracked`] connection; many may be asked at once, and the server answers in
/// their order.
#[derive(Clone)]
pub struct Questions {
    handle: MultiplexedConnection,
    tracker: Arc<Tracker>,
}

/// The reports of one connection, in the order in which the server sent them. A report that came
/// before an answer is in here before the answer is there.
pub struct Reports {
    queue: mpsc::Receiver<Push>,
    overflow: Arc<AtomicBool>,
}

impl Redis {
    /// For a copy of every entry and of the foreign keys that begin with one of `heads`, none of
    /// which may be empty. `id` is this process' own.
    pub(in crate::store) fn tracker(&self, heads: &[String], id: &str) -> Tracker {
        let canary = format!("{}{id}", self.names.canary);
        Tracker {
            connector: Arc::clone(&self.connector),
            arrivals: Arc::clone(&self.arrivals),
            names: Arc::clone(&self.names),
            prefixes: Arc::new(Prefixes::new(&self.names, canary, heads)),
            timeout: self.timeout,
        }
    }

    /// Writes the canary of process `id`.
    pub(in crate::store) async fn write_canary(&self, id: &str, value: u64) -> Result<(), Error> {
        let key = format!("{}{id}", self.names.canary);
        let mut pipeline = Pipeline::with_capacity(1);
        pipeline.cmd("SET").arg(key).arg(value).arg("PX").arg(CANARY_LIVES_MS);
        let mut answers = self.control.ask(&pipeline, Instant::now() + self.timeout).await?;
        answer::checked(answers.pop().unwrap_or_default()).map(drop)
    }
}

impl Tracker {
    /// Connects, and switches tracking on: whatever is changed from now on is reported.
    ///
    /// # Errors
    ///
    /// No connection within twice `[store] timeout`, or a server that does not track.
    pub async fn connect(self: &Arc<Self>) -> Result<(Tracked, Reports), Error> {
        let (sender, queue) = mpsc::channel(REPORTS);
        let overflow = Arc::new(AtomicBool::new(false));
        let teller = Teller {
            queue: sender,
            overflow: Arc::clone(&overflow),
            names: Arc::clone(&self.names),
            prefixes: Arc::clone(&self.prefixes),
        };
        let reports = Reports { queue, overflow };
        let attempt = timeout(self.timeout * 2, self.open(Arc::new(teller)));
        Ok((attempt.await.unwrap_or(Err(Error::Timeout))?, reports))
    }

    async fn open(self: &Arc<Self>, pushes: Arc<dyn AsyncPushSender>) -> Result<Tracked, Error> {
        let Connected { mut handle, driver, named } =
            self.connector.connect_hearing(pushes).await?;
        let mut tracking = redis::cmd("CLIENT");
        tracking.arg("TRACKING").arg("ON").arg("BCAST");
        for prefix in self.prefixes.tracked() {
            tracking.arg("PREFIX").arg(prefix);
        }
        let on = handle.send_packed_command(&tracking).await.map_err(|e| answer::error(&e))?;
        if answer::checked(on)? != Value::Okay {
            return Err(Error::Shape("CLIENT TRACKING answered something else"));
        }
        // Its server may be one that has forgotten something.
        self.arrivals.announce();
        Ok(Tracked { handle, driver, place: named, tracker: Arc::clone(self) })
    }
}

impl Tracked {
    /// A way to ask.
    #[must_use]
    pub fn questions(&self) -> Questions {
        Questions { handle: self.handle.clone(), tracker: Arc::clone(&self.tracker) }
    }

    /// Completes when the connection has ended, or when the server is said to be elsewhere.
    pub async fn ended(&mut self) {
        tokio::select! {
            _ = &mut self.driver.0 => {}
            () = self.tracker.connector.named_elsewhere(self.place.as_ref()) => {}
        }
    }
}

impl Questions {
    /// Whether the server answers.
    ///
    /// # Errors
    ///
    /// It does not.
    pub async fn ping(mut self) -> Result<(), Error> {
        self.one(&redis::cmd("PING")).await.map(drop)
    }

    /// Whose contents the server holds, and that it is a master.
    ///
    /// # Errors
    ///
    /// No certain answer, or the wrong role.
    pub async fn contents(mut self) -> Result<Contents, Error> {
        let names = Arc::clone(&self.tracker.names);
        let mut pipeline = Pipeline::with_capacity(2);
        pipeline.cmd("ZCARD").arg(&names.index);
        // Last, so that nothing is older than it.
        pipeline.cmd("GET").arg(&names.generation);
        let mut role = self.handle.clone();
        self.tracker.connector.check_role(&mut role).await?;
        let mut answers = self.many(&pipeline).await?.into_iter();
        // An index of another type is put right by the next entry.
        let listed = answers.next().and_then(|n| answer::count(n).ok()).unwrap_or_default();
        let generation = answer::string(answers.next().unwrap_or_default()).unwrap_or_default();
        Ok(Contents { generation: generation.as_deref().map(generation_text), listed })
    }

    /// A page of names.
    ///
    /// # Errors
    ///
    /// No certain answer.
    pub async fn names(mut self, cursor: Cursor) -> Result<Names, Error> {
        let prefixes = Arc::clone(&self.tracker.prefixes);
        let Some(pattern) = prefixes.pattern(cursor.pattern) else {
            return Ok(Names { keys: Vec::new(), next: None });
        };
        let mut scan = redis::cmd("SCAN");
        scan.arg(cursor.position).arg("MATCH").arg(pattern).arg("COUNT").arg(SCAN_COUNT);
        let (position, found) = page(self.one(&scan).await?)?;
        let mut keys = Vec::with_capacity(found.len());
        for key in &found {
            prefixes.sort(&self.tracker.names, key, &mut keys);
        }
        let next = if position != 0 {
            Some(Cursor { position, ..cursor })
        } else {
            let pattern = cursor.pattern + 1;
            prefixes.pattern(pattern).map(|_| Cursor { pattern, position: 0 })
        };
        Ok(Names { keys, next })
    }

    /// What stands under `keys`.
    ///
    /// # Errors
    ///
    /// No certain answer.
    pub async fn read(mut self, keys: &[Key]) -> Result<Readings, Error> {
        let names = Arc::clone(&self.tracker.names);
        let prefixes = Arc::clone(&self.tracker.prefixes);
        let mut pipeline = Pipeline::with_capacity(keys.len() + 1);
        let mut values = redis::cmd("MGET");
        for key in keys {
            let full = prefixes.full(&names, key);
            pipeline.cmd("PTTL").arg(&*full);
            if has_value(key) {
                values.arg(&*full);
            }
        }
        // The generation is read after everything else.
        values.arg(&names.generation);
        pipeline.add_command(values);
        let mut answers = self.many(&pipeline).await?;
        let count = keys.iter().filter(|key| has_value(key)).count();
        let mut values = answer::strings(answers.pop().unwrap_or_default(), count + 1)?;
        let generation = values.pop().flatten();
        let mut values = values.into_iter();
        let of = keys.iter().zip(answers).map(|(key, life)| {
            let value = if has_value(key) { values.next().flatten() } else { None };
            reading(value, life)
        });
        let of = of.collect::<Result<_, _>>()?;
        Ok(Readings { of, generation: generation.as_deref().map(generation_text) })
    }

    async fn one(&mut self, command: &Cmd) -> Result<Value, Error> {
        let value = self.handle.send_packed_command(command).await;
        answer::checked(value.map_err(|error| answer::error(&error))?)
    }

    async fn many(&mut self, pipeline: &Pipeline) -> Result<Vec<Value>, Error> {
        let values = self.handle.send_packed_commands(pipeline, 0, pipeline.len()).await;
        let values = values.map_err(|error| answer::error(&error))?;
        let is_whole = values.len() == pipeline.len();
        if is_whole { Ok(values) } else { Err(Error::Shape("another number of answers")) }
    }
}

impl Reports {
    /// The next report, once there is one. May be dropped while it waits.
    pub async fn next(&mut self) -> Push {
        match self.queue.recv().await {
            Some(push) => push,
            None => Push::Lost,
        }
    }

    /// The next report that is there already.
    pub fn take(&mut self) -> Option<Push> {
        if let Ok(push) = self.queue.try_recv() {
            return Some(push);
        }
        self.overflow.swap(false, Ordering::AcqRel).then_some(Push::Everything)
    }
}

/// Takes in what the server says unasked, on the task that reads the socket.
struct Teller {
    queue: mpsc::Sender<Push>,
    overflow: Arc<AtomicBool>,
    names: Arc<OwnNames>,
    prefixes: Arc<Prefixes>,
}

impl AsyncPushSender for Teller {
    fn send(&self, info: PushInfo) -> Result<(), redis::aio::SendError> {
        let push = match info.kind {
            PushKind::Disconnection => Push::Lost,
            PushKind::Invalidate => self.changed(info.data),
            _ => return Ok(()),
        };
        if self.queue.try_send(push).is_err() {
            self.overflow.store(true, Ordering::Release);
        }
        Ok(())
    }
}

impl Teller {
    fn changed(&self, data: Vec<Value>) -> Push {
        let Some(Value::Array(names)) = data.into_iter().next() else { return Push::Everything };
        let mut keys = Vec::with_capacity(names.len());
        for name in names {
            // What is no name may be any.
            let Some(name) = answer::text(name) else { return Push::Everything };
            self.prefixes.sort(&self.names, &name, &mut keys);
        }
        Push::Changed(keys)
    }
}

/// Whether more than its existence counts.
fn has_value(key: &Key) -> bool {
    match key {
        Key::Canary => true,
        Key::Entry(suffix) => suffix.starts_with("sub:") || suffix.starts_with("client:"),
        Key::Extra(_) | Key::Generation => false,
    }
}

/// A value and the answer to `PTTL`, which tells of existence whatever the type.
fn reading(value: Option<Vec<u8>>, life: Value) -> Result<Reading, Error> {
    match answer::checked(life)? {
        // Written between the two answers.
        Value::Int(-2) if value.is_some() => Ok(Reading::Present { value, lives: None }),
        Value::Int(-2) => Ok(Reading::Absent),
        Value::Int(life) => {
            let lives = u64::try_from(life).ok().map(Duration::from_millis);
            Ok(Reading::Present { value, lives })
        }
        _ => Err(Error::Shape("no number where one belongs")),
    }
}

/// The answer to `SCAN`.
fn page(answer: Value) -> Result<(u64, Vec<Vec<u8>>), Error> {
    let wrong = || Error::Shape("no page of names");
    let Value::Array(parts) = answer else { return Err(wrong()) };
    let mut parts = parts.into_iter();
    let position = parts.next().and_then(answer::text).and_then(|p| String::from_utf8(p).ok());
    let position = position.and_then(|position| position.parse().ok()).ok_or_else(wrong)?;
    let Some(Value::Array(names)) = parts.next() else { return Err(wrong()) };
    let names: Option<Vec<_>> = names.into_iter().map(answer::text).collect();
    Ok((position, names.ok_or_else(wrong)?))
}
