//! How many connections and requests each client has open. Bounded by what is open: an entry leaves
//! with its last connection and request.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::observe::metrics::OpenConnection;

/// Open connections and requests of one client.
#[derive(Debug)]
struct Count {
    clients: Weak<Clients>,
    key: IpAddr,
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
    count: Arc<Count>,
    /// Where the connection is shown as open.
    open: Option<OpenConnection>,
}

/// Held for as long as a request is being answered; it may outlast its connection.
#[derive(Debug)]
pub struct RequestPermit(Arc<Count>);

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
        let (count, before) = self.add(key, |count| &count.connections);
        let permit = ConnectionPermit { count, open: None };
        (before < limits.per_client).then_some(permit)
    }

    /// A permit for a request of a client that is not the connection's peer.
    pub fn request(self: &Arc<Self>, key: IpAddr, max: u32) -> Option<RequestPermit> {
        let (count, before) = self.add(key, |count| &count.requests);
        let permit = RequestPermit(count);
        (before < max).then_some(permit)
    }

    /// Open connections, all clients together.
    #[must_use]
    pub fn open_connections(&self) -> usize {
        self.connections.load(Ordering::Acquire)
    }

    /// One more of something for a client, and how many there were. Counted under the lock, so
    /// that the entry cannot be forgotten in between.
    fn add(
        self: &Arc<Self>,
        key: IpAddr,
        what: impl FnOnce(&Count) -> &AtomicU32,
    ) -> (Arc<Count>, u32) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(key).or_insert_with(|| {
            let (connections, requests) = (AtomicU32::new(0), AtomicU32::new(0));
            Arc::new(Count { clients: Arc::downgrade(self), key, connections, requests })
        });
        let before = what(count).fetch_add(1, Ordering::AcqRel);
        (count.clone(), before)
    }

    fn forget_if_unused(&self, key: IpAddr) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.get(&key).is_some_and(|count| count.is_unused()) {
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

impl Count {
    fn is_unused(&self) -> bool {
        self.connections.load(Ordering::Acquire) == 0 && self.requests.load(Ordering::Acquire) == 0
    }

    fn forget_if_unused(&self) {
        if let (true, Some(clients)) = (self.is_unused(), self.clients.upgrade()) {
            clients.forget_if_unused(self.key);
        }
    }
}

impl ConnectionPermit {
    /// The same permit, of a connection that is shown as open until the permit ends.
    #[must_use]
    pub fn counted(mut self, open: OpenConnection) -> Self {
        self.open = Some(open);
        self
    }

    /// A permit for one more request on this connection. Two atomic operations, no lock.
    #[must_use]
    pub fn request(&self, max: u32) -> Option<RequestPermit> {
        let before = self.count.requests.fetch_add(1, Ordering::AcqRel);
        let permit = RequestPermit(self.count.clone());
        (before < max).then_some(permit)
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        if let Some(clients) = self.count.clients.upgrade() {
            clients.connections.fetch_sub(1, Ordering::AcqRel);
        }
        if self.count.connections.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.count.forget_if_unused();
        }
    }
}

impl Drop for RequestPermit {
    fn drop(&mut self) {
        if self.0.requests.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.forget_if_unused();
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

    /// A client that goes away in the middle of its answer: the request ends after its connection.
    #[test]
    fn a_request_that_outlasts_its_connection_is_forgotten_too() {
        let clients = Clients::new();
        let permit = clients.connect(ip(1), LIMITS).unwrap();
        let request = permit.request(1).unwrap();
        drop(permit);
        drop(request);
        assert!(clients.counts.lock().unwrap().is_empty());
        assert_eq!(clients.open_connections(), 0);
    }
}
