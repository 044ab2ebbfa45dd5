//! Which tokens a provider is asked about, and what its answers are worth (RFC 7662).

use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::auth::{Introspectable, NotAccepted, TokenCheck};
use crate::token::token_digest;

const OPAQUE: &str = "2YotnFZFEjr1zCsicMWpAA";
const ELSEWHERE: &str = "https://opaque.example";

/// An entry that introspects tokens of [`ELSEWHERE`].
fn asking() -> IssuerSettings {
    let mut settings = IssuerSettings::new("opaque", Vec::new());
    settings.issuer = Some(ELSEWHERE.into());
    settings.audiences = Some(vec!["api".into()]);
    settings.check = TokenCheck::Introspection;
    settings
}

/// Beside the entry that verifies signatures.
fn both() -> Issuers {
    Issuers::new(vec![settings(), asking()], Vec::new()).unwrap()
}

fn answer() -> Value {
    json!({
        "active": true, "sub": "ada", "aud": "api", "client_id": "app", "scope": "read write",
        "token_type": "Bearer", "iss": ELSEWHERE, "exp": NOW.0 + 600, "iat": NOW.0 - 10,
        "jti": "o-1", "sid": "s-1", "roles": ["user"],
    })
}

fn answer_with(changes: Value) -> String {
    let mut answer = answer();
    for (name, value) in changes.as_object().unwrap() {
        answer[name] = value.clone();
    }
    answer.to_string()
}

fn answer_without(name: &str) -> String {
    let mut answer = answer();
    answer.as_object_mut().unwrap().remove(name).unwrap();
    answer.to_string()
}

fn judged_by(settings: IssuerSettings, answer: &str) -> Result<Verified, NotAccepted> {
    let issuers = Issuers::new(vec![settings], Vec::new()).unwrap();
    let asked = issuers.introspected_by(OPAQUE, &IssuerFilter::All).unwrap();
    asked.accept(answer.as_bytes(), Duration::ZERO, NOW)
}

fn judged(answer: &str) -> Result<Verified, NotAccepted> {
    judged_by(asking(), answer)
}

fn entry_of<'i>(issuers: &'i Issuers, token: &str, allowed: &IssuerFilter) -> Option<&'i str> {
    let asked = issuers.introspecting(token, allowed);
    assert!(asked.len() <= 1);
    asked.first().map(|entry| entry.name.as_str())
}

fn jwt(claims: &Value) -> String {
    EC.sign("JWT", Some("es"), claims.as_object().unwrap()).unwrap()
}

#[test]
fn a_provider_is_asked_only_about_what_may_be_its_own() {
    let issuers = both();
    let its = json!({"iss": ELSEWHERE, "sub": "ada", "exp": NOW.0 + 600});
    let with = |name: &str, value: Value| {
        let mut claims = its.clone();
        claims[name] = value;
        jwt(&claims)
    };
    let asked = [
        ("opaque", OPAQUE.to_owned()),
        ("opaque with dots", "a.b.c".to_owned()),
        ("every character of RFC 6750 section 2.1", "aZ0-._~+/==".to_owned()),
        ("a JWE (RFC 7516) is for its provider to decrypt", format!("{}.eHh4.eHh4", jwt(&its))),
        ("a JWT of its issuer", jwt(&its)),
    ];
    for (name, token) in asked {
        assert_eq!(entry_of(&issuers, &token, &IssuerFilter::All), Some("opaque"), "{name}");
    }
    let not_asked = [
        ("a JWT of the issuer whose signature is checked here", jwt(&good_claims())),
        ("a JWT of a stranger: not sent to whom it does not concern", with("iss", json!("x"))),
        ("iss of another type (invariant 3)", with("iss", json!([ELSEWHERE]))),
        ("an ID token (invariant 2)", with("nonce", json!("n"))),
        ("a logout token (invariant 2)", with("events", json!({}))),
        ("empty", String::new()),
        ("not a token (RFC 6750 section 2.1)", "a b".to_owned()),
        ("a form in disguise", "a&token_type_hint=refresh_token".to_owned()),
        ("too long", "a".repeat(64 * 1024 + 1)),
    ];
    for (name, token) in not_asked {
        assert_eq!(entry_of(&issuers, &token, &IssuerFilter::All), None, "{name}");
    }
    let crit = EC.sign("logout+jwt", Some("es"), its.as_object().unwrap()).unwrap();
    assert_eq!(entry_of(&issuers, &crit, &IssuerFilter::All), None, "not an access token (R13)");
}

#[test]
fn the_routes_issuers_decide_who_is_asked() {
    let only = |name: &str| IssuerFilter::Only(vec![name.into()]);
    let issuers = both();
    assert_eq!(entry_of(&issuers, OPAQUE, &only("main")), None);
    assert_eq!(entry_of(&issuers, OPAQUE, &only("opaque")), Some("opaque"));
    // One issuer, two entries: signatures here, the provider's word where a route wants that.
    let mut strict = asking();
    strict.issuer = Some(ISSUER.into());
    let issuers = Issuers::new(vec![settings(), strict], Vec::new()).unwrap();
    let token = jwt(&good_claims());
    assert_eq!(entry_of(&issuers, &token, &IssuerFilter::All), None, "checked here");
    assert_eq!(entry_of(&issuers, &token, &only("opaque")), Some("opaque"));
    // Not by its signature there: the entry has no key, and takes none.
    let refused = issuers.prepare(&token, &only("opaque"), NOW).unwrap_err();
    assert_eq!(refused, VerifyError::Algorithm);
    let mut second = asking();
    second.name = "another".into();
    let issuers = Issuers::new(vec![asking(), second], Vec::new()).unwrap();
    assert!(issuers.introspected_by(OPAQUE, &IssuerFilter::All).is_none(), "a choice");
}

#[test]
fn keys_beside_an_introspected_entry_are_no_way_around_it() {
    let mut entry = asking();
    entry.algorithms = vec![Algorithm::ES256];
    entry.keys = vec![EC.verification_key(Some("es")).unwrap()];
    let issuers = Issuers::new(vec![entry], Vec::new()).unwrap();
    let token = jwt(&json!({"iss": ELSEWHERE, "aud": "api", "sub": "ada", "iat": NOW.0,
                            "exp": NOW.0 + 60}));
    let refused = issuers.prepare(&token, &IssuerFilter::All, NOW).unwrap_err();
    assert_eq!(refused, VerifyError::UnknownKey);
}

#[test]
fn an_active_token_makes_a_caller() {
    let verified = judged(&answer().to_string()).unwrap();
    assert_eq!(&*verified.entry, "opaque");
    assert_eq!(&*verified.issuer, ELSEWHERE);
    assert_eq!(verified.subject.as_deref(), Some("ada"));
    assert_eq!(verified.clients, [Box::from("app")]);
    assert_eq!(verified.scopes, [Box::from("read"), Box::from("write")]);
    assert_eq!(verified.kid, None);
    assert!(verified.is_introspected());
    let iss = "https%3A%2F%2Fopaque.example";
    let undated: Vec<String> = vec![
        format!("issuer:{iss}"),
        format!("token:{}", token_digest(OPAQUE)),
        format!("jti:{iss}:o-1"),
        format!("sid:{iss}:s-1"),
    ];
    assert_eq!(verified.lookup.undated.iter().map(|s| s.to_string()).collect::<Vec<_>>(), undated);
    let dated: [Box<str>; 2] =
        [format!("sub:{iss}:ada").into(), format!("client:{iss}:app").into()];
    assert_eq!(verified.lookup.dated, dated);
    assert_eq!(verified.lookup.until, UnixTime(NOW.0 + 630));
}

#[test]
fn what_need_not_be_said_may_be_absent() {
    let least = json!({"active": true, "sub": "ada", "aud": ["x", "api"]}).to_string();
    let verified = judged(&least).unwrap();
    assert_eq!(verified.claims["iss"], json!(ELSEWHERE), "its provider speaks for the issuer");
    assert_eq!(verified.expires_at, UnixTime(NOW.0 + 60));
    assert_eq!(verified.issued_at, None, "any dated revocation refuses it");
    let issuers = Issuers::new(vec![asking()], Vec::new()).unwrap();
    let asked: Introspectable<'_> = issuers.introspected_by(OPAQUE, &IssuerFilter::All).unwrap();
    let verified = asked.accept(least.as_bytes(), Duration::from_secs(300), NOW).unwrap();
    assert_eq!(verified.expires_at, UnixTime(NOW.0 + 300), "known as long as it is reused");
    assert!(issuers.still_holds(&verified));
    let mut other = asking();
    other.audiences = Some(vec!["other".into()]);
    assert!(!Issuers::new(vec![other], Vec::new()).unwrap().still_holds(&verified));
}

#[test]
fn only_active_true_is_a_yes() {
    let nonsense = [
        ("a string (invariant 3)", answer_with(json!({"active": "true"}))),
        ("a number", answer_with(json!({"active": 1}))),
        ("null", answer_with(json!({"active": null}))),
        ("absent (RFC 7662 section 2.2: required)", answer_without("active")),
        (
            "twice, the last is true",
            r#"{"active":false,"active":true,"sub":"a","aud":"api"}"#.into(),
        ),
        ("twice, the last is false", r#"{"active":true,"active":false,"aud":"api"}"#.into()),
        ("a claim twice", r#"{"active":true,"sub":"a","sub":"b","aud":"api"}"#.into()),
        ("an array", format!("[{}]", answer())),
        ("two documents", format!("{0}{0}", answer())),
        ("HTML with status 200", "<!doctype html><title>Sign in</title>".into()),
        ("a signed answer (RFC 9701), not asked for", jwt(&good_claims())),
        ("true alone", "true".into()),
        ("empty", String::new()),
        ("cut off", answer().to_string().split_at(40).0.to_owned()),
    ];
    for (name, answer) in nonsense {
        let judged = judged(&answer);
        assert!(matches!(judged, Err(NotAccepted::Nonsense(_))), "{name}: {judged:?}");
    }
    for inactive in [r#"{"active":false}"#.to_owned(), answer_with(json!({"active": false}))] {
        assert_eq!(judged(&inactive).unwrap_err(), VerifyError::Inactive.into());
    }
    assert!(VerifyError::Inactive.counts_as_failure());
}

#[test]
fn an_active_token_can_be_refused_all_the_same() {
    let missing = |claim: &str| VerifyError::MissingClaim(claim.into());
    let cases = [
        ("another issuer's", answer_with(json!({"iss": ISSUER})), VerifyError::UnknownIssuer),
        ("iss a list", answer_with(json!({"iss": [ELSEWHERE]})), VerifyError::ClaimType("iss")),
        ("iss null", answer_with(json!({"iss": null})), VerifyError::ClaimType("iss")),
        ("another's audience (R12)", answer_with(json!({"aud": "other"})), VerifyError::Audience),
        ("no audience (R12)", answer_without("aud"), missing("aud")),
        ("empty audience (R12)", answer_with(json!({"aud": []})), VerifyError::Audience),
        ("aud a number", answer_with(json!({"aud": 1})), VerifyError::ClaimType("aud")),
        (
            "expired",
            answer_with(json!({"exp": NOW.0 - 30, "iat": NOW.0 - 90})),
            VerifyError::Expired,
        ),
        ("exp zero", answer_with(json!({"exp": 0, "iat": 0})), VerifyError::Expired),
        (
            "exp a string (invariant 3, CVE-2026-25537)",
            answer_with(json!({"exp": "9999999999"})),
            VerifyError::ClaimType("exp"),
        ),
        ("exp null", answer_with(json!({"exp": null})), VerifyError::ClaimType("exp")),
        ("nbf ahead", answer_with(json!({"nbf": NOW.0 + 31})), VerifyError::NotYetValid),
        ("nbf a string", answer_with(json!({"nbf": "1"})), VerifyError::ClaimType("nbf")),
        ("iat ahead", answer_with(json!({"iat": NOW.0 + 31})), VerifyError::IssuedInFuture),
        ("lives too long", answer_with(json!({"exp": NOW.0 + 86_400})), VerifyError::Lifetime),
        ("no subject", answer_without("sub"), missing("sub")),
        ("sub a list", answer_with(json!({"sub": ["a"]})), VerifyError::ClaimType("subject")),
        (
            "line break in a role (R25)",
            answer_with(json!({"roles": ["a\nb"]})),
            VerifyError::ControlCharacter("roles"),
        ),
        ("roles an object", answer_with(json!({"roles": {}})), VerifyError::ClaimType("roles")),
        (
            "jti over 1 KiB (R46)",
            answer_with(json!({"jti": "j".repeat(1025)})),
            VerifyError::ClaimTooLong("jti"),
        ),
    ];
    for (name, answer, refusal) in cases {
        assert_eq!(judged(&answer).unwrap_err(), refusal.into(), "{name}");
    }
    let mut far: Value = serde_json::from_str(&answer_without("iat")).unwrap();
    far["exp"] = json!(NOW.0 + 86_431);
    assert_eq!(
        judged(&far.to_string()).unwrap_err(),
        VerifyError::Lifetime.into(),
        "without iat, from now: a revocation made now must outlast it"
    );
}

/// A provider may call active whatever it knows; only an access token opens the door (RFC 7662
/// section 4, RFC 6749 section 1.5: refresh tokens are never sent to resource servers).
#[test]
fn refresh_and_id_tokens_are_no_access_tokens() {
    let refused = [
        ("Keycloak: refresh", json!({"typ": "Refresh"})),
        ("Keycloak: offline", json!({"typ": "Offline"})),
        ("Keycloak: ID", json!({"typ": "ID"})),
        ("Keycloak: logout", json!({"typ": "Logout"})),
        ("Hydra", json!({"token_use": "refresh_token"})),
        ("Cognito: ID", json!({"token_use": "id"})),
        ("by its type", json!({"token_type": "refresh_token"})),
        ("RFC 8693", json!({"token_type": "urn:ietf:params:oauth:token-type:refresh_token"})),
        ("N_A (RFC 8693 section 2.2.1)", json!({"token_type": "N_A"})),
        ("bound to a key (RFC 9449 section 7.2)", json!({"token_type": "DPoP"})),
        ("bound to a MAC", json!({"token_type": "mac"})),
        ("ID token by its claims", json!({"nonce": "n"})),
        ("the same", json!({"at_hash": "h"})),
        ("logout token by its claims", json!({"events": {}})),
    ];
    for (name, change) in refused {
        let judged = judged(&answer_with(change));
        assert_eq!(judged.unwrap_err(), VerifyError::TokenType.into(), "{name}");
    }
    for change in [json!({"token_type": ["Bearer"]}), json!({"typ": null}), json!({"token_use": 1})]
    {
        let judged = judged(&answer_with(change.clone()));
        let refused = matches!(judged, Err(NotAccepted::Refused(VerifyError::ClaimType(_))));
        assert!(refused, "{change}: {judged:?}");
    }
    let taken = [
        json!({"token_type": "bearer"}),
        json!({"token_type": "access_token"}),
        json!({"typ": "Bearer"}),
        json!({"typ": "at+jwt"}),
        json!({"token_use": "access_token"}),
    ];
    for change in taken {
        assert!(judged(&answer_with(change.clone())).is_ok(), "{change}");
    }
    // Where the provider says it of access tokens alone, its absence can refuse.
    let mut telling = asking();
    telling.required_claims.push("token_type".into());
    let silent = judged_by(telling, &answer_without("token_type")).unwrap_err();
    assert_eq!(silent, VerifyError::MissingClaim("token_type".into()).into());
}

#[test]
fn the_entrys_settings_hold() {
    let change = |change: fn(&mut IssuerSettings)| {
        let mut settings = asking();
        change(&mut settings);
        settings
    };
    let off = change(|settings| settings.issuer = None);
    assert_eq!(
        judged_by(off, &answer().to_string()).unwrap_err(),
        VerifyError::UnknownIssuer.into(),
        "issuer \"off\" takes no answer with iss"
    );
    let nobody = change(|settings| settings.audiences = None);
    assert_eq!(
        judged_by(nobody, &answer().to_string()).unwrap_err(),
        VerifyError::Audience.into(),
        "audiences \"off\" takes no answer with aud"
    );
    let aged = || change(|settings| settings.max_age = Some(Duration::from_secs(5)));
    assert_eq!(
        judged_by(aged(), &answer_with(json!({"iat": NOW.0 - 36}))).unwrap_err(),
        VerifyError::TooOld.into()
    );
    assert_eq!(
        judged_by(aged(), &answer_without("iat")).unwrap_err(),
        VerifyError::MissingClaim("iat".into()).into(),
        "an age that nobody knows"
    );
    let ends = || change(|settings| settings.required_claims.push("exp".into()));
    assert_eq!(
        judged_by(ends(), &answer_without("exp")).unwrap_err(),
        VerifyError::MissingClaim("exp".into()).into()
    );
    // The leeway counts twice: iat may be ahead by it, and exp is past by it at the very end.
    let day = Duration::from_secs(24 * 60 * 60 + 60);
    assert_eq!(ends().lives_at_most(), Some(day));
    assert_eq!(asking().lives_at_most(), None, "nothing says that its tokens end");
    assert_eq!(settings().lives_at_most(), Some(day));
}

proptest! {
    /// Whatever an endpoint sends and whatever a client presents, it is refused, never a panic.
    #[test]
    fn nothing_panics(token in ".{0,80}", answer in prop::collection::vec(any::<u8>(), 0..200)) {
        let issuers = both();
        if let Some(asked) = issuers.introspected_by(&token, &IssuerFilter::All) {
            prop_assert!(asked.accept(&answer, Duration::ZERO, NOW).is_err());
            let debug = format!("{asked:?}");
            prop_assert_eq!(debug, "Introspectable { entry: \"opaque\", .. }");
        }
    }
}
