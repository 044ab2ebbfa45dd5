//! `postern audit`: checks an audit log afterwards; needs no gateway.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use super::token::Format;
use super::{ConfigArgs, complain};
use crate::config::{self, Options, Problems, SecretSource, Source};
use crate::observe::audit::chain::{KEY_BYTES_MIN, Key};
use crate::observe::audit::head::{self, Head};
use crate::observe::audit::verify::{Broken, Report, verify};
use crate::run::{audit, environment};

/// Arguments of `postern audit`.
#[derive(Debug, Args)]
pub struct AuditArgs {
    #[command(subcommand)]
    verb: AuditVerb,
}

#[derive(Debug, Subcommand)]
enum AuditVerb {
    /// Check that no line was changed, taken out, put in or moved, within and across files
    Verify(VerifyArgs),
}

#[derive(Debug, Args)]
struct VerifyArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// The files, in any order; default the configuration's file with those that were moved aside
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// A file with the key; again for each key that was used. Default the configuration's
    #[arg(long, value_name = "FILE")]
    key_file: Vec<PathBuf>,
    /// An environment variable with the key
    #[arg(long, value_name = "NAME")]
    key_env: Vec<String>,
    /// The gateway's state directory, which knows the last line: without it, whole lines cut off
    /// the end are not noticed. Default the configuration's, where the key is the configuration's
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// For people or for programs
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// What is checked, and with what.
struct Task {
    files: Vec<PathBuf>,
    keys: Vec<Key>,
    head: Option<Head>,
}

pub(super) fn run(args: &AuditArgs, out: &mut dyn Write, err: &mut dyn Write) -> u8 {
    let AuditVerb::Verify(args) = &args.verb;
    let task = match args.task() {
        Ok(task) => task,
        Err(text) => {
            complain(err, &text);
            return 2;
        }
    };
    match verify(&task.files, &task.keys, task.head.as_ref()) {
        Ok(report) => {
            if task.head.is_none() {
                let _ = writeln!(
                    err,
                    "postern: without a state directory that knows the last line, nobody knows \
                     whether the end is missing"
                );
            }
            u8::from(writeln!(out, "{}", shown(&report, args.format)).is_err())
        }
        Err(broken) => {
            let code = if matches!(broken, Broken::Io { .. } | Broken::Nothing) { 2 } else { 1 };
            complain(err, &broken.to_string());
            code
        }
    }
}

impl VerifyArgs {
    fn task(&self) -> Result<Task, String> {
        let explicit = !self.key_file.is_empty() || !self.key_env.is_empty();
        if explicit && !self.files.is_empty() {
            let head = self.state.as_deref().map(known_head).transpose()?;
            return Ok(Task { files: self.files.clone(), keys: self.keys()?, head });
        }
        let loaded = self.config.load(Options::ONLINE)?;
        let (config, source) = (&loaded.config, &loaded.source);
        let keys = if explicit { self.keys()? } else { vec![key(&config.audit, source)?] };
        let files = if self.files.is_empty() {
            let file = config.audit.file.get_ref().on();
            let file = file.ok_or("[audit] file is off: name the files to check")?;
            with_siblings(&source.resolve(&file.0))?
        } else {
            self.files.clone()
        };
        let head = match &self.state {
            Some(state) => Some(known_head(state)?),
            None => read_head(&source.resolve(config.state.dir.get_ref()))?,
        };
        Ok(Task { files, keys, head })
    }

    fn keys(&self) -> Result<Vec<Key>, String> {
        let files = self.key_file.iter().cloned().map(SecretSource::File);
        let variables = self.key_env.iter().cloned().map(SecretSource::Env);
        files
            .chain(variables)
            .map(|source| {
                let secret = source.read(Path::new("."), &environment);
                let secret = secret.map_err(|error| error.to_string())?;
                Key::new(&secret)
                    .ok_or_else(|| format!("a key needs {KEY_BYTES_MIN} bytes at least"))
            })
            .collect()
    }
}

/// The key that the configuration names.
fn key(raw: &config::Audit, source: &Source) -> Result<Key, String> {
    audit::key(raw, source).map_err(|problem| {
        let mut problems = Problems::new();
        problems.push(problem);
        problems.render(source)
    })
}

/// The head in a directory that was named for it: without one there is nothing to hold the end
/// against, and whoever asked must not take it for good.
fn known_head(state: &Path) -> Result<Head, String> {
    let none = || format!("{}: no gateway has written an audit log with this", state.display());
    read_head(state)?.ok_or_else(none)
}

fn read_head(state: &Path) -> Result<Option<Head>, String> {
    head::read(state).map_err(|error| format!("{}: {error}", state.display()))
}

/// The file and those that were moved aside from it.
fn with_siblings(file: &Path) -> Result<Vec<PathBuf>, String> {
    let failed = |error: std::io::Error| format!("{}: {error}", file.display());
    let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let folder = file.parent().unwrap_or_else(|| Path::new("."));
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let other = entry.file_name().to_string_lossy().into_owned();
        let number = other.strip_prefix(&name).and_then(|rest| rest.strip_prefix('.'));
        let is_number = |number: &str| number.bytes().all(|byte| byte.is_ascii_digit());
        if other == name || number.is_some_and(is_number) {
            files.push(entry.path());
        }
    }
    Ok(files)
}

fn shown(report: &Report, format: Format) -> String {
    let Report { lines, first, last, files } = report;
    match format {
        Format::Json => serde_json::json!({
            "lines": lines,
            "first": first,
            "last": last.seq,
            "mac": last.mac.to_string(),
            "gateway": last.gateway,
            "files": files,
        })
        .to_string(),
        Format::Text => {
            let before = if *first > 1 {
                format!("; of the {} lines before, nothing is said", first - 1)
            } else {
                String::new()
            };
            format!(
                "{lines} lines in {} files are as they were written, numbers {first} to \
                 {}{before}\nlast code {}",
                files.len(),
                last.seq,
                last.mac
            )
        }
    }
}
