//! Providers that are down, or that send what is no key set.

use super::*;

#[tokio::test(start_paused = true)]
async fn stale_keys_work_until_max_stale_and_come_back() {
    let key = Key::new("a");
    let mut settings = key_source("main");
    settings.max_stale = seconds(1000);
    let bench = Bench::started(settings, &[&key]).await;
    let token = key.token();
    bench.main().is_down();
    pass(seconds(990)).await;
    assert!(bench.request(&token).await.is_ok(), "the provider is down, the keys are good");
    let status = bench.status();
    assert_eq!((status.keys, status.age.unwrap().as_secs()), (1, 990));
    assert!(status.last_error.unwrap().contains("HTML"));
    pass(seconds(11)).await;
    assert_eq!(bench.verify(&token).unwrap_err(), VerifyError::UnknownKey, "out of force");
    assert_eq!(bench.request(&token).await.unwrap_err(), None, "it cannot be said");
    let status = bench.status();
    assert_eq!((status.keys, status.had_keys), (0, true));
    assert!(bench.providers.were_ready());
    bench.main().publishes(&[&key]);
    pass(seconds(11)).await;
    assert!(bench.request(&token).await.is_ok(), "who asks is helped at once");
    assert_eq!(bench.status().last_error, None);
}

/// Keys grow too old while a fetch hangs, too.
#[tokio::test(start_paused = true)]
async fn a_fetch_that_hangs_keeps_no_key_in_force() {
    let key = Key::new("a");
    let mut settings = key_source("main");
    (settings.max_stale, settings.reach.timeout) = (seconds(100), seconds(3600));
    let bench = Bench::started(settings, &[&key]).await;
    bench.main().now(|script| script.takes = seconds(3600));
    pass(seconds(99)).await;
    assert!(bench.verify(&key.token()).is_ok());
    pass(seconds(2)).await;
    assert!(bench.verify(&key.token()).is_err());
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_is_up_never_lets_its_keys_grow_stale() {
    let key = Key::new("a");
    let mut settings = key_source("main");
    (settings.refresh, settings.max_stale) = (seconds(300), seconds(20));
    let bench = Bench::started(settings, &[&key]).await;
    for _ in 0..600 {
        pass(seconds(1)).await;
        assert!(bench.verify(&key.token()).is_ok());
    }
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_is_down_is_tried_less_and_less_often() {
    let key = Key::new("a");
    let bench = Bench::started(key_source("main"), &[&key]).await;
    bench.main().is_down();
    pass(seconds(2600)).await;
    let times = bench.main().times();
    let spans: Vec<f64> =
        times.windows(2).map(|pair| (pair[1] - pair[0]).as_secs_f64()).skip(1).collect();
    for (span, expected) in spans.iter().zip([1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]) {
        let expected = f64::from(expected);
        assert!((span - expected).abs() < expected * 0.11 + 0.2, "{spans:?}");
    }
    assert!(spans.len() >= 10, "{spans:?}");
}

/// A document that is refused leaves the working keys in force.
#[tokio::test(start_paused = true)]
async fn what_is_no_key_set_changes_nothing() {
    let key = Key::new("a");
    let bench = Bench::started(key_source("main"), &[&key]).await;
    let oct = json!({"keys": [{"kty": "oct", "kid": "a", "k": "AAAA"}]}).to_string();
    for document in ["<html>log in</html>", "", "{}", "{\"keys\":[]}", "{\"keys\":[{}]}", &oct] {
        bench.main().now(|script| script.document = Some(document.to_owned()));
        pass(seconds(400)).await;
        assert!(bench.request(&key.token()).await.is_ok(), "{document}");
        assert!(bench.status().last_error.is_some(), "{document}");
    }
}

/// The person on call reads a line when something begins and when it is over, not every second.
#[tokio::test(start_paused = true)]
async fn the_log_tells_what_happens_once() {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let written = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_writer(move || Lines(written.clone()))
        .finish();
    // A second one: with one alone, a line that another test's thread comes to first would be
    // switched off for all threads.
    let _second = tracing::Dispatch::new(tracing_subscriber::registry());
    let _guard = tracing::subscriber::set_default(subscriber);
    let said = |what: &str| {
        let text = String::from_utf8(lines.lock().unwrap().clone()).unwrap();
        text.lines().filter(|line| line.contains(what)).count()
    };
    let (old, new) = (Key::new("old-1"), Key::new("new-1"));
    let mut settings = key_source("main");
    (settings.refresh, settings.max_stale) = (seconds(10), seconds(200));
    let bench = Bench::started(settings, &[&old]).await;
    assert_eq!(said("keys have changed"), 1);
    pass(seconds(60)).await;
    assert_eq!(said("keys have changed"), 1, "nothing new, nothing said");
    bench.main().publishes(&[&new]);
    pass(seconds(12)).await;
    assert_eq!(said("added=[\"new-1\"] removed=[\"old-1\"]"), 1);
    bench.main().is_down();
    pass(seconds(40)).await;
    assert_eq!(said("cannot be fetched"), 1, "the same failure, many attempts");
    bench.main().now(|script| script.document = Some("{}".to_owned()));
    pass(seconds(15)).await;
    assert_eq!(said("cannot be fetched"), 2, "another failure");
    pass(seconds(120)).await;
    assert!((3..=5).contains(&said("cannot be fetched")), "at most once a minute");
    pass(seconds(60)).await;
    assert_eq!(said("older than max_stale"), 1);
    bench.main().publishes(&[&new]);
    pass(seconds(12)).await;
    assert_eq!(said("can be fetched again"), 1);
}

struct Lines(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
