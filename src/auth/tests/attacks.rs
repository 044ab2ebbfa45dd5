//! Attacks on form, header and signature; each row names where it comes from.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD};
use serde_json::json;

use super::*;

fn b64(text: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(text)
}

fn refused(token: &str) -> &'static str {
    verify(&issuers(), token).err().map_or("accepted", |error| error.reason())
}

#[test]
fn the_good_token_is_good() {
    let verified = verify(&issuers(), &good_token()).unwrap();
    assert_eq!((&*verified.entry, &*verified.issuer), ("main", ISSUER));
    assert_eq!((verified.kid.as_deref(), verified.subject.as_deref()), (Some("es"), Some("ada")));
    assert_eq!(verified.roles, words(&["user"]));
    assert_eq!(verified.scopes, words(&["read", "write"]));
    assert!(!format!("{verified:?}").contains("ada"), "no claim values in Debug (R53)");
}

#[test]
fn only_the_strict_compact_form_is_read() {
    let good = good_token();
    let (message, signature) = good.rsplit_once('.').unwrap();
    let (header, payload) = message.split_once('.').unwrap();
    // 64 signature octets leave two significant bits in the last character: flip an unused one.
    let last = signature.chars().last().unwrap();
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let place = alphabet.find(last).unwrap();
    let trailing = alphabet.chars().nth(place ^ 1).unwrap();
    let body = signature.strip_suffix(last).unwrap();
    let rows: Vec<(&str, String)> = vec![
        ("empty", String::new()),
        ("no dot", "abc".into()),
        ("one dot", format!("{header}.{payload}")),
        ("two dots only", "..".into()),
        ("five parts, JWE (R6)", format!("{header}.{payload}.a.b.{signature}")),
        ("four parts", format!("{good}.x")),
        ("empty header", format!(".{payload}.{signature}")),
        ("empty payload", format!("{header}..{signature}")),
        ("padding (RFC 7515 section 2)", format!("{good}=")),
        ("padding in the header", format!("{header}=.{payload}.{signature}")),
        ("newline after (R6)", format!("{good}\n")),
        ("space before", format!(" {good}")),
        ("newline inside", format!("{message}.{body}\n{last}")),
        ("non-zero trailing bits (RFC 4648 section 3.5)", format!("{message}.{body}{trailing}")),
        ("standard alphabet", format!("{message}.{}", STANDARD.encode([0xff; 64]))),
        ("padded signature", format!("{message}.{}", URL_SAFE.encode([1; 64]))),
        (
            "JSON serialisation (RFC 8725bis 3.14)",
            json!({"payload": payload, "signatures":
            [{"protected": header, "signature": signature}]})
            .to_string(),
        ),
        ("NUL after", format!("{good}\0")),
        ("not ASCII", format!("{good}é")),
        ("percent-encoded dot", format!("{header}%2E{payload}.{signature}")),
        ("huge token", format!("{}.{payload}.{signature}", "A".repeat(70_000))),
        ("huge header inside the limit", format!("{}.{payload}.{signature}", "A".repeat(60_000))),
        ("double quotes", format!("\"{good}\"")),
    ];
    for (what, token) in rows {
        assert_eq!(refused(&token), "malformed", "{what}");
    }
    assert_eq!(refused(&format!("{message}.")), "signature", "empty signature (CVE-2020-28042)");
}

#[test]
fn the_header_is_read_strictly() {
    let with = |name: &str, value: Value| {
        let mut header = good_header();
        header[name] = value;
        header
    };
    let rows: Vec<(&str, Value, &str)> = vec![
        ("crit (R8, RFC 7515 4.1.11)", with("crit", json!(["exp"])), "unsupported_header"),
        ("crit empty", with("crit", json!([])), "unsupported_header"),
        ("crit null", with("crit", Value::Null), "unsupported_header"),
        ("b64 false (RFC 7797 6)", with("b64", json!(false)), "unsupported_header"),
        ("b64 true", with("b64", json!(true)), "unsupported_header"),
        ("zip", with("zip", json!("DEF")), "unsupported_header"),
        ("enc", with("enc", json!("A128GCM")), "unsupported_header"),
        ("kid a number", with("kid", json!(1)), "malformed"),
        ("kid null", with("kid", Value::Null), "malformed"),
        ("kid an array", with("kid", json!(["es"])), "malformed"),
        ("kid over 256 bytes", with("kid", json!("x".repeat(257))), "malformed"),
        ("typ of a logout token (invariant 2)", with("typ", json!("logout+jwt")), "token_type"),
        ("typ dpop+jwt (R13)", with("typ", json!("dpop+jwt")), "token_type"),
        ("typ secevent+jwt", with("typ", json!("secevent+jwt")), "token_type"),
        ("typ empty", with("typ", json!("")), "token_type"),
        ("typ a number", with("typ", json!(1)), "malformed"),
        ("typ null", with("typ", Value::Null), "malformed"),
        ("alg a number (R2)", with("alg", json!(256)), "malformed"),
        ("alg null (R2)", with("alg", Value::Null), "malformed"),
        ("alg an array", with("alg", json!(["ES256"])), "malformed"),
        ("alg missing (R2)", json!({"typ": "JWT", "kid": "es"}), "malformed"),
        ("alg lower case (R1)", with("alg", json!("es256")), "algorithm"),
        ("alg with a space", with("alg", json!("ES256 ")), "algorithm"),
        ("alg unknown", with("alg", json!("ES512")), "algorithm"),
        ("alg not listed", with("alg", json!("PS256")), "algorithm"),
        ("alg of another key", with("alg", json!("RS256")), "algorithm"),
    ];
    for (what, header, reason) in rows {
        assert_eq!(refused(&token(&header, &good_claims())), reason, "{what}");
    }
    let raw: &[(&str, &[u8])] = &[
        ("alg twice (R7)", br#"{"alg":"none","alg":"ES256","kid":"es"}"#),
        ("kid twice", br#"{"alg":"ES256","kid":"rs","kid":"es"}"#),
        ("kid twice, one escaped", br#"{"alg":"ES256","kid":"es","\u006bid":"rs"}"#),
        ("trailing data", br#"{"alg":"ES256","kid":"es"} x"#),
        ("an array", br#"["ES256"]"#),
        ("not UTF-8", b"{\"alg\":\"ES256\",\"kid\":\"es\",\"x\":\"\xff\"}"),
        ("UTF-16", b"{\0\"\0a\0l\0g\0"),
    ];
    for (what, header) in raw {
        let token = EC.sign_parts(header, good_claims().to_string().as_bytes()).unwrap();
        assert_eq!(refused(&token), "malformed", "{what}");
    }
    let deep = format!("{{\"alg\":\"ES256\",\"x\":{}{}}}", "[".repeat(5000), "]".repeat(5000));
    let token_ = EC.sign_parts(deep.as_bytes(), good_claims().to_string().as_bytes()).unwrap();
    assert_eq!(refused(&token_), "malformed", "deep JSON (R7)");
    for typ in ["JWT", "jwt", "at+jwt", "AT+JWT", "application/at+jwt"] {
        assert_eq!(refused(&token(&with("typ", json!(typ)), &good_claims())), "accepted", "{typ}");
    }
}

/// R2, CVE-2015-9235: no spelling of none, with or without a signature.
#[test]
fn none_is_no_algorithm() {
    let payload = b64(good_claims().to_string());
    for alg in ["none", "None", "NONE", "nOnE", "none ", "", "null", "HS0"] {
        for kid in [Some("es"), None] {
            let header = b64(json!({"alg": alg, "kid": kid.unwrap_or("es")}).to_string());
            for signature in ["", "AA", &b64([0; 64])] {
                let token = format!("{header}.{payload}.{signature}");
                assert_eq!(refused(&token), "algorithm", "{alg:?} {signature:?}");
            }
        }
    }
}

/// R3, CVE-2015-9235: the public key, in every form in which it is public, as HMAC secret.
#[test]
fn a_public_key_is_never_a_secret() {
    let spki = {
        let pem = super::super::keys::tests::spki_pem(&RSA);
        [
            pem.clone().into_bytes(),
            pem.trim().as_bytes().to_vec(),
            pem::parse(&pem).unwrap().into_contents(),
        ]
    };
    for secret in spki {
        for kid in [Some("rs"), None] {
            let encoding = jsonwebtoken::EncodingKey::from_secret(&secret);
            let mut header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::HS256);
            header.kid = kid.map(str::to_owned);
            let forged = jsonwebtoken::encode(&header, &good_claims(), &encoding).unwrap();
            assert_eq!(refused(&forged), "algorithm");
        }
    }
}

/// R4, CVE-2018-0114: keys and addresses in the header are not looked at, and kid is only compared.
#[test]
fn keys_in_the_header_are_ignored() {
    let own = key(Algorithm::ES256);
    let jwk = json!({"kty": "EC", "crv": "P-256", "kid": "es", "x": "a", "y": "b"});
    for extra in ["jwk", "jku", "x5u", "x5c", "x5t", "x5t#S256"] {
        let mut header = good_header();
        header[extra] = if extra == "jwk" { jwk.clone() } else { json!("http://127.0.0.1:1/k") };
        let text = header.to_string();
        let forged = own.sign_parts(text.as_bytes(), good_claims().to_string().as_bytes()).unwrap();
        assert_eq!(refused(&forged), "signature", "{extra}");
        assert_eq!(refused(&token(&header, &good_claims())), "accepted", "{extra} is ignored");
    }
    let rows =
        ["../../dev/null", "/dev/null", "' OR 1=1 --", "es\0", "ES", "es ", "", "*", "${es}"];
    for kid in rows {
        let header = json!({"alg": "ES256", "kid": kid});
        assert_eq!(refused(&token(&header, &good_claims())), "unknown_key", "{kid:?}");
    }
}

/// R9.
#[test]
fn only_a_real_signature_of_the_right_shape_verifies() {
    let good = good_token();
    let (message, signature) = good.rsplit_once('.').unwrap();
    let octets = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let order = [
        0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc,
        0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
    ];
    let with_s = |s: &[u8]| [&octets[..32], s].concat();
    let swapped = [&octets[32..], &octets[..32]].concat();
    let rows: Vec<(&str, Vec<u8>)> = vec![
        ("psychic, r = s = 0 (CVE-2022-21449)", vec![0; 64]),
        ("r = 0", [&[0; 32], &octets[32..]].concat()),
        ("s = 0", with_s(&[0; 32])),
        ("s = n", with_s(&order)),
        ("r = n, s = n", [order, order].concat()),
        ("r and s swapped", swapped),
        ("DER instead of raw (RFC 7518 3.4)", der_signature(message)),
        ("63 octets", octets[..63].to_vec()),
        ("65 octets", [&octets[..], &[0]].concat()),
        ("leading zero", [&[0], &octets[..]].concat()),
        ("none", Vec::new()),
        ("one bit flipped", octets.iter().enumerate().map(|(i, b)| b ^ u8::from(i == 9)).collect()),
    ];
    for (what, octets) in rows {
        assert_eq!(refused(&format!("{message}.{}", b64(octets))), "signature", "{what}");
    }
    let header = json!({"alg": "RS256", "kid": "rs"}).to_string();
    let good = RSA.sign_parts(header.as_bytes(), good_claims().to_string().as_bytes()).unwrap();
    assert_eq!(refused(&good), "accepted");
    let (message, signature) = good.rsplit_once('.').unwrap();
    let octets = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let rows: Vec<(&str, Vec<u8>)> = vec![
        ("short", octets[..255].to_vec()),
        ("long", [&octets[..], &[0]].concat()),
        ("leading zero", [&[0], &octets[..]].concat()),
        ("zero", vec![0; 256]),
        ("one", [vec![0; 255], vec![1]].concat()),
        ("none", Vec::new()),
    ];
    for (what, octets) in rows {
        assert_eq!(refused(&format!("{message}.{}", b64(octets))), "signature", "RSA {what}");
    }
}

/// A genuine signature of a genuine key in the form that JOSE does not use. Its key is another, so
/// the entry here trusts that one.
fn der_signature(message: &str) -> Vec<u8> {
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
    let signature = pair.sign(&SystemRandom::new(), message.as_bytes()).unwrap().as_ref().to_vec();
    let pkcs8 = pair.to_pkcs8v1().unwrap();
    let text = pem::encode(&pem::Pem::new("PRIVATE KEY", pkcs8.as_ref()));
    let key = SigningKey::from_pem(Algorithm::ES256, text.as_bytes()).unwrap();
    let trusted = issuers_with(|s| s.keys = vec![key.verification_key(Some("es")).unwrap()]);
    let token = format!("{message}.{}", b64(&signature));
    assert_eq!(verify(&trusted, &token).err(), Some(VerifyError::Signature));
    let header = good_header().to_string();
    let raw = key.sign_parts(header.as_bytes(), good_claims().to_string().as_bytes()).unwrap();
    assert!(verify(&trusted, &raw).is_ok(), "the same key in the right form");
    signature
}

/// R1: what one key signed is not accepted under another's name, nor moved to other claims.
#[test]
fn signatures_do_not_move() {
    let good = good_token();
    let (message, signature) = good.rsplit_once('.').unwrap();
    let (header, _) = message.split_once('.').unwrap();
    let admin = b64(claims_with(json!({"roles": ["admin"]})).to_string());
    assert_eq!(refused(&format!("{header}.{admin}.{signature}")), "signature");
    let text = good_header().to_string();
    let by_other = key(Algorithm::ES256)
        .sign_parts(text.as_bytes(), good_claims().to_string().as_bytes())
        .unwrap();
    assert_eq!(refused(&by_other), "signature");
}

/// What counts towards `[auth_failures]`, and what does not.
#[test]
fn failures_are_counted_as_the_contract_says() {
    for error in [
        VerifyError::Malformed,
        VerifyError::UnknownKey,
        VerifyError::UnknownIssuer,
        VerifyError::Algorithm,
        VerifyError::Signature,
        VerifyError::UnsupportedHeader,
    ] {
        assert!(error.counts_as_failure(), "{error}");
    }
    for error in [VerifyError::Expired, VerifyError::Audience, VerifyError::NotYetValid] {
        assert!(!error.counts_as_failure(), "{error}");
    }
}
