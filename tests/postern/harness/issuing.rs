//! A gateway that issues: keys, a users file, and what a client of it says and hears.

use serde_json::{Value, json};

use super::client::{Answer, Endpoint, Request};
use super::gateway::Gateway;
use super::keys::Key;
use super::setup::Setup;
use super::upstream::Upstream;

/// `[endpoints] prefix`.
pub const PREFIX: &str = "/_postern";
/// `[issuing] issuer`.
pub const ISSUER: &str = "https://login.test";
/// The password of every account.
pub const PASSWORD: &str = "correct horse battery staple";
/// [`PASSWORD`], hashed as `postern user` does it: a cheaper one would be made anew at login.
pub const HASH: &str = "$argon2id$v=19$m=19456,t=2,p=1$hAlnqdCCagEFsgGoOO0IWQ$\
                        XDf/Ze9NyK1uymdavPeAzqKOhe+KKXq4npHfUA7xgBg";

/// [`users`] with the accounts that most tests need.
pub fn standard_users() -> String {
    users(&["alice::", "bob::admin", "mallory::", "carol::"])
}

/// A users file; each account as `name::roles:id…`, the hash being put in.
pub fn users(accounts: &[&str]) -> String {
    let line = |account: &&str| account.replacen("::", &format!(":{HASH}:"), 1) + "\n";
    accounts.iter().map(line).collect()
}

/// A gateway that issues, in front of `app`: `/local/*` takes its tokens alone, `/admin/*` those of
/// its admins, `/any/*` those of the issuer `main` too, `/public/*` is open.
pub fn setup(app: &Upstream) -> Setup {
    let key = Key::shared("ES256");
    // A busy machine must not look like an outage of the store.
    Setup::bare()
        .set("store", "timeout", "\"5s\"")
        .upstream("app", &app.url())
        .set("issuing", "issuer", &format!("{ISSUER:?}"))
        .set("issuing", "audiences", "[\"https://api.test\"]")
        .set("issuing", "keys", &one_key("2026-11"))
        .set("issuing", "login_limits", "[]")
        .set("issuing.users", "file", "\"users\"")
        .file("issuing.pem", key.private_pem())
        .file("users", standard_users())
        .issuer("main", "", &[Key::shared("RS256")])
        .route("local", "path = \"/local/*\"\nissuers = [\"local\"]\nupgrade = [\"websocket\"]")
        .route(
            "admin",
            "path = \"/admin/*\"\nissuers = [\"local\"]\nrequire = { roles = [\"admin\"] }",
        )
        .route("any", "path = \"/any/*\"")
        .route("public", "path = \"/public/*\"\nauth = \"none\"")
}

fn one_key(kid: &str) -> String {
    format!("[{{ kid = {kid:?}, algorithm = \"ES256\", private_key_file = \"issuing.pem\" }}]")
}

/// What a login or a refresh has given.
#[derive(Clone, Debug)]
pub struct Tokens {
    pub access: String,
    pub refresh: String,
}

impl Tokens {
    /// Of an answer that must be one.
    pub fn of(answer: Answer) -> Self {
        let answer = answer.expect(200);
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        assert_eq!(answer.header("pragma"), Some("no-cache"));
        let body = answer.json();
        assert_eq!(body["token_type"], "Bearer", "{body}");
        let text = |name: &str| body[name].as_str().unwrap_or_else(|| panic!("{body}")).to_owned();
        Self { access: text("access_token"), refresh: text("refresh_token") }
    }

    /// A claim of the access token.
    pub fn claim(&self, name: &str) -> Value {
        claims(&self.access)[name].clone()
    }

    /// The session's name.
    pub fn sid(&self) -> String {
        self.claim("sid").as_str().unwrap().to_owned()
    }
}

/// The claims of a token, unverified.
pub fn claims(token: &str) -> Value {
    use base64::Engine as _;
    let payload = token.split('.').nth(1).unwrap();
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(payload).unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

/// The gateway's own endpoints, as a client of them speaks.
#[derive(Clone)]
pub struct Client(pub Endpoint);

/// The client of a gateway.
pub fn client(gateway: &Gateway) -> Client {
    Client(gateway.https())
}

impl Client {
    /// A POST to an endpoint.
    pub fn post(&self, name: &str) -> Request {
        self.0.request("POST", &format!("{PREFIX}/{name}"))
    }

    /// A login.
    pub fn login_as(&self, name: &str, password: &str) -> Answer {
        self.post("login").json(&json!({ "username": name, "password": password })).send()
    }

    /// The tokens of a login that must succeed.
    pub fn login(&self, name: &str) -> Tokens {
        Tokens::of(self.login_as(name, PASSWORD))
    }

    /// A refresh.
    pub fn refresh(&self, token: &str) -> Answer {
        self.post("refresh").json(&json!({ "refresh_token": token })).send()
    }

    /// A logout with the access token.
    pub fn logout(&self, access: &str) -> Answer {
        self.post("logout").bearer(access).send()
    }

    /// The status of a call to a route that takes this issuer's tokens.
    pub fn call(&self, access: &str) -> u16 {
        self.0.request("GET", "/local/x").bearer(access).send().status
    }

    /// The sessions of whoever bears the token.
    pub fn sessions(&self, access: &str) -> Vec<Value> {
        let target = format!("{PREFIX}/sessions");
        let answer = self.0.request("GET", &target).bearer(access).send().expect(200).json();
        answer["sessions"].as_array().unwrap().clone()
    }
}
