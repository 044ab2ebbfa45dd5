//! The upstreams' servers: whether each can be connected to, and whether an https one shows a
//! certificate for its name. No request is sent.

use std::collections::HashSet;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::certificate::{Validity, validity};
use super::{Found, Probe, probe};
use crate::policy::Snapshot;
use crate::policy::upstream::Server;
use crate::time::UnixTime;

pub(super) fn probes(snapshot: &Snapshot, now: UnixTime) -> Vec<Probe> {
    let mut seen = HashSet::new();
    let mut probes = Vec::new();
    for route in &snapshot.routes {
        for server in &route.upstream.servers {
            if !seen.insert((route.upstream.name.clone(), server.key.clone())) {
                continue;
            }
            let scheme = if server.tls.is_some() { "https" } else { "http" };
            let host = if server.host.contains(':') {
                format!("[{}]", server.host)
            } else {
                server.host.to_string()
            };
            let name = format!("{} {scheme}://{host}:{}", route.upstream.name, server.port);
            let limit = route.timeouts.connect;
            probes.push(probe("upstream", name, reachable(server.clone(), limit, now)));
        }
    }
    probes
}

async fn reachable(server: Arc<Server>, limit: Duration, now: UnixTime) -> Found {
    match tokio::time::timeout(limit, connect(&server)).await {
        Err(_) => Found::failed(format!("no connection within {limit:?} (connect)")),
        Ok(Err(error)) => Found::failed(error),
        Ok(Ok(Connected { address, tls: None })) => Found::good(format!("connected to {address}")),
        Ok(Ok(Connected { address, tls: Some((version, leaf)) })) => {
            let words = format!("connected to {address} with {version}");
            match leaf.as_deref().map(|leaf| validity(leaf, now)) {
                Some(Ok(Validity { words: until, warning })) => Found::with_warnings(
                    format!("{words}, certificate {until}"),
                    warning.as_slice(),
                ),
                Some(Err(_)) | None => Found::good(words),
            }
        }
    }
}

struct Connected {
    address: String,
    /// The version, and the certificate that the server showed.
    tls: Option<(String, Option<CertificateDer<'static>>)>,
}

async fn connect(server: &Server) -> io::Result<Connected> {
    let tcp = TcpStream::connect((&*server.host, server.port)).await?;
    let address = tcp.peer_addr()?.to_string();
    let Some(tls) = &server.tls else { return Ok(Connected { address, tls: None }) };
    let stream = TlsConnector::from(tls.config.clone()).connect(tls.name.clone(), tcp).await?;
    let (_, session) = stream.get_ref();
    let version = match session.protocol_version() {
        Some(rustls::ProtocolVersion::TLSv1_3) => "TLS 1.3",
        _ => "TLS 1.2",
    };
    let leaf = session.peer_certificates().and_then(<[_]>::first).cloned();
    Ok(Connected { address, tls: Some((version.to_owned(), leaf.map(CertificateDer::into_owned))) })
}
