//! A server that shakes hands like Redis and then misbehaves.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// What the server does once a lookup arrives.
#[derive(Clone, Debug)]
pub(crate) enum Manner {
    /// Sends these bytes.
    Says(Vec<u8>),
    /// Closes the connection.
    Closes,
    /// Sends nothing.
    Hangs,
    /// Sends one byte at a time, this far apart.
    Dribbles(Vec<u8>, Duration),
}

/// The answer to `HELLO 3`, cut down to what matters.
const HELLO: &[u8] = b"%2\r\n$6\r\nserver\r\n$5\r\nredis\r\n$4\r\nrole\r\n$6\r\nmaster\r\n";

/// Stopped when dropped.
pub(crate) struct FakeServer {
    pub(crate) port: u16,
    task: JoinHandle<()>,
}

impl Drop for FakeServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl FakeServer {
    pub(crate) async fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let task = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(serve(socket, manner.clone()));
            }
        });
        Self { port, task }
    }
}

async fn serve(mut socket: TcpStream, manner: Manner) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let Ok(length @ 1..) = socket.read(&mut buffer).await else { return };
        let question = String::from_utf8_lossy(&buffer[..length]).into_owned();
        if !question.contains("EXISTS") && !question.contains("MGET") {
            for _ in question.matches("HELLO") {
                socket.write_all(HELLO).await.unwrap();
            }
            continue;
        }
        match &manner {
            Manner::Says(bytes) => socket.write_all(bytes).await.unwrap(),
            Manner::Closes => return,
            Manner::Hangs => tokio::time::sleep(Duration::from_secs(60)).await,
            Manner::Dribbles(bytes, pause) => {
                for byte in bytes {
                    if socket.write_all(&[*byte]).await.is_err() {
                        return;
                    }
                    tokio::time::sleep(*pause).await;
                }
            }
        }
    }
}

/// A proxy that can swallow everything on the connections it has, while new ones work.
pub(crate) struct BlackHole {
    pub(crate) port: u16,
    /// Connections numbered below this are dead.
    dead: Arc<AtomicUsize>,
    made: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Drop for BlackHole {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl BlackHole {
    pub(crate) async fn start(upstream: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (dead, made) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (deaths, count) = (Arc::clone(&dead), Arc::clone(&made));
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let number = count.fetch_add(1, Ordering::SeqCst);
                let server = TcpStream::connect(("127.0.0.1", upstream)).await.unwrap();
                let (from_client, to_client) = client.into_split();
                let (from_server, to_server) = server.into_split();
                tokio::spawn(pump(from_client, to_server, number, Arc::clone(&deaths)));
                tokio::spawn(pump(from_server, to_client, number, Arc::clone(&deaths)));
            }
        });
        Self { port, dead, made, task }
    }

    /// Every connection made so far goes silent, without being closed.
    pub(crate) fn swallow(&self) {
        self.dead.store(self.made.load(Ordering::SeqCst), Ordering::SeqCst);
    }
}

async fn pump(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    number: usize,
    dead: Arc<AtomicUsize>,
) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        if number >= dead.load(Ordering::SeqCst) && to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}
