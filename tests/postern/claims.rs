//! What a token claims (R10 to R12): each claim with its type and its value, the knobs of an issuer
//! entry, and odd tokens that are right.

use serde_json::json;

use crate::harness::gateway::Gateway;
use crate::harness::keys::Key;
use crate::harness::setup::Setup;
use crate::harness::tokens::{AUDIENCE, ISSUER, Token};
use crate::harness::unix_now;
use crate::harness::upstream::Upstream;
use crate::tokens::{accepted, all_algorithms, refused};

/// R10, R11, R12: every claim has its type and its value. Claim, value.
#[test]
fn hostile_claims() {
    let app = Upstream::start();
    let gateway = Gateway::start(&all_algorithms(&app));
    let key = Key::shared("ES256");
    let now = unix_now();
    for (name, value) in [
        ("exp", json!(now - 31)),
        ("exp", json!((now + 600).to_string())),
        ("exp", json!(null)),
        ("exp", json!([now + 600])),
        ("exp", json!({})),
        ("exp", json!(true)),
        ("exp", json!(0)),
        ("exp", json!(-1)),
        ("exp", json!(now + 25 * 3600)),
        ("nbf", json!(now + 90)),
        ("nbf", json!(now.to_string())),
        ("nbf", json!(null)),
        ("nbf", json!([1])),
        ("iat", json!(now + 90)),
        ("iat", json!(now.to_string())),
        ("iat", json!(null)),
        ("iat", json!({})),
        ("iss", json!("https://evil.test")),
        ("iss", json!([ISSUER])),
        ("iss", json!(null)),
        ("iss", json!({})),
        ("iss", json!("https://auth.test/")),
        ("iss", json!("HTTPS://AUTH.TEST")),
        ("iss", json!("")),
        ("iss", json!(1)),
        ("aud", json!("https://evil.test")),
        ("aud", json!([])),
        ("aud", json!(null)),
        ("aud", json!({})),
        ("aud", json!(1)),
        ("aud", json!(true)),
        ("aud", json!([AUDIENCE, 1])),
        ("aud", json!([[AUDIENCE]])),
        ("aud", json!("https://api.test/")),
        ("aud", json!("https://api.test,https://evil.test")),
        ("sub", json!(null)),
        ("sub", json!({})),
        ("sub", json!(["alice"])),
        ("sub", json!(true)),
        ("sub", json!("a".repeat(2000))),
        ("jti", json!("j".repeat(2000))),
        ("jti", json!({})),
        ("jti", json!(["a"])),
        ("sid", json!({})),
        ("sid", json!("s".repeat(2000))),
        ("roles", json!({"admin": true})),
        ("roles", json!([1])),
        ("roles", json!([["admin"]])),
        ("sub", json!("a\r\nX-Auth-Roles: admin")),
        ("sub", json!("a\u{0}b")),
        ("jti", json!("a\nb")),
        ("nonce", json!("n")),
        ("at_hash", json!("x")),
        ("events", json!({})),
    ] {
        let token = Token::good().claim(name, value.clone()).sign(key);
        let context = format!("CVE-2026-25537 and kin: {name} = {:.60}", value.to_string());
        refused(&gateway, &app, &context, &token);
    }
    for name in ["exp", "iss", "aud", "sub", "iat"] {
        refused(&gateway, &app, &format!("R10 no {name}"), &Token::good().without(name).sign(key));
    }
}

/// R7, R10: payloads that two parsers read in two ways.
#[test]
fn hostile_payloads() {
    let app = Upstream::start();
    let gateway = Gateway::start(&all_algorithms(&app));
    let key = Key::shared("ES256");
    let good = || Token::good().claim("exp", unix_now() + 600);
    for number in
        ["1e999", "-1e999", "1e308", "99999999999999999999", "0x7fffffff", "NaN", "Infinity"]
    {
        let token =
            Token::good().claim("exp", 4_242_424_242i64).edited_payload("4242424242", number);
        refused(&gateway, &app, &format!("R10 exp {number}"), &token.sign(key));
    }
    for (source, token) in [
        ("R7 duplicate exp", good().edited_payload("{", "{\"exp\":1,")),
        ("R7 duplicate sub", good().edited_payload("{", "{\"sub\":\"root\",")),
        ("R7 duplicate jti", good().edited_payload("{", "{\"jti\":\"other\",")),
        ("R7 duplicate by escape", good().edited_payload("{", "{\"\\u0073ub\":\"root\",")),
        ("R7 trailing data", good().edited_payload("}", "} true")),
        ("R7 array", Token::good().raw_payload("[]")),
        ("R7 empty", Token::good().raw_payload("")),
        ("R7 text", Token::good().raw_payload("claims")),
        ("R7 no UTF-8", Token::good().raw_payload(b"{\"sub\":\"\xff\"}")),
        ("R7 lone surrogate", good().edited_payload("\"alice\"", "\"\\ud800\"")),
        ("R7 depth", good().edited_payload("\"alice\"", &("[".repeat(2000) + &"]".repeat(2000)))),
        ("R7 depth without end", Token::good().raw_payload("[".repeat(4000))),
    ] {
        refused(&gateway, &app, source, &token.sign(key));
    }
}

/// What looks odd and is right.
#[test]
fn unusual_claims_that_are_fine() {
    let app = Upstream::start();
    let gateway = Gateway::start(&all_algorithms(&app));
    let key = Key::shared("ES256");
    let now = unix_now();
    for (name, value) in [
        ("exp", json!(now as f64 + 300.5)),
        ("nbf", json!(now + 10)),
        ("nbf", json!(0)),
        ("iat", json!(now + 10)),
        ("aud", json!([AUDIENCE])),
        ("aud", json!(["https://other.test", AUDIENCE])),
        ("sub", json!(12345)),
        ("sub", json!("usér")),
        ("jti", json!("*")),
        ("jti", json!("a:b%2f{}[]?")),
        ("roles", json!("admin")),
        ("roles", json!([])),
        ("unknown", json!({"a": [1, {"b": null}]})),
    ] {
        let token = Token::good().claim(name, value.clone()).sign(key);
        accepted(&gateway, &format!("{name} = {value}"), &token);
    }
    let expired_in_leeway = Token::good().claim("iat", now - 100).claim("exp", now - 15);
    accepted(&gateway, "exp within the leeway", &expired_in_leeway.sign(key));
    accepted(&gateway, "no jti", &Token::good().without("jti").sign(key));
}

/// The knobs of an issuer entry.
#[test]
fn issuer_settings() {
    let app = Upstream::start();
    let key = Key::shared("ES256");
    let with = |lines: &str| {
        let setup = Setup::bare().upstream("app", &app.url()).issuer("main", lines, &[key]);
        Gateway::start(&setup.route("api", "path = \"/api/*\""))
    };
    let now = unix_now();
    let lenient = with(
        "issuer = \"off\"\naudiences = \"off\"\nmax_lifetime = \"off\"\nrequired_claims = []\nleeway = \"0s\"",
    );
    let bare = Token::good().without("iss").without("aud").without("iat").without("sub");
    accepted(&lenient, "everything off", &bare.clone().claim("exp", 4_102_444_800i64).sign(key));
    app.forget();
    refused(&lenient, &app, "exp is always required", &bare.clone().without("exp").sign(key));
    refused(&lenient, &app, "no leeway", &bare.claim("exp", now - 2).sign(key));

    let strict = with(
        "max_age = \"1m\"\nmax_lifetime = \"20m\"\nrequired_claims = [\"sub\", \"jti\", \"tenant\"]",
    );
    let good = || Token::good().claim("tenant", "acme");
    accepted(&strict, "all there", &good().sign(key));
    app.forget();
    refused(&strict, &app, "R11 max_age", &good().claim("iat", now - 120).sign(key));
    refused(&strict, &app, "max_lifetime", &good().claim("exp", now + 1300).sign(key));
    refused(&strict, &app, "required claim", &Token::good().sign(key));
    refused(&strict, &app, "required jti", &good().without("jti").sign(key));
}
