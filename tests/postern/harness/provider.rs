//! A real OpenID provider: the app in `tests/providers/oidc`, its tokens, its keys, its bad days.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use super::apps::{installed, root};
use super::client::{Answer, Endpoint};
use super::eventually;
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
