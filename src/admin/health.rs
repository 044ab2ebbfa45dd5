//! Whether the gateway lives, whether it is ready, and how it is.

use std::fmt::Write as _;

use http::StatusCode;
use serde_json::{Value, json};

use super::{Admin, Answer, response};

/// The process answers: it lives.
pub(super) fn live() -> Answer {
    text(StatusCode::OK, "ok\n".to_owned())
}

/// Red until configuration, keys and store have been ready once, and while draining. A store that
/// is down later is told, not red: public routes still work.
pub(super) fn ready(admin: &Admin, query: Option<&str>) -> Answer {
    let policy = admin.gateway.policy.load();
    let store = admin.blocklist.status();
    let checks = [
        ("configuration", true, String::new()),
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
        "unchecked_requests": admin.gateway.unchecked.requests(),
        "log_lines_dropped": admin.gateway.access.dropped(),
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
        },
    })
}

fn text(status: StatusCode, text: String) -> Answer {
    response(status, "text/plain; charset=utf-8", text.into_bytes())
}
