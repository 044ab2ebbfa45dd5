//! Start, refresh, reload, end.

use super::*;
use crate::auth::TokenCache;
use crate::provider::scripted::{self, Act, Server};

#[tokio::test(start_paused = true)]
async fn keys_are_there_before_anything_listens() {
    let key = Key::new("a");
    let bench = Bench::new(&[key_source("main")]);
    bench.main().publishes(&[&key]);
    assert!(!bench.providers.were_ready(), "not followed yet");
    bench.providers.follow().await;
    assert!(bench.verify(&key.token()).is_ok());
    assert!(bench.providers.were_ready());
    let status = bench.status();
    assert_eq!((status.keys, status.had_keys, status.last_error), (1, true, None));
    assert_eq!(bench.main().fetches(), 1);
}

#[tokio::test(start_paused = true)]
async fn dead_providers_delay_a_start_by_one_timeout() {
    let key = Key::new("a");
    let mut slow = key_source("slow");
    slow.required = false;
    let bench = Bench::new(&[key_source("main"), slow, key_source("dead")]);
    bench.main().publishes(&[&key]);
    for dead in ["slow", "dead"] {
        bench.provider(dead).now(|script| script.takes = seconds(3600));
    }
    let began = Instant::now();
    bench.providers.follow().await;
    let took = began.elapsed();
    assert!(took >= seconds(5) && took < seconds(6), "{took:?}");
    assert!(bench.verify(&key.token()).is_ok(), "one of them lives");
    assert!(!bench.providers.were_ready(), "a required one has never had keys");
    bench.provider("dead").now(|script| script.takes = seconds(0));
    bench.provider("dead").publishes(&[&key]);
    pass(seconds(10)).await;
    assert!(bench.providers.were_ready(), "the one that is not required does not count");
}

/// Invariant 1: what a removed key has signed is no longer accepted, cached or not.
#[tokio::test(start_paused = true)]
async fn a_removed_key_takes_its_cached_tokens_with_it() {
    let (old, new) = (Key::new("old"), Key::new("new"));
    let bench = Bench::started(key_source("main"), &[&old]).await;
    let cache = TokenCache::new(1 << 20);
    let remember = |key: &Key| {
        let token = key.token();
        cache.insert(&token, Arc::new(bench.verify(&token).unwrap()));
        token
    };
    let first = remember(&old);
    bench.main().publishes(&[&old, &new]);
    pass(seconds(331)).await;
    let second = remember(&new);
    assert!(cache.get(&first, &bench.policy.load().issuers).is_some(), "still published");
    bench.main().publishes(&[&new]);
    pass(seconds(331)).await;
    let issuers = bench.policy.load().issuers.clone();
    assert!(cache.get(&first, &issuers).is_none());
    assert!(cache.get(&second, &issuers).is_some());
    assert_eq!(bench.request(&first).await.unwrap_err(), Some(VerifyError::UnknownKey));
}

/// Another key under the same kid is another key.
#[tokio::test(start_paused = true)]
async fn a_key_that_is_replaced_under_its_kid_no_longer_verifies() {
    let (one, two) = (Key::new("a"), Key::new("a"));
    let bench = Bench::started(key_source("main"), &[&one]).await;
    bench.main().publishes(&[&two]);
    pass(seconds(331)).await;
    assert_eq!(bench.verify(&one.token()).unwrap_err(), VerifyError::Signature);
    assert!(bench.verify(&two.token()).is_ok());
}

#[tokio::test(start_paused = true)]
async fn refreshing_follows_max_age_and_refresh_with_jitter() {
    let key = Key::new("a");
    let bench = Bench::started(key_source("main"), &[&key]).await;
    bench.main().now(|script| script.max_age = Some(seconds(60)));
    pass(seconds(3600)).await;
    let times = bench.main().times();
    let spans: Vec<Duration> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let (first, others) = spans.split_first().unwrap();
    assert!((seconds(270)..=seconds(331)).contains(first), "{first:?}");
    assert!(others.len() > 40, "{}", others.len());
    assert!(others.iter().all(|span| (seconds(54)..seconds(67)).contains(span)), "{others:?}");
    assert!(others.windows(2).any(|pair| pair[0].abs_diff(pair[1]) > Duration::from_millis(50)));
}

#[tokio::test(start_paused = true)]
async fn a_reload_keeps_what_stayed_the_same() {
    let (key, other) = (Key::new("a"), Key::new("b"));
    let bench = Bench::started(key_source("main"), &[&key]).await;
    pass(seconds(100)).await;
    let mut timings = key_source("main");
    (timings.refresh, timings.cooldown) = (seconds(200), seconds(1));
    (timings.max_stale, timings.required) = (seconds(500), false);
    timings.reach.timeout = seconds(1);
    let before = Instant::now();
    bench.reload(&[timings]).await;
    assert_eq!(before.elapsed(), seconds(0), "nothing to wait for");
    assert!(bench.verify(&key.token()).is_ok());
    assert_eq!(bench.main().fetches(), 1);
    // The schedule goes on from the last fetch, with the new timings.
    bench.main().publishes(&[&key, &other]);
    pass(seconds(125)).await;
    assert_eq!(bench.main().fetches(), 2);
    assert!(bench.verify(&other.token()).is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_source_elsewhere_is_a_new_source() {
    let (key, other) = (Key::new("a"), Key::new("b"));
    let changes: [fn(&mut KeySource); 5] = [
        |settings| settings.issuer = Some("https://other.example".into()),
        |settings| settings.published = Published::Discovery,
        |settings| settings.hosts.push("keys.example".into()),
        |settings| settings.reach.trust = "ca.pem".into(),
        |settings| settings.reach.addresses.push("10.0.0.0/8".parse().unwrap()),
    ];
    for change in changes {
        let bench = Bench::started(key_source("main"), &[&key]).await;
        let mut elsewhere = key_source("main");
        change(&mut elsewhere);
        bench.main().publishes(&[&other]);
        bench.reload(&[elsewhere]).await;
        assert_eq!(bench.main().fetches(), 2);
        assert!(bench.verify(&key.token()).is_err(), "the keys of the old place are gone");
        let named = bench.providers.status();
        assert_eq!((named.len(), named[0].keys), (1, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn a_reload_waits_for_its_new_source_but_not_for_ever() {
    let key = Key::new("a");
    let bench = Bench::new(&[key_source("main"), key_source("new")]);
    bench.main().publishes(&[&key]);
    bench.policy.store(Arc::new(snapshot(&[key_source("main")])));
    bench.providers.follow().await;
    bench.provider("new").now(|script| script.takes = seconds(3600));
    let began = Instant::now();
    bench.reload(&[key_source("main"), key_source("new")]).await;
    assert!(began.elapsed() >= seconds(5) && began.elapsed() < seconds(6));
    assert!(bench.providers.were_ready(), "a reload does not take the gateway out of service");
    assert_eq!(bench.providers.status()[1].keys, 0);
}

/// A request that comes right after the reload waits with it, and causes no second fetch.
#[tokio::test(start_paused = true)]
async fn who_comes_during_the_first_fetch_shares_it() {
    let key = Key::new("a");
    let bench = Bench::new(&[key_source("main")]);
    bench.main().publishes(&[&key]);
    drop(bench.providers.follow());
    assert!(bench.request(&key.token()).await.is_ok());
    assert_eq!(bench.main().fetches(), 1);
    assert_eq!(bench.look("nobody's").await, Looked::Unknown);
    assert_eq!(bench.main().fetches(), 2, "and no cooldown has begun with it");
}

#[tokio::test(start_paused = true)]
async fn a_source_that_is_gone_changes_nothing_any_more() {
    let (key, other) = (Key::new("a"), Key::new("b"));
    let bench = Bench::started(key_source("main"), &[&key]).await;
    let source = Arc::downgrade(&bench.providers.sources()[0]);
    bench.main().publishes(&[&other]);
    let (looked, ()) = tokio::join!(bench.look("b"), async {
        tokio::task::yield_now().await;
        assert_eq!(bench.main().fetches(), 2, "under way");
        bench.reload(&[]).await;
    });
    assert_eq!(looked, Looked::Unavailable);
    pass(seconds(3600)).await;
    assert_eq!(bench.main().fetches(), 2);
    assert!(source.upgrade().is_none(), "its task is gone");
    assert!(bench.providers.status().is_empty() && bench.providers.were_ready());
    assert_eq!(bench.look("b").await, Looked::Unavailable);
}

#[tokio::test(start_paused = true)]
async fn nothing_runs_on_after_the_end() {
    let key = Key::new("a");
    let bench = Bench::started(key_source("main"), &[&key]).await;
    let source = Arc::downgrade(&bench.providers.sources()[0]);
    bench.providers.stop();
    pass(seconds(3600)).await;
    assert!(source.upgrade().is_none());
    assert_eq!(bench.main().fetches(), 1);
    assert!(bench.verify(&key.token()).is_ok(), "requests that are still running have their keys");
}

#[tokio::test(start_paused = true)]
async fn a_panic_does_not_lose_the_source() {
    let (key, other) = (Key::new("a"), Key::new("b"));
    let bench = Bench::new(&[key_source("main")]);
    bench.main().publishes(&[&key]);
    bench.main().now(|script| script.panics = true);
    let began = Instant::now();
    bench.providers.follow().await;
    assert!(began.elapsed() < seconds(1), "{:?}", began.elapsed());
    assert_eq!(bench.look("a").await, Looked::Unavailable);
    bench.main().now(|script| script.panics = false);
    pass(seconds(5)).await;
    assert!(bench.verify(&key.token()).is_ok());
    // And later, with a request that waits for it.
    pass(seconds(20)).await;
    bench.main().publishes(&[&key, &other]);
    bench.main().now(|script| script.panics = true);
    assert_eq!(bench.look("b").await, Looked::Unavailable);
    assert!(bench.verify(&key.token()).is_ok(), "what it had stays in force");
    bench.main().now(|script| script.panics = false);
    pass(seconds(5)).await;
    assert!(bench.verify(&other.token()).is_ok());
}

/// The real fetch, over a real socket, in real time.
#[tokio::test]
async fn keys_come_from_a_real_server() {
    let (key, other) = (Key::new("a"), Key::new("b"));
    let documents = [jwks(&[&key]), jwks(&[&key, &other])];
    let server =
        Server::start(move |_, number| Act::Say(scripted::ok(&documents[usize::from(number > 1)])))
            .await;
    let mut settings = key_source("main");
    settings.reach = scripted::reach();
    settings.published = Published::Jwks(server.url("/keys"));
    let dir = tempfile::tempdir().unwrap();
    let policy = Arc::new(ArcSwap::from_pointee(snapshot(&[settings])));
    let providers = Providers::new(policy.clone(), dir.path(), Metrics::new());
    providers.follow().await;
    let verify = |token: &str| {
        let now = UnixTime::now();
        let policy = policy.load();
        policy.issuers.prepare(token, &IssuerFilter::All, now).and_then(|c| c.verify(now)).is_ok()
    };
    assert!(verify(&key.token()) && !verify(&other.token()));
    let looked = providers.look_again(&wanted(&["main"], Some("b"))).await;
    assert_eq!(looked, Looked::Again);
    assert!(verify(&key.token()) && verify(&other.token()));
    assert_eq!(server.requests().len(), 2);
    // A worker asks from a runtime of its own.
    let (asked, waiting) = (providers.clone(), wanted(&["main"], Some("c")));
    let looked = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(asked.look_again(&waiting))
    });
    let looked = tokio::task::spawn_blocking(move || looked.join().unwrap()).await.unwrap();
    assert_eq!(looked, Looked::Unknown, "within the cooldown");
}
