//! What a connection is accepted on, and how it is cut short.

use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::server::TlsStream;

use super::proxy_protocol::Replay;

/// A byte stream that can be reset.
pub(super) trait Socket: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    /// Closing resets it from now on: what was not sent is thrown away, and the peer cannot take
    /// what it got for the whole (RFC 9112 §8: a close ends some messages).
    fn reset_when_closed(&self);
}

impl Socket for TcpStream {
    fn reset_when_closed(&self) {
        drop(SockRef::from(self).set_linger(Some(Duration::ZERO)));
    }
}

impl Socket for UnixStream {
    /// There is no such thing: whoever is at the other end of a unix socket sees it closed.
    fn reset_when_closed(&self) {}
}

impl<S: Socket> Socket for TlsStream<S> {
    fn reset_when_closed(&self) {
        self.get_ref().0.reset_when_closed();
    }
}

impl<S: Socket> Socket for Replay<S> {
    fn reset_when_closed(&self) {
        self.get_ref().reset_when_closed();
    }
}
