//! `[upstreams.NAME]` → servers with their TLS settings.

use std::collections::HashMap;
use std::sync::Arc;

use http::HeaderValue;
use rustls::pki_types::ServerName;

use super::{Context, assertions};
use crate::config::{self, Config, Problem, Problems};
use crate::policy::tls;
use crate::policy::upstream::{Server, ServerTls, Upstream};

/// Upstreams by name.
pub(super) type Upstreams = HashMap<String, Arc<Upstream>>;

pub(super) fn compile(config: &Config, context: Context<'_>, problems: &mut Problems) -> Upstreams {
    let mut upstreams = Upstreams::new();
    for (name, raw) in &config.upstreams {
        let ca = raw.ca.as_ref().map(|path| context.source.resolve(path.get_ref()));
        let needs_tls = raw.servers.iter().any(|server| server.tls);
        let client = match needs_tls.then(|| tls::client_config(ca.as_deref())).transpose() {
            Ok(client) => client,
            Err(error) => {
                let place = raw.ca.as_ref().map_or_else(|| name.span(), config::Spanned::span);
                problems.push(Problem::at(place, error.to_string()));
                continue;
            }
        };
        let servers = raw
            .servers
            .spanned()
            .filter_map(|server| {
                let trust = ca.as_deref().map_or_else(String::new, |ca| ca.display().to_string());
                match compile_server(server.get_ref(), client.as_ref(), &trust) {
                    Ok(server) => Some(Arc::new(server)),
                    Err(message) => {
                        problems.push(Problem::at(server.span(), message));
                        None
                    }
                }
            })
            .collect();
        let series = context.metrics.upstream(name.get_ref());
        let mut upstream = Upstream::new(servers, raw.keep_alive.get_ref().get(), series);
        if let Some(raw) = raw.assertion.as_ref().map(config::Spanned::get_ref) {
            upstream.identity_headers = *raw.identity_headers.get_ref();
            upstream.assertion = assertions::compile(raw, config, context, problems).map(Arc::new);
        }
        upstreams.insert(name.get_ref().clone(), Arc::new(upstream));
    }
    upstreams
}

fn compile_server(
    raw: &config::Server,
    client: Option<&Arc<rustls::ClientConfig>>,
    trust: &str,
) -> Result<Server, &'static str> {
    let tls = match client.filter(|_| raw.tls) {
        Some(config) => {
            let name = ServerName::try_from(raw.host().to_owned())
                .map_err(|_| "not a name that a certificate can carry")?;
            Some(ServerTls { config: config.clone(), name })
        }
        None => None,
    };
    let scheme = if raw.tls { "https" } else { "http" };
    Ok(Server {
        key: format!("{scheme}://{}:{} {trust}", raw.host(), raw.port()).into(),
        host: raw.host().into(),
        port: raw.port(),
        authority: HeaderValue::try_from(raw.authority.as_str())
            .map_err(|_| "not a host that a Host field can carry")?,
        tls,
    })
}
