//! Claims: presence, types, times (R10 to R13, R25).

use std::time::Duration;

use serde_json::json;

use super::*;

#[test]
fn claims_are_required_with_their_types() {
    let long = "x".repeat(1025);
    let rows: Vec<(&str, Value, &str)> = vec![
        ("exp absent (R10)", claims_without("exp"), "missing_claim"),
        ("exp a string (CVE-2026-25537)", claims_with(json!({"exp": "1900000000"})), "claim_type"),
        ("exp null", claims_with(json!({"exp": null})), "claim_type"),
        ("exp true", claims_with(json!({"exp": true})), "claim_type"),
        ("exp an array", claims_with(json!({"exp": [1_900_000_000]})), "claim_type"),
        ("exp negative", claims_with(json!({"exp": -1})), "expired"),
        ("exp zero", claims_with(json!({"exp": 0})), "expired"),
        ("exp beyond i64", claims_with(json!({"exp": u64::MAX})), "claim_type"),
        ("exp 1e300", claims_with(json!({"exp": 1e300})), "claim_type"),
        ("nbf a string (CVE-2026-25537)", claims_with(json!({"nbf": "1"})), "claim_type"),
        ("nbf null", claims_with(json!({"nbf": null})), "claim_type"),
        ("iat a string", claims_with(json!({"iat": "1"})), "claim_type"),
        ("iat absent, max_lifetime set", claims_without("iat"), "missing_claim"),
        ("iss absent (R10)", claims_without("iss"), "unknown_issuer"),
        ("iss another", claims_with(json!({"iss": "https://id.example/"})), "unknown_issuer"),
        ("iss in other case", claims_with(json!({"iss": "HTTPS://id.example"})), "unknown_issuer"),
        ("iss an array (R12)", claims_with(json!({"iss": [ISSUER]})), "claim_type"),
        ("iss an object", claims_with(json!({"iss": {}})), "claim_type"),
        ("iss null", claims_with(json!({"iss": null})), "claim_type"),
        ("iss empty", claims_with(json!({"iss": ""})), "unknown_issuer"),
        ("aud absent (R10)", claims_without("aud"), "missing_claim"),
        ("aud another", claims_with(json!({"aud": "billing"})), "audience"),
        ("aud a prefix", claims_with(json!({"aud": "ap"})), "audience"),
        ("aud a number (R12)", claims_with(json!({"aud": 123})), "claim_type"),
        ("aud null", claims_with(json!({"aud": null})), "claim_type"),
        ("aud an object", claims_with(json!({"aud": {"api": true}})), "claim_type"),
        ("aud empty list (R12)", claims_with(json!({"aud": []})), "audience"),
        ("aud list of others", claims_with(json!({"aud": ["a", "b"]})), "audience"),
        ("aud list with a number", claims_with(json!({"aud": ["api", 1]})), "claim_type"),
        ("aud nested list", claims_with(json!({"aud": [["api"]]})), "claim_type"),
        ("sub absent (required)", claims_without("sub"), "missing_claim"),
        ("sub null", claims_with(json!({"sub": null})), "claim_type"),
        ("sub an object", claims_with(json!({"sub": {}})), "claim_type"),
        ("sub a fraction", claims_with(json!({"sub": 1.5})), "claim_type"),
        ("sub over 1 KiB (R46)", claims_with(json!({"sub": long})), "claim_too_long"),
        ("jti a number", claims_with(json!({"jti": 7})), "claim_type"),
        ("jti null", claims_with(json!({"jti": null})), "claim_type"),
        ("jti over 1 KiB", claims_with(json!({"jti": long})), "claim_too_long"),
        ("sid over 1 KiB", claims_with(json!({"sid": long})), "claim_too_long"),
        ("azp over 1 KiB", claims_with(json!({"azp": long})), "claim_too_long"),
        ("azp a number", claims_with(json!({"azp": 1})), "claim_type"),
        ("sid an array", claims_with(json!({"sid": ["s"]})), "claim_type"),
        ("roles a number", claims_with(json!({"roles": 1})), "claim_type"),
        ("roles with a null", claims_with(json!({"roles": ["a", null]})), "claim_type"),
        ("roles an object", claims_with(json!({"roles": {"admin": true}})), "claim_type"),
        ("scope true", claims_with(json!({"scope": true})), "claim_type"),
        ("sub with NUL (R25)", claims_with(json!({"sub": "a\0"})), "control_character"),
        ("sub with CR LF (R25)", claims_with(json!({"sub": "a\r\nX: y"})), "control_character"),
        ("jti with NUL", claims_with(json!({"jti": "j\0"})), "control_character"),
        ("role with LF", claims_with(json!({"roles": ["a\nb"]})), "control_character"),
        ("scope with TAB", claims_with(json!({"scope": "a\tb"})), "control_character"),
        ("C1 control", claims_with(json!({"sub": "a\u{85}"})), "control_character"),
        ("nonce: an ID token (invariant 2)", claims_with(json!({"nonce": "n"})), "token_type"),
        ("at_hash: an ID token", claims_with(json!({"at_hash": "h"})), "token_type"),
        ("events: a logout token", claims_with(json!({"events": {}})), "token_type"),
    ];
    for (what, claims, reason) in rows {
        let found = verdict(&claims).err().map_or("accepted", |error| error.reason());
        assert_eq!(found, reason, "{what}");
    }
    for raw in [r#"{"exp":1e999}"#, r#"{"exp":1,"exp":2}"#, r#"{"a":{"b":1,"b":2}}"#, "[]", "1"] {
        let token = EC.sign_parts(good_header().to_string().as_bytes(), raw.as_bytes()).unwrap();
        assert_eq!(verify(&issuers(), &token).err(), Some(VerifyError::Malformed), "{raw}");
    }
}

#[test]
fn what_is_right_is_accepted_and_read() {
    let numeric = verdict(&claims_with(json!({"sub": 4711}))).unwrap();
    assert_eq!(numeric.subject.as_deref(), Some("4711"), "a numeric subject becomes text");
    let lists = verdict(&claims_with(json!({
        "aud": ["x", "other"], "roles": "admin", "scope": ["a b", "c"], "permissions": null,
        "azp": "shop", "client_id": "shop", "sid": "s-1", "exp": NOW.0 as f64 + 10.9,
    })))
    .unwrap();
    assert_eq!(lists.roles, words(&["admin"]));
    assert_eq!(lists.scopes, words(&["a b", "c"]));
    assert!(lists.permissions.is_empty(), "null grants nothing");
    assert_eq!(lists.clients, words(&["shop"]));
    assert_eq!(lists.session.as_deref(), Some("s-1"));
    assert_eq!(lists.expires_at, UnixTime(NOW.0 + 10), "a fraction is cut off");
    let keycloak = issuers_with(|s| s.claims.roles = "/realm_access/roles".parse().unwrap());
    let claims = claims_with(json!({"realm_access": {"roles": ["offline_access", "admin"]}}));
    let verified = verify(&keycloak, &token(&good_header(), &claims)).unwrap();
    assert_eq!(verified.roles, words(&["offline_access", "admin"]));
}

#[test]
fn times_hold_to_the_second() {
    let issuers = issuers_with(|s| s.max_age = Some(Duration::from_secs(300)));
    let at = |claims: Value, offset: i64| {
        let token = token(&good_header(), &claims);
        verify_at(&issuers, &token, UnixTime(NOW.0 + offset)).err().map(|error| error.reason())
    };
    let n = NOW.0;
    let rows: Vec<(&str, Value, i64, Option<&str>)> = vec![
        ("last second of exp + leeway", json!({"exp": n, "iat": n - 5}), 29, None),
        ("at exp + leeway (exclusive)", json!({"exp": n, "iat": n - 5}), 30, Some("expired")),
        ("nbf at the leeway", json!({"nbf": n + 30}), 0, None),
        ("nbf beyond (RFC 7519 4.1.5)", json!({"nbf": n + 31}), 0, Some("not_yet_valid")),
        ("iat at the leeway", json!({"iat": n + 30}), 0, None),
        ("iat in the future (R11)", json!({"iat": n + 31}), 0, Some("issued_in_future")),
        ("max_age and leeway", json!({"iat": n - 330}), 0, None),
        ("max_age passed", json!({"iat": n - 331}), 0, Some("too_old")),
        ("a whole day", json!({"iat": n, "exp": n + 86_400}), 0, None),
        ("max_lifetime", json!({"iat": n, "exp": n + 86_401}), 0, Some("lifetime")),
        ("exp before iat", json!({"iat": n + 9, "exp": n + 8}), 0, Some("lifetime")),
        ("iat far in the past", json!({"iat": i64::MIN, "exp": n + 5}), 0, Some("lifetime")),
    ];
    for (what, changes, offset, reason) in rows {
        assert_eq!(at(claims_with(changes), offset), reason, "{what}");
    }
}

/// Expiry is found before any signature work, so that the failure limit is not asked for it.
#[test]
fn an_expired_token_costs_no_signature() {
    let issuers = issuers();
    let token = token(&good_header(), &claims_with(json!({"exp": NOW.0 - 30, "iat": NOW.0 - 99})));
    let error = issuers.prepare(&token, &IssuerFilter::All, NOW).err();
    assert_eq!(error, Some(VerifyError::Expired));
}

#[test]
fn off_means_tokens_without() {
    let issuers = issuers_with(|s| {
        (s.issuer, s.audiences, s.max_lifetime) = (None, None, None);
        s.required_claims.clear();
    });
    let bare = json!({"exp": NOW.0 + 5});
    let verified = verify(&issuers, &token(&good_header(), &bare)).unwrap();
    assert_eq!((&*verified.issuer, verified.subject.as_deref()), ("-", None));
    assert_eq!(verified.lookup.issued_at, None);
    let with_iss = json!({"exp": NOW.0 + 5, "iss": ISSUER});
    let error = verify(&issuers, &token(&good_header(), &with_iss)).err();
    assert_eq!(error, Some(VerifyError::UnknownIssuer));
    let with_aud = json!({"exp": NOW.0 + 5, "aud": "api"});
    let error = verify(&issuers, &token(&good_header(), &with_aud)).err();
    assert_eq!(error, Some(VerifyError::Audience), "RFC 7519 4.1.3");
}

#[test]
fn other_claims_can_be_required() {
    let issuers = issuers_with(|s| s.required_claims = vec!["jti".into(), "tenant".into()]);
    let reason = |claims: Value| {
        verify(&issuers, &token(&good_header(), &claims)).err().map(|error| error.reason())
    };
    assert_eq!(reason(good_claims()), Some("missing_claim"));
    assert_eq!(reason(claims_with(json!({"tenant": null}))), Some("claim_type"));
    assert_eq!(reason(claims_with(json!({"tenant": "acme"}))), None);
}

#[test]
fn the_lookup_names_everything_once() {
    let extra = vec!["blacklist:{jti}".parse().unwrap(), "gone:{sid}:{sub}".parse().unwrap()];
    let issuers = Issuers::new(vec![settings()], extra).unwrap();
    let claims = claims_with(json!({"azp": "shop", "client_id": "till", "sid": "s:1"}));
    let token = token(&good_header(), &claims);
    let lookup = verify(&issuers, &token).unwrap().lookup;
    let iss = "https%3A%2F%2Fid.example";
    let digest = crate::token::token_digest(&token);
    let mut undated = lookup.undated.clone();
    undated.sort();
    assert_eq!(
        undated.iter().map(|s| s.to_string()).collect::<Vec<_>>(),
        [
            format!("issuer:{iss}"),
            format!("jti:{iss}:j-1"),
            format!("kid:{iss}:es"),
            format!("sid:{iss}:s%3A1"),
            format!("token:{digest}"),
        ]
    );
    let dated: Vec<String> = lookup.dated.iter().map(|s| s.to_string()).collect();
    assert_eq!(
        dated,
        [format!("sub:{iss}:ada"), format!("client:{iss}:shop"), format!("client:{iss}:till")]
    );
    assert_eq!(lookup.extra, words(&["blacklist:j-1", "gone:s:1:ada"]));
    assert_eq!(lookup.until, UnixTime(NOW.0 + 630));
    assert_eq!(lookup.issued_at, Some(UnixTime(NOW.0 - 10)));
}
