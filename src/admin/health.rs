//! Whether the gateway lives, whether it is ready, and how it is.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use http::StatusCode;
use serde_json::{Value, json};

use super::{Admin, Answer, Part, response};
use crate::blocklist::tracked::{TrackedStatus, Why};
use crate::provider::KeySourceStatus;

/// The process answers: it lives.
pub(super) fn live() -> Answer {
    text(StatusCode::OK, "ok\n".to_owned())
}

/// Red until configuration, keys and store have been ready once, and while draining. A store or a
/// provider that is down later is told, not red: everything else still works. A listener for probes
/// alone may face the network: there nobody is told where providers are and how they fail.
pub(super) fn ready(admin: &Admin, query: Option<&str>, part: Part) -> Answer {
    let policy = admin.gateway.policy.load();
    let store = admin.blocklist.status();
    let providers = &admin.gateway.providers;
    let checks = [
        ("configuration", true, String::new()),
        ("keys", providers.were_ready(), String::new()),
        ("store", store.was_up || !policy.check_blocklist, describe(&store)),
        ("serving", !admin.is_draining(), String::new()),
    ];
    let ready = checks.iter().all(|(_, good, _)| *good);
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let verbose = query.is_some_and(|query| {
        form_urlencoded::parse(query.as_bytes()).any(|(name, _)| name == "verbose")
    });
    if !verbose {
        return text(status, if ready { "ok\n" } else { "not ready\n" }.to_owned());
    }
    let mut lines = String::new();
    for (name, good, detail) in checks {
        let mark = if good { '+' } else { '-' };
        let _ = writeln!(lines, "[{mark}] {name} {detail}");
    }
    for source in providers.status() {
        let _ = writeln!(lines, "{}", describe_keys(&source, part));
    }
    for warning in &store.warnings {
        let _ = writeln!(lines, "[!] {warning}");
    }
    text(status, lines)
}

fn describe(store: &crate::blocklist::Status) -> String {
    let mut words = format!("{} {}", store.engine, if store.up { "up" } else { "down" });
    if let (false, Some(error)) = (store.up, &store.last_error) {
        let _ = write!(words, " ({})", error.reason());
    }
    if store.alarm {
        let _ = write!(words, "; entries were lost {} times", store.lost);
    }
    words
}

fn describe_keys(source: &KeySourceStatus, part: Part) -> String {
    let mark = match (source.keys, source.had_keys || !source.required) {
        (1.., _) => '+',
        (0, true) => '!',
        (0, false) => '-',
    };
    let mut line = format!("[{mark}] keys of {}: {} in use", source.entry, source.keys);
    if let Some(age) = source.age {
        let _ = write!(line, ", fetched {} s ago", age.as_secs());
    }
    match (&source.last_error, part) {
        (Some(error), Part::All) => drop(write!(line, " ({error})")),
        (Some(_), Part::Health) => line.push_str(" (the last fetch failed)"),
        (None, _) => {}
    }
    line
}

/// The page of the person on call.
pub(super) fn status(admin: &Admin) -> Value {
    let store = admin.blocklist.status();
    let policy = admin.gateway.policy.load();
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "pid": std::process::id(),
        "uptime_seconds": admin.started.elapsed().as_secs(),
        "draining": admin.is_draining(),
        "connections": admin.gateway.clients.open_connections(),
        "routes": policy.routes.len(),
        "cached_tokens": admin.gateway.tokens.len(),
        "unchecked_requests": admin.gateway.metrics.unchecked_requests.total(),
        "streams": streams(admin),
        "log_lines_dropped": admin.gateway.access.dropped(),
        "keys": keys(admin),
        "store": {
            "engine": store.engine,
            "up": store.up,
            "since": store.since.seconds(),
            "last_error": store.last_error.as_ref().map(crate::store::Error::reason),
            "generation": store.generation,
            "lost": store.lost,
            "alarm": store.alarm,
            "remembered": store.remembered,
            "warnings": store.warnings,
            "check": store.check,
            "tracked": store.tracked.as_ref().map(tracked),
        },
    })
}

fn streams(admin: &Admin) -> Value {
    let streams = &admin.gateway.streams;
    let ended = streams.ended().into_iter().map(|ended| (ended.reason.to_owned(), ended.streams));
    json!({
        "open": streams.open(),
        "ended": ended.collect::<BTreeMap<String, u64>>(),
        "unanswered": streams.unanswered(),
    })
}

/// The local copy of the blocklist.
fn tracked(tracked: &TrackedStatus) -> Value {
    json!({
        "used": tracked.why_not.is_none(),
        "why_not": tracked.why_not.map(Why::reason),
        "lease_age_ms": tracked.lease_age.map(|age| u64::try_from(age.as_millis()).ok()),
        "entries": tracked.entries,
        "carried": tracked.carried,
    })
}

fn keys(admin: &Admin) -> Vec<Value> {
    let sources = admin.gateway.providers.status();
    sources
        .iter()
        .map(|source| {
            json!({
                "entry": source.entry,
                "required": source.required,
                "keys": source.keys,
                "had_keys": source.had_keys,
                "age_seconds": source.age.map(|age| age.as_secs()),
                "last_error": source.last_error,
            })
        })
        .collect()
}

fn text(status: StatusCode, text: String) -> Answer {
    response(status, "text/plain; charset=utf-8", text.into_bytes())
}
