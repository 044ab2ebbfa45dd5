//! OAuth clients of a gateway: their configuration, and what they send.

use std::sync::OnceLock;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::client::{Answer, Request};
use super::gateway::{Gateway, run};
use super::keys::Key;
use super::setup::Setup;
use super::tokens::Token;
use super::unix_now;
use super::upstream::Upstream;

/// The issuer, with a path as RFC 8414 §3.1 allows.
pub const ISSUER: &str = "https://login.test/tenant";
/// Where the gateway takes tokens.
pub const AUDIENCE: &str = "https://api.test";
/// The password of `alice`.
pub const PASSWORD: &str = "correct horse battery staple";
/// The same, as cheap as hashes get.
const HASH: &str = "$2b$04$EGHR8YS9/f/xHOyP/8r0/OfLtW2oTsNkS/AB/TgTo7RbF5IwHxeNy";
/// The one assertion type (RFC 7523 §2.2).
pub const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// A secret and its hash file, both made by the command line.
pub struct Made {
    pub secret: String,
    pub hash: String,
}

/// The secret of `billing`.
pub fn billing() -> &'static Made {
    static MADE: OnceLock<Made> = OnceLock::new();
    MADE.get_or_init(made)
}

/// The secret that the other clients share.
pub fn other() -> &'static Made {
    static MADE: OnceLock<Made> = OnceLock::new();
    MADE.get_or_init(made)
}

fn made() -> Made {
    let dir = TempDir::new().unwrap();
    let output = run(&dir, &["keys", "generate", "--client-secret", "hash"], "");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let secret = String::from_utf8(output.stdout).unwrap().trim_end().to_owned();
    Made { secret, hash: std::fs::read_to_string(dir.path().join("hash")).unwrap() }
}

/// The key of `reports`.
pub fn reports() -> &'static Key {
    static KEY: OnceLock<Key> = OnceLock::new();
    KEY.get_or_init(|| Key::generate("ES256", "reports-1"))
}

/// A gateway that issues, in front of `app`, with clients of every kind: `/local/*` takes its
/// tokens, `/billers/*` those with the role, `/api/*` those of the issuer `main`.
pub fn setup(app: &Upstream) -> Setup {
    let jwks = json!({ "keys": [reports().jwk()] });
    let secret = |id: &str, lines: &str| {
        format!("[[clients]]\nid = \"{id}\"\nsecret_hash_file = \"other.hash\"\n{lines}\n")
    };
    let credentials = "grants = [\"client_credentials\"]\n";
    Setup::bare()
        // A busy machine must not look like an outage of the store.
        .set("store", "timeout", "\"5s\"")
        .set("listen", "public_url", "\"https://api.test\"")
        .set("issuing", "issuer", &format!("{ISSUER:?}"))
        .set("issuing", "audiences", &format!("[{AUDIENCE:?}]"))
        .set("issuing", "login_limits", "[]")
        .set("issuing", "refresh_limits", "[{ by = \"client\", rate = \"1000000/1m\", count = \"failures\" }]")
        .set("issuing", "keys", "[{ kid = \"1\", algorithm = \"ES256\", private_key_file = \"issuing.pem\" }]")
        .set("issuing.users", "file", "\"users\"")
        .file("issuing.pem", Key::shared("ES256").private_pem())
        .file("users", format!("alice:{HASH}:reader\n"))
        .file("billing.hash", &billing().hash)
        .file("other.hash", &other().hash)
        .file("reports.json", jwks.to_string())
        .upstream("app", &app.url())
        .issuer("main", "", &[Key::shared("RS256")])
        .route("local", "path = \"/local/*\"\nissuers = [\"local\"]")
        .route("billers", "path = \"/billers/*\"\nissuers = [\"local\"]\nrequire = { roles = [\"biller\"], scopes = [\"orders:write\"] }")
        .route("api", "path = \"/api/*\"\nissuers = [\"main\"]")
        .table(&format!(
            "[[clients]]\nid = \"billing\"\nsecret_hash_file = \"billing.hash\"\n{credentials}\
             roles = [\"biller\"]\npermissions = [\"orders\"]\nscopes = [\"orders:read\", \
             \"orders:write\"]\n"
        ))
        .table(&format!(
            "[[clients]]\nid = \"reports\"\njwks_file = \"reports.json\"\n{credentials}\
             audiences = [\"{AUDIENCE}\", \"https://reports.test\"]\n"
        ))
        .table(&secret("elsewhere", &format!("{credentials}audiences = [\"https://other.test\"]")))
        .table(&secret("gatekeeper", "may_introspect = true"))
        .table(&secret("janitor", "may_revoke = \"any\""))
}

/// `Authorization: Basic …` as RFC 6749 §2.3.1 has it.
pub fn basic(id: &str, secret: &str) -> String {
    let encoded = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    format!("Basic {}", STANDARD.encode(format!("{}:{}", encoded(id), encoded(secret))))
}

/// A form's text.
pub fn form(pairs: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

/// A POST to one of the gateway's own endpoints.
pub fn post(gateway: &Gateway, endpoint: &str, pairs: &[(&str, &str)]) -> Request {
    gateway.post(&format!("/_postern/{endpoint}")).form(&form(pairs))
}

/// The same by one of the clients with a secret.
pub fn by(gateway: &Gateway, id: &str, endpoint: &str, pairs: &[(&str, &str)]) -> Answer {
    let made = if id == "billing" { billing() } else { other() };
    post(gateway, endpoint, pairs).header("Authorization", &basic(id, &made.secret)).send()
}

/// The token of a client that has a secret.
pub fn granted(gateway: &Gateway, id: &str) -> String {
    let answer = by(gateway, id, "token", &[("grant_type", "client_credentials")]).expect(200);
    answer.json()["access_token"].as_str().unwrap().to_owned()
}

/// An assertion of `reports` that is accepted, with a fresh jti.
pub fn assertion() -> Token {
    let token = Token::good().claim("iss", "reports").claim("sub", "reports");
    token.claim("aud", ISSUER).claim("exp", unix_now() + 60).without("roles")
}

/// Asks for a token with this assertion.
pub fn with_assertion(gateway: &Gateway, assertion: &str) -> Answer {
    let pairs = [
        ("grant_type", "client_credentials"),
        ("client_assertion_type", JWT_BEARER),
        ("client_assertion", assertion),
    ];
    post(gateway, "token", &pairs).send()
}

/// Access and refresh token of a login of `alice`.
pub fn login(gateway: &Gateway) -> (String, String) {
    let body = json!({ "username": "alice", "password": PASSWORD });
    let answer = gateway.post("/_postern/login").json(&body).send().expect(200).json();
    let text = |name: &str| answer[name].as_str().unwrap().to_owned();
    (text("access_token"), text("refresh_token"))
}

/// Refused as RFC 6749 §5.2 has it; the upstream has nothing to do with it.
pub fn refused(answer: Answer, status: u16, error: &str) -> Answer {
    let answer = answer.expect(status);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let body = answer.json();
    assert_eq!(body["error"], error, "{body}");
    assert_eq!(body.as_object().unwrap().len(), 2, "{body}");
    let challenge = answer.header("www-authenticate");
    assert_eq!(challenge, (status == 401).then_some("Basic realm=\"postern\""));
    answer
}

/// The claims of a token, unverified.
pub fn claims(token: &str) -> Value {
    let payload = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

/// The status of a call with a token.
pub fn call(gateway: &Gateway, target: &str, token: &str) -> u16 {
    gateway.get(target).bearer(token).send().status
}
