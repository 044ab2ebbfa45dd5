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
        assert!(
            engine == "redis" || bench.families.session(&id, bench.now).await.unwrap().is_none()
        );
        let late = bench.families.renew(&id, &found, client(0), bench.now).await.unwrap();
        assert_eq!(word(&late), "refused", "{engine}");
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

/// Logout, reuse and revocation take the session with them; a new login has a new id.
#[tokio::test]
async fn a_session_ends_with_its_family() {
    for engine in ENGINES {
        for how in ["logout", "sub"] {
            let mut bench = Bench::new(engine);
            let issued = bench.log_in("alice", true).await;
            let id = issued.session.unwrap();
            let session = bench.families.session(&id, bench.now).await.unwrap().unwrap();
            bench.pass(Duration::from_secs(3));
            if how == "logout" {
                assert!(bench.families.end(&session.sid, bench.now).await.unwrap().is_some());
                assert!(bench.families.end(&session.sid, bench.now).await.unwrap().is_none());
            } else {
                bench.revoke(Kind::Sub, "alice").await;
            }
            let renewed = bench.families.renew(&id, &session, client(0), bench.now).await.unwrap();
            assert_eq!(word(&renewed), "refused", "{engine} {how}");
            let found = bench.families.session(&id, bench.now).await.unwrap();
            assert!(found.is_none(), "{engine} {how}");
            bench.pass(Duration::from_secs(2));
            let again = bench.log_in("alice", true).await;
            assert_ne!(again.session.unwrap().text().expose(), id.text().expose());
            assert_ne!(again.login.sid, session.sid);
        }
    }
}
