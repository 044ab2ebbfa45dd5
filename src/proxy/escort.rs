//! A request's body on its way to the upstream, for as long as its token counts.

use std::error::Error as _;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};

use super::connection::Activity;
use super::{Rejection, Trip};
use crate::auth::VerifyError;
use crate::body::StreamError;
use crate::stream::{Exit, Kind, Life, Why};
use crate::upstream::{Failure, Progress, Upload};

/// What goes with a body.
pub(super) struct Escort {
    life: Life,
    connection: Arc<Activity>,
}

/// A body that ends when its token does.
pub(super) struct Escorted {
    upload: Upload,
    progress: Arc<Progress>,
    escort: Escort,
}

/// Why a body was cut short, as the error that it ends with.
#[derive(Debug)]
struct CutShort(Why);

impl fmt::Display for CutShort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the token no longer counts: {}", self.0.reason())
    }
}

impl std::error::Error for CutShort {}

impl Escort {
    /// For the body of a request whose token was accepted.
    pub(super) fn of(trip: &mut Trip, kind: Kind) -> Option<Self> {
        // The answer needs its own.
        let pass = trip.pass.clone();
        let life = trip.life(kind)?;
        trip.pass = pass;
        Some(Self { life, connection: trip.connection.activity.clone() })
    }

    pub(super) fn with(self, upload: Upload, progress: Arc<Progress>) -> Escorted {
        Escorted { upload, progress, escort: self }
    }
}

impl HttpBody for Escorted {
    type Data = Bytes;
    type Error = StreamError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, StreamError>>> {
        let Self { upload, progress, escort } = self.get_mut();
        if let Poll::Ready(why) = escort.life.poll_end(cx) {
            progress.abandon();
            return Poll::Ready(Some(Err(Box::new(CutShort(why)))));
        }
        let frame = Pin::new(upload).poll_frame(cx);
        if frame.is_pending() && !escort.life.is_entered() {
            escort.life.enter(cx, Exit::Insist(escort.connection.clone()));
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
pub(super) fn ended(failure: &Failure) -> Rejection {
    let mut source = failure.source();
    while let Some(error) = source {
        if let Some(CutShort(why)) = error.downcast_ref() {
            return match why {
                Why::Expired => Rejection::InvalidToken(VerifyError::Expired),
                Why::Revoked(cause) => Rejection::Revoked(*cause),
                Why::Unanswered => Rejection::StoreUnavailable(why.reason()),
                Why::Untrusted => Rejection::InvalidToken(VerifyError::UnknownKey),
            };
        }
        source = error.source();
    }
    Rejection::BodyBroken
}
