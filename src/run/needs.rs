//! What a start takes besides the compiled configuration: the store's settings, who has an account,
//! the audit log's key, the admin interface's secret.
//!
//! Read here for the gateway and for `postern check` alike, so that both say the same errors at the
//! same places, and all at once (R52). It connects to nothing and changes no file.

use super::{accounts, audit, environment, store};
use crate::config::{Config, Problem, Problems, SecretSource, Source};
use crate::issuer::account;
use crate::observe::audit::chain::Key;
use crate::policy::FileAccess;
use crate::secret::Secret;
use crate::store::Settings;

/// `None` where nothing is configured, where it is wrong, and where only a command knows it that
/// may not run.
pub struct Needs {
    pub(super) store: Option<Settings>,
    pub(super) accounts: Option<account::Settings>,
    pub(super) audit_key: Option<Key>,
    pub(super) admin_secret: Option<Secret<String>>,
}

impl Needs {
    /// Reads all of it; blocks as long as a `…_command` takes.
    pub(super) fn read(
        config: &Config,
        source: &Source,
        access: FileAccess,
        problems: &mut Problems,
    ) -> Self {
        let commands = access == FileAccess::Online;
        Self {
            store: store_settings(config, source, commands, problems),
            accounts: accounts::settings(config, source, commands, problems),
            audit_key: audit::key_in_use(&config.audit, source, commands, problems),
            admin_secret: admin_secret(config, source, commands, problems),
        }
    }
}

/// Adds what a gateway would refuse at its start, as far as files and variables tell.
pub fn check(config: &Config, source: &Source, access: FileAccess, problems: &mut Problems) {
    let needs = Needs::read(config, source, access, problems);
    accounts::check_file(config, needs.accounts.as_ref(), problems);
}

fn store_settings(
    config: &Config,
    source: &Source,
    commands: bool,
    problems: &mut Problems,
) -> Option<Settings> {
    let is_command = |from: &Option<SecretSource>| matches!(from, Some(SecretSource::Command(_)));
    let secrets = [config.store.password(), config.store.sentinel_password()];
    if !commands && secrets.iter().any(is_command) {
        return None;
    }
    store::settings(config, source, &environment).map_err(|more| problems.extend(more)).ok()
}

fn admin_secret(
    config: &Config,
    source: &Source,
    commands: bool,
    problems: &mut Problems,
) -> Option<Secret<String>> {
    let from = config.admin.secret()?;
    if !commands && matches!(from, SecretSource::Command(_)) {
        return None;
    }
    let read = from.read(source.dir(), &environment).map_err(|error| error.to_string());
    let text = read.and_then(|bytes| {
        String::from_utf8(bytes.expose().clone()).map_err(|_| "not text".to_owned())
    });
    text.map(Secret::new)
        .map_err(|why| {
            let place = config.admin.secret_place();
            problems.push(Problem::at(place, format!("[admin] secret: {why}")));
        })
        .ok()
}
