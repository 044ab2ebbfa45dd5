//! `[audit]` → the audit log, opened; and what the process itself writes into it.

use std::path::Path;

use aws_lc_rs::digest::{SHA256, digest};
use data_encoding::HEXLOWER;

use super::{Error, environment};
use crate::config::{self, Config, Personal, Problem, Problems, SecretSource, Source};
use crate::observe::audit::chain::{KEY_BYTES_MIN, Key};
use crate::observe::audit::{Audit, AuditWriter, Event, Hashed, Kind, Outcome, Settings};

/// Whether one is kept.
fn is_on(raw: &config::Audit) -> bool {
    raw.file.get_ref().on().is_some() && raw.key().is_some()
}

/// The key of a log that is kept; `None`: there is none to keep, or, without `commands`, only a
/// command knows its key.
pub(super) fn key_in_use(
    raw: &config::Audit,
    source: &Source,
    commands: bool,
    problems: &mut Problems,
) -> Option<Key> {
    let is_known = commands || !matches!(raw.key(), Some(SecretSource::Command(_)));
    if !is_on(raw) || !is_known {
        return None;
    }
    key(raw, source).map_err(|problem| problems.push(problem)).ok()
}

/// Reads the key and opens the file.
///
/// # Errors
///
/// A key that cannot be read or is too short, a file that cannot be continued.
pub fn open(
    config: &Config,
    source: &Source,
    state_dir: &Path,
) -> Result<(Audit, Option<AuditWriter>), Error> {
    let mut problems = Problems::new();
    let key = key_in_use(&config.audit, source, true, &mut problems);
    if !problems.is_empty() {
        return Err(Error::Configuration(problems.render(source)));
    }
    open_with(key, config, source, state_dir)
}

/// Opens the file; without a key there is none.
pub(super) fn open_with(
    key: Option<Key>,
    config: &Config,
    source: &Source,
    state_dir: &Path,
) -> Result<(Audit, Option<AuditWriter>), Error> {
    let raw = &config.audit;
    let (Some(file), Some(key)) = (raw.file.get_ref().on(), key) else {
        return Ok((Audit::off(), None));
    };
    let hashes = |what| raw.hash.iter().any(|personal| *personal == what);
    let settings = Settings {
        file: source.resolve(&file.0),
        key,
        hashed: Hashed { subject: hashes(Personal::Subject), address: hashes(Personal::Address) },
        rotate_bytes: raw.rotate.get_ref().on().map(|size| size.get()),
    };
    let (audit, writer) = Audit::open(settings, state_dir)
        .map_err(|error| Error::Start(format!("[audit] {error}")))?;
    Ok((audit, Some(writer)))
}

/// The key that the configuration names.
///
/// # Errors
///
/// Why there is none.
pub fn key(raw: &config::Audit, source: &Source) -> Result<Key, Problem> {
    let problem = |why: String| Problem::at(raw.key_place(), format!("[audit] key: {why}"));
    let from = raw.key().ok_or_else(|| Problem::new("[audit] names no key"))?;
    let secret = from.read(source.dir(), &environment);
    let secret = secret.map_err(|error| problem(error.to_string()))?;
    Key::new(&secret).ok_or_else(|| {
        let bytes = secret.expose().len();
        problem(format!("it has {bytes} bytes, and needs {KEY_BYTES_MIN} at least"))
            .help("make one with `openssl rand -hex 32 > FILE`, and chmod 600 it")
    })
}

/// That the gateway begins, and with which configuration.
pub(super) fn start(source: &Source) -> Event {
    Event::new(Kind::Start, Outcome::Done)
        .detail("version", env!("CARGO_PKG_VERSION"))
        .detail("configuration", fingerprint(source))
}

/// That another configuration is to be put in force.
pub(super) fn reload(source: &Source) -> Event {
    Event::new(Kind::Reload, Outcome::Asked).detail("configuration", fingerprint(source))
}

/// The file's SHA-256: tells whether it is the one that somebody remembers.
fn fingerprint(source: &Source) -> String {
    HEXLOWER.encode(digest(&SHA256, source.text().as_bytes()).as_ref())
}
