//! Keys and headers of assertions compiled: one key does one thing, one kid names one key, and the
//! header is nobody else's.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use crate::auth::{Algorithm, SigningKey};
use crate::config::{Options, Source, parse};
use crate::limit::Registry;
use crate::observe::metrics::Metrics;
use crate::policy::{Context, FileAccess, Snapshot, compile};

const SECRET: &str = "0123456789abcdef0123456789abcdef";

fn private(path: &Path, content: &str) {
    std::fs::write(path, content).unwrap();
    std::fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
}

/// Two upstreams `a` and `b` with a route each; `more` may say anything of them. Files: `one.pem`
/// and `two.pem` for ES256, `one.jwks` the public half of `one.pem`, `secret`.
fn compiled(more: &str) -> Result<Snapshot, String> {
    crate::auth::install_provider();
    let dir = tempfile::tempdir().unwrap();
    for name in ["one", "two"] {
        let key = SigningKey::generate(Algorithm::ES256).unwrap();
        private(&dir.path().join(format!("{name}.pem")), key.to_file().unwrap().expose());
        let jwk = serde_json::to_string(&key.verifying_jwk().unwrap()).unwrap();
        private(&dir.path().join(format!("{name}.jwk")), &jwk);
    }
    private(&dir.path().join("secret"), SECRET);
    let text = format!(
        "listen.https = \"off\"\nlisten.plain = \"unix:run/p.sock\"\nlisten.public_url = \
         \"https://gw.example\"\n[upstreams.a]\nservers = \"http://127.0.0.1:1\"\n[upstreams.b]\n\
         servers = \"http://127.0.0.1:2\"\n[[routes]]\nname = \"a\"\nauth = \"none\"\npath = \"/a\"\nupstream = \
         \"a\"\n[[routes]]\nname = \"b\"\nauth = \"none\"\npath = \"/b\"\nupstream = \"b\"\n{more}"
    );
    let environment = |_: &str| None;
    let source = Source::new("p.toml", dir.path(), text);
    let loaded = parse(source, &[], &environment, Options::OFFLINE).map_err(|e| e.to_string())?;
    let context = Context {
        source: &loaded.source,
        limiters: &Registry::default(),
        previous: None,
        environment: &environment,
        access: FileAccess::Online,
        metrics: &Metrics::new(),
    };
    compile(&loaded.config, context).map_err(|problems| problems.render(&loaded.source))
}

/// `[upstreams.NAME.assertion]` with one key.
fn assertion(name: &str, kid: &str, file: &str) -> String {
    let source = match file {
        "secret" => "algorithm = \"HS256\", secret_file = \"secret\"".to_owned(),
        file => format!("algorithm = \"ES256\", private_key_file = \"{file}\""),
    };
    format!(
        "[upstreams.{name}.assertion]\naudience = \"{name}\"\nkeys = [{{ kid = \"{kid}\", \
         {source} }}]\n"
    )
}

const ISSUING: &str = "[issuing]\nissuer = \"https://gw.example\"\naudiences = \"api\"\n\
    [[issuing.keys]]\nkid = \"i\"\nalgorithm = \"ES256\"\nprivate_key_file = \"one.pem\"\n\
    [issuing.users]\nfile = \"users\"\n";

#[test]
fn public_keys_are_published_once_and_secrets_never() {
    let kids = |more: &str| -> Vec<String> {
        let snapshot = compiled(more).unwrap_or_else(|problems| panic!("{problems}"));
        let kid = |jwk: &serde_json::Map<_, _>| {
            assert_eq!((jwk["use"].as_str(), jwk["alg"].as_str()), (Some("sig"), Some("ES256")));
            assert!(!jwk.contains_key("d") && !jwk.contains_key("k"), "{jwk:?}");
            serde_json::Value::as_str(&jwk["kid"]).unwrap().to_owned()
        };
        snapshot.published_keys.iter().map(kid).collect()
    };
    assert_eq!(kids(""), [""; 0]);
    assert_eq!(kids(ISSUING), ["i"]);
    assert_eq!(kids(&assertion("a", "k", "one.pem")), ["k"], "without [issuing] too");
    let shared = assertion("a", "k", "two.pem") + &assertion("b", "k", "two.pem");
    assert_eq!(kids(&(shared + ISSUING)), ["i", "k"]);
    assert_eq!(kids(&assertion("a", "k", "secret")), [""; 0]);
}

#[test]
fn a_key_does_one_thing_and_a_kid_names_one_key() {
    let external = "[[issuers]]\nname = \"idp\"\nissuer = \"https://idp.example\"\naudiences = \
        \"api\"\nalgorithms = \"ES256\"\n[[issuers.keys]]\nkid = \"x\"\nalgorithm = \"ES256\"\n\
        public_key_file = \"one.jwk\"\n";
    let hmac = "[[issuers]]\nname = \"idp\"\nissuer = \"https://idp.example\"\naudiences = \
        \"api\"\nalgorithms = \"HS256\"\n[[issuers.keys]]\nalgorithm = \"HS256\"\nsecret_file = \
        \"secret\"\n";
    for (more, message) in [
        (assertion("a", "k", "one.pem") + ISSUING, "access tokens are signed with this key"),
        (assertion("a", "k", "one.pem") + external, "issuer \"idp\" are verified with this key"),
        (assertion("a", "k", "secret") + hmac, "issuer \"idp\" are verified with this key"),
        (assertion("a", "i", "two.pem") + ISSUING, "an issuing key has the kid \"i\""),
        (
            assertion("a", "k", "one.pem") + &assertion("b", "k", "two.pem"),
            "another key has the kid \"k\"",
        ),
        (
            assertion("a", "k", "secret") + &assertion("b", "l", "secret"),
            "the upstream `a` has this secret too",
        ),
    ] {
        let problems = compiled(&more).map(|_| ()).unwrap_err();
        assert!(problems.contains(message), "{message}:\n{problems}");
        assert!(problems.contains("help:") && !problems.contains(SECRET), "{problems}");
    }
}

/// R24: taken from clients in every spelling, whatever it is called.
#[test]
fn the_header_is_reserved_and_no_identity_header() {
    let named = |header: &str| {
        let text = assertion("a", "k", "one.pem");
        compiled(&text.replace("keys =", &format!("header = \"{header}\"\nkeys =")))
    };
    let snapshot = named("Upstream-Token").unwrap();
    for spelling in ["upstream-token", "Upstream_Token", "UPSTREAM.TOKEN", "x-postern-assertion"] {
        assert!(snapshot.reserved.contains(spelling), "{spelling}");
    }
    assert!(!snapshot.reserved.contains("upstream-tokens"));
    for identity in ["X-Auth-Subject", "x.auth.subject"] {
        let problems = named(identity).map(|_| ()).unwrap_err();
        assert!(problems.contains("`x-auth-subject` is an identity header already"), "{problems}");
    }
}

#[test]
fn every_route_of_the_upstream_has_it_and_no_other() {
    let text = assertion("a", "k", "one.pem").replace("keys =", "identity_headers = false\nkeys =");
    let snapshot = compiled(&text).unwrap();
    let [a, b] = &snapshot.routes[..] else { panic!("two routes") };
    let on_a = a.assertion.as_ref().unwrap();
    assert_eq!((on_a.route.as_deref(), a.identity_headers), (Some("a"), false));
    assert_eq!(on_a.settings.issuer, "https://gw.example", "the public URL's origin");
    assert!(b.assertion.is_none() && b.identity_headers);
}
