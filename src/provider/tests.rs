//! Tests.
use super::*;
use crate::auth::Algorithm;
use crate::policy::provider::{Published, Reach};

pub(super) fn key_source(entry: &str) -> KeySource {
    KeySource {
        entry: entry.into(),
        issuer: Some("https://id.example".into()),
        published: Published::Jwks("https://id.example/keys".parse().unwrap()),
        hosts: Vec::new(),
        reach: Reach {
            tls: Arc::new(tls()),
            trust: "".into(),
            addresses: Vec::new(),
            timeout: Duration::from_secs(5),
        },
        algorithms: vec![Algorithm::ES256],
        refresh: Duration::from_secs(300),
        cooldown: Duration::from_secs(10),
        max_stale: Duration::from_secs(3600),
        required: true,
    }
}

fn tls() -> rustls::ClientConfig {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth()
}
