//! `[[clients]]` compiled: which files are taken, and what is accepted of what is issued.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde_json::{Value, json};

use super::super::{Access, compile as compile_all};
use super::*;
use crate::auth::{Algorithm, IssuerFilter, SigningKey, client_secret_hash, new_client_secret};
use crate::config::{Options, Source, parse};
use crate::limit::Registry;
use crate::observe::metrics::Metrics;
use crate::policy::Snapshot;
use crate::time::UnixTime;

const NOW: UnixTime = UnixTime(1_800_000_000);

fn lay(path: &Path, content: &str, mode: u32) {
    std::fs::write(path, content).unwrap();
    std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// What one client with this file compiles to.
fn compiled(lines: &str, content: &str, mode: u32) -> Result<Snapshot, String> {
    crate::auth::install_provider();
    let dir = tempfile::tempdir().unwrap();
    let key = SigningKey::generate(Algorithm::ES256).unwrap().to_file().unwrap();
    lay(&dir.path().join("key"), key.expose(), 0o600);
    lay(&dir.path().join("file"), content, mode);
    let text = format!(
        "listen.https = \"off\"\nlisten.plain = \"unix:run/p.sock\"\n[issuing]\nissuer = \
         \"https://login.example\"\naudiences = \"api\"\n[[issuing.keys]]\nkid = \"1\"\nalgorithm \
         = \"ES256\"\nprivate_key_file = \"key\"\n[upstreams.a]\nservers = \
         \"http://127.0.0.1:1\"\n[[routes]]\nname = \"r\"\npath = \"/*\"\nupstream = \
         \"a\"\nissuers = \"local\"\n[[clients]]\nid = \"billing\"\ngrants = \
         \"client_credentials\"\n{lines}\n"
    );
    let environment = |_: &str| None;
    let source = Source::new("p.toml", dir.path(), text);
    let loaded = parse(source, &[], &environment, Options::OFFLINE).map_err(|e| e.to_string())?;
    let context = Context {
        source: &loaded.source,
        limiters: &Registry::default(),
        previous: None,
        environment: &environment,
        access: Access::Online,
        metrics: &Metrics::new(),
    };
    compile_all(&loaded.config, context).map_err(|problems| problems.render(&loaded.source))
}

fn jwks(keys: &[Value]) -> String {
    json!({ "keys": keys }).to_string()
}

fn public(algorithm: Algorithm, kid: &str) -> Value {
    let mut jwk = SigningKey::generate(algorithm).unwrap().verifying_jwk().unwrap();
    jwk.insert("kid".to_owned(), kid.into());
    Value::Object(jwk)
}

#[test]
fn a_client_is_what_it_says() {
    let hash = client_secret_hash(&new_client_secret().unwrap()).unwrap();
    let lines = "secret_hash_file = \"file\"\nroles = \"biller\"\nscopes = [\"a\", \"b\"]";
    let snapshot = compiled(lines, &hash, 0o644).unwrap();
    let client = snapshot.clients.find("billing").unwrap();
    assert!(matches!(client.credentials, Credentials::Secret(_)) && client.client_credentials);
    assert_eq!(
        (&*client.audiences, &*client.roles),
        (&["api".to_owned()][..], &["biller".to_owned()][..])
    );
    assert!(!client.may_introspect && !client.may_revoke_any);
    assert!(snapshot.clients.find("Billing").is_none());
    let keys = jwks(&[public(Algorithm::ES256, "1"), public(Algorithm::EdDSA, "2")]);
    let snapshot = compiled("jwks_file = \"file\"", &keys, 0o644).unwrap();
    let client = snapshot.clients.find("billing").unwrap();
    assert!(matches!(client.credentials, Credentials::Keys(_)));
}

/// A token for a service elsewhere is Postern's own all the same, and none for this gateway.
#[test]
fn tokens_for_others_are_issued_and_not_let_through() {
    let hash = client_secret_hash(&new_client_secret().unwrap()).unwrap();
    let lines = "secret_hash_file = \"file\"\naudiences = \"elsewhere\"";
    let snapshot = compiled(lines, &hash, 0o600).unwrap();
    let issuing = snapshot.issuing.clone().unwrap();
    let claims = json!({
        "iss": "https://login.example", "aud": "elsewhere", "sub": "client:billing",
        "client_id": "billing", "iat": NOW.0, "exp": NOW.0 + 900, "jti": "j",
    });
    let signer = issuing.signer().unwrap();
    let token = signer.signing.sign("at+jwt", Some("1"), claims.as_object().unwrap()).unwrap();
    let by = |issuers: &Issuers| {
        let prepared = issuers.prepare(&token, &IssuerFilter::All, NOW);
        prepared.and_then(|candidate| candidate.verify(NOW)).is_ok()
    };
    assert!(by(&snapshot.clients.issued) && !by(&snapshot.issuers));
}

#[test]
fn other_files_are_refused() {
    let hash = client_secret_hash(&new_client_secret().unwrap()).unwrap();
    let private = json!({ "kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo", "d": "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A" });
    let octet = json!({ "kty": "oct", "k": "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow" });
    let good = public(Algorithm::ES256, "1");
    let (secret, keys) = ("secret_hash_file = \"file\"", "jwks_file = \"file\"");
    for (lines, content, mode, expected) in [
        (secret, hash.clone(), 0o666, "chmod"),
        (secret, "hunter2".to_owned(), 0o600, "postern keys generate --client-secret"),
        (secret, "$2y$12$hunter2".to_owned(), 0o600, "password's hash"),
        (secret, String::new(), 0o600, "holds no hash"),
        ("secret_hash_file = \"missing\"", String::new(), 0o600, "cannot be read"),
        // R4, R16: RFC 7517 §9.2, nothing private is where anybody may read it.
        (keys, jwks(&[good.clone(), private]), 0o600, "private key"),
        (keys, jwks(&[octet, good.clone()]), 0o600, "shared secret"),
        (keys, jwks(&[good.clone(), good.clone()]), 0o600, "twice"),
        (keys, jwks(&[]), 0o600, "holds no usable key"),
        (keys, "hunter2".to_owned(), 0o600, "JWKS"),
        (keys, jwks(&[good]), 0o622, "chmod"),
        (keys, " ".repeat(300 << 10), 0o600, "256 KiB"),
    ] {
        let refused = compiled(lines, &content, mode).err().unwrap();
        assert!(refused.contains(expected), "{lines} {expected}: {refused}");
        assert!(refused.contains("p.toml:") && !refused.contains("hunter2"), "{refused}");
    }
}
