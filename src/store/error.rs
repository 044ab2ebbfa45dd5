//! Why the store gave no answer. Never holds a key's value, a user name or a password.

use std::sync::Arc;

/// A store that did not answer, or not with what was asked for. Whoever asked on the way to a
/// decision refuses (R42).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The server answered with an error; its code word (`LOADING`, `NOAUTH`, `MOVED` ...).
    #[error("the store answered {0}")]
    Answer(Arc<str>),
    /// There is no connection; the last attempt's reason.
    #[error("no connection to the store: {0}")]
    Down(Arc<str>),
    /// The embedded database failed.
    #[error("the embedded store failed: {0}")]
    Embedded(Arc<str>),
    /// The connection ended before the answer came.
    #[error("the connection to the store was lost")]
    Lost,
    /// The entry is stored, but fewer replicas than asked for have it.
    #[error("stored, not replicated: {got} of {wanted} replicas have it")]
    NotReplicated {
        /// Replicas that have it.
        got: u32,
        /// Replicas that must.
        wanted: u32,
    },
    /// The answer had another form than the command allows.
    #[error("the store's answer makes no sense: {0}")]
    Shape(&'static str),
    /// No answer within `[store] timeout`.
    #[error("the store did not answer in time")]
    Timeout,
}

impl Error {
    /// One word from a fixed list, for log lines and metric labels.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Answer(_) => "error_answer",
            Self::Down(_) => "down",
            Self::Embedded(_) => "embedded",
            Self::Lost => "connection_lost",
            Self::NotReplicated { .. } => "not_replicated",
            Self::Shape(_) => "bad_answer",
            Self::Timeout => "timeout",
        }
    }
}

/// Why a store cannot even be set up. A Redis that is down is none of these: the gateway starts
/// and answers 503 until it is up (R44).
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has the embedded store open.
    #[error("{0} is in use by another gateway: the embedded store serves one process")]
    AlreadyOpen(String),
    /// The embedded store's file is damaged or not one.
    #[error("{path} is not a readable embedded store: {detail}")]
    Corrupt {
        /// The file.
        path: String,
        /// What the database said.
        detail: String,
    },
    /// A file or directory could not be made or read.
    #[error("{path}: {source}")]
    Io {
        /// The file or directory.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The TLS settings do not fit together.
    #[error("[store] TLS: {0}")]
    Tls(String),
}
