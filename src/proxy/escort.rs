//! A request's body on its way to the upstream, for as long as its token counts.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};

use super::{Rejection, Trip};
use crate::auth::VerifyError;
use crate::body::StreamError;
use crate::stream::{Exit, Kind, Life, Sever, Why};
use crate::upstream::{Progress, Upload};

/// What goes with a body.
pub(super) struct Escort(Life);

/// A body that ends when its token does.
pub(super) struct Escorted {
    upload: Upload,
    progress: Arc<Progress>,
    life: Life,
}

/// Why a body was cut short.
#[derive(Debug)]
struct CutShort(Why);

impl fmt::Display for CutShort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the token no longer counts: {}", self.0.reason())
    }
}

impl std::error::Error for CutShort {}

/// Whoever waits for the answer is told at once, and ends the client's request. The body itself may
/// never be asked again: its upstream need not read.
impl Sever for Progress {
    fn sever(&self, why: Why) {
        self.abandon_because(CutShort(why));
    }
}

impl Escort {
    /// For the body of a request whose token was accepted.
    pub(super) fn of(trip: &mut Trip, kind: Kind) -> Option<Self> {
        // The answer needs its own.
        let pass = trip.pass.clone();
        let life = trip.life(kind)?;
        trip.pass = pass;
        Some(Self(life))
    }

    pub(super) fn with(self, upload: Upload, progress: Arc<Progress>) -> Escorted {
        Escorted { upload, progress, life: self.0 }
    }
}

impl HttpBody for Escorted {
    type Data = Bytes;
    type Error = StreamError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, StreamError>>> {
        let Self { upload, progress, life } = self.get_mut();
        let frame = Pin::new(upload).poll_frame(cx);
        // What lasts waits for the client sooner or later: no client may send more at once than
        // fits into the connection to the upstream.
        if frame.is_pending() && !life.is_entered() {
            life.enter(cx, Exit::Cut(progress.clone()));
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.upload.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.upload.size_hint()
    }
}

/// The refusal of a request whose body was cut short.
pub(super) fn ended(upload: &Progress) -> Rejection {
    match upload.cause().and_then(|cause| cause.downcast_ref()) {
        Some(CutShort(Why::Expired)) => Rejection::InvalidToken(VerifyError::Expired),
        Some(CutShort(Why::Revoked(cause))) => Rejection::Revoked(*cause),
        Some(CutShort(why @ Why::Unanswered)) => Rejection::StoreUnavailable(why.reason()),
        Some(CutShort(Why::Untrusted)) => Rejection::InvalidToken(VerifyError::UnknownKey),
        None => Rejection::BodyBroken,
    }
}
