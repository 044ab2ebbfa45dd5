//! `postern check`: what is wrong with a configuration, and with `--online` also with what it
//! leads to.

mod online;

use std::io::Write;

use clap::Args;

use super::token::Format;
use super::{ConfigArgs, complain};
use crate::config::{self, Failure, Loaded, Options, Problem, Problems, Source};
use crate::limit::Registry;
use crate::observe::metrics::Metrics;
use crate::policy::{self, Context, FileAccess, Snapshot};
use crate::run::{environment, needs};

/// Arguments of `postern check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Also run `…_command`s and read `${file:}`; never for a stranger's configuration
    #[arg(long)]
    allow_commands: bool,
    /// Also try key sources, store, accounts, upstreams and certificates; runs commands
    #[arg(long)]
    online: bool,
    /// For people or for programs
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

pub(super) fn run(args: &CheckArgs, out: &mut dyn Write, err: &mut dyn Write) -> u8 {
    let (options, access) = if args.allow_commands || args.online {
        (Options::ONLINE, FileAccess::Online)
    } else {
        (Options::OFFLINE, FileAccess::Offline)
    };
    let path = match args.config.path() {
        Ok(path) => path,
        Err(text) => {
            complain(err, &text);
            return 2;
        }
    };
    let loaded = match config::load(&path, &args.config.set, &environment, options) {
        Ok(loaded) => loaded,
        Err(Failure::Invalid { source, problems }) => {
            report(args.format, &source, &problems, out, err);
            return 2;
        }
        Err(failure) => {
            complain(err, &failure.to_string());
            return 2;
        }
    };
    match with_needs(&loaded, access) {
        Ok(snapshot) => good(args, &loaded, &snapshot, out, err),
        Err(problems) => {
            report(args.format, &loaded.source, &problems, out, err);
            2
        }
    }
}

/// The configuration as such is good.
fn good(
    args: &CheckArgs,
    loaded: &Loaded,
    snapshot: &Snapshot,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> u8 {
    let findings = match args.online.then(|| online::run(loaded, snapshot)).transpose() {
        Ok(findings) => findings,
        Err(text) => {
            complain(err, &text);
            return 1;
        }
    };
    let (routes, issuers) = (snapshot.routes.len(), snapshot.issuers.settings().count());
    let (source, warnings) = (&loaded.source, loaded.config.warnings());
    let name = source.name();
    let (routes, issuers) = (several(routes, "route"), several(issuers, "issuer"));
    let written = match args.format {
        Format::Text => writeln!(out, "{name}: good ({routes}, {issuers})")
            .and_then(|()| warn(source, &warnings, err))
            .and_then(|()| findings.iter().try_for_each(|findings| online::write(findings, out))),
        Format::Json => {
            let mut said =
                serde_json::json!({ "problems": [], "warnings": as_json(source, &warnings) });
            if let (Some(findings), Some(said)) = (&findings, said.as_object_mut()) {
                said.insert("online".to_owned(), online::as_json(findings));
            }
            writeln!(out, "{said}")
        }
    };
    let failed = findings.is_some_and(|findings| online::any_failed(&findings));
    u8::from(written.is_err() || failed)
}

/// What is allowed and may surprise.
fn warn(source: &Source, warnings: &Problems, err: &mut dyn Write) -> std::io::Result<()> {
    let mut marked = Problems::new();
    for warning in warnings.sorted() {
        let message = format!("warning: {}", warning.message);
        marked.push(Problem { message, ..warning.clone() });
    }
    write!(err, "{}", marked.render(source))
}

/// Compiles without a gateway around it.
pub(super) fn compile(loaded: &Loaded, access: FileAccess) -> Result<Snapshot, Problems> {
    let (limiters, metrics) = (Registry::default(), Metrics::new());
    let context = Context {
        source: &loaded.source,
        limiters: &limiters,
        metrics: &metrics,
        previous: None,
        environment: &environment,
        access,
    };
    policy::compile(&loaded.config, context)
}

/// As a gateway would at its start, with what it takes besides.
fn with_needs(loaded: &Loaded, access: FileAccess) -> Result<Snapshot, Problems> {
    let mut problems = Problems::new();
    needs::check(&loaded.config, &loaded.source, access, &mut problems);
    match compile(loaded, access) {
        Ok(snapshot) if problems.is_empty() => Ok(snapshot),
        Ok(_) => Err(problems),
        Err(more) => {
            problems.extend(more);
            Err(problems)
        }
    }
}

fn report(
    format: Format,
    source: &Source,
    problems: &Problems,
    out: &mut dyn Write,
    err: &mut dyn Write,
) {
    match format {
        Format::Text => {
            let _ = write!(err, "{}", problems.render(source));
            let _ = writeln!(err, "{}: {} wrong", source.name(), count(problems.len()));
        }
        Format::Json => {
            let list = as_json(source, problems);
            let _ = writeln!(out, "{}", serde_json::json!({ "problems": list }));
        }
    }
}

fn as_json(source: &Source, problems: &Problems) -> Vec<serde_json::Value> {
    let shown = |problem: &Problem| {
        serde_json::json!({
            "place": source.place(problem.span.as_ref()),
            "message": problem.message,
            "help": problem.help,
        })
    };
    problems.sorted().into_iter().map(shown).collect()
}

fn several(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

fn count(problems: usize) -> String {
    if problems == 1 { "1 thing is".to_owned() } else { format!("{problems} things are") }
}
