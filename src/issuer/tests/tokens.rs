//! Access tokens: what the mint signs, the gateway's own verifier takes, and nothing else.

use serde_json::{Value, json};

use super::*;
use crate::auth::{ExtraKey, IssuerFilter, Issuers, VerifyError};
use crate::issuer::{Mint, MintError, metadata};
use crate::store::Login;

/// When the login ends.
const END: UnixTime = UnixTime(NOW.0 + 3600);

fn login() -> Login {
    Login {
        sid: "s1".to_owned(),
        subject: "alice".to_owned(),
        client: "postern".to_owned(),
        account: "alice@example.com".to_owned(),
        known: String::new(),
        at: NOW,
        session: None,
    }
}

fn with(algorithms: &[Algorithm]) -> Arc<Issuing> {
    let key = |(number, algorithm): (usize, &Algorithm)| IssuingKey {
        kid: format!("k{number}"),
        signing: SigningKey::generate(*algorithm).unwrap(),
    };
    Arc::new(Issuing { keys: algorithms.iter().enumerate().map(key).collect(), ..issuing() })
}

fn verifier(issuing: &Issuing) -> Issuers {
    crate::auth::install_provider();
    Issuers::new(vec![issuing.verifier().unwrap()], Vec::<ExtraKey>::new()).unwrap()
}

fn verify(
    issuers: &Issuers,
    token: &str,
    now: UnixTime,
) -> Result<crate::auth::Verified, VerifyError> {
    let local = IssuerFilter::Only(vec!["local".into()]);
    issuers.prepare(token, &local, now).and_then(|candidate| candidate.verify(now))
}

#[test]
fn every_algorithm_is_accepted_by_the_local_issuer() {
    for algorithm in [Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA, Algorithm::HS256] {
        let issuing = with(&[algorithm]);
        let issuers = verifier(&issuing);
        let rights = Rights {
            roles: vec!["admin".to_owned()],
            permissions: vec!["orders:read".to_owned()],
            claims: json!({ "tenant": "acme" }).as_object().unwrap().clone(),
        };
        let token = Mint::new(issuing).of_login(&login(), &rights, NOW, END).unwrap();
        let verified = verify(&issuers, token.text.expose(), NOW).unwrap();
        assert_eq!(&*verified.issuer, "https://login.example", "{algorithm}");
        assert_eq!(verified.jti.as_deref(), Some(token.jti.as_str()));
        assert_eq!(token.expires_at, NOW.plus(Duration::from_secs(900)));
        let dated: Vec<_> = verified.lookup.dated.iter().map(|key| key.to_string()).collect();
        assert_eq!(dated, [suffix(Kind::Sub, "alice"), suffix(Kind::Client, "postern")]);
        assert!(verified.lookup.undated.iter().any(|key| **key == *suffix(Kind::Sid, "s1")));
        assert_eq!(verified.lookup.issued_at, Some(NOW));
        // Its whole life, and not a second more than leeway.
        let last = NOW.plus(Duration::from_secs(929));
        assert!(verify(&issuers, token.text.expose(), last).is_ok());
        assert!(verify(&issuers, token.text.expose(), NOW.plus(Duration::from_secs(930))).is_err());
    }
}

/// A token that outlived its login could not be revoked by ending that.
#[test]
fn no_token_outlives_its_login() {
    let issuing = with(&[Algorithm::ES256]);
    let issuers = verifier(&issuing);
    let mint = Mint::new(issuing);
    for (left, lives) in [(0, 0), (1, 1), (899, 899), (900, 900), (901, 900)] {
        let until = UnixTime(NOW.0 + left);
        let token = mint.of_login(&login(), &Rights::default(), NOW, until).unwrap();
        assert_eq!(token.expires_at, UnixTime(NOW.0 + lives), "{left}");
        assert_eq!(payload(token.text.expose())["exp"], json!(NOW.0 + lives));
        assert!(verify(&issuers, token.text.expose(), NOW).is_ok(), "{left}");
        let over = token.expires_at.plus(Duration::from_secs(30));
        assert!(verify(&issuers, token.text.expose(), over).is_err(), "{left}");
    }
}

/// ASVS 9.2: no other key, kid, audience, issuer or kind of token.
#[test]
fn nothing_else_is_accepted() {
    let issuing = with(&[Algorithm::ES256]);
    let issuers = verifier(&issuing);
    let claims = |change: &dyn Fn(&mut serde_json::Map<String, Value>)| {
        let mut claims = json!({
            "iss": "https://login.example", "aud": "https://api.example", "sub": "alice",
            "client_id": "postern", "iat": NOW.0, "exp": NOW.0 + 900, "jti": "j",
        });
        change(claims.as_object_mut().unwrap());
        claims.as_object().unwrap().clone()
    };
    let key = &issuing.keys[0];
    let signed = |typ: &str, kid: &str, claims| key.signing.sign(typ, Some(kid), &claims).unwrap();
    assert!(verify(&issuers, &signed("at+jwt", "k0", claims(&|_| ())), NOW).is_ok());
    for (typ, kid) in [("JWT", "k0"), ("postern-assertion+jwt", "k0"), ("at+jwt", "k1")] {
        assert!(verify(&issuers, &signed(typ, kid, claims(&|_| ())), NOW).is_err(), "{typ} {kid}");
    }
    for (name, value) in [
        ("iss", json!("https://login.example/")),
        ("aud", json!("https://other.example")),
        ("exp", json!(NOW.0 + 901)),
        ("exp", json!("1800000900")),
        ("iat", Value::Null),
        ("jti", Value::Null),
        ("client_id", Value::Null),
        ("sub", Value::Null),
    ] {
        let token = signed(
            "at+jwt",
            "k0",
            claims(&|claims| {
                if value.is_null() {
                    claims.remove(name);
                } else {
                    claims.insert(name.to_owned(), value.clone());
                }
            }),
        );
        assert!(verify(&issuers, &token, NOW).is_err(), "{name} {value}");
    }
    let stranger = with(&[Algorithm::ES256]);
    let forged = Mint::new(stranger).of_login(&login(), &Rights::default(), NOW, END).unwrap();
    assert!(verify(&issuers, forged.text.expose(), NOW).is_err());
}

/// "The first signs; the others verify until their last token has expired."
#[test]
fn keys_rotate() {
    let before = with(&[Algorithm::ES256]);
    let token =
        Mint::new(Arc::clone(&before)).of_login(&login(), &Rights::default(), NOW, END).unwrap();
    let kept = SigningKey::from_pem(
        Algorithm::ES256,
        before.keys[0].signing.to_file().unwrap().expose().as_bytes(),
    );
    let old = IssuingKey { kid: "k0".to_owned(), signing: kept.unwrap() };
    let new = IssuingKey {
        kid: "k1".to_owned(),
        signing: SigningKey::generate(Algorithm::EdDSA).unwrap(),
    };
    let after = Arc::new(Issuing { keys: vec![new, old], ..issuing() });
    let issuers = verifier(&after);
    assert!(verify(&issuers, token.text.expose(), NOW).is_ok());
    let token =
        Mint::new(Arc::clone(&after)).of_login(&login(), &Rights::default(), NOW, END).unwrap();
    assert!(verify(&issuers, token.text.expose(), NOW).is_ok());
    assert!(verify(&verifier(&before), token.text.expose(), NOW).is_err());
    let published: Vec<_> = after.jwks().unwrap().iter().map(|jwk| jwk["kid"].clone()).collect();
    assert_eq!(published, ["k1", "k0"]);
}

/// A mapping of claims from a database must not make another token of it.
#[test]
fn further_claims_overwrite_nothing() {
    let hostile = json!({
        "iss": "https://evil.example", "sub": "root", "aud": "*", "exp": 1, "iat": 1, "nbf": 1,
        "jti": "fixed", "sid": "fixed", "client_id": "x", "azp": "x", "roles": ["admin"],
        "permissions": ["all"], "nonce": "n", "events": {}, "cnf": {}, "tenant": "acme",
    });
    let rights = Rights { claims: hostile.as_object().unwrap().clone(), ..Rights::default() };
    let mint = Mint::new(with(&[Algorithm::ES256]));
    let token = mint.of_login(&login(), &rights, NOW, END).unwrap();
    let claims = payload(token.text.expose());
    let mut names: Vec<_> = claims.as_object().unwrap().keys().map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "aud",
            "client_id",
            "exp",
            "iat",
            "iss",
            "jti",
            "nbf",
            "permissions",
            "roles",
            "sid",
            "sub",
            "tenant",
        ]
    );
    assert_eq!((&claims["sub"], &claims["roles"]), (&json!("alice"), &json!([])));
    assert_ne!(claims["jti"], "fixed");
    let other = mint.of_login(&login(), &rights, NOW, END).unwrap();
    assert_ne!(other.jti, token.jti);
    assert!(!format!("{token:?}").contains(token.text.expose()), "invariant 7");
}

fn payload(token: &str) -> Value {
    use base64::Engine as _;
    let part = token.split('.').nth(1).unwrap();
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(part).unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

#[test]
fn a_client_has_a_name_that_no_account_has() {
    let issuing = with(&[Algorithm::ES256]);
    let issuers = verifier(&issuing);
    let mint = Mint::new(issuing);
    let audiences = ["https://api.example".to_owned(), "https://other.example".to_owned()];
    let token = mint.of_client("billing", &audiences, &Rights::default(), NOW).unwrap();
    assert!(verify(&issuers, token.text.expose(), NOW).is_ok());
    let claims = payload(token.text.expose());
    assert_eq!(
        (&claims["sub"], &claims["client_id"]),
        (&json!("client:billing"), &json!("billing"))
    );
    assert!(claims.get("sid").is_none());
    let keyless = Arc::new(Issuing { keys: Vec::new(), ..issuing_without_keys() });
    let none = Mint::new(keyless).of_login(&login(), &Rights::default(), NOW, END);
    assert_eq!(none.err(), Some(MintError::NoKey));
}

fn issuing_without_keys() -> Issuing {
    Issuing { keys: Vec::new(), ..issuing() }
}

/// R3, ASVS 9.1: a shared secret is published nowhere.
#[test]
fn what_is_published_is_public() {
    for algorithm in [Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA] {
        let jwks = with(&[algorithm]).jwks().unwrap();
        let [jwk] = jwks.as_slice() else { panic!("{jwks:?}") };
        for member in ["d", "p", "q", "dp", "dq", "qi", "k"] {
            assert!(!jwk.contains_key(member), "{algorithm} {member}");
        }
        assert_eq!((&jwk["kid"], &jwk["use"]), (&json!("k0"), &json!("sig")));
        // Others verify with it.
        crate::auth::install_provider();
        let issuing = with(&[algorithm]);
        let text = serde_json::to_vec(&json!({ "keys": issuing.jwks().unwrap() })).unwrap();
        let set = crate::auth::keys::from_jwks(&text, &[algorithm], false).unwrap();
        let settings =
            crate::auth::IssuerSettings { keys: set.keys, ..issuing.verifier().unwrap() };
        let issuers = Issuers::new(vec![settings], Vec::new()).unwrap();
        let token = Mint::new(issuing).of_login(&login(), &Rights::default(), NOW, END).unwrap();
        assert!(verify(&issuers, token.text.expose(), NOW).is_ok());
    }
    let secret = with(&[Algorithm::HS256]);
    assert!(secret.jwks().unwrap().is_empty());
    let document = metadata(&secret, "https://api.example/_postern");
    assert!(!document.contains_key("jwks_uri"));
}

/// RFC 8414 §2: what a library looks for.
#[test]
fn the_metadata_say_where_everything_is() {
    let document = metadata(&with(&[Algorithm::ES256]), "https://api.example/_postern");
    assert_eq!(
        Value::from(document),
        json!({
            "issuer": "https://login.example",
            "token_endpoint": "https://api.example/_postern/token",
            "revocation_endpoint": "https://api.example/_postern/revoke",
            "introspection_endpoint": "https://api.example/_postern/introspect",
            "jwks_uri": "https://api.example/_postern/jwks.json",
            "grant_types_supported": ["refresh_token", "client_credentials"],
            "response_types_supported": [],
            "token_endpoint_auth_methods_supported":
                ["client_secret_basic", "client_secret_post", "private_key_jwt", "none"],
            "token_endpoint_auth_signing_alg_values_supported": ["RS256", "ES256", "EdDSA"],
            "revocation_endpoint_auth_methods_supported":
                ["client_secret_basic", "client_secret_post", "private_key_jwt", "none"],
            "revocation_endpoint_auth_signing_alg_values_supported": ["RS256", "ES256", "EdDSA"],
            "introspection_endpoint_auth_methods_supported":
                ["client_secret_basic", "client_secret_post", "private_key_jwt"],
            "introspection_endpoint_auth_signing_alg_values_supported": ["RS256", "ES256", "EdDSA"],
        })
    );
}

/// What was known at the login is what an account that cannot be asked again has.
#[test]
fn rights_are_kept_with_a_login() {
    let rights = Rights {
        roles: vec!["a".to_owned()],
        permissions: vec!["b".to_owned()],
        claims: json!({ "tenant": 5 }).as_object().unwrap().clone(),
    };
    let login = Login { known: rights.to_text(), ..login() };
    assert_eq!(Rights::at_login(&login), rights);
    let damaged = Login { known: "{".to_owned(), ..login };
    assert_eq!(Rights::at_login(&damaged), Rights::default());
}
