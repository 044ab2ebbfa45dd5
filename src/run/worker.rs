//! Worker threads: each with a runtime, sockets, upstream connections and store connection of its
//! own, so that no request crosses a thread.

use std::io;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::watch;

use crate::blocklist::Blocklist;
use crate::proxy::{Gateway, Worker};
use crate::server::proxy_protocol::Mode;
use crate::server::{Reception, Site, accept, accept_unix};
use crate::stream::{self, Index, Keeper};
use crate::upstream::Pool;

/// How often idle upstream connections are looked over.
const POOL_SWEEP: Duration = Duration::from_secs(1);

/// One worker's share of a listener.
pub enum Share {
    /// TCP.
    Tcp(TcpListener),
    /// A unix socket.
    Unix(UnixListener),
}

/// What a worker starts with.
pub struct Start {
    /// The shared part.
    pub gateway: Arc<Gateway>,
    /// The blocklist.
    pub blocklist: Arc<Blocklist>,
    /// Its listeners.
    pub shares: Vec<(Site, Share)>,
    /// `[listen] proxy_protocol`.
    pub proxy_protocol: Option<Mode>,
    /// True: stop accepting, finish what is running.
    pub drain: watch::Receiver<bool>,
    /// True: end, whatever is running.
    pub end: watch::Receiver<bool>,
}

/// Starts a worker thread.
///
/// # Errors
///
/// When the thread or its runtime cannot be made.
pub fn spawn(index: usize, start: Start) -> io::Result<JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new()
        .name(format!("worker-{index}"))
        .spawn(move || runtime.block_on(work(start)))
}

async fn work(start: Start) {
    let (gateway, blocklist) = (start.gateway, Arc::new(start.blocklist.worker()));
    let streams = Index::new(start.blocklist.announcer().clone(), gateway.streams.clone());
    stream::keep(Keeper {
        index: streams.clone(),
        blocklist: blocklist.clone(),
        policy: gateway.policy.clone(),
    });
    let worker = Arc::new(Worker { gateway, pool: Pool::new(), blocklist, streams });
    for (site, share) in start.shares {
        let reception = Reception {
            worker: worker.clone(),
            site,
            proxy_protocol: start.proxy_protocol,
            drain: start.drain.clone(),
        };
        if let Err(error) = listen(share, reception) {
            tracing::error!(%error, "a worker cannot listen");
        }
    }
    let mut end = start.end;
    let mut sweep = tokio::time::interval(POOL_SWEEP);
    loop {
        tokio::select! {
            _ = sweep.tick() => worker.pool.sweep(),
            _ = end.wait_for(|end| *end) => return,
        }
    }
}

fn listen(share: Share, reception: Reception) -> io::Result<()> {
    match share {
        Share::Tcp(listener) => {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            drop(tokio::spawn(accept(listener, reception)));
        }
        Share::Unix(listener) => {
            let listener = tokio::net::UnixListener::from_std(listener)?;
            drop(tokio::spawn(accept_unix(listener, reception)));
        }
    }
    Ok(())
}
