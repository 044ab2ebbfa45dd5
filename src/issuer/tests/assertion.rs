//! What an assertion says and for how long it is used again.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;
use serde_json::{Map, Value, json};

use super::NOW;
use crate::auth::{
    Algorithm, Family, IssuerFilter, IssuerSettings, Issuers, SigningKey, Verified, VerifyError,
};
use crate::issuer::{ASSERTION_TYP, AssertionError, Assertions};
use crate::policy::IssuingKey;
use crate::policy::assertion::{Assertion, RouteAssertion};
use crate::time::UnixTime;
use crate::token::ClaimPath;

const ISSUER: &str = "https://id.example";

fn after(seconds: u64) -> UnixTime {
    NOW.plus(Duration::from_secs(seconds))
}

fn key(kid: &str, algorithm: Algorithm) -> IssuingKey {
    crate::auth::install_provider();
    IssuingKey { kid: kid.to_owned(), signing: SigningKey::generate(algorithm).unwrap() }
}

fn settings(algorithm: Algorithm) -> Assertion {
    let path = |text: &str| ClaimPath::parse(text).unwrap();
    Assertion {
        header: HeaderName::from_static("x-postern-assertion"),
        issuer: "https://gateway.example".to_owned(),
        audience: "https://orders.internal".to_owned(),
        ttl: Duration::from_secs(60),
        claims: vec![
            ("email".to_owned(), path("email")),
            ("roles".to_owned(), path("/realm/roles")),
            ("absent".to_owned(), path("absent")),
            ("nothing".to_owned(), path("nothing")),
        ],
        bound: true,
        keys: vec![key("a1", algorithm)],
    }
}

fn on(settings: &Arc<Assertion>, route: &str) -> RouteAssertion {
    settings.on_route(route).unwrap()
}

/// A caller whose token ends in so many seconds.
fn caller(ends_in: i64) -> Verified {
    let signing = key("s", Algorithm::ES256).signing;
    let mut entry = IssuerSettings::new("main", vec![Algorithm::ES256]);
    entry.issuer = Some(ISSUER.to_owned());
    entry.keys = vec![signing.verification_key(Some("s")).unwrap()];
    let claims = json!({
        "iss": ISSUER, "sub": "alice", "iat": NOW.0, "exp": NOW.0 + ends_in, "jti": "j-1",
        "email": "alice@example.com", "realm": { "roles": ["admin"] }, "nothing": null,
        "secret": "hunter2",
    });
    let token = signing.sign("at+jwt", Some("s"), claims.as_object().unwrap()).unwrap();
    let issuers = Issuers::new(vec![entry], Vec::new()).unwrap();
    issuers.prepare(&token, &IssuerFilter::All, NOW).unwrap().verify(NOW).unwrap()
}

fn part(text: &http::HeaderValue, at: usize) -> Map<String, Value> {
    use base64::Engine as _;
    let part = text.to_str().unwrap().split('.').nth(at).unwrap().to_owned();
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(part).unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

/// RFC 8725 §3.11, §3.9; only what is whitelisted; no jti, for it is used more than once.
#[test]
fn it_says_this_and_nothing_else() {
    for algorithm in [Algorithm::ES256, Algorithm::EdDSA, Algorithm::RS256, Algorithm::HS256] {
        let settings = Arc::new(settings(algorithm));
        let made = Assertions::new(1 << 20).of(&on(&settings, "orders"), &caller(600), NOW);
        let made = made.unwrap();
        assert!(made.is_sensitive());
        let header = json!({ "alg": algorithm.as_str(), "typ": ASSERTION_TYP, "kid": "a1" });
        assert_eq!(Value::Object(part(&made, 0)), header);
        let claims = json!({
            "iss": "https://gateway.example", "aud": "https://orders.internal", "sub": "alice",
            "sub_id": { "format": "iss_sub", "iss": ISSUER, "sub": "alice" },
            "iat": NOW.0, "exp": NOW.0 + 60, "route": "orders",
            "email": "alice@example.com", "roles": ["admin"],
        });
        assert_eq!(Value::Object(part(&made, 1)), claims);
        let published = settings.jwks().unwrap();
        assert_eq!(published.is_empty(), algorithm.family() == Family::Hmac, "never a secret");
    }
}

/// The same bytes until half of its life is left; then another.
#[test]
fn it_is_used_again_for_half_of_its_life() {
    let (settings, assertions) = (Arc::new(settings(Algorithm::ES256)), Assertions::new(1 << 20));
    let (orders, caller) = (on(&settings, "orders"), caller(600));
    let made = assertions.of(&orders, &caller, NOW).unwrap();
    for seconds in [0, 1, 29] {
        assert_eq!(assertions.of(&orders, &caller, after(seconds)).unwrap(), made, "{seconds}");
    }
    let renewed = assertions.of(&orders, &caller, after(30)).unwrap();
    assert_ne!(renewed, made);
    assert_eq!(part(&renewed, 1)["exp"], NOW.0 + 90);
    // A clock that was set back.
    let earlier = assertions.of(&orders, &caller, after(10)).unwrap();
    assert_eq!(part(&earlier, 1)["iat"], NOW.0 + 10);
}

/// It never outlives the caller's own token, and nothing is made of an expired one, leeway or not.
#[test]
fn it_ends_with_the_callers_token() {
    let (settings, assertions) = (Arc::new(settings(Algorithm::ES256)), Assertions::new(1 << 20));
    let (orders, caller) = (on(&settings, "orders"), caller(20));
    let made = assertions.of(&orders, &caller, NOW).unwrap();
    assert_eq!(part(&made, 1)["exp"], NOW.0 + 20);
    assert_eq!(assertions.of(&orders, &caller, after(19)).unwrap(), made, "none would live longer");
    assert_eq!(caller.check_times(after(20)), Ok(()), "by the leeway");
    assert_eq!(assertions.of(&orders, &caller, after(20)), Err(AssertionError::Expired));
    assert_eq!(caller.check_times(after(50)), Err(VerifyError::Expired));
}

/// One for each token, each route, each configuration and each key.
#[test]
fn nothing_else_gets_the_same() {
    let assertions = Assertions::new(1 << 20);
    let first = Arc::new(settings(Algorithm::EdDSA));
    let (alice, again) = (caller(600), caller(600));
    let made = assertions.of(&on(&first, "orders"), &alice, NOW).unwrap();
    let other_route = assertions.of(&on(&first, "admin"), &alice, NOW).unwrap();
    assert_eq!(part(&other_route, 1)["route"], "admin");
    assert_eq!(assertions.len(), 2);
    assertions.of(&on(&first, "orders"), &again, NOW).unwrap();
    assert_eq!(assertions.len(), 3, "another verification");
    // Compiled once more and nothing changed: what was made still serves.
    assert_eq!(on(&first, "orders").id, on(&first, "orders").id);
    assert_eq!(assertions.of(&on(&first, "orders"), &alice, after(1)).unwrap(), made);
    let with = |change: fn(&mut Assertion)| {
        let signing = SigningKey::from_pem(
            Algorithm::EdDSA,
            first.keys[0].signing.to_file().unwrap().expose().as_bytes(),
        );
        let mut other = settings(Algorithm::EdDSA);
        other.keys = vec![IssuingKey { kid: "a1".to_owned(), signing: signing.unwrap() }];
        change(&mut other);
        on(&Arc::new(other), "orders").id
    };
    let changes: [fn(&mut Assertion); 9] = [
        |_| {},
        |other| other.ttl = Duration::from_secs(30),
        |other| other.audience.push('x'),
        |other| other.issuer.push('x'),
        |other| drop(other.claims.pop()),
        |other| other.bound = false,
        |other| other.header = HeaderName::from_static("x-other"),
        |other| other.keys[0].kid.push('x'),
        |other| other.keys = vec![key("a1", Algorithm::EdDSA)],
    ];
    let ids = changes.map(with);
    assert_eq!(ids[0], on(&first, "orders").id, "the same settings, read once more");
    for (at, id) in ids.iter().enumerate() {
        assert!(!ids[..at].contains(id), "{at}");
    }
}

/// An assertion is not an access token here, though key, issuer and audience were right.
#[test]
fn as_a_bearer_token_it_is_refused() {
    let assertion = Arc::new(settings(Algorithm::ES256));
    let mut entry = IssuerSettings::new("gateway", vec![Algorithm::ES256]);
    entry.issuer = Some(assertion.issuer.clone());
    entry.audiences = Some(vec![assertion.audience.clone()]);
    entry.keys = vec![assertion.keys[0].signing.verification_key(Some("a1")).unwrap()];
    let issuers = Issuers::new(vec![entry], Vec::new()).unwrap();
    let made = Assertions::new(0).of(&on(&assertion, "orders"), &caller(600), NOW).unwrap();
    let refused = issuers.prepare(made.to_str().unwrap(), &IssuerFilter::All, NOW);
    assert_eq!(refused.err(), Some(VerifyError::TokenType));
}

/// A cache of no bytes keeps nothing, and one of few forgets: they are made anew.
#[test]
fn memory_is_bounded() {
    let settings = Arc::new(settings(Algorithm::HS256));
    let alice = caller(600);
    let (none, few) = (Assertions::new(0), Assertions::new(50_000));
    for route in 0..500 {
        let route = on(&settings, &route.to_string());
        none.of(&route, &alice, NOW).unwrap();
        few.of(&route, &alice, NOW).unwrap();
    }
    assert_eq!(none.len(), 0);
    assert!((10..100).contains(&few.len()), "{}", few.len());
}

/// What one costs: `cargo test --lib cost_of -- --ignored --nocapture`.
#[test]
#[ignore = "measures"]
fn cost_of_an_assertion() {
    for algorithm in [Algorithm::ES256, Algorithm::EdDSA, Algorithm::RS256, Algorithm::HS256] {
        let settings = Arc::new(settings(algorithm));
        let (route, alice) = (on(&settings, "orders"), caller(600));
        let cost = |assertions: &Assertions, times: u32| {
            let start = std::time::Instant::now();
            for _ in 0..times {
                assertions.of(&route, &alice, NOW).unwrap();
            }
            start.elapsed() / times
        };
        let (fresh, kept) = (Assertions::new(0), Assertions::new(1 << 20));
        cost(&kept, 10);
        let (made, again) = (cost(&fresh, 300), cost(&kept, 100_000));
        assert!(again < made, "{algorithm}: made {made:?}, again {again:?}");
        std::io::Write::write_all(
            &mut std::io::stderr(),
            format!("{algorithm}: made in {made:?}, used again in {again:?}\n").as_bytes(),
        )
        .unwrap();
    }
}
