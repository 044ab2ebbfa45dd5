//! A response body on its way from the upstream to the client.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;

use super::pool::Line;
use super::{IdleTimer, Outcome, Pool, Progress};
use crate::body::StreamError;
use crate::policy::upstream::Server;

/// A connection that is in use and goes back to its pool when the response has been read.
pub(super) struct Lease {
    pub(super) pool: Arc<Pool>,
    pub(super) server: Arc<Server>,
    pub(super) line: Line,
    pub(super) keep_alive: Duration,
    pub(super) upload: Option<Arc<Progress>>,
}

impl Lease {
    /// A response that overtook its request's body leaves a connection in the middle of a message:
    /// that one is dropped.
    fn give_back(self) {
        if self.upload.is_some_and(|upload| upload.outcome() != Outcome::Complete) {
            return;
        }
        self.pool.put(&self.server.key, self.line, self.keep_alive);
    }
}

/// The body, with the connection it is read from.
pub struct Streamed {
    body: Incoming,
    lease: Option<Lease>,
    idle: IdleTimer,
}

impl Streamed {
    pub(super) fn new(body: Incoming, lease: Option<Lease>, idle: Option<Duration>) -> Self {
        let mut streamed = Self { body, lease, idle: IdleTimer::new(idle) };
        if streamed.body.is_end_stream() {
            streamed.finished();
        }
        streamed
    }

    fn finished(&mut self) {
        if let Some(lease) = self.lease.take() {
            lease.give_back();
        }
    }
}

impl Drop for Streamed {
    /// Who reads no answer sends no request: the rest of it must not reach the upstream.
    fn drop(&mut self) {
        if let Some(upload) = self.lease.as_ref().and_then(|lease| lease.upload.as_ref()) {
            upload.abandon();
        }
    }
}

impl HttpBody for Streamed {
    type Data = Bytes;
    type Error = StreamError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, StreamError>>> {
        let this = self.get_mut();
        match Pin::new(&mut this.body).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                this.idle.progressed();
                // At the last data frame, not at the end that follows it: a server that knows the
                // length stops asking (see the measurements on connection reuse).
                if this.body.is_end_stream() {
                    this.finished();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(None) => {
                this.finished();
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(error.into()))),
            Poll::Pending => match this.idle.poll_expired(cx) {
                Poll::Ready(()) => Poll::Ready(Some(Err("the upstream stopped sending".into()))),
                Poll::Pending => Poll::Pending,
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
