//! `[log]`: the program's log and the access log.

use std::path::PathBuf;

use serde::Deserialize;
use toml::Spanned;

use super::scalar::Scalar;
use super::unplaced;

/// What is written down, how and where.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// The least important level that is written; default info.
    pub level: Spanned<LogLevel>,
    /// Lines of JSON or of text; default JSON.
    pub format: Spanned<LogFormat>,
    /// Where the access log goes; default standard output.
    pub access: Spanned<AccessLog>,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            level: unplaced(LogLevel::Info),
            format: unplaced(LogFormat::Json),
            access: unplaced(AccessLog::Stdout),
        }
    }
}

/// Levels, from the most to the least important.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// Something failed that the operator must look at.
    Error,
    /// Something that may become a failure.
    Warn,
    /// What happened.
    Info,
    /// Why it happened.
    Debug,
    /// Every step.
    Trace,
}

/// The form of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

/// Where the access log goes.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Scalar")]
pub enum AccessLog {
    /// A file, relative to the configuration file, appended to.
    File(PathBuf),
    /// Nowhere.
    Off,
    /// Standard error.
    Stderr,
    /// Standard output.
    Stdout,
}

impl TryFrom<Scalar> for AccessLog {
    type Error = String;

    fn try_from(scalar: Scalar) -> Result<Self, String> {
        let text = scalar.text("\"stdout\", \"stderr\", a file or \"off\"")?;
        match text.as_str() {
            "" => Err("an empty name\nwrite \"stdout\", \"stderr\", a file or \"off\"".to_owned()),
            "off" => Ok(Self::Off),
            "stderr" => Ok(Self::Stderr),
            "stdout" => Ok(Self::Stdout),
            file => Ok(Self::File(PathBuf::from(file))),
        }
    }
}
