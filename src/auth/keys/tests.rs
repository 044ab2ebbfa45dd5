//! Keys that are refused, and why (R3, R5, R16).

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P521_SHA512_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RsaKeyPair,
};
use serde_json::{Value, json};

use super::*;
use crate::auth::tests::{EC, HMAC, RSA, key};

fn private_pem(tag: &str, der: &[u8]) -> String {
    ::pem::encode(&::pem::Pem::new(tag, der))
}

/// The public half as `PUBLIC KEY` PEM.
pub(in crate::auth) fn spki_pem(key: &SigningKey) -> String {
    let verification = key.verification_key(None).unwrap();
    let der = verification.decoding.try_get_as_bytes().unwrap();
    let der = match key.algorithm() {
        Algorithm::RS256 => {
            aws_lc_rs::rsa::PublicKey::from_der(der).unwrap().as_der().unwrap().as_ref().to_vec()
        }
        _ => der.to_vec(),
    };
    ::pem::encode(&::pem::Pem::new("PUBLIC KEY", der))
}

/// The public half as a JWK.
fn jwk(key: &SigningKey) -> Value {
    let decoding = key.verification_key(None).unwrap().decoding;
    match key.algorithm() {
        Algorithm::RS256 => {
            let jwk = jsonwebtoken::jwk::Jwk::from_decoding_key(&decoding, None).unwrap();
            serde_json::to_value(jwk).unwrap()
        }
        _ => {
            // The end of the SPKI is the uncompressed point.
            let der = decoding.try_get_as_bytes().unwrap();
            let point = &der[der.len() - 64..];
            let b64 = |octets| {
                use base64::Engine as _;
                base64::engine::general_purpose::URL_SAFE_NO_PAD.encode::<&[u8]>(octets)
            };
            json!({"kty": "EC", "crv": "P-256", "x": b64(&point[..32]), "y": b64(&point[32..])})
        }
    }
}

fn with(mut jwk: Value, changes: Value) -> Value {
    for (name, value) in changes.as_object().unwrap() {
        jwk[name] = value.clone();
    }
    jwk
}

fn one(jwk: &Value, algorithms: &[Algorithm], allow_oct: bool) -> Result<Algorithm, KeyError> {
    let text = json!({"keys": [jwk]}).to_string();
    let mut set = from_jwks(text.as_bytes(), algorithms, allow_oct).unwrap();
    match (set.keys.pop(), set.skipped.pop()) {
        (Some(key), None) => Ok(key.algorithm()),
        (None, Some(skipped)) => Err(skipped.reason),
        other => unreachable!("one key in, {other:?} out"),
    }
}

#[test]
fn secrets_have_the_size_of_their_hash() {
    for (algorithm, min) in [(Algorithm::HS256, 32), (Algorithm::HS384, 48), (Algorithm::HS512, 64)]
    {
        assert!(from_secret(None, algorithm, &vec![1; min]).is_ok());
        let error = from_secret(None, algorithm, &vec![1; min - 1]).unwrap_err();
        assert_eq!(error, KeyError::SecretTooShort { bytes: min - 1, min, algorithm });
        let error = from_secret(None, algorithm, b"").unwrap_err();
        assert_eq!(error, KeyError::SecretTooShort { bytes: 0, min, algorithm });
    }
    let error = from_secret(None, Algorithm::RS256, &[1; 64]).unwrap_err();
    assert!(matches!(error, KeyError::KeyType { .. }));
}

/// R3, CVE-2015-9235; also with white space before.
#[test]
fn pem_text_is_no_secret() {
    for text in [spki_pem(&RSA), format!("\n  {}", spki_pem(&EC))] {
        let error = from_secret(None, Algorithm::HS256, text.as_bytes()).unwrap_err();
        assert_eq!(error, KeyError::PemAsSecret);
    }
}

#[test]
fn secret_files_are_decoded_by_prefix() {
    let rows: &[(&[u8], &[u8])] = &[
        (b"plain\n", b"plain"),
        (b"plain\r\n", b"plain"),
        (b"two\n\n", b"two\n"),
        (b"\r", b"\r"),
        (b" spaced ", b" spaced "),
        (b"base64:AP8=\n", b"\0\xff"),
        (b"hex:00fF", b"\0\xff"),
        (b"", b""),
    ];
    for (content, secret) in rows {
        assert_eq!(secret_bytes(content).unwrap().expose(), secret, "{content:?}");
    }
    for content in [&b"base64:AP8"[..], b"base64:*", b"hex:0", b"hex:0g", b"hex:00 "] {
        assert!(matches!(secret_bytes(content), Err(KeyError::Encoding(..))), "{content:?}");
    }
}

#[test]
fn public_keys_come_in_pem_of_three_kinds() {
    let rsa = spki_pem(&RSA);
    let spki = from_public_key(Some("k"), Algorithm::RS256, rsa.as_bytes()).unwrap();
    let pkcs1 = {
        let der = ::pem::parse(&rsa).unwrap();
        let key = aws_lc_rs::rsa::PublicKey::from_der(der.contents()).unwrap();
        private_pem("RSA PUBLIC KEY", key.as_ref())
    };
    let pkcs1 = from_pem(Some("k"), Algorithm::RS256, pkcs1.as_bytes()).unwrap();
    assert_eq!(spki.fingerprint(), pkcs1.fingerprint());
    let as_jwk = jwk(&RSA).to_string();
    let as_jwk = from_public_key(Some("k"), Algorithm::RS256, as_jwk.as_bytes()).unwrap();
    assert_eq!(spki.fingerprint(), as_jwk.fingerprint());
    let pss = from_pem(Some("k"), Algorithm::PS256, rsa.as_bytes()).unwrap();
    assert_ne!(spki.fingerprint(), pss.fingerprint(), "one key, one algorithm");
    let ec = from_pem(None, Algorithm::ES256, spki_pem(&EC).as_bytes()).unwrap();
    let as_jwk = from_jwk(None, Algorithm::ES256, jwk(&EC).to_string().as_bytes()).unwrap();
    assert_eq!(ec.fingerprint(), as_jwk.fingerprint());
}

#[test]
fn a_certificate_stands_for_its_key() {
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let params = rcgen::CertificateParams::new(vec!["id.example".to_owned()]).unwrap();
    let certificate = params.self_signed(&pair).unwrap().pem();
    let from_certificate = from_pem(None, Algorithm::ES256, certificate.as_bytes()).unwrap();
    let signing = SigningKey::from_pem(Algorithm::ES256, pair.serialize_pem().as_bytes()).unwrap();
    let own = signing.verification_key(None).unwrap();
    assert_eq!(from_certificate.fingerprint(), own.fingerprint());
    let twice = format!("{certificate}{certificate}");
    assert_eq!(from_pem(None, Algorithm::ES256, twice.as_bytes()).unwrap_err(), KeyError::Many(2));
    let wrong = from_pem(None, Algorithm::RS256, certificate.as_bytes()).unwrap_err();
    assert!(wrong.to_string().contains("P-256"), "says what it is: {wrong}");
    let junk = private_pem("CERTIFICATE", b"junk");
    assert_eq!(
        from_pem(None, Algorithm::ES256, junk.as_bytes()).unwrap_err(),
        KeyError::Certificate
    );
}

#[test]
fn a_key_fits_its_algorithm_or_is_refused() {
    let p521 = EcdsaKeyPair::generate(&ECDSA_P521_SHA512_FIXED_SIGNING).unwrap();
    let p521 = private_pem("PUBLIC KEY", p521.public_key().as_der().unwrap().as_ref());
    let p384 = spki_pem(&key(Algorithm::ES384));
    let ed = spki_pem(&key(Algorithm::EdDSA));
    let (rsa, p256) = (spki_pem(&RSA), spki_pem(&EC));
    let rows: &[(&str, &str, Algorithm)] = &[
        ("RSA", &rsa, Algorithm::ES256),
        ("RSA", &rsa, Algorithm::EdDSA),
        ("RSA", &rsa, Algorithm::HS256),
        ("P-256", &p256, Algorithm::ES384),
        ("P-256", &p256, Algorithm::RS256),
        ("P-384", &p384, Algorithm::ES256),
        ("P-521", &p521, Algorithm::ES256),
        ("P-521", &p521, Algorithm::ES384),
        ("Ed25519", &ed, Algorithm::ES256),
    ];
    for (kind, text, algorithm) in rows {
        match from_pem(None, *algorithm, text.as_bytes()) {
            Err(KeyError::KeyType { kind: found, .. }) => assert_eq!(found, *kind),
            other => unreachable!("{kind} for {algorithm}: {other:?}"),
        }
    }
    assert!(from_pem(None, Algorithm::ES384, p384.as_bytes()).is_ok());
    assert!(from_pem(None, Algorithm::EdDSA, ed.as_bytes()).is_ok());
    let rows: &[(&str, KeyError)] = &[
        ("", KeyError::NotAKey),
        ("hello", KeyError::NotAKey),
        ("-----BEGIN PUBLIC KEY-----", KeyError::NotAKey),
        (&private_pem("PUBLIC KEY", b"junk"), KeyError::NotAKey),
        (&private_pem("PRIVATE KEY", b"junk"), KeyError::Private),
        (&private_pem("EC PRIVATE KEY", b"junk"), KeyError::Private),
        (&private_pem("X509 CRL", b"junk"), KeyError::Tag("X509 CRL".into())),
    ];
    for (text, error) in rows {
        assert_eq!(
            from_pem(None, Algorithm::ES256, text.as_bytes()).unwrap_err(),
            *error,
            "{text}"
        );
    }
}

/// R16; the small key is a product of random odd octets: only its size is looked at.
#[test]
fn weak_rsa_keys_are_refused() {
    use base64::Engine as _;
    let b64 = |octets: &[u8]| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(octets);
    let weak = |n: &[u8], e: &[u8]| {
        let jwk = json!({"kty": "RSA", "n": b64(n), "e": b64(e)}).to_string();
        from_jwk(None, Algorithm::RS256, jwk.as_bytes()).map(|_| ())
    };
    let good = ::pem::parse(spki_pem(&RSA)).unwrap();
    let good = aws_lc_rs::rsa::PublicKey::from_der(good.contents()).unwrap();
    let good = aws_lc_rs::signature::RsaPublicKeyComponents::<Vec<u8>>::from(&good);
    let padded = [&[0, 0][..], &good.n].concat();
    assert_eq!(weak(&good.n, &good.e), Ok(()));
    assert_eq!(weak(&padded, &good.e), Ok(()), "leading zeros change nothing");
    let bits = |bits| Err(KeyError::WeakRsa { bits });
    assert_eq!(weak(&[0xff; 128], &[1, 0, 1]), bits(1024));
    assert_eq!(weak(&[&[0x7f][..], &[0xff; 255]].concat(), &[1, 0, 1]), bits(2047));
    assert_eq!(weak(&[0xff; 1025], &[1, 0, 1]), bits(8200));
    assert_eq!(weak(&good.n, &[1]), bits(2048), "e = 1 signs with anything");
    assert_eq!(weak(&good.n, &[2]), bits(2048));
    assert_eq!(weak(&good.n, &[0]), bits(2048));
    assert_eq!(weak(&[], &[1, 0, 1]), bits(0));
}

/// The library says only that it does not take a small one. The numbers behind the modulus are not
/// looked at.
#[test]
fn a_private_rsa_key_of_another_size_is_called_so() {
    fn member(tag: u8, content: &[u8]) -> Vec<u8> {
        let [high, low] = u16::try_from(content.len()).unwrap().to_be_bytes();
        let length = match (high, low) {
            (0, 0..=0x7f) => vec![low],
            (0, _) => vec![0x81, low],
            _ => vec![0x82, high, low],
        };
        [&[tag], &length[..], content].concat()
    }
    let modulus = |bytes: usize| member(2, &[&[0][..], &vec![0xff; bytes]].concat());
    let pkcs1 =
        |bytes| member(0x30, &[member(2, &[0]), modulus(bytes), member(2, &[1, 0, 1])].concat());
    let pkcs8 = |bytes| {
        let rsa_encryption = [0x30, 13, 6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1, 5, 0];
        let parts = [&[2, 1, 0][..], &rsa_encryption, &member(4, &pkcs1(bytes))].concat();
        member(0x30, &parts)
    };
    let read = |tag: &str, der: &[u8]| {
        SigningKey::from_pem(Algorithm::RS256, private_pem(tag, der).as_bytes()).unwrap_err()
    };
    for (bytes, bits) in [(128, 1024), (192, 1536), (1100, 8800)] {
        let error = read("RSA PRIVATE KEY", &pkcs1(bytes));
        assert_eq!(error, KeyError::WeakRsa { bits }, "PKCS#1");
        let error = read("PRIVATE KEY", &pkcs8(bytes));
        assert_eq!(error, KeyError::WeakRsa { bits }, "PKCS#8");
    }
    let said = KeyError::WeakRsa { bits: 1024 }.to_string();
    assert!(said.contains("1024 bits") && said.contains("2048"), "{said}");
    // Anything else is called what it is not.
    let cut = pkcs8(128);
    for der in [&pkcs1(256)[..], &cut[..cut.len() - 1], b"", b"\x30\x80", b"\x30\x03\x02\x01\x00"] {
        assert!(matches!(read("PRIVATE KEY", der), KeyError::KeyType { .. }), "{der:02x?}");
    }
    let ec = EC.to_file().unwrap();
    let error = SigningKey::from_pem(Algorithm::RS256, ec.expose().as_bytes()).unwrap_err();
    assert!(matches!(error, KeyError::KeyType { .. }), "{error}");
}

fn oct_jwk() -> Value {
    json!({"kty": "oct", "k": "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"})
}

#[test]
fn jwks_keys_have_one_algorithm() {
    let (rsa, ec) = (jwk(&RSA), jwk(&EC));
    let both = [Algorithm::RS256, Algorithm::ES256];
    let pss = [Algorithm::RS256, Algorithm::PS256];
    let hmac = [Algorithm::HS256];
    let fine: &[(&str, Value, &[Algorithm], Algorithm)] = &[
        ("alg from the type", rsa.clone(), &both, Algorithm::RS256),
        ("alg from the curve", ec.clone(), &both, Algorithm::ES256),
        ("own alg", with(rsa.clone(), json!({"alg": "PS256"})), &pss, Algorithm::PS256),
        ("use sig", with(ec.clone(), json!({"use": "sig", "x5c": [1]})), &both, Algorithm::ES256),
        ("key_ops", with(ec.clone(), json!({"key_ops": ["verify"]})), &both, Algorithm::ES256),
    ];
    for (what, jwk, algorithms, algorithm) in fine {
        assert_eq!(one(jwk, algorithms, false), Ok(*algorithm), "{what}");
    }
    assert_eq!(one(&oct_jwk(), &hmac, true), Ok(Algorithm::HS256));
}

#[test]
fn jwks_keys_are_skipped_with_a_reason() {
    let (rsa, ec) = (jwk(&RSA), jwk(&EC));
    let both = [Algorithm::RS256, Algorithm::ES256];
    let pss = [Algorithm::RS256, Algorithm::PS256];
    let hmac = [Algorithm::HS256];
    type Expected = fn(&KeyError) -> bool;
    let skipped: &[(&str, Value, &[Algorithm], Expected)] = &[
        ("oct (R3, ecosystem A2)", oct_jwk(), &hmac, |e| *e == KeyError::Octet),
        ("use enc (R16)", with(rsa.clone(), json!({"use": "enc"})), &both, |e| *e == KeyError::Use),
        ("key_ops sign", with(ec.clone(), json!({"key_ops": ["sign"]})), &both, |e| {
            *e == KeyError::Use
        }),
        ("key_ops a string", with(ec.clone(), json!({"key_ops": "verify"})), &both, |e| {
            *e == KeyError::Use
        }),
        ("ambiguous", rsa.clone(), &pss, |e| *e == KeyError::Ambiguous(2)),
        ("alg not listed", with(rsa.clone(), json!({"alg": "RS512"})), &both, |e| {
            matches!(e, KeyError::AlgorithmDisagrees(_))
        }),
        ("alg for encryption", with(rsa.clone(), json!({"alg": "RSA-OAEP"})), &both, |e| {
            matches!(e, KeyError::AlgorithmDisagrees(_))
        }),
        ("alg of another type", with(rsa.clone(), json!({"alg": "ES256"})), &both, |e| {
            matches!(e, KeyError::AlgorithmDisagrees(_))
        }),
        (
            "alg of another curve",
            with(ec.clone(), json!({"alg": "ES384"})),
            &[Algorithm::ES384],
            |e| matches!(e, KeyError::AlgorithmDisagrees(_)),
        ),
        ("type not listed", ec.clone(), &[Algorithm::RS256], |e| {
            matches!(e, KeyError::KeyType { .. })
        }),
        ("P-521", with(ec.clone(), json!({"crv": "P-521"})), &both, |e| {
            matches!(e, KeyError::Jwk(_))
        }),
        ("secp256k1", with(ec.clone(), json!({"crv": "secp256k1"})), &both, |e| {
            matches!(e, KeyError::Jwk(_))
        }),
        ("not on the curve (CVE-2018-5383)", with(ec.clone(), json!({"y": ec["x"]})), &both, |e| {
            *e == KeyError::NotAKey
        }),
        ("short coordinate", with(ec.clone(), json!({"x": "AAAA"})), &both, |e| {
            matches!(e, KeyError::Jwk(_))
        }),
        ("padded base64", with(ec.clone(), json!({"x": "AAA="})), &both, |e| {
            matches!(e, KeyError::Jwk(_))
        }),
        ("private", with(ec.clone(), json!({"d": "AAAA"})), &both, |e| *e == KeyError::Private),
        ("unknown kty", json!({"kty": "AKP"}), &both, |e| matches!(e, KeyError::Jwk(_))),
        ("no kty", json!({}), &both, |e| matches!(e, KeyError::Jwk(_))),
        ("kty a number", json!({"kty": 1}), &both, |e| matches!(e, KeyError::Jwk(_))),
        ("kid a number", with(ec.clone(), json!({"kid": 1})), &both, |e| {
            matches!(e, KeyError::Jwk(_))
        }),
        ("kid too long", with(ec.clone(), json!({"kid": "k".repeat(257)})), &both, |e| {
            matches!(e, KeyError::Jwk(_))
        }),
        ("X25519", json!({"kty": "OKP", "crv": "X25519", "x": "AA"}), &both, |e| {
            matches!(e, KeyError::Jwk(_))
        }),
        ("no object", json!("key"), &both, |e| matches!(e, KeyError::Jwk(_))),
    ];
    for (what, jwk, algorithms, expected) in skipped {
        let error = one(jwk, algorithms, false).unwrap_err();
        assert!(expected(&error), "{what}: {error:?}");
    }
}

#[test]
fn a_document_that_is_no_jwks_is_an_error() {
    let both = [Algorithm::RS256, Algorithm::ES256];
    for text in ["", "[]", "{}", r#"{"keys":{}}"#, r#"{"keys":[],"keys":[]}"#, "<html>"] {
        assert!(from_jwks(text.as_bytes(), &both, false).is_err(), "{text}");
    }
    let short = json!({"kty": "oct", "k": "AAAA"});
    assert!(matches!(one(&short, &[Algorithm::HS256], true), Err(KeyError::SecretTooShort { .. })));
}

#[test]
fn the_kid_of_a_jwk_and_of_the_configuration_agree() {
    let text = with(jwk(&EC), json!({"kid": "own"})).to_string();
    let load = |kid| from_public_key(kid, Algorithm::ES256, text.as_bytes());
    assert_eq!(load(None).unwrap().kid(), Some("own"));
    assert_eq!(load(Some("own")).unwrap().kid(), Some("own"));
    assert_eq!(load(Some("other")).unwrap_err(), KeyError::KidDisagrees);
}

#[test]
fn private_keys_come_in_three_kinds_of_pem() {
    let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let pkcs8: Pkcs8V1Der<'_> = pair.as_der().unwrap();
    let text = private_pem("PRIVATE KEY", pkcs8.as_ref());
    for algorithm in [Algorithm::RS384, Algorithm::PS512] {
        let signing = SigningKey::from_pem(algorithm, text.as_bytes()).unwrap();
        let token = signing.sign("JWT", None, &serde_json::Map::new()).unwrap();
        let (message, signature) = token.rsplit_once('.').unwrap();
        assert!(signing.verification_key(None).unwrap().verifies(message, signature));
    }
    assert!(SigningKey::from_pem(Algorithm::ES256, text.as_bytes()).is_err());
    assert_eq!(
        SigningKey::from_pem(Algorithm::HS256, text.as_bytes()).unwrap_err(),
        KeyError::PemAsSigningSecret
    );
    assert!(SigningKey::from_pem(Algorithm::EdDSA, spki_pem(&EC).as_bytes()).is_err());
}

#[test]
fn nothing_secret_is_printed() {
    let verification = HMAC.verification_key(Some("k")).unwrap();
    let fingerprint: String =
        verification.fingerprint().iter().map(|byte| format!("{byte:02x}")).collect();
    let printed = format!("{verification:?} {:?}", *HMAC);
    assert!(!printed.contains(&fingerprint) && printed.contains("HS256"), "{printed}");
}
