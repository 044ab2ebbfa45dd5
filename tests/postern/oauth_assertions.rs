//! `private_key_jwt` (RFC 7523) at `POST {prefix}/token`: what proves who a client is, and how
//! often.

use serde_json::json;

use crate::harness::gateway::Gateway;
use crate::harness::keys::Key;
use crate::harness::oauth::{
    AUDIENCE, ISSUER, JWT_BEARER, assertion, basic, by, other, post, refused, reports, setup,
    with_assertion,
};
use crate::harness::redis::Redis;
use crate::harness::upstream::Upstream;
use crate::harness::{each, eventually, unix_now};

const CREDENTIALS: (&str, &str) = ("grant_type", "client_credentials");

/// What must never prove anything, and why.
fn hostile_assertions() -> Vec<(&'static str, String)> {
    let now = unix_now();
    let stranger = Key::generate("ES256", "reports-1");
    let other_kid = Key::generate("ES256", "reports-2");
    // The client's public key as the secret of an HMAC.
    let confused = Key::secret("HS256", "reports-1", reports().public_pem().as_bytes());
    let rsa = Key::shared("RS256");
    let good = assertion;
    let endpoint = "https://api.test/_postern/token";
    vec![
        ("aud: the endpoint", good().claim("aud", endpoint).sign(reports())),
        ("aud: a list", good().claim("aud", json!([ISSUER])).sign(reports())),
        (
            "aud: a list with more",
            good().claim("aud", json!([ISSUER, "https://evil.test"])).sign(reports()),
        ),
        ("aud: somebody else", good().claim("aud", "https://evil.test").sign(reports())),
        ("aud: another spelling", good().claim("aud", format!("{ISSUER}/")).sign(reports())),
        ("aud: the resource", good().claim("aud", AUDIENCE).sign(reports())),
        ("aud: absent", good().without("aud").sign(reports())),
        ("iss: absent", good().without("iss").sign(reports())),
        ("sub: absent", good().without("sub").sign(reports())),
        ("iss and sub differ", good().claim("iss", "billing").sign(reports())),
        ("another client", good().claim("iss", "billing").claim("sub", "billing").sign(reports())),
        ("no client", good().claim("iss", "nobody").claim("sub", "nobody").sign(reports())),
        ("expired", good().claim("exp", now - 31).sign(reports())),
        ("exp: absent", good().without("exp").sign(reports())),
        ("exp: text", good().claim("exp", (now + 60).to_string()).sign(reports())),
        ("exp: far", good().claim("exp", now + 3600).sign(reports())),
        ("iat: ahead", good().claim("iat", now + 100).sign(reports())),
        ("nbf: ahead", good().claim("nbf", now + 100).sign(reports())),
        ("jti: absent", good().without("jti").sign(reports())),
        ("jti: empty", good().claim("jti", "").sign(reports())),
        ("jti: a number", good().claim("jti", 1).sign(reports())),
        ("alg: none", good().header("alg", "none").with_signature(reports(), b"")),
        ("alg: HMAC with the public key", good().sign(&confused)),
        ("alg: another's", good().header("kid", "reports-1").sign(rsa)),
        ("alg: not the key's", good().header("alg", "RS256").sign(reports())),
        ("another key", good().sign(&stranger)),
        ("another kid", good().sign(&other_kid)),
        ("kid with another key", good().header("kid", "reports-1").sign(&other_kid)),
        ("its own key", good().header("jwk", stranger.jwk()).header("kid", "x").sign(&stranger)),
        ("crit", good().header("crit", json!(["exp"])).sign(reports())),
        ("typ: an access token's", good().header("typ", "at+jwt").sign(reports())),
        ("typ: a logout token's", good().header("typ", "logout+jwt").sign(reports())),
        ("an ID token", good().claim("nonce", "n").sign(reports())),
        (
            "iss twice",
            good().edited_payload("\"iss\":", "\"iss\":\"nobody\",\"iss\":").sign(reports()),
        ),
        ("cut short", assertion().sign(reports())[..200].to_owned()),
        ("opaque", "reports".to_owned()),
    ]
}

/// Sources: RFC 7523 §3, RFC 7521 §4.2, §5.2; CVE-2025-27370 and CVE-2025-27371 (audience
/// injection); CVE-2015-9235 and R1 to R4 (alg confusion); RFC 8725 §2.8, §3.11 (cross-JWT use).
#[test]
fn assertions_that_are_not_for_this_are_refused() {
    let app = Upstream::start();
    let gateway = Gateway::start(&setup(&app));
    let good = assertion;
    each(hostile_assertions(), |(what, signed)| {
        let answer = with_assertion(&gateway, &signed);
        assert_eq!(answer.status, 401, "{what}: {}", answer.text());
        refused(answer, 401, "invalid_client");
    });
    // RFC 7521 §4.2: the id, when it is said, is the assertion's.
    let signed = good().sign(reports());
    let of = |id: &str| {
        let pairs = [
            CREDENTIALS,
            ("client_id", id),
            ("client_assertion_type", JWT_BEARER),
            ("client_assertion", &signed),
        ];
        post(&gateway, "token", &pairs).send()
    };
    refused(of("billing"), 401, "invalid_client");
    of("reports").expect(200);
    for typ in ["client-authentication+jwt", "JWT", "(absent)"] {
        with_assertion(&gateway, &good().header("typ", typ).sign(reports())).expect(200);
    }
    with_assertion(&gateway, &good().header("kid", "(absent)").sign(reports())).expect(200);
}

/// RFC 7523 §3 (7): an assertion is worth one token, on whichever gateway it is shown first.
#[test]
fn an_assertion_is_spent_once_on_all_gateways() {
    let (app, redis) = (Upstream::start(), Redis::start());
    let setup = setup(&app).redis(&redis);
    let gateways = [Gateway::start(&setup), Gateway::start(&setup)];
    for round in 0..4 {
        let signed = assertion().sign(reports());
        let [one, two] = [round % 2, 1 - round % 2].map(|i| &gateways[i]);
        with_assertion(one, &signed).expect(200);
        refused(with_assertion(two, &signed), 401, "invalid_client");
        refused(with_assertion(one, &signed), 401, "invalid_client");
    }
    // All at once: one of them.
    let signed = assertion().sign(reports());
    let won = std::thread::scope(|scope| {
        let race = |i: usize| {
            let (gateway, signed) = (&gateways[i % 2], &signed);
            scope.spawn(move || with_assertion(gateway, signed).status)
        };
        let racers: Vec<_> = (0..16).map(race).collect();
        racers.into_iter().map(|racer| racer.join().unwrap()).filter(|s| *s == 200).count()
    });
    assert_eq!(won, 1);
    // Another endpoint is no second chance; another client's jti is another's.
    let signed = assertion().sign(reports());
    let own =
        [("client_assertion_type", JWT_BEARER), ("client_assertion", &*signed), ("token", "x")];
    post(&gateways[0], "revoke", &own).send().expect(200);
    refused(with_assertion(&gateways[1], &signed), 401, "invalid_client");
}

/// With the embedded store a restart is no second chance either.
#[test]
fn a_spent_assertion_stays_spent_over_a_restart() {
    let app = Upstream::start();
    let setup = setup(&app);
    let gateway = Gateway::start(&setup);
    let signed = assertion().sign(reports());
    with_assertion(&gateway, &signed).expect(200);
    let gateway = Gateway::start_in(gateway.kill(), &setup);
    refused(with_assertion(&gateway, &signed), 401, "invalid_client");
}

/// A key that leaves the client's JWKS proves nothing from the next look at the files on, and a
/// changed secret is taken over.
#[test]
fn keys_and_hashes_are_read_again() {
    let app = Upstream::start();
    let gateway = Gateway::start(&setup(&app));
    let next = Key::generate("EdDSA", "reports-2");
    let file = |name: &str, text: &str| {
        crate::harness::setup::private(&gateway.dir.path().join(name), text.as_bytes());
    };
    file("reports.json", &json!({ "keys": [next.jwk()] }).to_string());
    file("billing.hash", &other().hash);
    let status = |key: &Key| with_assertion(&gateway, &assertion().sign(key)).status;
    eventually("the new key counts", std::time::Duration::from_secs(15), || status(&next) == 200);
    assert_eq!(status(reports()), 401);
    refused(by(&gateway, "billing", "token", &[CREDENTIALS]), 401, "invalid_client");
    let field = basic("billing", &other().secret);
    post(&gateway, "token", &[CREDENTIALS]).header("Authorization", &field).send().expect(200);
    // A file that cannot be used changes nothing.
    file("reports.json", "{}");
    std::thread::sleep(std::time::Duration::from_millis(2500));
    assert_eq!(status(&next), 200);
}
