//! Prints every check of a token, with the code that the gateway itself uses.

use std::io::{self, Write};

use serde_json::{Value, json};

use super::{Format, printable};
use crate::auth::{Check, IssuerFilter, Issuers, Outcome, Verified};
use crate::time::UnixTime;

/// Checks a token against issuers at `now` and writes each step; returns whether all passed. The
/// blocklist and the rules of routes are not asked.
///
/// # Errors
///
/// When `out` cannot be written.
pub fn verify(
    issuers: &Issuers,
    token: &str,
    now: UnixTime,
    format: Format,
    out: &mut dyn Write,
) -> io::Result<bool> {
    let (checks, verified) = issuers.report(token, &IssuerFilter::All, now);
    match format {
        Format::Json => {
            writeln!(out, "{}", printable(&document(&checks, verified.as_ref())))?;
        }
        Format::Text => text(&checks, verified.as_ref(), out)?,
    }
    Ok(verified.is_some())
}

fn document(checks: &[Check], verified: Option<&Verified>) -> Value {
    let checks: Vec<Value> = checks
        .iter()
        .map(|check| match &check.outcome {
            Outcome::Failed(error) => json!({
                "check": check.name, "outcome": "failed", "reason": error.reason(),
                "detail": error.to_string(),
            }),
            Outcome::NotReached => json!({"check": check.name, "outcome": "not_reached"}),
            Outcome::Passed => json!({"check": check.name, "outcome": "passed"}),
        })
        .collect();
    let token = verified.map(|verified| {
        json!({
            "entry": verified.entry, "issuer": verified.issuer, "kid": verified.kid,
            "subject": verified.subject, "jti": verified.jti, "session": verified.session,
            "clients": verified.clients, "roles": verified.roles, "scopes": verified.scopes,
            "permissions": verified.permissions, "expires_at": verified.expires_at.seconds(),
        })
    });
    json!({"valid": verified.is_some(), "checks": checks, "token": token})
}

fn text(checks: &[Check], verified: Option<&Verified>, out: &mut dyn Write) -> io::Result<()> {
    for check in checks {
        match &check.outcome {
            Outcome::Failed(error) => {
                writeln!(out, "FAIL  {}", check.name)?;
                writeln!(out, "      {error} ({})", error.reason())?;
            }
            Outcome::NotReached => writeln!(out, " --   {}", check.name)?,
            Outcome::Passed => writeln!(out, "pass  {}", check.name)?,
        }
    }
    match verified {
        Some(verified) => {
            let kid = verified.kid.as_deref().unwrap_or("(none)");
            writeln!(out, "valid: issuer entry {:?}, key {kid:?}", verified.entry)
        }
        None => writeln!(out, "refused"),
    }
}
