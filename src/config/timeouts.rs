//! `[timeouts]`: how long anything may take.

use serde::Deserialize;
use toml::Spanned;

use super::duration::Period;
use super::unplaced;

/// Upper bounds (R37).
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Timeouts {
    /// TLS handshake; default 10 s.
    pub handshake: Spanned<Period>,
    /// The whole request head; default 10 s.
    pub header: Spanned<Period>,
    /// Between two pieces of a body, either way; default 30 s. A route may override.
    pub body_idle: Spanned<Period>,
    /// An idle client connection; default 60 s.
    pub keep_alive: Spanned<Period>,
    /// Connecting to an upstream server; default 2 s. A route may override.
    pub connect: Spanned<Period>,
    /// The head of the upstream's response; default 30 s. A route may override.
    pub response: Spanned<Period>,
    /// How long requests in flight may go on when stopping; default 30 s.
    pub drain: Spanned<Period>,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            handshake: unplaced(Period::seconds(10)),
            header: unplaced(Period::seconds(10)),
            body_idle: unplaced(Period::seconds(30)),
            keep_alive: unplaced(Period::seconds(60)),
            connect: unplaced(Period::seconds(2)),
            response: unplaced(Period::seconds(30)),
            drain: unplaced(Period::seconds(30)),
        }
    }
}
