//! The byte stream under a connection: tells [`Activity`] what moves and what does not, and is
//! reset instead of closed when the connection was cut.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::socket::Socket;
use crate::proxy::connection::Activity;

/// A stream whose progress is watched.
#[derive(Debug)]
pub(super) struct Metered<S: Socket> {
    stream: S,
    activity: Arc<Activity>,
    /// Whether bytes that arrive between requests are a request head (HTTP/1) or may be anything
    /// (HTTP/2 control frames).
    heads: bool,
}

impl<S: Socket> Metered<S> {
    pub(super) const fn new(stream: S, activity: Arc<Activity>, heads: bool) -> Self {
        Self { stream, activity, heads }
    }
}

impl<S: Socket> Drop for Metered<S> {
    fn drop(&mut self) {
        if self.activity.is_severed() {
            self.stream.reset_when_closed();
        }
    }
}

impl<S: Socket> AsyncRead for Metered<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(cx, buf);
        if this.heads && read.is_ready() && buf.filled().len() > before {
            this.activity.received();
        }
        read
    }
}

impl<S: Socket> Metered<S> {
    fn note<T>(&self, written: Poll<T>) -> Poll<T> {
        if written.is_pending() {
            self.activity.stalled();
        } else {
            self.activity.flowing();
        }
        written
    }
}

impl<S: Socket> AsyncWrite for Metered<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write(cx, buf);
        this.note(written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write_vectored(cx, bufs);
        this.note(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = Pin::new(&mut this.stream).poll_flush(cx);
        this.note(flushed)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
