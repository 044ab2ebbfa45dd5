//! `postern token`: look into a token, check it against a configuration, make one for trying out.
//!
//! Tokens and keys come from files or standard input, never from an argument, where every user of
//! the machine could read them. Only data goes to `out`; everything for people goes to `err`.

mod inspect;
mod mint;
mod verify;

#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use thiserror::Error;

use crate::auth::Issuers;
use crate::time::UnixTime;

pub use mint::MintArgs;
pub use verify::verify;

/// Largest token or key file that is read.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Look into, check or make a token.
#[derive(Debug, Args)]
pub struct TokenArgs {
    /// What to do with it.
    #[command(subcommand)]
    pub verb: TokenVerb,
}

/// The verbs of `postern token`.
#[derive(Debug, Subcommand)]
pub enum TokenVerb {
    /// Show header and claims WITHOUT checking anything
    Inspect(InspectArgs),
    /// Sign a token with a key of your own and print it
    Mint(Box<MintArgs>),
    /// Check a token against the configured issuers, step by step
    Verify(VerifyArgs),
}

/// Arguments of `postern token inspect`.
#[derive(Debug, Args)]
pub struct InspectArgs {
    /// File that holds the token; - is standard input
    #[arg(long, value_name = "FILE", default_value = "-")]
    pub token_file: PathBuf,
    /// For people or for programs
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
}

/// Arguments of `postern token verify`.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// Configuration file; without it, where `postern run` looks
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// File that holds the token; - is standard input
    #[arg(long, value_name = "FILE", default_value = "-")]
    pub token_file: PathBuf,
    /// For people or for programs
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
}

/// How the result is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// One JSON document.
    Json,
    /// Lines for people.
    Text,
}

/// Where a command reads and writes.
pub struct Io<'a> {
    /// Standard input.
    pub input: &'a mut dyn Read,
    /// Standard output: data only.
    pub out: &'a mut dyn Write,
    /// Standard error: warnings and errors.
    pub err: &'a mut dyn Write,
}

/// Reads the configuration and compiles its issuers; the error is for people.
pub type LoadIssuers<'a> = &'a dyn Fn(Option<&Path>) -> Result<Issuers, String>;

/// Why a command did not do what it was asked.
#[derive(Debug, Error)]
pub(super) enum Failure {
    /// The configuration is not usable: exit code 2.
    #[error("{0}")]
    Configuration(String),
    /// The answer is no: exit code 1. What there is to say was written already.
    #[error("refused")]
    No,
    /// A file cannot be read, or the output not be written: exit code 1.
    #[error("{0}: {1}")]
    Io(Box<str>, io::Error),
    /// What was found is not usable: exit code 1.
    #[error("{0}")]
    Unusable(String),
    /// The arguments contradict each other: exit code 2.
    #[error("{0}")]
    Usage(String),
}

/// Runs one verb; returns the exit code: 0 fine, 1 refused or failed, 2 wrong usage or invalid
/// configuration.
pub fn run(args: &TokenArgs, now: UnixTime, io: &mut Io<'_>, load: LoadIssuers<'_>) -> u8 {
    let result = match &args.verb {
        TokenVerb::Inspect(args) => token_text(&args.token_file, io.input)
            .and_then(|token| inspect::run(&token, args, now, io)),
        TokenVerb::Mint(args) => mint::run(args, now, io),
        TokenVerb::Verify(args) => run_verify(args, now, io, load),
    };
    let Err(failure) = result else { return 0 };
    if !matches!(failure, Failure::No) {
        // When even the error cannot be written, the exit code still says it.
        let _ = writeln!(io.err, "postern: {failure}");
    }
    match failure {
        Failure::Configuration(_) | Failure::Usage(_) => 2,
        Failure::Io(..) | Failure::No | Failure::Unusable(_) => 1,
    }
}

fn run_verify(
    args: &VerifyArgs,
    now: UnixTime,
    io: &mut Io<'_>,
    load: LoadIssuers<'_>,
) -> Result<(), Failure> {
    let issuers = load(args.config.as_deref()).map_err(Failure::Configuration)?;
    let token = token_text(&args.token_file, io.input)?;
    let valid = verify(&issuers, &token, now, args.format, io.out).map_err(output)?;
    if valid { Ok(()) } else { Err(Failure::No) }
}

/// The token in a file, without white space around it.
fn token_text(path: &Path, input: &mut dyn Read) -> Result<String, Failure> {
    let bytes = if path == Path::new("-") {
        read_all(input).map_err(|error| Failure::Io("standard input".into(), error))?
    } else {
        read_file(path)?
    };
    let text = String::from_utf8(bytes)
        .map_err(|_| Failure::Unusable("the token is not text".to_owned()))?;
    Ok(text.trim().to_owned())
}

fn read_file(path: &Path) -> Result<Vec<u8>, Failure> {
    File::open(path)
        .and_then(|mut file| read_all(&mut file))
        .map_err(|error| Failure::Io(path.display().to_string().into(), error))
}

fn read_all(from: &mut dyn Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "larger than 1 MiB"));
    }
    Ok(bytes)
}

fn output(error: io::Error) -> Failure {
    Failure::Io("output".into(), error)
}

/// JSON for a terminal: what serde leaves as it is, but a terminal might obey, is escaped.
fn printable(value: &serde_json::Value) -> String {
    let text = format!("{value:#}");
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        // Bidirectional overrides can make one value look like another.
        let hides = matches!(
            character,
            '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
        );
        if (character.is_control() && character != '\n') || hides {
            safe.push_str(&format!("\\u{:04x}", u32::from(character)));
        } else {
            safe.push(character);
        }
    }
    safe
}
