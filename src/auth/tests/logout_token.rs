//! Which logout tokens end something (OpenID Connect Back-Channel Logout 1.0, "BCL" here; RFC 8725;
//! ASVS 10.5.5), and mostly which do not.

use serde_json::json;

use super::*;
use crate::auth::{LogoutToken, LogoutTokenError, TokenCheck, Whom};
use crate::token::ClaimPath;

const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";

fn sending() -> IssuerSettings {
    let mut settings = settings();
    settings.backchannel_logout = Some("gateway".into());
    settings
}

fn receivers() -> Issuers {
    Issuers::new(vec![sending()], Vec::new()).unwrap()
}

fn head() -> Value {
    json!({"alg": "ES256", "typ": "logout+jwt", "kid": "es"})
}

fn logout() -> Value {
    json!({
        "iss": ISSUER, "aud": "gateway", "sub": "ada", "sid": "s-1", "jti": "l-1",
        "iat": NOW.0 - 1, "exp": NOW.0 + 119, "events": { EVENT: {} },
    })
}

/// The good claims with some replaced; those named with `!` in front are left out.
fn with(changes: Value) -> Value {
    let mut claims = logout();
    for (name, value) in changes.as_object().unwrap() {
        match name.strip_prefix('!') {
            Some(name) => drop(claims.as_object_mut().unwrap().remove(name)),
            None => claims[name] = value.clone(),
        }
    }
    claims
}

fn without(names: &[&str]) -> Value {
    let mut claims = logout();
    for name in names {
        claims.as_object_mut().unwrap().remove(*name);
    }
    claims
}

fn read_at(issuers: &Issuers, token: &str, now: UnixTime) -> Result<LogoutToken, LogoutTokenError> {
    issuers.prepare_logout(token, now)?.verify(now)
}

fn read(issuers: &Issuers, token: &str) -> Result<LogoutToken, LogoutTokenError> {
    read_at(issuers, token, NOW)
}

fn refusal(token: &str) -> &'static str {
    read(&receivers(), token).err().map_or("accepted", |error| error.reason())
}

/// What a good token with another header, or with other claims, comes to.
fn judged(header: Value, claims: Value) -> &'static str {
    refusal(&token(&header, &claims))
}

fn header_with(name: &str, value: Value) -> Value {
    let mut header = head();
    header[name] = value;
    header
}

#[test]
fn a_session_or_else_a_user_is_named() {
    let whom = |claims: Value| read(&receivers(), &token(&head(), &claims)).unwrap().whom;
    // BCL §2.4: with a sid it is about that session alone.
    assert_eq!(whom(logout()), Whom::Session("s-1".into()));
    assert_eq!(whom(without(&["sub"])), Whom::Session("s-1".into()));
    assert_eq!(whom(without(&["sid"])), Whom::Subject("ada".into()));
    // BCL §2.4: "Any Claims used that are not understood MUST be ignored."
    assert_eq!(whom(with(json!({"typ": "Logout", "x": [1]}))), Whom::Session("s-1".into()));
    let token = read(&receivers(), &token(&head(), &logout())).unwrap();
    assert_eq!((&*token.entry, &*token.issuer, &*token.jti), ("main", ISSUER, "l-1"));
    let own = ["issuer", "kid", "jti"];
    assert!(token.lookup.undated.iter().zip(own).all(|(key, kind)| key.starts_with(kind)));
    assert_eq!(token.lookup.undated.len(), own.len());
}

#[test]
fn variants_that_the_specification_allows_are_taken() {
    for (what, header, claims) in [
        ("RFC 7515 §4.1.9: a media type, in any case", json!("Application/Logout+JWT"), json!({})),
        ("BCL §2.4: aud as a list", json!("logout+jwt"), json!({"aud": ["gateway"]})),
        ("several audiences", json!("logout+jwt"), json!({"aud": ["web", "gateway"]})),
        ("BCL §2.4: SHOULD be empty", json!("logout+jwt"), json!({"events": {EVENT: {"a": 1}}})),
        ("another event beside it", json!("logout+jwt"), json!({"events": {EVENT: {}, "x": {}}})),
        ("fractions of seconds", json!("logout+jwt"), json!({"iat": NOW.0 as f64 - 0.5})),
        ("a clock that is ahead by the leeway", json!("logout+jwt"), json!({"iat": NOW.0 + 30})),
        ("expired within the leeway", json!("logout+jwt"), json!({"exp": NOW.0 - 1})),
        ("a long life is cut, not refused", json!("logout+jwt"), json!({"exp": NOW.0 + 86_400})),
    ] {
        assert_eq!(judged(header_with("typ", header), with(claims)), "accepted", "{what}");
    }
}

/// BCL §2.4: what makes a logout token, and nothing else.
#[test]
fn other_tokens_are_no_logout_tokens() {
    let typ = |typ: Value| header_with("typ", typ);
    let untyped = json!({"alg": "ES256", "kid": "es"});
    let rows = [
        ("typ JWT (ASVS 10.5.5)", typ(json!("JWT")), logout(), "token_type"),
        ("no typ (RFC 8725 §3.11)", untyped, logout(), "token_type"),
        ("an access token's typ (RFC 9068)", typ(json!("at+jwt")), logout(), "token_type"),
        ("a security event's typ (RFC 8417)", typ(json!("secevent+jwt")), logout(), "token_type"),
        ("typ in another tree", typ(json!("text/logout+jwt")), logout(), "token_type"),
        ("typ with white space", typ(json!("logout+jwt ")), logout(), "token_type"),
        ("typ that is no text", typ(json!(["logout+jwt"])), logout(), "malformed"),
        ("an access token", good_header(), good_claims(), "token_type"),
        ("an access token under the typ", head(), good_claims(), "logout_event"),
        ("an ID token (§2.4: nonce)", head(), with(json!({"nonce": "n"})), "logout_nonce"),
        ("nonce null", head(), with(json!({"nonce": null})), "logout_nonce"),
        ("no events", head(), without(&["events"]), "logout_event"),
        ("events as text", head(), with(json!({"events": EVENT})), "logout_event"),
        ("events as a list", head(), with(json!({"events": [EVENT]})), "logout_event"),
        ("events empty", head(), with(json!({"events": {}})), "logout_event"),
        ("events null", head(), with(json!({"events": null})), "logout_event"),
        ("another event", head(), with(json!({"events": {"x": {}}})), "logout_event"),
        ("event true", head(), with(json!({"events": {EVENT: true}})), "logout_event"),
        ("event null", head(), with(json!({"events": {EVENT: null}})), "logout_event"),
        ("event a list", head(), with(json!({"events": {EVENT: []}})), "logout_event"),
        (
            "https in the event's name",
            head(),
            with(json!({"events": {"https://schemas.openid.net/event/backchannel-logout": {}}})),
            "logout_event",
        ),
    ];
    for (what, header, claims, reason) in rows {
        assert_eq!(judged(header, claims), reason, "{what}");
    }
}

/// BCL §2.4 and §2.6: each claim that is required, its type and its value.
#[test]
fn claims_are_required_with_their_types() {
    let n = NOW.0;
    let rows = [
        ("no iss", without(&["iss"]), "missing_claim"),
        ("another iss", with(json!({"iss": "https://evil.example"})), "unknown_issuer"),
        ("iss with a slash more", with(json!({"iss": format!("{ISSUER}/")})), "unknown_issuer"),
        ("iss as a list", with(json!({"iss": [ISSUER]})), "claim_type"),
        ("no aud", without(&["aud"]), "missing_claim"),
        ("another client", with(json!({"aud": "web"})), "audience"),
        ("the access tokens' audience", with(json!({"aud": "api"})), "audience"),
        ("aud empty", with(json!({"aud": []})), "audience"),
        ("aud in another case (R12)", with(json!({"aud": "Gateway"})), "audience"),
        ("aud an object", with(json!({"aud": {"gateway": 1}})), "claim_type"),
        ("aud with a number", with(json!({"aud": ["gateway", 1]})), "claim_type"),
        ("no iat", without(&["iat"]), "missing_claim"),
        ("iat as text (invariant 3)", with(json!({"iat": n.to_string()})), "claim_type"),
        ("iat null", with(json!({"iat": null})), "claim_type"),
        ("iat ahead of the leeway", with(json!({"iat": n + 31})), "issued_in_future"),
        ("iat too old", with(json!({"iat": n - 151, "exp": n + 60})), "too_old"),
        ("iat ages ago, exp in years", with(json!({"iat": 1, "exp": n + 9_999})), "too_old"),
        ("no exp", without(&["exp"]), "missing_claim"),
        ("exp as text (CVE-2026-25537)", with(json!({"exp": (n + 9).to_string()})), "claim_type"),
        ("expired", with(json!({"iat": n - 100, "exp": n - 30})), "expired"),
        ("exp before iat", with(json!({"iat": n, "exp": n - 1})), "lifetime"),
        ("not yet valid", with(json!({"nbf": n + 31})), "not_yet_valid"),
        ("nbf as text", with(json!({"nbf": "1"})), "claim_type"),
        ("no jti", without(&["jti"]), "missing_claim"),
        ("jti empty", with(json!({"jti": ""})), "missing_claim"),
        ("jti a number", with(json!({"jti": 7})), "claim_type"),
        ("jti of 2 KiB", with(json!({"jti": "x".repeat(2048)})), "claim_too_long"),
        ("neither sub nor sid", without(&["sub", "sid"]), "logout_nobody"),
        ("sid a number", with(json!({"sid": 7})), "claim_type"),
        ("sid null beside sub", with(json!({"sid": null})), "claim_type"),
        ("sid empty beside sub", with(json!({"sid": ""})), "claim_type"),
        ("sub a number beside sid", with(json!({"sub": 7})), "claim_type"),
        ("sub a list", with(json!({"sub": ["ada"], "!sid": 0})), "claim_type"),
        ("sub empty", with(json!({"sub": "", "!sid": 0})), "claim_type"),
        ("a line break in sid (R25)", with(json!({"sid": "a\r\nb"})), "control_character"),
        ("a NUL in sub (R25)", with(json!({"sub": "a\0", "!sid": 0})), "control_character"),
    ];
    for (what, claims, reason) in rows {
        assert_eq!(judged(head(), claims), reason, "{what}");
    }
}

/// RFC 8725 §3.1 to §3.10, as for access tokens.
#[test]
fn forged_and_odd_ones_are_refused() {
    let header = |name: &str, value: Value| token(&header_with(name, value), &logout());
    let signed = token(&head(), &logout());
    let stranger = key(Algorithm::ES256);
    let parts = |header: &Value, claims: &str| {
        EC.sign_parts(header.to_string().as_bytes(), claims.as_bytes()).unwrap()
    };
    let text = logout().to_string();
    let twice = text.replacen('{', "{\"sid\":\"s-0\",", 1);
    let by_stranger = stranger.sign_parts(head().to_string().as_bytes(), text.as_bytes()).unwrap();
    let (message, _) = signed.rsplit_once('.').unwrap();
    // The public key's PEM as an HMAC secret (CVE-2015-9235) leads to no key at all.
    let rows = [
        ("alg none", header("alg", json!("none")), "algorithm"),
        ("alg of the other key", header("alg", json!("RS256")), "algorithm"),
        ("alg HS256 (R3)", header("alg", json!("HS256")), "algorithm"),
        ("alg in another case (R1)", header("alg", json!("es256")), "algorithm"),
        ("no alg", token(&json!({"typ": "logout+jwt"}), &logout()), "malformed"),
        ("crit (R8)", header("crit", json!(["x"])), "unsupported_header"),
        ("b64 (R8)", header("b64", json!(false)), "unsupported_header"),
        ("zip (R8)", header("zip", json!("DEF")), "unsupported_header"),
        ("an unknown kid (R4)", header("kid", json!("x")), "unknown_key"),
        ("kid a number", header("kid", json!(1)), "malformed"),
        ("another's signature", by_stranger, "signature"),
        ("no signature", format!("{message}."), "signature"),
        ("no dot", "x".to_owned(), "malformed"),
        ("five parts, a JWE (R6)", format!("{signed}.a.b"), "malformed"),
        ("white space", format!(" {signed}"), "malformed"),
        ("padding (R6)", format!("{signed}="), "malformed"),
        ("nothing", String::new(), "malformed"),
        ("a claim twice (R7)", parts(&head(), &twice), "malformed"),
        ("claims as a list", parts(&head(), "[]"), "malformed"),
        ("behind the claims", parts(&head(), &format!("{text} x")), "malformed"),
    ];
    for (what, token, reason) in rows {
        assert_eq!(refusal(&token), reason, "{what}");
    }
    let embedded = header("jwk", json!({"kty": "oct", "k": "YQ"}));
    assert_eq!(refusal(&embedded), "accepted", "R4: an embedded key is not looked at");
}

#[test]
fn each_refusal_that_an_honest_provider_cannot_cause_is_counted() {
    let counts = |claims: Value| {
        read(&receivers(), &token(&head(), &claims)).unwrap_err().counts_as_failure()
    };
    for claims in [without(&["events"]), with(json!({"nonce": 1})), with(json!({"aud": "x"}))] {
        assert!(counts(claims.clone()), "{claims}");
    }
    let n = NOW.0;
    for late in [json!({"exp": n - 60, "iat": n - 90}), json!({"iat": n + 60, "exp": n + 90})] {
        assert!(!counts(with(late.clone())), "{late}");
    }
}

/// BCL §2.4: tokens live two minutes; what the store must remember is bounded by that.
#[test]
fn a_token_is_taken_for_two_minutes_and_known_for_as_long() {
    let claims = with(json!({"iat": NOW.0, "exp": NOW.0 + 9_999}));
    let token = token(&head(), &claims);
    let at = |seconds: i64| read_at(&receivers(), &token, UnixTime(NOW.0 + seconds));
    assert_eq!(at(150).unwrap().until, UnixTime(NOW.0 + 150));
    assert_eq!(at(151), Err(LogoutTokenError::Token(VerifyError::TooOld)));
    assert_eq!(at(-30).unwrap().until, UnixTime(NOW.0 + 150));
    assert_eq!(at(-31), Err(LogoutTokenError::Token(VerifyError::IssuedInFuture)));
}

#[test]
fn only_entries_that_take_logouts_are_asked() {
    let good = token(&head(), &logout());
    assert_eq!(read(&issuers(), &good).unwrap_err().reason(), "issuer_not_allowed");
    assert!(!issuers().take_logouts() && receivers().take_logouts());
    // Another entry of the same issuer, for another client, with the same keys.
    let mut web = sending();
    web.name = "web".into();
    web.backchannel_logout = Some("web".into());
    web.algorithms = vec![Algorithm::ES256];
    web.keys = vec![EC.verification_key(Some("es-web")).unwrap()];
    let both = Issuers::new(vec![sending(), web], Vec::new()).unwrap();
    let untold = json!({"alg": "ES256", "typ": "logout+jwt"});
    for (aud, entry) in [("gateway", Some("main")), ("web", Some("web")), ("app", None)] {
        let token = token(&untold, &with(json!({"aud": aud})));
        let found = read(&both, &token).ok().map(|token| token.entry.to_string());
        assert_eq!(found.as_deref(), entry, "{aud}");
    }
    // With HMAC only where the entry is HMAC's (R3).
    let mut secret = IssuerSettings::new("secret", vec![Algorithm::HS256]);
    secret.issuer = Some(ISSUER.into());
    secret.backchannel_logout = Some("gateway".into());
    secret.keys = vec![HMAC.verification_key(Some("hs")).unwrap()];
    let secret = Issuers::new(vec![secret], Vec::new()).unwrap();
    let header = json!({"alg": "HS256", "typ": "logout+jwt", "kid": "hs"}).to_string();
    let token = HMAC.sign_parts(header.as_bytes(), logout().to_string().as_bytes()).unwrap();
    assert!(read(&secret, &token).is_ok());
    assert_eq!(read(&receivers(), &token).unwrap_err().reason(), "algorithm");
}

#[test]
fn a_user_is_not_ended_under_another_name() {
    let of_user = token(&head(), &without(&["sid"]));
    let mut other = sending();
    other.claims.subject = ClaimPath::Name("email".into());
    let elsewhere = Issuers::new(vec![other], Vec::new()).unwrap();
    assert_eq!(read(&elsewhere, &of_user), Err(LogoutTokenError::Subject));
    assert!(read(&elsewhere, &token(&head(), &logout())).is_ok(), "a session is named by sid");
    // Nor where only a second entry of the issuer does so.
    let mut second = settings();
    second.name = "second".into();
    second.algorithms = vec![Algorithm::RS256];
    second.keys = vec![RSA.verification_key(Some("second")).unwrap()];
    second.claims.subject = ClaimPath::Name("email".into());
    let mixed = Issuers::new(vec![sending(), second], Vec::new()).unwrap();
    assert_eq!(read(&mixed, &of_user), Err(LogoutTokenError::Subject));
}

#[test]
fn an_unknown_key_may_be_fetched_for_a_logout_too() {
    let mut fetching = sending();
    fetching.check = TokenCheck::SignatureFetched;
    fetching.keys.clear();
    let issuers = Issuers::new(vec![fetching], Vec::new()).unwrap();
    let token = token(&head(), &logout());
    let refusal = read(&issuers, &token).unwrap_err();
    assert_eq!(refusal.reason(), "unknown_key");
    assert_eq!(issuers.wanted_for_logout(&token, &refusal).unwrap().entries, words(&["main"]));
    assert_eq!(issuers.wanted_for_logout(&token, &LogoutTokenError::Event), None);
    let unknown = LogoutTokenError::Token(VerifyError::UnknownKey);
    assert_eq!(issuers.wanted_for_logout(&good_token(), &unknown), None, "an access token");
    let fetched = issuers.with_fetched("main", &[EC.verification_key(Some("es")).unwrap()]);
    assert!(read(&fetched, &token).is_ok());
}

/// Invariant 2: and the other way round.
#[test]
fn a_logout_token_is_no_access_token() {
    for typ in ["logout+jwt", "JWT", "at+jwt"] {
        let claims = with(json!({"aud": ["gateway", "api"], "exp": NOW.0 + 600}));
        let token = token(&header_with("typ", json!(typ)), &claims);
        assert_eq!(verify(&receivers(), &token).err(), Some(VerifyError::TokenType), "{typ}");
    }
}
