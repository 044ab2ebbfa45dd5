//! Limits that several gateways keep together in one store (`shared = true`).

use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::client::{Answer, Request};
use crate::harness::eventually;
use crate::harness::gateway::Gateway;
use crate::harness::redis::Redis;
use crate::harness::setup::Setup;
use crate::harness::upstream::{After, Upstream, reply};

/// One unit comes back in three minutes: none does while a test runs.
fn setup(app: &Upstream, redis: &Redis, count: &str) -> Setup {
    let limit =
        format!("{{ by = \"json:/email\", rate = \"5/15m\", count = \"{count}\", shared = true }}");
    let route =
        format!("path = \"/login\"\nmethods = [\"POST\"]\nauth = \"none\"\nlimits = [{limit}]");
    Setup::standard(app).redis(redis).route("login", &route)
}

fn login(gateway: &Gateway, name: &str) -> Request {
    gateway.post("/login").json(&json!({ "email": name, "password": "x" }))
}

/// An application that knows who may log in.
fn app() -> Upstream {
    Upstream::with(|seen, stream| {
        let good = seen.body.windows(4).any(|part| part == b"good");
        let status = if good { "200 OK" } else { "401 Unauthorized" };
        reply(stream, status, &[], "");
        After::Keep
    })
}

/// `attempts` at once, by turns through each gateway; the answers.
fn storm(gateways: &[Gateway], name: &str, attempts: usize) -> Vec<Answer> {
    let mut connections: Vec<_> = (0..attempts)
        .map(|i| {
            let gateway = &gateways[i % gateways.len()];
            (gateway.https().connect(), login(gateway, name).bytes())
        })
        .collect();
    for (connection, request) in &mut connections {
        connection.write(&*request);
    }
    connections.iter_mut().map(|(connection, _)| connection.answer("POST")).collect()
}

/// R40 over two gateways: 200 guesses at once get the tries that one gateway would give.
#[test]
fn two_gateways_allow_together_what_one_does() {
    let redis = Redis::start();
    for count in ["all", "failures"] {
        let app = app();
        // A loaded machine must not look like an outage of the store, which has limits of its own.
        let setup = setup(&app, &redis, count).set("store", "timeout", "\"10s\"");
        let gateways = [Gateway::start(&setup), Gateway::start(&setup)];
        let answers = storm(&gateways, "alice@example.com", 200);
        let tried = answers.iter().filter(|answer| answer.status == 401).count();
        assert_eq!((tried, app.count()), (5, 5), "{count}");
        for answer in answers.into_iter().filter(|answer| answer.status != 401) {
            let answer = answer.refused(429);
            let after: u64 = answer.header("retry-after").unwrap().parse().unwrap();
            assert!((1..=180).contains(&after), "{after}");
            assert!(answer.header("ratelimit").unwrap().contains("r=0"));
        }
        app.forget();
        login(&gateways[1], "ALICE@example.com ").send().refused(429);
        app.saw_nothing("the same account in another spelling");
        login(&gateways[1], "bob@example.com").send().expect(401);
    }
    let names = redis.keys("postern:limit:*");
    assert_eq!(names.len(), 4, "{names:?}");
    for name in names {
        assert!(!name.contains("alice") && !name.contains("example"), "{name}");
        let life: i64 = redis::from_redis_value(redis.command(&["PTTL", &name])).unwrap();
        assert!((1..=15 * 60 * 1000).contains(&life), "{name} stays for {life} ms");
    }
}

/// Successes cost nothing, on whichever gateway and however soon the next one comes.
#[test]
fn successes_do_not_count_as_failures() {
    let redis = Redis::start();
    let app = app();
    let setup = setup(&app, &redis, "failures");
    let gateways = [Gateway::start(&setup), Gateway::start(&setup)];
    for i in 0..4 {
        login(&gateways[i % 2], "good@example.com").send().expect(200);
        login(&gateways[i % 2], "bad@example.com").send().expect(401);
    }
    for i in 0..20 {
        login(&gateways[i % 2], "good@example.com").send().expect(200);
    }
    login(&gateways[0], "bad@example.com").send().expect(401);
    login(&gateways[1], "bad@example.com").send().refused(429);
}

/// A guesser who hangs up before the answer has had his guess, on all gateways.
#[test]
fn hanging_up_is_a_failure_everywhere() {
    let redis = Redis::start();
    let app = Upstream::with(|_, stream| {
        std::thread::sleep(Duration::from_millis(300));
        reply(stream, "200 OK", &[], "");
        After::Keep
    });
    let setup = setup(&app, &redis, "failures");
    let gateways = [Gateway::start(&setup), Gateway::start(&setup)];
    for i in 1..=5 {
        let mut connection = gateways[0].https().connect();
        connection.write(&login(&gateways[0], "eve@example.com").bytes());
        eventually("the upstream has it", Duration::from_secs(5), || app.count() == i);
        connection.vanish();
    }
    eventually("they count", Duration::from_secs(5), || {
        let answer = login(&gateways[1], "eve@example.com").send();
        let after = answer.header("retry-after").map(|after| after.parse::<u64>().unwrap());
        answer.status == 429 && after.is_some_and(|after| after > 100)
    });
}

/// Without the store each gateway keeps the quota by itself: login goes on, no 503, no free
/// guesses; one line in the log; and when the store is back it decides again.
#[test]
fn without_the_store_each_gateway_counts_for_itself() {
    let app = app();
    let mut redis = Redis::tcp();
    let setup = setup(&app, &redis, "all");
    let gateways = [Gateway::start(&setup), Gateway::start(&setup)];
    login(&gateways[0], "a@example.com").send().expect(401);
    redis.freeze();
    for (gateway, left) in [(&gateways[0], 4), (&gateways[1], 5)] {
        let start = Instant::now();
        for _ in 0..left {
            login(gateway, "a@example.com").send().expect(401);
        }
        for _ in 0..3 {
            login(gateway, "a@example.com").send().refused(429);
        }
        assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
        let said = || gateway.output().matches("counts for itself").count();
        eventually("the log says so", Duration::from_secs(5), || said() > 0);
        let log = gateway.output();
        assert_eq!(said(), 1, "{log}");
        assert!(!log.contains("a@example.com"));
    }
    redis.kill();
    redis.restart();
    // The new server knows nothing: what it says is no longer what either gateway remembers.
    for gateway in &gateways {
        eventually("the store is asked again", Duration::from_secs(5), || {
            let mut fresh = 0;
            let name = format!("{}@example.com", fastrand::u64(..));
            while login(&gateways[fresh % 2], &name).send().status == 401 {
                fresh += 1;
            }
            fresh == 5 && !redis.keys("postern:limit:*").is_empty()
        });
        eventually("the log says so", Duration::from_secs(5), || {
            login(gateway, &fastrand::u64(..).to_string()).send();
            gateway.output().contains("counted in the store again")
        });
    }
}

/// The embedded store serves one gateway, which counts by itself.
#[test]
fn with_the_embedded_store_the_gateway_counts_alone() {
    let app = app();
    let redis = Redis::start();
    let embedded = setup(&app, &redis, "all").set("store", "url", "\"embedded:state/store\"");
    let gateways = [Gateway::start(&embedded)];
    let answers = storm(&gateways, "a@example.com", 50);
    assert_eq!(answers.iter().filter(|answer| answer.status == 401).count(), 5);
    assert_eq!(app.count(), 5);
}
