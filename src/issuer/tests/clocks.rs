//! Goal: a clock that is set, of the store or of the gateway, lengthens nothing and locks nobody
//! out for long.

use super::*;

/// A store's clock that goes back gives the holder of a used token no more time.
#[tokio::test]
async fn a_clock_that_goes_back_lengthens_no_grace() {
    for (back, expected) in [(20, "reused"), (1800, "refused")] {
        let mut bench = Bench::new("redis");
        let token = bench.login("alice").await.refresh;
        bench.rotate(token.expose(), client(0)).await;
        bench.set(NOW.minus(Duration::from_secs(back)));
        assert_eq!(word(&bench.rotate(token.expose(), client(0)).await), expected, "{back}");
    }
}

/// A clock that was half an hour ahead for a moment: logins work again as soon as it is right,
/// dated by it; and those of that moment, which no revocation of now would cover, give no tokens.
#[tokio::test]
async fn a_clock_that_was_ahead_locks_nobody_out() {
    for engine in ENGINES {
        let mut bench = Bench::new(engine);
        let before = bench.login("alice").await;
        bench.set(NOW.plus(IDLE / 2));
        let ahead = bench.login("alice").await;
        bench.set(NOW.plus(Duration::from_secs(5)));
        let issued = bench.login("bob").await;
        assert_eq!(issued.at, bench.now, "{engine}: no token that is dated ahead");
        bench.revoke(Kind::Sub, "alice").await;
        for issued in [&before, &ahead] {
            let rotation = bench.rotate(issued.refresh.expose(), client(0)).await;
            assert_eq!(word(&rotation), "refused", "{engine}");
        }
        assert!(bench.families.sessions("alice", bench.now).await.unwrap().is_empty());
        assert_eq!(word(&bench.rotate(issued.refresh.expose(), client(0)).await), "rotated");
    }
}

/// A gateway's clock that lags by less than clocks may is put forward: neither a login nor a
/// revocation of the embedded store is dated before what it followed.
#[tokio::test]
async fn a_clock_that_lags_a_little_is_put_forward() {
    let mut bench = Bench::new("embedded");
    bench.login("alice").await;
    for (back, expected) in [(1, NOW), (30, NOW), (31, NOW.minus(Duration::from_secs(31)))] {
        bench.set(NOW.minus(Duration::from_secs(back)));
        assert_eq!(bench.login("bob").await.at, expected, "{back}");
        assert_eq!(bench.store.time(bench.now).await, Ok(expected), "{back}");
    }
}
