//! Start, reload, stop: the only module that knows every other.

mod accounts;
pub mod audit;
mod ended;
pub mod listen;
pub mod needs;
mod reload;
mod start;
pub mod state;
pub mod store;
mod watch_files;
mod worker;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use self::ended::Endings;
use self::reload::{FirstTries, Reloader};
use self::start::Writers;
use self::watch_files::WatchedFiles;
use crate::admin::{Admin, Command, Part, ReloadAnswer};
use crate::auth;
use crate::config::{self, Config, Loaded};
use crate::limit::Registry;
use crate::observe::audit::{Audit, AuditWriter, Event, Kind, Outcome};
use crate::observe::lines::Writer;
use crate::observe::logging;
use crate::proxy::Gateway;
use crate::server::BACKLOG_GRACE;

/// How often limiters forget what is over.
const SWEEP_EVERY: Duration = Duration::from_secs(60);
/// How often certificate and key files are looked at.
const FILES_EVERY: Duration = Duration::from_secs(1);
/// How often the end of draining is looked for.
const DRAIN_POLL: Duration = Duration::from_millis(20);
/// How long the end waits for whoever reads the access log.
const LAST_LINES: Duration = Duration::from_secs(1);
/// How long it waits for the audit log's disk.
const LAST_EVENTS: Duration = Duration::from_secs(10);
/// How long the answer to a reload waits for new sources of keys; whoever asked waits no longer.
const RELOAD_ANSWER: Duration = Duration::from_secs(8);
/// Sockets for clients and upstreams; more than the usual soft limit of 1024.
const DESCRIPTORS: u64 = 65_536;

/// Why the gateway did not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration is wrong; exit code 2.
    #[error("{0}")]
    Configuration(String),
    /// Anything else; exit code 1.
    #[error("{0}")]
    Start(String),
}

/// What to run.
pub struct Options {
    /// Where to read the configuration again on a reload; `None` when it came from memory.
    pub file: Option<PathBuf>,
    /// `--set` arguments.
    pub sets: Vec<String>,
    /// Where to write that everything listens.
    pub ready_file: Option<PathBuf>,
    /// Called with the addresses once everything listens.
    pub on_ready: Box<dyn FnOnce(&serde_json::Value) + Send>,
}

/// An environment variable, as text.
#[must_use]
#[allow(clippy::disallowed_methods, reason = "the one place that reads the environment")]
pub fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Runs the gateway until it is told to end.
///
/// # Errors
///
/// [`Error`], before anything is served.
pub fn run(loaded: Loaded, options: Options) -> Result<(), Error> {
    start_log(&loaded.config);
    install_providers();
    raise_descriptor_limit();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::Start(error.to_string()))?;
    let result = runtime.block_on(serve(loaded, options));
    // A thread that still waits for that reader is left behind.
    runtime.shutdown_background();
    logging::end();
    result
}

/// One provider for TLS, one for JWT; calling it again changes nothing.
pub fn install_providers() {
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    auth::install_provider();
}

fn start_log(config: &Config) {
    let level = match config.log.level.get_ref() {
        config::LogLevel::Error => tracing::Level::ERROR,
        config::LogLevel::Warn => tracing::Level::WARN,
        config::LogLevel::Info => tracing::Level::INFO,
        config::LogLevel::Debug => tracing::Level::DEBUG,
        config::LogLevel::Trace => tracing::Level::TRACE,
    };
    logging::start(level, log_format(config));
}

fn log_format(config: &Config) -> logging::Format {
    match config.log.format.get_ref() {
        config::LogFormat::Json => logging::Format::Json,
        config::LogFormat::Text => logging::Format::Text,
    }
}

fn raise_descriptor_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.map_or(DESCRIPTORS, |maximum| maximum.min(DESCRIPTORS));
    if limit.current.is_some_and(|current| current < wanted) {
        limit.current = Some(wanted);
        if let Err(error) = setrlimit(Resource::Nofile, limit) {
            tracing::warn!(%error, "the limit on open files stays low");
        }
    }
}

async fn serve(loaded: Loaded, options: Options) -> Result<(), Error> {
    let Loaded { config, source } = loaded;
    let limiters = Arc::new(Registry::default());
    // Before they are read: a change in between is then one that is seen.
    let files = WatchedFiles::of(&config, &source);
    let (mut parts, listeners, writers) = start::prepare(&config, &source, &limiters).await?;
    let addresses = listeners.document();
    let crew = start::Crew::hire(&config, &parts, listeners.public)?;
    let secret = start::admin_secret(parts.admin_secret.take(), &parts.state)?;
    let (commands, inbox) = mpsc::channel(8);
    let admin = Arc::new(Admin {
        gateway: parts.gateway.clone(),
        blocklist: parts.blocklist.clone(),
        secret,
        commands,
        draining: Arc::new(AtomicBool::new(false)),
        started: Instant::now(),
    });
    start::admin(&admin, listeners.admin, Part::All)?;
    start::admin(&admin, listeners.health, Part::Health)?;
    // Before anybody is told that it runs: who then sends a signal finds somebody who takes it.
    let signals = Signals::take()?;
    start::announce(&parts.state, &addresses, options.ready_file.as_deref())?;
    let begun = parts.gateway.audit.record(audit::start(&source)).await;
    begun.map_err(|error| Error::Start(error.to_string()))?;
    (options.on_ready)(&addresses);
    let endings = Endings::begin(parts.gateway.clone());
    let reloader = Reloader {
        config,
        source,
        file: options.file,
        sets: options.sets,
        limiters: limiters.clone(),
        gateway: parts.gateway.clone(),
        blocklist: parts.blocklist.clone(),
        files,
        again: None,
        lost: parts.blocklist.lost_before(),
        endings: endings.clone(),
    };
    wait_for_the_end(inbox, signals, reloader, &limiters).await;
    admin.draining.store(true, Ordering::Release);
    let gateway = &parts.gateway;
    gateway.audit.note(Event::new(Kind::Drain, Outcome::Done)).await;
    finish(gateway, &crew).await;
    parts.gateway.providers.stop();
    crew.dismiss().await;
    endings.warn_of_the_rest();
    end_logs(gateway.clone(), writers).await;
    Ok(())
}

/// Writes what is left to be written; a disk or a reader that does not answer holds up nothing.
async fn end_logs(gateway: Arc<Gateway>, writers: Writers) {
    let Writers { access, audit } = writers;
    if tokio::time::timeout(LAST_EVENTS, end_audit(&gateway.audit, audit)).await.is_err() {
        tracing::error!("the audit log's disk does not answer: its end may be missing");
    }
    let written = tokio::task::spawn_blocking(move || {
        gateway.access.close();
        access.into_iter().for_each(Writer::join);
    });
    drop(tokio::time::timeout(LAST_LINES, written).await);
}

async fn end_audit(audit: &Audit, writer: Option<AuditWriter>) {
    if let Err(error) = audit.record(Event::new(Kind::Stop, Outcome::Done)).await {
        tracing::error!(%error, "the end was not written to the audit log");
    }
    audit.close().await;
    let joined = tokio::task::spawn_blocking(move || {
        writer.into_iter().for_each(AuditWriter::join);
    });
    drop(joined.await);
}

/// What the process is told from outside.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    /// From now on they end nothing by themselves.
    fn take() -> Result<Self, Error> {
        let listen = |kind| signal(kind).map_err(|error| Error::Start(error.to_string()));
        // A file that must not grow any more is an error to be told, not the end of the process.
        drop(listen(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw()))?);
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            hang_up: listen(SignalKind::hangup())?,
        })
    }
}

/// Serves reloads until somebody says stop.
async fn wait_for_the_end(
    mut inbox: mpsc::Receiver<Command>,
    mut signals: Signals,
    mut reloader: Reloader,
    limiters: &Arc<Registry>,
) {
    let mut sweep = tokio::time::interval(SWEEP_EVERY);
    let mut look = tokio::time::interval(FILES_EVERY);
    // A look that took long is not made up for.
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = signals.terminate.recv() => return,
            _ = signals.interrupt.recv() => return,
            _ = signals.hang_up.recv() => drop(reloader.reload("signal").await),
            command = inbox.recv() => match command {
                Some(Command::Reload(told)) => {
                    tell(reloader.reload("admin").await, &reloader.gateway, told);
                }
                Some(Command::Drain) | None => return,
            },
            _ = look.tick() => {
                reloader.look_at_files().await;
                accounts::look(&reloader.gateway.authorization_server, &reloader.endings);
                reloader.look_at_blocklist().await;
            }
            _ = sweep.tick() => {
                let limiters = limiters.clone();
                let failures = reloader.failures();
                drop(tokio::task::spawn_blocking(move || {
                    limiters.sweep();
                    if let Some(failures) = failures {
                        failures.sweep();
                    }
                }));
            }
        }
    }
}

/// Answers who asked for a reload: once every source of keys that it added was tried, so that the
/// answer says whether they work.
fn tell(result: Result<FirstTries, String>, gateway: &Arc<Gateway>, told: ReloadAnswer) {
    let gateway = gateway.clone();
    drop(tokio::spawn(async move {
        let answer = match result {
            Ok(first_tries) => {
                drop(tokio::time::timeout(RELOAD_ANSWER, first_tries).await);
                Ok(without_keys(&gateway))
            }
            Err(problems) => Err(problems),
        };
        drop(told.send(answer));
    }));
}

/// A word on each source that has no keys to use.
fn without_keys(gateway: &Gateway) -> Vec<String> {
    let sources = gateway.providers.status().into_iter().filter(|source| source.keys == 0);
    sources
        .map(|source| {
            let why = source.last_error.as_deref().unwrap_or("none were fetched yet");
            format!("issuer {:?} has no published keys: {why}", source.entry)
        })
        .collect()
}

/// Stops accepting, lets what is running finish, at most for `[timeouts] drain`; a second signal
/// ends the wait.
async fn finish(gateway: &Gateway, crew: &start::Crew) {
    let limit = gateway.policy.load().timeouts.drain;
    tracing::info!(connections = gateway.clients.open_connections(), "draining");
    crew.drain();
    let idle = async {
        tokio::time::sleep(BACKLOG_GRACE + DRAIN_POLL).await;
        while gateway.clients.open_connections() > 0 {
            tokio::time::sleep(DRAIN_POLL).await;
        }
    };
    let again = async {
        let signals = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
        let (Ok(mut terminate), Ok(mut interrupt)) = signals else {
            return std::future::pending().await;
        };
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    tokio::select! {
        () = idle => {}
        () = again => tracing::warn!("asked twice to end: connections are cut"),
        () = tokio::time::sleep(limit) => {
            let left = gateway.clients.open_connections();
            tracing::warn!(left, "the drain limit is over: connections are cut");
        }
    }
}
