//! The accounts of `[issuing.users]`: opened at the start, opened anew when a reload changed the
//! section, and the users file read again when it has changed: accounts that are gone then, or
//! disabled, are handed in to have their sessions ended.

use std::io::ErrorKind;
use std::sync::Arc;

use tokio::runtime::Handle;

use super::ended::Endings;
use super::environment;
use crate::config::{Config, PermissionError, Problem, Problems, Source, UserSource, Users};
use crate::issuer::AuthorizationServer;
use crate::issuer::account::file::{FileError, Table};
use crate::issuer::account::{Accounts, Ended, OpenError, Settings};

/// The section, if there is one.
fn section(config: &Config) -> Option<&Users> {
    let users = config.issuing.as_ref()?.get_ref().users.as_ref()?;
    Some(users.get_ref())
}

/// The section compiled; `None` when there is none, when it is wrong, and when only a command
/// knows the database's URL that may not run.
pub(super) fn settings(
    config: &Config,
    source: &Source,
    commands: bool,
    problems: &mut Problems,
) -> Option<Settings> {
    Settings::compile(section(config)?, source, &environment, commands, problems)
}

/// Adds what is wrong with the users file, if that is where accounts are.
pub(super) fn check_file(config: &Config, settings: Option<&Settings>, problems: &mut Problems) {
    if let Some(Err(error)) = settings.and_then(Settings::file).map(|path| Table::load(path)) {
        refuse(config, &error, problems);
    }
}

/// Opens the accounts. Blocks: it reads a file.
pub(super) fn open(
    config: &Config,
    settings: Settings,
    runtime: &Handle,
    problems: &mut Problems,
) -> Option<Accounts> {
    let opened = Accounts::open(settings, runtime);
    opened
        .map_err(|error| match error {
            OpenError::File(error) => refuse(config, &error, problems),
            OpenError::Threads(_) => {
                problems.push(Problem::new(format!("[issuing.users] {error}")));
            }
        })
        .ok()
}

/// The file's errors, at the place where it is named: one each for its lines.
fn refuse(config: &Config, error: &FileError, problems: &mut Problems) {
    let place = match section(config).and_then(Users::source) {
        Some(UserSource::File(file)) => file.span(),
        Some(UserSource::Sql(_) | UserSource::Upstream(_)) | None => 0..0,
    };
    let absent = matches!(error, FileError::Permission(PermissionError::Unreadable(_, error))
        if error.kind() == ErrorKind::NotFound);
    for line in error.to_string().lines() {
        let problem = Problem::at(place.clone(), format!("[issuing.users] {line}"));
        problems.push(if absent {
            problem.help("`postern user add NAME --file FILE` makes it")
        } else {
            problem
        });
    }
}

/// The accounts of a configuration, opened; `None` when it has none. Blocks: it reads files and may
/// run a `…_command`.
///
/// # Errors
///
/// Every problem, as text.
pub(super) fn of(
    config: &Config,
    source: &Source,
    runtime: &Handle,
) -> Result<Option<Accounts>, String> {
    let mut problems = Problems::new();
    let settings = settings(config, source, true, &mut problems);
    let opened = settings.and_then(|settings| open(config, settings, runtime, &mut problems));
    if problems.is_empty() { Ok(opened) } else { Err(problems.render(source)) }
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
