//! What Postern says of itself as an authorization server (RFC 8414), for libraries that find
//! their way by it.

use serde_json::{Map, Value, json};

use crate::auth::{ASSERTION_ALGORITHMS, Algorithm, Family};
use crate::policy::Issuing;

/// How a registered client may say who it is.
const CLIENT_AUTHENTICATION: [&str; 3] =
    ["client_secret_basic", "client_secret_post", "private_key_jwt"];

/// The metadata document. `endpoints` is the public URL of `[endpoints] prefix`, without a slash at
/// its end.
#[must_use]
pub fn metadata(issuing: &Issuing, endpoints: &str) -> Map<String, Value> {
    let at = |name: &str| Value::from(format!("{endpoints}/{name}"));
    let mut document = Map::new();
    let mut say = |name: &str, value: Value| {
        document.insert(name.to_owned(), value);
    };
    say("issuer", issuing.issuer.as_str().into());
    say("token_endpoint", at("token"));
    say("revocation_endpoint", at("revoke"));
    say("introspection_endpoint", at("introspect"));
    say("grant_types_supported", json!(["refresh_token", "client_credentials"]));
    // Required by RFC 8414 §2; there is no authorization endpoint.
    say("response_types_supported", json!([]));
    let algorithms = ASSERTION_ALGORITHMS.map(Algorithm::as_str);
    for (endpoint, is_public) in [("token", true), ("revocation", true), ("introspection", false)] {
        let of = |what: &str| format!("{endpoint}_endpoint_{what}");
        // The client of logins has nothing to authenticate with.
        let none = is_public.then_some("none");
        let methods: Vec<&str> = CLIENT_AUTHENTICATION.into_iter().chain(none).collect();
        say(&of("auth_methods_supported"), json!(methods));
        say(&of("auth_signing_alg_values_supported"), json!(algorithms));
    }
    let is_public =
        |key: &crate::policy::IssuingKey| key.signing.algorithm().family() != Family::Hmac;
    if issuing.keys.iter().any(is_public) {
        say("jwks_uri", at("jwks.json"));
    }
    document
}
