//! What the keys of a provider compile to, and that no command runs and nothing is connected to
//! where a configuration is only looked at.

use std::time::Duration;

use super::*;
use crate::auth::{TokenCheck, TokenType};
use crate::config::{Options, Problems, Source, parse};
use crate::limit::Registry;
use crate::observe::metrics::Metrics;
use crate::policy::{Snapshot, compile};

/// The root certificate of these tests, so that they need none of the system's.
fn directory() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let pem = params.self_signed(&key).unwrap().pem();
    std::fs::write(dir.path().join("ca.pem"), pem).unwrap();
    dir
}

fn compiled(issuers: &str, access: Access) -> Result<Snapshot, Problems> {
    crate::auth::install_provider();
    let dir = directory();
    let text = format!("listen.https = \"off\"\nlisten.plain = \"unix:run/p.sock\"\n{issuers}");
    let environment = |name: &str| match name {
        "SECRET" => Some("s3cret".to_owned()),
        "BROKEN" => Some("s3cret\nmore".to_owned()),
        _ => None,
    };
    let source = Source::new("p.toml", dir.path(), text);
    let loaded = parse(source, &[], &environment, Options::OFFLINE).unwrap();
    let (limiters, metrics) = (Registry::default(), Metrics::new());
    let context = Context {
        source: &loaded.source,
        limiters: &limiters,
        metrics: &metrics,
        previous: None,
        environment: &environment,
        access,
    };
    compile(&loaded.config, context)
}

const DISCOVERED: &str = "[[issuers]]\nname = \"main\"\nissuer = \"https://id.example/realm\"\n\
    audiences = \"a\"\nalgorithms = [\"ES256\"]\ndiscovery = true\nca = \"ca.pem\"\n\
    jwks_hosts = [\"Keys.Example\"]\nprovider_addresses = [\"10.0.0.0/8\", \"fd00::1\"]\n\
    refresh = \"1m\"\ntoken_type = \"at+jwt\"\n";

const ASKED: &str = "[[issuers]]\nname = \"opaque\"\nkind = \"introspection\"\nissuer = \"off\"\n\
    audiences = \"off\"\nurl = \"http://127.0.0.1:1/introspect\"\nclient_id = \"gate\"\n";

#[test]
fn discovery_becomes_a_key_source() {
    let snapshot = compiled(DISCOVERED, Access::Online).unwrap();
    let source = &snapshot.key_sources[0];
    assert_eq!(
        (&*source.entry, source.issuer.as_deref()),
        ("main", Some("https://id.example/realm"))
    );
    assert_eq!(source.published, Published::Discovery);
    assert_eq!(source.hosts, [Box::from("keys.example")], "as a URL's host is written");
    assert_eq!(source.algorithms, [Algorithm::ES256]);
    assert_eq!(source.reach.addresses.len(), 2);
    assert!(source.reach.trust.ends_with("ca.pem"));
    let times = [source.refresh, source.cooldown, source.max_stale, source.reach.timeout];
    assert_eq!(times.map(|time| time.as_secs()), [60, 10, 86_400, 5], "defaults but the first");
    assert!(source.required);
    let entry = snapshot.issuers.settings().next().unwrap();
    assert_eq!((entry.check, entry.token_type), (TokenCheck::SignatureFetched, TokenType::AtJwt));
    assert!(entry.keys.is_empty() && snapshot.introspections.is_empty());
}

#[test]
fn an_introspected_entry_has_a_client_and_no_algorithms() {
    let text = format!("{ASKED}client_secret_env = \"SECRET\"\nclient_auth = \"post\"\n");
    let snapshot =
        compiled(&(text + "cache = \"30s\"\ntimeout = \"1s\"\n"), Access::Offline).unwrap();
    let asked = &snapshot.introspections[0];
    assert_eq!((&*asked.entry, &*asked.client_id), ("opaque", "gate"));
    assert_eq!(asked.client_secret.expose(), "s3cret");
    assert_eq!(asked.authentication, ClientAuthentication::Post);
    assert_eq!(
        (asked.cache, asked.reach.timeout),
        (Duration::from_secs(30), Duration::from_secs(1))
    );
    assert!(!format!("{asked:?}").contains("s3cret"), "invariant 7");
    let entry = snapshot.issuers.settings().next().unwrap();
    assert!(entry.check == TokenCheck::Introspection && entry.algorithms.is_empty());
    assert!(snapshot.key_sources.is_empty());
}

#[test]
fn a_command_runs_only_where_commands_may_run() {
    let dir = tempfile::tempdir().unwrap();
    let ran = dir.path().join("ran");
    let script = format!("touch {}; echo s3cret", ran.display());
    let text = format!("{ASKED}client_secret_command = [\"sh\", \"-c\", \"{script}\"]\n");
    let snapshot = compiled(&text, Access::Offline).unwrap();
    assert!(snapshot.introspections.is_empty() && !ran.exists());
    let snapshot = compiled(&text, Access::Online).unwrap();
    assert_eq!(snapshot.introspections[0].client_secret.expose(), "s3cret");
    assert!(ran.exists());
}

#[test]
fn what_cannot_be_used_is_told_without_the_secret() {
    let said = |text: &str| {
        let problems = compiled(text, Access::Online).err().expect("refused");
        let messages: Vec<_> = problems.sorted().iter().map(|p| p.message.clone()).collect();
        messages.join("; ")
    };
    let broken = said(&format!("{ASKED}client_secret_env = \"BROKEN\"\n"));
    assert!(broken.contains("no client secret can have") && !broken.contains("s3cret"), "{broken}");
    assert!(said(&format!("{ASKED}client_secret_env = \"UNSET\"\n")).contains("UNSET"));
    assert!(said(&DISCOVERED.replace("ca.pem", "no.pem")).contains("no.pem"));
}
