//! `[streams]`: when live connections end with their token.

use std::time::Duration;

use serde::Deserialize;
use toml::Spanned;

use super::duration;
use super::list::{List, ListOrOff};
use super::scalar::Scalar;
use super::unplaced;

/// The longest grace; a longer one is no end.
const GRACE_MAX: Duration = Duration::from_secs(24 * 3600);

/// Live connections.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Streams {
    /// What ends when its token has expired; default websocket, sse and grpc. Everything ends when
    /// its token is revoked.
    pub close_at_exp: ListOrOff<StreamKind>,
    /// How long after `exp`, and how long a stream goes on while the blocklist cannot be asked
    /// about it; default 30 s.
    pub grace: Spanned<Grace>,
}

impl Default for Streams {
    fn default() -> Self {
        let kinds = [StreamKind::WebSocket, StreamKind::Sse, StreamKind::Grpc];
        Self {
            close_at_exp: ListOrOff::On(List::unplaced(kinds)),
            grace: unplaced(Grace(Duration::from_secs(30))),
        }
    }
}

/// Kinds of connections that are meant to last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamKind {
    /// `application/grpc` and its kin.
    Grpc,
    /// `text/event-stream`.
    Sse,
    /// WebSocket.
    WebSocket,
}

impl TryFrom<Scalar> for StreamKind {
    type Error = String;

    fn try_from(scalar: Scalar) -> Result<Self, String> {
        let text = scalar.text("\"websocket\", \"sse\" or \"grpc\"")?;
        match text.as_str() {
            "grpc" => Ok(Self::Grpc),
            "sse" => Ok(Self::Sse),
            "websocket" => Ok(Self::WebSocket),
            _ => Err(format!(
                "{text:?} is no kind of stream\nknown here: websocket, sse, grpc; or \"off\" alone"
            )),
        }
    }
}

/// A length of time that may be zero: `"0s"` to `"24h"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Scalar")]
pub struct Grace(Duration);

impl Grace {
    /// The length; at most a day.
    #[must_use]
    pub const fn get(self) -> Duration {
        self.0
    }
}

impl TryFrom<Scalar> for Grace {
    type Error = String;

    fn try_from(scalar: Scalar) -> Result<Self, String> {
        let text = duration::written(scalar)?;
        let grace = duration::parse(&text)?;
        if grace > GRACE_MAX {
            return Err(format!("a grace of {text:?} is too long; at most 24h"));
        }
        Ok(Self(grace))
    }
}
