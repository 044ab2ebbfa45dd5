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
use super::measure::Measure;
use super::record::Record;
use crate::body::{Body, StreamError};

/// The largest piece that is handed to an HTTP/2 connection at once: `SETTINGS_MAX_FRAME_SIZE` of
/// nearly everybody.
const PIECE_BYTES_MAX: usize = 16 * 1024;

/// A body on its way to the client.
pub struct Outgoing {
    body: Body,
    /// What is left of a piece that is handed over in parts.
    rest: Bytes,
    /// Ends, in this order, when the body is dropped.
    ending: Option<Ending>,
}

/// What ends with the request.
pub struct Ending {
    /// The connection is busy until then.
    pub running: Running,
    /// Counts against `requests_per_client`.
    pub permit: Option<RequestPermit>,
    /// What is counted of it.
    pub measure: Measure,
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
        Self { body, rest: Bytes::new(), ending: Some(ending) }
    }

    /// The body of an answer that nothing hangs on (redirects, health).
    #[must_use]
    pub const fn plain(body: Body) -> Self {
        Self { body, rest: Bytes::new(), ending: None }
    }
}

impl Outgoing {
    /// The next piece; in HTTP/2 a frame's worth at most, so that whether the client takes
    /// anything shows early.
    fn poll_piece(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, StreamError>>> {
        if self.rest.is_empty() {
            let frame = Pin::new(&mut self.body).poll_frame(cx);
            if !self.ending.as_ref().is_some_and(|ending| ending.running.has_window()) {
                return frame;
            }
            match frame {
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) if data.len() > PIECE_BYTES_MAX => self.rest = data,
                    Ok(data) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                other => return other,
            }
        }
        let piece = self.rest.split_to(self.rest.len().min(PIECE_BYTES_MAX));
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        let took = self.measure.finish(&self.gateway.metrics);
        if let Some(record) = &self.record {
            record.write(&self.gateway.access, &self.measure, took, self.complete);
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
        if let Some(ending) = &mut this.ending {
            ending.running.goes_on();
        }
        let frame = this.poll_piece(cx);
        if let Some(ending) = &mut this.ending {
            match &frame {
                Poll::Ready(None) => ending.complete = true,
                Poll::Ready(Some(Ok(frame))) => {
                    ending.running.offers();
                    ending.complete = this.rest.is_empty() && this.body.is_end_stream();
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
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (mut hint, rest) = (self.body.size_hint(), self.rest.len() as u64);
        if rest > 0 {
            let upper = hint.upper().map(|upper| upper.saturating_add(rest));
            hint.set_lower(hint.lower().saturating_add(rest));
            upper.into_iter().for_each(|upper| hint.set_upper(upper));
        }
        hint
    }
}
