//! `[audit]` → the audit log, opened; and what the process itself writes into it.

use aws_lc_rs::digest::{SHA256, digest};
use data_encoding::HEXLOWER;

use super::{Error, environment};
use crate::config::{self, Config, Personal, Source};
use crate::observe::audit::chain::{KEY_BYTES_MIN, Key};
use crate::observe::audit::{Audit, AuditWriter, Event, Hashed, Kind, Outcome, Settings};

/// Reads the key and opens the file.
///
/// # Errors
///
/// A key that cannot be read or is too short, a file that cannot be continued.
pub(super) fn open(
    config: &Config,
    source: &Source,
    state_dir: &std::path::Path,
) -> Result<(Audit, Option<AuditWriter>), Error> {
    let raw = &config.audit;
    let (Some(file), Some(_)) = (raw.file.get_ref().on(), raw.key()) else {
        return Ok((Audit::off(), None));
    };
    let hashes = |what| raw.hash.iter().any(|personal| *personal == what);
    let settings = Settings {
        file: source.resolve(&file.0),
        key: key(raw, source).map_err(Error::Configuration)?,
        hashed: Hashed {
            subject: hashes(Personal::Subject),
            address: hashes(Personal::Address),
        },
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
/// Why there is none, as a line of text.
pub fn key(raw: &config::Audit, source: &Source) -> Result<Key, String> {
    let from = raw.key().ok_or("[audit] names no key\n")?;
    let secret = from.read(source.dir(), &environment);
    let secret = secret.map_err(|error| format!("[audit] key: {error}\n"))?;
    Key::new(&secret)
        .ok_or_else(|| format!("[audit] key: it needs {KEY_BYTES_MIN} bytes at least\n"))
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
