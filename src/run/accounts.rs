//! The accounts of `[issuing.users]`: opened at the start, opened anew when a reload changed the
//! section, and the users file read again when it has changed.

use std::sync::Arc;

use tokio::runtime::Handle;

use super::environment;
use crate::config::{Config, Problems, Source, UserSource, Users};
use crate::issuer::AuthorizationServer;
use crate::issuer::account::{Accounts, Settings};

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
pub(super) fn look(server: &Arc<AuthorizationServer>) {
    let Some(accounts) = server.accounts() else { return };
    drop(tokio::task::spawn_blocking(move || match accounts.reload() {
        Ok(false) => {}
        Ok(true) => tracing::info!("the users file was read again"),
        Err(error) => {
            tracing::error!(%error, "the users file cannot be used; accounts stay as they were");
        }
    }));
}
