//! Somebody with a browser's cookies, and a gateway that gives them.

use super::client::{Answer, Endpoint, Request};
use super::gateway::Gateway;
use super::keys::Key;
use super::setup::Setup;
use super::upstream::Upstream;
use serde_json::json;

/// The session cookie's name.
pub const SESSION: &str = "__Host-postern";
/// The other one's.
pub const CSRF: &str = "__Host-postern-csrf";
/// `[listen] public_url`.
pub const ORIGIN: &str = "https://api.test";
/// The password of every account.
pub const PASSWORD: &str = "correct horse battery staple";
/// Its hash.
pub const HASH: &str = "$argon2id$v=19$m=19456,t=2,p=1$hAlnqdCCagEFsgGoOO0IWQ$\
                    XDf/Ze9NyK1uymdavPeAzqKOhe+KKXq4npHfUA7xgBg";

/// A users file with these accounts.
pub fn users(names: &[&str]) -> String {
    names.iter().map(|name| format!("{name}:{HASH}:\n")).collect()
}

/// A gateway in cookie mode in front of `app`: `/local/*` takes its own tokens alone, `/main/*`
/// another issuer's alone, `/optional/*` and `/public/*` none or any; `/origin/*` and `/off/*` are
/// guarded less; `/app/*` takes a token in an application's own cookie too.
pub fn setup(app: &Upstream) -> Setup {
    let keys = "[{ kid = \"1\", algorithm = \"ES256\", private_key_file = \"issuing.pem\" }]";
    let local =
        |path: &str, more: &str| format!("path = \"/{path}/*\"\nissuers = [\"local\"]\n{more}");
    Setup::bare()
        .set("listen", "public_url", &format!("{ORIGIN:?}"))
        // A busy machine must not look like an outage of the store.
        .set("store", "timeout", "\"5s\"")
        .upstream("app", &app.url())
        .set("issuing", "issuer", "\"https://login.test\"")
        .set("issuing", "audiences", "[\"https://api.test\"]")
        .set("issuing", "keys", keys)
        .set("issuing", "login_limits", "[]")
        .set("issuing.users", "file", "\"users\"")
        .set("issuing.cookies", "cookie_secret_file", "\"cookie.key\"")
        .file("issuing.pem", Key::shared("ES256").private_pem())
        .file("cookie.key", "k".repeat(32))
        .file("users", users(&["alice", "mallory"]))
        .issuer("main", "", &[Key::shared("RS256")])
        .route("local", &local("local", "upgrade = [\"websocket\"]"))
        .route("preflight", &local("preflight", "preflight = \"forward\""))
        .route("origin", &local("origin", "csrf = \"origin\"\nupgrade = [\"websocket\"]"))
        .route("off", &local("off", "csrf = \"off\""))
        .route("main", "path = \"/main/*\"\nissuers = [\"main\"]")
        .route("app", "path = \"/app/*\"\ntoken = { cookie = \"app\" }")
        .route("optional", "path = \"/optional/*\"\nauth = \"optional\"")
        .route("public", "path = \"/public/*\"\nauth = \"none\"")
}

/// Somebody who is logged in, with the CSRF token of their session.
#[derive(Clone)]
pub struct Person {
    endpoint: Endpoint,
    pub session: String,
    pub nonce: String,
    pub token: String,
}

/// The value of a cookie that an answer sets; empty when it takes it back.
pub fn cookie_of(answer: &Answer, name: &str) -> Option<String> {
    let lines = answer.all("set-cookie");
    let mut values = lines.iter().filter_map(|line| {
        line.split(';').next()?.split_once('=').filter(|pair| pair.0 == name).map(|pair| pair.1)
    });
    let value = values.next().map(str::to_owned);
    assert_eq!(values.next(), None, "{name} is set twice");
    value
}

/// What a login with JSON is answered.
pub fn try_log_in(gateway: &Gateway, name: &str, password: &str, cookies: &str) -> Answer {
    let body = json!({ "username": name, "password": password });
    let request = gateway.https().request("POST", "/_postern/login").json(&body);
    if cookies.is_empty() { request.send() } else { request.header("Cookie", cookies).send() }
}

impl Person {
    /// Logs in as this account.
    pub fn log_in(gateway: &Gateway, name: &str) -> Self {
        let answer = try_log_in(gateway, name, PASSWORD, "").expect(204);
        Self::with_session(gateway, cookie_of(&answer, SESSION).expect("a session"))
    }

    /// Somebody who holds this session's cookie.
    pub fn with_session(gateway: &Gateway, session: String) -> Self {
        let endpoint = gateway.https();
        let request = endpoint.request("GET", "/_postern/csrf");
        let answer = request.header("Cookie", &format!("{SESSION}={session}")).send().expect(200);
        let token = answer.json()["csrf_token"].as_str().unwrap().to_owned();
        let nonce = cookie_of(&answer, CSRF).expect("a nonce");
        Self { endpoint, session, nonce, token }
    }

    /// The same at another gateway.
    pub fn at(&self, gateway: &Gateway) -> Self {
        Self { endpoint: gateway.https(), ..self.clone() }
    }

    /// Both cookies.
    pub fn cookies(&self) -> String {
        format!("{SESSION}={}; {CSRF}={}", self.session, self.nonce)
    }

    /// A request as a browser makes it without a page's doing: with the cookies alone.
    pub fn request(&self, method: &str, target: &str) -> Request {
        self.endpoint.request(method, target).header("Cookie", &self.cookies())
    }

    /// A request of an own page's script: with the token.
    pub fn script(&self, method: &str, target: &str) -> Request {
        let request = self.request(method, target).header("Origin", ORIGIN);
        request.header("Sec-Fetch-Site", "same-origin").header("X-CSRF-Token", &self.token)
    }

    /// The status of a call to a route that needs a session.
    pub fn call(&self) -> u16 {
        self.request("GET", "/local/x").send().status
    }
}
