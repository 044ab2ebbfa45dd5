//! The threads on which passwords are hashed, and the queue in front of them.
//!
//! There are as many as cores, at a lower priority than the proxied traffic's, so at most so many
//! hashes are in memory at once. What does not fit into the queue is turned away: a flood of logins
//! costs its senders an answer of 503, and everybody else nothing: one client (IPv6: one network)
//! gets a share of the queue and no more.

use std::collections::HashMap;
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::AccountsUnavailable;
use crate::limit::client_network;

/// Checks that wait for one thread, at most.
const WAITING_PER_THREAD: usize = 32;

/// One client has this part of the queue at most.
const SHARES: usize = 4;

/// How long a check waits, at most: whoever asked has given up by then.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// How much lower than the workers' the threads' priority is (`nice`).
#[cfg(target_os = "linux")]
const NICENESS: i32 = 10;

/// One check: computes and answers by itself.
type Job = Box<dyn FnOnce() + Send>;

/// Threads for work that takes a core for a while; they end when this is dropped and the work that
/// was taken on is done.
#[derive(Debug)]
pub(super) struct Pool {
    queue: SyncSender<Job>,
    shares: Shares,
}

impl Pool {
    /// As many threads as cores.
    ///
    /// # Errors
    ///
    /// When the system gives no thread.
    pub(super) fn new() -> std::io::Result<Self> {
        let threads = thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self::of(threads, threads.saturating_mul(WAITING_PER_THREAD))
    }

    pub(super) fn of(threads: usize, waiting: usize) -> std::io::Result<Self> {
        let (queue, jobs) = sync_channel(waiting);
        let jobs = Arc::new(Mutex::new(jobs));
        for number in 0..threads.max(1) {
            let jobs = jobs.clone();
            let builder = thread::Builder::new().name(format!("passwords-{number}"));
            drop(builder.spawn(move || work(&jobs))?);
        }
        let each = (waiting / SHARES).max(threads).max(1);
        Ok(Self { queue, shares: Shares { taken: Arc::default(), each } })
    }

    /// Does `work` for a client on one of the threads. It is not even begun when nobody waits for
    /// it any more.
    ///
    /// # Errors
    ///
    /// [`AccountsUnavailable::Busy`] when too much waits already, of all clients or of this one, or
    /// it waited too long;
    /// [`AccountsUnavailable::Failed`] when it panicked.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        client: IpAddr,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, AccountsUnavailable> {
        let share = self.shares.take(client).ok_or(AccountsUnavailable::Busy)?;
        let (answer, answered) = oneshot::channel();
        let asked = Instant::now();
        let job = move || {
            // Given back before anybody hears of the end, a panic's too.
            let taken = share;
            if answer.is_closed() {
                return;
            }
            let done = if asked.elapsed() < WAIT_MAX {
                Ok(work())
            } else {
                Err(AccountsUnavailable::Busy)
            };
            drop(taken);
            // Whoever asked may have left meanwhile.
            drop(answer.send(done));
        };
        match self.queue.try_send(Box::new(job)) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => return Err(AccountsUnavailable::Busy),
            Err(TrySendError::Disconnected(_)) => return Err(AccountsUnavailable::Failed),
        }
        answered.await.unwrap_or(Err(AccountsUnavailable::Failed))
    }
}

/// How much of the queue and the threads each client has now; as many entries at most as fit there.
#[derive(Debug)]
struct Shares {
    taken: Arc<Mutex<HashMap<IpAddr, usize>>>,
    each: usize,
}

/// One check of a client's, until it is dropped.
struct Share {
    taken: Arc<Mutex<HashMap<IpAddr, usize>>>,
    network: IpAddr,
}

impl Shares {
    /// `None` when the client has its share.
    fn take(&self, client: IpAddr) -> Option<Share> {
        let network = client_network(client);
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let of_client = taken.get(&network).copied().unwrap_or(0);
        if of_client >= self.each {
            return None;
        }
        taken.insert(network, of_client.saturating_add(1));
        drop(taken);
        Some(Share { taken: self.taken.clone(), network })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(of_client) = taken.get_mut(&self.network) {
            *of_client = of_client.saturating_sub(1);
            if *of_client == 0 {
                taken.remove(&self.network);
            }
        }
    }
}

fn work(jobs: &Mutex<Receiver<Job>>) {
    yield_to_workers();
    loop {
        // One thread waits for work, the others for the lock.
        let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = job else { return };
        if catch_unwind(AssertUnwindSafe(job)).is_err() {
            tracing::error!("a password check panicked; it is answered with 503");
        }
    }
}

/// Lowers the priority of the calling thread alone, which Linux counts per thread. Elsewhere the
/// call would be about the whole process.
fn yield_to_workers() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::setpriority_process(None, NICENESS) {
        tracing::debug!(%error, "password checks run at the workers' priority");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;

    use super::*;

    const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const OTHER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));
    const HOLDER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 3));

    /// A pool of one thread that is held up until the sender is dropped.
    async fn held(waiting: usize) -> (Arc<Pool>, mpsc::Sender<()>) {
        let pool = Arc::new(Pool::of(1, waiting).unwrap());
        let (release, held) = mpsc::channel::<()>();
        let (begun, has_begun) = oneshot::channel();
        let holding = pool.clone();
        drop(tokio::spawn(async move {
            let hold = move || {
                begun.send(()).unwrap();
                let _ = held.recv();
            };
            holding.run(HOLDER, hold).await
        }));
        has_begun.await.unwrap();
        (pool, release)
    }

    #[tokio::test]
    async fn a_full_queue_turns_away_at_once() {
        let (pool, release) = held(1).await;
        let waiting = tokio::spawn({
            let pool = pool.clone();
            async move { pool.run(CLIENT, || 7).await }
        });
        // Lets the spawned task queue.
        tokio::task::yield_now().await;
        assert_eq!(pool.run(OTHER, || 8).await, Err(AccountsUnavailable::Busy));
        drop(release);
        assert_eq!(waiting.await.unwrap(), Ok(7));
    }

    /// CWE-770: whoever floods meets an end of the queue of their own.
    #[tokio::test]
    async fn one_client_cannot_fill_the_queue() {
        let (pool, release) = held(16).await;
        let asked = |client: &str| {
            let (pool, client) = (pool.clone(), client.parse().unwrap());
            tokio::spawn(async move { pool.run(client, || 7).await })
        };
        // All of one network.
        let flood: Vec<_> = (0..12).map(|i| asked(&format!("2001:db8::{i}"))).collect();
        tokio::task::yield_now().await;
        let honest = asked("2001:db8:0:1::1");
        tokio::task::yield_now().await;
        drop(release);
        assert_eq!(honest.await.unwrap(), Ok(7));
        let mut refused = 0;
        for check in flood {
            refused += usize::from(check.await.unwrap() == Err(AccountsUnavailable::Busy));
        }
        assert_eq!(refused, 8);
        // What is done is given back.
        for _ in 0..20 {
            assert_eq!(pool.run("2001:db8::".parse().unwrap(), || 7).await, Ok(7));
        }
        assert!(pool.shares.taken.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn what_nobody_waits_for_is_not_done() {
        let (pool, release) = held(4).await;
        let done = Arc::new(AtomicUsize::new(0));
        let counted = done.clone();
        let given_up = tokio::time::timeout(
            Duration::from_millis(20),
            pool.run(CLIENT, move || counted.fetch_add(1, Ordering::SeqCst)),
        );
        assert!(given_up.await.is_err());
        drop(release);
        assert_eq!(pool.run(OTHER, || 1).await, Ok(1));
        assert_eq!(done.load(Ordering::SeqCst), 0);
    }

    /// R54: a panic is the end of one answer, not of the threads.
    #[tokio::test]
    async fn a_panic_is_one_answer() {
        let pool = Pool::of(1, 4).unwrap();
        for _ in 0..3 {
            assert_eq!(
                pool.run(CLIENT, || -> u8 { panic!("x") }).await,
                Err(AccountsUnavailable::Failed)
            );
        }
        assert_eq!(pool.run(CLIENT, || 1).await, Ok(1));
    }

    #[tokio::test]
    async fn answers_come_from_several_threads() {
        let pool = Arc::new(Pool::of(2, 8).unwrap());
        let (one, other) = (mpsc::channel::<()>(), mpsc::channel::<()>());
        let first = tokio::spawn({
            let (pool, tell, hear) = (pool.clone(), one.0, other.1);
            async move {
                let both = move || (tell.send(()).is_ok(), hear.recv().is_ok());
                pool.run(CLIENT, both).await
            }
        });
        let second = tokio::spawn({
            let (pool, tell, hear) = (pool.clone(), other.0, one.1);
            async move {
                let both = move || (tell.send(()).is_ok(), hear.recv().is_ok());
                pool.run(CLIENT, both).await
            }
        });
        assert_eq!(first.await.unwrap(), Ok((true, true)), "each waits for the other");
        assert_eq!(second.await.unwrap(), Ok((true, true)));
    }
}
