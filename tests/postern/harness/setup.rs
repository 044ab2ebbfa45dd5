//! A configuration being put together: TOML text in the contract's words, and the files it names.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::keys::Key;
use super::pki::authority;
use super::redis::Redis;
use super::tokens::{AUDIENCE, ISSUER};
use super::upstream::Upstream;

/// The name in the test certificate, in SNI and in Host.
pub const HOST: &str = "api.test";

/// Everything a gateway is started with.
#[derive(Clone, Default)]
pub struct Setup {
    sections: BTreeMap<String, BTreeMap<String, String>>,
    tables: Vec<String>,
    files: Vec<(String, Vec<u8>)>,
    pub environment: Vec<(String, String)>,
    pub arguments: Vec<String>,
}

impl Setup {
    /// Listeners on free ports, a certificate for [`HOST`], an embedded store, every log line;
    /// no issuer and no route.
    pub fn bare() -> Self {
        let own = authority().issue(&[HOST, "localhost", "127.0.0.1"]);
        Self::default()
            .set("listen", "https", "\"127.0.0.1:0\"")
            .set("admin", "listen", "\"127.0.0.1:0\"")
            .set("state", "dir", "\"state\"")
            .set("store", "url", "\"embedded:state/store\"")
            .set("log", "level", "\"debug\"")
            // Tables of hostile tokens would otherwise be cut short by 429.
            .set("auth_failures", "rate", "\"1000000/1m\"")
            .set("tls", "certificates", "[{ cert = \"cert.pem\", key = \"key.pem\" }]")
            .file("cert.pem", own.chain)
            .file("key.pem", own.key)
    }

    /// [`Setup::bare`] with the shared ES256 key and three routes to `app`: `/public/*` open,
    /// `/api/*` for any valid token, `/admin/*` for the role admin.
    pub fn standard(app: &Upstream) -> Self {
        Self::bare()
            .upstream("app", &app.url())
            .issuer("main", "", &[Key::shared("ES256")])
            .route("public", "path = \"/public/*\"\nauth = \"none\"")
            .route("api", "path = \"/api/*\"")
            .route("admin", "path = \"/admin/*\"\nrequire = { roles = [\"admin\"] }")
    }

    /// Sets one key of a section to this TOML value, replacing an earlier one.
    pub fn set(mut self, section: &str, key: &str, value: &str) -> Self {
        let section = self.sections.entry(section.to_owned()).or_default();
        section.insert(key.to_owned(), value.to_owned());
        self
    }

    /// Removes one key of a section.
    pub fn unset(mut self, section: &str, key: &str) -> Self {
        self.sections.entry(section.to_owned()).or_default().remove(key);
        self
    }

    /// An upstream with one server.
    pub fn upstream(self, name: &str, url: &str) -> Self {
        self.set(&format!("upstreams.{name}"), "servers", &format!("[\"{url}\"]"))
    }

    /// A route; its upstream is `app` unless `lines` name another.
    pub fn route(mut self, name: &str, lines: &str) -> Self {
        let mut text = format!("[[routes]]\nname = \"{name}\"\n{lines}\n");
        if !lines.lines().any(|line| line.starts_with("upstream =")) {
            text.push_str("upstream = \"app\"\n");
        }
        self.tables.push(text);
        self
    }

    /// An issuer entry with these keys; issuer and audience are the tokens' own unless `lines`
    /// say otherwise.
    pub fn issuer(mut self, name: &str, lines: &str, keys: &[&Key]) -> Self {
        let says = |key: &str| lines.lines().any(|line| line.starts_with(key));
        let mut text = format!("[[issuers]]\nname = \"{name}\"\n{lines}\n");
        if !says("issuer =") {
            text.push_str(&format!("issuer = \"{ISSUER}\"\n"));
        }
        if !says("audiences =") {
            text.push_str(&format!("audiences = [\"{AUDIENCE}\"]\n"));
        }
        if !says("algorithms =") && !says("kind =") {
            let mut names: Vec<_> = keys.iter().map(|key| format!("{:?}", key.algorithm)).collect();
            names.dedup();
            text.push_str(&format!("algorithms = [{}]\n", names.join(", ")));
        }
        for key in keys {
            let file = format!("{name}-{}.key", key.kid);
            text.push_str("[[issuers.keys]]\n");
            if !key.kid.is_empty() {
                text.push_str(&format!("kid = \"{}\"\n", key.kid));
            }
            text.push_str(&format!("algorithm = \"{}\"\n", key.algorithm));
            if key.algorithm.starts_with("HS") {
                text.push_str(&format!("secret_file = \"{file}\"\n"));
                self = self.file(&file, key.secret_bytes());
            } else {
                text.push_str(&format!("public_key_file = \"{file}\"\n"));
                self = self.file(&file, key.public_pem());
            }
        }
        self.tables.push(text);
        self
    }

    /// A table of another kind, with its header.
    pub fn table(mut self, text: &str) -> Self {
        self.tables.push(text.to_owned());
        self
    }

    /// Removes the tables (routes, issuers) whose text contains `part`.
    pub fn without_table(mut self, part: &str) -> Self {
        let before = self.tables.len();
        self.tables.retain(|table| !table.contains(part));
        assert!(self.tables.len() < before, "no table has {part}");
        self
    }

    /// A file beside the configuration.
    pub fn file(mut self, name: &str, contents: impl AsRef<[u8]>) -> Self {
        self.files.retain(|(existing, _)| existing != name);
        self.files.push((name.to_owned(), contents.as_ref().to_vec()));
        self
    }

    /// An environment variable of the gateway.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// A further argument of `postern run`.
    pub fn argument(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    /// The blocklist in this Redis.
    pub fn redis(self, redis: &Redis) -> Self {
        self.set("store", "url", &format!("\"{}\"", redis.url()))
    }

    /// The configuration's text.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for (name, keys) in &self.sections {
            text.push_str(&format!("[{name}]\n"));
            for (key, value) in keys {
                text.push_str(&format!("{key} = {value}\n"));
            }
        }
        text + &self.tables.join("\n")
    }

    /// Writes everything into `dir`; only the owner may read what others must not.
    pub fn write(&self, dir: &Path) {
        for (name, contents) in &self.files {
            private(&dir.join(name), contents);
        }
        private(&dir.join("postern.toml"), self.text().as_bytes());
    }
}

/// Writes a file that only its owner may read, by renaming it into place.
pub fn private(path: &Path, contents: &[u8]) {
    let fresh = path.with_extension("fresh");
    std::fs::write(&fresh, contents).unwrap();
    std::fs::set_permissions(&fresh, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::rename(&fresh, path).unwrap();
}
