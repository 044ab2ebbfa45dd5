//! Sockets: one per worker on the same address, so that the kernel spreads connections and no
//! worker waits for another.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};

/// Connections that wait to be accepted; the kernel caps it at `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// How long a connection is silent before the kernel asks whether the peer still lives.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// Waiting after an accept that failed for lack of something (file descriptors, memory).
pub(super) const ACCEPT_AGAIN: Duration = Duration::from_millis(50);

/// The sockets of one address.
#[derive(Debug)]
pub struct Bound<L> {
    /// The address, with the port that was chosen for port 0.
    pub address: String,
    /// One listener a worker.
    pub sockets: Vec<L>,
}

/// Binds a TCP address for so many workers.
///
/// # Errors
///
/// `AddrInUse` also when another gateway listens there: with `SO_REUSEPORT` alone the kernel would
/// silently share the port with it.
pub fn bind(address: SocketAddr, workers: usize) -> io::Result<Bound<TcpListener>> {
    let probe = socket(address, false)?;
    let address = probe
        .local_addr()?
        .as_socket()
        .ok_or_else(|| io::Error::other("not an internet address"))?;
    if workers <= 1 {
        probe.listen(BACKLOG)?;
        return Ok(Bound { address: address.to_string(), sockets: vec![probe.into()] });
    }
    drop(probe);
    let sockets = (0..workers)
        .map(|_| {
            let socket = socket(address, true)?;
            socket.listen(BACKLOG)?;
            Ok(socket.into())
        })
        .collect::<io::Result<_>>()?;
    Ok(Bound { address: address.to_string(), sockets })
}

/// Binds a unix socket, replacing one that a gateway which is gone left behind. Group members may
/// connect, others may not.
///
/// # Errors
///
/// When the path is in use by a living process or cannot be created.
pub fn bind_unix(path: &Path, workers: usize) -> io::Result<Bound<UnixListener>> {
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        return Err(io::ErrorKind::AddrInUse.into());
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let first = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))?;
    first.set_nonblocking(true)?;
    let mut sockets = Vec::with_capacity(workers);
    for _ in 1..workers {
        sockets.push(first.try_clone()?);
    }
    sockets.push(first);
    Ok(Bound { address: format!("unix:{}", path.display()), sockets })
}

fn socket(address: SocketAddr, shared: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    socket.set_nonblocking(true)?;
    // Accepted connections inherit it: a tunnel whose client has vanished ends some day.
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE))?;
    socket.bind(&address.into())?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_is_taken_is_an_error_even_with_several_workers() {
        let first = bind("127.0.0.1:0".parse().unwrap(), 2).unwrap();
        assert_eq!(first.sockets.len(), 2);
        let again = bind(first.address.parse().unwrap(), 2).unwrap_err();
        assert_eq!(again.kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn a_stale_unix_socket_is_replaced_and_a_living_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("p.sock");
        drop(bind_unix(&path, 1).unwrap());
        let living = bind_unix(&path, 2).unwrap();
        assert_eq!(bind_unix(&path, 1).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(living);
    }
}
