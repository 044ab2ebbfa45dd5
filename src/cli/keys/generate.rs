//! `postern keys generate`.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};

use super::client_secret::{self, ClientSecretArgs};
use super::directory::{Contents, Directory, Held, entry};
use super::set::{Set, text};
use super::{Clock, Failure, algorithm, kid, output, report};
use crate::auth::{Algorithm, SigningKey};
use crate::cli::token::Format;

/// Arguments of `postern keys generate`.
#[derive(Debug, Args)]
pub struct GenerateArgs {
    /// Directory to make: 0700, nothing else in it
    #[arg(value_name = "DIR", required_unless_present = "client_secret")]
    pub directory: Option<PathBuf>,
    /// What the key signs with
    #[arg(long, value_name = "ALG", default_value = "ES256", value_parser = algorithm())]
    pub algorithm: Algorithm,
    /// Key id; default: the key's thumbprint (RFC 7638), for HS256 a random one
    #[arg(long, value_parser = kid)]
    pub kid: Option<String>,
    /// A piece of configuration, or JSON for programs
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
    /// For an OAuth client.
    #[command(flatten)]
    pub client: ClientSecretArgs,
}

pub(super) fn run(
    args: &GenerateArgs,
    clock: &Clock<'_>,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    if let Some(hash_file) = &args.client.client_secret {
        return client_secret::run(&args.client, hash_file, out);
    }
    let Some(path) = &args.directory else {
        return Err(Failure::Refused("name a directory".to_owned()));
    };
    let directory = Directory::create(path)?;
    let _lock = directory.lock()?;
    if directory.has_signing() || !matches!(directory.is_unfinished(), Ok(true)) {
        let shown = path.display();
        return Err(Failure::Refused(format!(
            "{shown} holds keys already, and none is overwritten: `postern keys rotate {shown}` \
             lets a new one sign"
        )));
    }
    let key = SigningKey::generate(args.algorithm)?;
    let jwk = entry(&key, args.kid.as_deref(), (clock.now)())?;
    let kid = text(&jwk, "kid").unwrap_or_default().to_owned();
    // In the order of a rotation: nothing signs before its key can be known.
    let set = Set(vec![jwk]);
    directory.write_next(&key)?;
    directory.write_set(&set)?;
    directory.switch(args.algorithm)?;
    let contents = Contents { set, signing: Held { kid, key }, next: None };
    let report = report(&directory, &contents);
    let written = match args.format {
        Format::Json => writeln!(out, "{report:#}"),
        Format::Text => write!(out, "{}", configuration(path, &report)),
    };
    written.map_err(output)
}

/// What goes into the configuration, with the rest as comments: of the two entries the one for keys
/// that somebody else signs with, which stands alone.
fn configuration(directory: &Path, report: &Value) -> String {
    let plain = |name: &str| report.get(name).and_then(Value::as_str).unwrap_or_default();
    // Strings of JSON are strings of TOML.
    let quoted = |name: &str| json!(plain(name)).to_string();
    let is_hmac = plain("algorithm").starts_with("HS");
    format!(
        "# The key that signs; nobody else may read it:
#   {private}
# Its kid, for the header of the tokens: {kid}

# If Postern issues the tokens, this belongs to its [issuing] section (or, for an upstream's
# assertion, under [[upstreams.NAME.assertion.keys]]):
#
# [[issuing.keys]]
# kid = {quoted_kid}
# algorithm = {algorithm}
# {key_file} = {quoted_private}

# If a service of yours signs the tokens, this lets Postern take them; `postern keys rotate
# {directory}` then lets a new key sign:

[[issuers]]
name = \"own\"
issuer = \"https://auth.example.com\"          # the iss of your tokens
audiences = [\"https://api.example.com\"]      # their aud
algorithms = [{algorithm}]
jwks_file = {jwks}
",
        private = plain("private_key_file"),
        kid = plain("kid"),
        quoted_kid = quoted("kid"),
        key_file = if is_hmac { "secret_file" } else { "private_key_file" },
        quoted_private = quoted("private_key_file"),
        directory = directory.display(),
        algorithm = quoted("algorithm"),
        jwks = quoted("jwks_file"),
    )
}
