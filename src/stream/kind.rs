//! What kind of stream an answer is.

use http::HeaderMap;
use http::header::CONTENT_TYPE;

use crate::policy::StreamRules;

/// Kinds of streams, as `[streams] close_at_exp` tells them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Any other body: let finish when its token expires, ended only when that is revoked.
    Body,
    /// `application/grpc`.
    Grpc,
    /// `application/grpc-web`, whose messages and trailers are spelled otherwise.
    GrpcWeb,
    /// `text/event-stream`.
    Sse,
    /// WebSocket.
    WebSocket,
}

impl Kind {
    /// What a message with these fields is.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Self {
        let Some(media) = headers.get(CONTENT_TYPE) else { return Self::Body };
        let begins = |with: &[u8]| {
            media.as_bytes().get(..with.len()).is_some_and(|head| head.eq_ignore_ascii_case(with))
        };
        if begins(b"text/event-stream") {
            Self::Sse
        } else if begins(b"application/grpc-web") {
            Self::GrpcWeb
        } else if begins(b"application/grpc") {
            Self::Grpc
        } else {
            Self::Body
        }
    }

    /// Whether it ends with its token's `exp`.
    #[must_use]
    pub const fn ends_at_exp(self, rules: &StreamRules) -> bool {
        match self {
            Self::Body => false,
            Self::Grpc | Self::GrpcWeb => rules.grpc,
            Self::Sse => rules.sse,
            Self::WebSocket => rules.websocket,
        }
    }
}
