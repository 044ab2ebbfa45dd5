//! The blocklist against a real server: what revokes, what a loss does, what is remembered.

use std::time::Duration;

use super::*;
use crate::store::Settings;
use crate::store::tests::server::RedisServer;
use crate::store::tests::{eventually, lookup, tcp, unix};
use crate::token::{Kind, Lookup};

/// Of the issuer.
const LEEWAY: Duration = Duration::from_secs(30);

fn now() -> UnixTime {
    UnixTime::now()
}

fn revocation(kind: Kind, value: &str, end: End) -> Revocation {
    Revocation {
        selector: Selector { kind, issuer: "i".into(), value: value.into() },
        end,
        issued_before: kind.is_dated().then_some(IssuedBefore::Now { leeway: LEEWAY }),
        reason: "stolen".into(),
        by: "alice".into(),
    }
}

fn jti(value: &str) -> Revocation {
    revocation(Kind::Jti, value, End::For(Duration::from_secs(600)))
}

/// A token of now.
fn token(jti: &str) -> Lookup {
    let now = now();
    let mut lookup = lookup(jti);
    (lookup.issued_at, lookup.until) = (Some(now), now.plus(Duration::from_secs(600)));
    lookup
}

fn issued_at(issued_at: Option<UnixTime>, mut token: Lookup) -> Lookup {
    token.issued_at = issued_at;
    token
}

struct Gateway {
    blocklist: Blocklist,
    worker: WorkerBlocklist,
}

impl Gateway {
    async fn start(settings: &Settings, state: &Path, on_loss: OnLoss) -> Self {
        let blocklist = Blocklist::open(settings, on_loss, state, now()).await.unwrap();
        let worker = blocklist.worker();
        Self { blocklist, worker }
    }

    async fn verdict(&self, lookup: &Lookup) -> Result<Verdict, Unavailable> {
        self.worker.check(lookup, now()).await
    }

    async fn is_refused(&self, jti: &str) -> bool {
        self.verdict(&token(jti)).await == Ok(Verdict::Revoked(Cause::Entry(Kind::Jti)))
    }

    async fn is_clear(&self, jti: &str) -> bool {
        self.verdict(&token(jti)).await == Ok(Verdict::Clear)
    }

    async fn revoke(&self, what: &Revocation) -> Item {
        self.blocklist.revoke(what, now()).await.unwrap()
    }
}

async fn settled_after_loss(gateway: &Gateway) {
    eventually(async || gateway.blocklist.status().lost == 1).await;
    eventually(async || !gateway.blocklist.status().in_doubt).await;
}

async fn alone(server: &RedisServer) -> (Gateway, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(&unix(server), dir.path(), OnLoss::Remember).await;
    (gateway, dir)
}

/// The request path may be moved between threads.
#[tokio::test]
async fn a_check_can_be_sent() {
    fn is_send<T: Send>(value: T) -> T {
        value
    }
    let server = RedisServer::start();
    let (gateway, _dir) = alone(&server).await;
    let token = token("1");
    assert_eq!(is_send(gateway.worker.check(&token, now())).await, Ok(Verdict::Clear));
}

/// Every kind of entry refuses what it names and nothing else, in both engines.
#[tokio::test]
async fn every_kind_revokes() {
    let server = RedisServer::start();
    let dir = tempfile::tempdir().unwrap();
    let embedded = store::Address::Embedded { dir: dir.path().join("store") };
    for (settings, state) in [(unix(&server), "a"), (Settings::new(embedded), "b")] {
        let gateway = Gateway::start(&settings, &dir.path().join(state), OnLoss::Remember).await;
        let digest = "ab".repeat(32);
        for (kind, value) in [
            (Kind::Jti, "4711"),
            (Kind::Sid, "s"),
            (Kind::Issuer, ""),
            (Kind::Kid, "k"),
            (Kind::Token, digest.as_str()),
            (Kind::Sub, "bob"),
            (Kind::Client, "app"),
        ] {
            let what = revocation(kind, value, End::For(Duration::from_secs(60)));
            let mut named = token("other");
            let suffix: Box<str> = what.selector.suffix().into();
            (named.undated, named.dated) =
                if kind.is_dated() { (vec![], vec![suffix]) } else { (vec![suffix], vec![]) };
            assert_eq!(gateway.verdict(&named).await, Ok(Verdict::Clear), "{kind}");
            let item = gateway.revoke(&what).await;
            let cause = Verdict::Revoked(Cause::Entry(kind));
            assert_eq!(gateway.verdict(&named).await, Ok(cause), "{kind}");
            assert_eq!((item.kind, item.value.as_str()), (kind.as_str(), value));
            let mut unnamed = token("another");
            unnamed.undated = vec!["jti:i:another".into()];
            assert_eq!(gateway.verdict(&unnamed).await, Ok(Verdict::Clear), "{kind}");
            if kind.is_dated() {
                let issued_before = item.issued_before.unwrap();
                assert!((30..=35).contains(&(issued_before - item.at)), "{kind}: {item:?}");
                let later = UnixTime(issued_before + 1);
                let newer = issued_at(Some(later), named.clone());
                assert_eq!(gateway.verdict(&newer).await, Ok(Verdict::Clear), "{kind}");
            }
            assert!(gateway.blocklist.remove(&item.id).await.unwrap());
            assert!(!gateway.blocklist.remove(&item.id).await.unwrap());
            assert_eq!(gateway.verdict(&named).await, Ok(Verdict::Clear), "{kind}");
        }
    }
}

/// What makes no sense is refused before the store hears of it.
#[tokio::test]
async fn nonsense_is_not_revoked() {
    let server = RedisServer::start();
    let (gateway, _dir) = alone(&server).await;
    let minute = End::For(Duration::from_secs(60));
    let mut dated_jti = jti("1");
    dated_jti.issued_before = Some(IssuedBefore::At(now()));
    let mut undated_sub = revocation(Kind::Sub, "alice", minute);
    undated_sub.issued_before = None;
    let mut wordy = jti("1");
    wordy.reason = "x".repeat(1025);
    let mut homeless = jti("1");
    homeless.selector.issuer = String::new();
    for what in [
        revocation(Kind::Jti, "", minute),
        revocation(Kind::Jti, &"x".repeat(1025), minute),
        revocation(Kind::Token, "abc", minute),
        revocation(Kind::Token, &"AB".repeat(32), minute),
        revocation(Kind::Jti, "1", End::For(Duration::ZERO)),
        dated_jti,
        undated_sub,
        wordy,
        homeless,
    ] {
        let error = gateway.blocklist.revoke(&what, now()).await.unwrap_err();
        assert!(matches!(error, RevokeError::Invalid(_)), "{error:?}");
    }
    let over = revocation(Kind::Jti, "1", End::At(now()));
    assert_eq!(gateway.blocklist.revoke(&over, now()).await, Err(RevokeError::AlreadyOver));
    assert_eq!(gateway.blocklist.list(10, None, now()).await.unwrap().items, []);
    for id in ["", "%", "bm9uc2Vuc2U", "Z2VuZXJhdGlvbg"] {
        assert_eq!(gateway.blocklist.remove(id).await, Ok(false), "{id}");
    }
    for cursor in ["", "%", "eA", "MSA", "eCB5"] {
        let error = gateway.blocklist.list(10, Some(cursor), now()).await.unwrap_err();
        assert_eq!(error, ListError::Cursor, "{cursor}");
    }
}

/// R42, invariant 6: no store, no verdict.
#[tokio::test]
async fn without_the_store_there_is_no_verdict() {
    let mut server = RedisServer::start();
    let dir = tempfile::tempdir().unwrap();
    server.kill();
    let gateway = Gateway::start(&tcp(server.port), dir.path(), OnLoss::Remember).await;
    assert!(gateway.verdict(&token("1")).await.is_err());
    let status = gateway.blocklist.status();
    assert!(!status.up && !status.was_up && status.last_error.is_some(), "{status:?}");
    assert!(gateway.blocklist.revoke(&jti("1"), now()).await.is_err());
    server.restart();
    eventually(async || gateway.is_clear("1").await).await;
    eventually(async || gateway.blocklist.status().up).await;
    assert_eq!(gateway.blocklist.status().lost, 0, "a first contact is no loss");
}

/// R45: after a flush nothing that this gateway made or saw comes back to life, not for a
/// moment; it is written back; the alarm stands until it is acknowledged, across restarts.
#[tokio::test]
async fn a_flush_lifts_nothing() {
    let server = RedisServer::start();
    let (gateway, dir) = alone(&server).await;
    gateway.revoke(&jti("made")).await;
    server.run::<()>(&["SET", "postern:blocklist:jti:i:seen", "{}", "EX", "500"]);
    assert!(gateway.is_refused("seen").await);
    eventually(async || gateway.blocklist.status().remembered == 2).await;
    eventually(async || !gateway.blocklist.status().in_doubt).await;
    let generation = gateway.blocklist.status().generation;
    server.run::<()>(&["FLUSHALL"]);
    for _ in 0..200 {
        assert!(gateway.is_refused("made").await);
        assert!(gateway.is_refused("seen").await);
    }
    settled_after_loss(&gateway).await;
    let status = gateway.blocklist.status();
    assert!(status.alarm && status.lost == 1 && status.generation != generation, "{status:?}");
    assert!(gateway.is_clear("unknown").await);
    let ttl: i64 = server.run(&["TTL", "postern:blocklist:jti:i:seen"]);
    assert!((490..=500).contains(&ttl), "the life that the store gave it: {ttl}");
    assert_eq!(gateway.blocklist.list(10, None, now()).await.unwrap().items.len(), 2);
    drop(gateway);
    let gateway = restarted(&server, dir.path()).await;
    assert!(gateway.blocklist.status().alarm);
    assert!(gateway.blocklist.ack());
    assert!(!gateway.blocklist.ack());
    assert!(!gateway.blocklist.status().alarm);
}

/// R45: a date that another gateway moved on is remembered as it was last seen to refuse.
#[tokio::test]
async fn a_date_that_was_moved_on_is_remembered() {
    let server = RedisServer::start();
    let (one, _one) = alone(&server).await;
    let (other, _other) = alone(&server).await;
    let start = now().seconds();
    let issued = |at: i64| {
        let mut token = issued_at(Some(UnixTime(at)), token("1"));
        (token.undated, token.dated) = (Vec::new(), vec!["sub:i:bob".into()]);
        token
    };
    let up_to = |at: i64| Revocation {
        issued_before: Some(IssuedBefore::At(UnixTime(at))),
        ..revocation(Kind::Sub, "bob", End::For(Duration::from_secs(600)))
    };
    let refused = Ok(Verdict::Revoked(Cause::Entry(Kind::Sub)));
    one.revoke(&up_to(start - 100)).await;
    assert_eq!(one.verdict(&issued(start - 100)).await, refused);
    assert_eq!(one.verdict(&issued(start - 50)).await, Ok(Verdict::Clear));
    other.revoke(&up_to(start - 50)).await;
    assert_eq!(one.verdict(&issued(start - 50)).await, refused);
    let held = || one.blocklist.shared.remembered.as_ref().unwrap().ours(now())[0].record.clone();
    eventually(async || held().issued_before == Some(start - 50)).await;
    // An older date narrows nothing.
    other.revoke(&up_to(start - 80)).await;
    assert_eq!(one.verdict(&issued(start - 50)).await, refused);
    drop(other);
    server.run::<()>(&["FLUSHALL"]);
    for _ in 0..50 {
        assert_eq!(one.verdict(&issued(start - 50)).await, refused);
    }
    settled_after_loss(&one).await;
    assert_eq!(one.verdict(&issued(start - 50)).await, refused);
    assert_eq!(one.verdict(&issued(start - 49)).await, Ok(Verdict::Clear));
}

/// The memory's file is freed when the last user of the old gateway is gone.
async fn restarted(server: &RedisServer, state: &Path) -> Gateway {
    for _ in 0..100 {
        if let Ok(blocklist) = Blocklist::open(&unix(server), OnLoss::Remember, state, now()).await
        {
            let worker = blocklist.worker();
            return Gateway { blocklist, worker };
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the state directory stays locked");
}

/// R45: gateway and Redis both restart, Redis empty: still nothing comes back to life.
#[tokio::test]
async fn both_restart_and_nothing_is_lifted() {
    let mut server = RedisServer::start();
    let (gateway, dir) = alone(&server).await;
    gateway.revoke(&jti("made")).await;
    drop(gateway);
    server.kill();
    server.restart();
    let gateway = restarted(&server, dir.path()).await;
    assert!(gateway.is_refused("made").await);
    assert_eq!(gateway.blocklist.status().lost, 1);
    assert_eq!(server.run::<i64>(&["EXISTS", "postern:blocklist:jti:i:made"]), 1);
}

/// A server that comes back with its generation but without the last entries (failover, crash
/// within the last second): what is remembered stands in until it is asserted again.
#[tokio::test]
async fn an_older_state_of_the_store_lifts_nothing() {
    let mut server = RedisServer::start();
    let (gateway, _dir) = alone(&server).await;
    server.run::<()>(&["SAVE"]);
    gateway.revoke(&jti("1")).await;
    eventually(async || !gateway.blocklist.status().in_doubt).await;
    let before = gateway.blocklist.shared.store.arrivals();
    server.kill();
    server.restart();
    // Until the connection is back there is no verdict; never a wrong one.
    eventually(async || {
        assert_ne!(gateway.verdict(&token("1")).await, Ok(Verdict::Clear));
        gateway.blocklist.shared.store.arrivals() >= before + 2
    })
    .await;
    eventually(async || !gateway.blocklist.status().in_doubt).await;
    assert!(gateway.is_refused("1").await);
    assert_eq!(gateway.blocklist.status().lost, 0);
}

/// Same generation: absence means lifted, by whichever gateway; and it is then forgotten.
#[tokio::test]
async fn what_another_gateway_lifted_stays_lifted() {
    let server = RedisServer::start();
    let (one, _one) = alone(&server).await;
    let (other, _other) = alone(&server).await;
    let item = one.revoke(&jti("1")).await;
    assert!(other.is_refused("1").await);
    eventually(async || other.blocklist.status().remembered == 1).await;
    eventually(async || !other.blocklist.status().in_doubt).await;
    assert!(one.blocklist.remove(&item.id).await.unwrap());
    assert!(one.is_clear("1").await && other.is_clear("1").await);
    other.blocklist.shared.keep_house(now()).await.unwrap();
    assert_eq!(other.blocklist.status().remembered, 0);
}

/// It hears of the lift at once, so that no connection that is made anew brings the entry back.
#[tokio::test]
async fn a_lift_is_heard_of_before_it_can_be_undone() {
    let server = RedisServer::start();
    let (one, _one) = alone(&server).await;
    let (mut other, _other) = alone(&server).await;
    other.blocklist.listen();
    let item = one.revoke(&jti("1")).await;
    assert!(other.is_refused("1").await);
    eventually(async || other.blocklist.status().remembered == 1).await;
    // Until it listens, words are lost.
    eventually(async || server.run::<Vec<String>>(&["PUBSUB", "CHANNELS"]).len() == 1).await;
    eventually(async || !other.blocklist.status().in_doubt).await;
    assert!(one.blocklist.remove(&item.id).await.unwrap());
    eventually(async || other.blocklist.status().remembered == 0).await;
    server.run::<i64>(&["CLIENT", "KILL", "TYPE", "normal"]);
    eventually(async || other.is_clear("1").await).await;
    eventually(async || !other.blocklist.status().in_doubt).await;
    assert!(one.is_clear("1").await && other.is_clear("1").await);
}

/// Revoked tokens that come without end do not keep the store from being looked at.
#[tokio::test]
async fn a_trickle_of_sightings_holds_nothing_up() {
    let server = RedisServer::start();
    let (gateway, _dir) = alone(&server).await;
    assert!(gateway.is_clear("1").await);
    let shared = Arc::clone(&gateway.blocklist.shared);
    let trickle = tokio::spawn(async move {
        loop {
            let until = now().plus(Duration::from_secs(600));
            let name = "jti:i:seen".to_owned();
            let sighting = Sighting { name, value: None, until, is_lost: true };
            shared.sightings.send(sighting).await.unwrap();
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    server.run::<()>(&["FLUSHALL"]);
    eventually(async || gateway.blocklist.status().lost == 1).await;
    trickle.abort();
}

/// Two gateways on one Redis agree on one generation after a flush, and both report the loss.
#[tokio::test]
async fn two_gateways_agree_after_a_flush() {
    let server = RedisServer::start();
    let (one, _one) = alone(&server).await;
    let (other, _other) = alone(&server).await;
    assert_eq!(one.blocklist.status().generation, other.blocklist.status().generation);
    one.revoke(&jti("1")).await;
    other.revoke(&jti("2")).await;
    server.run::<()>(&["FLUSHALL"]);
    for gateway in [&one, &other] {
        eventually(async || gateway.blocklist.status().lost == 1).await;
    }
    assert_eq!(one.blocklist.status().generation, other.blocklist.status().generation);
    for gateway in [&one, &other] {
        eventually(async || gateway.is_refused("1").await && gateway.is_refused("2").await).await;
        assert!(gateway.is_clear("3").await);
    }
}

/// `on_loss = "refuse-older"`: what was issued before the loss is refused, from its first moment.
#[tokio::test]
async fn older_tokens_are_refused_after_a_loss() {
    let server = RedisServer::start();
    let dir = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(&unix(&server), dir.path(), OnLoss::RefuseOlder).await;
    assert!(gateway.is_clear("1").await);
    server.run::<()>(&["FLUSHALL"]);
    let older = Ok(Verdict::Revoked(Cause::OlderThanLoss));
    let old = token("1");
    assert_eq!(gateway.verdict(&old).await, older);
    eventually(async || gateway.blocklist.status().lost == 1).await;
    assert_eq!(gateway.verdict(&old).await, older);
    assert_eq!(gateway.verdict(&issued_at(None, token("1"))).await, older);
    let lost_at = gateway.blocklist.status().lost_at.unwrap();
    let newer = issued_at(Some(UnixTime(lost_at.0 + 1)), token("1"));
    eventually(async || gateway.verdict(&newer).await == Ok(Verdict::Clear)).await;
    gateway.blocklist.set_on_loss(OnLoss::Remember);
    assert_eq!(gateway.verdict(&old).await, Ok(Verdict::Clear));
}

/// Keys that other applications write refuse, and are remembered, but never written by us.
#[tokio::test]
async fn extra_keys_refuse_and_are_not_written() {
    let server = RedisServer::start();
    let (gateway, _dir) = alone(&server).await;
    let mut theirs = token("1");
    theirs.extra = vec!["blacklist:1".into()];
    server.run::<()>(&["SET", "blacklist:1", "whatever"]);
    assert_eq!(gateway.verdict(&theirs).await, Ok(Verdict::Revoked(Cause::Extra)));
    eventually(async || gateway.blocklist.status().remembered == 1).await;
    server.run::<()>(&["FLUSHALL"]);
    let verdict = gateway.verdict(&theirs).await;
    assert_eq!(verdict, Ok(Verdict::Revoked(Cause::Extra)));
    settled_after_loss(&gateway).await;
    assert_eq!(server.run::<Vec<String>>(&["KEYS", "*"]), ["postern:blocklist:generation"]);
}

/// A damaged state file is an error, not a "first start" that would hide a loss.
#[tokio::test]
async fn a_damaged_state_file_is_refused() {
    let server = RedisServer::start();
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("blocklist.json"), "{").unwrap();
    let opened = Blocklist::open(&unix(&server), OnLoss::Remember, dir.path(), now()).await;
    assert!(matches!(opened, Err(OpenError::Corrupt { .. })));
}

/// An embedded store whose file was taken away has lost its revocations, and says so.
#[tokio::test]
async fn a_lost_embedded_store_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("store");
    let settings = Settings::new(store::Address::Embedded { dir: store.clone() });
    let gateway = Gateway::start(&settings, dir.path(), OnLoss::Remember).await;
    gateway.revoke(&jti("1")).await;
    assert_eq!(gateway.blocklist.status().lost, 0);
    drop(gateway);
    tokio::time::sleep(Duration::from_millis(50)).await;
    std::fs::remove_dir_all(&store).unwrap();
    let gateway = Gateway::start(&settings, dir.path(), OnLoss::Remember).await;
    let status = gateway.blocklist.status();
    assert!(status.alarm && status.lost == 1, "{status:?}");
}

/// A login may be renewed while its revocation is under way, dated after the clock was read: the
/// entry covers what was issued up to its taking effect (design section 6).
#[tokio::test]
async fn a_revocation_is_dated_when_it_takes_effect() {
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings::new(store::Address::Embedded { dir: dir.path().join("store") });
    let gateway = Gateway::start(&settings, dir.path(), OnLoss::Remember).await;
    let begun = now();
    let later = begun.plus(Duration::from_secs(2));
    // Another request, whose clock was read later, was served first.
    assert_eq!(gateway.blocklist.store().time(later).await, Ok(later));
    let sub = Revocation {
        issued_before: Some(IssuedBefore::Now { leeway: Duration::ZERO }),
        ..revocation(Kind::Sub, "alice", End::For(Duration::from_secs(600)))
    };
    let item = gateway.blocklist.revoke(&sub, begun).await.unwrap();
    assert_eq!(item.issued_before, Some(later.seconds()));
}

/// What one gateway revokes, the others hear of at once; after a gap they doubt.
#[tokio::test]
async fn revocations_are_told_to_other_gateways() {
    let server = RedisServer::start();
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let one = Gateway::start(&unix(&server), dirs[0].path(), OnLoss::Remember).await;
    let mut other = Gateway::start(&unix(&server), dirs[1].path(), OnLoss::Remember).await;
    let mut news = other.blocklist.announcer().subscribe();
    other.blocklist.listen();
    assert_eq!(news.next().await, Some(News::Doubt), "what came before may have been missed");
    let heard = other.worker.announced();
    one.revoke(&jti("4711")).await;
    assert_eq!(news.next().await, Some(News::Entry("jti:i:4711".into())));
    assert_eq!(other.worker.announced(), heard + 1);
    // Its own comes twice: by itself and by the channel.
    other.revoke(&jti("4712")).await;
    for _ in 0..2 {
        assert_eq!(news.next().await, Some(News::Entry("jti:i:4712".into())));
    }
    let killed: u64 = server.run(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    assert_eq!(killed, 1);
    assert_eq!(news.next().await, Some(News::Doubt), "connected again");
    one.revoke(&jti("4713")).await;
    assert_eq!(news.next().await, Some(News::Entry("jti:i:4713".into())));
}
