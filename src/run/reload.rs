//! Reloading: read, compile, swap; a configuration that is wrong changes nothing.

use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

use super::ended::Endings;
use super::start::warn_of;
use super::watch_files::WatchedFiles;
use super::{accounts, audit, environment, store};
use crate::blocklist::Blocklist;
use crate::config::{self, Config, Loaded, Source};
use crate::issuer::account::Accounts;
use crate::limit::{AuthFailures, Registry};
use crate::observe::audit::{Event, Kind, Outcome};
use crate::observe::metrics;
use crate::policy::{self, Context, FileAccess};
use crate::proxy::{Gateway, fail_mode};
use crate::time::UnixTime;

/// How soon a changed file that could not be used is tried again: what was missing may have been
/// something else, such as the answer of a `…_command`.
const TRY_AGAIN_AFTER: Duration = Duration::from_secs(60);

/// Everything that a reload needs, and the configuration in force.
pub(super) struct Reloader {
    pub(super) config: Config,
    pub(super) source: Source,
    pub(super) file: Option<PathBuf>,
    pub(super) sets: Vec<String>,
    pub(super) limiters: Arc<Registry>,
    pub(super) gateway: Arc<Gateway>,
    pub(super) blocklist: Arc<Blocklist>,
    /// Its files, as they were before they were read for what is in force.
    pub(super) files: WatchedFiles,
    /// When to try again to read them.
    pub(super) again: Option<Instant>,
    /// Losses of the store that are written down.
    pub(super) lost: u64,
    /// Where accounts that are gone are handed in.
    pub(super) endings: Endings,
}

/// Ends when every source of keys that a reload has added was tried once.
pub(super) type FirstTries = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Reloader {
    /// Reads the configuration file again and puts it in force. What is left to wait for must not
    /// be waited for where signals are taken.
    ///
    /// # Errors
    ///
    /// Every problem, as text; nothing has changed then.
    pub(super) async fn reload(&mut self, actor: &str) -> Result<FirstTries, String> {
        let audit = self.gateway.audit.clone();
        // Whoever moves the audit log away says so by this, whatever the configuration is like.
        if let Err(error) = audit.reopen().await {
            tracing::error!(%error, "no new audit log; the old one is gone on with");
        }
        let mut event = Event::new(Kind::Reload, Outcome::Asked).actor(actor);
        let result = match self.read().await {
            Ok(loaded) => {
                event = audit::reload(&loaded.source).actor(actor);
                match audit.record(event.clone()).await {
                    Ok(()) => self.put_in_force(loaded).await,
                    Err(unwritten) => Err(unwritten.to_string()),
                }
            }
            Err(problems) => Err(problems),
        };
        let ended = if result.is_ok() { Outcome::Done } else { Outcome::Failed };
        if let Err(error) = audit.record(event.ended(ended)).await {
            tracing::error!(%error, "what came of the reload was not written");
        }
        match &result {
            Ok(_) => {
                self.gateway.metrics.reloaded(metrics::Outcome::Success);
                tracing::info!("configuration reloaded");
            }
            Err(problems) => {
                self.gateway.metrics.reloaded(metrics::Outcome::Failure);
                tracing::error!(
                    "the configuration was not reloaded; the old one stays in force:\n{problems}"
                );
            }
        }
        result
    }

    /// Compiles the configuration in force again if certificates or keys have changed.
    pub(super) async fn look_at_files(&mut self) {
        let due = self.again.is_some_and(|again| Instant::now() >= again);
        if !self.files.have_changed() && !due {
            return;
        }
        match self.compile_with_accounts().await {
            Ok((snapshot, users)) => {
                if users.is_some() {
                    self.gateway.authorization_server.set_accounts(users);
                }
                drop(self.swap(snapshot));
                self.again = None;
                let event = Event::new(Kind::Reload, Outcome::Done).detail("cause", "files");
                self.gateway.audit.note(event).await;
                tracing::info!("certificates and keys read again");
            }
            Err(problems) => {
                self.again = Some(Instant::now() + TRY_AGAIN_AFTER);
                tracing::error!(
                    "a changed file is not usable; the old ones stay in force:\n{problems}"
                );
            }
        }
    }

    /// Says which fail modes are over, once the store answers again; writes a loss down.
    pub(super) async fn look_at_blocklist(&mut self) {
        let status = self.blocklist.status();
        if status.up {
            fail_mode::end(&self.gateway.policy.load(), UnixTime::now());
        }
        if status.lost > self.lost {
            self.lost = status.lost;
            let event = Event::new(Kind::Loss, Outcome::Done).detail("lost", status.lost);
            let event = event.detail("remembered", status.remembered);
            self.gateway.audit.note(event.detail("generation", status.generation)).await;
        }
    }

    /// The limit on failed verifications in force.
    pub(super) fn failures(&self) -> Option<Arc<AuthFailures>> {
        self.gateway.policy.load().failures.as_ref().map(|(_, failures)| failures.clone())
    }

    async fn read(&self) -> Result<Loaded, String> {
        let Some(path) = self.file.clone() else {
            return Ok(Loaded { config: self.config.clone(), source: self.source.clone() });
        };
        let sets = self.sets.clone();
        aside(move || {
            config::load(&path, &sets, &environment, config::Options::ONLINE)
                .map_err(|failure| failure.to_string())
        })
        .await
    }

    async fn put_in_force(&mut self, loaded: Loaded) -> Result<FirstTries, String> {
        let Loaded { config, source } = loaded;
        // Before they are read: a change in between is then one that is seen.
        let files = WatchedFiles::of(&config, &source);
        let snapshot = self.compile(&config, &source).await?;
        let users = self.new_accounts(&config, &source).await?;
        warn_of(&config, &source);
        for section in fixed_sections(&self.config, &config) {
            tracing::warn!("a change of {section} takes effect at the next start");
        }
        self.blocklist.set_on_loss(store::on_loss(&config));
        // Before the snapshot: no request of it finds a copy that lacks the keys it asks for.
        self.blocklist.set_check(store::check(&config)).await;
        let server = &self.gateway.authorization_server;
        let ended = users.map(|users| accounts::replace(server, users));
        let first_tries = self.swap(snapshot);
        self.endings.hand_in(ended.unwrap_or_default());
        (self.config, self.source) = (config, source);
        (self.files, self.again) = (files, None);
        Ok(first_tries)
    }

    /// Puts a snapshot in force with every published key that is known already.
    fn swap(&self, snapshot: policy::Snapshot) -> FirstTries {
        let providers = &self.gateway.providers;
        self.gateway.policy.store(Arc::new(providers.furnish(snapshot)));
        Box::pin(providers.follow())
    }

    /// What is in force, from its files; accounts that files beside the configuration describe are
    /// opened anew, a users file stays open.
    async fn compile_with_accounts(&self) -> Result<(policy::Snapshot, Option<Accounts>), String> {
        let snapshot = self.compile(&self.config, &self.source).await?;
        if !accounts::rest_on_files(&self.config) {
            return Ok((snapshot, None));
        }
        let (config, source) = (self.config.clone(), self.source.clone());
        let runtime = Handle::current();
        let users = aside(move || accounts::of(&config, &source, &runtime)).await?;
        Ok((snapshot, users))
    }

    /// The accounts, opened, where the section is another than before; `None` where it is not.
    async fn new_accounts(
        &self,
        config: &Config,
        source: &Source,
    ) -> Result<Option<Option<Accounts>>, String> {
        if accounts::are_the_same(&self.config, config) {
            return Ok(None);
        }
        let (config, source, runtime) = (config.clone(), source.clone(), Handle::current());
        aside(move || accounts::of(&config, &source, &runtime)).await.map(Some)
    }

    async fn compile(&self, config: &Config, source: &Source) -> Result<policy::Snapshot, String> {
        let (config, source) = (config.clone(), source.clone());
        let (limiters, previous) = (self.limiters.clone(), self.gateway.policy.load_full());
        let metrics = self.gateway.metrics.clone();
        aside(move || {
            let context = Context {
                source: &source,
                limiters: &limiters,
                metrics: &metrics,
                previous: Some(&previous),
                environment: &environment,
                access: FileAccess::Online,
            };
            policy::compile(&config, context).map_err(|problems| problems.render(&source))
        })
        .await
    }
}

/// Files and `…_command`s take their time; the runtime of this task also answers probes and asks
/// providers, and must not stand still meanwhile.
async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    let result = tokio::task::spawn_blocking(work).await;
    result.unwrap_or_else(|_| Err("reading it went wrong inside the gateway".to_owned()))
}

/// What is settled at the start: changes are told, not made.
fn fixed_sections(old: &Config, new: &Config) -> Vec<&'static str> {
    let listen = (&old.listen.https, &old.listen.http, &old.listen.plain, &old.listen.health)
        != (&new.listen.https, &new.listen.http, &new.listen.plain, &new.listen.health)
        || old.listen.workers != new.listen.workers
        || old.listen.proxy_protocol != new.listen.proxy_protocol;
    [
        ("[listen]", listen),
        ("[admin]", old.admin != new.admin),
        ("[state]", old.state != new.state),
        ("[store]", old.store != new.store),
        ("[token_cache]", old.token_cache != new.token_cache),
        ("[log]", old.log != new.log),
        ("[audit]", old.audit != new.audit),
    ]
    .into_iter()
    .filter_map(|(name, differs)| differs.then_some(name))
    .collect()
}
