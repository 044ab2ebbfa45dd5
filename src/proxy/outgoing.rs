//! The answer's body, with everything that must last until its end: permits, the connection's
//! pulse, the stream's life, the log line.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};

use super::Gateway;
use super::clients::RequestPermit;
use super::connection::Running;
use super::grpc::{self, Messages};
use super::measure::{Decision, Measure};
use super::record::Record;
use crate::body::{Body, StreamError};
use crate::stream::{Exit, Kind, Life, Why};

/// The largest piece that is handed to an HTTP/2 connection at once: `SETTINGS_MAX_FRAME_SIZE` of
/// nearly everybody.
const PIECE_BYTES_MAX: usize = 16 * 1024;

/// A body on its way to the client.
pub struct Outgoing {
    body: Body,
    /// What is left of a piece that is handed over in parts.
    rest: Bytes,
    /// Where a gRPC stream stands.
    messages: Option<Messages>,
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
    /// What ends it early, where a token was shown.
    pub life: Option<Life>,
}

impl Outgoing {
    /// The body of a request's answer.
    #[must_use]
    pub fn new(body: Body, mut ending: Ending) -> Self {
        ending.complete = body.is_end_stream();
        let is_grpc = ending.life.as_ref().is_some_and(|life| life.kind() == Kind::Grpc);
        // Only HTTP/2 has trailers that a gRPC client reads.
        let messages = (is_grpc && ending.running.has_window()).then(Messages::default);
        Self { body, rest: Bytes::new(), messages, ending: Some(ending) }
    }

    /// The body of an answer that nothing hangs on (redirects, health).
    #[must_use]
    pub const fn plain(body: Body) -> Self {
        Self { body, rest: Bytes::new(), messages: None, ending: None }
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

    /// Whether the body is to end now, and the last thing that the client gets then.
    fn poll_end(&mut self, cx: &Context<'_>) -> Option<Result<Frame<Bytes>, StreamError>> {
        let life = self.ending.as_mut()?.life.as_mut()?;
        let Poll::Ready(why) = life.poll_end(cx) else { return None };
        // The upstream's connection goes with its body.
        self.body = Body::Empty;
        self.rest = Bytes::new();
        let messages = self.messages.take();
        Some(match messages {
            Some(messages) if messages.is_between() => Ok(Frame::trailers(grpc::unauthenticated())),
            _ => Err(cut_short(why)),
        })
    }

    /// Enters what is not over after its first piece where live streams are kept.
    fn enter(&mut self, cx: &Context<'_>) {
        let is_over = self.is_end_stream();
        let Some(ending) = &mut self.ending else { return };
        if let Some(life) = ending.life.as_mut().filter(|life| !life.is_entered() && !is_over) {
            let connection = ending.running.activity().clone();
            // HTTP/2 has other streams on the same connection.
            let insist = ending.running.has_window();
            life.enter(cx, if insist { Exit::Insist(connection) } else { Exit::Cut(connection) });
        }
    }
}

/// Resets the stream on HTTP/2, ends the connection on HTTP/1.
fn cut_short(why: Why) -> StreamError {
    tracing::debug!(reason = why.reason(), "an answer is cut short");
    Box::new(h2::Error::from(h2::Reason::CANCEL))
}

impl Drop for Ending {
    fn drop(&mut self) {
        let why = self.life.as_mut().and_then(Life::leave);
        if let Some(why) = why {
            self.measure.decision = Decision::Ended(why.reason());
        }
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
            let is_kept = ending.life.as_ref().is_some_and(Life::is_entered);
            if is_kept && let Some(last) = this.poll_end(cx) {
                return Poll::Ready(Some(last));
            }
        }
        let frame = this.poll_piece(cx);
        if let (Some(messages), Poll::Ready(Some(Ok(frame)))) = (&mut this.messages, &frame)
            && let Some(data) = frame.data_ref()
        {
            messages.passed(data);
        }
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
        if !matches!(frame, Poll::Ready(None | Some(Err(_)))) {
            this.enter(cx);
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
