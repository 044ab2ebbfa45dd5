//! Sessions as their owner and the store see them: which there are, how many, and how they end.

use super::*;
use crate::issuer::RefusedWhy;
use crate::store::tests::eventually;
use crate::store::{Begun, Dead, Login, NewFamily, Terms, Trace};

/// Every session of a subject, and no other's.
#[tokio::test]
async fn all_of_a_subject_end() {
    for engine in ENGINES {
        let mut bench = Bench::new(engine);
        let mut tokens = Vec::new();
        for _ in 0..5 {
            tokens.push(bench.login("alice").await);
        }
        let bob = bench.login("bob").await;
        let dead = tokens.pop().unwrap();
        bench.families.end(&dead.login.sid, bench.now).await.unwrap();
        bench.pass(Duration::from_secs(1));
        // After the revocation they are refused already; then they end one by one.
        bench.revoke(Kind::Sub, "alice").await;
        assert!(bench.families.sessions("alice", bench.now).await.unwrap().is_empty());
        let ended = bench.families.end_all("alice", bench.now).await.unwrap();
        assert_eq!(ended.len(), 4, "{engine}");
        bench.store.delete(&suffix(Kind::Sub, "alice")).await.unwrap();
        for issued in &tokens {
            let rotation = bench.rotate(issued.refresh.expose(), client(0)).await;
            assert_eq!(word(&rotation), "refused", "{engine}");
            assert!(bench.is_barred(&issued.login.sid).await);
        }
        assert_eq!(word(&bench.rotate(bob.refresh.expose(), client(0)).await), "rotated");
    }
}

/// "Bounded per account: the oldest ends."
#[tokio::test]
async fn a_subject_has_a_hundred_sessions() {
    for engine in ENGINES {
        let mut bench = Bench::new(engine);
        let first = bench.login("alice").await;
        bench.pass(Duration::from_secs(1));
        let second = bench.login("alice").await;
        bench.pass(Duration::from_secs(1));
        // The first was used since: the second is the one that is unused for longest.
        let first = text(bench.rotate(first.refresh.expose(), client(0)).await);
        for _ in 0..99 {
            bench.login("alice").await;
        }
        let sessions = bench.families.sessions("alice", bench.now).await.unwrap();
        assert_eq!(sessions.len(), 100, "{engine}");
        assert_eq!(word(&bench.rotate(second.refresh.expose(), client(0)).await), "refused");
        assert!(bench.is_barred(&second.login.sid).await, "{engine}");
        assert_eq!(word(&bench.rotate(&first, client(0)).await), "rotated");
    }
}

/// "Unused for longest" is not "ends first": near the end of its lifetime a session that is in use
/// ends before others that nobody uses. Who is displaced is told, so that its streams end, too.
#[tokio::test]
async fn the_session_unused_for_longest_makes_room() {
    for engine in ENGINES {
        let mut bench = Bench::new(engine);
        let step = Duration::from_secs(50 * 60);
        let in_use = bench.login("alice").await;
        let mut token = in_use.refresh.expose().clone();
        for _ in 0..2 {
            bench.pass(step);
            token = text(bench.rotate(&token, client(0)).await);
        }
        bench.pass(step - Duration::from_secs(60));
        let unused = bench.login("alice").await;
        bench.pass(Duration::from_secs(60));
        let Rotation::Rotated(renewed) = bench.rotate(&token, client(0)).await else { panic!() };
        assert!(renewed.until < unused.until, "{engine}: it ends first");
        for _ in 0..98 {
            assert!(bench.login("alice").await.displaced.is_empty(), "{engine}");
        }
        let displaced = bench.login("alice").await.displaced;
        let sids: Vec<_> = displaced.iter().map(|login| &login.sid).collect();
        assert_eq!(sids, [&unused.login.sid], "{engine}");
        assert!(bench.is_barred(&unused.login.sid).await);
        let revocation = bench.families.revocation(&displaced[0], "too many sessions");
        assert_eq!(revocation.selector.value, unused.login.sid);
        let rotation = bench.rotate(renewed.refresh.expose(), client(0)).await;
        assert_eq!(word(&rotation), "rotated", "{engine}");
    }
}

#[tokio::test]
async fn a_session_shows_when_and_from_where() {
    for engine in ENGINES {
        let mut bench = Bench::new(engine);
        let issued = bench.login("alice").await;
        bench.pass(Duration::from_secs(60));
        let hostile = format!("x\r\n\u{1b}[31m{}", "é".repeat(300));
        let trace = ClientTrace { address: client(1).address, user_agent: &hostile };
        bench.rotate(issued.refresh.expose(), trace).await;
        let sessions = bench.families.sessions("alice", bench.now).await.unwrap();
        let [session] = sessions.as_slice() else { panic!("{sessions:?}") };
        assert_eq!(session.sid, issued.login.sid);
        assert_eq!((session.created_at, session.last_used_at), (NOW, bench.now));
        assert_eq!(session.address, "192.0.1.7");
        assert!(session.user_agent.starts_with("x[31mé"), "{}", session.user_agent);
        assert!(session.user_agent.len() <= 256 && !session.user_agent.contains('\r'));
    }
}

/// A reload that shortens `refresh_lifetime` holds for logins of before, whoever asks about them.
#[tokio::test]
async fn a_shorter_lifetime_holds_for_everybody() {
    for engine in ENGINES {
        let mut bench = Bench::new(engine);
        let issued = bench.login("alice").await;
        let token = issued.refresh.expose();
        let short = Issuing { refresh_lifetime: Duration::from_secs(60), ..issuing() };
        let reloaded = Families::new(Arc::new(bench.store.families_on_clock_of_test()), &short);
        bench.pass(Duration::from_secs(59));
        let found = reloaded.introspect(token, bench.now).await.unwrap().unwrap();
        assert_eq!(found.until, issued.at.plus(Duration::from_secs(60)), "{engine}");
        assert_eq!(reloaded.sessions("alice", bench.now).await.unwrap().len(), 1);
        bench.pass(Duration::from_secs(1));
        assert_eq!(reloaded.introspect(token, bench.now).await, Ok(None), "{engine}");
        assert_eq!(reloaded.sessions("alice", bench.now).await, Ok(Vec::new()), "{engine}");
        let rotation = reloaded.rotate(token, client(0), bench.now).await.unwrap();
        assert_eq!(word(&rotation), "refused", "{engine}");
    }
}

/// A session that nobody renewed in time is over, and yet its last access token may be accepted for
/// as long as clocks are apart: a logout in that time bars it nevertheless.
#[tokio::test]
async fn a_session_that_is_over_can_be_barred() {
    for engine in ENGINES {
        for (late, bars) in [(Duration::from_secs(30), true), (BARRED * 2, false)] {
            let mut bench = Bench::new(engine);
            let issued = bench.login("alice").await;
            bench.set(issued.until.plus(late));
            assert_eq!(word(&bench.rotate(issued.refresh.expose(), client(0)).await), "refused");
            assert!(bench.families.sessions("alice", bench.now).await.unwrap().is_empty());
            let ended = bench.families.end(&issued.login.sid, bench.now).await.unwrap();
            assert_eq!(ended.is_some(), bars, "{engine} {late:?}");
            assert!(!bars || bench.is_barred(&issued.login.sid).await, "{engine}");
        }
    }
}

/// A key that is over leaves by itself, tombstones too.
#[tokio::test]
async fn nothing_stays_for_ever() {
    let mut bench = Bench::new("redis");
    let issued = bench.log_in("alice", true).await;
    bench.families.end(&issued.login.sid, bench.now).await.unwrap();
    let token = bench.login("alice").await;
    bench.rotate(token.refresh.expose(), client(0)).await;
    let server = bench.server.as_ref().unwrap();
    let answer = format!("postern:refresh:{}:answer", token.login.sid);
    let left = server.run::<i64>(&["PTTL", &answer]);
    assert!(left > 0 && left <= 10_000, "the sealed successor is kept for the grace: {left}");
    for key in server.run::<Vec<String>>(&["KEYS", "postern:*"]) {
        let is_ours = !key.ends_with(":generation") && !key.ends_with(":index");
        let left = server.run::<i64>(&["PTTL", &key]);
        assert!(!is_ours || (left > 0 && left <= 4_600_000), "{key}: {left}");
    }
    bench = Bench::new("embedded");
    let issued = bench.log_in("alice", true).await;
    bench.families.end(&issued.login.sid, bench.now).await.unwrap();
    let other = bench.log_in("alice", true).await;
    let third = bench.login("alice").await;
    bench.rotate(third.refresh.expose(), client(0)).await;
    bench.pass(GRACE);
    assert_eq!(bench.store.sweep(bench.now).await, Ok(0));
    assert_eq!(word(&bench.rotate(third.refresh.expose(), client(0)).await), "again");
    bench.pass(Duration::from_secs(1));
    assert_eq!(bench.store.sweep(bench.now).await, Ok(1), "the sealed successor");
    bench.pass(IDLE);
    assert_eq!(bench.store.sweep(bench.now).await, Ok(0), "an access token may be left");
    bench.pass(BARRED);
    assert!(bench.store.sweep(bench.now).await.unwrap() >= 3);
    let dead = bench.families.find(other.refresh.expose()).await.unwrap();
    assert_eq!(dead, Err(RefusedWhy::Dead(Dead::Unknown)));
    assert!(bench.families.session(&other.session.unwrap(), NOW).await.unwrap().is_none());
}

/// The end of a session on Redis is that of its keys, by the server's own clock: the browser's part
/// leaves first, the family once no access token of it is left, and then nothing is.
#[tokio::test]
async fn what_is_over_leaves_redis_by_itself() {
    let server = RedisServer::start();
    let store =
        Store::open(&Settings { timeout: Duration::from_secs(5), ..unix(&server) }).unwrap();
    let families = store.families().unwrap();
    let terms = Terms {
        issuer: issuing().issuer,
        idle: Duration::from_secs(1),
        lifetime: Duration::from_secs(60),
        grace: GRACE,
        barred: Duration::from_secs(1),
        per_subject: 100,
    };
    let new = NewFamily {
        login: Login {
            sid: "sid".to_owned(),
            subject: "alice".to_owned(),
            client: "postern".to_owned(),
            account: "alice".to_owned(),
            known: String::new(),
            at: UnixTime(0),
            session: Some("hash".to_owned()),
        },
        current: "first".to_owned(),
        trace: Trace::default(),
        refresh: Some(b"sealed".to_vec()),
    };
    let now = UnixTime::now();
    assert!(matches!(families.begin(new, &terms, now).await, Ok(Begun::Kept { .. })));
    let is_over = || async { families.look("sid", &terms, now).await == Ok(Err(Dead::Expired)) };
    eventually(is_over).await;
    assert_eq!(families.session("hash", now).await, Ok(None), "with its family, not later");
    assert!(families.find("sid").await.unwrap().is_ok(), "an access token may be left");
    eventually(|| async { families.find("sid").await == Ok(Err(Dead::Unknown)) }).await;
    let left: Vec<String> = server.run(&["KEYS", "*"]);
    assert!(left.is_empty(), "{left:?}");
}
