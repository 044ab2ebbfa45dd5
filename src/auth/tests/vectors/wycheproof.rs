//! Wycheproof's JWS and JWK vectors, all of them, counted by what they are said to be and what
//! becomes of them here.

use std::collections::BTreeMap;

use super::*;

const CRYPTO: &str = include_str!("../../../../tests/vectors/wycheproof/json_web_crypto_test.json");
const KEY: &str = include_str!("../../../../tests/vectors/wycheproof/json_web_key_test.json");
const SIGNATURE: &str =
    include_str!("../../../../tests/vectors/wycheproof/json_web_signature_test.json");

/// One vector with its outcome.
struct Judged {
    id: u64,
    /// `valid` or `invalid`, in Wycheproof's judgement.
    result: String,
    outcome: Outcome,
}

/// Judges every vector of a file, and checks that it has as many as it says.
fn judge(file: &str) -> Vec<Judged> {
    let file = parsed(file);
    let mut judged = Vec::new();
    for group in file["testGroups"].as_array().unwrap() {
        let key = group.get("public").unwrap_or_else(|| &group["private"]);
        let keys = match key.get("keys") {
            Some(set) => set.as_array().unwrap().clone(),
            None => vec![key.clone()],
        };
        let algorithms = algorithms(&keys);
        for test in group["tests"].as_array().unwrap() {
            let token = test.get("jws").unwrap_or_else(|| &test["jwe"]);
            let token = token.as_str().map_or_else(|| token.to_string(), str::to_owned);
            judged.push(Judged {
                id: test["tcId"].as_u64().unwrap(),
                result: test["result"].as_str().unwrap().to_owned(),
                outcome: outcome(&keys, &algorithms, &token),
            });
        }
    }
    assert_eq!(file["numberOfTests"], judged.len());
    judged
}

/// What the keys say that they are for; where none says what we offer, what their type is for, so
/// that nothing but the keys decides.
fn algorithms(keys: &[Value]) -> Vec<Algorithm> {
    let mut named: Vec<Algorithm> =
        keys.iter().filter_map(|key| key["alg"].as_str()?.parse().ok()).collect();
    named.sort_unstable();
    named.dedup();
    if named.is_empty() {
        named.push(match keys[0]["kty"].as_str().unwrap() {
            "EC" => Algorithm::ES256,
            "oct" => Algorithm::HS256,
            "RSA" => Algorithm::RS256,
            other => unreachable!("{other}"),
        });
    }
    named
}

/// Checks how many of the vectors end how, and which ones are judged otherwise than Wycheproof does:
/// valid and refused, or invalid and accepted.
fn hold(file: &str, counts: &[(&str, Outcome, usize)], otherwise: &[(u64, Outcome)]) {
    let judged = judge(file);
    let mut counted: BTreeMap<(&str, Outcome), usize> = BTreeMap::new();
    for vector in &judged {
        *counted.entry((&*vector.result, vector.outcome)).or_default() += 1;
    }
    let expected = counts.iter().map(|(result, outcome, count)| ((*result, *outcome), *count));
    assert_eq!(counted, expected.collect());
    let differs = |vector: &&Judged| (vector.result == "valid") != (vector.outcome == ACCEPTED);
    let found: Vec<_> = judged.iter().filter(differs).map(|v| (v.id, v.outcome)).collect();
    assert_eq!(found, otherwise);
}

#[test]
fn web_signatures() {
    hold(
        SIGNATURE,
        &[
            ("invalid", ACCEPTED, 2),
            ("invalid", "algorithm", 11),
            ("invalid", "key: not for signatures (R16)", 4),
            ("invalid", "malformed", 36),
            ("invalid", "signature", 299),
            ("invalid", "unknown_key", 3),
            ("valid", ACCEPTED, 40),
            ("valid", "algorithm", 2),
            ("valid", "key: curve", 2),
            ("valid", "malformed", 2),
        ],
        &[
            // A key for PS256 and a token with PS384: one key, one algorithm (R1).
            (346, "algorithm"),
            // ES512 is not offered.
            (347, "key: curve"),
            (350, "algorithm"),
            (351, "key: curve"),
            // The very text of 357, which is valid: see below.
            (367, ACCEPTED),
            (370, ACCEPTED),
            // A `?` inside a part, which lenient decoders skip (R6).
            (372, "malformed"),
            (373, "malformed"),
        ],
    );
}

/// The invalid padding that two vectors are to have was lost when they were made. With it they are
/// refused.
#[test]
fn lost_padding() {
    let file = parsed(SIGNATURE);
    let groups = file["testGroups"].as_array().unwrap();
    let group = groups.iter().find(|group| group["comment"] == "base64").unwrap();
    let token = |id: u64| {
        let tests = group["tests"].as_array().unwrap();
        tests.iter().find(|test| test["tcId"] == id).unwrap()["jws"].as_str().unwrap()
    };
    assert_eq!((token(367), token(370)), (token(357), token(357)));
    let keys = [group["private"].clone()];
    for padding in ["=", "==", "===", "%3D", "."] {
        for padded in [
            format!("{}{padding}", token(357)),
            token(357).replacen('.', &format!("{padding}."), 1),
            token(357).replace(".c1LR", &format!("{padding}.c1LR")),
        ] {
            assert_eq!(outcome(&keys, &[Algorithm::HS256], &padded), "malformed", "{padded}");
        }
    }
}

#[test]
fn web_keys() {
    hold(
        KEY,
        &[
            ("invalid", ACCEPTED, 1),
            ("invalid", "entry: secrets and public keys mixed (R3)", 1),
            ("invalid", "key: ROCA (CVE-2017-15361)", 1),
            ("invalid", "key: another algorithm (R1)", 6),
            ("invalid", "key: not for signatures (R16)", 2),
            ("invalid", "key: not on the curve", 1),
            ("invalid", "key: short secret (R16)", 6),
            ("invalid", "key: weak RSA (R16)", 2),
            ("invalid", "signature", 1),
            ("valid", ACCEPTED, 5),
        ],
        &[
            // The second key with the kid is no key at all (its base64url is not canonical), so
            // that one is left: see below.
            (4, ACCEPTED),
        ],
    );
}

/// R5: as soon as both keys are keys, their kid refuses them.
#[test]
fn duplicate_kids() {
    let file = parsed(KEY);
    let group = &file["testGroups"][2];
    assert_eq!(group["comment"], "jws_duplicate_kid");
    let mut keys = group["private"]["keys"].as_array().unwrap().clone();
    let k = keys[1]["k"].as_str().unwrap().to_owned();
    let set = from_jwks(json!({"keys": keys}).to_string().as_bytes(), &[Algorithm::HS256], true);
    assert_eq!(set.unwrap().skipped[0].reason, KeyError::Jwk("not base64url without padding"));
    keys[1]["k"] = format!("{}g", k.strip_suffix('e').unwrap()).into();
    let token = group["tests"][0]["jws"].as_str().unwrap();
    assert_eq!(outcome(&keys, &[Algorithm::HS256], token), "entry: duplicate kid (R5)");
}

/// A third of the vectors is about encryption; their keys are not for signatures.
#[test]
fn web_crypto() {
    hold(
        CRYPTO,
        &[
            ("invalid", "algorithm", 2),
            ("invalid", "entry: secrets and public keys mixed (R3)", 1),
            ("invalid", "key: ROCA (CVE-2017-15361)", 1),
            ("invalid", "key: not for signatures (R16)", 32),
            ("invalid", "malformed", 24),
            ("invalid", "signature", 14),
            ("invalid", "unknown_key", 3),
            ("valid", ACCEPTED, 4),
            ("valid", "key: not for signatures (R16)", 2),
        ],
        &[(50, "key: not for signatures (R16)"), (67, "key: not for signatures (R16)")],
    );
}

/// R6: whatever the keys, a JWE is not read: for its form, or already for `enc` in its header.
#[test]
fn encrypted_tokens_are_not_read() {
    let file = parsed(CRYPTO);
    let groups = file["testGroups"].as_array().unwrap().iter();
    let tests = groups.flat_map(|group| group["tests"].as_array().unwrap());
    let tokens: Vec<&Value> = tests.filter_map(|test| test.get("jwe")).collect();
    assert_eq!(tokens.len(), 34);
    for token in tokens {
        let text = token.as_str().map_or_else(|| token.to_string(), str::to_owned);
        let error = check(&issuers(), &text).unwrap_err();
        let expected = matches!(error, VerifyError::Malformed | VerifyError::UnsupportedHeader);
        assert!(expected, "{error}: {text}");
    }
}
