//! `postern user`: the accounts of the users file.
//!
//! A password comes from the terminal (not shown), from standard input or from a file, never from
//! an argument, where every user of the machine could read it. Only data goes to `out`.
//!
//! What it must never do: print a hash or a password.

mod end_sessions;
mod list;

#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand};
use thiserror::Error;
use zeroize::Zeroizing;

use self::end_sessions::Issuer;
use super::{ConfigArgs, complain};
use crate::config::{Options, PermissionError, UserSource, check_key_permissions};
use crate::issuer::account::file::{
    self, EditError, FileError, NewEntry, Table, UsersFile, read_htpasswd,
};
use crate::issuer::account::{
    ComputeError, Hash, NameError, PASSWORD_BYTES_MAX, Password, PasswordError, check_account_name,
};
use crate::secret::Secret;

pub use list::ListArgs;

/// How long a change waits for another one.
const LOCK_WAIT: Duration = Duration::from_secs(10);

/// The accounts of the users file.
#[derive(Debug, Args)]
pub struct UserArgs {
    /// What to do with them.
    #[command(subcommand)]
    pub verb: UserVerb,
}

/// The verbs of `postern user`.
#[derive(Debug, Subcommand)]
pub enum UserVerb {
    /// Add an account; asks for its password
    Add(AddArgs),
    /// Give an account another password; its sessions go on, unless --end-sessions is given
    Passwd(PasswdArgs),
    /// Show the accounts, without their hashes
    List(ListArgs),
    /// Remove an account: running gateways end its sessions within seconds
    Remove(RemoveArgs),
    /// Take over the accounts of an htpasswd file
    Import(ImportArgs),
}

/// Which users file.
#[derive(Debug, Default, Args)]
pub struct WhichFile {
    /// The users file; else that of the configuration
    #[arg(long, value_name = "FILE", conflicts_with = "config")]
    pub file: Option<PathBuf>,
    /// Which configuration.
    #[command(flatten)]
    pub config: ConfigArgs,
}

/// Arguments of `postern user add`.
#[derive(Debug, Args)]
pub struct AddArgs {
    /// The account's name, exactly as it will be typed
    #[arg(value_parser = account_name)]
    pub name: String,
    /// Roles, separated by commas
    #[arg(long, value_delimiter = ',', value_name = "ROLES")]
    pub roles: Vec<String>,
    /// Permissions, separated by commas
    #[arg(long, value_delimiter = ',', value_name = "PERMISSIONS")]
    pub permissions: Vec<String>,
    /// `sub` of its tokens; default: the name
    #[arg(long)]
    pub id: Option<String>,
    /// File that holds the password; - is standard input. Default: asked for on the terminal
    #[arg(long, value_name = "FILE")]
    pub password_file: Option<PathBuf>,
    /// Where.
    #[command(flatten)]
    pub which: WhichFile,
}

/// Arguments of `postern user passwd`.
#[derive(Debug, Args)]
pub struct PasswdArgs {
    /// The account's name
    #[arg(value_parser = account_name)]
    pub name: String,
    /// File that holds the password; - is standard input. Default: asked for on the terminal
    #[arg(long, value_name = "FILE")]
    pub password_file: Option<PathBuf>,
    /// End all sessions of the account, through the gateway that runs with this configuration
    #[arg(long, conflicts_with = "file")]
    pub end_sessions: bool,
    /// Where.
    #[command(flatten)]
    pub which: WhichFile,
}

/// Arguments of `postern user remove`.
#[derive(Debug, Args)]
pub struct RemoveArgs {
    /// The account's name
    #[arg(value_parser = account_name)]
    pub name: String,
    /// Where.
    #[command(flatten)]
    pub which: WhichFile,
}

/// Arguments of `postern user import`.
#[derive(Debug, Args)]
pub struct ImportArgs {
    /// The htpasswd file
    #[arg(value_name = "HTPASSWD")]
    pub from: PathBuf,
    /// Roles for each account, separated by commas
    #[arg(long, value_delimiter = ',', value_name = "ROLES")]
    pub roles: Vec<String>,
    /// Give accounts that are there already the imported hash
    #[arg(long)]
    pub replace: bool,
    /// Where.
    #[command(flatten)]
    pub which: WhichFile,
}

/// Asks on the terminal, by this prompt, without showing what is typed.
pub type Ask<'a> = &'a dyn Fn(&str) -> io::Result<String>;

/// The world outside.
pub struct Io<'a> {
    /// Standard input.
    pub input: &'a mut dyn Read,
    /// `None` when there is no terminal.
    pub ask: Option<Ask<'a>>,
    /// Standard output: data only.
    pub out: &'a mut dyn Write,
    /// Standard error.
    pub err: &'a mut dyn Write,
}

/// Why a command did not do what it was asked. Never holds a password or a hash.
#[derive(Debug, Error)]
enum Failure {
    #[error("{0}")]
    Configuration(String),
    #[error(transparent)]
    Compute(#[from] ComputeError),
    #[error(transparent)]
    Edit(#[from] EditError),
    #[error(transparent)]
    File(#[from] FileError),
    #[error("{0}: {1}")]
    Io(Box<str>, #[source] io::Error),
    /// What there is to say was written already.
    #[error("some lines were not taken over")]
    Partial,
    #[error(transparent)]
    Password(#[from] PasswordError),
    #[error(transparent)]
    Permission(#[from] PermissionError),
    /// The password is another, and that is all.
    #[error("{0}")]
    SessionsGoOn(String),
    #[error("{0}")]
    Usage(String),
}

/// Runs one verb; returns the exit code: 0 fine, 1 refused or failed, 2 wrong usage or invalid
/// configuration.
pub fn run(args: &UserArgs, io: &mut Io<'_>) -> u8 {
    let done = match &args.verb {
        UserVerb::Add(args) => add(args, io),
        UserVerb::Passwd(args) => passwd(args, io),
        UserVerb::List(args) => list::run(args, io),
        UserVerb::Remove(args) => remove(args, io),
        UserVerb::Import(args) => take_over(args, io),
    };
    let Err(failure) = done else { return 0 };
    complain(io.err, &failure.to_string());
    if matches!(failure, Failure::Configuration(_) | Failure::Usage(_)) { 2 } else { 1 }
}

fn add(args: &AddArgs, io: &mut Io<'_>) -> Result<(), Failure> {
    let path = args.which.path()?;
    // Before anybody types a password in vain.
    let there = path.exists() && Table::load(&path)?.get(&args.name).is_some();
    if there {
        return Err(EditError::Exists(args.name.clone()).into());
    }
    let hash = new_hash(&args.name, args.password_file.as_deref(), io)?;
    let new = NewEntry {
        name: args.name.clone(),
        roles: args.roles.clone(),
        id: args.id.clone(),
        permissions: args.permissions.clone(),
        disabled: false,
    };
    change(&path, |users| Ok(users.add(&new, &hash)?))?;
    say(io, &format!("{} was added to {}", args.name, path.display()));
    Ok(())
}

fn passwd(args: &PasswdArgs, io: &mut Io<'_>) -> Result<(), Failure> {
    let path = args.which.path()?;
    let issuer = args.end_sessions.then(|| Issuer::of(&args.which.config)).transpose()?;
    if Table::load(&path)?.get(&args.name).is_none() {
        return Err(EditError::Missing(args.name.clone()).into());
    }
    let hash = new_hash(&args.name, args.password_file.as_deref(), io)?;
    let mut subject = args.name.clone();
    change(&path, |users| {
        if let Some(entry) = users.get(&args.name) {
            entry.subject().clone_into(&mut subject);
        }
        Ok(users.set_hash(&args.name, &hash)?)
    })?;
    say(io, &format!("{} has another password", args.name));
    match issuer {
        Some(issuer) => issuer.end_sessions(&subject, io),
        None => {
            say(io, "sessions go on; --end-sessions or `postern revoke --sub` ends them");
            Ok(())
        }
    }
}

fn remove(args: &RemoveArgs, io: &mut Io<'_>) -> Result<(), Failure> {
    let path = args.which.path()?;
    // A file that is not there has no accounts, and is not made for that.
    Table::load(&path)?;
    change(&path, |users| Ok(users.remove(&args.name)?))?;
    say(io, &format!("{} was removed from {}", args.name, path.display()));
    say(io, "gateways that run end its sessions within seconds, and refuse its tokens");
    Ok(())
}

fn take_over(args: &ImportArgs, io: &mut Io<'_>) -> Result<(), Failure> {
    let path = args.which.path()?;
    let text = read_htpasswd(&args.from)?;
    let mut users = UsersFile::open(&path, LOCK_WAIT)?;
    let imported = file::import(&mut users, &text, &args.roles, args.replace);
    if !imported.taken.is_empty() {
        users.write()?;
    }
    for (line, error) in &imported.refused {
        say(io, &format!("{}:{line}: {error}", args.from.display()));
    }
    let (taken, refused) = (imported.taken.len(), imported.refused.len());
    say(io, &format!("{taken} taken over into {}, {refused} not", path.display()));
    if refused == 0 { Ok(()) } else { Err(Failure::Partial) }
}

/// Locks, changes, writes.
fn change(
    path: &Path,
    change: impl FnOnce(&mut UsersFile) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut users = UsersFile::open(path, LOCK_WAIT)?;
    change(&mut users)?;
    users.write()?;
    Ok(())
}

impl WhichFile {
    /// The users file that is meant.
    fn path(&self) -> Result<PathBuf, Failure> {
        if let Some(file) = &self.file {
            return Ok(file.clone());
        }
        let loaded = self.config.load(Options::ONLINE).map_err(Failure::Configuration)?;
        let issuing = loaded.config.issuing.as_ref();
        let users = issuing.and_then(|issuing| issuing.get_ref().users.as_ref());
        match users.and_then(|users| users.get_ref().source()) {
            Some(UserSource::File(file)) => Ok(loaded.source.resolve(file.get_ref())),
            Some(UserSource::Sql(_) | UserSource::Upstream(_)) => Err(Failure::Usage(
                "[issuing.users] of the configuration is no file: its accounts are kept elsewhere"
                    .to_owned(),
            )),
            None => Err(Failure::Usage(
                "the configuration has no [issuing.users] file; name one with --file FILE"
                    .to_owned(),
            )),
        }
    }
}

/// Takes a new password and hashes it.
fn new_hash(name: &str, file: Option<&Path>, io: &mut Io<'_>) -> Result<Secret<String>, Failure> {
    let typed = match (file, io.ask) {
        (Some(path), _) if path != Path::new("-") => password_file(path)?,
        (None, Some(ask)) => asked(name, ask)?,
        (Some(_) | None, _) => one_line(read_bounded(&mut *io.input, "standard input")?)?,
    };
    let password = Password::chosen(typed.expose(), name)?;
    let (_, hash) = Hash::make(password.whole())?;
    Ok(hash)
}

fn asked(name: &str, ask: Ask<'_>) -> Result<Secret<String>, Failure> {
    let failed = |error| Failure::Io("the terminal".into(), error);
    let first = Secret::new(ask(&format!("Password for {name}: ")).map_err(failed)?);
    let again = Secret::new(ask("Once more: ").map_err(failed)?);
    if first == again {
        return Ok(first);
    }
    Err(Failure::Io("the terminal".into(), io::Error::other("the two are not the same")))
}

fn password_file(path: &Path) -> Result<Secret<String>, Failure> {
    check_key_permissions(path)?;
    let shown = path.display().to_string();
    let file = File::open(path).map_err(|error| Failure::Io(shown.as_str().into(), error))?;
    one_line(read_bounded(file, &shown)?)
}

fn read_bounded(from: impl Read, what: &str) -> Result<Zeroizing<Vec<u8>>, Failure> {
    // Room for all at once, and for what is too much to be noticed.
    let mut bytes = Zeroizing::new(Vec::with_capacity(PASSWORD_BYTES_MAX * 2));
    let bound = u64::try_from(PASSWORD_BYTES_MAX).unwrap_or(u64::MAX).saturating_add(3);
    let read = from.take(bound).read_to_end(&mut bytes);
    read.map_err(|error| Failure::Io(what.into(), error))?;
    Ok(bytes)
}

/// The password: everything but one final line break.
fn one_line(bytes: Zeroizing<Vec<u8>>) -> Result<Secret<String>, Failure> {
    let wrong = |what: &str| Failure::Usage(format!("the password is {what}"));
    let text = std::str::from_utf8(&bytes).map_err(|_| wrong("not text in UTF-8"))?;
    let line = text.strip_suffix('\n').unwrap_or(text);
    let line = if line.len() < text.len() { line.strip_suffix('\r').unwrap_or(line) } else { line };
    if line.contains(['\n', '\r']) {
        return Err(wrong("more than one line"));
    }
    Ok(Secret::new(line.to_owned()))
}

/// What an account's name on the command line must be.
fn account_name(text: &str) -> Result<String, String> {
    let said = |error: NameError| format!("the name {error}");
    check_account_name(text).map_err(said)?;
    Ok(text.to_owned())
}

/// For people; when even that cannot be written, the exit code still says it.
fn say(io: &mut Io<'_>, text: &str) {
    let _ = writeln!(io.err, "postern: {text}");
}
