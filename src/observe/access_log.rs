//! One line a request: what was asked, what became of it, and why.

use std::fs::OpenOptions;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::Serialize;

use super::lines::{Lines, Writer};
use super::logging::Format;

/// A log that has been quiet for this long is flushed.
const QUIET: Duration = Duration::from_millis(50);

/// Where lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A file, opened for appending, 0600 when it is new.
    File(PathBuf),
    /// Nowhere.
    Off,
    /// Standard error.
    Stderr,
    /// Standard output.
    Stdout,
}

/// One request, as it is written down. Absent values are left out of the line.
#[derive(Debug, Serialize)]
pub struct Line<'a> {
    /// When the request head had been read; RFC 3339, UTC.
    #[serde(rename = "timestamp", serialize_with = "rfc3339")]
    pub at: SystemTime,
    /// Always `access`: tells the line apart in a mixed stream.
    pub event: &'static str,
    /// The same id as in the answer and in the upstream's request.
    pub request_id: &'a str,
    /// The client, after trusted proxies were looked through.
    #[serde(rename = "client.address")]
    pub client: IpAddr,
    /// Request method.
    #[serde(rename = "http.request.method")]
    pub method: &'a str,
    /// Path without query; the query may carry secrets.
    #[serde(rename = "url.path")]
    pub path: &'a str,
    /// Status of the answer.
    #[serde(rename = "http.response.status_code")]
    pub status: u16,
    /// Route name; absent when none was found.
    #[serde(rename = "http.route", skip_serializing_if = "Option::is_none")]
    pub route: Option<&'a str>,
    /// From the request head to the last byte of the answer.
    pub duration_ms: f64,
    /// Upstream name, when the request was forwarded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream: Option<&'a str>,
    /// From handing the request over to the response head.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream_ms: Option<f64>,
    /// `allowed`, `refused`, or `ended`: allowed, and cut short when the token counted no longer.
    #[serde(rename = "auth.result")]
    pub decision: &'static str,
    /// Why; a word from a fixed list.
    #[serde(rename = "auth.reason")]
    pub reason: &'static str,
    /// `hit` or `miss` of the verified-token cache.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache: Option<&'static str>,
    /// Subject of the token.
    #[serde(rename = "user.id", skip_serializing_if = "Option::is_none")]
    pub subject: Option<&'a str>,
    /// Issuer entry that verified the token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer: Option<&'a str>,
    /// The token's id: what `postern revoke --jti` takes.
    #[serde(rename = "token.jti", skip_serializing_if = "Option::is_none")]
    pub jti: Option<&'a str>,
    /// Body bytes sent to the client.
    pub bytes_out: u64,
    /// HTTP version of the request.
    #[serde(rename = "network.protocol.version")]
    pub http_version: &'static str,
    /// Whether the client went away before the answer was complete.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub aborted: bool,
    /// The User-Agent field.
    #[serde(rename = "user_agent.original", skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<&'a str>,
}

fn rfc3339<S: serde::Serializer>(at: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&humantime::format_rfc3339_millis(*at))
}

/// The log of one gateway; cheap to share.
#[derive(Debug)]
pub struct AccessLog {
    lines: Option<Lines>,
    format: Format,
}

impl AccessLog {
    /// Opens the target and starts its writer, which a log that is off does not have.
    ///
    /// # Errors
    ///
    /// When the file cannot be opened for appending or the thread cannot be started.
    pub fn open(target: &Target, format: Format) -> io::Result<(Self, Option<Writer>)> {
        let sink: Box<dyn io::Write + Send> = match target {
            Target::Off => return Ok((Self { lines: None, format }, None)),
            Target::Stdout => Box::new(io::stdout()),
            Target::Stderr => Box::new(io::stderr()),
            Target::File(path) => Box::new(append(path)?),
        };
        let (lines, writer) = Lines::start("access-log", sink, QUIET)?;
        Ok((Self { lines: Some(lines), format }, Some(writer)))
    }

    /// Whether lines are wanted at all.
    #[must_use]
    pub const fn is_on(&self) -> bool {
        self.lines.is_some()
    }

    /// Queues one line.
    pub fn write(&self, line: &Line<'_>) {
        let Some(lines) = &self.lines else { return };
        let mut bytes = match self.format {
            Format::Json => serde_json::to_vec(line).unwrap_or_default(),
            Format::Text => text(line).into_bytes(),
        };
        bytes.push(b'\n');
        lines.push(bytes);
    }

    /// Ends the log; see [`Lines::close`].
    pub fn close(&self) {
        if let Some(lines) = &self.lines {
            lines.close();
        }
    }

    /// Lines that did not fit into the queue since the start.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.lines.as_ref().map_or(0, Lines::dropped)
    }
}

fn append(path: &Path) -> io::Result<std::fs::File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

/// Values that a client chose are quoted and escaped: no line can be forged.
fn text(line: &Line<'_>) -> String {
    format!(
        "{at} {status} {method} {path:?} {ms:.3}ms client={client} route={route} {decision} \
         reason={reason} subject={subject:?} jti={jti:?} id={id:?}",
        at = humantime::format_rfc3339_millis(line.at),
        status = line.status,
        method = line.method,
        path = line.path,
        ms = line.duration_ms,
        client = line.client,
        route = line.route.unwrap_or("-"),
        decision = line.decision,
        reason = line.reason,
        subject = line.subject.unwrap_or("-"),
        jti = line.jti.unwrap_or("-"),
        id = line.request_id,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line() -> Line<'static> {
        Line {
            at: SystemTime::UNIX_EPOCH,
            event: "access",
            request_id: "00",
            client: "192.0.2.1".parse().unwrap(),
            method: "GET",
            path: "/a\nforged \"line",
            status: 401,
            route: None,
            duration_ms: 0.5,
            upstream: None,
            upstream_ms: None,
            decision: "refused",
            reason: "expired",
            cache: None,
            subject: None,
            issuer: None,
            jti: None,
            bytes_out: 0,
            http_version: "1.1",
            aborted: false,
            user_agent: Some("x\ny"),
        }
    }

    /// ASVS 16.4.1: a value cannot start a line of its own (log injection, CWE-117).
    #[test]
    fn no_value_can_forge_a_line() {
        let json = serde_json::to_string(&line()).unwrap();
        assert!(!json.contains('\n') && json.contains("/a\\nforged"), "{json}");
        let text = text(&line());
        assert!(!text.contains('\n') && text.contains("/a\\nforged"), "{text}");
    }

    #[test]
    fn every_queued_line_is_written_before_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("access.log");
        let target = Target::File(path.clone());
        let (log, writer) = AccessLog::open(&target, Format::Json).unwrap();
        for _ in 0..1000 {
            log.write(&line());
        }
        drop(log);
        writer.unwrap().join();
        assert_eq!(std::fs::read_to_string(path).unwrap().lines().count(), 1000);
    }
}
