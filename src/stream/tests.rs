//! The index against a plain list, and what a keeper ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use serde_json::json;

use super::index::{Entry, Key};
use super::*;
use crate::auth::{Algorithm, IssuerFilter, IssuerSettings, Issuers, SigningKey, Verified};
use crate::blocklist::{Announcer, Cause};
use crate::time::UnixTime;
use crate::token::Kind as By;

const NOW: UnixTime = UnixTime(1_800_000_000);

/// Counts how often it was woken or cut.
#[derive(Default)]
struct Count(AtomicUsize);

impl Count {
    fn get(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Sever for Count {
    fn sever(&self, _: Why) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// A verified token of this subject and id.
fn verified(sub: &str, jti: &str) -> Arc<Verified> {
    crate::auth::install_provider();
    let secret = b"0123456789abcdef0123456789abcdef";
    let key = SigningKey::from_secret(Algorithm::HS256, secret).unwrap();
    let mut settings = IssuerSettings::new("main", vec![Algorithm::HS256]);
    settings.keys = vec![key.verification_key(None).unwrap()];
    let claims = json!({
        "sub": sub, "jti": jti, "iat": NOW.0 - 10, "exp": NOW.0 + 600,
    });
    let token = key.sign("JWT", None, claims.as_object().unwrap()).unwrap();
    let issuers = Issuers::new(vec![settings], Vec::new()).unwrap();
    let candidate = issuers.prepare(&token, &IssuerFilter::All, NOW).unwrap();
    Arc::new(candidate.verify(NOW).unwrap())
}

fn index() -> Arc<Index> {
    Index::new(Announcer::new(), Arc::default())
}

fn entry(verified: &Arc<Verified>, kind: Kind, waker: &Arc<Count>, exit: Exit) -> Entry {
    Entry {
        verified: Arc::clone(verified),
        heard: 0,
        allow_unreachable: false,
        kind,
        waker: Waker::from(Arc::clone(waker)),
        exit,
    }
}

fn named(index: &Index, suffix: &str) -> Vec<Key> {
    index.named([suffix].into_iter()).into_iter().map(|case| case.key).collect()
}

/// Young or indexed, under every suffix of its token and no other, until it leaves.
#[test]
fn a_stream_is_found_by_whatever_names_its_token() {
    let (index, waker) = (index(), Arc::default());
    let (ada, bob) = (verified("ada", "1"), verified("bob", "2"));
    let keys = [
        index.enter(entry(&ada, Kind::Body, &waker, Exit::Own)),
        index.enter(entry(&ada, Kind::WebSocket, &waker, Exit::Own)),
        index.enter(entry(&bob, Kind::Sse, &waker, Exit::Own)),
    ];
    let settled = Instant::now() + Duration::from_secs(5);
    for is_settled in [false, true] {
        if is_settled {
            index.settle(settled);
        }
        assert_eq!(named(&index, "sub:-:ada"), keys[..2], "settled: {is_settled}");
        assert_eq!(named(&index, "jti:-:2"), keys[2..]);
        assert_eq!(named(&index, "issuer:-"), keys);
        assert!(named(&index, "sub:-:a").is_empty() && named(&index, "ada").is_empty());
    }
    assert_eq!(index.tally().open(), 3);
    assert_eq!(index.leave(keys[1]), None);
    assert_eq!(named(&index, "sub:-:ada"), keys[..1]);
    let again = index.enter(entry(&bob, Kind::WebSocket, &waker, Exit::Own));
    assert_eq!(index.leave(keys[1]), None, "its place is another's by now");
    assert_eq!(named(&index, "sub:-:bob"), [again, keys[2]]);
    for key in [keys[0], keys[2], again] {
        index.leave(key);
    }
    assert_eq!((index.sizes(), index.tally().open()), ((0, 0), 0));
}

proptest! {
    /// However streams come, settle and go, the index knows exactly those that are there.
    #[test]
    fn the_index_is_as_good_as_a_list(
        steps in prop::collection::vec((0..4_u8, 0..3_usize, any::<prop::sample::Index>()), 1..60)
    ) {
        let (index, waker) = (index(), Arc::default());
        let tokens = ["ada", "bob", "eve"].map(|sub| verified(sub, sub));
        let mut list: Vec<(Key, usize)> = Vec::new();
        for (step, token, which) in steps {
            match step {
                0 | 1 => {
                    let kind = if step == 0 { Kind::Body } else { Kind::WebSocket };
                    let key = index.enter(entry(&tokens[token], kind, &waker, Exit::Own));
                    list.push((key, token));
                }
                2 if !list.is_empty() => {
                    let (key, _) = list.remove(which.index(list.len()));
                    index.leave(key);
                }
                _ => index.settle(Instant::now() + Duration::from_secs(60)),
            }
            for (number, sub) in ["ada", "bob", "eve"].into_iter().enumerate() {
                let mut found = named(&index, &format!("sub:-:{sub}"));
                let mut expected: Vec<Key> =
                    list.iter().filter(|(_, of)| *of == number).map(|(key, _)| *key).collect();
                found.sort_by_key(|key| format!("{key:?}"));
                expected.sort_by_key(|key| format!("{key:?}"));
                prop_assert_eq!(found, expected);
            }
            prop_assert_eq!(index.all().len(), list.len());
        }
        for (key, _) in list {
            index.leave(key);
        }
        prop_assert_eq!(index.sizes(), (0, 0));
    }
}

/// The race: checked, then revoked and announced, then entered. Whoever enters late is looked at.
#[tokio::test]
async fn what_was_announced_before_a_stream_was_entered_is_not_missed() {
    let announcer = Announcer::new();
    let index = Index::new(announcer.clone(), Arc::default());
    let token = verified("ada", "1");
    let pass =
        Pass { verified: Arc::clone(&token), heard: announcer.count(), allow_unreachable: false };
    let mut early = Life::new(Arc::clone(&index), pass.clone(), Kind::Body);
    let cx = Context::from_waker(Waker::noop());
    early.enter(&cx, Exit::Own);
    let patience = Duration::from_millis(20);
    let suspects = tokio::time::timeout(patience, index.suspects()).await;
    assert!(suspects.is_err(), "nothing was announced");
    announcer.announce("jti:-:something else");
    let mut late = Life::new(Arc::clone(&index), pass, Kind::Body);
    late.enter(&cx, Exit::Own);
    let suspects = index.suspects().await;
    assert_eq!(suspects.len(), 1, "a word that it may have missed");
    drop(late);
    assert_eq!(index.all().len(), 1);
}

#[test]
fn an_ended_stream_wakes_its_task_and_cuts_what_it_must() {
    let index = index();
    let token = verified("ada", "1");
    let now = Instant::now();
    let revoked = Why::Revoked(Cause::Entry(By::Jti));
    for (how, at_once, later) in [("cut", 1, 2), ("insist", 0, 1), ("own", 0, 0)] {
        let (waker, connection) = (Arc::<Count>::default(), Arc::<Count>::default());
        let exit = match how {
            "cut" => Exit::Cut(connection.clone()),
            "insist" => Exit::Insist(connection.clone()),
            _ => Exit::Own,
        };
        let key = index.enter(entry(&token, Kind::Sse, &waker, exit));
        assert_eq!(index.look(key, Waker::noop()), None);
        let waker = Arc::<Count>::default();
        assert_eq!(index.look(key, &Waker::from(Arc::clone(&waker))), None);
        index.end(&[key, key], revoked, now);
        assert_eq!((waker.get(), connection.get()), (1, at_once), "the task that looked last");
        index.end(&[key], Why::Expired, now);
        index.insist(now);
        assert_eq!(connection.get(), at_once, "it is given a moment");
        index.insist(now + Duration::from_secs(2));
        assert_eq!(connection.get(), later);
        assert_eq!(index.look(key, Waker::noop()), Some(revoked), "the first reason stays");
        assert!(index.all().is_empty(), "nobody asks about it again");
        assert_eq!(index.leave(key), Some(revoked));
    }
    let ended = index.tally().ended();
    assert_eq!(ended, [Ended { reason: "revoked_jti", streams: 3 }]);
}

/// Deafness is bounded from the first silence on, and ends with the first answer.
#[test]
fn silence_counts_from_its_beginning() {
    let (index, waker) = (index(), Arc::default());
    let token = verified("ada", "1");
    let key = index.enter(entry(&token, Kind::Sse, &waker, Exit::Own));
    let allows = Entry { allow_unreachable: true, ..entry(&token, Kind::Sse, &waker, Exit::Own) };
    let allows = index.enter(allows);
    let (grace, begin) = (Duration::from_secs(30), Instant::now());
    let after = |seconds| begin + Duration::from_secs(seconds);
    let unanswered = |at: Instant| index.unanswered([key, allows].into_iter(), grace, at);
    assert!(unanswered(after(0)).is_empty());
    assert!(unanswered(after(29)).is_empty());
    index.answered([key].into_iter());
    assert!(unanswered(after(31)).is_empty());
    assert!(unanswered(after(60)).is_empty());
    assert_eq!(unanswered(after(61)), [key], "never where the route allows");
    assert_eq!(index.unanswered([key].into_iter(), Duration::ZERO, begin), [key], "no grace");
}

/// A stream that is over before it was ever entered leaves no trace.
#[test]
fn what_is_never_entered_costs_nothing() {
    let index = index();
    let pass = Pass { verified: verified("ada", "1"), heard: 7, allow_unreachable: false };
    let mut life = Life::new(Arc::clone(&index), pass, Kind::Body);
    let cx = Context::from_waker(Waker::noop());
    assert_eq!(life.poll_end(&cx), Poll::Pending);
    assert_eq!(life.leave(), None);
    assert_eq!(index.sizes(), (0, 0));
}

/// Short answers leave nothing behind (invariant 8), with and without one that stays.
#[test]
fn what_was_short_leaves_nothing_behind() {
    let (index, waker, token) = (index(), Arc::default(), verified("ada", "1"));
    let enter = || index.enter(entry(&token, Kind::Body, &waker, Exit::Own));
    for _ in 0..1000 {
        index.leave(enter());
    }
    assert!(index.young() <= 1, "{}", index.young());
    let stays = enter();
    for _ in 0..100 {
        index.leave(enter());
    }
    index.settle(Instant::now() + Duration::from_secs(5));
    assert_eq!((index.young(), index.sizes().0), (0, 1));
    index.leave(stays);
    assert!(index.is_empty());
}

#[test]
fn kinds_are_told_by_their_media_type() {
    use http::header::CONTENT_TYPE;
    for (media, kind) in [
        ("text/event-stream", Kind::Sse),
        ("Text/Event-Stream; charset=utf-8", Kind::Sse),
        ("application/grpc", Kind::Grpc),
        ("application/grpc+proto", Kind::Grpc),
        ("application/grpc-web-text", Kind::GrpcWeb),
        ("text/event", Kind::Body),
        ("application/json", Kind::Body),
        ("", Kind::Body),
    ] {
        let headers = [(CONTENT_TYPE, media.parse().unwrap())].into_iter().collect();
        assert_eq!(Kind::of(&headers), kind, "{media}");
    }
    assert_eq!(Kind::of(&http::HeaderMap::new()), Kind::Body);
}
