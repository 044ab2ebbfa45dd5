//! The files of a demo: configuration, certificate, keys, tokens. All made on the spot.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use serde_json::json;

use crate::auth::{Algorithm, SigningKey};
use crate::issuer::account::Hash;
use crate::time::UnixTime;

const ISSUER: &str = "https://demo.postern.invalid";
const AUDIENCE: &str = "https://api.postern.invalid";
const KID: &str = "demo";
/// Alice's.
const PASSWORD: &str = "the demo password";
const LIFETIME_SECONDS: i64 = 24 * 60 * 60;

/// Whose token is made.
#[derive(Clone, Copy, Debug)]
pub(super) enum Persona {
    Admin,
    User,
}

/// What the demo is about.
pub(super) struct Files<'f> {
    pub(super) dir: &'f Path,
    pub(super) listen: SocketAddr,
    pub(super) upstream: &'f str,
    pub(super) routes: &'f str,
    pub(super) personas: &'f [Persona],
}

impl Files<'_> {
    /// Writes everything and returns the configuration's text.
    pub(super) fn write(&self) -> Result<String, String> {
        self.certificate()?;
        let key = rcgen::KeyPair::generate().map_err(|error| error.to_string())?;
        self.file("jwt.pub.pem", key.public_key_pem().as_bytes())?;
        let key = SigningKey::from_pem(Algorithm::ES256, key.serialize_pem().as_bytes())
            .map_err(|error| error.to_string())?;
        for persona in self.personas {
            let token = token(&key, *persona)?;
            self.file(&format!("{}.token", persona.name()), format!("{token}\n").as_bytes())?;
        }
        self.issuing()?;
        let text = self.configuration();
        self.file("postern.toml", text.as_bytes())?;
        Ok(text)
    }

    /// What a login of `alice` takes.
    fn issuing(&self) -> Result<(), String> {
        let key = SigningKey::generate(Algorithm::ES256).map_err(|error| error.to_string())?;
        let pem = key.to_file().map_err(|error| error.to_string())?;
        self.file("issuing.pem", pem.expose().as_bytes())?;
        let (_, hash) = Hash::make(PASSWORD.as_bytes()).map_err(|error| error.to_string())?;
        self.file("users", format!("alice:{}:user\n", hash.expose()).as_bytes())
    }

    fn certificate(&self) -> Result<(), String> {
        let names = vec!["localhost".into(), "127.0.0.1".into(), "::1".into()];
        let made = rcgen::generate_simple_self_signed(names).map_err(|error| error.to_string())?;
        self.file("cert.pem", made.cert.pem().as_bytes())?;
        self.file("key.pem", made.signing_key.serialize_pem().as_bytes())
    }

    fn configuration(&self) -> String {
        let Self { listen, upstream, routes, .. } = self;
        format!(
            r#"[listen]
https = "{listen}"

[admin]
listen = "127.0.0.1:0"

[tls]
certificates = [{{ cert = "cert.pem", key = "key.pem" }}]

[log]
level = "warn"
format = "text"
access = "stderr"

[[issuers]]
name = "demo"
issuer = "{ISSUER}"
audiences = ["{AUDIENCE}"]
algorithms = ["ES256"]

[[issuers.keys]]
kid = "{KID}"
algorithm = "ES256"
public_key_file = "jwt.pub.pem"

[upstreams.app]
servers = ["{upstream}"]
{routes}"#
        )
    }

    fn file(&self, name: &str, bytes: &[u8]) -> Result<(), String> {
        let path = self.dir.join(name);
        let mut options = OpenOptions::new();
        options
            .create_new(true)
            .write(true)
            .mode(0o600)
            .open(&path)
            .and_then(|mut file| file.write_all(bytes))
            .map_err(|error| format!("{}: {error}", path.display()))
    }
}

impl Persona {
    const fn name(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::User => "user",
        }
    }
}

fn token(key: &SigningKey, persona: Persona) -> Result<String, String> {
    let now = UnixTime::now().seconds();
    let name = persona.name();
    let claims = json!({
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": name,
        "email": format!("{name}@example.com"),
        "roles": [name],
        "iat": now,
        "exp": now + LIFETIME_SECONDS,
        "jti": format!("{:032x}", fastrand::u128(..)),
    });
    let claims = claims.as_object().ok_or("the claims are no object")?;
    key.sign("at+jwt", Some(KID), claims).map_err(|error| error.to_string())
}
