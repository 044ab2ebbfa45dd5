//! Which entry and which key a token is checked with (R1, R3, R4, R5).

use serde_json::json;

use super::*;
use crate::auth::SettingsError;

fn sign(key: &SigningKey, header: Value) -> String {
    key.sign_parts(header.to_string().as_bytes(), good_claims().to_string().as_bytes()).unwrap()
}

/// An all-HMAC entry for the same issuer.
fn hmac_entry(kid: Option<&str>) -> IssuerSettings {
    let mut entry = IssuerSettings::new("legacy", vec![Algorithm::HS256]);
    entry.issuer = Some(ISSUER.into());
    entry.audiences = Some(vec!["api".into()]);
    entry.keys = vec![HMAC.verification_key(kid).unwrap()];
    entry
}

#[test]
fn a_kid_matches_exactly_or_not_at_all() {
    let anonymous = key(Algorithm::ES256);
    let issuers = issuers_with(|s| s.keys.push(anonymous.verification_key(None).unwrap()));
    let reason = |token: &str| verify(&issuers, token).err().map(|error| error.reason());
    let kidless = json!({"alg": "ES256"});
    assert_eq!(reason(&sign(&EC, kidless.clone())), None, "kid-less token, named key");
    assert_eq!(reason(&sign(&anonymous, kidless)), None, "kid-less token, kid-less key");
    let named = json!({"alg": "ES256", "kid": "other"});
    assert_eq!(reason(&sign(&anonymous, named)), Some("unknown_key"));
    assert_eq!(reason(&sign(&anonymous, good_header())), Some("signature"));
    let verified = verify(&issuers, &sign(&anonymous, json!({"alg": "ES256"}))).unwrap();
    assert_eq!(verified.kid, None);
    assert!(!verified.lookup.undated.iter().any(|suffix| suffix.starts_with("kid:")));
    let verified = verify(&issuers, &sign(&EC, json!({"alg": "ES256"}))).unwrap();
    assert_eq!(verified.kid.as_deref(), Some("es"), "the verifying key's, not the header's");
}

#[test]
fn a_token_without_kid_tries_at_most_four_keys() {
    let keys: Vec<SigningKey> = (0..5).map(|_| key(Algorithm::ES256)).collect();
    let issuers = issuers_with(|s| {
        s.keys = keys.iter().map(|key| key.verification_key(None).unwrap()).collect();
    });
    let reasons: Vec<_> = keys
        .iter()
        .map(|key| verify(&issuers, &sign(key, json!({"alg": "ES256"}))).err())
        .collect();
    assert_eq!(reasons, [None, None, None, None, Some(VerifyError::Signature)]);
}

#[test]
fn two_entries_may_share_an_issuer() {
    let issuers = Issuers::new(vec![settings(), hmac_entry(Some("hs"))], Vec::new()).unwrap();
    let entry = |token: &str| verify(&issuers, token).map(|verified| verified.entry.to_string());
    assert_eq!(entry(&good_token()), Ok("main".into()));
    assert_eq!(entry(&sign(&HMAC, json!({"alg": "HS256", "kid": "hs"}))), Ok("legacy".into()));
    assert_eq!(entry(&sign(&HMAC, json!({"alg": "HS256"}))), Ok("legacy".into()));
    let confused = sign(&HMAC, json!({"alg": "HS256", "kid": "es"}));
    assert_eq!(entry(&confused), Err(VerifyError::Algorithm));
    let confused = sign(&EC, json!({"alg": "ES256", "kid": "hs"}));
    assert_eq!(entry(&confused), Err(VerifyError::Algorithm));
}

#[test]
fn a_route_takes_only_its_issuers() {
    let issuers = Issuers::new(vec![settings(), hmac_entry(None)], Vec::new()).unwrap();
    let only = |name: &str| IssuerFilter::Only(vec![name.into()]);
    let ask = |token: &str, filter: &IssuerFilter| issuers.prepare(token, filter, NOW).err();
    assert_eq!(ask(&good_token(), &only("main")), None);
    assert_eq!(ask(&good_token(), &only("legacy")), Some(VerifyError::Algorithm));
    assert_eq!(ask(&good_token(), &only("nobody")), Some(VerifyError::IssuerNotAllowed));
    assert!(only("main").allows("main") && !only("main").allows("Main"));
}

#[test]
fn contradictory_settings_are_refused() {
    let problem = |change: &dyn Fn(&mut IssuerSettings)| {
        let mut entry = settings();
        change(&mut entry);
        Issuers::new(vec![entry], Vec::new()).map(|_| ()).unwrap_err()
    };
    let name = || "main".to_owned();
    assert_eq!(
        problem(&|s| s.algorithms.push(Algorithm::HS256)),
        [SettingsError::AlgorithmFamilies(name())]
    );
    assert_eq!(
        problem(&|s| s.algorithms = vec![Algorithm::ES256]),
        [SettingsError::AlgorithmNotListed(name(), Algorithm::RS256)]
    );
    assert_eq!(
        problem(&|s| s.keys.push(EC.verification_key(Some("rs")).unwrap())),
        [SettingsError::DuplicateKid(name(), "rs".into())]
    );
    assert_eq!(
        problem(&|s| s.leeway = std::time::Duration::from_secs(61)),
        [SettingsError::Leeway(name())]
    );
    assert_eq!(
        problem(&|s| s.audiences = Some(Vec::new())),
        [SettingsError::Empty(name(), "audiences")]
    );
    let all = problem(&|s| {
        (s.issuer, s.keys) = (Some(String::new()), Vec::new());
        s.algorithms.clear();
    });
    assert_eq!(all.len(), 2, "every problem at once: {all:?}");
    let twins = Issuers::new(vec![settings(), settings()], Vec::new()).map(|_| ()).unwrap_err();
    assert!(twins.contains(&SettingsError::DuplicateName(name())));
    let mut twin = settings();
    twin.name = "twin".into();
    let twins = Issuers::new(vec![settings(), twin], Vec::new()).map(|_| ()).unwrap_err();
    assert!(twins.contains(&SettingsError::DuplicateKid("twin".into(), "es".into())));
}

/// Every supported algorithm, from signing to verified.
#[test]
fn every_algorithm_works_and_only_with_its_own_name() {
    for algorithm in Algorithm::ALL {
        let signing = key(algorithm);
        let mut entry = IssuerSettings::new("one", vec![algorithm]);
        entry.issuer = Some(ISSUER.into());
        entry.audiences = Some(vec!["api".into()]);
        entry.keys = vec![signing.verification_key(Some("k")).unwrap()];
        let issuers = Issuers::new(vec![entry], Vec::new()).unwrap();
        let token = signing.sign("at+jwt", Some("k"), &map(&good_claims())).unwrap();
        assert!(verify(&issuers, &token).is_ok(), "{algorithm}");
        for other in Algorithm::ALL.into_iter().filter(|other| *other != algorithm) {
            let header = json!({"alg": other.as_str(), "kid": "k"});
            let error = verify(&issuers, &sign(&signing, header)).err();
            assert_eq!(error, Some(VerifyError::Algorithm), "{other} with a key for {algorithm}");
        }
    }
}
