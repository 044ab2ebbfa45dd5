//! Copying between the two ends of a tunnel, so that it can be stopped at any byte.
//!
//! An idle tunnel holds no buffer: what one poll reads stands on the stack, and only what the
//! other end does not take at once is kept.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::time::{Sleep, sleep, timeout};

use super::frames::Frames;
use crate::stream::{Life, Why};

/// Bytes that one read takes.
const PIECE_BYTES: usize = 16 * 1024;
/// How long an end that was told to close may take, and what it sends meanwhile is thrown away.
const FAREWELL: Duration = Duration::from_secs(2);

/// How a tunnel ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Over {
    /// Both directions came to their end.
    Complete,
    /// One of the connections broke, or one end did not close after the other.
    Broken,
    /// The token counts no longer.
    Ended(Why),
}

/// One direction.
#[derive(Default)]
pub(super) struct Direction {
    frames: Frames,
    /// What was read and not written.
    left: Vec<u8>,
    /// Bytes written.
    pub(super) bytes: u64,
    unflushed: bool,
    /// The source has ended.
    ended: bool,
    /// And the other end was told.
    done: bool,
}

impl Direction {
    /// Copies what can be copied now; ready once the end was passed on.
    fn poll<R, W>(&mut self, cx: &mut Context<'_>, from: &mut R, to: &mut W) -> Poll<io::Result<()>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        let mut space = [const { MaybeUninit::uninit() }; PIECE_BYTES];
        while !self.done {
            if !self.left.is_empty() {
                let left = std::mem::take(&mut self.left);
                self.write(cx, to, &left)?;
                if !self.left.is_empty() {
                    return Poll::Pending;
                }
            }
            if self.ended {
                ready!(Pin::new(&mut *to).poll_shutdown(cx))?;
                self.done = true;
                break;
            }
            let mut piece = ReadBuf::uninit(&mut space);
            match Pin::new(&mut *from).poll_read(cx, &mut piece) {
                Poll::Ready(read) => {
                    read?;
                    self.ended = piece.filled().is_empty();
                    self.write(cx, to, piece.filled())?;
                }
                Poll::Pending => {
                    if self.unflushed {
                        ready!(Pin::new(&mut *to).poll_flush(cx))?;
                        self.unflushed = false;
                    }
                    return Poll::Pending;
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Writes what the other end takes now, and keeps the rest.
    fn write<W>(&mut self, cx: &mut Context<'_>, to: &mut W, mut bytes: &[u8]) -> io::Result<()>
    where
        W: AsyncWrite + Unpin,
    {
        while !bytes.is_empty() {
            let Poll::Ready(written) = Pin::new(&mut *to).poll_write(cx, bytes) else {
                self.left = bytes.to_vec();
                break;
            };
            let (written, rest) = bytes.split_at_checked(written?).unwrap_or((bytes, &[]));
            if written.is_empty() {
                return Err(io::ErrorKind::WriteZero.into());
            }
            self.frames.passed(written);
            self.bytes += written.len() as u64;
            self.unflushed = true;
            bytes = rest;
        }
        Ok(())
    }
}

/// Copies both ways until both have ended, or `grace` after one has, or until the token counts no
/// longer. What was read by then and not written goes nowhere.
pub(super) async fn relay<C, U>(
    client: &mut C,
    upstream: &mut U,
    (up, down): (&mut Direction, &mut Direction),
    mut life: Option<&mut Life>,
    grace: Duration,
) -> Over
where
    C: AsyncRead + AsyncWrite + Unpin,
    U: AsyncRead + AsyncWrite + Unpin,
{
    let mut patience: Option<Pin<Box<Sleep>>> = None;
    poll_fn(|cx| {
        if let Some(life) = &mut life
            && let Poll::Ready(why) = life.poll_end(cx)
        {
            return Poll::Ready(Over::Ended(why));
        }
        let up = up.poll(cx, client, upstream);
        let down = down.poll(cx, upstream, client);
        match (up, down) {
            (Poll::Ready(Err(_)), _) | (_, Poll::Ready(Err(_))) => Poll::Ready(Over::Broken),
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => Poll::Ready(Over::Complete),
            (Poll::Pending, Poll::Pending) => Poll::Pending,
            _ => {
                let patience = patience.get_or_insert_with(|| Box::pin(sleep(grace)));
                patience.as_mut().poll(cx).map(|()| Over::Broken)
            }
        }
    })
    .await
}

/// Tells one end that it is over: closes between two frames and waits for that end to do the same.
/// Within a frame nothing can be said. Whether that went as a close goes.
pub(super) async fn farewell<S>(end: &mut S, direction: &Direction, close: &[u8]) -> bool
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let frames = &direction.frames;
    if !frames.has_closed() && !frames.is_between() {
        return false;
    }
    let said = async {
        if !frames.has_closed() {
            end.write_all(close).await?;
        }
        end.flush().await?;
        end.shutdown().await?;
        let mut rest = [0; 512];
        while end.read(&mut rest).await? > 0 {}
        io::Result::Ok(())
    };
    matches!(timeout(FAREWELL, said).await, Ok(Ok(())))
}

#[cfg(test)]
mod tests {
    use tokio::io::{DuplexStream, duplex};

    use super::super::frames;
    use super::*;

    fn tunnel(
        mut client: DuplexStream,
        mut upstream: DuplexStream,
        grace: u64,
    ) -> tokio::task::JoinHandle<(Over, u64)> {
        tokio::spawn(async move {
            let (mut up, mut down) = (Direction::default(), Direction::default());
            let both = (&mut up, &mut down);
            let grace = Duration::from_millis(grace);
            let over = relay(&mut client, &mut upstream, both, None, grace).await;
            (over, down.bytes)
        })
    }

    #[tokio::test]
    async fn neither_end_alone_holds_the_tunnel_open() {
        let (mut client, ours) = duplex(64);
        let (mut upstream, theirs) = duplex(64);
        let relayed = tunnel(ours, theirs, 50);
        client.write_all(b"up").await.unwrap();
        let mut got = [0; 2];
        upstream.read_exact(&mut got).await.unwrap();
        assert_eq!(&got, b"up");
        client.shutdown().await.unwrap();
        assert_eq!(upstream.read(&mut got).await.unwrap(), 0, "the end is passed on");
        // The upstream neither answers nor closes.
        assert_eq!(relayed.await.unwrap(), (Over::Broken, 0));
    }

    #[tokio::test]
    async fn what_is_on_its_way_still_arrives() {
        let (mut client, ours) = duplex(64);
        let (mut upstream, theirs) = duplex(64);
        let relayed = tunnel(ours, theirs, 5000);
        client.shutdown().await.unwrap();
        upstream.write_all(b"bye").await.unwrap();
        drop(upstream);
        let mut got = Vec::new();
        client.read_to_end(&mut got).await.unwrap();
        assert_eq!((got.as_slice(), relayed.await.unwrap()), (&b"bye"[..], (Over::Complete, 3)));
    }

    /// More than either end takes at once, both ways, in pieces of any size.
    #[tokio::test]
    async fn every_byte_arrives_in_its_order() {
        let (client, ours) = duplex(100);
        let (upstream, theirs) = duplex(70);
        let relayed = tunnel(ours, theirs, 5000);
        let bytes: Vec<u8> =
            (0..200_000_u32).map(|n| n.to_be_bytes()[3] ^ n.to_be_bytes()[2]).collect();
        let end = async |end: DuplexStream| {
            let (mut from, mut to) = tokio::io::split(end);
            let sending = async {
                to.write_all(&bytes).await.unwrap();
                to.shutdown().await.unwrap();
            };
            let mut got = Vec::new();
            let (_, read) = tokio::join!(sending, from.read_to_end(&mut got));
            read.unwrap();
            assert_eq!(got, bytes);
        };
        tokio::join!(end(client), end(upstream));
        assert_eq!(relayed.await.unwrap(), (Over::Complete, 200_000));
    }

    #[tokio::test(start_paused = true)]
    async fn within_a_frame_nothing_is_said() {
        for (passed, is_told) in [
            (&b"\x82\x02ab"[..], true),
            (&b"\x82\x02a"[..], false),
            (&b"\x82"[..], false),
            (&b"\x02\x01a"[..], true),
            (&b""[..], true),
        ] {
            let (mut client, mut ours) = duplex(1024);
            let mut direction = Direction::default();
            direction.frames.passed(passed);
            let told =
                tokio::spawn(
                    async move { farewell(&mut ours, &direction, &frames::close()).await },
                );
            let mut got = Vec::new();
            client.read_to_end(&mut got).await.unwrap();
            assert_eq!(got.is_empty(), !is_told, "{passed:?}");
            drop(client);
            assert_eq!(told.await.unwrap(), is_told, "{passed:?}");
        }
        // A client that takes nothing, or never closes.
        let (_client, mut ours) = duplex(4);
        assert!(!farewell(&mut ours, &Direction::default(), &frames::close()).await);
    }
}
