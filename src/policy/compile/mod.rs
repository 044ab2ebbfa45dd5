//! Raw configuration → snapshot. Every problem is collected with its place in the file.

mod assertions;
mod clients;
mod issuers;
mod issuing;
mod providers;
mod routes;
mod upstreams;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::HeaderName;

use super::identity::{IdentityHeaders, Preset};
use super::issuing::Issuing;
use super::origin::Origin;
use super::own_paths::OwnPaths;
use super::reserved::ReservedNames;
use super::snapshot::{ClientTimeouts, RequestLimits, Snapshot, StreamRules};
use super::tls;
use super::trusted::TrustedProxies;
use crate::auth::{ExtraKey, Issuers};
use crate::config::{
    self, Check, ClientAuth, ClientAuthMode, Config, HeaderPattern, MinVersion, Problem, Problems,
    Source, Spanned, StreamKind,
};
use crate::limit::{AuthFailures, Quota, Registry};
use crate::observe::metrics::Metrics;
use crate::token::ClaimPath;

/// Whether compiling may run `…_command`s.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// A gateway that is about to run.
    Online,
    /// A verb that judges a stranger's configuration: keys that only a command knows are left out.
    Offline,
}

/// What compiling takes besides the configuration.
#[derive(Clone, Copy)]
pub struct Context<'c> {
    /// Where the configuration comes from: its directory and its places.
    pub source: &'c Source,
    /// Limiters that are in use; those that stay the same keep their counts.
    pub limiters: &'c Registry,
    /// Where routes and upstreams are counted; names that stay keep their numbers.
    pub metrics: &'c Metrics,
    /// The snapshot in force, on a reload.
    pub previous: Option<&'c Snapshot>,
    /// Environment variables that secrets may stand in.
    pub environment: config::Environment<'c>,
    /// Whether commands run.
    pub access: Access,
}

/// Compiles the configuration.
///
/// # Errors
///
/// Every problem that there is, not only the first.
pub fn compile(config: &Config, context: Context<'_>) -> Result<Snapshot, Problems> {
    let mut problems = Problems::new();
    let tls = tls_server(config, context, &mut problems);
    let upstreams = upstreams::compile(config, context, &mut problems);
    let issuing = issuing::compile(config, context, &mut problems);
    let extra = extra_keys(config, &mut problems);
    let clients = clients::compile(config, context, issuing.as_ref(), &extra, &mut problems);
    let issuers = issuers(config, context, issuing.as_ref(), extra, &mut problems);
    let routes = routes::compile(config, context, &upstreams, &mut problems);
    let tables = routes::tables(config, &mut problems);
    let identity = identity(config, &mut problems);
    let assertions = assertions::headers(config, &upstreams, &identity, &mut problems);
    let reserved = reserved(config, &identity, &assertions, &mut problems);
    let public_url = config.listen.public_url.get_ref().origin();
    let public_url = public_url.and_then(|url| Origin::parse(&url).ok());
    let (Some((issuers, providers)), Some(tables), Some(reserved)) = (issuers, tables, reserved)
    else {
        return Err(problems);
    };
    let published_keys =
        assertions::published(config, &upstreams, issuing.as_ref(), &issuers, &mut problems);
    if !problems.is_empty() {
        return Err(problems);
    }
    Ok(Snapshot {
        router: tables.literal,
        folded_router: tables.folded,
        paths_fold: tables.paths_fold,
        own_paths: own_paths(config),
        endpoints_url: endpoints_url(config),
        routes,
        issuers,
        issuing: issuing.map(Arc::new),
        published_keys,
        clients: Arc::new(clients.unwrap_or_default()),
        key_sources: providers.key_sources,
        introspections: providers.introspections,
        reserved,
        identity_table: identity_table(&identity, context.previous),
        identity,
        trusted: TrustedProxies::new(config.listen.trusted_proxies.iter().map(|net| net.0)),
        limits: limits(config),
        timeouts: timeouts(config),
        streams: streams(config),
        tls,
        public_url,
        check_blocklist: *config.revocation.check.get_ref() != Check::Off,
        failures: failures(config, context.previous),
    })
}

fn own_paths(config: &Config) -> OwnPaths {
    let host = config.listen.public_url.get_ref().authority().map(http::uri::Authority::host);
    let own = OwnPaths::new(config.endpoints.prefix.get_ref().as_str(), host);
    match issuer_url(config) {
        Some(issuer) => own.with_metadata_of(issuer.path()),
        None => own,
    }
}

fn issuer_url(config: &Config) -> Option<http::Uri> {
    config.issuing.as_ref()?.get_ref().issuer.get_ref().0.parse().ok()
}

/// Below `public_url`; without one, where the issuer says that it is.
fn endpoints_url(config: &Config) -> Option<String> {
    let public = config.listen.public_url.get_ref().origin();
    let origin = public.or_else(|| {
        let issuer = issuer_url(config)?;
        Some(format!("{}://{}", issuer.scheme_str()?, issuer.authority()?))
    });
    Some(format!("{}{}", origin?, config.endpoints.prefix.get_ref().as_str()))
}

fn tls_server(
    config: &Config,
    context: Context<'_>,
    problems: &mut Problems,
) -> Option<Arc<tls::Server>> {
    if config.listen.https.is_off() {
        return None;
    }
    let resolve = |path: &Spanned<std::path::PathBuf>| context.source.resolve(path.get_ref());
    let raw = &config.tls;
    for pair in &raw.certificates {
        let (cert, key) = (&pair.get_ref().cert, &pair.get_ref().key);
        if let Err(error) = std::fs::metadata(resolve(cert)) {
            let path = resolve(cert);
            problems.push(
                Problem::at(cert.span(), format!("{} cannot be read: {error}", path.display()))
                    .help("certs/generate.sh makes a certificate for trying out"),
            );
        }
        if let Err(error) = config::check_certificate_key_permissions(&resolve(key)) {
            problems.push(Problem::at(key.span(), error.to_string()));
        }
    }
    let settings = tls::Settings {
        only_1_3: *raw.min_version.get_ref() == MinVersion::Tls13,
        certificates: raw
            .certificates
            .iter()
            .map(|pair| (resolve(&pair.get_ref().cert), resolve(&pair.get_ref().key)))
            .collect(),
        client_auth: match raw.client_auth.get_ref() {
            ClientAuth::Off => tls::ClientAuth::Off,
            ClientAuth::On { mode: ClientAuthMode::Optional, ca } => {
                tls::ClientAuth::Optional(resolve(ca))
            }
            ClientAuth::On { mode: ClientAuthMode::Required, ca } => {
                tls::ClientAuth::Required(resolve(ca))
            }
        },
    };
    if !problems.is_empty() {
        return None;
    }
    match tls::Server::compile(&settings) {
        Ok(server) => Some(Arc::new(server)),
        Err(errors) => {
            let place = raw.certificates.first().map_or(0..0, Spanned::span);
            for error in errors {
                problems.push(
                    Problem::at(place.clone(), error.to_string())
                        .help("`[tls] certificates` names a PEM chain and its PEM key"),
                );
            }
            None
        }
    }
}

/// The issuers, and what their providers are asked for.
fn issuers(
    config: &Config,
    context: Context<'_>,
    issuing: Option<&Issuing>,
    extra: Vec<ExtraKey>,
    problems: &mut Problems,
) -> Option<(Issuers, issuers::Compiled)> {
    let before = problems.len();
    let mut compiled = issuers::compile(config, context, problems);
    // Without a key it verifies nothing: it could not be read, or only a command knows it.
    let issuing = issuing.filter(|issuing| !issuing.keys.is_empty());
    match issuing.map(Issuing::verifier).transpose() {
        Ok(local) => compiled.entries.extend(local),
        Err(error) => problems.push(Problem::new(format!("[issuing] {error}"))),
    }
    if problems.len() > before {
        return None;
    }
    match Issuers::new(std::mem::take(&mut compiled.entries), extra) {
        Ok(issuers) => Some((issuers, compiled)),
        Err(errors) => {
            let place = config.issuers.first().map_or(0..0, Spanned::span);
            for error in errors {
                problems.push(Problem::at(place.clone(), error.to_string()));
            }
            None
        }
    }
}

/// The keys under which other applications revoke.
fn extra_keys(config: &Config, problems: &mut Problems) -> Vec<ExtraKey> {
    let templates = config.revocation.extra_keys.spanned();
    let parsed = templates.filter_map(|template| match template.get_ref().to_string().parse() {
        Ok(key) => Some(key),
        Err(error) => {
            let error: crate::auth::ExtraKeyError = error;
            problems.push(Problem::at(template.span(), error.to_string()));
            None
        }
    });
    parsed.collect()
}

fn identity(config: &Config, problems: &mut Problems) -> IdentityHeaders {
    let preset = match config.identity.preset.get_ref() {
        config::Preset::Authelia => Preset::Authelia,
        config::Preset::Envoy => Preset::Envoy,
        config::Preset::Kong => Preset::Kong,
        config::Preset::None => Preset::None,
        config::Preset::Oauth2Proxy => Preset::OAuth2Proxy,
    };
    let mut headers = Vec::new();
    for (name, claim) in &config.identity.headers {
        let header = HeaderName::from_bytes(name.get_ref().as_bytes());
        match (header, ClaimPath::parse(claim.get_ref().as_str())) {
            (Ok(header), Ok(path)) => headers.push((header, path)),
            (Err(_), _) => problems.push(Problem::at(name.span(), "not a header name")),
            (_, Err(error)) => problems.push(Problem::at(claim.span(), error.to_string())),
        }
    }
    IdentityHeaders::new(preset, headers)
}

fn reserved(
    config: &Config,
    identity: &IdentityHeaders,
    assertions: &[HeaderName],
    problems: &mut Problems,
) -> Option<ReservedNames> {
    let patterns: Vec<String> = config
        .identity
        .reserved
        .iter()
        .map(|pattern| match pattern {
            HeaderPattern::Exact(name) => name.clone(),
            HeaderPattern::Prefix(head) => format!("{head}*"),
        })
        .collect();
    let own = identity.names().chain(assertions);
    ReservedNames::compile(patterns.iter().map(String::as_str), own)
        .map_err(|error| {
            let place = config.identity.reserved.spanned().next().map_or(0..0, Spanned::span);
            problems.push(Problem::at(place, error.to_string()));
        })
        .ok()
}

fn identity_table(identity: &IdentityHeaders, previous: Option<&Snapshot>) -> u64 {
    static TABLES: AtomicU64 = AtomicU64::new(0);
    match previous {
        Some(snapshot) if snapshot.identity == *identity => snapshot.identity_table,
        _ => TABLES.fetch_add(1, Ordering::Relaxed),
    }
}

fn limits(config: &Config) -> RequestLimits {
    let raw = &config.limits;
    let count = |value: &Spanned<std::num::NonZeroU32>| value.get_ref().get();
    RequestLimits {
        header_bytes: raw.header_bytes.get_ref().as_usize(),
        header_count: count(&raw.header_count) as usize,
        target_bytes: raw.target_bytes.get_ref().as_usize(),
        authorization_bytes: raw.authorization_bytes.get_ref().as_usize(),
        connections: count(&raw.connections) as usize,
        connections_per_client: count(&raw.connections_per_client),
        requests_per_client: count(&raw.requests_per_client),
    }
}

fn timeouts(config: &Config) -> ClientTimeouts {
    let raw = &config.timeouts;
    ClientTimeouts {
        handshake: raw.handshake.get_ref().get(),
        header: raw.header.get_ref().get(),
        body_idle: raw.body_idle.get_ref().get(),
        keep_alive: raw.keep_alive.get_ref().get(),
        drain: raw.drain.get_ref().get(),
    }
}

fn streams(config: &Config) -> StreamRules {
    let kinds = config.streams.close_at_exp.spanned();
    let ends = |kind| kinds.iter().any(|named| *named.get_ref() == kind);
    StreamRules {
        websocket: ends(StreamKind::WebSocket),
        sse: ends(StreamKind::Sse),
        grpc: ends(StreamKind::Grpc),
        grace: config.streams.grace.get_ref().get(),
    }
}

fn failures(config: &Config, previous: Option<&Snapshot>) -> Option<(Quota, Arc<AuthFailures>)> {
    let rate = config.auth_failures.rate.get_ref().on()?;
    let quota = Quota { count: rate.count, per: rate.per };
    match previous.and_then(|snapshot| snapshot.failures.as_ref()) {
        Some((same, limiter)) if *same == quota => Some((quota, limiter.clone())),
        _ => Some((quota, Arc::new(AuthFailures::new(quota)))),
    }
}
