//! Shows what a token says of itself. Nothing here is checked, and nothing else may use it.

use std::io::{self, Write};
use std::time::{Duration, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::{Failure, Format, InspectArgs, Io, output, printable};
use crate::time::UnixTime;

/// Claims that are times.
const TIMES: [&str; 4] = ["iat", "nbf", "auth_time", "exp"];

pub(super) fn run(
    token: &str,
    args: &InspectArgs,
    now: UnixTime,
    io: &mut Io<'_>,
) -> Result<(), Failure> {
    let warning = "NOT VERIFIED: anybody can write such a token. `postern token verify` checks it.";
    writeln!(io.err, "{warning}").map_err(output)?;
    let parts: Vec<&str> = token.split('.').collect();
    let [header, claims, _signature] = parts.as_slice() else {
        let count = parts.len();
        let hint = if count == 5 { "; five are an encrypted token (JWE)" } else { "" };
        return Err(Failure::Unusable(format!("{count} parts where a JWT has three{hint}")));
    };
    let (header, claims) = (decode("header", header)?, decode("claims", claims)?);
    let written = match args.format {
        Format::Json => {
            let document = json!({"verified": false, "header": header, "claims": claims});
            writeln!(io.out, "{}", printable(&document))
        }
        Format::Text => text(&header, &claims, now, io.out),
    };
    written.map_err(output)
}

fn decode(what: &str, part: &str) -> Result<Value, Failure> {
    let unusable = |why: &str| Failure::Unusable(format!("the {what} part is not {why}"));
    let octets = URL_SAFE_NO_PAD.decode(part).map_err(|_| unusable("base64url"))?;
    serde_json::from_slice(&octets).map_err(|_| unusable("JSON"))
}

fn text(header: &Value, claims: &Value, now: UnixTime, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "header  {}", printable(header))?;
    writeln!(out, "claims  {}", printable(claims))?;
    for name in TIMES {
        if let Some(at) = claims.get(name).and_then(Value::as_i64) {
            writeln!(out, "{name:<7} {}", describe(UnixTime(at), now))?;
        }
    }
    Ok(())
}

/// A time for people: the date, and how far from now.
fn describe(at: UnixTime, now: UnixTime) -> String {
    // Year 9999 is where the date format ends.
    let date = u64::try_from(at.seconds()).ok().filter(|seconds| *seconds < 253_402_300_800);
    let date = date.map_or_else(
        || "not a date".to_owned(),
        |seconds| {
            humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(seconds)).to_string()
        },
    );
    if at > now {
        format!("{date} (in {})", humantime::format_duration(at.since(now)))
    } else {
        format!("{date} ({} ago)", humantime::format_duration(now.since(at)))
    }
}
