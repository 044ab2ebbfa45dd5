//! Single sentences of the contract about logins and rotations, on both stores.

use super::*;
use crate::issuer::{RefusedWhy, Unavailable};
use crate::store::{Advanced, Dead, Step, Terms, Trace};

/// "1,000 parallel refreshes of one token: exactly one rotation, every other answer the same one."
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_thousand_at_once_rotate_once() {
    for engine in ENGINES {
        let bench = Bench::new(engine);
        let token = bench.login("alice").await.refresh;
        let tries = (0..1000).map(|_| {
            let (families, token, now) = (bench.families.clone(), token.clone(), bench.now);
            tokio::spawn(async move { families.rotate(token.expose(), client(0), now).await })
        });
        let tries: Vec<_> = tries.collect();
        let (mut rotated, mut texts) = (0, std::collections::BTreeSet::new());
        for attempt in tries {
            let rotation = attempt.await.unwrap().unwrap();
            rotated += usize::from(word(&rotation) == "rotated");
            texts.insert(text(rotation));
        }
        assert_eq!((rotated, texts.len()), (1, 1), "{engine}");
        let next = texts.pop_first().unwrap();
        assert!(bench.families.introspect(&next, bench.now).await.unwrap().is_some());
        assert!(bench.families.introspect(token.expose(), bench.now).await.unwrap().is_none());
    }
}

/// The same after the free second: three are answered, the fourth is a thief.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_thousand_late_ones_are_three_and_a_thief() {
    for engine in ENGINES {
        let mut bench = Bench::new(engine);
        let issued = bench.login("alice").await;
        let token = issued.refresh;
        bench.rotate(token.expose(), client(0)).await;
        bench.pass(Duration::from_secs(2));
        let tries: Vec<_> = (0..1000)
            .map(|_| {
                let (families, token, now) = (bench.families.clone(), token.clone(), bench.now);
                tokio::spawn(async move { families.rotate(token.expose(), client(0), now).await })
            })
            .collect();
        let mut words = std::collections::BTreeMap::new();
        for attempt in tries {
            *words.entry(word(&attempt.await.unwrap().unwrap())).or_insert(0) += 1;
        }
        assert_eq!(words, [("again", 3), ("refused", 996), ("reused", 1)].into(), "{engine}");
        assert!(bench.is_barred(&issued.login.sid).await);
    }
}

/// "Same client network (/24, /64) and User-Agent."
#[tokio::test]
async fn the_grace_is_for_the_same_client() {
    let trace =
        |address: &str, user_agent| ClientTrace { address: address.parse().unwrap(), user_agent };
    for engine in ENGINES {
        for (first, second, expected) in [
            (trace("192.0.2.1", "a"), trace("192.0.2.254", "a"), "again"),
            (trace("192.0.2.1", "a"), trace("::ffff:192.0.2.9", "a"), "again"),
            (trace("2001:db8::1", "a"), trace("2001:db8::ffff:2", "a"), "again"),
            (trace("192.0.2.1", "a"), trace("192.0.3.1", "a"), "reused"),
            (trace("2001:db8::1", "a"), trace("2001:db8:0:1::1", "a"), "reused"),
            (trace("192.0.2.1", "a"), trace("192.0.2.1", "b"), "reused"),
            (trace("192.0.2.1", "a"), trace("192.0.2.1", ""), "reused"),
        ] {
            let bench = Bench::new(engine);
            let token = bench.login("alice").await.refresh;
            bench.rotate(token.expose(), first).await;
            let again = bench.rotate(token.expose(), second).await;
            assert_eq!(word(&again), expected, "{engine} {first:?} {second:?}");
        }
    }
}

/// Design section 6: `iat` of a new login is later than the second of a revocation, and the login
/// works at once; what an operator dated into the future refuses.
#[tokio::test]
async fn a_login_waits_out_the_second_of_a_revocation() {
    for engine in ENGINES {
        for kind in [Kind::Sub, Kind::Client] {
            let mut bench = Bench::on_real_clock(engine);
            bench.now = UnixTime::now();
            let value = if kind == Kind::Sub { "alice" } else { "postern" };
            bench.revoke(kind, value).await;
            let start = std::time::Instant::now();
            let issued = bench.login("alice").await;
            assert!(issued.at > bench.now, "{engine} {kind}");
            assert!(start.elapsed() < Duration::from_secs(3), "{engine} {kind}");
            bench.now = issued.at;
            assert_eq!(word(&bench.rotate(issued.refresh.expose(), client(0)).await), "rotated");
        }
    }
}

#[tokio::test]
async fn no_login_against_a_revocation() {
    for engine in ENGINES {
        let rights = Rights::default();
        let login = NewLogin {
            subject: "alice",
            account: "alice",
            client: "postern",
            rights: &rights,
            browser: false,
        };
        let mut bench = Bench::new(engine);
        bench.revoke(Kind::Issuer, "").await;
        let began = bench.families.begin(login, client(0), bench.now).await.unwrap();
        assert!(matches!(began, Began::Revoked(Kind::Issuer)), "{engine}");
        bench.store.delete(&suffix(Kind::Issuer, "")).await.unwrap();
        // Far ahead: an operator's slip, or a clock that went back.
        bench.pass(Duration::from_secs(60));
        bench.revoke(Kind::Sub, "alice").await;
        bench.set(NOW);
        let start = std::time::Instant::now();
        let began = bench.families.begin(login, client(0), bench.now).await.unwrap();
        assert!(matches!(began, Began::Revoked(Kind::Sub)), "{engine}");
        assert!(start.elapsed() < Duration::from_secs(5), "it did not wait for it");
    }
}

/// An entry whose date cannot be read refuses, here as on every request.
#[tokio::test]
async fn an_unreadable_revocation_refuses() {
    for value in ["", "{", "null", r#"{"issued_before":"1"}"#, r#"{"issued_before":1.5}"#] {
        let bench = Bench::new("redis");
        let token = bench.login("alice").await.refresh;
        let key = format!("postern:blocklist:{}", suffix(Kind::Sub, "alice"));
        bench.server.as_ref().unwrap().run::<()>(&["SET", &key, value]);
        let rotation = bench.rotate(token.expose(), client(0)).await;
        assert!(
            matches!(rotation, Rotation::Refused(RefusedWhy::Dead(Dead::Revoked(Kind::Sub)))),
            "{value:?}: {}",
            word(&rotation)
        );
    }
    let bench = Bench::new("redis");
    let token = bench.login("alice").await.refresh;
    let key = format!("postern:blocklist:{}", suffix(Kind::Client, "postern"));
    bench.server.as_ref().unwrap().run::<()>(&["LPUSH", &key, "x"]);
    assert_eq!(word(&bench.rotate(token.expose(), client(0)).await), "refused");
}

/// A login that is revoked stays so, even when the entry is lifted or forgotten.
#[tokio::test]
async fn a_revoked_login_does_not_come_back() {
    for engine in ENGINES {
        for (kind, value) in [(Kind::Sub, "alice"), (Kind::Client, "postern")] {
            let mut bench = Bench::new(engine);
            let token = bench.login("alice").await.refresh;
            bench.pass(Duration::from_secs(5));
            bench.revoke(kind, value).await;
            assert_eq!(word(&bench.rotate(token.expose(), client(0)).await), "refused");
            bench.store.delete(&suffix(kind, value)).await.unwrap();
            assert_eq!(word(&bench.rotate(token.expose(), client(0)).await), "refused");
        }
    }
}

/// R42: no answer is no decision, neither for the client nor against it.
#[tokio::test]
async fn no_answer_is_unavailable() {
    let bench = Bench::new("redis");
    let server = bench.server.as_ref().unwrap();
    let issued = bench.login("alice").await;
    let token = issued.refresh.expose().clone();
    let key = format!("postern:refresh:{}", issued.login.sid);
    server.run::<()>(&["RENAME", &key, "aside"]);
    server.run::<()>(&["LPUSH", &key, "x"]);
    let outcome = bench.families.rotate(&token, client(0), bench.now).await;
    assert!(matches!(outcome, Err(Unavailable::Store(_))));
    server.run::<()>(&["RENAME", "aside", &key]);
    // A field that is missing or makes no sense is an error, never a guess.
    server.run::<()>(&["HSET", &key, "until", "soon"]);
    let outcome = bench.families.rotate(&token, client(0), bench.now).await;
    assert!(matches!(outcome, Err(Unavailable::Store(_))));
    server.run::<()>(&["HDEL", &key, "subject"]);
    let outcome = bench.families.rotate(&token, client(0), bench.now).await;
    assert!(matches!(outcome, Err(Unavailable::Store(_))));
}

/// What the store holds, taken as a whole, is no token and makes none.
#[tokio::test]
async fn the_store_holds_no_token() {
    let bench = Bench::new("redis");
    let server = bench.server.as_ref().unwrap();
    let issued = bench.log_in("alice", true).await;
    let id = issued.session.unwrap();
    let session = bench.families.session(&id, bench.now).await.unwrap().unwrap();
    let renewed = bench.families.renew(&id, &session, client(0), bench.now).await.unwrap();
    let bearer = bench.login("bob").await.refresh.expose().clone();
    let next = text(bench.rotate(&bearer, client(0)).await);
    let mut held = String::new();
    for key in server.run::<Vec<String>>(&["KEYS", "*"]) {
        held.push_str(&key);
        if server.run::<String>(&["TYPE", &key]) == "hash" {
            let fields: Vec<Vec<u8>> = server.run(&["HGETALL", &key]);
            fields.iter().for_each(|field| held.push_str(&String::from_utf8_lossy(field)));
        }
    }
    let first = issued.refresh.expose().clone();
    for token in [first, text(renewed), bearer, next, id.text().expose().clone()] {
        for part in token.split('.') {
            assert!(!held.contains(part), "{part}");
        }
    }
    assert!(held.contains("alice@example.com"), "the store was read");
}

/// "Issuing on a Redis that may lose the last second is warned about at start."
#[tokio::test]
async fn a_forgetful_redis_is_warned_about() {
    for (arguments, expected) in [
        (&["--save", "", "--appendonly", "no"][..], Some("appendonly is no")),
        (&["--appendonly", "yes"][..], Some("appendfsync is everysec")),
        (&["--appendonly", "yes", "--appendfsync", "always"][..], None),
    ] {
        let server = RedisServer::start_with(arguments);
        let warnings = Store::open(&unix(&server)).unwrap().issuing_warnings().await.unwrap();
        let said = warnings.iter().any(|warning| warning.contains(expected.unwrap_or("[")));
        assert_eq!(said, expected.is_some(), "{warnings:?}");
    }
    assert_eq!(Bench::new("embedded").store.issuing_warnings().await, Ok(Vec::new()));
}

/// `iat <= issued_before`: a login of the very second of the revocation is revoked with it.
#[tokio::test]
async fn a_login_of_the_same_second_is_revoked() {
    for engine in ENGINES {
        for (kind, value) in [(Kind::Sub, "alice"), (Kind::Client, "postern")] {
            let bench = Bench::new(engine);
            let token = bench.login("alice").await.refresh;
            bench.revoke(kind, value).await;
            let rotation = bench.rotate(token.expose(), client(0)).await;
            assert_eq!(word(&rotation), "refused", "{engine} {kind}");
        }
    }
}

/// "Absolute, from login": no use lengthens it.
#[tokio::test]
async fn a_login_ends_however_often_it_is_renewed() {
    for engine in ENGINES {
        let mut bench = Bench::new(engine);
        let issued = bench.login("alice").await;
        let end = issued.at.plus(LIFETIME);
        let mut token = issued.refresh.expose().clone();
        while bench.now < end {
            match bench.rotate(&token, client(0)).await {
                Rotation::Rotated(issued) => {
                    assert!(issued.until <= end, "{engine}");
                    token = issued.refresh.expose().clone();
                }
                other => panic!("{engine}: {} at {:?}", word(&other), bench.now),
            }
            bench.pass(Duration::from_secs(50 * 60));
        }
        assert_eq!(word(&bench.rotate(&token, client(0)).await), "refused", "{engine}");
    }
}

/// Reuse is for ever, not for as long as the session stands on the blocklist.
#[tokio::test]
async fn a_reused_login_does_not_come_back() {
    for engine in ENGINES {
        let bench = Bench::new(engine);
        let issued = bench.login("alice").await;
        let first = issued.refresh.expose().clone();
        let second = text(bench.rotate(&first, client(0)).await);
        let third = text(bench.rotate(&second, client(0)).await);
        assert_eq!(word(&bench.rotate(&first, client(0)).await), "reused", "{engine}");
        assert!(bench.store.delete(&suffix(Kind::Sid, &issued.login.sid)).await.unwrap());
        for token in [&first, &second, &third] {
            let rotation = bench.rotate(token, client(0)).await;
            let is_dead = matches!(rotation, Rotation::Refused(RefusedWhy::Dead(Dead::Reused)));
            assert!(is_dead, "{engine}: {}", word(&rotation));
        }
    }
}

/// A step whose answer was lost is sent again by the gateway itself, and answers what it did: a
/// rotation is one rotation, and a reuse is reported to the audit log and not lost.
#[tokio::test]
async fn a_repeated_step_recognises_itself() {
    let bench = Bench::new("redis");
    let login = bench.login("alice").await.login;
    let families = bench.store.families_on_clock_of_test();
    let terms = Terms {
        issuer: issuing().issuer,
        idle: IDLE,
        lifetime: LIFETIME,
        grace: GRACE,
        barred: Duration::from_secs(960),
        per_subject: 100,
    };
    let live = families.look(&login.sid, &terms, bench.now).await.unwrap().unwrap();
    let step = Step {
        presented: live.current,
        next: "next".to_owned(),
        sealed: b"sealed".to_vec(),
        trace: Trace::default(),
    };
    for _ in 0..5 {
        let advanced = families.advance(&login, step.clone(), &terms, bench.now).await.unwrap();
        assert!(matches!(advanced, Advanced::Rotated(standing) if standing.turn == 1));
    }
    let thief = Step { presented: "made up".to_owned(), next: "other".to_owned(), ..step };
    for _ in 0..2 {
        let advanced = families.advance(&login, thief.clone(), &terms, bench.now).await.unwrap();
        assert!(matches!(advanced, Advanced::Reused { .. }));
    }
    let another = Step { next: "third".to_owned(), ..thief };
    let advanced = families.advance(&login, another, &terms, bench.now).await.unwrap();
    assert_eq!(advanced, Advanced::Refused(Dead::Reused));
}
