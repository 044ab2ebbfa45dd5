//! Rotation over HTTP when everything happens at once, and when what rotates is killed (-9) in the
//! middle of it: never two live descendants of one refresh token, and never a client thrown out
//! that comes again within the grace. Figures for the notes; run by `tests/extended.sh`.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::eventually;
use crate::harness::gateway::Gateway;
use crate::harness::issuing::{Client, PREFIX, Tokens, client, setup, users};
use crate::harness::oauth::{basic, form, other};
use crate::harness::redis::Redis;
use crate::harness::setup::Setup;
use crate::harness::upstream::Upstream;

/// Refreshes of one token at once.
const AT_ONCE: usize = 1000;
/// How many of them may be told to come again.
const UNAVAILABLE_MAX: usize = AT_ONCE / 10;
/// Clients that refresh all the time while something is killed.
const CLIENTS: usize = 8;
/// Kills.
const ROUNDS: u64 = 4;

/// A Redis that keeps what it has acknowledged (docs/issuing.md).
fn durable_redis() -> Redis {
    Redis::with(&["appendonly yes", "appendfsync always"])
}

fn quiet(app: &Upstream) -> Setup {
    let accounts: Vec<String> = (0..CLIENTS).map(|i| format!("user-{i}::")).collect();
    let accounts: Vec<&str> = accounts.iter().map(String::as_str).collect();
    setup(app)
        .set("log", "level", "\"warn\"")
        .set("log", "access", "\"off\"")
        .set("issuing", "refresh_grace", "\"60s\"")
        .set("issuing", "refresh_limits", "[]")
        .set("limits", "connections_per_client", "4000")
        .set("limits", "requests_per_client", "4000")
        .file("users", users(&accounts))
        .file("other.hash", &other().hash)
        .table(
            "[[clients]]\nid = \"gatekeeper\"\nsecret_hash_file = \"other.hash\"\n\
             may_introspect = true\n",
        )
}

/// Those of the refresh tokens that would be rotated. Asking changes nothing, where presenting one
/// that was used up would end whatever else is alive of its family.
fn active<'t>(client: &Client, tokens: impl IntoIterator<Item = &'t String>) -> Vec<&'t String> {
    let authorization = basic("gatekeeper", &other().secret);
    let is_active = |token: &&String| {
        let pairs = [("token", &***token), ("token_type_hint", "refresh_token")];
        let request = client.post("introspect").header("Authorization", &authorization);
        request.form(&form(&pairs)).send().expect(200).json()["active"] == true
    };
    tokens.into_iter().filter(is_active).collect()
}

/// RFC 9700 §4.14.2, design "Issuing": of many refreshes of one token one rotates; a retry of the
/// same client gets that answer again, without being counted for a second and three times after
/// it; whatever comes later ends the session.
fn all_at_once(name: &str, gateways: &[Gateway]) {
    let clients: Vec<Client> = gateways.iter().map(client).collect();
    let tokens = clients[0].login("user-0");
    let body = json!({ "refresh_token": tokens.refresh });
    let request = |i: usize| clients[i % clients.len()].post("refresh").json(&body).bytes();
    let mut connections: Vec<_> =
        (0..AT_ONCE).map(|i| (clients[i % clients.len()].0.connect(), request(i))).collect();
    let begun = Instant::now();
    for (connection, bytes) in &mut connections {
        connection.write(&*bytes);
    }
    let answers: Vec<_> =
        connections.iter_mut().map(|(connection, _)| connection.answer("POST")).collect();
    let took = begun.elapsed();
    let mut statuses: BTreeMap<u16, usize> = BTreeMap::new();
    let mut successors: Vec<Tokens> = Vec::new();
    for answer in answers {
        *statuses.entry(answer.status).or_default() += 1;
        if answer.status == 200 {
            successors.push(Tokens::of(answer));
        }
    }
    let sids: Vec<String> = successors.iter().map(Tokens::sid).collect();
    let mut distinct: Vec<&str> = successors.iter().map(|tokens| &*tokens.refresh).collect();
    distinct.sort_unstable();
    distinct.dedup();
    println!(
        "{name}: {AT_ONCE} refreshes of one token in {took:.2?}: {statuses:?}, {} successor(s)",
        distinct.len()
    );
    assert_eq!(distinct.len(), 1, "exactly one rotation");
    assert!(sids.iter().all(|sid| *sid == tokens.sid()));
    assert!(statuses.keys().all(|status| [200, 401, 503].contains(status)), "{statuses:?}");
    let unavailable = statuses.get(&503).copied().unwrap_or(0);
    assert!(unavailable <= UNAVAILABLE_MAX, "{statuses:?}");
    let was_reused = statuses.contains_key(&401);
    let successor = distinct[0].to_owned();
    let alive = active(&clients[0], [&tokens.refresh, &successor]);
    assert_eq!(alive, if was_reused { vec![] } else { vec![&successor] });
    let next = clients[0].refresh(distinct[0]);
    assert_eq!(next.status, if was_reused { 401 } else { 200 }, "{}", next.text());
    // The one that was used up ends whatever is left of it: no other line was alive.
    clients[0].refresh(&tokens.refresh).refused(401);
    clients[0].refresh(distinct[0]).refused(401);
    for successor in successors.iter().take(20) {
        assert_eq!(clients[0].call(&successor.access), 401);
    }
}

#[test]
#[ignore = "a trial; run by tests/extended.sh"]
fn of_a_thousand_at_once_one_rotates() {
    let app = Upstream::start();
    all_at_once("embedded, one gateway", &[Gateway::start(&quiet(&app))]);
    let redis = durable_redis();
    let setup = quiet(&app).redis(&redis);
    all_at_once("Redis, two gateways", &[Gateway::start(&setup), Gateway::start(&setup)]);
}

/// What a client of a gateway has got, the last one being what it holds.
struct History(Vec<String>);

/// Refreshes again and again until something else than tokens comes back.
fn refresh_on(client: &Client, history: &mut History) -> usize {
    let mut rotations = 0;
    loop {
        let held = history.0.last().unwrap().clone();
        let request = client.post("refresh").json(&json!({ "refresh_token": held }));
        match request.try_send() {
            Ok(answer) if answer.status == 200 => {
                history.0.push(Tokens::of(answer).refresh);
                rotations += 1;
            }
            Ok(answer) => {
                assert_eq!(answer.status, 503, "{}", answer.text());
                return rotations;
            }
            Err(_) => return rotations,
        }
    }
}

/// Every client rotates until `kill` was done, then comes again with what it holds: nobody is
/// thrown out.
fn a_round(
    client: &Client,
    histories: Vec<History>,
    round: u64,
    kill: impl FnOnce() -> Client,
) -> (Vec<History>, usize) {
    let threads: Vec<_> = histories
        .into_iter()
        .map(|mut history| {
            let client = client.clone();
            std::thread::spawn(move || {
                let rotations = refresh_on(&client, &mut history);
                (history, rotations)
            })
        })
        .collect();
    std::thread::sleep(Duration::from_millis(300 + 137 * round));
    let client = kill();
    let (mut histories, mut rotations) = (Vec::new(), 0);
    for thread in threads {
        let (mut history, made) = thread.join().unwrap();
        rotations += made;
        let held = history.0.last().unwrap().clone();
        let mut answer = None;
        eventually("the honest retry is answered", Duration::from_secs(20), || {
            let retry = client.refresh(&held);
            let is_there = retry.status != 503;
            answer = Some(retry);
            is_there
        });
        history.0.push(Tokens::of(answer.unwrap()).refresh);
        histories.push(history);
    }
    (histories, rotations)
}

/// Of all that a client ever had, what it holds is alive and nothing else; and one that was used up
/// ends that too.
fn one_line_is_left(client: &Client, histories: &[History]) {
    let begun = Instant::now();
    for History(tokens) in histories {
        assert_eq!(active(client, tokens), [tokens.last().unwrap()], "of {}", tokens.len());
    }
    let asked: usize = histories.iter().map(|history| history.0.len()).sum();
    println!("{asked} tokens asked about in {:.2?}: one of each client is alive", begun.elapsed());
    for History(tokens) in histories {
        let last = Tokens::of(client.refresh(tokens.last().unwrap()));
        assert_eq!(client.call(&last.access), 200);
        client.refresh(&tokens[0]).refused(401);
        for token in tokens.iter().rev().take(30) {
            client.refresh(token).refused(401);
        }
        client.refresh(&last.refresh).refused(401);
        assert_eq!(client.call(&last.access), 401);
    }
}

fn begin(client: &Client) -> Vec<History> {
    let name = |i: usize| format!("user-{i}");
    (0..CLIENTS).map(|i| History(vec![client.login(&name(i)).refresh])).collect()
}

fn the_gateway_is_killed(name: &str, setup: &Setup) {
    let mut gateway = Gateway::start(setup);
    let mut histories = begin(&client(&gateway));
    let mut rotations = 0;
    for round in 0..ROUNDS {
        let before = client(&gateway);
        let mut next = None;
        let (after, made) = a_round(&before, histories, round, || {
            let dir = gateway.kill();
            let fresh = Gateway::start_in(dir, setup);
            let client = client(&fresh);
            next = Some(fresh);
            client
        });
        gateway = next.unwrap();
        histories = after;
        rotations += made;
    }
    println!("{name}: {ROUNDS} kills -9 of the gateway among {rotations} rotations; nobody out");
    one_line_is_left(&client(&gateway), &histories);
}

#[test]
#[ignore = "a trial; run by tests/extended.sh"]
fn gateways_are_killed() {
    let app = Upstream::start();
    the_gateway_is_killed("embedded", &quiet(&app));
    let redis = durable_redis();
    the_gateway_is_killed("Redis", &quiet(&app).redis(&redis));
}

#[test]
#[ignore = "a trial; run by tests/extended.sh"]
fn redis_is_killed() {
    let app = Upstream::start();
    let mut redis = durable_redis();
    let gateways = [(); 2]
        .map(|()| Gateway::start(&quiet(&app).redis(&redis).set("store", "timeout", "\"1s\"")));
    let [one, other] = [client(&gateways[0]), client(&gateways[1])];
    let mut histories = begin(&one);
    let mut rotations = 0;
    for round in 0..ROUNDS {
        // The retry goes to the gateway that has not heard the first try.
        let (asked, again) = if round % 2 == 0 { (&one, &other) } else { (&other, &one) };
        let (after, made) = a_round(asked, histories, round, || {
            redis.kill();
            std::thread::sleep(Duration::from_millis(200));
            redis.restart();
            again.clone()
        });
        histories = after;
        rotations += made;
    }
    println!("{ROUNDS} kills -9 of Redis among {rotations} rotations; nobody out");
    one_line_is_left(&one, &histories);
    assert!(gateways[0].get(&format!("{PREFIX}/sessions")).send().status == 401);
}
