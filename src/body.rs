//! The one body type that answers carry: nothing, bytes in hand, or a stream.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};

/// Why a streamed body ended early; the connection that carries it is then cut, never completed.
pub type StreamError = Box<dyn std::error::Error + Send + Sync>;

/// A message body on its way out.
pub enum Body {
    /// No bytes.
    Empty,
    /// All bytes in hand; `None` once they were handed over. Boxed, for every message carries a
    /// body's size through its moves and few carry these.
    Full(Option<Box<Bytes>>),
    /// Bytes that arrive while they are sent.
    Stream(Pin<Box<dyn HttpBody<Data = Bytes, Error = StreamError> + Send>>),
}

impl Body {
    /// A body of these bytes.
    pub fn full(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        if bytes.is_empty() { Self::Empty } else { Self::Full(Some(Box::new(bytes))) }
    }

    /// A body that is produced while it is sent.
    pub fn stream(body: impl HttpBody<Data = Bytes, Error = StreamError> + Send + 'static) -> Self {
        Self::Stream(Box::pin(body))
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = StreamError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, StreamError>>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            Self::Full(bytes) => Poll::Ready(bytes.take().map(|b| Ok(Frame::data(*b)))),
            Self::Stream(body) => body.as_mut().poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Full(bytes) => bytes.is_none(),
            Self::Stream(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Full(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |b| b.len() as u64)),
            Self::Stream(body) => body.size_hint(),
        }
    }
}
