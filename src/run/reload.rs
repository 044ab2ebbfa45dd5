//! Reloading: read, compile, swap; a configuration that is wrong changes nothing.

use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use super::{environment, store};
use crate::blocklist::Blocklist;
use crate::config::{self, Config, Loaded, Source};
use crate::limit::{AuthFailures, Registry};
use crate::policy::{self, Context, FileAccess};
use crate::proxy::Gateway;

/// Everything that a reload needs, and the configuration in force.
pub(super) struct Reloader {
    pub(super) config: Config,
    pub(super) source: Source,
    pub(super) file: Option<PathBuf>,
    pub(super) sets: Vec<String>,
    pub(super) limiters: Arc<Registry>,
    pub(super) gateway: Arc<Gateway>,
    pub(super) blocklist: Arc<Blocklist>,
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
    pub(super) fn reload(&mut self) -> Result<FirstTries, String> {
        let result = self.read().and_then(|loaded| self.put_in_force(loaded));
        match &result {
            Ok(_) => tracing::info!("configuration reloaded"),
            Err(problems) => {
                tracing::error!(
                    "the configuration was not reloaded; the old one stays in force:\n{problems}"
                );
            }
        }
        result
    }

    /// Compiles the configuration in force again, for certificates and keys that have changed.
    pub(super) fn reread_files(&self) {
        match self.compile(&self.config, &self.source) {
            Ok(snapshot) => {
                drop(self.swap(snapshot));
                tracing::info!("certificates and keys read again");
            }
            Err(problems) => {
                tracing::error!(
                    "a changed file is not usable; the old ones stay in force:\n{problems}"
                );
            }
        }
    }

    /// The limit on failed verifications in force.
    pub(super) fn failures(&self) -> Option<Arc<AuthFailures>> {
        self.gateway.policy.load().failures.as_ref().map(|(_, failures)| failures.clone())
    }

    fn read(&self) -> Result<Loaded, String> {
        match &self.file {
            None => Ok(Loaded { config: self.config.clone(), source: self.source.clone() }),
            Some(path) => config::load(path, &self.sets, &environment, config::Options::ONLINE)
                .map_err(|failure| failure.to_string()),
        }
    }

    fn put_in_force(&mut self, loaded: Loaded) -> Result<FirstTries, String> {
        let Loaded { config, source } = loaded;
        let snapshot = self.compile(&config, &source)?;
        for section in fixed_sections(&self.config, &config) {
            tracing::warn!("a change of {section} takes effect at the next start");
        }
        self.blocklist.set_on_loss(store::on_loss(&config));
        let first_tries = self.swap(snapshot);
        (self.config, self.source) = (config, source);
        Ok(first_tries)
    }

    /// Puts a snapshot in force with every published key that is known already.
    fn swap(&self, snapshot: policy::Snapshot) -> FirstTries {
        let providers = &self.gateway.providers;
        self.gateway.policy.store(Arc::new(providers.furnish(snapshot)));
        Box::pin(providers.follow())
    }

    fn compile(&self, config: &Config, source: &Source) -> Result<policy::Snapshot, String> {
        let previous = self.gateway.policy.load();
        let context = Context {
            source,
            limiters: &self.limiters,
            previous: Some(&previous),
            environment: &environment,
            access: FileAccess::Online,
        };
        policy::compile(config, context).map_err(|problems| problems.render(source))
    }
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
    ]
    .into_iter()
    .filter_map(|(name, differs)| differs.then_some(name))
    .collect()
}
