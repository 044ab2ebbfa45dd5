//! What can be told from the configuration alone: names that lead nowhere, settings that
//! contradict each other, rules that could never hold. Opens nothing.

mod assertion;
mod audit;
mod clients;
mod endpoints;
mod identity;
mod issuers;
mod issuing;
mod listen;
mod providers;
mod revocation;
mod routes;
mod signing_keys;
mod store;
mod users;

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use toml::Spanned;

use super::Config;
use super::duration::Period;
use super::problem::{Problem, Problems};
use super::shape::Declared;
use super::size::Size;

/// The longest that one wait may take; above it the limit is no limit.
const TIMEOUT_MAX: Duration = Duration::from_secs(24 * 3600);

/// Adds everything that is wrong with `config` to `problems`. `declared` are the names in the file,
/// of entries too that could not be understood.
pub(super) fn validate(config: &Config, declared: &Declared, problems: &mut Problems) {
    listen::validate(config, declared, problems);
    store::validate(config, problems);
    audit::validate(&config.audit, problems);
    revocation::validate(config, problems);
    bounds(config, problems);
    issuers::validate(&config.issuers, problems);
    issuing::validate(config, declared, problems);
    clients::validate(config, declared, problems);
    upstreams(config, declared, problems);
    routes::validate(config, declared, problems);
    endpoints::validate(config, problems);
    identity::validate(&config.identity, problems);
    if let Some(users) =
        config.issuing.as_ref().and_then(|issuing| issuing.get_ref().users.as_ref())
    {
        users::validate(users, problems);
    }
}

/// What is allowed and may surprise.
pub(super) fn warnings(config: &Config) -> Problems {
    let mut warnings = Problems::new();
    revocation::warn(config, &mut warnings);
    warnings
}

/// Sizes and times between what works and what is absurd.
fn bounds(config: &Config, problems: &mut Problems) {
    let limits = &config.limits;
    // The http crate's longest URI is 65534 bytes.
    size(&limits.target_bytes, (256, 65_534), "target_bytes", problems);
    size(&limits.header_bytes, (8 << 10, 1 << 20), "header_bytes", problems);
    size(&limits.authorization_bytes, (256, 1 << 20), "authorization_bytes", problems);
    let header_count = limits.header_count.get_ref().get();
    if !(10..=10_000).contains(&header_count) {
        problems.push(Problem::at(
            limits.header_count.span(),
            format!("header_count is {header_count}; it is between 10 and 10000"),
        ));
    }
    let timeouts = &config.timeouts;
    for (name, period) in [
        ("handshake", &timeouts.handshake),
        ("header", &timeouts.header),
        ("body_idle", &timeouts.body_idle),
        ("keep_alive", &timeouts.keep_alive),
        ("connect", &timeouts.connect),
        ("response", &timeouts.response),
        ("drain", &timeouts.drain),
    ] {
        timeout(name, period, problems);
    }
}

fn size(size: &Spanned<Size>, (least, most): (u64, u64), name: &str, problems: &mut Problems) {
    let bytes = size.get_ref().get();
    if !(least..=most).contains(&bytes) {
        problems.push(Problem::at(
            size.span(),
            format!("{name} is {bytes} bytes; it is between {least} and {most}"),
        ));
    }
}

fn timeout(name: &str, period: &Spanned<Period>, problems: &mut Problems) {
    if period.get_ref().get() > TIMEOUT_MAX {
        problems.push(Problem::at(period.span(), format!("{name} is longer than a day")));
    }
}

fn upstreams(config: &Config, declared: &Declared, problems: &mut Problems) {
    for (name, upstream) in &config.upstreams {
        label(name, "an upstream's name", problems);
        if upstream.servers.is_empty() {
            let place = upstream.servers.span();
            problems.push(Problem::at(place, format!("upstream `{name}` has no servers")));
        }
        distinct(upstream.servers.spanned(), "this server is listed twice", problems);
        timeout("keep_alive", &upstream.keep_alive, problems);
        if let Some(placed) = &upstream.assertion {
            let has_keys = declared.assertion_keys.contains(name.get_ref());
            assertion::validate(config, placed, has_keys, problems);
        }
        if let Some(ca) = &upstream.ca
            && !upstream.servers.iter().any(|server| server.tls)
        {
            problems.push(
                Problem::at(ca.span(), "`ca` has no effect: no server is https")
                    .help("write https:// servers, or leave it out"),
            );
        }
    }
}

/// A name that becomes a metric label and a word in a log line.
fn label(name: &Spanned<String>, what: &str, problems: &mut Problems) {
    let legal = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let text = name.get_ref();
    if text.is_empty() || text.len() > 64 || !text.chars().all(legal) {
        problems.push(
            Problem::at(name.span(), format!("{text:?} cannot be {what}"))
                .help("write 1 to 64 letters, digits, `-`, `_` or `.`"),
        );
    }
}

/// Points at every name that was there before.
fn unique<'a>(
    names: impl IntoIterator<Item = &'a Spanned<String>>,
    what: &str,
    problems: &mut Problems,
) {
    let mut seen: BTreeMap<&str, Range<usize>> = BTreeMap::new();
    for name in names {
        if seen.insert(name.get_ref(), name.span()).is_some() {
            problems.push(Problem::at(name.span(), format!("{what} is called `{name}` already")));
        }
    }
}

/// Points at every value that was there before; at the earlier one when the later is a default.
fn distinct<'a, T: PartialEq + 'a>(
    values: impl IntoIterator<Item = &'a Spanned<T>>,
    message: &str,
    problems: &mut Problems,
) {
    let mut seen: Vec<&Spanned<T>> = Vec::new();
    for value in values {
        if let Some(before) = seen.iter().find(|before| **before == value) {
            let span = if value.span().is_empty() { before.span() } else { value.span() };
            problems.push(Problem::at(span, message));
        }
        seen.push(value);
    }
}

/// The three keys of a secret, of which one at most is given.
struct SecretKeys<'a> {
    /// What the keys begin with: `secret` or `password`.
    stem: &'a str,
    file: &'a Option<Spanned<PathBuf>>,
    env: &'a Option<Spanned<String>>,
    command: &'a Option<Spanned<Vec<String>>>,
}

impl SecretKeys<'_> {
    fn validate(&self, problems: &mut Problems) {
        let stem = self.stem;
        let spans = [
            self.file.as_ref().map(Spanned::span),
            self.env.as_ref().map(Spanned::span),
            self.command.as_ref().map(Spanned::span),
        ];
        if let Some(second) = spans.into_iter().flatten().nth(1) {
            problems.push(Problem::at(
                second,
                format!("give one of {stem}_file, {stem}_env and {stem}_command, not several"),
            ));
        }
        if let Some(env) = self.env
            && !is_variable(env.get_ref())
        {
            // Not quoted: it may be the secret itself.
            problems.push(
                Problem::at(env.span(), format!("{stem}_env is not a variable's name"))
                    .help("write the name of an environment variable, not its value"),
            );
        }
        if let Some(command) = self.command
            && command.get_ref().first().is_none_or(String::is_empty)
        {
            problems.push(
                Problem::at(command.span(), format!("{stem}_command names no program"))
                    .help(format!("write {stem}_command = [\"program\", \"argument\"]")),
            );
        }
    }
}

fn is_variable(name: &str) -> bool {
    let legal = |c: char| c.is_ascii_alphanumeric() || c == '_';
    !name.is_empty() && !name.starts_with(|c: char| c.is_ascii_digit()) && name.chars().all(legal)
}
