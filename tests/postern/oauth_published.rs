//! What others find their way and verify by: the metadata (RFC 8414) and the keys (RFC 7517).

use serde_json::json;

use crate::harness::gateway::{Gateway, refuses_to_start};
use crate::harness::keys::Key;
use crate::harness::oauth::{ISSUER, granted, setup};
use crate::harness::upstream::Upstream;

const WELL_KNOWN: &str = "/.well-known/oauth-authorization-server/tenant";

/// RFC 8414 §2, §3.1, §3.3: at one place, with the issuer byte by byte.
#[test]
fn the_metadata_are_true_and_in_one_place() {
    let app = Upstream::start();
    let gateway = Gateway::start(&setup(&app));
    let answer = gateway.get(WELL_KNOWN).send().expect(200);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("cache-control"), Some("public, max-age=300"));
    let document = answer.json();
    assert_eq!(document["issuer"], ISSUER);
    assert_eq!(document["token_endpoint"], "https://api.test/_postern/token");
    assert_eq!(document["jwks_uri"], "https://api.test/_postern/jwks.json");
    assert_eq!(document["grant_types_supported"], json!(["refresh_token", "client_credentials"]));
    assert!(
        document.get("authorization_endpoint").is_none()
            && document.get("scopes_supported").is_none()
    );
    // Every endpoint that is named is there, and takes the method.
    for name in ["token_endpoint", "revocation_endpoint", "introspection_endpoint"] {
        let path = document[name].as_str().unwrap().strip_prefix("https://api.test").unwrap();
        let answer = gateway.post(path).send();
        assert!([400, 401].contains(&answer.status), "{name}: {}", answer.status);
        gateway.get(path).send().refused(405);
    }
    let head = gateway.request("HEAD", WELL_KNOWN).send().expect(200);
    let length = document.to_string().len().to_string();
    assert_eq!(head.header("content-length"), Some(&*length));
    gateway.post(WELL_KNOWN).send().refused(405);
    for target in [
        "/.well-known/oauth-authorization-server",
        "/tenant/.well-known/oauth-authorization-server",
        "/.well-known/openid-configuration",
        "/_postern/.well-known/oauth-authorization-server/tenant",
    ] {
        gateway.get(target).send().refused(404);
    }
    app.saw_nothing("the metadata are the gateway's own");
}

/// On other hosts the path is an upstream's: it may be an authorization server as well.
#[test]
fn on_other_hosts_the_path_is_a_route_s() {
    let app = Upstream::start();
    let setup = setup(&app).route("open", "path = \"/.well-known/*\"\nauth = \"none\"");
    let gateway = Gateway::start(&setup);
    gateway.get(WELL_KNOWN).host("localhost").send().expect(200);
    assert_eq!(app.last().target, WELL_KNOWN);
    assert_eq!(gateway.get(WELL_KNOWN).send().expect(200).json()["issuer"], ISSUER);
    assert_eq!(app.count(), 1);
    gateway.get("/_postern/jwks.json").host("localhost").send().refused(404);
    let own = setup.route("mine", &format!("path = \"{WELL_KNOWN}\""));
    let (code, said) = refuses_to_start(&own);
    assert!(code == 2 && said.contains("can never be reached"), "{said}");
}

/// RFC 7517 §5, §9.2; R16: public halves alone, of every key that verifies.
#[test]
fn the_keys_verify_what_is_issued_and_sign_nothing() {
    let app = Upstream::start();
    let next = Key::shared("EdDSA");
    let keys = "[{ kid = \"1\", algorithm = \"ES256\", private_key_file = \"issuing.pem\" }, \
                { kid = \"2\", algorithm = \"EdDSA\", private_key_file = \"next.pem\" }]";
    let setup = setup(&app).set("issuing", "keys", keys).file("next.pem", next.private_pem());
    let gateway = Gateway::start(&setup);
    let answer = gateway.get("/_postern/jwks.json").send().expect(200);
    assert_eq!(answer.header("content-type"), Some("application/jwk-set+json"));
    assert_eq!(answer.header("cache-control"), Some("public, max-age=300"));
    let document = answer.json();
    let keys = document["keys"].as_array().unwrap();
    let kids: Vec<&str> = keys.iter().map(|key| key["kid"].as_str().unwrap()).collect();
    assert_eq!(kids, ["1", "2"]);
    for key in keys {
        for private in ["d", "p", "q", "dp", "dq", "qi", "k"] {
            assert!(key.get(private).is_none(), "{private} in {key}");
        }
        assert_eq!(key["use"], "sig");
    }
    let same = |name: &str| keys[0][name] == Key::shared("ES256").jwk()[name];
    assert!(same("x") && same("y") && granted(&gateway, "billing").len() > 100);
    // A shared secret is published by nobody.
    let secret = Key::shared("HS256");
    let keys = "[{ kid = \"1\", algorithm = \"HS256\", secret_file = \"issuing.key\" }]";
    let setup = setup.set("issuing", "keys", keys).file("issuing.key", secret.secret_bytes());
    let gateway = Gateway::start(&setup);
    assert_eq!(gateway.get("/_postern/jwks.json").send().expect(200).json(), json!({ "keys": [] }));
    assert!(gateway.get(WELL_KNOWN).send().expect(200).json().get("jwks_uri").is_none());
}
