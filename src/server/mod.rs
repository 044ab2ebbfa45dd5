//! Listeners: accepting, the PROXY protocol, TLS, and HTTP on each connection.
//!
//! Nothing here decides about a request; nothing here reads a byte without a time limit.

pub mod listener;
mod metered;
pub mod proxy_protocol;
mod redirect;
mod serve;
mod socket;
mod watch;

use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use rustls::ProtocolVersion;
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::sync::watch as drain_signal;
use tokio_rustls::TlsAcceptor;

use self::proxy_protocol::{Announced, Mode, Replay};
use self::serve::{Protocol, Terms, serve};
use self::socket::Socket;
use self::watch::Patience;
use crate::observe::metrics::{Handshake, Listener};
use crate::policy::Snapshot;
use crate::proxy::client::Peer;
use crate::proxy::clients::{ConnectionPermit, Limits};
use crate::proxy::connection::{Activity, Connection, TlsSession};
use crate::proxy::{Outgoing, Worker, handle};

/// What a listener is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Site {
    /// TLS, the whole pipeline.
    Https,
    /// The whole pipeline without TLS, for trusted proxies only.
    Plain,
    /// Redirects to HTTPS.
    Redirect,
}

/// What every accepted connection of a listener needs.
#[derive(Clone)]
pub struct Reception {
    /// The worker that serves them.
    pub worker: Arc<Worker>,
    /// What the listener is for.
    pub site: Site,
    /// Whether trusted peers begin connections with a PROXY protocol header.
    pub proxy_protocol: Option<Mode>,
    /// Turns true when the gateway drains.
    pub drain: drain_signal::Receiver<bool>,
}

/// How long connections are still accepted once draining begins: those that the kernel has
/// completed already must not be lost (R49).
pub const BACKLOG_GRACE: Duration = Duration::from_millis(50);

/// Accepts until draining begins.
pub async fn accept(listener: TcpListener, reception: Reception) {
    let mut end = pin!(end_of_accepting(reception.drain.clone()));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut end => return,
        };
        match accepted {
            Ok((stream, peer)) => receive(stream, peer.ip(), &reception),
            Err(error) => pause(&error).await,
        }
    }
}

/// Accepts on a unix socket until draining begins.
pub async fn accept_unix(listener: UnixListener, reception: Reception) {
    let mut end = pin!(end_of_accepting(reception.drain.clone()));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut end => return,
        };
        match accepted {
            Ok((stream, _)) => {
                let address = Peer::Unix.address();
                if let Some(permit) = admit(&reception, address) {
                    let reception = reception.clone();
                    drop(tokio::spawn(async move {
                        let policy = reception.worker.gateway.policy.load_full();
                        let arrival = Arrival { stream, peer: Peer::Unix, trusted: true, permit };
                        plain(arrival, &policy, reception).await;
                    }));
                }
            }
            Err(error) => pause(&error).await,
        }
    }
}

async fn end_of_accepting(mut drain: drain_signal::Receiver<bool>) {
    drop(drain.wait_for(|draining| *draining).await);
    tokio::time::sleep(BACKLOG_GRACE).await;
}

/// Out of descriptors or memory: the connection stays in the backlog, the worker goes on serving.
async fn pause(error: &std::io::Error) {
    tracing::warn!(%error, "cannot accept a connection");
    tokio::time::sleep(listener::ACCEPT_AGAIN).await;
}

fn receive(stream: TcpStream, peer: IpAddr, reception: &Reception) {
    let peer = peer.to_canonical();
    let Some(permit) = admit(reception, peer) else { return };
    let reception = reception.clone();
    drop(tokio::spawn(async move {
        let policy = reception.worker.gateway.policy.load_full();
        drop(stream.set_nodelay(true));
        match reception.proxy_protocol {
            Some(mode) if policy.trusted.contains(peer) => {
                announced(stream, peer, permit, &policy, reception, mode).await;
            }
            Some(Mode::Required) => {
                tracing::debug!(%peer, "the PROXY protocol is taken from trusted_proxies only");
            }
            Some(Mode::Optional) | None => {
                let trusted = policy.trusted.contains(peer);
                let arrival = Arrival { stream, peer: Peer::Ip(peer), trusted, permit };
                tls_or_plain(arrival, &policy, reception).await;
            }
        }
    }));
}

/// A connection whose peer may say for whom it speaks.
async fn announced(
    mut stream: TcpStream,
    peer: IpAddr,
    permit: ConnectionPermit,
    policy: &Snapshot,
    reception: Reception,
    mode: Mode,
) {
    let header = proxy_protocol::read(&mut stream, mode);
    match tokio::time::timeout(policy.timeouts.handshake, header).await {
        Ok(Ok(Announced::Source(source))) => {
            let source = source.ip().to_canonical();
            drop(permit);
            if let Some(permit) = admit(&reception, source) {
                let peer = Peer::Ip(source);
                let arrival = Arrival { stream, peer, trusted: true, permit };
                tls_or_plain(arrival, policy, reception).await;
            }
        }
        Ok(Ok(Announced::Local)) => {
            let arrival = Arrival { stream, peer: Peer::Ip(peer), trusted: true, permit };
            tls_or_plain(arrival, policy, reception).await;
        }
        Ok(Ok(Announced::Nothing(start))) => {
            let stream = Replay::new(start, stream);
            let arrival = Arrival { stream, peer: Peer::Ip(peer), trusted: true, permit };
            tls_or_plain(arrival, policy, reception).await;
        }
        Ok(Err(error)) => tracing::debug!(%peer, %error, "connection closed"),
        Err(_) => tracing::debug!(%peer, "no PROXY protocol header in time"),
    }
}

fn admit(reception: &Reception, address: IpAddr) -> Option<ConnectionPermit> {
    let gateway = &reception.worker.gateway;
    let limits = gateway.policy.load().limits;
    let limits = Limits { total: limits.connections, per_client: limits.connections_per_client };
    let permit = gateway.clients.connect(crate::limit::client_network(address), limits)?;
    let listener = match reception.site {
        Site::Https => Listener::Https,
        Site::Plain => Listener::Plain,
        Site::Redirect => Listener::Redirect,
    };
    Some(permit.counted(gateway.metrics.open_connection(listener)))
}

/// One accepted stream, before anything is spoken on it.
struct Arrival<S> {
    stream: S,
    /// The client, or whoever the PROXY protocol says.
    peer: Peer,
    /// Whether the socket's own peer is a trusted proxy.
    trusted: bool,
    permit: ConnectionPermit,
}

async fn tls_or_plain<S>(arrival: Arrival<S>, policy: &Snapshot, reception: Reception)
where
    S: Socket,
{
    match (reception.site, &policy.tls) {
        (Site::Https, Some(server)) => {
            let Arrival { stream, peer, permit, .. } = arrival;
            let acceptor = TlsAcceptor::from(server.config.clone());
            let handshake =
                tokio::time::timeout(policy.timeouts.handshake, acceptor.accept(stream));
            let metrics = &reception.worker.gateway.metrics;
            let stream = match handshake.await {
                Ok(Ok(stream)) => stream,
                Ok(Err(error)) => {
                    tracing::debug!(peer = %peer.address(), %error, "TLS handshake failed");
                    return metrics.handshake(Handshake::Failed);
                }
                Err(_) => return metrics.handshake(Handshake::TimedOut),
            };
            let (_, session) = stream.get_ref();
            metrics.handshake(match session.protocol_version() {
                Some(ProtocolVersion::TLSv1_3) => Handshake::Tls13,
                _ => Handshake::Tls12,
            });
            let protocol = match session.alpn_protocol() {
                Some(b"h2") => Protocol::Http2,
                _ => Protocol::Http1,
            };
            let tls = TlsSession::new(server.clone(), session.server_name());
            let connection = open(peer, Some(tls), permit);
            gateway(stream, protocol, connection, policy, reception).await;
        }
        (Site::Https, None) => {}
        (Site::Plain | Site::Redirect, _) => plain(arrival, policy, reception).await,
    }
}

async fn plain<S>(arrival: Arrival<S>, policy: &Snapshot, reception: Reception)
where
    S: Socket,
{
    let Arrival { stream, peer, trusted, permit } = arrival;
    if reception.site == Site::Redirect {
        let _permit = permit;
        let terms = terms(Protocol::Http1, Activity::new(), policy, &reception);
        let (gateway, activity) = (reception.worker.gateway.clone(), terms.activity.clone());
        let answer = move |request: Request<Incoming>| {
            let _running = activity.request();
            let response = redirect::redirect(&gateway.policy.load(), &request);
            std::future::ready(Ok::<_, Infallible>(response))
        };
        return serve(stream, answer, terms).await;
    }
    if trusted {
        let connection = open(peer, None, permit);
        gateway(stream, Protocol::Http1, connection, policy, reception).await;
    } else {
        tracing::debug!(peer = %peer.address(), "the plain listener serves trusted_proxies only");
    }
}

fn open(peer: Peer, tls: Option<TlsSession>, permit: ConnectionPermit) -> Arc<Connection> {
    Arc::new(Connection::new(peer, tls, permit))
}

async fn gateway<S>(
    stream: S,
    protocol: Protocol,
    connection: Arc<Connection>,
    policy: &Snapshot,
    reception: Reception,
) where
    S: Socket,
{
    let terms = terms(protocol, connection.activity.clone(), policy, &reception);
    let worker = reception.worker;
    let answer = move |request: Request<Incoming>| {
        let (worker, connection) = (worker.clone(), connection.clone());
        async move {
            let answer: Response<Outgoing> = handle(worker, connection, request).await;
            Ok::<_, Infallible>(answer)
        }
    };
    serve(stream, answer, terms).await;
}

fn terms(
    protocol: Protocol,
    activity: Arc<Activity>,
    policy: &Snapshot,
    reception: &Reception,
) -> Terms {
    let timeouts = &policy.timeouts;
    Terms {
        protocol,
        secure: reception.site == Site::Https,
        limits: policy.limits,
        patience: Patience {
            header: timeouts.header,
            keep_alive: timeouts.keep_alive,
            body_idle: timeouts.body_idle,
        },
        activity,
        drain: reception.drain.clone(),
    }
}
