//! A real OpenID provider: the app in `tests/providers/oidc`, its tokens, its keys, its bad days.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use tempfile::TempDir;

use super::apps::{installed, root};
use super::browser::Browser;
use super::client::{Answer, Endpoint};
use super::eventually;
use super::pki::authority;
use super::process::Process;

/// What the gateway is to the provider.
pub const GATEWAY_ID: &str = "gateway";
/// With characters that RFC 6749 §2.3.1 has encoded before base64.
pub const GATEWAY_SECRET: &str = "the secret of the gateway: 100% + \"quoted\"";

/// A running provider; killed when dropped.
pub struct Provider {
    process: Option<Process>,
    dir: TempDir,
    pub address: SocketAddr,
}

impl Provider {
    /// Starts one with keys of its own.
    pub fn start() -> Self {
        let dir = TempDir::new().unwrap();
        let (process, address) = run(&dir, 0);
        Self { process: Some(process), dir, address }
    }

    /// Its issuer identifier.
    pub fn issuer(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The keys of an issuer entry that discovers this provider, with `more` lines.
    pub fn entry(&self, more: &str) -> String {
        let issuer = self.issuer();
        format!(
            "issuer = \"{issuer}\"\nalgorithms = [\"ES256\", \"RS256\"]\ndiscovery = true\n{more}"
        )
    }

    /// An access token for the resource `suffix` of the test audience: "/" is a JWT signed with
    /// ES256, "/rs256" one signed with RS256, "/opaque" is opaque.
    pub fn token(&self, suffix: &str) -> String {
        let resource = format!("https%3A%2F%2Fapi.test{}", suffix.replace('/', "%2F"));
        let form = format!("grant_type=client_credentials&scope=read&resource={resource}");
        self.post("/token", &form).expect(200).json()["access_token"].as_str().unwrap().to_owned()
    }

    /// An ID token of this provider, as a login leaves it with the client `app`.
    pub fn id_token(&self, nonce: Option<&str>) -> String {
        let nonce = nonce.map(|nonce| format!("&nonce={nonce}")).unwrap_or_default();
        let form = format!("grant_type=urn%3Atest%3Aid-token{nonce}");
        self.post("/token", &form).expect(200).json()["id_token"].as_str().unwrap().to_owned()
    }

    /// Where the clients that people log in with have their logouts sent, from now on.
    pub fn send_logouts_to(&self, uri: &str) {
        self.http().request("POST", "/test/logout-uri").body(uri).send().expect(204);
    }

    /// What came of the logouts that it has sent: "success", or what it says went wrong.
    pub fn logouts(&self) -> Vec<String> {
        let told = self.http().request("GET", "/test/logouts").send().expect(200).json();
        told.as_array().unwrap().iter().map(|one| one.as_str().unwrap().to_owned()).collect()
    }

    /// Logs a user in, as a browser does, with the client `web` (whose logouts name the session)
    /// or `web-users` (the user): the browser's session and the access token.
    pub fn login(&self, client: &str, user: &str) -> (Browser, String) {
        let mut browser = Browser::new(self.http());
        // RFC 7636, appendix B.
        let verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
        let callback = "https%3A%2F%2Fweb.test%2Fcallback";
        let resource = "https%3A%2F%2Fapi.test%2F";
        let mut page = browser.get(&format!(
            "/auth?client_id={client}&response_type=code&scope=openid%20read&resource={resource}\
             &redirect_uri={callback}&code_challenge_method=S256\
             &code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
        ));
        let code = loop {
            if let Some(code) = page.query("code") {
                break code;
            }
            let prompt = page.field("prompt");
            page = browser.post(&page.target, &format!("prompt={prompt}&login={user}"));
        };
        let form = format!(
            "grant_type=authorization_code&code={code}&redirect_uri={callback}\
             &code_verifier={verifier}&resource={resource}"
        );
        let basic = STANDARD.encode(format!("{client}:the+secret+of+the+app"));
        let request = self.http().request("POST", "/token").header("Connection", "close");
        let answer = request.header("Authorization", &format!("Basic {basic}")).form(&form).send();
        let token = answer.expect(200).json()["access_token"].as_str().unwrap().to_owned();
        (browser, token)
    }

    /// Ends the browser's session, and so the sessions at all clients.
    pub fn logout(&self, browser: &mut Browser) {
        let page = browser.get("/session/end");
        let secret = page.field("xsrf");
        browser.post("/session/end/confirm", &format!("xsrf={secret}&logout=yes"));
    }

    /// Revokes an opaque token (RFC 7009).
    pub fn revoke(&self, token: &str) {
        self.post("/token/revocation", &format!("token={token}")).expect(200);
    }

    /// The key ids that are published now.
    pub fn kids(&self) -> Vec<String> {
        let jwks = self.http().request("GET", "/jwks").send().expect(200).json();
        let kid = |key: &Value| key["kid"].as_str().unwrap().to_owned();
        jwks["keys"].as_array().unwrap().iter().map(kid).collect()
    }

    /// Publishes new keys; the old ones sign.
    pub fn publish_new_keys(&self) {
        self.command("publish");
    }

    /// Signs with the newest keys from now on; the old ones stay published.
    pub fn sign_with_new_keys(&self) {
        self.command("sign");
    }

    /// Publishes only the keys that sign.
    pub fn retire_old_keys(&self) {
        self.command("retire");
    }

    /// Ends it without a word: connections to it are refused.
    pub fn stop(&mut self) {
        drop(self.process.take());
    }

    /// Starts it again, where it was and with the keys that it had.
    pub fn start_again(&mut self) {
        assert!(self.process.is_none(), "it still runs");
        let (process, address) = run(&self.dir, self.address.port());
        assert_eq!(address, self.address);
        self.process = Some(process);
    }

    fn http(&self) -> Endpoint {
        Endpoint::http(self.address)
    }

    fn command(&self, name: &str) {
        self.http().request("POST", &format!("/test/{name}")).body("").send().expect(204);
    }

    fn post(&self, path: &str, form: &str) -> Answer {
        // The client `app`, its secret form-encoded and then in base64.
        let basic = "Basic YXBwOnRoZStzZWNyZXQrb2YrdGhlK2FwcA==";
        let request = self.http().request("POST", path).header("Authorization", basic);
        request.header("Connection", "close").form(form).send()
    }
}

fn run(dir: &TempDir, port: u16) -> (Process, SocketAddr) {
    installed(&root().join("tests/providers/oidc/node_modules"));
    let mut command = Command::new("node");
    command.arg("tests/providers/oidc/server.js").current_dir(root());
    command.env("PORT", port.to_string()).env("KEYS", dir.path().join("keys.json"));
    // The gateway's certificate is the test authority's.
    std::fs::write(dir.path().join("ca.pem"), &authority().pem).unwrap();
    command.env("NODE_EXTRA_CA_CERTS", dir.path().join("ca.pem"));
    let mut process = Process::spawn(&mut command, "Run tests/run.sh, which installs it.");
    let mut address = None;
    eventually("the provider says where it listens", Duration::from_secs(30), || {
        assert!(process.ended().is_none(), "it ended:\n{}", process.stderr.text());
        let lines = process.stdout.all();
        let told = lines.iter().find_map(|line| line.strip_prefix("listening on http://"));
        address = told.map(|text| text.parse().unwrap());
        address.is_some()
    });
    (process, address.unwrap())
}
