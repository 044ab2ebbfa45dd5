//! The accounts of `[issuing.users]`: opened at the start, opened anew when a reload changed the
//! section, and the users file read again when it has changed: accounts that are gone then, or
//! disabled, are handed in to have their sessions ended.

use std::sync::Arc;

use tokio::runtime::Handle;

use super::ended::Endings;
use super::environment;
use crate::config::{Config, Problems, Source, UserSource, Users};
use crate::issuer::AuthorizationServer;
use crate::issuer::account::{Accounts, Ended, Settings};

/// The section, if there is one.
fn section(config: &Config) -> Option<&Users> {
    let users = config.issuing.as_ref()?.get_ref().users.as_ref()?;
    Some(users.get_ref())
}

/// Opens the accounts; `None` when the configuration has none. Blocks: it reads files and may run a
/// `…_command`.
///
/// # Errors
///
/// Every problem, as text.
pub(super) fn open(
    config: &Config,
    source: &Source,
    runtime: &Handle,
) -> Result<Option<Accounts>, String> {
    let Some(users) = section(config) else { return Ok(None) };
    let mut problems = Problems::new();
    let settings = Settings::compile(users, source, &environment, true, &mut problems);
    match settings {
        Some(settings) if problems.is_empty() => Accounts::open(settings, runtime)
            .map(Some)
            .map_err(|error| format!("[issuing.users] {error}")),
        _ => Err(problems.render(source)),
    }
}

/// Whether the accounts in use are still those of the configuration.
pub(super) fn are_the_same(old: &Config, new: &Config) -> bool {
    section(old) == section(new)
}

/// Whether what the accounts are opened with stands in files that are watched.
pub(super) fn rest_on_files(config: &Config) -> bool {
    match section(config).and_then(Users::source) {
        Some(UserSource::Sql(sql)) => sql.get_ref().url_file.is_some(),
        Some(UserSource::Upstream(upstream)) => upstream.get_ref().ca.is_some(),
        Some(UserSource::File(_)) | None => false,
    }
}

/// Reads the users file again if it has changed, on a thread of its own.
pub(super) fn look(server: &Arc<AuthorizationServer>, endings: &Endings) {
    let Some(accounts) = server.accounts() else { return };
    let endings = endings.clone();
    drop(tokio::task::spawn_blocking(move || {
        match accounts.reload() {
            Ok(false) => {}
            Ok(true) => tracing::info!("the users file was read again"),
            Err(error) => {
                let text = "the users file cannot be used; accounts stay as they were";
                tracing::error!(%error, "{text}");
            }
        }
        endings.hand_in(accounts.take_ended());
    }));
}

/// Puts accounts in force that were opened anew. Who was in the users file before and is not in
/// the one now has ended, and is to be handed in once the configuration is in force.
#[must_use]
pub(super) fn replace(server: &AuthorizationServer, accounts: Option<Accounts>) -> Vec<Ended> {
    let mut ended = Vec::new();
    if let Some(old) = server.accounts() {
        ended = old.take_ended();
        ended.extend(accounts.iter().flat_map(|new| new.ended_since(&old)));
    }
    server.set_accounts(accounts);
    ended
}
