//! The command line. Data goes to standard output, everything for people to standard error.
//!
//! Exit codes: 0 fine, 1 refused or failed, 2 wrong usage or invalid configuration.

mod audit;
mod check;
mod completions;
mod demo;
pub mod keys;
mod remote;
mod revocations;
mod revoke;
mod routes;
mod run;
pub mod token;
pub mod user;

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand};

use crate::config::{self, Loaded, Options};
use crate::run::environment;
use crate::time::UnixTime;

/// Where the configuration is looked for when it is not named.
const PLACES: [&str; 2] = ["postern.toml", "/etc/postern/postern.toml"];

/// A reverse-proxy authentication gateway.
#[derive(Debug, Parser)]
#[command(name = "postern", version, about, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Serve
    Run(run::RunArgs),
    /// The whole system in one process, to look at: prints curl lines that work
    Demo(demo::DemoArgs),
    /// The gateway in front of your own running service, without a configuration file
    Dev(demo::DevArgs),
    /// Check a configuration: every error at once
    Check(check::CheckArgs),
    /// Show what is routed where, and who may go there
    Routes(routes::RoutesArgs),
    /// Look into, check or make a token
    Token(token::TokenArgs),
    /// Make, rotate and publish keys of your own
    Keys(keys::KeysArgs),
    /// The accounts of the users file: add, passwd, list, remove, import
    User(user::UserArgs),
    /// Revoke a token, or all tokens of a user, session, client, issuer or key
    Revoke(Box<revoke::RevokeArgs>),
    /// What is on the blocklist; lift an entry; acknowledge a loss
    Revocations(revocations::RevocationsArgs),
    /// Check an audit log
    Audit(audit::AuditArgs),
    /// How the running gateway is
    Status(remote::StatusArgs),
    /// Make the running gateway read its configuration again
    Reload(remote::GatewayArgs),
    /// Exit code 0 when the running gateway is ready
    Healthcheck(remote::GatewayArgs),
    /// Print a completion script for a shell
    Completions(completions::CompletionsArgs),
}

/// Which configuration.
#[derive(Clone, Debug, Default, Args)]
pub struct ConfigArgs {
    /// Configuration file; else POSTERN_CONFIG, ./postern.toml, /etc/postern/postern.toml
    #[arg(long, short, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Override one key: --set log.level=debug
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

/// Parses the arguments, does what they say, and returns the exit code.
#[must_use]
pub fn main() -> u8 {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            drop(error.print());
            return if error.use_stderr() { 2 } else { 0 };
        }
    };
    crate::run::install_providers();
    let (mut out, mut err) = (std::io::stdout().lock(), std::io::stderr());
    match cli.verb {
        // These write from several threads; the lock on standard output is not theirs to hold.
        Verb::Run(args) => {
            drop(out);
            run::run(&args, &mut err)
        }
        Verb::Demo(args) => {
            drop(out);
            demo::demo(&args, &mut err)
        }
        Verb::Dev(args) => {
            drop(out);
            demo::dev(&args, &mut err)
        }
        Verb::Check(args) => check::run(&args, &mut out, &mut err),
        Verb::Routes(args) => routes::run(&args, &mut out, &mut err),
        Verb::Token(args) => {
            let mut input = std::io::stdin();
            let mut io = token::Io { input: &mut input, out: &mut out, err: &mut err };
            token::run(&args, UnixTime::now(), &mut io, &load_issuers)
        }
        Verb::Keys(args) => {
            let clock = keys::Clock { now: &UnixTime::now, wait: &keys::wait };
            keys::run(&args, &clock, &mut out, &mut err)
        }
        Verb::User(args) => {
            let mut input = std::io::stdin();
            let terminal = std::io::IsTerminal::is_terminal(&input);
            let ask: user::Ask<'_> = &|prompt| rpassword::prompt_password(prompt);
            let ask = terminal.then_some(ask);
            let mut io = user::Io { input: &mut input, ask, out: &mut out, err: &mut err };
            user::run(&args, &mut io)
        }
        Verb::Revoke(args) => revoke::run(&args, &mut out, &mut err),
        Verb::Revocations(args) => revocations::run(&args, &mut out, &mut err),
        Verb::Audit(args) => audit::run(&args, &mut out, &mut err),
        Verb::Status(args) => remote::status(&args, &mut out, &mut err),
        Verb::Reload(args) => remote::reload(&args, &mut err),
        Verb::Healthcheck(args) => remote::healthcheck(&args, &mut err),
        Verb::Completions(args) => completions::run(&args, &mut out),
    }
}

impl ConfigArgs {
    /// The configuration file that is meant.
    fn path(&self) -> Result<PathBuf, String> {
        if let Some(path) = &self.config {
            return Ok(path.clone());
        }
        if let Some(path) = environment("POSTERN_CONFIG") {
            return Ok(path.into());
        }
        PLACES.iter().map(PathBuf::from).find(|path| path.exists()).ok_or_else(|| {
            format!(
                "no configuration: name one with --config FILE or POSTERN_CONFIG (looked for {}); \
                 `postern demo` needs none\n",
                PLACES.join(" and ")
            )
        })
    }

    /// Reads it; the error is text for people.
    fn load(&self, options: Options) -> Result<Loaded, String> {
        let path = self.path()?;
        config::load(&path, &self.set, &environment, options).map_err(|failure| {
            let mut text = failure.to_string();
            if !text.ends_with('\n') {
                text.push('\n');
            }
            text
        })
    }
}

/// The issuers of a configuration, for `postern token verify`.
fn load_issuers(path: Option<&Path>) -> Result<crate::auth::Issuers, String> {
    let args = ConfigArgs { config: path.map(Path::to_owned), set: Vec::new() };
    let loaded = args.load(Options::ONLINE)?;
    check::compile(&loaded, crate::policy::FileAccess::Online)
        .map(|snapshot| snapshot.issuers)
        .map_err(|problems| problems.render(&loaded.source))
}

/// Says what is wrong; when even that cannot be written, the exit code still says it.
fn complain(err: &mut dyn Write, text: &str) {
    let _ = write!(err, "postern: {text}");
    if !text.ends_with('\n') {
        let _ = writeln!(err);
    }
}

/// A directory of our own below the system's place for temporary files.
fn private_directory(what: &str) -> Result<PathBuf, String> {
    use std::os::unix::fs::DirBuilderExt as _;
    let name = format!("postern-{what}-{}-{:x}", std::process::id(), fastrand::u64(..));
    let path = std::env::temp_dir().join(name);
    std::fs::DirBuilder::new()
        .mode(0o700)
        .create(&path)
        .map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(path)
}
