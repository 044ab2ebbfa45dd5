//! Every way to connect, and every way that must not.

use std::sync::{Arc, Mutex};

use super::*;
use crate::secret::Secret;
use crate::store::{Error, Hits, OpenError, Store};

async fn try_out(settings: &Settings) -> Result<Hits, Error> {
    let store = Store::open(settings).unwrap();
    store.worker().look_up(&lookup("1"), NOW).await.map(|found| found.hits)
}

#[tokio::test]
async fn by_tcp_by_unix_socket_and_by_database_number() {
    let server = RedisServer::start();
    assert_eq!(try_out(&tcp(server.port)).await, Ok(Hits::None));
    assert_eq!(try_out(&unix(&server)).await, Ok(Hits::None));
    server.run::<()>(&["SET", "postern:blocklist:issuer:i", "x"]);
    assert!(matches!(try_out(&unix(&server)).await, Ok(Hits::Some(_))));
    let other = Settings { db: 3, ..unix(&server) };
    assert_eq!(try_out(&other).await, Ok(Hits::None));
    let other = Settings { prefix: "other:".into(), ..unix(&server) };
    assert_eq!(try_out(&other).await, Ok(Hits::None));
    let beyond = Settings { db: 99, ..unix(&server) };
    assert!(try_out(&beyond).await.is_err());
}

/// An ACL user with no more rights than the lookups need; and the password stays out of sight.
#[tokio::test]
async fn as_an_acl_user() {
    let server = RedisServer::start_with(&[
        "--save",
        "",
        "--user",
        "gate",
        "on",
        ">hunter2",
        "~postern:*",
        "+exists",
        "+mget",
        "--user",
        "default",
        "on",
        ">owner",
        "~*",
        "+@all",
    ]);
    let with = |name: Option<&str>, password: Option<&str>| Settings {
        username: name.map(Into::into),
        password: password.map(|p| Secret::new(p.to_owned())),
        ..tcp(server.port)
    };
    assert_eq!(try_out(&with(Some("gate"), Some("hunter2"))).await, Ok(Hits::None));
    assert_eq!(try_out(&with(None, Some("owner"))).await, Ok(Hits::None));
    for wrong in [with(None, None), with(Some("gate"), Some("hunter3")), with(Some("x"), Some("y"))]
    {
        let error = try_out(&wrong).await.unwrap_err();
        assert!(matches!(error, Error::Down(_)), "{error:?}");
        let shown = format!("{wrong:?} {error:?} {error}");
        assert!(!shown.contains("hunter"), "{shown}");
    }
    let store = Store::open(&with(Some("gate"), Some("hunter2"))).unwrap();
    let denied = store.put("jti:i:1", &record(), None, NOW).await.unwrap_err();
    assert_eq!(denied, Error::Answer("NOPERM".into()));
    let warnings = store.warnings().await.unwrap();
    assert!(warnings.iter().any(|warning| warning.contains("CONFIG GET")), "{warnings:?}");
}

struct Pki {
    ca: String,
    server: (String, String),
    client: (String, String),
}

fn pki() -> Pki {
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let leaf = |name: &str| {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        // Another subject than the authority's, or OpenSSL takes it for self-issued.
        params.distinguished_name.push(DnType::CommonName, name);
        (params.signed_by(&key, &ca).unwrap().pem(), key.serialize_pem())
    };
    Pki { ca: ca.pem(), server: leaf("localhost"), client: leaf("gateway") }
}

#[tokio::test]
async fn by_tls_with_and_without_a_client_certificate() {
    let dir = tempfile::tempdir().unwrap();
    let pki = pki();
    for (name, pem) in [("ca", &pki.ca), ("cert", &pki.server.0), ("key", &pki.server.1)] {
        std::fs::write(dir.path().join(name), pem).unwrap();
    }
    let port = server::free_port();
    let text = port.to_string();
    let _server = RedisServer::start_in(
        dir,
        &[
            "--save",
            "",
            "--port",
            "0",
            "--tls-port",
            &text,
            "--tls-ca-cert-file",
            "{dir}/ca",
            "--tls-cert-file",
            "{dir}/cert",
            "--tls-key-file",
            "{dir}/key",
            "--tls-auth-clients",
            "yes",
        ],
    );
    let at = |host: &str| Settings {
        ca: Some(pki.ca.clone().into_bytes()),
        client_cert: Some(pki.client.0.clone().into_bytes()),
        client_key: Some(Secret::new(pki.client.1.clone().into_bytes())),
        timeout: Duration::from_secs(2),
        ..Settings::new(Address::Tcp { host: host.to_owned(), port, tls: true })
    };
    assert_eq!(try_out(&at("localhost")).await, Ok(Hits::None));
    // Another name than the certificate's, no client certificate, another authority, no TLS.
    assert!(try_out(&at("127.0.0.1")).await.is_err());
    assert!(
        try_out(&Settings { client_cert: None, client_key: None, ..at("localhost") })
            .await
            .is_err()
    );
    let stranger = self::pki().ca.into_bytes();
    assert!(try_out(&Settings { ca: Some(stranger), ..at("localhost") }).await.is_err());
    assert!(try_out(&tcp(port)).await.is_err());
    for broken in [
        Settings { client_key: None, ..at("localhost") },
        Settings { ca: Some(b"no certificate".to_vec()), ..at("localhost") },
        Settings { client_key: Some(Secret::new(b"no key".to_vec())), ..at("localhost") },
        at("no host name"),
    ] {
        assert!(matches!(Store::open(&broken), Err(OpenError::Tls(_))));
    }
}

/// The log of an outage names the reason and never the password (R53).
#[tokio::test]
async fn an_outage_is_logged_without_the_password() {
    let server = RedisServer::start_with(&["--save", "", "--requirepass", "correct-horse"]);
    let log = Arc::new(Mutex::new(Vec::new()));
    let writer = Arc::clone(&log);
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || Tee(Arc::clone(&writer)))
        .finish();
    let guard = tracing::subscriber::set_default(subscriber);
    let settings =
        Settings { password: Some(Secret::new("battery-staple".to_owned())), ..tcp(server.port) };
    assert!(try_out(&settings).await.is_err());
    drop(guard);
    let log = String::from_utf8(log.lock().unwrap().clone()).unwrap();
    assert!(log.contains("cannot connect to the store"), "{log}");
    assert!(log.contains("WRONGPASS"), "{log}");
    assert!(!log.contains("battery-staple"), "{log}");
}

struct Tee(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Tee {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// What is said about settings that may lose revocations.
#[tokio::test]
async fn risky_settings_are_named() {
    for (arguments, expected) in [
        (vec!["--save", ""], "persists nothing"),
        (vec!["--save", "60 1"], "only snapshots"),
        (vec!["--save", "", "--appendonly", "yes"], "appendfsync is everysec"),
        (
            vec!["--save", "", "--maxmemory", "64mb", "--maxmemory-policy", "volatile-lru"],
            "evicts revocations",
        ),
    ] {
        let server = RedisServer::start_with(&arguments);
        let store = Store::open(&unix(&server)).unwrap();
        let warnings = store.warnings().await.unwrap();
        assert!(warnings.iter().any(|w| w.contains(expected)), "{arguments:?}: {warnings:?}");
    }
    let safe = ["--save", "", "--appendonly", "yes", "--appendfsync", "always"];
    let server = RedisServer::start_with(&safe);
    let store = Store::open(&unix(&server)).unwrap();
    assert_eq!(store.warnings().await.unwrap(), Vec::<String>::new());
}
