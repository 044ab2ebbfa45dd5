//! `postern keys generate --client-secret`: a secret for an OAuth client, and its hash for the
//! gateway.
//!
//! The secret is written once, to a file of the caller's or to standard output, and is nowhere
//! afterwards but there.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;

use super::{Failure, output};
use crate::auth::{ClientSecretError, ClientSecretHashes, client_secret_hash, new_client_secret};
use crate::private_file;
use crate::secret::Secret;

/// Largest secret file and hash file.
const BYTES_MAX: usize = 4096;

/// What a hash file begins with.
const HEAD: &str = "# Hashes of an OAuth client's secrets, the newest first: secret_hash_file\n";

/// Arguments that belong to `--client-secret`.
#[derive(Debug, Args)]
pub struct ClientSecretArgs {
    /// Make a secret of 256 bits for an OAuth client instead, and write its hash here
    /// (`secret_hash_file`)
    #[arg(
        long,
        value_name = "HASH_FILE",
        conflicts_with_all = ["directory", "algorithm", "kid", "format"]
    )]
    pub client_secret: Option<PathBuf>,
    /// Where the secret goes (0600); default: standard output
    #[arg(long, value_name = "FILE", requires = "client_secret", conflicts_with = "directory")]
    pub out: Option<PathBuf>,
    /// Keep the newest hash that is there: until it is removed, both secrets are good
    #[arg(long, requires = "client_secret", conflicts_with = "directory")]
    pub add: bool,
    /// Hash the secret in this file (0600) instead of making one
    #[arg(
        long,
        value_name = "FILE",
        requires = "client_secret",
        conflicts_with_all = ["directory", "out"]
    )]
    pub existing: Option<PathBuf>,
}

pub(super) fn run(
    args: &ClientSecretArgs,
    hash_file: &Path,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let kept = newest(hash_file, args.add)?;
    let refused = |error: ClientSecretError| Failure::Refused(error.to_string());
    let secret = match &args.existing {
        Some(path) => existing(path)?,
        None => new_client_secret().map_err(refused)?,
    };
    let hash = client_secret_hash(&secret).map_err(refused)?;
    let older = kept.map(|line| format!("{line}\n")).unwrap_or_default();
    let text = format!("{HEAD}{hash}\n{older}");
    if let Some(path) = &args.out {
        if path.exists() {
            let shown = path.display();
            return Err(Failure::Refused(format!("{shown} is there already: not overwritten")));
        }
        write(path, &format!("{}\n", secret.expose()))?;
    }
    write(hash_file, &text)?;
    if args.out.is_none() && args.existing.is_none() {
        writeln!(out, "{}", secret.expose()).map_err(output)?;
    }
    Ok(())
}

/// The newest hash of a file that is there, when it is to be kept.
fn newest(hash_file: &Path, add: bool) -> Result<Option<String>, Failure> {
    let shown = hash_file.display();
    let bytes = match private_file::read(hash_file, BYTES_MAX) {
        Ok(bytes) => bytes,
        Err(error) if error.is_missing() => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    if !add {
        return Err(Failure::Refused(format!(
            "{shown} holds a hash already, and whoever has its secret would be locked out: --add \
             keeps it good beside the new one"
        )));
    }
    let refused = |error: ClientSecretError| Failure::Refused(format!("{shown} {error}"));
    let text = String::from_utf8(bytes).map_err(|_| refused(ClientSecretError::Malformed(1)))?;
    ClientSecretHashes::parse(&text).map_err(refused)?;
    let mut lines = text.lines().map(str::trim);
    Ok(lines.find(|line| !line.is_empty() && !line.starts_with('#')).map(str::to_owned))
}

/// One final line break is none of it.
fn existing(path: &Path) -> Result<Secret<String>, Failure> {
    let bytes = zeroize::Zeroizing::new(private_file::read(path, BYTES_MAX)?);
    let text = std::str::from_utf8(&bytes).unwrap_or_default();
    Ok(Secret::new(text.strip_suffix('\n').unwrap_or(text).to_owned()))
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let written = private_file::write(path, text.as_bytes());
    written.map_err(|source| Failure::Io { path: path.to_owned(), source })
}
