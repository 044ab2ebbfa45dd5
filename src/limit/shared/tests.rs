//! Goal: a shared limit decides as a limit in memory does, is the same limit on every gateway,
//! says nothing of names, cannot fill the store, and lets nobody through for nothing when the store
//! is gone.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;

use governor::clock::FakeRelativeClock;
use http::{HeaderMap, HeaderValue};
use proptest::prelude::*;

use super::*;
use crate::limit::{Limiter, Parts, Quota};
use crate::store::tests::server::RedisServer;
use crate::store::tests::{eventually, unix};
use crate::store::{CounterBench, OUTCOME_MAX, Store, WorkerStore};
use crate::token::ClaimPath;

fn limit(count: Count, tracked_max: usize) -> Limit {
    let quota = Quota { count: NonZeroU32::new(5).unwrap(), per: Duration::from_secs(900) };
    let by = vec![By::Client, By::Json(ClaimPath::parse("/email").unwrap())];
    let id = LimiterId { route: "login".into(), index: 0, by: format!("{by:?}"), quota, count };
    let clock = DefaultClock::default();
    let limiter = Arc::new(Limiter::with_clock(quota, tracked_max, clock));
    let shared = Some(Shared::new(&id, &by));
    Limit { name: "login".into(), by, count, limiter, shared }
}

fn key(limit: &Limit, name: &str) -> Key {
    let mut headers = HeaderMap::new();
    headers.insert("content-type", HeaderValue::from_static("application/json"));
    let body = format!("{{\"email\":\"{name}\"}}");
    let client = IpAddr::from([192, 0, 2, 1]);
    let body = Some(body.as_bytes());
    limit.key(&Parts { client, headers: &headers, body, claims: None, account: None }).unwrap()
}

async fn take(limit: &Limit, worker: &WorkerStore, name: &str) -> Taken {
    let (shared, counter) = (limit.shared.as_ref().unwrap(), worker.counter().unwrap());
    limit.take_shared(shared, counter, key(limit, name)).await
}

fn stored(server: &RedisServer) -> Vec<String> {
    server.run(&["KEYS", "*limit*"])
}

/// A limit made from the same configuration elsewhere counts under the same keys; any other does
/// not.
#[test]
fn it_is_the_same_limit_on_every_gateway_and_no_other() {
    let (one, other) = (limit(Count::All, 10), limit(Count::All, 10));
    let hash = |limit: &Limit| limit.shared.as_ref().unwrap().limit;
    assert_eq!(hash(&one), hash(&other));
    assert_eq!(key(&one, "a@example.com"), key(&other, "A@EXAMPLE.COM"));
    // Written down, so that a release which counts elsewhere does so on purpose.
    assert_eq!(format!("{:016x}", hash(&one)), "015389f5f83e9c84");
    let id = LimiterId {
        route: "login".into(),
        index: 0,
        by: String::new(),
        quota: one.limiter.quota(),
        count: Count::All,
    };
    let quota = Quota { count: NonZeroU32::MIN, ..id.quota };
    let ids = [
        LimiterId { route: "logi".into(), ..id.clone() },
        LimiterId { index: 1, ..id.clone() },
        LimiterId { quota, ..id.clone() },
        LimiterId { count: Count::Failures, ..id.clone() },
    ];
    let mut seen: Vec<_> = ids.iter().map(|id| Shared::new(id, &one.by).limit).collect();
    let bys = [vec![By::Client], vec![By::Form("client".into())], vec![By::Form("n".into())]];
    seen.extend(bys.iter().map(|by| Shared::new(&id, by).limit));
    seen.push(hash(&one));
    let all = seen.len();
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), all);
}

/// Two shared keys are two whatever their parts, as those of one gateway are.
#[test]
fn parts_cannot_run_into_each_other() {
    let limit = limit(Count::All, 10);
    let start = || limit.shared.as_ref().unwrap().key();
    let keys = [
        start().part(b"ab").part(b"c").finish(),
        start().part(b"a").part(b"bc").finish(),
        start().part(b"abc").finish(),
        start().part(b"abc").part(b"").finish(),
        start().part(b"abc").absent().finish(),
        start().absent().part(b"abc").finish(),
    ];
    for (i, a) in keys.iter().enumerate() {
        assert!(keys.iter().skip(i + 1).all(|b| a != b), "{i}");
    }
}

#[tokio::test]
async fn two_gateways_share_a_quota_and_no_name_is_in_the_store() {
    let server = RedisServer::start();
    let store = Store::open(&unix(&server)).unwrap();
    let (worker, other) = (store.worker(), store.worker());
    for count in [Count::All, Count::Failures] {
        let (here, there) = (limit(count, 10), limit(count, 10));
        for left in (0..5).rev() {
            let (limit, worker) = if left % 2 == 0 { (&here, &worker) } else { (&there, &other) };
            let taken = take(limit, worker, "alice@example.com").await;
            assert_eq!((taken.decision.allowed, taken.decision.remaining), (true, left));
            assert_eq!(taken.flight.is_some(), count == Count::Failures);
        }
        for (limit, worker) in [(&here, &worker), (&there, &other)] {
            eventually(|| async {
                let refused = take(limit, worker, "alice@example.com").await;
                assert!(!refused.decision.allowed && refused.flight.is_none());
                // Those that were dropped without an outcome have become failures.
                refused.decision.retry_after > Duration::from_secs(170)
            })
            .await;
        }
    }
    let names = stored(&server);
    assert_eq!(names.len(), 2);
    for name in names {
        let dump: redis::Value = server.run(&["DUMP", &name]);
        let told = format!("{name} {dump:?}").to_lowercase();
        let bytes = format!("{:?}", "alice".as_bytes());
        let inner = bytes.trim_matches(['[', ']']);
        for secret in ["alice", "example", "192.0.2.1", "login", inner] {
            assert!(!told.contains(secret), "{told} tells {secret}");
        }
    }
}

#[tokio::test]
async fn successes_are_given_back_before_anybody_waits_for_them() {
    let server = RedisServer::start();
    let store = Store::open(&unix(&server)).unwrap();
    let worker = store.worker();
    let limit = limit(Count::Failures, 10);
    for _ in 0..20 {
        let taken = take(&limit, &worker, "a").await;
        assert_eq!(taken.decision.remaining, 4);
        taken.reservation.unwrap().succeeded();
        taken.flight.unwrap().give_back().unwrap().await.unwrap();
    }
    assert!(stored(&server).is_empty());
    assert_eq!(limit.limiter.held(), 0);
}

/// Invariant 8: a stranger who makes up names fills neither the gateway nor the store.
#[tokio::test]
async fn made_up_names_do_not_fill_the_store() {
    let server = RedisServer::start();
    let store = Store::open(&unix(&server)).unwrap();
    let worker = store.worker();
    let limit = limit(Count::All, 10);
    let mut refused = 0;
    for name in 0..500 {
        refused += u32::from(!take(&limit, &worker, &name.to_string()).await.decision.allowed);
    }
    assert!(refused == 0, "cells are many");
    let names = stored(&server);
    let cells = names.iter().filter(|name| name.contains(":0000000000000000000000000000")).count();
    assert!(cells > 400, "beyond the cap names share cells: {cells}");
}

/// R43: without the store each gateway keeps the quota by itself, with what it has let through.
#[tokio::test]
async fn without_the_store_the_gateway_counts_for_itself() {
    let mut server = RedisServer::start();
    let store = Store::open(&unix(&server)).unwrap();
    let worker = store.worker();
    for count in [Count::All, Count::Failures] {
        let limit = limit(count, 10);
        let mut held = Vec::new();
        for _ in 0..3 {
            held.push(take(&limit, &worker, "a").await);
        }
        server.kill();
        for allowed in [true, true, false, false] {
            let taken = take(&limit, &worker, "a").await;
            assert_eq!(taken.decision.allowed, allowed, "{count:?}");
            held.push(taken);
        }
        assert!(limit.shared.as_ref().unwrap().outage.is_on.load(Ordering::Relaxed));
        server.restart();
        eventually(|| async {
            // Back, and empty: it is the store's word that counts again.
            let taken = take(&limit, &worker, "b").await;
            drop(taken);
            !limit.shared.as_ref().unwrap().outage.is_on.load(Ordering::Relaxed)
        })
        .await;
        assert!(take(&limit, &worker, "a").await.decision.allowed, "{count:?}");
        drop(held);
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Start,
    Fail,
    Succeed,
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => Just(Step::Start),
        2 => Just(Step::Fail),
        2 => Just(Step::Succeed),
        2 => (1..400_u64).prop_map(Step::Pass),
    ]
}

fn agrees(level: Level, decision: &Decision) -> bool {
    match level {
        Level::Allowed { left } => decision.allowed && left == decision.remaining,
        Level::Refused { wait } => {
            !decision.allowed && wait.max(Duration::from_secs(1)) == decision.retry_after
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    /// Any schedule, decision by decision, against the limiter in memory at the same instants.
    #[test]
    fn the_store_counts_as_the_memory_does(
        schedules in proptest::collection::vec(
            (1..8_u32, prop::sample::select(vec![1_u64, 60, 180]),
             proptest::collection::vec(step(), 0..60)),
            1..4,
        ),
    ) {
        let server = RedisServer::start();
        let mut bench = CounterBench::new(&server);
        for (count, interval, steps) in schedules {
            let rate = (count, Duration::from_secs(interval));
            for failures in [false, true] {
                bench.forget();
                let clock = FakeRelativeClock::default();
                let quota = Quota {
                    count: NonZeroU32::new(count).unwrap(),
                    per: Duration::from_secs(interval * u64::from(count)),
                };
                let limiter =
                    Arc::new(Limiter::with_clock(quota, 10, clock.clone()));
                let key = limiter.key().part(b"x").finish();
                let mut held = VecDeque::new();
                // None is ever in flight so long that it is given up.
                let mut patience = OUTCOME_MAX.as_secs() - 1;
                for (id, step) in (0_u64..).zip(&steps) {
                    match step {
                        Step::Start if failures => {
                            let answer = bench.reserve(rate, id);
                            match limiter.reserve(key) {
                                Ok((reservation, decision)) => {
                                    prop_assert!(agrees(answer, &decision), "{answer:?}");
                                    held.push_back((id, reservation));
                                }
                                Err(decision) => {
                                    prop_assert!(agrees(answer, &decision), "{answer:?}");
                                }
                            }
                        }
                        Step::Start => {
                            let (answer, decision) = (bench.count(rate), limiter.admit(key));
                            prop_assert!(agrees(answer, &decision), "{answer:?} {decision:?}");
                        }
                        Step::Fail => if let Some((id, reservation)) = held.pop_front() {
                            bench.settle(rate, id, true);
                            reservation.failed();
                        },
                        Step::Succeed => if let Some((id, reservation)) = held.pop_front() {
                            bench.settle(rate, id, false);
                            reservation.succeeded();
                        },
                        Step::Pass(seconds) => {
                            let seconds = if failures { (*seconds).min(patience) } else { *seconds };
                            patience -= if failures { seconds } else { 0 };
                            clock.advance(Duration::from_secs(seconds));
                            bench.now += seconds * 1_000_000;
                        }
                    }
                }
            }
        }
    }
}
