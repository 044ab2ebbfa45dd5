//! `postern keys`: keys for those who sign themselves, kept in a directory of their own.
//!
//! | file | what it is |
//! |---|---|
//! | `signing.pem` | the private key that signs (PKCS#8); for HS256 `signing.key`, the secret |
//! | `next.pem`, `next.key` | the one that will sign after the next rotation, once it is prepared |
//! | `jwks.json` | everything that verifies, for `jwks_file`; the signing key comes first |
//! | `lock` | held while a command changes the others |
//!
//! **A rotation, and why a crash between any two steps does no harm.** (1) The new key is written
//! to `next.pem`. (2) `jwks.json` has it beside the old one. (3) Time for the verifiers to see
//! that. (4) `jwks.json` says until when the old one verifies (`exp`). (5) `next.pem` is renamed to
//! `signing.pem`: in one step the new key signs and the old private key is gone. Whatever step was
//! the last, `signing.pem` is in `jwks.json`, and the next `rotate` goes on from there. Which
//! key is which follows from the keys themselves, not from notes beside them.
//!
//! `generate --client-secret` has nothing to do with all that: see its module.
//!
//! What it must never do: print a private key or a key's secret, or publish one.

mod client_secret;
mod directory;
mod generate;
mod publish;
mod rotate;
mod set;

#[cfg(test)]
mod tests;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use thiserror::Error;

use self::directory::{Contents, Directory};
use self::set::text;
use super::complain;
use crate::auth::keys::{KeyError, SignError};
use crate::auth::{Algorithm, SigningKey};
use crate::private_file;
use crate::time::UnixTime;

pub use generate::GenerateArgs;
pub use publish::JwksArgs;
pub use rotate::RotateArgs;

/// Algorithms that a key is made for: those that `[[issuing.keys]]` will take, too.
const ALGORITHMS: [&str; 4] = ["RS256", "ES256", "EdDSA", "HS256"];
/// Longest `kid` that the gateway takes, in bytes.
const KID_BYTES_MAX: usize = 256;

/// Make, rotate and publish keys of your own.
#[derive(Debug, Args)]
pub struct KeysArgs {
    /// What to do with them.
    #[command(subcommand)]
    pub verb: KeysVerb,
}

/// The verbs of `postern keys`.
#[derive(Debug, Subcommand)]
pub enum KeysVerb {
    /// Make a directory with a key that signs and the JWKS that verifies; or a client's secret
    Generate(GenerateArgs),
    /// Let a new key sign; the previous one verifies until its last token has expired
    Rotate(RotateArgs),
    /// Print the public JWKS of a key directory, or of key files
    Jwks(JwksArgs),
}

/// The world outside: what time it is, and how to let some pass.
pub struct Clock<'a> {
    /// The time now.
    pub now: &'a dyn Fn() -> UnixTime,
    /// Returns when this much time has passed.
    pub wait: &'a dyn Fn(Duration),
}

/// Why a command did not do what it was asked. Never holds key material.
#[derive(Debug, Error)]
pub(super) enum Failure {
    /// The system said no.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What it said.
        #[source]
        source: io::Error,
    },
    /// A key cannot be used.
    #[error("{}: {source}", path.display())]
    Key {
        /// Its file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: KeyError,
    },
    /// A private file cannot be read, or should not be.
    #[error(transparent)]
    Private(#[from] private_file::ReadError),
    /// What was asked for would do harm.
    #[error("{0}")]
    Refused(String),
    /// No key could be made.
    #[error("no key can be made: {0}")]
    Sign(#[from] SignError),
}

/// Runs one verb; returns the exit code.
pub fn run(args: &KeysArgs, clock: &Clock<'_>, out: &mut dyn Write, err: &mut dyn Write) -> u8 {
    let done = match &args.verb {
        KeysVerb::Generate(args) => generate::run(args, clock, out),
        KeysVerb::Rotate(args) => rotate::run(args, clock, out, err),
        KeysVerb::Jwks(args) => publish::run(args, clock, out, err),
    };
    let Err(failure) = done else { return 0 };
    complain(err, &failure.to_string());
    1
}

/// The key of a directory that signs now, and its `kid`: for `postern token mint --keys`.
pub(super) fn signer(directory: &Path) -> Result<(SigningKey, String), Failure> {
    let contents = Directory::open(directory)?.contents()?;
    let signing = contents.signing;
    Ok((signing.key, signing.kid))
}

/// The clock of the machine.
pub(super) fn wait(span: Duration) {
    #[allow(clippy::disallowed_methods, reason = "a command that waits has no worker to block")]
    std::thread::sleep(span);
}

/// What a directory holds, without anything secret.
fn report(directory: &Directory, contents: &Contents) -> Value {
    let Contents { set, signing, next } = contents;
    // Configurations are read from elsewhere; a relative path would mean something else there.
    let absolute = |path: PathBuf| path.canonicalize().unwrap_or(path).display().to_string();
    let known = |kid: &str| kid == signing.kid || next.as_ref().is_some_and(|next| next.kid == kid);
    let previous: Vec<Value> = set
        .0
        .iter()
        .filter(|jwk| !text(jwk, "kid").is_some_and(known))
        .map(|jwk| json!({ "kid": jwk.get("kid"), "expires": jwk.get("exp") }))
        .collect();
    let algorithm = signing.key.algorithm();
    json!({
        "algorithm": algorithm.as_str(),
        "kid": signing.kid,
        "private_key_file": absolute(directory.signing_path(algorithm)),
        "jwks_file": absolute(directory.jwks_path()),
        "next": next.as_ref().map(|next| {
            json!({ "kid": next.kid, "algorithm": next.key.algorithm().as_str() })
        }),
        "previous": previous,
    })
}

/// What `--algorithm` takes.
fn algorithm() -> impl clap::builder::TypedValueParser<Value = Algorithm> {
    PossibleValuesParser::new(ALGORITHMS).try_map(|name| name.parse::<Algorithm>())
}

/// What `--kid` takes: what fits into a header and a log line.
fn kid(text: &str) -> Result<String, String> {
    let printable = !text.is_empty() && text.chars().all(|c| c.is_ascii_graphic());
    if printable && text.len() <= KID_BYTES_MAX {
        return Ok(text.to_owned());
    }
    Err(format!("a kid has 1 to {KID_BYTES_MAX} printable ASCII characters and no space"))
}

fn output(source: io::Error) -> Failure {
    Failure::Io { path: "output".into(), source }
}
