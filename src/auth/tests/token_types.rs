//! Which tokens are access tokens (R13, invariant 2, RFC 9068), and which routes take them.

use serde_json::json;

use super::*;
use crate::auth::{TokenCheck, TokenType};

fn strict() -> Issuers {
    issuers_with(|settings| settings.token_type = TokenType::AtJwt)
}

fn header_of(typ: Option<&str>) -> Value {
    let mut header = good_header();
    match typ {
        Some(typ) => header["typ"] = json!(typ),
        None => drop(header.as_object_mut().unwrap().remove("typ")),
    }
    header
}

/// Claims with everything that RFC 9068 §2.2 requires.
fn complete() -> Value {
    claims_with(json!({"client_id": "app"}))
}

fn without(name: &str) -> Value {
    let mut claims = complete();
    claims.as_object_mut().unwrap().remove(name);
    claims
}

fn reason(issuers: &Issuers, header: &Value, claims: &Value) -> &'static str {
    verify(issuers, &token(header, claims)).err().map_or("accepted", |error| error.reason())
}

#[test]
fn at_jwt_alone_is_taken_where_it_is_configured() {
    // typ, with token_type = "at+jwt", with "any".
    let rows = [
        (Some("at+jwt"), "accepted", "accepted"),
        (Some("application/at+jwt"), "accepted", "accepted"),
        // RFC 9068 §4 with RFC 7515 §4.1.9: a media type, so in any case.
        (Some("AT+JWT"), "accepted", "accepted"),
        (Some("Application/At+Jwt"), "accepted", "accepted"),
        // RFC 9068 §4: "MUST reject tokens carrying any other value".
        (Some("JWT"), "token_type", "accepted"),
        (None, "token_type", "accepted"),
        (Some("at+jwt "), "token_type", "token_type"),
        (Some("application/jwt"), "token_type", "token_type"),
        (Some("logout+jwt"), "token_type", "token_type"),
        (Some("dpop+jwt"), "token_type", "token_type"),
        (Some("id_token+jwt"), "token_type", "token_type"),
        (Some("secevent+jwt"), "token_type", "token_type"),
        (Some(""), "token_type", "token_type"),
    ];
    for (typ, at_jwt, any) in rows {
        let header = header_of(typ);
        assert_eq!(reason(&strict(), &header, &complete()), at_jwt, "at+jwt: {typ:?}");
        assert_eq!(reason(&issuers(), &header, &complete()), any, "any: {typ:?}");
    }
}

#[test]
fn at_jwt_has_every_claim_of_its_rfc() {
    let header = header_of(Some("at+jwt"));
    let lax = issuers_with(|settings| {
        settings.token_type = TokenType::AtJwt;
        settings.required_claims.clear();
        settings.max_lifetime = None;
    });
    for name in ["exp", "aud", "sub", "client_id", "iat", "jti"] {
        // `exp` and `iss` are looked at before the signature.
        assert_eq!(
            reason(&lax, &header, &without(name)),
            "missing_claim",
            "{name} (RFC 9068 §2.2)"
        );
    }
    assert_eq!(reason(&lax, &header, &without("iss")), "unknown_issuer", "iss (RFC 9068 §2.2)");
    // Invariant 3: the right JSON type, or a refusal.
    let wrong = [
        ("sub", json!(7)),
        ("sub", json!(null)),
        ("client_id", json!(["app"])),
        ("client_id", json!(null)),
        ("iat", json!("1800000000")),
        ("jti", json!(1)),
        ("aud", json!({"api": true})),
        ("aud", json!(null)),
        ("exp", json!("1900000000")),
    ];
    for (name, value) in wrong {
        let mut claims = complete();
        claims[name] = value.clone();
        assert_eq!(reason(&lax, &header, &claims), "claim_type", "{name} = {value}");
    }
    assert_eq!(reason(&issuers(), &header, &without("client_id")), "accepted", "any");
    let numeric = claims_with(json!({"sub": 7}));
    assert_eq!(reason(&issuers(), &header, &numeric), "accepted", "any: an integer as sub");
}

#[test]
fn the_type_is_that_of_the_entry_whose_key_made_the_token() {
    let other = key(Algorithm::ES256);
    let mut lenient = settings();
    lenient.name = "lenient".into();
    lenient.keys = vec![other.verification_key(Some("lenient")).unwrap()];
    let mut strict = settings();
    strict.token_type = TokenType::AtJwt;
    let issuers = Issuers::new(vec![strict, lenient], Vec::new()).unwrap();
    let plain = |signer: &SigningKey, kid: &str| {
        let header = json!({"alg": "ES256", "typ": "JWT", "kid": kid}).to_string();
        signer.sign_parts(header.as_bytes(), complete().to_string().as_bytes()).unwrap()
    };
    let entry = |token: &str| verify(&issuers, token).map(|verified| verified.entry.to_string());
    assert_eq!(entry(&plain(&EC, "es")), Err(VerifyError::TokenType));
    assert_eq!(entry(&plain(&other, "lenient")), Ok("lenient".into()));
}

#[test]
fn other_tokens_of_keycloak_are_no_access_tokens() {
    // Keycloak's TokenUtil: every token of a realm has the same key and header; `typ` in the
    // payload alone tells them apart.
    for typ in ["ID", "Refresh", "Offline", "Logout"] {
        let claims = claims_with(json!({"typ": typ}));
        assert_eq!(reason(&issuers(), &good_header(), &claims), "token_type", "{typ}");
    }
    for typ in [json!("Bearer"), json!("bearer"), json!("id"), json!("DPoP"), json!(7)] {
        let claims = claims_with(json!({"typ": typ}));
        assert_eq!(reason(&issuers(), &good_header(), &claims), "accepted", "{typ}");
    }
}

#[test]
fn routes_choose_among_entries_that_fetch_too() {
    let fetching = |name: &str| {
        let mut entry = settings();
        entry.name = name.into();
        entry.check = TokenCheck::SignatureFetched;
        entry.keys.clear();
        entry
    };
    let people = key(Algorithm::ES256);
    let machines = key(Algorithm::ES256);
    // One issuer, two entries, as for two audiences or two kinds of client.
    let issuers = Issuers::new(vec![fetching("people"), fetching("machines")], Vec::new()).unwrap();
    let issuers = issuers
        .with_fetched("people", &[people.verification_key(Some("p")).unwrap()])
        .with_fetched("machines", &[machines.verification_key(Some("m")).unwrap()]);
    let signed = |signer: &SigningKey, kid: &str| {
        let header = json!({"alg": "ES256", "kid": kid}).to_string();
        signer.sign_parts(header.as_bytes(), good_claims().to_string().as_bytes()).unwrap()
    };
    let only = |name: &str| IssuerFilter::Only(vec![name.into()]);
    let entry = |token: &str, allowed: &IssuerFilter| {
        let candidate = issuers.prepare(token, allowed, NOW)?;
        candidate.verify(NOW).map(|verified| verified.entry.to_string())
    };
    let (of_people, of_machines) = (signed(&people, "p"), signed(&machines, "m"));
    assert_eq!(entry(&of_people, &IssuerFilter::All), Ok("people".into()));
    assert_eq!(entry(&of_people, &only("people")), Ok("people".into()));
    assert_eq!(entry(&of_people, &only("machines")), Err(VerifyError::UnknownKey));
    assert_eq!(entry(&of_machines, &only("people")), Err(VerifyError::UnknownKey));
    assert_eq!(entry(&of_machines, &only("nobody")), Err(VerifyError::IssuerNotAllowed));
    // What a refused token may cause to be fetched is limited to the route's entries as well.
    let stranger = signed(&key(Algorithm::ES256), "x");
    let wanted = |allowed: &IssuerFilter| {
        let wanted = issuers.wanted(&stranger, allowed, &VerifyError::UnknownKey);
        wanted.map(|wanted| words_of(&wanted.entries))
    };
    assert_eq!(wanted(&only("machines")), Some("machines".to_owned()));
    assert_eq!(wanted(&IssuerFilter::All), Some("people machines".to_owned()));
    assert_eq!(wanted(&only("nobody")), None);
}

fn words_of(entries: &[Box<str>]) -> String {
    entries.join(" ")
}
