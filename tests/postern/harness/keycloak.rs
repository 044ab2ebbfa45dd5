//! Keycloak as it is distributed: its own database, a realm of ours, keys changed by its admin API.

use std::net::{SocketAddr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Value, json};

use super::apps::{installed, root};
use super::client::{Answer, Endpoint, Request};
use super::eventually;
use super::pki::authority;
use super::process::Process;

/// A running Keycloak; killed when dropped.
pub struct Keycloak {
    process: Option<Process>,
    pub address: SocketAddr,
}

impl Keycloak {
    /// Starts it with an empty database and the realm in `tests/providers/keycloak`.
    pub fn start() -> Self {
        let home = home();
        installed(&home);
        drop(std::fs::remove_dir_all(home.join("data")));
        std::fs::create_dir_all(home.join("data/import")).unwrap();
        let realm = root().join("tests/providers/keycloak/postern-realm.json");
        std::fs::copy(realm, home.join("data/import/postern-realm.json")).unwrap();
        // It wants to be told its port: a free one, which it gets back after a restart, too.
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut keycloak = Self { process: None, address: free };
        keycloak.start_again();
        keycloak
    }

    /// The realm's issuer identifier.
    pub fn issuer(&self) -> String {
        format!("http://{}/realms/postern", self.address)
    }

    /// Ends it in its own good order, so that its database is whole.
    pub fn stop(&mut self) {
        let mut process = self.process.take().expect("it runs");
        process.signal(Signal::TERM);
        process.wait(Duration::from_secs(120));
    }

    /// Starts it where it was, with the database that it had.
    pub fn start_again(&mut self) {
        let mut command = Command::new(home().join("bin/kc.sh"));
        command.args(["start-dev", "--import-realm", "--http-host=127.0.0.1"]);
        command.arg(format!("--http-port={}", self.address.port()));
        // The gateway's certificate is the test authority's.
        let trusted = home().join("data/test-authority.pem");
        std::fs::write(&trusted, &authority().pem).unwrap();
        command.arg(format!("--truststore-paths={}", trusted.display()));
        command.env("KC_BOOTSTRAP_ADMIN_USERNAME", "admin");
        command.env("KC_BOOTSTRAP_ADMIN_PASSWORD", "admin");
        // The shell that starts Java dies without it: a group, so that both can be ended.
        command.process_group(0);
        let start = Instant::now();
        let process = self.process.insert(Process::spawn(&mut command, "Java is needed"));
        eventually("Keycloak listens", Duration::from_secs(600), || {
            let ended = process.ended();
            assert!(ended.is_none(), "{}\n{}", process.stdout.text(), process.stderr.text());
            process.stdout.text().contains("Listening on:")
        });
        println!("Keycloak listens after {:?}", start.elapsed());
    }

    /// An access token of the client itself (client_credentials).
    pub fn token(&self) -> String {
        let answer = self.grant("postern", "grant_type=client_credentials", Some("app"));
        answer.expect(200).json()["access_token"].as_str().unwrap().to_owned()
    }

    /// What a login of Alice gives: the access token and the ID token.
    pub fn login(&self) -> (String, String) {
        let form = "grant_type=password&username=alice&password=wonderland&scope=openid";
        let answer = self.grant("postern", form, Some("app")).expect(200).json();
        let text = |name: &str| answer[name].as_str().unwrap().to_owned();
        (text("access_token"), text("id_token"))
    }

    /// Where the client's logouts are sent from now on; each names its session.
    pub fn send_logouts_to(&self, uri: &str) {
        let found = self.admin("GET", "/clients?clientId=app").send().expect(200).json();
        let mut client = found[0].clone();
        client["attributes"]["backchannel.logout.url"] = json!(uri);
        client["attributes"]["backchannel.logout.session.required"] = json!("true");
        let path = format!("/clients/{}", client["id"].as_str().unwrap());
        self.admin("PUT", &path).json(&client).send().expect(204);
    }

    /// Ends a user's session.
    pub fn end_session(&self, sid: &str) {
        self.admin("DELETE", &format!("/sessions/{sid}")).send().expect(204);
    }

    /// Gives the realm a new RSA key that signs from now on; the earlier ones stay published.
    /// Its id, for [`Self::remove_key`].
    pub fn add_key(&self, priority: u32) -> String {
        let answer = self.admin("POST", "/components").json(&json!({
            "name": format!("key-{priority}"),
            "providerId": "rsa-generated",
            "providerType": "org.keycloak.keys.KeyProvider",
            "parentId": "postern",
            "config": {
                "priority": [priority.to_string()], "enabled": ["true"], "active": ["true"],
                "keySize": ["2048"], "algorithm": ["RS256"],
            },
        }));
        let answer = answer.send().expect(201);
        answer.header("location").unwrap().rsplit('/').next().unwrap().to_owned()
    }

    /// Takes back the keys of one component.
    pub fn remove_key(&self, component: &str) {
        self.admin("DELETE", &format!("/components/{component}")).send().expect(204);
    }

    /// The component that the realm was made with, which signs RS256 at first.
    pub fn first_key(&self) -> String {
        let query = "/components?type=org.keycloak.keys.KeyProvider";
        let all = self.admin("GET", query).send().expect(200).json();
        let first = all.as_array().unwrap().iter().find(|c| c["providerId"] == "rsa-generated");
        first.map(|found: &Value| found["id"].as_str().unwrap().to_owned()).unwrap()
    }

    fn http(&self) -> Endpoint {
        Endpoint::http(self.address)
    }

    fn admin(&self, method: &str, path: &str) -> Request {
        let form = "grant_type=password&client_id=admin-cli&username=admin&password=admin";
        let token = self.grant("master", form, None).expect(200).json();
        let token = token["access_token"].as_str().unwrap().to_owned();
        let target = format!("/admin/realms/postern{path}");
        self.http().request(method, &target).bearer(&token).header("Connection", "close")
    }

    fn grant(&self, realm: &str, form: &str, client: Option<&str>) -> Answer {
        let target = format!("/realms/{realm}/protocol/openid-connect/token");
        let request = self.http().request("POST", &target).header("Connection", "close");
        let own = client.map(|id| format!("&client_id={id}&client_secret=the-secret-of-the-app"));
        request.form(&format!("{form}{}", own.unwrap_or_default())).send()
    }
}

impl Drop for Keycloak {
    fn drop(&mut self) {
        if let Some(process) = &self.process {
            let group = Pid::from_raw(i32::try_from(process.id()).unwrap()).unwrap();
            kill_process_group(group, Signal::KILL).ok();
        }
    }
}

/// Where `tests/extended.sh` unpacks the distribution.
fn home() -> PathBuf {
    root().join("tests/.cache/keycloak")
}
