//! Hostile tokens: form, header, key and signature (R1 to R9, R13). Every one of them is 401 and
//! the upstream sees nothing; what they claim is `claims`' subject.

use serde_json::{Value, json};

use crate::harness::gateway::Gateway;
use crate::harness::keys::{ALGORITHMS, Key, base64url};
use crate::harness::setup::Setup;
use crate::harness::tokens::Token;
use crate::harness::upstream::Upstream;

/// A gateway that trusts the shared key of every algorithm: two entries, since HMAC and public-key
/// algorithms never share one (R3).
pub fn all_algorithms(app: &Upstream) -> Setup {
    let (hmac, public): (Vec<_>, Vec<_>) = ALGORITHMS
        .iter()
        .map(|name| Key::shared(name))
        .partition(|k| k.algorithm.starts_with("HS"));
    Setup::bare()
        .upstream("app", &app.url())
        .issuer("public", "", &public)
        .issuer("hmac", "", &hmac)
        .route("api", "path = \"/api/*\"")
}

pub fn refused(gateway: &Gateway, app: &Upstream, source: &str, token: &str) {
    let answer = gateway.get("/api/x").bearer(token).send();
    assert_eq!(answer.status, 401, "{source}: {}", answer.text());
    let challenge = answer.refused(401).header("www-authenticate").unwrap_or_default().to_owned();
    assert!(challenge.starts_with("Bearer"), "{source}: {challenge}");
    assert!(challenge.contains("error=\"invalid_token\""), "{source}: {challenge}");
    app.saw_nothing(source);
}

pub fn accepted(gateway: &Gateway, source: &str, token: &str) {
    let answer = gateway.get("/api/x").bearer(token).send();
    assert_eq!(answer.status, 200, "{source}: {}", answer.text());
}

#[test]
fn every_algorithm_is_accepted_with_its_own_key() {
    let app = Upstream::start();
    let gateway = Gateway::start(&all_algorithms(&app));
    for name in ALGORITHMS {
        accepted(&gateway, name, &Token::good().sign(Key::shared(name)));
        app.forget();
        let forged = Token::good().sign(&Key::generate(name, &Key::shared(name).kid));
        refused(&gateway, &app, &format!("{name} with another key"), &forged);
    }
}

/// One flipped bit anywhere in the token (RFC 7515 §5.2).
#[test]
fn one_flipped_bit_is_noticed() {
    let app = Upstream::start();
    let gateway = Gateway::start(&all_algorithms(&app));
    for name in ALGORITHMS {
        let token = Token::good().sign(Key::shared(name));
        let ends: Vec<_> = token.match_indices('.').map(|(at, _)| at).collect();
        for at in [1, ends[0] - 3, ends[0] + 2, ends[1] - 3, ends[1] + 1, token.len() - 3] {
            let mut bytes = token.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            let text = String::from_utf8(bytes).unwrap();
            refused(&gateway, &app, &format!("{name} changed at {at}"), &text);
        }
    }
}

/// R1, R2, R3: the algorithm comes from the key.
#[test]
fn algorithm_confusion() {
    let app = Upstream::start();
    let gateway = Gateway::start(&all_algorithms(&app));
    let rsa = Key::shared("RS256");
    for alg in ["none", "None", "NONE", "nOnE", "none ", "", "rs256", "RS256 ", "RS999", "HS256"] {
        let token = Token::good().header("alg", alg);
        refused(&gateway, &app, &format!("CVE-2015-9235 alg {alg:?}"), &token.sign(rsa));
        let unsigned = token.with_signature(rsa, b"");
        refused(&gateway, &app, &format!("CVE-2015-9235 alg {alg:?} unsigned"), &unsigned);
    }
    for alg in [json!(null), json!(["RS256"]), json!({"alg": "RS256"}), json!(256), json!(true)] {
        let token = Token::good().header("alg", alg.clone()).sign(rsa);
        refused(&gateway, &app, &format!("R2 alg {alg}"), &token);
    }
    refused(&gateway, &app, "R2 alg absent", &Token::good().header("alg", "(absent)").sign(rsa));
    // The public key as HMAC secret, in the shapes that libraries have read it in.
    for secret in [rsa.public_pem(), rsa.public_pem().trim().to_owned(), rsa.jwk().to_string()] {
        let forger = Key::secret("HS256", &rsa.kid, secret.as_bytes());
        refused(&gateway, &app, "CVE-2016-10555 HS with public key", &Token::good().sign(&forger));
    }
    let forger = Key::secret("HS256", &rsa.kid, &rsa.public_der());
    refused(&gateway, &app, "CVE-2016-10555 HS with DER", &Token::good().sign(&forger));
    // Another algorithm of the same family and key.
    for alg in ["RS384", "RS512", "PS256"] {
        let token = Token::good().header("alg", alg);
        let input = token.signing_input(rsa);
        let signed = token.with_signature(rsa, &rsa.sign_as(alg, input.as_bytes()));
        refused(&gateway, &app, &format!("R1 {alg} by the RS256 key"), &signed);
    }
}

/// R4: keys come from the configuration, kid is a name and nothing else.
#[test]
fn keys_from_the_token_are_ignored() {
    let app = Upstream::start();
    let lure = Upstream::start();
    let gateway = Gateway::start(&all_algorithms(&app));
    let own = Key::generate("ES256", "mine");
    let url = format!("{}/jwks.json", lure.url());
    let embedded: [(&str, Value); 4] = [
        ("jwk", own.jwk()),
        ("jku", json!(url)),
        ("x5u", json!(url)),
        ("x5c", json!([base64url(own.public_der())])),
    ];
    for (name, value) in embedded {
        for kid in ["mine", "shared-ES256", "(absent)"] {
            let token = Token::good().header(name, value.clone()).header("kid", kid).sign(&own);
            refused(&gateway, &app, &format!("CVE-2018-0114 {name}, kid {kid}"), &token);
        }
    }
    for kid in [
        "../../../../dev/null",
        "/dev/null",
        "' OR 1=1 --",
        "shared-ES256\u{0}",
        "SHARED-ES256",
        "shared-ES256 ",
        "",
        "*",
        "postern.toml",
        "http://127.0.0.1/",
        "a\r\nb",
    ] {
        let token = Token::good().header("kid", kid).sign(Key::shared("ES256"));
        refused(&gateway, &app, &format!("R4 kid {kid:?}"), &token);
        let empty = Key::secret("HS256", kid, b"");
        refused(
            &gateway,
            &app,
            &format!("R4 empty secret, kid {kid:?}"),
            &Token::good().sign(&empty),
        );
    }
    for kid in [json!(1), json!(["shared-ES256"]), json!(null), json!({}), json!("k".repeat(5000))]
    {
        let token = Token::good().header("kid", kid.clone()).sign(Key::shared("ES256"));
        refused(&gateway, &app, &format!("R4 kid {:.20}", kid.to_string()), &token);
    }
    lure.saw_nothing("no outbound fetch");
}

/// R5 and "present: exact match only; absent: at most 4 keys; a key without kid serves kid-less
/// tokens only".
#[test]
fn rotation_and_tokens_without_kid() {
    let app = Upstream::start();
    let (old, new) = (Key::generate("ES256", "old"), Key::generate("ES256", "new"));
    let unnamed = Key::generate("ES256", "");
    let setup = Setup::bare()
        .upstream("app", &app.url())
        .issuer("main", "", &[&old, &new, &unnamed])
        .route("api", "path = \"/api/*\"");
    let gateway = Gateway::start(&setup);
    for key in [&old, &new] {
        accepted(&gateway, &key.kid, &Token::good().sign(key));
        let anonymous = Token::good().header("kid", "(absent)").sign(key);
        accepted(&gateway, "without kid", &anonymous);
    }
    accepted(&gateway, "unnamed", &Token::good().header("kid", "(absent)").sign(&unnamed));
    app.forget();
    refused(&gateway, &app, "kid swapped", &Token::good().header("kid", "old").sign(&new));
    refused(&gateway, &app, "R5 kid of nobody", &Token::good().header("kid", "x").sign(&unnamed));
}

/// R6: strict compact form.
#[test]
fn forms_that_are_not_a_compact_jws() {
    let app = Upstream::start();
    let gateway = Gateway::start(&all_algorithms(&app));
    let token = Token::good().sign(Key::shared("RS256"));
    let parts: Vec<&str> = token.split('.').collect();
    let (head, payload, signature) = (parts[0], parts[1], parts[2]);
    // 256 bytes leave two unused bits in the last character.
    let last = signature.chars().last().unwrap();
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let next = alphabet.chars().nth(alphabet.find(last).unwrap() + 1).unwrap();
    let trailing = format!("{}{next}", &signature[..signature.len() - 1]);
    for (source, text) in [
        ("two parts", format!("{head}.{payload}")),
        ("one part", head.to_owned()),
        ("four parts", format!("{token}.x")),
        ("five parts (JWE)", format!("{head}.{head}.{payload}.{payload}.{signature}")),
        ("empty signature", format!("{head}.{payload}.")),
        ("empty payload", format!("{head}..{signature}")),
        ("empty header", format!(".{payload}.{signature}")),
        ("dots", "..".to_owned()),
        ("dot at end", format!("{token}.")),
        ("dot at start", format!(".{token}")),
        ("padding", format!("{token}==")),
        ("padding in header", format!("{head}=.{payload}.{signature}")),
        ("standard alphabet", format!("{head}.{payload}.{}", signature.replace(['-', '_'], "+"))),
        ("RFC 4648 §3.5 trailing bits", format!("{head}.{payload}.{trailing}")),
        ("comma", format!("{token},")),
        ("percent-encoded dot", token.replace('.', "%2E")),
        ("quoted", format!("\"{token}\"")),
        ("JSON serialization", json!({"payload": payload, "signatures": []}).to_string()),
    ] {
        let answer = gateway.get("/api/x").bearer(&text).send();
        assert!([400, 401].contains(&answer.status), "R6 {source}: {}", answer.status);
        app.saw_nothing(source);
    }
}

/// R7, R8, R13: strict headers.
#[test]
fn hostile_headers() {
    let app = Upstream::start();
    let gateway = Gateway::start(&all_algorithms(&app));
    let key = Key::shared("ES256");
    let kid = &key.kid;
    for (source, raw) in [
        ("R7 duplicate alg", format!(r#"{{"alg":"none","alg":"ES256","kid":"{kid}"}}"#)),
        ("R7 duplicate kid", format!(r#"{{"alg":"ES256","kid":"x","kid":"{kid}"}}"#)),
        (
            "R7 duplicate alg by escape",
            format!(r#"{{"alg":"none","\u0061lg":"ES256","kid":"{kid}"}}"#),
        ),
        ("R7 trailing data", format!(r#"{{"alg":"ES256","kid":"{kid}"}} x"#)),
        ("R7 two objects", format!(r#"{{"alg":"ES256","kid":"{kid}"}}{{}}"#)),
        ("R7 array", format!(r#"[{{"alg":"ES256","kid":"{kid}"}}]"#)),
        ("R7 string", "\"ES256\"".to_owned()),
        ("R7 null", "null".to_owned()),
        ("R7 empty", String::new()),
        ("R7 byte order mark", format!("\u{feff}{{\"alg\":\"ES256\",\"kid\":\"{kid}\"}}")),
        ("R7 comment", format!(r#"{{"alg":"ES256",/* */"kid":"{kid}"}}"#)),
        ("R7 single quotes", format!("{{'alg':'ES256','kid':'{kid}'}}")),
        ("R7 depth", format!(r#"{{"alg":"ES256","kid":"{kid}","x":{}}}"#, "[".repeat(3000))),
        (
            "R7 deep and closed",
            format!(
                r#"{{"alg":"ES256","kid":"{kid}","x":{}{}}}"#,
                "[".repeat(500),
                "]".repeat(500)
            ),
        ),
    ] {
        refused(&gateway, &app, source, &Token::good().raw_header(raw).sign(key));
    }
    let latin =
        [b"{\"alg\":\"ES256\",\"kid\":\"".as_slice(), kid.as_bytes(), b"\",\"x\":\"\xe9\"}"];
    refused(&gateway, &app, "R7 not UTF-8", &Token::good().raw_header(latin.concat()).sign(key));
    for (source, name, value) in [
        ("RFC 7515 §4.1.11", "crit", json!(["exp"])),
        ("RFC 7515 §4.1.11", "crit", json!([])),
        ("RFC 7515 §4.1.11", "crit", json!(null)),
        ("RFC 7515 §4.1.11", "crit", json!(["b64"])),
        ("RFC 7797 §6", "b64", json!(false)),
        ("invariant 2", "b64", json!(true)),
        ("invariant 2", "zip", json!("DEF")),
        ("invariant 2", "enc", json!("A256GCM")),
        ("RFC 9068 §4 typ", "typ", json!("dpop+jwt")),
        ("RFC 9068 §4 typ", "typ", json!("logout+jwt")),
        ("RFC 9068 §4 typ", "typ", json!("id_token")),
        ("RFC 9068 §4 typ", "typ", json!("")),
        ("RFC 9068 §4 typ", "typ", json!(["JWT"])),
        ("RFC 9068 §4 typ", "typ", json!(1)),
    ] {
        let token = Token::good().header(name, value.clone()).sign(key);
        refused(&gateway, &app, &format!("{source} {name}: {value}"), &token);
    }
    for typ in ["JWT", "jwt", "at+jwt", "AT+JWT", "application/at+jwt", "(absent)"] {
        accepted(&gateway, typ, &Token::good().header("typ", typ).sign(key));
    }
}

/// R9: signatures that are none.
#[test]
fn hostile_signatures() {
    let app = Upstream::start();
    let gateway = Gateway::start(&all_algorithms(&app));
    for (name, size) in [("ES256", 64), ("ES384", 96)] {
        let key = Key::shared(name);
        let token = Token::good();
        refused(
            &gateway,
            &app,
            "CVE-2022-21449 r = s = 0",
            &token.with_signature(key, &vec![0; size]),
        );
        refused(&gateway, &app, "r = s = ff", &token.with_signature(key, &vec![0xff; size]));
        let good = key.sign(token.signing_input(key).as_bytes());
        for (what, bytes) in [
            ("shorter", good[..size - 1].to_vec()),
            ("longer", [good.as_slice(), &[0]].concat()),
            ("leading zero", [&[0], good.as_slice()].concat()),
            ("r = 0", [&vec![0; size / 2], &good[size / 2..]].concat()),
            ("s = 0", [&good[..size / 2], &vec![0; size / 2]].concat()),
            ("DER", der(&good)),
        ] {
            refused(
                &gateway,
                &app,
                &format!("R9 {name} {what}"),
                &token.with_signature(key, &bytes),
            );
        }
    }
    for name in ["RS256", "PS256"] {
        let key = Key::shared(name);
        let token = Token::good();
        let good = key.sign(token.signing_input(key).as_bytes());
        let leading_zero = [&[0], good.as_slice()].concat();
        for bytes in [&good[..255], &good[1..], &leading_zero, &[0; 256], &[1; 256], &[0xff; 256]] {
            refused(&gateway, &app, &format!("R9 {name}"), &token.with_signature(key, bytes));
        }
    }
    let key = Key::shared("EdDSA");
    for bytes in [vec![0; 64], vec![0; 63], vec![0xff; 64], Vec::new()] {
        refused(&gateway, &app, "R9 EdDSA", &Token::good().with_signature(key, &bytes));
    }
}

/// An ECDSA signature as ASN.1 (what a JWS must not carry, RFC 7518 §3.4).
fn der(raw: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    for half in raw.chunks(raw.len() / 2) {
        let positive = if half[0] > 0x7f { [&[0], half].concat() } else { half.to_vec() };
        body.extend([2, u8::try_from(positive.len()).unwrap()]);
        body.extend(positive);
    }
    [&[0x30, u8::try_from(body.len()).unwrap()], body.as_slice()].concat()
}
