//! Sessions of browsers: the id in the cookie opens what the store keeps, and nothing else does.

use super::*;
use crate::issuer::{RefusedWhy, SessionId};
use crate::secret::Secret;

#[tokio::test]
async fn a_session_goes_on_under_one_id() {
    for engine in ENGINES {
        let mut bench = Bench::new(engine);
        let issued = bench.log_in("alice", true).await;
        let id = issued.session.unwrap();
        let session = bench.families.session(&id, bench.now).await.unwrap().unwrap();
        assert_eq!((session.sid.as_str(), session.turn), (issued.login.sid.as_str(), 0));
        assert!(session.access.is_none(), "none was kept yet");
        let access = Secret::new("first".to_owned());
        let place = (session.sid.as_str(), 0);
        assert_eq!(bench.families.keep_access(&id, place, &access, bench.now).await, Ok(true));
        let found = bench.families.session(&id, bench.now).await.unwrap().unwrap();
        assert_eq!(found.access.unwrap().expose(), "first");
        bench.pass(Duration::from_secs(900));
        let renewed = bench.families.renew(&id, &session, client(0), bench.now).await.unwrap();
        assert_eq!(word(&renewed), "rotated");
        let found = bench.families.session(&id, bench.now).await.unwrap().unwrap();
        assert_eq!((found.turn, found.access.is_none()), (1, true), "{engine}: of the old turn");
        // A gateway that was slow must not put back what another has renewed.
        assert_eq!(bench.families.keep_access(&id, place, &access, bench.now).await, Ok(false));
        // Two gateways renew at once: the slower one gets the same answer.
        let slow = bench.families.renew(&id, &session, client(0), bench.now).await.unwrap();
        assert_eq!(word(&slow), "again");
        bench.pass(IDLE);
        // Redis lets go of it by its own clock: see `what_is_over_leaves_redis_by_itself`.
        if engine == "embedded" {
            assert!(bench.families.session(&id, bench.now).await.unwrap().is_none());
        }
        let late = bench.families.renew(&id, &found, client(0), bench.now).await.unwrap();
        assert_eq!(word(&late), "refused", "{engine}");
    }
}

/// A session's refresh token never leaves the store: one that is used up was read before another
/// gateway was faster, whatever network the browser's request came over, and is no theft (RFC 9700
/// §4.14.2 is about tokens that somebody holds).
#[tokio::test]
async fn requests_that_cross_are_no_theft() {
    for engine in ENGINES {
        let mut bench = Bench::new(engine);
        let issued = bench.log_in("alice", true).await;
        let (id, sid) = (issued.session.unwrap(), issued.login.sid);
        let read = || async { bench.families.session(&id, bench.now).await.unwrap().unwrap() };
        // Two requests read the same turn; the first renews; a third reads before the first has
        // kept its access token, and renews again; then the second comes.
        let (first, second) = (read().await, read().await);
        let renewed = bench.families.renew(&id, &first, client(0), bench.now).await.unwrap();
        assert_eq!(word(&renewed), "rotated", "{engine}");
        let third = read().await;
        assert!(third.access.is_none(), "{engine}");
        let renewed = bench.families.renew(&id, &third, client(0), bench.now).await.unwrap();
        assert_eq!(word(&renewed), "rotated", "{engine}");
        for (slow, from) in [(&second, 0), (&second, 1), (&third, 1), (&third, 0)] {
            let slow = bench.families.renew(&id, slow, client(from), bench.now).await.unwrap();
            let Rotation::Again(slow) = slow else { panic!("{engine}: {}", word(&slow)) };
            assert_eq!(slow.turn, 2, "{engine}");
            let found = bench.families.introspect(slow.refresh.expose(), bench.now).await.unwrap();
            assert!(found.is_some(), "{engine}: the current one");
        }
        // Neither the grace nor its retries have anything to say about it.
        bench.pass(GRACE * 3);
        for _ in 0..10 {
            let slow = bench.families.renew(&id, &second, client(1), bench.now).await.unwrap();
            assert_eq!(word(&slow), "again", "{engine}");
        }
        assert!(!bench.is_barred(&sid).await, "{engine}");
        let session = bench.families.session(&id, bench.now).await.unwrap().unwrap();
        let renewed = bench.families.renew(&id, &session, client(0), bench.now).await.unwrap();
        assert_eq!(word(&renewed), "rotated", "{engine}: it goes on");
        // What ends a session ends it for those that come late as well.
        bench.families.end(&sid, bench.now).await.unwrap();
        for late in [&second, &session] {
            let late = bench.families.renew(&id, late, client(0), bench.now).await.unwrap();
            assert_eq!(word(&late), "refused", "{engine}");
        }
    }
}

/// A browser that opens a hundred requests over two networks at two gateways keeps its session.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_hundred_requests_at_once_keep_their_session() {
    for engine in ENGINES {
        let bench = Bench::new(engine);
        let issued = bench.log_in("alice", true).await;
        let (id, sid) = (issued.session.unwrap(), issued.login.sid);
        let cookie = id.text().expose().clone();
        let other = Families::new(Arc::new(bench.store.families_on_clock_of_test()), &issuing());
        let requests: Vec<_> = (0..100_u8)
            .map(|number| {
                let gateway = if number % 2 == 0 { &bench.families } else { &other };
                let (gateway, now, cookie) = (gateway.clone(), bench.now, cookie.clone());
                tokio::spawn(async move {
                    let id = SessionId::parse(&cookie).unwrap();
                    for _ in 0..3 {
                        let session = gateway.session(&id, now).await.unwrap().unwrap();
                        let from = client(number % 3);
                        let renewed = gateway.renew(&id, &session, from, now).await.unwrap();
                        let (Rotation::Rotated(issued) | Rotation::Again(issued)) = renewed else {
                            panic!("{}", word(&renewed));
                        };
                        let access = Secret::new(format!("of turn {}", issued.turn));
                        let place = (session.sid.as_str(), issued.turn);
                        gateway.keep_access(&id, place, &access, now).await.unwrap();
                    }
                })
            })
            .collect();
        for request in requests {
            request.await.unwrap();
        }
        assert!(!bench.is_barred(&sid).await, "{engine}");
        let session = bench.families.session(&id, bench.now).await.unwrap().unwrap();
        let access = session.access.map(|access| access.expose().clone());
        assert_eq!(access, Some(format!("of turn {}", session.turn)), "{engine}");
        assert_eq!(bench.families.sessions("alice", bench.now).await.unwrap().len(), 1);
    }
}

/// The answer to a renewal is in the session already when the gateway that asked dies.
#[tokio::test]
async fn a_lost_renewal_loses_no_session() {
    for engine in ENGINES {
        let mut bench = Bench::new(engine);
        let id = bench.log_in("alice", true).await.session.unwrap();
        for _ in 0..3 {
            let session = bench.families.session(&id, bench.now).await.unwrap().unwrap();
            // The answer goes nowhere, and long after any grace the browser comes again.
            let renewed = bench.families.renew(&id, &session, client(0), bench.now).await.unwrap();
            assert_eq!(word(&renewed), "rotated", "{engine}");
            bench.pass(Duration::from_secs(600));
        }
    }
}

#[tokio::test]
async fn no_other_id_opens_it() {
    for engine in ENGINES {
        let bench = Bench::new(engine);
        let issued = bench.log_in("alice", true).await;
        let other = bench.log_in("bob", true).await.session.unwrap();
        let id = issued.session.unwrap();
        let session = bench.families.session(&id, bench.now).await.unwrap().unwrap();
        let unknown = SessionId::parse(&"A".repeat(43)).unwrap();
        assert!(bench.families.session(&unknown, bench.now).await.unwrap().is_none());
        for wrong in [&other, &unknown] {
            let renewed = bench.families.renew(wrong, &session, client(0), bench.now).await;
            let is_refused = matches!(renewed, Ok(Rotation::Refused(RefusedWhy::OtherKind)));
            assert!(is_refused, "{engine}");
        }
        // Its refresh token is good for nothing without the cookie, nor a bearer's with one.
        let bearer = bench.rotate(issued.refresh.expose(), client(0)).await;
        assert!(matches!(bearer, Rotation::Refused(RefusedWhy::OtherKind)), "{engine}");
        let renewed = bench.families.renew(&id, &session, client(0), bench.now).await.unwrap();
        assert_eq!(word(&renewed), "rotated", "{engine}: and nothing of that ended it");
    }
}

/// Logout and every revocation that speaks about it take the session with them, and a later lift
/// brings none back; a new login has a new id.
#[tokio::test]
async fn a_session_ends_with_its_family() {
    for engine in ENGINES {
        for how in ["logout", "sub", "client", "sid", "issuer"] {
            let mut bench = Bench::new(engine);
            let issued = bench.log_in("alice", true).await;
            let id = issued.session.unwrap();
            let session = bench.families.session(&id, bench.now).await.unwrap().unwrap();
            bench.pass(Duration::from_secs(3));
            let revoked = match how {
                "logout" => {
                    assert!(bench.families.end(&session.sid, bench.now).await.unwrap().is_some());
                    assert!(bench.families.end(&session.sid, bench.now).await.unwrap().is_none());
                    None
                }
                "sub" => Some((Kind::Sub, "alice")),
                "client" => Some((Kind::Client, "postern")),
                "sid" => Some((Kind::Sid, session.sid.as_str())),
                _ => Some((Kind::Issuer, "")),
            };
            if let Some((kind, value)) = revoked {
                bench.revoke(kind, value).await;
            }
            let renewed = bench.families.renew(&id, &session, client(0), bench.now).await.unwrap();
            assert_eq!(word(&renewed), "refused", "{engine} {how}");
            if let Some((kind, value)) = revoked {
                bench.store.delete(&suffix(kind, value)).await.unwrap();
            }
            let renewed = bench.families.renew(&id, &session, client(0), bench.now).await.unwrap();
            let found = bench.families.session(&id, bench.now).await.unwrap();
            // An issuer's revocation is of its keys and is lifted with them; the rest is for ever.
            let (expected, stands) =
                if how == "issuer" { ("rotated", true) } else { ("refused", false) };
            assert_eq!((word(&renewed), found.is_some()), (expected, stands), "{engine} {how}");
            bench.pass(Duration::from_secs(2));
            let again = bench.log_in("alice", true).await;
            assert_ne!(again.session.unwrap().text().expose(), id.text().expose());
            assert_ne!(again.login.sid, session.sid);
        }
    }
}
