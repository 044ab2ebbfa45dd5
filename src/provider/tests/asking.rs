//! Unknown key ids: who may cause a fetch, how often, and what everybody else is told.

use super::*;
use crate::provider::source::WAITING_MAX;

/// The most frequent outage of JWT gateways: a key that was rotated in is not known yet.
#[tokio::test(start_paused = true)]
async fn a_new_key_is_found_with_one_fetch_for_all_who_wait() {
    let (old, new) = (Key::new("old"), Key::new("new"));
    let bench = Arc::new(Bench::started(key_source("main"), &[&old]).await);
    bench.main().publishes(&[&old, &new]);
    let token = new.token();
    let waiting: Vec<_> = (0..500)
        .map(|_| {
            let (bench, token) = (bench.clone(), token.clone());
            tokio::spawn(async move { bench.request(&token).await.is_ok() })
        })
        .collect();
    for request in waiting {
        assert!(request.await.unwrap());
    }
    assert_eq!(bench.main().fetches(), 2);
    assert!(bench.verify(&old.token()).is_ok());
}

/// Never a fetch in the path of a request whose kid is known, whatever is wrong with its token.
#[tokio::test(start_paused = true)]
async fn a_known_kid_never_causes_a_fetch() {
    let (key, stranger) = (Key::new("a"), Key::new("a"));
    let bench = Bench::started(key_source("main"), &[&key]).await;
    let good = key.token();
    let forged = stranger.token();
    let began = Instant::now();
    for _ in 0..100 {
        assert!(bench.request(&good).await.is_ok());
        assert_eq!(bench.request(&forged).await.unwrap_err(), Some(VerifyError::Signature));
        assert!(bench.request(&good.replace('.', "..")).await.is_err());
        assert_eq!(bench.look("a").await, Looked::Again, "it came while the request was checked");
    }
    assert_eq!((bench.main().fetches(), began.elapsed()), (1, seconds(0)));
}

/// 10,000 unknown kids a second, as a hostile client sends them: at most one fetch a cooldown,
/// nobody waits longer than that fetch, and nothing grows.
#[tokio::test(start_paused = true)]
async fn strangers_cause_one_fetch_a_cooldown() {
    let key = Key::new("a");
    let mut settings = key_source("main");
    settings.cooldown = seconds(2);
    let bench = Arc::new(Bench::started(settings, &[&key]).await);
    let mut waiting = tokio::task::JoinSet::new();
    let mut at_once = 0;
    for moment in 0..70 {
        for number in 0..1000 {
            let bench = bench.clone();
            let kid = format!("{moment}-{number}");
            waiting.spawn(async move {
                let began = Instant::now();
                let looked = bench.look(&kid).await;
                (looked, began.elapsed())
            });
        }
        pass(Duration::from_millis(100)).await;
        while let Some(told) = waiting.try_join_next() {
            let (looked, waited) = told.unwrap();
            assert!(looked != Looked::Again && waited < seconds(5));
            at_once += usize::from(waited == seconds(0));
        }
    }
    let fetches = bench.main().fetches() - 1;
    assert_eq!(fetches, 4, "in 7 s with a cooldown of 2 s");
    assert!(at_once > 60_000, "{at_once} of 70,000 were told at once");
    assert!(bench.verify(&key.token()).is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_kid_that_nobody_has_is_not_looked_for_again_for_a_while() {
    let (key, late) = (Key::new("a"), Key::new("late"));
    let bench = Bench::started(key_source("main"), &[&key]).await;
    assert_eq!(bench.look("late").await, Looked::Unknown);
    assert_eq!(bench.main().fetches(), 2);
    pass(seconds(11)).await;
    assert_eq!(bench.look("late").await, Looked::Unknown);
    assert_eq!(bench.main().fetches(), 2, "the cooldown is over, but it was looked for in vain");
    bench.main().publishes(&[&key, &late]);
    assert_eq!(bench.look("another").await, Looked::Unknown);
    assert_eq!(bench.main().fetches(), 3);
    assert!(bench.request(&late.token()).await.is_ok(), "another's fetch has brought it");
    // Gone again: it was forgotten that it had been looked for in vain.
    bench.main().publishes(&[&key]);
    pass(seconds(331)).await;
    let before = bench.main().fetches();
    assert_eq!(bench.look("late").await, Looked::Unknown);
    assert_eq!(bench.main().fetches(), before + 1);
}

#[tokio::test(start_paused = true)]
async fn an_unknown_kid_is_asked_for_again_after_a_minute() {
    let (key, late) = (Key::new("a"), Key::new("late"));
    let bench = Bench::started(key_source("main"), &[&key]).await;
    assert_eq!(bench.look("late").await, Looked::Unknown);
    bench.main().publishes(&[&key, &late]);
    pass(seconds(61)).await;
    assert!(bench.request(&late.token()).await.is_ok());
}

/// The answer to an older question says nothing of a key that is younger than it.
#[tokio::test(start_paused = true)]
async fn who_joins_an_older_question_may_ask_again() {
    let (key, late) = (Key::new("a"), Key::new("late"));
    let bench = Bench::started(key_source("main"), &[&key]).await;
    bench.main().now(|script| script.takes = seconds(2));
    let (_, looked) = tokio::join!(bench.look("nobody's"), async {
        pass(seconds(1)).await;
        bench.main().publishes(&[&key, &late]);
        bench.look("late").await
    });
    assert_eq!((looked, bench.main().fetches()), (Looked::Unknown, 2));
    pass(seconds(10)).await;
    assert!(bench.request(&late.token()).await.is_ok(), "after the cooldown, not a minute later");
}

/// Tokens without kid: the provider may have a new key without one, or the token is forged.
#[tokio::test(start_paused = true)]
async fn tokens_without_a_kid_are_looked_after_too() {
    let (old, new, forged) = (Key::new(""), Key::new(""), Key::new(""));
    let bench = Bench::started(key_source("main"), &[&old]).await;
    bench.main().publishes(&[&new]);
    assert!(bench.request(&new.token()).await.is_ok());
    assert_eq!(bench.main().fetches(), 2);
    for _ in 0..100 {
        let refusal = bench.request(&forged.token()).await.unwrap_err();
        assert_eq!(refusal, Some(VerifyError::Signature));
    }
    assert_eq!(bench.main().fetches(), 2, "under the cooldown");
}

/// A fetch that began before the question may have missed the answer.
#[tokio::test(start_paused = true)]
async fn a_question_during_a_background_fetch_is_put_after_it() {
    let (key, new) = (Key::new("a"), Key::new("new"));
    let mut settings = key_source("main");
    settings.refresh = seconds(30);
    let bench = Bench::started(settings, &[&key]).await;
    bench.main().now(|script| script.takes = seconds(2));
    while bench.main().fetches() < 2 {
        pass(Duration::from_millis(100)).await;
    }
    bench.main().publishes(&[&key, &new]);
    assert!(bench.request(&new.token()).await.is_ok());
    assert_eq!(bench.main().fetches(), 3);
    assert_eq!(bench.main().running_max.load(Ordering::SeqCst), 1, "never two at once");
}

/// A background fetch does not count against the cooldown, and brings what is waited for.
#[tokio::test(start_paused = true)]
async fn a_background_fetch_answers_too_and_starts_no_cooldown() {
    let (key, new) = (Key::new("a"), Key::new("new"));
    let mut settings = key_source("main");
    settings.refresh = seconds(30);
    let bench = Bench::started(settings, &[&key]).await;
    bench.main().publishes(&[&key, &new]);
    bench.main().now(|script| script.takes = seconds(2));
    while bench.main().fetches() < 2 {
        pass(Duration::from_millis(100)).await;
    }
    let began = Instant::now();
    assert!(bench.request(&new.token()).await.is_ok());
    assert!(began.elapsed() <= seconds(2), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn waiting_is_bounded_in_time_and_number() {
    let key = Key::new("a");
    let bench = Arc::new(Bench::started(key_source("main"), &[&key]).await);
    bench.main().now(|script| script.takes = seconds(3600));
    let began = Instant::now();
    let mut waiting = tokio::task::JoinSet::new();
    for number in 0..WAITING_MAX + 500 {
        let bench = bench.clone();
        waiting.spawn(async move {
            let looked = bench.look(&format!("k{number}")).await;
            (looked, Instant::now())
        });
    }
    let mut at_once = 0;
    while let Some(told) = waiting.join_next().await {
        let (looked, at) = told.unwrap();
        assert_eq!(looked, Looked::Unavailable);
        assert!(at - began <= seconds(5) + Duration::from_millis(1), "{:?}", at - began);
        at_once += usize::from(at == began);
    }
    assert_eq!(at_once, 500);
    assert_eq!(bench.main().fetches(), 2);
}

#[tokio::test(start_paused = true)]
async fn several_entries_are_asked_side_by_side() {
    let (key, new) = (Key::new("a"), Key::new("new"));
    let bench = Bench::new(&[key_source("main"), key_source("second"), key_source("third")]);
    for entry in ["main", "second", "third"] {
        bench.provider(entry).publishes(&[&key]);
    }
    bench.providers.follow().await;
    bench.main().now(|script| script.takes = seconds(4));
    bench.provider("second").publishes(&[&key, &new]);
    bench.provider("third").is_down();
    let began = Instant::now();
    let all = wanted(&["main", "second", "third"], Some("new"));
    assert_eq!(bench.providers.look_again(&all).await, Looked::Again);
    assert!(began.elapsed() < seconds(1), "the slow one is not waited for");
    let others = wanted(&["main", "third"], Some("nobody's"));
    let looked = bench.providers.look_again(&others).await;
    assert_eq!(looked, Looked::Unavailable, "the third may have it");
    assert_eq!(bench.providers.look_again(&wanted(&[], None)).await, Looked::Unavailable);
}

/// Without a kid, that one of them has been asked does not mean that it has the key.
#[tokio::test(start_paused = true)]
async fn a_key_without_a_kid_is_waited_for_at_every_entry() {
    let (key, new) = (Key::new(""), Key::new(""));
    let bench = Bench::new(&[key_source("main"), key_source("second")]);
    for entry in ["main", "second"] {
        bench.provider(entry).publishes(&[&key]);
    }
    bench.providers.follow().await;
    bench.main().now(|script| script.takes = seconds(2));
    bench.main().publishes(&[&key, &new]);
    assert!(bench.request(&new.token()).await.is_ok(), "the slower one has it");
}
