//! Tokens, good and hostile: any header, any payload, any signature.

use serde_json::{Map, Value, json};

use super::keys::{Key, base64url};
use super::unix_now;

/// The issuer that test configurations trust.
pub const ISSUER: &str = "https://auth.test";
/// The audience that test configurations expect.
pub const AUDIENCE: &str = "https://api.test";

/// A token being made.
#[derive(Clone)]
pub struct Token {
    header: Map<String, Value>,
    claims: Map<String, Value>,
    raw_header: Option<Vec<u8>>,
    raw_payload: Option<Vec<u8>>,
}

impl Token {
    /// What the gateway accepts: right issuer and audience, ten minutes to live, its own jti.
    pub fn good() -> Self {
        let now = unix_now();
        let jti = uuid::Uuid::new_v4().to_string();
        let claims = json!({
            "iss": ISSUER, "aud": AUDIENCE, "sub": "alice", "jti": jti,
            "iat": now - 1, "exp": now + 600,
        });
        Self {
            header: object(json!({"typ": "JWT"})),
            claims: object(claims),
            raw_header: None,
            raw_payload: None,
        }
    }

    /// Sets a claim, whatever its type.
    pub fn claim(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.claims.insert(name.to_owned(), value.into());
        self
    }

    /// Removes a claim.
    pub fn without(mut self, name: &str) -> Self {
        self.claims.remove(name);
        self
    }

    /// Sets the `roles` claim.
    pub fn roles(self, roles: &[&str]) -> Self {
        self.claim("roles", roles.to_vec())
    }

    /// Sets a header parameter; `alg` and `kid` are otherwise those of the key.
    pub fn header(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.header.insert(name.to_owned(), value.into());
        self
    }

    /// Replaces the whole header by these bytes.
    pub fn raw_header(mut self, text: impl AsRef<[u8]>) -> Self {
        self.raw_header = Some(text.as_ref().to_vec());
        self
    }

    /// Replaces the whole payload by these bytes.
    pub fn raw_payload(mut self, text: impl AsRef<[u8]>) -> Self {
        self.raw_payload = Some(text.as_ref().to_vec());
        self
    }

    /// The payload's text with `from` replaced by `to`, for duplicates and odd numbers.
    pub fn edited_payload(self, from: &str, to: &str) -> Self {
        let text = Value::Object(self.claims.clone()).to_string();
        assert!(text.contains(from), "{from} is not in {text}");
        self.raw_payload(text.replacen(from, to, 1))
    }

    /// The text that is signed: `header.payload`.
    pub fn signing_input(&self, key: &Key) -> String {
        let header = self.raw_header.clone().unwrap_or_else(|| {
            let mut header = self.header.clone();
            header.entry("alg").or_insert_with(|| json!(key.algorithm));
            header.entry("kid").or_insert_with(|| json!(key.kid));
            header.retain(|_, value| *value != json!("(absent)"));
            Value::Object(header).to_string().into_bytes()
        });
        let payload = self
            .raw_payload
            .clone()
            .unwrap_or_else(|| Value::Object(self.claims.clone()).to_string().into_bytes());
        format!("{}.{}", base64url(header), base64url(payload))
    }

    /// The compact form, signed by `key` with the key's own algorithm.
    pub fn sign(&self, key: &Key) -> String {
        let input = self.signing_input(key);
        format!("{input}.{}", base64url(key.sign(input.as_bytes())))
    }

    /// The compact form with signature bytes of the caller's choice.
    pub fn with_signature(&self, key: &Key, signature: &[u8]) -> String {
        format!("{}.{}", self.signing_input(key), base64url(signature))
    }

    /// The `jti` claim.
    pub fn jti(&self) -> &str {
        self.claims["jti"].as_str().unwrap()
    }
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        other => panic!("{other} is no object"),
    }
}
