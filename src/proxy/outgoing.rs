//! The answer's body, with everything that must last until its end: permits, the connection's
//! pulse, the log line.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};

use super::Gateway;
use super::clients::RequestPermit;
use super::connection::Running;
use super::record::Record;
use crate::body::{Body, StreamError};

/// A body on its way to the client.
pub struct Outgoing {
    body: Body,
    /// Ends, in this order, when the body is dropped.
    ending: Option<Ending>,
}

/// What ends with the request.
pub struct Ending {
    /// The connection is busy until then.
    pub running: Running,
    /// Counts against `requests_per_client`.
    pub permit: Option<RequestPermit>,
    /// The log line, when the access log is on.
    pub record: Option<Box<Record>>,
    /// Where the line goes.
    pub gateway: Arc<Gateway>,
    /// Whether the last byte was handed over.
    pub complete: bool,
}

impl Outgoing {
    /// The body of a request's answer.
    #[must_use]
    pub fn new(body: Body, mut ending: Ending) -> Self {
        ending.complete = body.is_end_stream();
        Self { body, ending: Some(ending) }
    }

    /// The body of an answer that nothing hangs on (redirects, health).
    #[must_use]
    pub const fn plain(body: Body) -> Self {
        Self { body, ending: None }
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        if let Some(record) = &self.record {
            record.write(&self.gateway.access, self.complete);
        }
    }
}

impl HttpBody for Outgoing {
    type Data = Bytes;
    type Error = StreamError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, StreamError>>> {
        let this = self.get_mut();
        let frame = Pin::new(&mut this.body).poll_frame(cx);
        if let Some(ending) = &mut this.ending {
            match &frame {
                Poll::Ready(None) => ending.complete = true,
                Poll::Ready(Some(Ok(frame))) => {
                    ending.complete = this.body.is_end_stream();
                    if let (Some(record), Some(data)) = (&mut ending.record, frame.data_ref()) {
                        record.bytes_out += data.len() as u64;
                    }
                }
                Poll::Ready(Some(Err(_))) | Poll::Pending => {}
            }
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
