//! A TCP proxy in front of a server that misbehaves on demand: established connections that swallow
//! everything without a word, and bytes that are not what was sent.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// Which connections are meant, by what their client has sent so far.
pub type Which = fn(&[u8]) -> bool;

/// Changes what one side has sent; an empty answer swallows it.
pub type Change = fn(Vec<u8>) -> Vec<u8>;

#[derive(Default)]
struct Shared {
    connections: Mutex<Vec<Arc<Connection>>>,
    /// What is done to what clients send, and to what the server sends.
    from_client: Mutex<Option<Change>>,
    from_server: Mutex<Option<Change>>,
}

#[derive(Default)]
struct Connection {
    sent: Mutex<Vec<u8>>,
    is_hole: AtomicBool,
}

/// See the module; it ends with the test's process.
pub struct BlackHole {
    shared: Arc<Shared>,
    address: SocketAddr,
}

impl BlackHole {
    /// In front of `server`.
    pub fn start(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        let accepting = shared.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(server) else { continue };
                accepting.join(client, server);
            }
        });
        Self { shared, address }
    }

    /// The URL for `[store] url`.
    pub fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Everything that clients have sent so far.
    pub fn sent(&self) -> Vec<u8> {
        let connections = self.shared.connections.lock().unwrap();
        connections.iter().flat_map(|connection| connection.sent.lock().unwrap().clone()).collect()
    }

    /// From now on the established connections that are meant swallow what either side sends; new
    /// ones pass. How many were meant.
    pub fn swallow(&self, which: Which) -> usize {
        let connections = self.shared.connections.lock().unwrap();
        let meant = connections.iter().filter(|connection| which(&connection.sent.lock().unwrap()));
        meant.map(|connection| connection.is_hole.store(true, Ordering::SeqCst)).count()
    }

    /// Changes what clients send from now on.
    pub fn change_from_client(&self, change: Change) {
        *self.shared.from_client.lock().unwrap() = Some(change);
    }

    /// Changes what the server sends from now on.
    pub fn change_from_server(&self, change: Change) {
        *self.shared.from_server.lock().unwrap() = Some(change);
    }
}

impl Shared {
    fn join(self: &Arc<Self>, client: TcpStream, server: TcpStream) {
        let connection = Arc::new(Connection::default());
        self.connections.lock().unwrap().push(connection.clone());
        for stream in [&client, &server] {
            stream.set_nodelay(true).unwrap();
        }
        for (from, to, is_client) in [
            (client.try_clone().unwrap(), server.try_clone().unwrap(), true),
            (server, client, false),
        ] {
            let (shared, connection) = (self.clone(), connection.clone());
            std::thread::spawn(move || shared.copy(from, to, &connection, is_client));
        }
    }

    fn copy(&self, mut from: TcpStream, mut to: TcpStream, connection: &Connection, client: bool) {
        let mut buffer = [0; 65_536];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            let mut bytes = buffer[..count].to_vec();
            if client {
                connection.sent.lock().unwrap().extend_from_slice(&bytes);
            }
            let change = if client { &self.from_client } else { &self.from_server };
            if let Some(change) = *change.lock().unwrap() {
                bytes = change(bytes);
            }
            let is_hole = connection.is_hole.load(Ordering::SeqCst);
            if !is_hole && to.write_all(&bytes).is_err() {
                break;
            }
        }
        // A hole does not even pass on that somebody has left.
        if !connection.is_hole.load(Ordering::SeqCst) {
            drop(to.shutdown(Shutdown::Both));
        }
    }
}
