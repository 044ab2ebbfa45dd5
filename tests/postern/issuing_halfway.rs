//! Ends of sessions that were not confirmed: "try again" must lead somewhere, and an answer that
//! says that it is over must be true.

use std::time::Duration;

use serde_json::json;

use crate::harness::client::Answer;
use crate::harness::eventually;
use crate::harness::gateway::Gateway;
use crate::harness::issuing::{Client, PREFIX, Tokens, client, setup};
use crate::harness::oauth::form;
use crate::harness::redis::Redis;
use crate::harness::setup::Setup;
use crate::harness::upstream::Upstream;

/// A gateway whose revocations are to be on a replica before they are told as done. There is none:
/// the session's end is written, and then the entry for everybody is not confirmed.
fn unreplicated(app: &Upstream) -> (Redis, Setup) {
    let redis = Redis::tcp_with(&["repl-diskless-sync-delay 0"]);
    let setup = setup(app).redis(&redis).set("store", "timeout", "\"1s\"");
    (redis, setup.set("store", "wait_replicas", "1"))
}

/// From here on there is one.
fn replica_of(redis: &Redis) -> Redis {
    let replica = Redis::tcp_with(&[&format!("replicaof 127.0.0.1 {}", redis.port())]);
    eventually("the replica follows", Duration::from_secs(20), || {
        let info = redis.try_command(&["INFO", "replication"]).ok();
        let info = info.and_then(|value| redis::from_redis_value::<String>(value).ok());
        info.is_some_and(|info| info.contains("state=online"))
    });
    replica
}

fn logout_with(client: &Client, refresh: &str) -> Answer {
    client.post("logout").json(&json!({ "refresh_token": refresh })).send()
}

/// Design: "the session is refused from then on, everywhere", and "a second time 401": which is said
/// of a logout that was confirmed, not of one that got stuck. Invariant 9.
#[test]
fn a_logout_that_got_stuck_is_completed() {
    let app = Upstream::start();
    let (redis, setup) = unreplicated(&app);
    let gateway = Gateway::start(&setup);
    let client = client(&gateway);
    let [bearer, holder, stays] = ["alice", "alice", "bob"].map(|name| client.login(name));
    for _ in 0..2 {
        client.logout(&bearer.access).refused(503);
        logout_with(&client, &holder.refresh).refused(503);
    }
    for Tokens { access, refresh } in [&bearer, &holder] {
        assert_eq!(client.call(access), 401);
        client.refresh(refresh).refused(401);
    }
    let _replica = replica_of(&redis);
    // It has ended, on the replica too.
    client.logout(&bearer.access).refused(401);
    logout_with(&client, &holder.refresh).refused(401);
    assert_eq!(client.call(&stays.access), 200);
    // A token that is revoked speaks for nobody; the refresh token of its session does.
    let jti = stays.claim("jti");
    gateway.revoke(&json!({ "jti": jti, "of_issuer": stays.claim("iss") })).expect(201);
    client.logout(&stays.access).refused(401);
    let mut latest = Tokens::of(client.refresh(&stays.refresh));
    let body = json!({ "refresh_token": latest.refresh });
    client.post("logout").bearer(&stays.access).json(&body).send().expect(204);
    client.refresh(&latest.refresh).refused(401);
    // What is forged is helped by nothing.
    latest = client.login("bob");
    let forged = format!("{}AAAA", &latest.access[..latest.access.len() - 4]);
    let body = json!({ "refresh_token": latest.refresh });
    client.post("logout").bearer(&forged).json(&body).send().refused(401);
    Tokens::of(client.refresh(&latest.refresh));
}

/// The same of all of one's sessions, and of one of them: what is not confirmed is not "over".
#[test]
fn the_end_of_all_or_of_another_is_completed() {
    let app = Upstream::start();
    let (redis, setup) = unreplicated(&app);
    let gateway = Gateway::start(&setup);
    let client = client(&gateway);
    let all = [client.login("alice"), client.login("alice")];
    let [stays, ended] = [client.login("bob"), client.login("bob")];
    let end_all = || client.post("logout?all=true").bearer(&all[0].access).send();
    let end_other = || {
        let path = format!("{PREFIX}/sessions/{}", ended.sid());
        gateway.request("DELETE", &path).bearer(&stays.access).send()
    };
    for _ in 0..2 {
        end_all().refused(503);
        end_other().refused(503);
    }
    let _replica = replica_of(&redis);
    // Dated after the revocation: it is not the old token's to end.
    std::thread::sleep(Duration::from_millis(1100));
    let later = client.login("alice");
    end_all().refused(401);
    end_other().refused(404);
    for Tokens { access, refresh } in all.iter().chain([&ended]) {
        assert_eq!(client.call(access), 401);
        client.refresh(refresh).refused(401);
    }
    assert_eq!((client.call(&later.access), client.call(&stays.access)), (200, 200));
    Tokens::of(client.refresh(&later.refresh));
    // Of a session that there never was, or somebody else's, nothing is written.
    let before = redis.keys("postern:blocklist:sid:*").len();
    for sid in [&later.sid(), "AAAAAAAAAAAAAAAAAAAAAA"] {
        let path = format!("{PREFIX}/sessions/{sid}");
        gateway.request("DELETE", &path).bearer(&stays.access).send().refused(404);
    }
    assert_eq!(redis.keys("postern:blocklist:sid:*").len(), before);
}

/// The same of an operator's end of a session, and of a client's revocation (RFC 7009 §2.2.1: after
/// 503 "the client must assume the token still exists and may retry").
#[test]
fn an_end_that_got_stuck_is_not_told_as_done() {
    let app = Upstream::start();
    let (redis, setup) = unreplicated(&app);
    let gateway = Gateway::start(&setup);
    let client = client(&gateway);
    let [one, two] = ["alice", "bob"].map(|name| client.login(name));
    let target = format!("/sessions/{}", one.sid());
    let end = || gateway.admin_request("DELETE", &target).send();
    let revoke = || {
        let form = form(&[("token", &two.refresh), ("client_id", "postern")]);
        gateway.post(&format!("{PREFIX}/revoke")).form(&form).send()
    };
    for _ in 0..2 {
        end().expect(503);
        revoke().expect(503);
    }
    let _replica = replica_of(&redis);
    end().expect(204);
    revoke().expect(200);
    for Tokens { access, refresh } in [&one, &two] {
        assert_eq!(client.call(access), 401);
        client.refresh(refresh).refused(401);
    }
}
