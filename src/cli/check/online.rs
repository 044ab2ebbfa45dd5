//! `postern check --online`: everything that a gateway with this configuration would depend on is
//! tried once, side by side, and told about in one line each.
//!
//! It asks only what may be asked of a system in use: no key is written to the store, no request
//! is sent to an upstream and no login to the accounts' service, the token that a provider is asked
//! about belongs to nobody, and the accounts' query is prepared and not executed.

mod accounts;
mod certificate;
mod keys;
mod store;
mod upstream;

use std::fmt;
use std::future::Future;
use std::io::Write;
use std::pin::Pin;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::config::Loaded;
use crate::policy::Snapshot;
use crate::time::UnixTime;

/// For all probes together, since they run side by side.
const LIMIT: Duration = Duration::from_secs(10);

/// What came of one probe.
pub(super) struct Finding {
    subject: Subject,
    found: Found,
    took: Duration,
}

/// What is tried.
struct Subject {
    /// `accounts`, `keys`, `introspection`, `store`, `upstream` or `certificate`.
    kind: &'static str,
    /// The issuer entry, the server, the file.
    name: String,
}

/// What a probe has to say; one line without a secret.
struct Found {
    outcome: Outcome,
    words: String,
}

/// How it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// As it should be.
    Good,
    /// It works, and will not or may not for long.
    Warning,
    /// A gateway would fail, wholly or in part.
    Failed,
}

impl Found {
    fn good(words: impl Into<String>) -> Self {
        Self { outcome: Outcome::Good, words: words.into() }
    }

    fn failed(words: impl fmt::Display) -> Self {
        Self { outcome: Outcome::Failed, words: words.to_string() }
    }

    /// Good, unless there is something to warn of.
    fn with_warnings(words: String, warnings: &[String]) -> Self {
        if warnings.is_empty() {
            return Self::good(words);
        }
        let words = format!("{words}; {}", warnings.join("; "));
        Self { outcome: Outcome::Warning, words }
    }
}

/// One probe, not yet begun.
type Probe = (Subject, Pin<Box<dyn Future<Output = Found> + Send>>);

fn probe(
    kind: &'static str,
    name: impl Into<String>,
    found: impl Future<Output = Found> + Send + 'static,
) -> Probe {
    (Subject { kind, name: name.into() }, Box::pin(found))
}

/// Runs every probe; the findings are in the order of the configuration.
///
/// # Errors
///
/// No runtime to run them in.
pub(super) fn run(loaded: &Loaded, snapshot: &Snapshot) -> Result<Vec<Finding>, String> {
    let now = UnixTime::now();
    let mut probes = keys::probes(snapshot);
    probes.extend(store::probe(loaded, now));
    probes.extend(accounts::probe(loaded));
    probes.extend(upstream::probes(snapshot, now));
    probes.extend(certificate::probes(loaded, now));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| error.to_string())?;
    let findings = runtime.block_on(all(probes));
    // A name that is still being looked up would hold up a runtime that is dropped.
    runtime.shutdown_background();
    Ok(findings)
}

async fn all(probes: Vec<Probe>) -> Vec<Finding> {
    let begun: Vec<_> =
        probes.into_iter().map(|(subject, found)| (subject, tokio::spawn(timed(found)))).collect();
    let mut findings = Vec::new();
    for (subject, task) in begun {
        let (found, took) = task.await.unwrap_or_else(|_| {
            (Found::failed("the probe itself failed; this is a defect"), Duration::ZERO)
        });
        findings.push(Finding { subject, found, took });
    }
    findings
}

async fn timed(found: impl Future<Output = Found>) -> (Found, Duration) {
    let began = Instant::now();
    let found = tokio::time::timeout(LIMIT, found).await;
    let found = found.unwrap_or_else(|_| Found::failed(format!("no result within {LIMIT:?}")));
    (found, began.elapsed())
}

/// Whether anything failed.
pub(super) fn any_failed(findings: &[Finding]) -> bool {
    findings.iter().any(|finding| finding.found.outcome == Outcome::Failed)
}

/// One line each, for people.
pub(super) fn write(findings: &[Finding], out: &mut dyn Write) -> std::io::Result<()> {
    for Finding { subject, found, took } in findings {
        let what = format!("{} {}", subject.kind, subject.name);
        let ms = took.as_millis();
        writeln!(out, "{:<8} {what}: {} ({ms} ms)", found.outcome, shown(&found.words))?;
    }
    let count = |outcome| findings.iter().filter(|f| f.found.outcome == outcome).count();
    writeln!(
        out,
        "{} good, {} to look at, {} failed",
        count(Outcome::Good),
        count(Outcome::Warning),
        count(Outcome::Failed)
    )
}

/// The same for programs.
pub(super) fn as_json(findings: &[Finding]) -> Value {
    let one = |finding: &Finding| {
        json!({
            "kind": finding.subject.kind,
            "name": finding.subject.name,
            "outcome": finding.found.outcome.to_string(),
            "found": shown(&finding.found.words),
            "took_ms": u64::try_from(finding.took.as_millis()).unwrap_or(u64::MAX),
        })
    };
    findings.iter().map(one).collect()
}

/// Other systems' words end up in it: one line, and nothing that a terminal would act on.
fn shown(words: &str) -> String {
    words.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Good => "good",
            Self::Warning => "warning",
            Self::Failed => "failed",
        })
    }
}
