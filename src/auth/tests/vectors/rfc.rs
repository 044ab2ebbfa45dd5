//! The RFCs' own examples. Each row names its section; the RFC is the file's name.

use super::*;
use crate::auth::keys::from_jwk;

const CURVE: Outcome = "key: curve";
const OTHER_ALGORITHM: Outcome = "key: another algorithm (R1)";
const PRIVATE: Outcome = "key: private";
const SECRET: Outcome = "key: a secret in a set (R3)";
const USE: Outcome = "key: not for signatures (R16)";

/// One example: the token of a section with the key of another, in an entry with this algorithm.
type Row = (&'static str, &'static str, Algorithm, Outcome);

/// Checks that each example comes out as its row says, and that none of the tokens is forgotten.
fn hold(rfc: &Value, rows: &[Row]) {
    let (keys, tokens) = (map(&rfc["keys"]), map(&rfc["tokens"]));
    for (token, key, algorithm, expected) in rows {
        let text = tokens[*token].as_str().unwrap();
        let found = outcome(&[keys[*key].clone()], &[*algorithm], text);
        assert_eq!(found, *expected, "token {token}, key {key}");
    }
    for token in tokens.keys() {
        assert!(rows.iter().any(|row| row.0 == token), "no row about {token}");
    }
}

/// The public half of a key.
fn public(key: &Value) -> Value {
    let mut members = map(key);
    members.retain(|name, _| !["d", "p", "q", "dp", "dq", "qi"].contains(&name.as_str()));
    Value::Object(members)
}

fn rfc7515() -> Value {
    let mut rfc = parsed(include_str!("../../../../tests/vectors/rfc/7515.json"));
    for key in ["A.2", "A.3", "A.4"] {
        rfc["keys"][format!("{key} public")] = public(&rfc["keys"][key]);
    }
    rfc
}

#[test]
fn rfc_7515_signatures() {
    use Algorithm::*;
    hold(
        &rfc7515(),
        &[
            ("A.1", "A.1", HS256, ACCEPTED),
            ("A.1", "A.1", HS512, "algorithm"),
            ("A.1", "A.2 public", RS256, "algorithm"),
            ("A.2", "A.2 public", RS256, ACCEPTED),
            ("A.2", "A.2 public", PS256, "algorithm"),
            ("A.2", "A.2", RS256, PRIVATE),
            ("A.3", "A.3 public", ES256, ACCEPTED),
            ("A.3", "A.3", ES256, PRIVATE),
            // ES512 is not offered.
            ("A.4", "A.4 public", ES256, CURVE),
            ("A.4", "A.3 public", ES256, "algorithm"),
            // Unsecured (R2).
            ("A.5", "A.1", HS256, "algorithm"),
            ("A.5", "A.2 public", RS256, "algorithm"),
            // The JSON serialisations, signed by A.2 and A.3 (R6).
            ("A.6", "A.2 public", RS256, "malformed"),
            ("A.6", "A.3 public", ES256, "malformed"),
            ("A.7", "A.3 public", ES256, "malformed"),
            // A crit that must be refused (R8).
            ("E", "A.1", HS256, "unsupported_header"),
        ],
    );
}

/// A.1 to A.3 sign claims: the whole way, which ends at 1300819380.
#[test]
fn rfc_7515_tokens_with_claims() {
    install_provider();
    let rfc = rfc7515();
    for (section, key, algorithm) in [
        ("A.1", "A.1", Algorithm::HS256),
        ("A.2", "A.2 public", Algorithm::RS256),
        ("A.3", "A.3 public", Algorithm::ES256),
    ] {
        let mut entry = IssuerSettings::new("rfc", vec![algorithm]);
        entry.issuer = Some("joe".into());
        entry.max_lifetime = None;
        entry.required_claims.clear();
        let jwk = rfc["keys"][key].to_string();
        entry.keys = vec![from_jwk(None, algorithm, jwk.as_bytes()).unwrap()];
        let issuers = Issuers::new(vec![entry], Vec::new()).unwrap();
        let token = rfc["tokens"][section].as_str().unwrap();
        let verified = verify_at(&issuers, token, UnixTime(1_300_819_379)).unwrap();
        assert_eq!(verified.claims["http://example.com/is_root"], true, "{section}");
        let late = verify_at(&issuers, token, UnixTime(1_300_819_380 + 30)).err();
        assert_eq!(late, Some(VerifyError::Expired), "{section}");
        let (message, signature) = token.rsplit_once('.').unwrap();
        let forged = format!("{message}.{}", signature.chars().rev().collect::<String>());
        let error = verify_at(&issuers, &forged, UnixTime(1_300_819_379)).unwrap_err();
        assert!(matches!(error, VerifyError::Signature | VerifyError::Malformed), "{error}");
    }
}

/// Each set with what an entry takes of it: the `kid` of a key, or the rule against it.
#[test]
fn rfc_7517_key_sets() {
    use Algorithm::*;
    let rfc = parsed(include_str!("../../../../tests/vectors/rfc/7517.json"));
    let hmac_kid = "HMAC key used in JWS spec Appendix A.1 example";
    type Row<'r> = (&'r str, &'r [Algorithm], bool, [&'r str; 2]);
    let rows: &[Row<'_>] = &[
        ("A.1", &[RS256, ES256], false, [USE, "2011-04-29"]),
        ("A.1", &[RS512, ES256], false, [USE, OTHER_ALGORITHM]),
        ("A.2", &[RS256, ES256], false, [USE, PRIVATE]),
        ("A.3", &[HS256], true, [OTHER_ALGORITHM, hmac_kid]),
        ("A.3", &[HS512], true, [OTHER_ALGORITHM, hmac_kid]),
        ("A.3", &[HS256], false, [SECRET, SECRET]),
        ("B", &[RS256], false, ["1b94c", ""]),
    ];
    for (section, algorithms, secrets, expected) in rows {
        let text = rfc["sets"][section].to_string();
        let set = from_jwks(text.as_bytes(), algorithms, *secrets).unwrap();
        let mut found = ["", ""];
        for skipped in &set.skipped {
            found[skipped.index] = rule(&skipped.reason);
        }
        let mut free = found.iter_mut().filter(|place| place.is_empty());
        for key in &set.keys {
            *free.next().unwrap() = key.kid().unwrap();
        }
        assert_eq!(found, *expected, "{section}, {algorithms:?}");
    }
    assert_eq!(map(&rfc["sets"]).len(), 4, "every set has a row");
}

/// Appendix B: of a key with a certificate chain the key counts, not the chain (R4); what the
/// chain holds instead of the key changes nothing.
#[test]
fn rfc_7517_certificates_are_not_looked_at() {
    let rfc = parsed(include_str!("../../../../tests/vectors/rfc/7517.json"));
    let mut jwk = rfc["sets"]["B"]["keys"][0].clone();
    let load = |jwk: &Value| {
        *from_jwk(None, Algorithm::RS256, jwk.to_string().as_bytes()).unwrap().fingerprint()
    };
    let own = load(&jwk);
    for chain in [json!(["AAAA"]), json!([]), json!(7)] {
        jwk["x5c"] = chain;
        assert_eq!(load(&jwk), own);
    }
    jwk.as_object_mut().unwrap().remove("n");
    let error = from_jwk(None, Algorithm::RS256, jwk.to_string().as_bytes()).unwrap_err();
    assert_eq!(rule(&error), "key: incomplete");
}

#[test]
fn rfc_7520_signatures() {
    use Algorithm::*;
    hold(
        &parsed(include_str!("../../../../tests/vectors/rfc/7520.json")),
        &[
            ("4.1 compact", "3.3", RS256, ACCEPTED),
            ("4.1 compact", "3.4", RS256, PRIVATE),
            ("4.1 compact", "3.3", RS512, "algorithm"),
            ("4.1 general", "3.3", RS256, "malformed"),
            ("4.1 flattened", "3.3", RS256, "malformed"),
            ("4.2 compact", "3.3", PS384, ACCEPTED),
            ("4.2 compact", "3.3", PS256, "algorithm"),
            ("4.2 general", "3.3", PS384, "malformed"),
            ("4.2 flattened", "3.3", PS384, "malformed"),
            // ES512 is not offered.
            ("4.3 compact", "3.1", ES384, CURVE),
            ("4.3 compact", "3.2", ES384, PRIVATE),
            ("4.3 compact", "3.3", RS256, "algorithm"),
            ("4.3 general", "3.3", RS256, "malformed"),
            ("4.3 flattened", "3.3", RS256, "malformed"),
            ("4.4 compact", "3.5", HS256, ACCEPTED),
            ("4.4 compact", "3.6", HS256, USE),
            ("4.4 general", "3.5", HS256, "malformed"),
            ("4.4 flattened", "3.5", HS256, "malformed"),
            // Detached: what is signed is not in the token.
            ("4.5 compact", "3.5", HS256, "signature"),
            ("4.6 general", "3.5", HS256, "malformed"),
            ("4.6 flattened", "3.5", HS256, "malformed"),
            ("4.7 general", "3.5", HS256, "malformed"),
            ("4.7 flattened", "3.5", HS256, "malformed"),
            ("4.8 general", "3.5", HS256, "malformed"),
        ],
    );
}

/// R8: b64 is not implemented, so a token that uses it is refused, detached or not.
#[test]
fn rfc_7797_unencoded_payloads() {
    hold(
        &parsed(include_str!("../../../../tests/vectors/rfc/7797.json")),
        &[
            ("4.1", "1", Algorithm::HS256, ACCEPTED),
            ("4.2 detached", "1", Algorithm::HS256, "unsupported_header"),
            ("4.2 attached", "1", Algorithm::HS256, "unsupported_header"),
        ],
    );
}

#[test]
fn rfc_8037_ed25519() {
    hold(
        &parsed(include_str!("../../../../tests/vectors/rfc/8037.json")),
        &[
            ("A.4", "A.2", Algorithm::EdDSA, ACCEPTED),
            ("A.4", "A.1", Algorithm::EdDSA, PRIVATE),
            // Keys for agreement.
            ("A.4", "A.6", Algorithm::EdDSA, CURVE),
            ("A.4", "A.7", Algorithm::EdDSA, CURVE),
        ],
    );
}
