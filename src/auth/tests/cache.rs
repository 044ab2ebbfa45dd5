//! The cache keeps facts and no decisions (invariant 1, R17).

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::*;
use crate::auth::TokenCache;

fn filled() -> (TokenCache, String) {
    let cache = TokenCache::new(1 << 20);
    let token = good_token();
    cache.insert(&token, Arc::new(verify(&issuers(), &token).unwrap()));
    (cache, token)
}

#[test]
fn a_hit_counts_only_while_settings_and_key_are_there() {
    let (cache, token) = filled();
    assert!(cache.get(&token, &issuers()).is_some(), "a reload that changes nothing");
    let reordered = issuers_with(|s| s.keys.reverse());
    assert!(cache.get(&token, &reordered).is_some());
    let more = issuers_with(|s| s.keys.push(RSA.verification_key(Some("new")).unwrap()));
    assert!(cache.get(&token, &more).is_some(), "a new key beside it");
    let changes: Vec<(&str, Issuers)> = vec![
        ("no issuer", Issuers::default()),
        ("key gone", issuers_with(|s| drop(s.keys.pop()))),
        (
            "other key, same kid",
            issuers_with(|s| {
                s.keys.pop();
                s.keys.push(key(Algorithm::ES256).verification_key(Some("es")).unwrap());
            }),
        ),
        (
            "same key, other kid",
            issuers_with(|s| {
                s.keys.pop();
                s.keys.push(EC.verification_key(Some("es2")).unwrap());
            }),
        ),
        (
            "same key, no kid",
            issuers_with(|s| {
                s.keys.pop();
                s.keys.push(EC.verification_key(None).unwrap());
            }),
        ),
        ("name", issuers_with(|s| s.name = "x".into())),
        ("issuer", issuers_with(|s| s.issuer = Some("x".into()))),
        ("audiences", issuers_with(|s| s.audiences = Some(vec!["api".into()]))),
        ("leeway", issuers_with(|s| s.leeway = Duration::ZERO)),
        ("max_lifetime", issuers_with(|s| s.max_lifetime = None)),
        ("max_age", issuers_with(|s| s.max_age = Some(Duration::from_secs(1)))),
        ("required_claims", issuers_with(|s| s.required_claims.push("jti".into()))),
        ("claims", issuers_with(|s| s.claims.roles = "groups".parse().unwrap())),
        ("extra keys", Issuers::new(vec![settings()], vec!["b:{jti}".parse().unwrap()]).unwrap()),
    ];
    for (what, issuers) in changes {
        assert!(cache.get(&token, &issuers).is_none(), "{what}");
    }
    assert!(cache.get(&token, &issuers()).is_some(), "and back: the fact holds again");
}

#[test]
fn only_the_very_same_token_hits() {
    let (cache, token) = filled();
    let (message, signature) = token.rsplit_once('.').unwrap();
    for other in [
        message.to_owned(),
        format!("{message}."),
        format!("{message}.{}", signature.get(..85).unwrap()),
        format!("{token}="),
        token.to_lowercase(),
        String::new(),
    ] {
        assert!(cache.get(&other, &issuers()).is_none());
    }
}

#[test]
fn a_hit_does_not_outlive_its_times() {
    let (cache, token) = filled();
    let hit = cache.get(&token, &issuers()).unwrap();
    assert_eq!(hit.check_times(NOW), Ok(()));
    assert_eq!(hit.check_times(UnixTime(NOW.0 + 629)), Ok(()));
    assert_eq!(hit.check_times(UnixTime(NOW.0 + 630)), Err(VerifyError::Expired));
    assert_eq!(
        hit.check_times(UnixTime(NOW.0 - 41)),
        Err(VerifyError::IssuedInFuture),
        "a clock that was set back"
    );
}

/// Bounded in bytes, not in entries.
#[test]
fn the_cache_stays_within_its_bytes() {
    let cache = TokenCache::new(100_000);
    let issuers = issuers();
    for number in 0..60 {
        let claims = claims_with(json!({"jti": number.to_string(), "pad": "x".repeat(4000)}));
        let token = token(&good_header(), &claims);
        cache.insert(&token, Arc::new(verify(&issuers, &token).unwrap()));
    }
    cache.settle();
    assert!((1..=12).contains(&cache.len()), "{} entries of about 10 kB", cache.len());
    assert!(!format!("{cache:?}").contains("eyJ"));
}

#[test]
fn a_cache_of_no_bytes_keeps_nothing() {
    let cache = TokenCache::new(0);
    let token = good_token();
    cache.insert(&token, Arc::new(verify(&issuers(), &token).unwrap()));
    cache.settle();
    assert!(cache.get(&token, &issuers()).is_none());
}
