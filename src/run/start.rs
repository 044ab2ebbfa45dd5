//! The pieces that a start is made of.

use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use arc_swap::ArcSwap;
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::listen::{Listeners, Public, Sockets};
use super::needs::Needs;
use super::state::State;
use super::worker::{self, Share, Start};
use super::{Error, accounts, audit, environment, log_format, store};
use crate::admin::{self, Admin, Part};
use crate::auth::TokenCache;
use crate::blocklist::Blocklist;
use crate::config::{self, Config, Problems, Source};
use crate::issuer::account::Accounts;
use crate::issuer::{Assertions, AuthorizationServer};
use crate::limit::Registry;
use crate::observe::access_log::{AccessLog, Target};
use crate::observe::audit::AuditWriter;
use crate::observe::audit::chain::Key;
use crate::observe::lines::Writer;
use crate::observe::metrics::Metrics;
use crate::policy::{self, Context, FileAccess, Snapshot};
use crate::private_file;
use crate::provider::Providers;
use crate::proxy::Gateway;
use crate::proxy::clients::Clients;
use crate::proxy::endpoint::Flood;
use crate::proxy::session::Sessions;
use crate::secret::Secret;
use crate::server::Site;
use crate::server::listener::Bound;
use crate::server::proxy_protocol::Mode;
use crate::store::Settings;
use crate::time::UnixTime;

/// What every part of the process shares.
pub(super) struct Parts {
    pub(super) gateway: Arc<Gateway>,
    pub(super) blocklist: Arc<Blocklist>,
    pub(super) state: State,
    /// The configured one.
    pub(super) admin_secret: Option<Secret<String>>,
    workers: usize,
}

/// Compiles, opens and binds everything; serves nothing yet.
pub(super) async fn prepare(
    config: &Config,
    source: &Source,
    limiters: &Registry,
) -> Result<(Parts, Listeners, Writers), Error> {
    let metrics = Metrics::new();
    let failed = |error: &dyn std::error::Error| Error::Start(error.to_string());
    let context = Context {
        source,
        limiters,
        metrics: &metrics,
        previous: None,
        environment: &environment,
        access: FileAccess::Online,
    };
    let Understood { snapshot, settings, users, audit_key, admin_secret } =
        understand(config, context)
            .map_err(|problems| Error::Configuration(problems.render(source)))?;
    warn_of(config, source);
    let state =
        State::open(&source.resolve(config.state.dir.get_ref())).map_err(|error| failed(&error))?;
    let (audit, audit_writer) = audit::open_with(audit_key, config, source, state.dir())?;
    let on_loss = store::on_loss(config);
    let mut blocklist = Blocklist::open(&settings, on_loss, state.dir(), UnixTime::now())
        .await
        .map_err(|error| failed(&error))?;
    blocklist.listen();
    blocklist.set_check(store::check(config)).await;
    let blocklist = Arc::new(blocklist);
    let policy = Arc::new(ArcSwap::from_pointee(snapshot));
    let providers = Providers::new(policy.clone(), state.dir(), metrics.clone(), audit.clone());
    // Before anything listens: a bound socket already takes connections in.
    providers.follow().await;
    let workers = workers(config);
    let listeners = Listeners::bind(config, source, workers).map_err(Error::Start)?;
    let (access, writer) = access_log(config, source)?;
    let authorization_server = AuthorizationServer::new(blocklist.store());
    authorization_server.set_accounts(users);
    if config.issuing.is_some() {
        warn_of_the_store(&blocklist).await;
    }
    let cache_bytes = config.token_cache.bytes.get_ref().on().map_or(0, |size| size.get());
    let gateway = Arc::new(Gateway {
        policy,
        providers,
        tokens: TokenCache::new(cache_bytes),
        clients: Clients::new(),
        access,
        blocklist: blocklist.clone(),
        logouts: Flood::default(),
        assertions: Assertions::new(cache_bytes / 4),
        sessions: Sessions::default(),
        authorization_server: Arc::new(authorization_server),
        streams: Arc::default(),
        audit,
        metrics,
    });
    let parts = Parts { gateway, blocklist, state, admin_secret, workers };
    Ok((parts, listeners, Writers { access: writer, audit: audit_writer }))
}

/// The configuration with everything that it names on this machine.
struct Understood {
    snapshot: Snapshot,
    settings: Settings,
    users: Option<Accounts>,
    audit_key: Option<Key>,
    admin_secret: Option<Secret<String>>,
}

/// Reads it all before it gives up: every error at once (R52).
fn understand(config: &Config, context: Context<'_>) -> Result<Understood, Problems> {
    let mut problems = Problems::new();
    let needs = Needs::read(config, context.source, context.access, &mut problems);
    let Needs { store, accounts, audit_key, admin_secret } = needs;
    let users = accounts
        .and_then(|settings| accounts::open(config, settings, &Handle::current(), &mut problems));
    match (policy::compile(config, context), store) {
        (Ok(snapshot), Some(settings)) if problems.is_empty() => {
            Ok(Understood { snapshot, settings, users, audit_key, admin_secret })
        }
        (Ok(_), _) => Err(problems),
        (Err(more), _) => {
            problems.extend(more);
            Err(problems)
        }
    }
}

/// What is allowed and may surprise.
pub(super) fn warn_of(config: &Config, source: &Source) {
    for warning in config.warnings().sorted() {
        tracing::warn!("{}: {}", source.place(warning.span.as_ref()), warning.message);
    }
}

/// What the store's settings mean for logins. That one is down is told elsewhere.
async fn warn_of_the_store(blocklist: &Blocklist) {
    for warning in blocklist.store().issuing_warnings().await.unwrap_or_default() {
        tracing::warn!("{warning}");
    }
}

/// Threads that write what must not be lost at the end.
pub(super) struct Writers {
    pub(super) access: Option<Writer>,
    pub(super) audit: Option<AuditWriter>,
}

fn workers(config: &Config) -> usize {
    match config.listen.workers.get_ref().0 {
        0 => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        workers => usize::from(workers),
    }
}

fn access_log(config: &Config, source: &Source) -> Result<(AccessLog, Option<Writer>), Error> {
    let target = match config.log.access.get_ref() {
        config::AccessLog::File(path) => Target::File(source.resolve(path)),
        config::AccessLog::Off => Target::Off,
        config::AccessLog::Stderr => Target::Stderr,
        config::AccessLog::Stdout => Target::Stdout,
    };
    AccessLog::open(&target, log_format(config))
        .map_err(|error| Error::Start(format!("[log] access: {error}")))
}

/// The configured secret, or the one in the state directory.
pub(super) fn admin_secret(
    configured: Option<Secret<String>>,
    state: &State,
) -> Result<Secret<String>, Error> {
    configured
        .map_or_else(|| state.admin_secret().map_err(|error| Error::Start(error.to_string())), Ok)
}

/// Serves a part of the admin interface on these sockets.
pub(super) fn admin(
    admin: &Arc<Admin>,
    bound: Vec<Bound<TcpListener>>,
    part: Part,
) -> Result<(), Error> {
    for socket in bound.into_iter().flat_map(|bound| bound.sockets) {
        let listener = tokio::net::TcpListener::from_std(socket)
            .map_err(|error| Error::Start(error.to_string()))?;
        drop(tokio::spawn(admin::serve(admin.clone(), listener, part)));
    }
    Ok(())
}

/// Says where the gateway listens: in the state directory, in the ready file, in the log.
pub(super) fn announce(
    state: &State,
    addresses: &serde_json::Value,
    ready_file: Option<&Path>,
) -> Result<(), Error> {
    let document = addresses.to_string();
    state.write_addresses(document.as_bytes()).map_err(|error| Error::Start(error.to_string()))?;
    if let Some(path) = ready_file {
        let written = private_file::write(path, document.as_bytes());
        written.map_err(|error| Error::Start(format!("{}: {error}", path.display())))?;
    }
    tracing::info!(%addresses, version = env!("CARGO_PKG_VERSION"), "listening");
    Ok(())
}

/// The worker threads.
pub(super) struct Crew {
    threads: Vec<JoinHandle<()>>,
    drain: watch::Sender<bool>,
    end: watch::Sender<bool>,
}

impl Crew {
    pub(super) fn hire(
        config: &Config,
        parts: &Parts,
        listeners: Vec<Public>,
    ) -> Result<Self, Error> {
        let (drain, draining) = watch::channel(false);
        let (end, ending) = watch::channel(false);
        let mut threads = Vec::with_capacity(parts.workers);
        for (index, shares) in shares(listeners, parts.workers).into_iter().enumerate() {
            let start = Start {
                gateway: parts.gateway.clone(),
                blocklist: parts.blocklist.clone(),
                shares,
                proxy_protocol: match config.listen.proxy_protocol.get_ref() {
                    config::ProxyProtocol::Off => None,
                    config::ProxyProtocol::Optional => Some(Mode::Optional),
                    config::ProxyProtocol::Required => Some(Mode::Required),
                },
                drain: draining.clone(),
                end: ending.clone(),
            };
            let thread = worker::spawn(index, start);
            threads.push(thread.map_err(|error| Error::Start(error.to_string()))?);
        }
        Ok(Self { threads, drain, end })
    }

    pub(super) fn drain(&self) {
        self.drain.send_replace(true);
    }

    /// Ends the threads, with whatever they are at.
    pub(super) async fn dismiss(self) {
        self.end.send_replace(true);
        for thread in self.threads {
            drop(tokio::task::spawn_blocking(move || thread.join()).await);
        }
    }
}

/// Deals the sockets out: each worker gets one of every listener.
fn shares(listeners: Vec<Public>, workers: usize) -> Vec<Vec<(Site, Share)>> {
    let mut hands: Vec<Vec<(Site, Share)>> = (0..workers).map(|_| Vec::new()).collect();
    for Public { site, sockets } in listeners {
        let shares: Vec<Share> = match sockets {
            Sockets::Tcp(bound) => bound.sockets.into_iter().map(Share::Tcp).collect(),
            Sockets::Unix(bound) => bound.sockets.into_iter().map(Share::Unix).collect(),
        };
        for (hand, share) in hands.iter_mut().zip(shares) {
            hand.push((site, share));
        }
    }
    hands
}
