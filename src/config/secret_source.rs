//! Where a secret comes from: a file, an environment variable or a command; never the
//! configuration itself. Nothing here prints what it read.

use std::io::Read;
use std::ops::Range;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine as _;
use data_encoding::HEXLOWER_PERMISSIVE;
use toml::Spanned;
use zeroize::Zeroize as _;

use super::permission::{PermissionError, open_key};
use crate::secret::Secret;

/// The largest secret: room for a PEM file with a chain.
const SECRET_BYTES_MAX: usize = 64 << 10;

/// How long a command may take, start to exit.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(10);

/// How often a command that has closed its output is asked whether it has ended.
const EXIT_POLL: Duration = Duration::from_millis(5);

/// One of the three keys `…_file`, `…_env`, `…_command`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretSource {
    /// The output of a command, run without a shell in the configuration's directory.
    Command(Vec<String>),
    /// The value of an environment variable.
    Env(String),
    /// The content of a file, relative to the configuration file.
    File(PathBuf),
}

/// Why there is no secret. Never holds a part of it.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The command could not be started.
    #[error("the command {0:?} cannot be started: {kind}", kind = .1.kind())]
    CommandStart(String, #[source] std::io::Error),
    /// The command ended with a failure.
    #[error("the command {0:?} failed ({1})")]
    CommandFailed(String, ExitStatus),
    /// The command took longer than ten seconds.
    #[error("the command {0:?} took longer than 10 s")]
    CommandSlow(String),
    /// Nothing is left when the line break is taken off.
    #[error("{0} is empty")]
    Empty(String),
    /// `base64:` or `hex:` is not followed by that.
    #[error("{0} begins with {1} and goes on with something else")]
    Encoding(String, &'static str),
    /// The file is missing, unreadable or open to others.
    #[error(transparent)]
    File(#[from] PermissionError),
    /// More than 64 KiB.
    #[error("{0} is larger than 64 KiB")]
    TooLarge(String),
    /// The variable is not set.
    #[error("the environment variable {0} is not set")]
    Unset(String),
}

impl SecretSource {
    /// The one of three keys that is given; with several, which is an error found by validation,
    /// the first.
    pub(super) fn of(
        file: &Option<Spanned<PathBuf>>,
        env: &Option<Spanned<String>>,
        command: &Option<Spanned<Vec<String>>>,
    ) -> Option<Self> {
        let file = file.as_ref().map(|path| Self::File(path.get_ref().clone()));
        let env = || env.as_ref().map(|name| Self::Env(name.get_ref().clone()));
        let command = || command.as_ref().map(|words| Self::Command(words.get_ref().clone()));
        file.or_else(env).or_else(command)
    }

    /// Where that key stands; the empty place when none is given.
    pub(super) fn place(
        file: &Option<Spanned<PathBuf>>,
        env: &Option<Spanned<String>>,
        command: &Option<Spanned<Vec<String>>>,
    ) -> Range<usize> {
        let file = file.as_ref().map(Spanned::span);
        let env = || env.as_ref().map(Spanned::span);
        let command = || command.as_ref().map(Spanned::span);
        file.or_else(env).or_else(command).unwrap_or_default()
    }

    /// Reads the secret: one final line break is taken off, then `base64:` and `hex:` are decoded.
    ///
    /// Blocks for up to ten seconds when it is a command; `base` is the configuration's directory.
    ///
    /// # Errors
    ///
    /// [`SecretError`], one variant a cause.
    pub fn read(
        &self,
        base: &Path,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Secret<Vec<u8>>, SecretError> {
        self.read_within(COMMAND_TIMEOUT, base, environment)
    }

    /// As [`SecretSource::read`], with another limit for a command.
    pub(super) fn read_within(
        &self,
        limit: Duration,
        base: &Path,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Secret<Vec<u8>>, SecretError> {
        let what = self.describe();
        let raw = match self {
            Self::Command(words) => run(words, limit, base)?,
            Self::Env(name) => {
                let value = environment(name).ok_or_else(|| SecretError::Unset(name.clone()))?;
                Secret::new(value.into_bytes())
            }
            Self::File(path) => read_file(&base.join(path), &what)?,
        };
        decode(trimmed(raw.expose()), &what)
    }

    /// How messages call it.
    fn describe(&self) -> String {
        match self {
            Self::Command(words) => {
                format!("the output of {:?}", words.first().map_or("", String::as_str))
            }
            Self::Env(name) => format!("the environment variable {name}"),
            Self::File(path) => format!("the file {}", path.display()),
        }
    }
}

/// Without one final line break.
fn trimmed(raw: &[u8]) -> &[u8] {
    let line = raw.strip_suffix(b"\n").unwrap_or(raw);
    if line.len() < raw.len() { line.strip_suffix(b"\r").unwrap_or(line) } else { line }
}

fn decode(raw: &[u8], what: &str) -> Result<Secret<Vec<u8>>, SecretError> {
    let wrong = |encoding| SecretError::Encoding(what.to_owned(), encoding);
    let bytes = if let Some(text) = raw.strip_prefix(b"base64:") {
        let standard = base64::engine::general_purpose::STANDARD.decode(text);
        let url = || base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(text);
        standard.or_else(|_| url()).map_err(|_| wrong("base64:"))?
    } else if let Some(text) = raw.strip_prefix(b"hex:") {
        HEXLOWER_PERMISSIVE.decode(text).map_err(|_| wrong("hex:"))?
    } else {
        raw.to_vec()
    };
    let secret = Secret::new(bytes);
    if secret.expose().is_empty() {
        return Err(SecretError::Empty(what.to_owned()));
    }
    Ok(secret)
}

fn read_file(path: &Path, what: &str) -> Result<Secret<Vec<u8>>, SecretError> {
    let file = open_key(path)?;
    let unreadable = |e| SecretError::File(PermissionError::Unreadable(path.to_owned(), e));
    read_bounded(file).map_err(unreadable)?.ok_or_else(|| SecretError::TooLarge(what.to_owned()))
}

/// All of it, or `None` when it is too large.
fn read_bounded(from: impl Read) -> std::io::Result<Option<Secret<Vec<u8>>>> {
    // All room at once: a vector that grows would leave copies behind.
    let mut bytes = Vec::with_capacity(SECRET_BYTES_MAX + 1);
    let bound = u64::try_from(SECRET_BYTES_MAX).unwrap_or(u64::MAX).saturating_add(1);
    let read = from.take(bound).read_to_end(&mut bytes);
    if let Err(error) = read {
        bytes.zeroize();
        return Err(error);
    }
    let secret = Secret::new(bytes);
    Ok((secret.expose().len() <= SECRET_BYTES_MAX).then_some(secret))
}

/// Runs the command and takes its output. Its error output is dropped: it may hold the secret.
fn run(words: &[String], limit: Duration, base: &Path) -> Result<Secret<Vec<u8>>, SecretError> {
    let (program, arguments) =
        words.split_first().ok_or_else(|| SecretError::Empty("the command".to_owned()))?;
    let started = |error| SecretError::CommandStart(program.clone(), error);
    let deadline = Instant::now() + limit;
    let mut child = Command::new(program)
        .args(arguments)
        .current_dir(base)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .map_err(started)?;
    let (sender, receiver) = mpsc::sync_channel(1);
    let output = child.stdout.take();
    // A thread of its own, because a read from a pipe has no deadline. It ends with the pipe, which
    // the end of the process group closes.
    thread::spawn(move || {
        let read = output.map_or_else(|| Ok(None), read_bounded);
        let _ = sender.send(read);
    });
    let left = deadline.saturating_duration_since(Instant::now());
    let outcome = match receiver.recv_timeout(left) {
        Err(_) => Err(SecretError::CommandSlow(program.clone())),
        Ok(Err(error)) => Err(started(error)),
        Ok(Ok(None)) => Err(SecretError::TooLarge(format!("the output of {program:?}"))),
        Ok(Ok(Some(secret))) => ended(&mut child, deadline, program).map(|()| secret),
    };
    // A child that failed by itself has been waited for, and its number may be another's by now.
    if !matches!(outcome, Ok(_) | Err(SecretError::CommandFailed(..))) {
        kill(&mut child);
    }
    outcome
}

/// Waits for a child that has closed its output.
fn ended(child: &mut Child, deadline: Instant, program: &str) -> Result<(), SecretError> {
    loop {
        match child.try_wait() {
            Ok(Some(status)) if status.success() => return Ok(()),
            Ok(Some(status)) => return Err(SecretError::CommandFailed(program.to_owned(), status)),
            Ok(None) if Instant::now() < deadline => thread::park_timeout(EXIT_POLL),
            Ok(None) => return Err(SecretError::CommandSlow(program.to_owned())),
            Err(error) => return Err(SecretError::CommandStart(program.to_owned(), error)),
        }
    }
}

/// Ends the child and what it has started.
fn kill(child: &mut Child) {
    let group = rustix::process::Pid::from_child(child);
    let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    let _ = child.wait();
}
