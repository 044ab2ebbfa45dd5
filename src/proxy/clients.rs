//! How many connections and requests each client has open. Bounded by what is open: an entry leaves
//! with its last connection and request.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Open connections and requests of one client.
#[derive(Debug, Default)]
struct Count {
    connections: AtomicU32,
    requests: AtomicU32,
}

/// All clients. The key is what [`super::client::client_key`] makes of an address: an IPv4
/// address or an IPv6 /64.
#[derive(Debug, Default)]
pub struct Clients {
    counts: Mutex<HashMap<IpAddr, Arc<Count>, foldhash::fast::RandomState>>,
    connections: AtomicUsize,
}

/// Held for as long as a connection is open.
#[derive(Debug)]
pub struct ConnectionPermit {
    clients: Arc<Clients>,
    key: IpAddr,
    count: Arc<Count>,
}

/// Held for as long as a request is being answered.
#[derive(Debug)]
pub struct RequestPermit {
    count: Arc<Count>,
    /// Present when no connection of this client keeps the entry alive (behind a trusted proxy).
    table: Option<(Arc<Clients>, IpAddr)>,
}

impl Clients {
    /// An empty table.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }

    /// A permit for one more connection, unless the gateway or the client has its fill.
    pub fn connect(self: &Arc<Self>, key: IpAddr, limits: Limits) -> Option<ConnectionPermit> {
        if self.connections.fetch_add(1, Ordering::AcqRel) >= limits.total {
            self.connections.fetch_sub(1, Ordering::AcqRel);
            return None;
        }
        let count = self.entry(key);
        let before = count.connections.fetch_add(1, Ordering::AcqRel);
        let permit = ConnectionPermit { clients: self.clone(), key, count };
        (before < limits.per_client).then_some(permit)
    }

    /// A permit for a request of a client that is not the connection's peer.
    pub fn request(self: &Arc<Self>, key: IpAddr, max: u32) -> Option<RequestPermit> {
        let count = self.entry(key);
        let before = count.requests.fetch_add(1, Ordering::AcqRel);
        let permit = RequestPermit { count, table: Some((self.clone(), key)) };
        (before < max).then_some(permit)
    }

    /// Open connections, all clients together.
    #[must_use]
    pub fn open_connections(&self) -> usize {
        self.connections.load(Ordering::Acquire)
    }

    fn entry(&self, key: IpAddr) -> Arc<Count> {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.entry(key).or_default().clone()
    }

    fn forget_if_unused(&self, key: IpAddr) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let unused = |count: &Arc<Count>| {
            count.connections.load(Ordering::Acquire) == 0
                && count.requests.load(Ordering::Acquire) == 0
        };
        if counts.get(&key).is_some_and(unused) {
            counts.remove(&key);
        }
    }
}

/// `[limits] connections` and `connections_per_client`.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Over all clients.
    pub total: usize,
    /// For one client.
    pub per_client: u32,
}

impl ConnectionPermit {
    /// A permit for one more request on this connection. Two atomic operations, no lock.
    #[must_use]
    pub fn request(&self, max: u32) -> Option<RequestPermit> {
        let before = self.count.requests.fetch_add(1, Ordering::AcqRel);
        let permit = RequestPermit { count: self.count.clone(), table: None };
        (before < max).then_some(permit)
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        self.clients.connections.fetch_sub(1, Ordering::AcqRel);
        if self.count.connections.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.clients.forget_if_unused(self.key);
        }
    }
}

impl Drop for RequestPermit {
    fn drop(&mut self) {
        let before = self.count.requests.fetch_sub(1, Ordering::AcqRel);
        if let (1, Some((clients, key))) = (before, &self.table) {
            clients.forget_if_unused(*key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { total: 3, per_client: 2 };

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    #[test]
    fn limits_hold_and_permits_come_back() {
        let clients = Clients::new();
        let first = clients.connect(ip(1), LIMITS).unwrap();
        let _second = clients.connect(ip(1), LIMITS).unwrap();
        assert!(clients.connect(ip(1), LIMITS).is_none(), "per client");
        let _other = clients.connect(ip(2), LIMITS).unwrap();
        assert!(clients.connect(ip(3), LIMITS).is_none(), "total");
        drop(first);
        assert!(clients.connect(ip(1), LIMITS).is_some());
        assert_eq!(clients.open_connections(), 2);
    }

    #[test]
    fn nothing_is_remembered_of_clients_that_left() {
        let clients = Clients::new();
        for last in 0..=255 {
            let permit = clients.connect(ip(last), LIMITS).unwrap();
            let request = permit.request(1).unwrap();
            assert!(permit.request(1).is_none());
            drop((request, permit));
            drop(clients.request(ip(last), 1).unwrap());
        }
        assert!(clients.counts.lock().unwrap().is_empty());
    }
}
