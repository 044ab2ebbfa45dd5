//! `postern keys jwks`: what others verify with.

use std::fs::File;
use std::io::{self, Read as _, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;
use zeroize::Zeroizing;

use super::directory::Directory;
use super::set::{Jwk, is_over, same_key, text};
use super::{Clock, Failure, output};
use crate::auth::Family;
use crate::auth::keys::{KeyError, public_jwks, thumbprint};
use crate::cli::complain;
use crate::time::UnixTime;

/// Largest key file that is read.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Arguments of `postern keys jwks`.
#[derive(Debug, Args)]
pub struct JwksArgs {
    /// Key directories, and files with a PEM key, a certificate, a JWK or a JWKS; of private keys
    /// only the public half is printed
    #[arg(value_name = "DIR|FILE", required = true)]
    pub paths: Vec<PathBuf>,
}

pub(super) fn run(
    args: &JwksArgs,
    clock: &Clock<'_>,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> Result<(), Failure> {
    let now = (clock.now)();
    let mut published: Vec<Jwk> = Vec::new();
    for path in &args.paths {
        let keys = if path.is_dir() { of_directory(path, now, err)? } else { of_file(path, now)? };
        for mut key in keys {
            if published.iter().any(|other| same_key(other, &key)) {
                continue;
            }
            if !key.contains_key("kid")
                && let Some(kid) = thumbprint(&key)
            {
                key.insert("kid".to_owned(), kid.into());
            }
            let kid = text(&key, "kid");
            if published.iter().any(|other| text(other, "kid") == kid) {
                let text = format!("{}: another key has the kid {kid:?}", path.display());
                return Err(Failure::Refused(text));
            }
            published.push(key);
        }
    }
    if published.is_empty() {
        return Err(Failure::Refused("there is no key to publish".to_owned()));
    }
    writeln!(out, "{:#}", json!({ "keys": published })).map_err(output)
}

/// The keys of a key directory; those whose time is over are dropped there, too.
fn of_directory(path: &Path, now: UnixTime, err: &mut dyn Write) -> Result<Vec<Jwk>, Failure> {
    let directory = Directory::open(path)?;
    let mut contents = directory.contents()?;
    if contents.signing.key.algorithm().family() == Family::Hmac {
        return Err(secret(path));
    }
    if contents.prune(now) > 0
        && let Err(failure) = prune(&directory, now)
    {
        let text = format!("an expired key stays in {} for now: {failure}", path.display());
        complain(err, &text);
    }
    // The end that an interrupted rotation set is none as long as the key signs.
    let kid = contents.signing.kid;
    for jwk in contents.set.0.iter_mut().filter(|jwk| text(jwk, "kid") == Some(&kid)) {
        jwk.remove("exp");
    }
    public(contents.set.text().as_bytes(), path)
}

/// As `rotate --prune`: reads again what another command may have changed meanwhile.
fn prune(directory: &Directory, now: UnixTime) -> Result<(), Failure> {
    let _lock = directory.lock()?;
    let mut contents = directory.contents()?;
    if contents.prune(now) > 0 { directory.write_set(&contents.set) } else { Ok(()) }
}

fn of_file(path: &Path, now: UnixTime) -> Result<Vec<Jwk>, Failure> {
    let io = |source| Failure::Io { path: path.to_owned(), source };
    let mut text = Zeroizing::new(Vec::new());
    let file = File::open(path).map_err(io)?;
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut text).map_err(io)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(io(io::Error::new(io::ErrorKind::FileTooLarge, "larger than 1 MiB")));
    }
    let mut keys = public(&text, path)?;
    keys.retain(|key| !is_over(key, now));
    Ok(keys)
}

fn public(text: &[u8], path: &Path) -> Result<Vec<Jwk>, Failure> {
    public_jwks(text).map_err(|source| match source {
        KeyError::Octet => secret(path),
        source => Failure::Key { path: path.to_owned(), source },
    })
}

fn secret(path: &Path) -> Failure {
    Failure::Refused(format!(
        "{} holds a shared secret, which is never published: who knows it can make tokens. \
         Verifiers elsewhere need a public key (ES256, EdDSA, RS256)",
        path.display()
    ))
}
