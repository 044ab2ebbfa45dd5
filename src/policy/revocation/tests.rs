//! Every kind against every sort of issuer: which entry, from which `iat` on, until when.

use serde_json::{Value, json};

use super::*;
use crate::auth::Algorithm;

const NOW: UnixTime = UnixTime(1_800_000_000);
const KINDS: [&str; 6] = ["client", "issuer", "jti", "kid", "sid", "sub"];
const A: &str = "https://a.test";
const DAY: u64 = 24 * 60 * 60;

fn entry(name: &str, change: impl FnOnce(&mut IssuerSettings)) -> IssuerSettings {
    let mut settings = IssuerSettings::new(name, vec![Algorithm::ES256]);
    settings.issuer = Some(A.to_owned());
    change(&mut settings);
    settings
}

fn issuers(entries: Vec<IssuerSettings>) -> Issuers {
    Issuers::new(entries, Vec::new()).unwrap()
}

/// The defaults: a day and 30 s of leeway.
fn plain() -> Issuers {
    issuers(vec![entry("a", |_| {})])
}

fn unbounded() -> Issuers {
    issuers(vec![entry("a", |settings| settings.max_lifetime = None)])
}

fn introspected(required: &[&str]) -> IssuerSettings {
    entry("asked", |settings| {
        settings.algorithms.clear();
        settings.check = TokenCheck::Introspection;
        settings.required_claims.extend(required.iter().map(ToString::to_string));
    })
}

/// Two entries for one `iss`, as for a shared secret beside public keys.
fn shared_name() -> Issuers {
    let other = entry("b", |settings| {
        settings.algorithms = vec![Algorithm::HS256];
        settings.max_lifetime = Some(Duration::from_secs(2 * DAY));
        settings.leeway = Duration::from_secs(10);
    });
    issuers(vec![entry("a", |_| {}), other])
}

fn two_names() -> Issuers {
    let other = entry("b", |settings| settings.issuer = Some("https://b.test".to_owned()));
    issuers(vec![entry("a", |_| {}), other])
}

fn nameless() -> Issuers {
    issuers(vec![entry("a", |settings| settings.issuer = None)])
}

/// A revocation of this kind, with more members.
fn asked(kind: &str, more: Value) -> Asked {
    let mut body = more;
    body[kind] = json!(if kind == "issuer" { A } else { "v" });
    serde_json::from_value(body).unwrap()
}

fn judged(issuers: &Issuers, asked: &Asked) -> Result<Revocation, AskedError> {
    of(asked, "admin", issuers, NOW)
}

fn refused(issuers: &Issuers, asked: &Asked) -> String {
    judged(issuers, asked).expect_err("a refusal").to_string()
}

fn seconds(seconds: u64) -> End {
    End::For(Duration::from_secs(seconds))
}

/// Without a word more: the life of the entry is that of the longest-lived token, seen from an
/// issuer whose clock is ahead; keys and issuers are revoked without end.
#[test]
fn every_kind_under_every_issuer() {
    let fetched = issuers(vec![entry("a", |s| s.check = TokenCheck::SignatureFetched)]);
    let hasty = issuers(vec![entry("a", |settings| {
        settings.max_lifetime = Some(Duration::from_secs(600));
        settings.leeway = Duration::ZERO;
    })]);
    let ends = issuers(vec![introspected(&["exp"])]);
    for (name, issuers, life, leeway) in [
        ("plain", plain(), DAY + 60, 30),
        ("fetched keys", fetched, DAY + 60, 30),
        ("short and without leeway", hasty, 600, 0),
        ("two entries of one iss", shared_name(), 2 * DAY + 20, 30),
        ("introspected, with exp", ends, DAY + 60, 30),
    ] {
        for kind in KINDS {
            let context = format!("{kind}, {name}");
            if kind == "kid" && name.starts_with("introspected") {
                assert!(refused(&issuers, &asked(kind, json!({}))).contains("no key"), "{context}");
                continue;
            }
            let wanted = judged(&issuers, &asked(kind, json!({"reason": "why"}))).unwrap();
            let is_endless = matches!(kind, "issuer" | "kid");
            let end = if is_endless { End::Never } else { seconds(life) };
            assert_eq!(wanted.end, end, "{context}");
            let leeway = Duration::from_secs(leeway);
            let dated = matches!(kind, "sub" | "client").then_some(IssuedBefore::Now { leeway });
            assert_eq!(wanted.issued_before, dated, "{context}");
            assert_eq!(wanted.selector.kind.as_str(), kind, "{context}");
            assert_eq!(wanted.selector.issuer, A, "{context}");
            let value = if kind == "issuer" { "" } else { "v" };
            assert_eq!(wanted.selector.value, value, "{context}");
            assert_eq!((wanted.reason.as_str(), wanted.by.as_str()), ("why", "admin"));
        }
    }
}

/// Nothing bounds the tokens: the operator must say how long, but for what has no end anyway.
#[test]
fn tokens_without_end_need_for() {
    let endless = [
        unbounded(),
        issuers(vec![introspected(&[])]),
        // One entry of the iss that does not end is enough.
        issuers(vec![entry("a", |_| {}), introspected(&[])]),
    ];
    for (place, issuers) in endless.iter().enumerate() {
        for kind in ["client", "jti", "sid", "sub"] {
            let text = refused(issuers, &asked(kind, json!({})));
            assert!(text.contains("say how long"), "{place} {kind}: {text}");
            let wanted = judged(issuers, &asked(kind, json!({"for": "90m"}))).unwrap();
            assert_eq!(wanted.end, seconds(5400), "{place} {kind}");
        }
        let wanted = judged(issuers, &asked("issuer", json!({}))).unwrap();
        assert_eq!(wanted.end, End::Never, "{place}");
    }
    // Keys verify some of its tokens.
    assert_eq!(judged(&endless[2], &asked("kid", json!({}))).unwrap().end, End::Never);
}

/// An entry that ends before its tokens would let them through again.
#[test]
fn a_for_that_is_too_short_or_senseless() {
    for kind in KINDS {
        for (span, part) in [
            ("1s", "1day 1m"),
            ("0s", "1day 1m"),
            ("86459s", "1day 1m"),
            ("101years", "100 years"),
            ("500000000years", "100 years"),
            ("soon", "for: "),
            ("-1h", "for: "),
            ("", "for: "),
        ] {
            let text = refused(&plain(), &asked(kind, json!({"for": span})));
            assert!(text.contains(part), "{kind} {span:?}: {text}");
        }
        let wanted = judged(&plain(), &asked(kind, json!({"for": "86460s"}))).unwrap();
        assert_eq!(wanted.end, seconds(86460), "{kind}");
    }
}

#[test]
fn a_date_of_ones_own() {
    let now = NOW.seconds();
    let day = DAY as i64;
    for kind in ["client", "sub"] {
        let of = |issued_before: i64| asked(kind, json!({"issued_before": issued_before}));
        for at in [now - day - 59, now - 1, now, now + 30] {
            let wanted = judged(&plain(), &of(at)).unwrap();
            assert_eq!(wanted.issued_before, Some(IssuedBefore::At(UnixTime(at))), "{kind}");
            // Not shortened by an older date: the store joins entries, and the longer life wins.
            assert_eq!(wanted.end, seconds(DAY + 60), "{kind}");
        }
        // Milliseconds are far in the future.
        for at in [now + 31, now * 1000, i64::MAX] {
            assert!(refused(&plain(), &of(at)).contains("future"), "{kind} {at}");
        }
        for at in [now - day - 60, 0, -1, i64::MIN] {
            assert!(refused(&plain(), &of(at)).contains("alive"), "{kind} {at}");
        }
        let old = asked(kind, json!({"issued_before": 0, "for": "1h"}));
        let wanted = judged(&unbounded(), &old).unwrap();
        assert_eq!(wanted.issued_before, Some(IssuedBefore::At(UnixTime(0))), "{kind}");
        let old = asked(kind, json!({"issued_before": -1, "for": "1h"}));
        assert!(refused(&unbounded(), &old).contains("alive"), "{kind}");
    }
    for kind in ["issuer", "jti", "kid", "sid", "token"] {
        let text = refused(&plain(), &asked(kind, json!({"issued_before": now})));
        assert!(text.contains("sub and client alone"), "{kind}: {text}");
    }
}

#[test]
fn whose_tokens_they_are() {
    for kind in ["client", "jti", "kid", "sid", "sub"] {
        assert!(refused(&two_names(), &asked(kind, json!({}))).contains("several"), "{kind}");
        let b = asked(kind, json!({"of_issuer": "https://b.test"}));
        assert_eq!(judged(&two_names(), &b).unwrap().selector.issuer, "https://b.test", "{kind}");
        for stranger in ["https://a.test/", "b", "", "-"] {
            let asked = asked(kind, json!({"of_issuer": stranger}));
            assert!(refused(&two_names(), &asked).contains("no issuer"), "{kind} {stranger}");
        }
        assert_eq!(judged(&nameless(), &asked(kind, json!({}))).unwrap().selector.issuer, "-");
    }
    // An issuer names itself.
    assert_eq!(judged(&two_names(), &asked("issuer", json!({}))).unwrap().selector.issuer, A);
    let twice = asked("issuer", json!({"of_issuer": A}));
    assert!(refused(&two_names(), &twice).contains("already"));
    assert!(refused(&nameless(), &asked("issuer", json!({}))).contains("no issuer"));
    let nobody = Asked { issuer: Some("-".to_owned()), ..Asked::default() };
    assert_eq!(judged(&nameless(), &nobody).unwrap().selector.issuer, "-");
    let none = issuers(Vec::new());
    assert!(refused(&none, &asked("sub", json!({}))).contains("no issuer"));
}

#[test]
fn exactly_one_selector() {
    let all = KINDS.iter().chain(&["token"]);
    for kind in all.clone() {
        for other in all.clone().filter(|other| *other != kind) {
            let both = asked(kind, json!({ *other: "w" }));
            assert!(refused(&plain(), &both).contains("exactly one"), "{kind} and {other}");
        }
    }
    assert!(refused(&plain(), &Asked::default()).contains("exactly one"));
    for body in [json!({"sub": 1}), json!({"sub": ["a"]}), json!({"subject": "a"})] {
        assert!(serde_json::from_value::<Asked>(body).is_err());
    }
}

/// A token that several entries take, each by its own rules: revoked until the last of them would
/// refuse it, and also when only one of them would take it still.
#[test]
fn a_token_is_revoked_until_no_entry_takes_it() {
    crate::auth::install_provider();
    let key = crate::auth::SigningKey::generate(Algorithm::ES256).unwrap();
    let with_leeway = |name: &str, seconds: u64| {
        entry(name, |settings| {
            settings.leeway = Duration::from_secs(seconds);
            settings.keys = vec![key.verification_key(Some(name)).unwrap()];
        })
    };
    let both = issuers(vec![with_leeway("a", 10), with_leeway("b", 60)]);
    let signed = |exp: i64| {
        let claims = json!({"iss": A, "sub": "ada", "jti": "j", "iat": exp - 600, "exp": exp});
        key.sign("JWT", None, claims.as_object().unwrap()).unwrap()
    };
    for exp in [NOW.0 + 300, NOW.0 - 5, NOW.0 - 30] {
        let asked = Asked { token: Some(signed(exp)), ..Asked::default() };
        let wanted = judged(&both, &asked).unwrap();
        assert_eq!(wanted.end, End::At(UnixTime(exp + 60)), "{exp}");
        assert_eq!((wanted.selector.kind, wanted.selector.value.as_str()), (Kind::Jti, "j"));
    }
    let over = Asked { token: Some(signed(NOW.0 - 60)), ..Asked::default() };
    assert!(refused(&both, &over).contains("expired"));
}

/// What the command line sends is what the admin listener reads.
#[test]
fn only_what_was_asked_is_sent() {
    let asked = Asked { sub: Some("alice".to_owned()), ..Asked::default() };
    let sent = serde_json::to_value(asked).unwrap();
    assert_eq!(sent, json!({"sub": "alice", "reason": ""}));
}

/// Our own tokens: what speaks about a login outlives every renewal of it, and is dated by the
/// store's clock alone, so that a new login works at once (design, sections 4 and 6).
#[test]
fn revocations_of_our_own_logins_outlive_their_renewals() {
    let own = issuers(vec![entry("local", |settings| {
        settings.max_lifetime = Some(Duration::from_secs(900));
        settings.renewable = Some(Duration::from_secs(30 * DAY));
    })]);
    let token = Duration::from_secs(960);
    let login = Duration::from_secs(30 * DAY + 960);
    let asked = |kind: &str, more: Value| {
        let mut body = json!({ kind: if kind == "issuer" { A } else { "x" } });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        of(&serde_json::from_value(body).unwrap(), "alice", &own, NOW)
    };
    for (kind, end) in [
        ("client", End::For(login)),
        ("issuer", End::Never),
        ("jti", End::For(token)),
        ("kid", End::Never),
        ("sid", End::For(login)),
        ("sub", End::For(login)),
    ] {
        let revocation = asked(kind, json!({})).unwrap();
        assert_eq!(revocation.end, end, "{kind}");
        let now = IssuedBefore::Now { leeway: Duration::ZERO };
        let dated = ["client", "sub"].contains(&kind);
        assert_eq!(revocation.issued_before, dated.then_some(now), "{kind}");
    }
    let short = asked("sub", json!({ "for": "1h" }));
    assert!(matches!(short, Err(AskedError::SpanTooShort(least)) if least == login));
    assert!(asked("jti", json!({ "for": "1h" })).is_ok());
    // A login of last week may be renewed still.
    let week = NOW.0 - 7 * 24 * 3600;
    assert!(asked("sub", json!({ "issued_before": week })).is_ok());
}
