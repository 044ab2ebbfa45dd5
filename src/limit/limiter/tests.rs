//! Goal: the quota is kept to the unit, memory is bounded, and nothing here depends on real time.

use governor::clock::FakeRelativeClock;

use super::*;
use crate::limit::store::CELLS;

pub(super) fn quota(count: u32, seconds: u64) -> Quota {
    Quota { count: NonZeroU32::new(count).unwrap(), per: Duration::from_secs(seconds) }
}

fn limiter(tracked_max: usize) -> (Limiter<FakeRelativeClock>, FakeRelativeClock) {
    let clock = FakeRelativeClock::default();
    (Limiter::with_clock(quota(5, 900), tracked_max, clock.clone()), clock)
}

fn key(limiter: &Limiter<FakeRelativeClock>, number: u64) -> Key {
    limiter.key().part(&number.to_be_bytes()).finish()
}

/// `5/15m`: five at once, then one every three minutes; other keys are not touched.
#[test]
fn the_sixth_is_refused_and_told_when_to_come_back() {
    let (limiter, clock) = limiter(10);
    let (one, other) = (key(&limiter, 1), key(&limiter, 2));
    for left in (0..5).rev() {
        let decision = limiter.admit(one);
        assert!(decision.allowed);
        assert_eq!((decision.limit, decision.remaining), (5, left));
    }
    let refused = limiter.admit(one);
    assert!(!refused.allowed);
    assert_eq!((refused.remaining, refused.retry_after), (0, Duration::from_secs(180)));
    assert!(limiter.admit(other).allowed);

    clock.advance(Duration::from_secs(179));
    assert_eq!(limiter.admit(one).retry_after, Duration::from_secs(1));
    clock.advance(Duration::from_secs(1));
    assert!(limiter.admit(one).allowed);
    assert!(!limiter.admit(one).allowed, "only one unit came back");
}

#[test]
fn refused_requests_do_not_extend_the_refusal() {
    let (limiter, clock) = limiter(10);
    let key = key(&limiter, 1);
    for _ in 0..1000 {
        let _ = limiter.admit(key);
    }
    clock.advance(Duration::from_secs(180));
    assert!(limiter.admit(key).allowed);
}

#[test]
fn asking_counts_nothing() {
    let (limiter, _clock) = limiter(10);
    let key = key(&limiter, 1);
    for _ in 0..100 {
        assert_eq!(limiter.ask(key, NonZeroU32::MIN).remaining, 4);
    }
    assert_eq!(limiter.held(), 0);
    assert!(!limiter.ask(key, NonZeroU32::new(6).unwrap()).allowed);
}

/// R40: memory stays flat under a million distinct keys. Counted in numbers held, not in time.
#[test]
fn a_million_keys_hold_no_more_than_the_cap_and_the_shared_cells() {
    let cap = 1000;
    let (limiter, clock) = limiter(cap);
    let mut refused = 0;
    for number in 0..1_000_000 {
        refused += u32::from(!limiter.admit(key(&limiter, number)).allowed);
    }
    assert_eq!(limiter.held(), cap + CELLS);
    assert!(refused > 0, "shared cells must be shared");

    clock.advance(Duration::from_secs(3600));
    limiter.sweep();
    assert_eq!(limiter.held(), CELLS, "keys with a whole quota are forgotten");
    assert!(limiter.admit(key(&limiter, 0)).allowed);
    assert_eq!(limiter.held(), CELLS + 1, "there is room again");
}

/// A full table must never let a tracked key go, nor a newcomer have a quota of its own per key.
#[test]
fn overflow_is_stricter_never_laxer() {
    let (limiter, _clock) = limiter(1);
    let tracked = key(&limiter, 0);
    for _ in 0..5 {
        assert!(limiter.admit(tracked).allowed);
    }
    let cell = |low: u128| Key(1 << 64 | low);
    for number in 0..5_u128 {
        assert!(limiter.admit(Key((number + 1) << 64 | 7)).allowed);
    }
    assert!(!limiter.admit(Key(99 << 64 | 7)).allowed, "same cell, quota used up");
    assert!(!limiter.ask(Key(99 << 64 | 7), NonZeroU32::MIN).allowed);
    assert!(limiter.admit(cell(8)).allowed, "another cell");
    assert!(!limiter.admit(tracked).allowed);
}

#[test]
fn a_sweep_keeps_what_still_counts() {
    let (limiter, clock) = limiter(10);
    let key = key(&limiter, 1);
    for _ in 0..5 {
        let _ = limiter.admit(key);
    }
    clock.advance(Duration::from_secs(60));
    limiter.sweep();
    assert!(!limiter.admit(key).allowed);
    assert_eq!(limiter.held(), 1);
}

/// Threads that race for the last room never pass the cap.
#[test]
fn the_cap_holds_under_concurrency() {
    let limiter = Limiter::with_clock(quota(5, 900), 100, FakeRelativeClock::default());
    std::thread::scope(|scope| {
        for thread in 0..8_u64 {
            let limiter = &limiter;
            scope.spawn(move || {
                for number in 0..500 {
                    let _ = limiter.admit(key(limiter, number + (thread % 2) * 250));
                }
            });
        }
    });
    assert_eq!(limiter.held(), 100 + CELLS);
}
