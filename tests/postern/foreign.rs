//! Tokens made by other people's libraries (`tests/foreign`), with every algorithm that each of
//! them shares with Postern: accepted as they are, refused with one bit flipped.

use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{DecodingKey, Validation};
use serde::Deserialize;

use crate::harness::gateway::Gateway;
use crate::harness::setup::Setup;
use crate::harness::upstream::Upstream;

#[derive(Deserialize)]
struct Fixture {
    algorithm: String,
    kid: String,
    token: String,
}

const LIBRARIES: [(&str, &str); 5] = [
    ("pyjwt", include_str!("../foreign/fixtures/pyjwt.json")),
    ("jsonwebtoken", include_str!("../foreign/fixtures/jsonwebtoken.json")),
    ("jose", include_str!("../foreign/fixtures/jose.json")),
    ("golang-jwt", include_str!("../foreign/fixtures/golang-jwt.json")),
    ("jjwt", include_str!("../foreign/fixtures/jjwt.json")),
];

const PUBLIC_KEYS: &str = include_str!("../foreign/fixtures/jwks.json");
const HMAC_KEYS: &str = include_str!("../foreign/fixtures/hmac-jwks.json");

fn fixtures() -> Vec<(String, Fixture)> {
    let mut all = Vec::new();
    for (library, text) in LIBRARIES {
        let made: Vec<Fixture> = serde_json::from_str(text).unwrap();
        // jsonwebtoken has no EdDSA; all others share all twelve.
        assert_eq!(made.len(), if library == "jsonwebtoken" { 11 } else { 12 }, "{library}");
        all.extend(made.into_iter().map(|f| (format!("{library}-{}", f.algorithm), f)));
    }
    all
}

fn gateway(app: &Upstream) -> Gateway {
    let entry = |algorithms: &str, file: &str| {
        format!(
            "issuer = \"https://foreign.example\"\naudiences = [\"https://api.example\"]\n\
             algorithms = [{algorithms}]\nmax_lifetime = \"off\"\njwks_file = \"{file}\""
        )
    };
    let public = r#""RS256","RS384","RS512","PS256","PS384","PS512","ES256","ES384","EdDSA""#;
    let setup = Setup::bare()
        .upstream("app", &app.url())
        .file("jwks.json", PUBLIC_KEYS)
        .file("hmac-jwks.json", HMAC_KEYS)
        .issuer("foreign", &entry(public, "jwks.json"), &[])
        .issuer("hmac", &entry(r#""HS256","HS384","HS512""#, "hmac-jwks.json"), &[])
        .route("api", "path = \"/api/*\"\nrequire = { roles = [\"reader\"] }");
    Gateway::start(&setup)
}

#[test]
fn tokens_of_other_libraries_are_accepted() {
    let app = Upstream::start();
    let gateway = gateway(&app);
    for (name, fixture) in fixtures() {
        gateway.get("/api/x").bearer(&fixture.token).send().expect(200);
        let seen = app.last();
        assert_eq!(seen.header("x-auth-subject"), Some("alice"), "{name}");
        assert_eq!(seen.header("x-auth-issuer"), Some("https://foreign.example"), "{name}");
        assert_eq!(seen.header("x-auth-roles"), Some("admin,reader"), "{name}");
        assert_eq!(seen.header("x-auth-token-id"), Some(&*name));
        assert_eq!(fixture.kid, format!("foreign-{}", fixture.algorithm));
    }
}

#[test]
fn one_flipped_bit_in_them_is_noticed() {
    let app = Upstream::start();
    let gateway = gateway(&app);
    for (name, fixture) in fixtures() {
        let token = &fixture.token;
        let dots: Vec<_> = token.match_indices('.').map(|(at, _)| at).collect();
        for at in [3, dots[0] + 8, dots[1] + 8] {
            let mut bytes = token.clone().into_bytes();
            bytes[at] ^= 1;
            let text = String::from_utf8(bytes).unwrap();
            let answer = gateway.get("/api/x").bearer(&text).send();
            assert_eq!(answer.status, 401, "{name}: character {at}");
        }
        app.saw_nothing(&name);
    }
}

/// The fixtures are good without any gateway: a verifier that is not its code accepts them.
#[test]
fn the_fixtures_verify_by_themselves() {
    let _installed = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
    let mut keys: JwkSet = serde_json::from_str(PUBLIC_KEYS).unwrap();
    keys.keys.extend(serde_json::from_str::<JwkSet>(HMAC_KEYS).unwrap().keys);
    for (name, fixture) in fixtures() {
        let key = DecodingKey::from_jwk(keys.find(&fixture.kid).unwrap()).unwrap();
        let mut validation = Validation::new(fixture.algorithm.parse().unwrap());
        validation.set_issuer(&["https://foreign.example"]);
        validation.set_audience(&["https://api.example"]);
        let token = jsonwebtoken::decode::<serde_json::Value>(&fixture.token, &key, &validation);
        let token = token.unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(token.claims["jti"], name);
        assert_eq!(token.header.kid, Some(fixture.kid));
    }
}
