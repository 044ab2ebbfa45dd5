//! Goal: whatever happens in whatever order, a family does what the contract says and no more.
//!
//! Random histories of one login run against a model that knows the contract's sentences and
//! nothing of hashes, scripts or tables. After each event the invariants are asked of the store
//! itself: at most one token of the login is alive, none after a revocation, and a retry that the
//! contract calls honest is never thrown out.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};

use super::*;

const CASES: u32 = 40;

#[derive(Clone, Copy, Debug)]
enum Event {
    /// Seconds go by.
    Pass(u64),
    /// The token so many rotations ago is presented by a client, which may lose the answer: that
    /// changes nothing here, and so is what the retries after it are about.
    Present {
        age: usize,
        client: u8,
    },
    /// A token that was never issued, of this family.
    MadeUp,
    Revoke(Kind),
    /// A revocation of the issuer is lifted.
    Lift,
    Logout,
}

fn event() -> impl Strategy<Value = Event> {
    let pass = prop_oneof![
        4 => 0..3_u64,
        2 => 3..9_u64,
        2 => 9..13_u64,
        1 => Just(600_u64),
        1 => 3595..3605_u64,
    ];
    prop_oneof![
        6 => pass.prop_map(Event::Pass),
        8 => Just(Event::Present { age: 0, client: 0 }),
        8 => Just(Event::Present { age: 1, client: 0 }),
        1 => (0..4_usize, 0..2_u8).prop_map(|(age, client)| Event::Present { age, client }),
        1 => Just(Event::MadeUp),
        1 => prop_oneof![
            Just(Kind::Client), Just(Kind::Issuer), Just(Kind::Sid), Just(Kind::Sub)
        ].prop_map(Event::Revoke),
        1 => Just(Event::Lift),
        1 => Just(Event::Logout),
    ]
}

/// The contract, in its own words.
struct Model {
    tokens: Vec<String>,
    sid: String,
    login: UnixTime,
    used: UnixTime,
    rotated: Option<UnixTime>,
    rotated_by: u8,
    counted: u32,
    /// Logged out, revoked by something that is for ever, or reused.
    is_over: bool,
    issuer_revoked: bool,
}

impl Model {
    fn expires(&self) -> UnixTime {
        self.used.plus(IDLE).min(self.login.plus(LIFETIME))
    }

    fn is_alive(&self, now: UnixTime) -> bool {
        !self.is_over && !self.issuer_revoked && now < self.expires()
    }

    /// What the contract says of the token that is so many rotations old.
    fn present(&mut self, age: Option<usize>, client: u8, now: UnixTime) -> &'static str {
        if !self.is_alive(now) {
            return "refused";
        }
        match age {
            Some(0) => {
                (self.used, self.rotated, self.rotated_by) = (now, Some(now), client);
                self.counted = 0;
                "rotated"
            }
            Some(1) if self.is_graced(client, now) => "again",
            _ => {
                self.is_over = true;
                "reused"
            }
        }
    }

    /// "Uncounted in the first second, then at most 3 times; same client; the direct predecessor."
    fn is_graced(&mut self, client: u8, now: UnixTime) -> bool {
        let Some(rotated) = self.rotated else { return false };
        let age = now.since(rotated);
        if age > GRACE || client != self.rotated_by {
            return false;
        }
        if age > Duration::from_secs(1) {
            self.counted += 1;
        }
        self.counted <= 3
    }

    fn presented(&self, age: usize) -> Option<&String> {
        self.tokens.iter().rev().nth(age)
    }
}

async fn play(bench: &mut Bench, number: u32, events: &[Event]) -> Result<(), TestCaseError> {
    // The embedded clock never goes back, and so neither does this one between cases.
    bench.pass(Duration::from_secs(1));
    let start = bench.now;
    // Each case is somebody else, so that what one revoked does not meet the next.
    let subject = format!("user-{number}");
    let issued = bench.login(&subject).await;
    let mut model = Model {
        tokens: vec![issued.refresh.expose().clone()],
        sid: issued.login.sid.clone(),
        login: issued.at,
        used: issued.at,
        rotated: None,
        rotated_by: 0,
        counted: 0,
        is_over: false,
        issuer_revoked: false,
    };
    prop_assert_eq!(issued.at, start);
    for event in events {
        step(bench, &mut model, &subject, *event).await?;
        invariants(bench, &model, &subject).await?;
    }
    for kind in [Kind::Client, Kind::Issuer] {
        let value = if kind == Kind::Client { "postern" } else { "" };
        bench.store.delete(&suffix(kind, value)).await.unwrap();
    }
    Ok(())
}

async fn step(
    bench: &mut Bench,
    model: &mut Model,
    subject: &str,
    event: Event,
) -> Result<(), TestCaseError> {
    match event {
        Event::Pass(seconds) => bench.pass(Duration::from_secs(seconds)),
        Event::Present { age, client: number } => {
            let Some(presented) = model.presented(age).cloned() else { return Ok(()) };
            let rotation = bench.rotate(&presented, client(number)).await;
            let expected = model.present(Some(age), number, bench.now);
            prop_assert_eq!(word(&rotation), expected);
            match rotation {
                Rotation::Rotated(issued) => {
                    let token = issued.refresh.expose().clone();
                    prop_assert!(!model.tokens.contains(&token));
                    prop_assert_eq!(issued.until, model.expires());
                    prop_assert_eq!(&issued.login.sid, &model.sid);
                    model.tokens.push(token);
                }
                Rotation::Again(issued) => {
                    prop_assert_eq!(Some(issued.refresh.expose()), model.tokens.last());
                    prop_assert_eq!(&issued.login.sid, &model.sid);
                }
                Rotation::Reused { .. } => prop_assert!(bench.is_barred(&model.sid).await),
                Rotation::Refused(_) => {}
            }
        }
        Event::MadeUp => {
            let family = model.tokens[0].split_once('.').unwrap().0;
            let rotation = bench.rotate(&format!("{family}.{}", "A".repeat(43)), client(0)).await;
            prop_assert_eq!(word(&rotation), model.present(None, 0, bench.now));
        }
        Event::Revoke(kind) => {
            let sid = model.sid.clone();
            let value = match kind {
                Kind::Client => "postern",
                Kind::Sid => &sid,
                Kind::Sub => subject,
                _ => "",
            };
            bench.revoke(kind, value).await;
            if kind == Kind::Issuer { model.issuer_revoked = true } else { model.is_over = true }
        }
        Event::Lift => {
            bench.store.delete(&suffix(Kind::Issuer, "")).await.unwrap();
            model.issuer_revoked = false;
        }
        Event::Logout => {
            let ended = bench.families.end_own(&model.sid, "somebody else", bench.now).await;
            prop_assert_eq!(ended, Ok(None));
            let ended = bench.families.end(&model.sid, bench.now).await.unwrap();
            if !model.is_over {
                // Until then an access token of it may be accepted somewhere.
                let last = model.expires().plus(BARRED);
                prop_assert!(ended.is_some() || bench.now >= last);
                prop_assert!(ended.is_none() || bench.now < last.plus(Duration::from_secs(2)));
            }
            model.is_over = true;
        }
    }
    Ok(())
}

async fn invariants(bench: &Bench, model: &Model, subject: &str) -> Result<(), TestCaseError> {
    let alive = model.is_alive(bench.now);
    let newest = model.tokens.len() - 1;
    for (number, token) in model.tokens.iter().enumerate() {
        let found = bench.families.introspect(token, bench.now).await.unwrap();
        prop_assert_eq!(found.is_some(), alive && number == newest, "token {}", number);
    }
    let listed = bench.families.sessions(subject, bench.now).await.unwrap();
    prop_assert_eq!(listed.len(), usize::from(alive));
    Ok(())
}

fn run(engine: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let bench = runtime.block_on(async { Bench::new(engine) });
    let bench = std::cell::RefCell::new((bench, 0));
    let config = Config { cases: CASES, failure_persistence: None, ..Config::default() };
    let histories = prop::collection::vec(event(), 1..40);
    let outcome = TestRunner::new(config).run(&histories, |events| {
        let (bench, number) = &mut *bench.borrow_mut();
        *number += 1;
        runtime.block_on(play(bench, *number, &events))
    });
    if let Err(error) = outcome {
        panic!("{engine}: {error}");
    }
}

#[test]
fn redis_does_what_the_contract_says() {
    run("redis");
}

#[test]
fn the_embedded_store_does_what_the_contract_says() {
    run("embedded");
}
