//! Which server is the master, by the word of its sentinels.
//!
//! All sentinels are asked side by side, four times a second and before every connection; the
//! word with the highest configuration epoch counts, because that is how sentinels themselves
//! settle who leads. A sentinel that is down, slow or knows nothing is skipped; when none answers,
//! nobody is named. As soon as another master is named, every connection to the old one is
//! dropped, and so is every answer that was under way on it: an old master that was cut off or
//! frozen still takes itself for one. Never here: whether what is named is a master; that is asked
//! of itself.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use redis::{Pipeline, Value};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::answer;
use super::connect::Connector;
use super::link::{Arrivals, Link};
use crate::store::{Error, Host, Settings};

/// How often the sentinels are asked when nobody wants to connect.
const INTERVAL: Duration = Duration::from_millis(250);

/// The sentinels of one master, watched by a task that ends with this.
pub(super) struct Sentinels {
    shared: Arc<Shared>,
    /// The sentinels and the service, for the log.
    shown: String,
    watcher: JoinHandle<()>,
}

struct Shared {
    service: String,
    links: Vec<Link>,
    /// What a round of questions may take; half of what a connection may.
    patience: Duration,
    /// Rounds begun so far.
    begun: AtomicU64,
    wanted: Notify,
    word: watch::Sender<Word>,
}

/// What came of a round.
#[derive(Debug, Default)]
struct Word {
    /// The number of the round.
    round: u64,
    /// Why this round named nobody, if so.
    trouble: Option<Error>,
    /// Who was named last.
    master: Option<Named>,
}

/// A master with the epoch of the sentinels' configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Named {
    epoch: u64,
    host: Host,
}

impl fmt::Display for Sentinels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl Drop for Sentinels {
    fn drop(&mut self) {
        self.watcher.abort();
    }
}

impl Sentinels {
    /// Starts to watch, on the current runtime.
    pub(super) fn start(sentinels: &[Connector], service: &str, settings: &Settings) -> Arc<Self> {
        let names: Vec<String> = sentinels.iter().map(ToString::to_string).collect();
        let patience = settings.timeout / 2;
        // These connections tell nothing about what the store may have forgotten.
        let arrivals = Arc::new(Arrivals::default());
        let link = |connector: &Connector| {
            Link::start(Arc::new(connector.clone()), Arc::clone(&arrivals), patience, false)
        };
        let shared = Arc::new(Shared {
            service: service.to_owned(),
            links: sentinels.iter().map(link).collect(),
            patience,
            begun: AtomicU64::new(0),
            wanted: Notify::new(),
            word: watch::Sender::new(Word::default()),
        });
        let watcher = tokio::spawn(watch(Arc::clone(&shared)));
        let shown = format!("{service} of the sentinels {}", names.join(","));
        Arc::new(Self { shared, shown, watcher })
    }

    /// Asks for the master, now.
    pub(super) async fn master(&self) -> Result<Host, Error> {
        let mut words = self.shared.word.subscribe();
        // A round that is under way may have been answered already.
        let begun = self.shared.begun.load(Ordering::Acquire);
        self.shared.wanted.notify_one();
        let word = words.wait_for(|word| word.round > begun).await.map_err(|_| Error::Lost)?;
        match (&word.trouble, &word.master) {
            (None, Some(named)) => Ok(named.host.clone()),
            (Some(error), _) => Err(error.clone()),
            (None, None) => Err(Error::Down("no sentinel has answered".into())),
        }
    }

    /// Who was named last.
    pub(super) fn known(&self) -> Option<Host> {
        self.shared.word.borrow().master.as_ref().map(|named| named.host.clone())
    }

    /// Completes when another than `host` is named.
    pub(super) async fn names_another(&self, host: Option<&Host>) {
        let mut words = self.shared.word.subscribe();
        let another = words
            .wait_for(|word| word.master.as_ref().is_some_and(|named| Some(&named.host) != host));
        if another.await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

async fn watch(shared: Arc<Shared>) {
    loop {
        let round = shared.begun.fetch_add(1, Ordering::AcqRel) + 1;
        let deadline = Instant::now() + shared.patience;
        let answers =
            join_all(shared.links.iter().map(|link| ask(link, &shared.service, deadline)));
        let answers = answers.await;
        shared.word.send_modify(|word| {
            let before = word.master.clone();
            word.hear(round, answers);
            if before != word.master
                && let Some(named) = &word.master
            {
                tracing::debug!(master = %named.host, epoch = named.epoch, "the sentinels name");
            }
        });
        tokio::select! {
            () = sleep(INTERVAL) => {}
            () = shared.wanted.notified() => {}
        }
    }
}

impl Word {
    /// Takes in what the sentinels said in one round.
    fn hear(&mut self, round: u64, answers: Vec<Result<Named, Error>>) {
        self.round = round;
        let asked = answers.len();
        let mut trouble = None;
        let mut named: Vec<Named> = Vec::with_capacity(asked);
        for answer in answers {
            match answer {
                Ok(answer) => named.push(answer),
                // One that knows nothing of the service tells more than one that is down.
                Err(error @ Error::Answer(_)) => trouble = Some(error),
                Err(error) => trouble = trouble.or(Some(error)),
            }
        }
        let Some(newest) = named.iter().max_by_key(|named| named.epoch).cloned() else {
            self.trouble = Some(no_sentinel(trouble));
            return;
        };
        if named.iter().any(|other| other.epoch == newest.epoch && other.host != newest.host) {
            self.trouble = Some(Error::Down("the sentinels name different masters".into()));
            return;
        }
        // An older word than the last one comes from a sentinel that was left behind, unless most
        // of them say so (they were told to forget).
        let is_older = self.master.as_ref().is_some_and(|known| known.epoch > newest.epoch);
        if is_older && named.len() * 2 <= asked {
            self.trouble = Some(Error::Down("the sentinels that answer were left behind".into()));
            return;
        }
        self.trouble = None;
        self.master = Some(newest);
    }
}

fn no_sentinel(trouble: Option<Error>) -> Error {
    match trouble {
        Some(Error::Answer(code)) => {
            Error::Down(format!("no sentinel knows the service: it answered {code}").into())
        }
        Some(Error::Down(why)) => Error::Down(format!("no sentinel answers: {why}").into()),
        Some(error) => Error::Down(format!("no sentinel answers: {error}").into()),
        None => Error::Down("no sentinel is configured".into()),
    }
}

/// What one sentinel says: the address in force (which changes as soon as a replica is promoted)
/// and the epoch that it belongs to.
async fn ask(link: &Link, service: &str, deadline: Instant) -> Result<Named, Error> {
    let mut question = Pipeline::with_capacity(2);
    question.cmd("SENTINEL").arg("MASTER").arg(service);
    question.cmd("SENTINEL").arg("GET-MASTER-ADDR-BY-NAME").arg(service);
    let mut answers = link.ask(&question, deadline).await;
    if answers.as_ref().is_err_and(|error| *error == Error::Lost) {
        answers = link.ask(&question, deadline).await;
    }
    let mut answers = answers?.into_iter();
    let epoch = epoch(answers.next().unwrap_or_default())?;
    let host = address(answers.next().unwrap_or_default())?;
    Ok(Named { epoch, host })
}

/// The `config-epoch` in the answer to `SENTINEL MASTER`.
fn epoch(value: Value) -> Result<u64, Error> {
    let members = match answer::checked(value)? {
        Value::Map(members) => members,
        Value::Array(items) => {
            let mut items = items.into_iter();
            std::iter::from_fn(|| Some((items.next()?, items.next()?))).collect()
        }
        _ => return Err(Error::Shape("SENTINEL MASTER answered no list")),
    };
    let epoch = members.into_iter().find_map(|(name, value)| {
        (answer::text(name)? == b"config-epoch").then(|| answer::text(value)).flatten()
    });
    let epoch = epoch.and_then(|text| String::from_utf8(text).ok()?.parse().ok());
    epoch.ok_or(Error::Shape("SENTINEL MASTER tells no epoch"))
}

/// Name and port.
fn address(value: Value) -> Result<Host, Error> {
    let Value::Array(pair) = answer::checked(value)? else {
        return Err(Error::Shape("the sentinels name no address"));
    };
    let mut texts = pair.into_iter().filter_map(answer::text);
    let mut text = || texts.next().and_then(|bytes| String::from_utf8(bytes).ok());
    match (text(), text().and_then(|port| port.parse().ok())) {
        (Some(name), Some(port)) if !name.is_empty() => Ok(Host { name, port }),
        _ => Err(Error::Shape("the sentinels name no address")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(epoch: u64, name: &str) -> Result<Named, Error> {
        Ok(Named { epoch, host: Host { name: name.to_owned(), port: 1 } })
    }

    fn down() -> Result<Named, Error> {
        Err(Error::Down("x".into()))
    }

    /// Goals: the newest word counts whoever says it; nobody is believed on the word of a sentinel
    /// that was left behind; a tie between two masters names neither.
    #[test]
    fn the_newest_word_counts() {
        let unknown = || Err(Error::Answer("ERR".into()));
        for (known, answers, expected) in [
            (None, vec![named(1, "a"), named(1, "a"), named(1, "a")], Some("a")),
            (None, vec![named(1, "a"), named(2, "b"), down()], Some("b")),
            (None, vec![down(), down(), named(0, "a")], Some("a")),
            (None, vec![unknown(), named(3, "a"), down()], Some("a")),
            (None, vec![named(2, "a"), named(2, "b"), named(1, "c")], None),
            (None, vec![down(), down(), unknown()], None),
            (Some((2, "b")), vec![named(1, "a"), down(), down()], None),
            (Some((2, "b")), vec![named(1, "a"), named(2, "b"), down()], Some("b")),
            (Some((2, "b")), vec![named(0, "a"), named(0, "a"), down()], Some("a")),
            (Some((2, "b")), vec![named(3, "a"), down(), down()], Some("a")),
        ] {
            let known = known.map(|(epoch, name)| named(epoch, name).unwrap());
            let mut word = Word { master: known.clone(), ..Word::default() };
            let case = format!("{known:?} {answers:?}");
            word.hear(7, answers);
            assert_eq!(word.round, 7);
            assert_eq!(word.trouble.is_none(), expected.is_some(), "{case}");
            match expected {
                Some(name) => assert_eq!(word.master.unwrap().host.name, name, "{case}"),
                None => assert_eq!(word.master, known, "{case}"),
            }
        }
    }
}
