//! Goal: failures counted plus requests in flight never exceed the quota, whatever the order in
//! which requests start, end, fail, or are dropped.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use governor::clock::FakeRelativeClock;
use proptest::prelude::*;

use super::*;

type Limiter = super::Limiter<FakeRelativeClock>;

fn limiter(count: u32) -> (Arc<Limiter>, FakeRelativeClock, Key) {
    let clock = FakeRelativeClock::default();
    let quota = Quota { count: NonZeroU32::new(count).unwrap(), per: Duration::from_secs(900) };
    let limiter = Arc::new(Limiter::with_clock(quota, 100, clock.clone()));
    let key = limiter.key().part(b"account").finish();
    (limiter, clock, key)
}

/// A burst of guesses gets no more tries than the same guesses in a row.
#[test]
fn a_thousand_concurrent_attempts_get_five_tries() {
    let (limiter, _clock, key) = limiter(5);
    let tries = AtomicU32::new(0);
    let start = std::sync::Barrier::new(10);
    std::thread::scope(|scope| {
        for _ in 0..10 {
            scope.spawn(|| {
                start.wait();
                let mut held = Vec::new();
                for attempt in 0..100 {
                    if let Ok((reservation, _)) = limiter.reserve(key) {
                        tries.fetch_add(1, Ordering::Relaxed);
                        held.push(reservation);
                    }
                    if attempt % 7 == 0 {
                        held.drain(..).for_each(Reservation::failed);
                    }
                }
            });
        }
    });
    assert_eq!(tries.load(Ordering::Relaxed), 5);
    assert!(limiter.in_flight.lock().is_empty());
    let refused = limiter.reserve(key).err().unwrap();
    assert!(!refused.allowed);
    assert_eq!(refused.retry_after, Duration::from_secs(180));
}

#[test]
fn success_gives_the_unit_back_for_ever() {
    let (limiter, _clock, key) = limiter(5);
    for _ in 0..1000 {
        let (reservation, decision) = limiter.reserve(key).unwrap();
        assert_eq!(decision.remaining, 4);
        reservation.succeeded();
    }
    assert_eq!(limiter.held(), 0);
}

/// A client that hangs up before the answer has still had its guess.
#[test]
fn an_outcome_that_never_came_is_a_failure() {
    let (limiter, _clock, key) = limiter(2);
    drop(limiter.reserve(key).unwrap());
    drop(limiter.reserve(key).unwrap());
    assert!(limiter.reserve(key).is_err());
}

#[test]
fn requests_in_flight_hold_their_units() {
    let (limiter, clock, key) = limiter(2);
    let first = limiter.reserve(key).unwrap().0;
    let second = limiter.reserve(key).unwrap().0;
    let refused = limiter.reserve(key).err().unwrap();
    assert_eq!(refused.retry_after, Duration::from_secs(1));
    clock.advance(Duration::from_secs(100_000));
    assert!(limiter.reserve(key).is_err(), "time does not end a request");
    first.succeeded();
    let third = limiter.reserve(key).unwrap().0;
    second.failed();
    third.failed();
    assert!(limiter.reserve(key).is_err());
}

#[test]
fn keys_beyond_the_cap_share_their_cells_in_flight_too() {
    let quota = Quota { count: NonZeroU32::new(1).unwrap(), per: Duration::from_secs(900) };
    let limiter = Arc::new(Limiter::with_clock(quota, 0, FakeRelativeClock::default()));
    let held = limiter.reserve(Key(1 << 64 | 7)).unwrap().0;
    assert!(limiter.reserve(Key(2 << 64 | 7)).is_err(), "the same cell");
    assert!(limiter.reserve(Key(2 << 64 | 8)).is_ok(), "another cell");
    held.failed();
    assert!(limiter.reserve(Key(3 << 64 | 7)).is_err());
}

#[test]
fn a_blocked_client_is_blocked_for_its_whole_network() {
    let clock = FakeRelativeClock::default();
    let quota = Quota { count: NonZeroU32::new(20).unwrap(), per: Duration::from_secs(60) };
    let limit = AuthFailures::with_limiter(Limiter::with_clock(quota, 100, clock.clone()));
    let (one, neighbour, stranger) = (
        "2001:db8::1".parse().unwrap(),
        "2001:db8::2".parse().unwrap(),
        "2001:db8:0:1::1".parse().unwrap(),
    );
    for _ in 0..20 {
        assert_eq!(limit.would_block(one), None);
        limit.count(one);
    }
    let refused = limit.would_block(neighbour).unwrap();
    assert_eq!(refused.retry_after, Duration::from_secs(3));
    assert_eq!(limit.would_block(stranger), None);
    clock.advance(Duration::from_secs(3));
    assert_eq!(limit.would_block(one), None);
}

/// One step of a history.
#[derive(Clone, Copy, Debug)]
enum Event {
    Start,
    Fail,
    Succeed,
    Pass(u64),
    Sweep,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => Just(Event::Start),
        2 => Just(Event::Fail),
        2 => Just(Event::Succeed),
        1 => (1..400_u64).prop_map(Event::Pass),
        1 => Just(Event::Sweep),
    ]
}

proptest! {
    /// Against a model: every failure in the last 15 minutes and every request in flight, together
    /// never above twice the burst (GCRA's bound over one window), and at any instant failures
    /// since the last passing of time plus requests in flight never above the burst.
    #[test]
    fn no_history_exceeds_the_quota(events in proptest::collection::vec(event(), 0..200)) {
        let (limiter, clock, key) = limiter(5);
        let (mut now, mut instant, mut failures, mut held) = (0, 0, Vec::new(), Vec::new());
        for event in events {
            match event {
                Event::Start => held.extend(limiter.reserve(key).ok().map(|(held, _)| held)),
                Event::Fail => if let Some(reservation) = held.pop() {
                    reservation.failed();
                    failures.push(now);
                    instant += 1;
                },
                Event::Succeed => if let Some(reservation) = held.pop() {
                    reservation.succeeded();
                },
                Event::Pass(seconds) => {
                    clock.advance(Duration::from_secs(seconds));
                    now += seconds;
                    instant = 0;
                }
                Event::Sweep => limiter.sweep(),
            }
            let window = failures.iter().filter(|&&at| at + 900 > now).count();
            prop_assert!(instant + held.len() <= 5);
            prop_assert!(window + held.len() <= 10);
        }
    }
}
