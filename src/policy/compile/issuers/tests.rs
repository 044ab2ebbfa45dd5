//! Who may have access to the files that keys are read from.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;

use super::*;
use crate::auth::SigningKey;
use crate::config::{Options, Source, parse};
use crate::limit::Registry;
use crate::observe::metrics::Metrics;
use crate::policy::compile;

/// What a `jwks_file` with one key of this algorithm and this mode compiles to.
fn compiled(algorithm: Algorithm, mode: u32) -> Result<usize, String> {
    crate::auth::install_provider();
    let dir = tempfile::tempdir().unwrap();
    let mut jwk = SigningKey::generate(algorithm).unwrap().verifying_jwk().unwrap();
    jwk.insert("alg".to_owned(), algorithm.as_str().into());
    let file = dir.path().join("jwks.json");
    std::fs::write(&file, serde_json::json!({ "keys": [jwk] }).to_string()).unwrap();
    std::fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
    let text = format!(
        "listen.https = \"off\"\nlisten.plain = \"unix:run/p.sock\"\n[[issuers]]\nname = \
         \"main\"\nissuer = \"off\"\naudiences = \"off\"\nalgorithms = [\"{algorithm}\"]\n\
         jwks_file = \"jwks.json\"\n"
    );
    let environment = |_: &str| None;
    let source = Source::new("p.toml", dir.path(), text);
    let loaded = parse(source, &[], &environment, Options::OFFLINE).unwrap();
    let context = Context {
        source: &loaded.source,
        limiters: &Registry::default(),
        metrics: &Metrics::new(),
        previous: None,
        environment: &environment,
        access: Access::Online,
    };
    compile(&loaded.config, context)
        .map(|snapshot| snapshot.issuers.settings().map(|entry| entry.keys.len()).sum())
        .map_err(|problems| problems.render(&loaded.source))
}

/// Design, section 4: "a configuration or key file that others may write, or a key file that
/// others may read, is refused".
#[test]
fn a_set_of_secrets_is_private_and_a_set_of_public_keys_is_not_for_others_to_write() {
    for (algorithm, mode, advice) in [
        (Algorithm::HS256, 0o600, None),
        (Algorithm::HS256, 0o644, Some("chmod 600")),
        (Algorithm::HS256, 0o640, Some("chmod 600")),
        (Algorithm::HS256, 0o620, Some("chmod 600")),
        (Algorithm::ES256, 0o644, None),
        (Algorithm::ES256, 0o664, Some("chmod go-w")),
        (Algorithm::ES256, 0o646, Some("chmod go-w")),
    ] {
        match (compiled(algorithm, mode), advice) {
            (Ok(keys), None) => assert_eq!(keys, 1, "{algorithm} {mode:o}"),
            (Err(text), Some(advice)) => assert!(text.contains(advice), "{mode:o}: {text}"),
            (other, _) => panic!("{algorithm} {mode:o}: {other:?}"),
        }
    }
}
