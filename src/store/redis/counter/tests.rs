//! Goal: together, gateways allow to the unit what one does, whatever happens in between; what is
//! counted leaves by itself. (That the arithmetic is that of the limiter in memory is shown beside
//! it, in `limit`.)

use std::num::NonZeroU32;

use redis::Value;

use super::*;
use crate::store::tests::server::RedisServer;
use crate::store::tests::{eventually, unix};
use crate::store::{Settings, Store, WorkerEngine, WorkerStore};

/// A clock that tests set: the last argument.
const SET_CLOCK: &str = "local now = tonumber(ARGV[#ARGV])\n";
/// Where the tests' clock starts: today, so that the size of the numbers is the real one.
const START: u64 = 1_800_000_000_000_000;

fn meter(key: u128, count: u32, interval: Duration) -> Meter {
    Meter { limit: 7, key, count: NonZeroU32::new(count).unwrap(), interval }
}

fn worker(store: &Store) -> (WorkerStore, Counter) {
    let worker = store.worker();
    let WorkerEngine::Redis(redis) = &worker.engine else { panic!("another engine") };
    let counter = redis.counter().clone();
    (worker, counter)
}

const FIVE: Duration = Duration::from_secs(180);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_gateways_together_allow_what_one_does() {
    let server = RedisServer::start();
    let stores = [Store::open(&unix(&server)).unwrap(), Store::open(&unix(&server)).unwrap()];
    let workers = [worker(&stores[0]), worker(&stores[1])];
    let five = meter(1, 5, FIVE);
    for failures in [false, true] {
        let five = Meter { limit: u64::from(failures), ..five };
        let attempts: Vec<_> = (0..200)
            .map(|i| {
                let counter = workers[i % 2].1.clone();
                tokio::spawn(async move {
                    if failures {
                        counter.reserve(&five, i as u128).await.unwrap()
                    } else {
                        counter.count(&five).await.unwrap()
                    }
                })
            })
            .collect();
        let mut left = Vec::new();
        for attempt in attempts {
            match attempt.await.unwrap() {
                Level::Allowed { left: units } => left.push(units),
                Level::Refused { wait } if failures => assert_eq!(wait, Duration::ZERO),
                Level::Refused { wait } => {
                    assert!(wait <= FIVE && wait > FIVE - Duration::from_secs(60), "{wait:?}");
                }
            }
        }
        left.sort_unstable();
        assert_eq!(left, [0, 1, 2, 3, 4], "failures: {failures}");
    }
}

#[tokio::test]
async fn a_success_gives_its_unit_back_and_a_failure_does_not() {
    let server = RedisServer::start();
    let store = Store::open(&unix(&server)).unwrap();
    let (_worker, counter) = worker(&store);
    let two = meter(1, 2, FIVE);
    for id in 0..20 {
        assert_eq!(counter.reserve(&two, id).await, Ok(Level::Allowed { left: 1 }));
        counter.settle(&two, id, Outcome::Succeeded).await.unwrap();
    }
    assert!(keys(&server).is_empty(), "nothing is left of successes");
    // Told twice, a unit is not given back twice.
    assert_eq!(counter.reserve(&two, 100).await, Ok(Level::Allowed { left: 1 }));
    assert_eq!(counter.reserve(&two, 101).await, Ok(Level::Allowed { left: 0 }));
    assert_eq!(counter.reserve(&two, 102).await, Ok(Level::Refused { wait: Duration::ZERO }));
    counter.settle(&two, 100, Outcome::Failed).await.unwrap();
    for _ in 0..2 {
        counter.settle(&two, 101, Outcome::Succeeded).await.unwrap();
        counter.settle(&two, 999, Outcome::Succeeded).await.unwrap();
    }
    assert_eq!(counter.reserve(&two, 103).await, Ok(Level::Allowed { left: 0 }));
    // Asked again with the same id (the connection broke off in between), it is one request.
    assert_eq!(counter.reserve(&two, 103).await, Ok(Level::Allowed { left: 0 }));
    counter.settle(&two, 103, Outcome::Failed).await.unwrap();
    let Ok(Level::Refused { wait }) = counter.reserve(&two, 104).await else { panic!("allowed") };
    assert!(wait > Duration::from_secs(150) && wait <= FIVE, "{wait:?}");
}

/// Every key has an end, no later than it says anything.
#[tokio::test]
async fn keys_leave_by_themselves() {
    let server = RedisServer::start();
    let store = Store::open(&unix(&server)).unwrap();
    let (_worker, counter) = worker(&store);
    let life = |key: &str| server.run::<i64>(&["PTTL", key]);
    let five = meter(1, 5, FIVE);
    for units in 1..=5_i64 {
        counter.count(&five).await.unwrap();
        let left = life(&keys(&server)[0]);
        assert!(left <= units * 180_000 && left > (units - 1) * 180_000, "{units}: {left}");
    }
    server.run::<()>(&["FLUSHALL"]);
    counter.reserve(&five, 1).await.unwrap();
    // Ten minutes in flight, then the three of a failure.
    let left = life(&keys(&server)[0]);
    assert!((770_000..=780_000).contains(&left), "{left}");
    counter.settle(&five, 1, Outcome::Failed).await.unwrap();
    let left = life(&keys(&server)[0]);
    assert!((170_000..=180_000).contains(&left), "{left}");
    server.run::<()>(&["FLUSHALL"]);
    let quick = meter(2, 3, Duration::from_millis(20));
    counter.count(&quick).await.unwrap();
    eventually(|| async { keys(&server).is_empty() }).await;
}

fn keys(server: &RedisServer) -> Vec<String> {
    server.run(&["KEYS", "postern:limit:*"])
}

/// A server that restarts forgets its scripts, a SCRIPT FLUSH too: neither is an error.
#[tokio::test]
async fn scripts_are_sent_again_when_the_server_forgot_them() {
    let mut server = RedisServer::start();
    let store = Store::open(&unix(&server)).unwrap();
    let (_worker, counter) = worker(&store);
    let five = meter(1, 5, FIVE);
    assert_eq!(counter.count(&five).await, Ok(Level::Allowed { left: 4 }));
    server.run::<()>(&["SCRIPT", "FLUSH"]);
    assert_eq!(counter.count(&five).await, Ok(Level::Allowed { left: 3 }));
    server.kill();
    assert!(counter.count(&five).await.is_err());
    server.restart();
    eventually(|| async { counter.count(&five).await.is_ok() }).await;
    assert!(counter.reserve(&meter(2, 5, FIVE), 1).await.is_ok());
}

/// R42, R43: a store that does not answer is an error in time; another type too.
#[tokio::test]
async fn no_answer_is_an_error() {
    let server = RedisServer::start();
    let settings = Settings { timeout: Duration::from_secs(1), ..unix(&server) };
    let store = Store::open(&settings).unwrap();
    let (_worker, counter) = worker(&store);
    let five = meter(1, 5, FIVE);
    counter.count(&five).await.unwrap();
    server.run::<()>(&["DEL", &keys(&server)[0]]);
    server.run::<()>(&["LPUSH", &counter.key(&five), "x"]);
    assert!(matches!(counter.count(&five).await, Err(Error::Answer(_))));
    assert!(matches!(counter.reserve(&five, 1).await, Err(Error::Answer(_))));
    server.run::<()>(&["SET", &counter.key(&five), "9e99"]);
    let Ok(Level::Refused { wait }) = counter.count(&five).await else { panic!("allowed") };
    assert_eq!(wait, FIVE, "nonsense refuses, and not for ever");
    server.freeze();
    let start = Instant::now();
    assert!(counter.count(&five).await.is_err());
    assert!(start.elapsed() < Duration::from_secs(4));
    server.thaw();
}

/// Scripts on a clock that the test sets, on a connection of its own.
pub(crate) struct Bench {
    connection: redis::Connection,
    scripts: Scripts,
    pub(crate) now: u64,
}

impl Bench {
    pub(crate) fn new(server: &RedisServer) -> Self {
        let client =
            redis::Client::open(format!("redis+unix://{}", server.socket.display())).unwrap();
        let connection = client.get_connection().unwrap();
        Self { connection, scripts: Scripts::on(SET_CLOCK), now: START }
    }

    fn run(
        &mut self,
        which: fn(&Scripts) -> &Source,
        rate: (u32, Duration),
        more: &[u64],
    ) -> Level {
        let mut cmd = redis::cmd("EVAL");
        cmd.arg(&which(&self.scripts).text).arg(1).arg("meter").arg(micros(rate.1)).arg(rate.0);
        more.iter().for_each(|word| {
            cmd.arg(*word);
        });
        let value: Value = cmd.arg(self.now).query(&mut self.connection).unwrap();
        level(value).unwrap()
    }

    pub(crate) fn count(&mut self, rate: (u32, Duration)) -> Level {
        self.run(|scripts| &scripts.count, rate, &[])
    }

    pub(crate) fn reserve(&mut self, rate: (u32, Duration), id: u64) -> Level {
        self.run(|scripts| &scripts.reserve, rate, &[id, micros(OUTCOME_MAX)])
    }

    pub(crate) fn settle(&mut self, rate: (u32, Duration), id: u64, failed: bool) {
        self.run(|scripts| &scripts.settle, rate, &[id, u64::from(failed)]);
    }

    pub(crate) fn forget(&mut self) {
        redis::cmd("FLUSHALL").exec(&mut self.connection).unwrap();
    }
}

/// What a crashed gateway had in flight has failed when it is given up, not before and not never.
#[test]
fn what_was_abandoned_counts_as_a_failure() {
    let server = RedisServer::start();
    let mut bench = Bench::new(&server);
    let rate = (2, FIVE);
    bench.reserve(rate, 1);
    bench.reserve(rate, 2);
    bench.now += micros(OUTCOME_MAX) - 1;
    assert_eq!(bench.reserve(rate, 3), Level::Refused { wait: Duration::ZERO });
    bench.now += 1;
    assert_eq!(bench.reserve(rate, 3), Level::Refused { wait: FIVE });
    bench.now += micros(FIVE);
    assert_eq!(bench.reserve(rate, 3), Level::Allowed { left: 0 });
    bench.settle(rate, 3, true);
    bench.now += 2 * micros(FIVE);
    assert_eq!(bench.reserve(rate, 4), Level::Allowed { left: 1 });
}

/// A failover to a server whose clock is an hour behind must not lock anybody out for that hour.
#[test]
fn a_clock_that_goes_back_costs_no_more_than_a_window() {
    let server = RedisServer::start();
    let mut bench = Bench::new(&server);
    let rate = (5, FIVE);
    for left in (0..5).rev() {
        assert_eq!(bench.count(rate), Level::Allowed { left });
    }
    bench.now -= 3_600_000_000;
    assert_eq!(bench.count(rate), Level::Refused { wait: FIVE });
    bench.now += micros(FIVE);
    assert!(matches!(bench.count(rate), Level::Refused { .. }), "the key was not touched");
    bench.now += 3_600_000_000;
    assert!(matches!(bench.count(rate), Level::Allowed { .. }));
}
