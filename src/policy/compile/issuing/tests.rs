//! `[issuing]` compiled: which key files are taken, and that the snapshot then accepts what is
//! issued.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::*;
use crate::auth::{Algorithm, IssuerFilter};
use crate::config::{Options, Source, parse};
use crate::limit::Registry;
use crate::observe::metrics::Metrics;
use crate::policy::{LOCAL, Snapshot, compile};
use crate::time::UnixTime;

const NOW: UnixTime = UnixTime(1_800_000_000);

fn private(path: &Path, content: &[u8], mode: u32) {
    std::fs::write(path, content).unwrap();
    std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// What one key of this kind compiles to.
fn compiled(key: &str, content: &[u8], mode: u32, access: Access) -> Result<Snapshot, String> {
    crate::auth::install_provider();
    let dir = tempfile::tempdir().unwrap();
    private(&dir.path().join("key"), content, mode);
    let text = format!(
        "listen.https = \"off\"\nlisten.plain = \"unix:run/p.sock\"\n[issuing]\nissuer = \
         \"https://login.example\"\naudiences = \"api\"\n[[issuing.keys]]\nkid = \"1\"\n{key}\n\
         [upstreams.a]\nservers = \"http://127.0.0.1:1\"\n[[routes]]\nname = \"r\"\npath = \
         \"/*\"\nupstream = \"a\"\nissuers = \"local\"\n[issuing.users]\nfile = \
         \"users\"\n"
    );
    let environment = |_: &str| None;
    let source = Source::new("p.toml", dir.path(), text);
    let loaded = parse(source, &[], &environment, Options::OFFLINE).map_err(|e| e.to_string())?;
    let context = Context {
        source: &loaded.source,
        limiters: &Registry::default(),
        previous: None,
        environment: &environment,
        access,
        metrics: &Metrics::new(),
    };
    compile(&loaded.config, context).map_err(|problems| problems.render(&loaded.source))
}

fn pem(algorithm: Algorithm) -> Vec<u8> {
    SigningKey::generate(algorithm).unwrap().to_file().unwrap().expose().clone().into_bytes()
}

#[test]
fn what_is_issued_is_accepted() {
    for (algorithm, key) in [
        (Algorithm::ES256, "algorithm = \"ES256\"\nprivate_key_file = \"key\""),
        (Algorithm::EdDSA, "algorithm = \"EdDSA\"\nprivate_key_file = \"key\""),
        (Algorithm::HS256, "algorithm = \"HS256\"\nsecret_file = \"key\""),
    ] {
        let snapshot = compiled(key, &pem(algorithm), 0o600, Access::Online).unwrap();
        let issuing = snapshot.issuing.unwrap();
        let claims = serde_json::json!({
            "iss": "https://login.example", "aud": "api", "sub": "alice", "client_id": "postern",
            "iat": NOW.0, "exp": NOW.0 + 900, "jti": "j",
        });
        let signer = issuing.signer().unwrap();
        let claims = claims.as_object().unwrap();
        let token = signer.signing.sign("at+jwt", Some(&signer.kid), claims).unwrap();
        let local = IssuerFilter::Only(vec![LOCAL.into()]);
        let candidate = snapshot.issuers.prepare(&token, &local, NOW).unwrap();
        assert!(candidate.verify(NOW).is_ok(), "{algorithm}");
        let settings = snapshot.issuers.settings().next().unwrap();
        assert_eq!(settings.renewable, Some(issuing.refresh_lifetime));
    }
}

/// "A key file that others may read is refused"; and so is a key that nobody would take (R16).
#[test]
fn other_keys_are_refused() {
    let private_key = "algorithm = \"ES256\"\nprivate_key_file = \"key\"";
    let secret = "algorithm = \"HS256\"\nsecret_file = \"key\"";
    let es384 = pem(Algorithm::ES384);
    for (key, content, mode, expected) in [
        (private_key, pem(Algorithm::ES256), 0o644, "chmod 600"),
        (private_key, es384, 0o600, "ES256 needs a private key of its own type and size"),
        (private_key, b"hunter2".to_vec(), 0o600, "key"),
        (secret, b"hunter2".to_vec(), 0o600, "32"),
        (secret, pem(Algorithm::ES256), 0o600, "PEM"),
    ] {
        let refused = compiled(key, &content, mode, Access::Online).err().unwrap();
        assert!(refused.contains(expected), "{key}: {refused}");
        assert!(refused.contains("p.toml:") && !refused.contains("hunter2"), "{refused}");
    }
}

/// A verb that judges a stranger's configuration runs no command, and so has no key.
#[test]
fn offline_no_command_is_run() {
    let key = "algorithm = \"ES256\"\nprivate_key_command = [\"touch\", \"ran\"]";
    let snapshot = compiled(key, b"", 0o600, Access::Offline).unwrap();
    assert!(snapshot.issuing.unwrap().keys.is_empty());
    assert_eq!(snapshot.issuers.settings().count(), 0);
}
