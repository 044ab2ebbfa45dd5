//! The Redis user that docs/operations.md names: nothing but what Postern does, and all of that.

use std::time::Duration;

use serde_json::json;

use crate::harness::gateway::Gateway;
use crate::harness::keys::Key;
use crate::harness::oauth;
use crate::harness::person::{self, Person};
use crate::harness::redis::Redis;
use crate::harness::setup::Setup;
use crate::harness::tokens::Token;
use crate::harness::upstream::Upstream;
use crate::harness::{each, is_so_within, issuing, soon};

const DOCS: &str = include_str!("../../docs/operations.md");

/// The user of the document, with what it says is added for these.
fn user(additions: &[&str]) -> String {
    let line = DOCS.lines().find(|line| line.starts_with("user gateway")).expect("the user");
    let added = additions.iter().map(|what| {
        let line = DOCS.lines().find(|line| line.contains("~postern:") && line.contains(what));
        let line = line.unwrap_or_else(|| panic!("nothing is said of {what}"));
        let rights = line.split('`').nth(1).expect("rights");
        rights.to_owned()
    });
    let all: Vec<String> =
        std::iter::once(line.replace("PASSWORD", "geheim")).chain(added).collect();
    all.join(" ")
}

fn as_user(setup: Setup, redis: &Redis) -> Setup {
    setup
        .redis(redis)
        .set("store", "username", "\"gateway\"")
        .set("store", "password_file", "\"redis.password\"")
        .file("redis.password", "geheim")
}

/// What Redis refused to the user.
fn denied(redis: &Redis) -> Vec<String> {
    let log: Vec<Vec<redis::Value>> =
        redis::from_redis_value(redis.command(&["ACL", "LOG"])).unwrap();
    log.iter().map(|entry| format!("{entry:?}")).collect()
}

#[test]
fn verifying_and_revoking() {
    let app = Upstream::start();
    let tracked = Setup::standard(&app).set("revocation", "check", "\"tracked\"");
    each([(Setup::standard(&app), &[][..]), (tracked, &["tracked"])], |(setup, additions)| {
        let redis = Redis::with(&[&user(additions)]);
        let gateway = Gateway::start(&as_user(setup, &redis));
        if !additions.is_empty() {
            let status = || gateway.admin_request("GET", "/status").send().json()["store"].clone();
            let used = || status()["tracked"]["used"] == true;
            let is_used = is_so_within(Duration::from_secs(20), used);
            assert!(is_used, "{}\n{:#?}", status()["tracked"], denied(&redis));
        }
        let token = Token::good();
        let signed = token.sign(Key::shared("ES256"));
        gateway.get("/api/x").bearer(&signed).send().expect(200);
        gateway.revoke_jti(token.jti());
        gateway.get("/api/x").bearer(&signed).send().refused(401);
        let listed = gateway.admin_request("GET", "/revocations").send().expect(200).json();
        let id = listed["items"][0]["id"].as_str().unwrap().to_owned();
        gateway.admin_request("DELETE", &format!("/revocations/{id}")).send().expect(204);
        soon("it is lifted", || gateway.get("/api/x").bearer(&signed).send().status == 200);
        let said = denied(&redis);
        assert!(said.is_empty(), "{said:#?}");
    });
}

#[test]
fn issuing_to_programs_and_browsers() {
    let app = Upstream::start();
    let redis = Redis::with(&[&user(&["[issuing]"])]);
    let limits = "[{ by = \"account\", rate = \"50/1h\", count = \"failures\" }]";
    let setup = issuing::setup(&app).set("issuing", "login_limits", limits);
    let gateway = Gateway::start(&as_user(setup, &redis));
    let client = issuing::client(&gateway);
    client.login_as("alice", "wrong").refused(401);
    let answer = client.login_as("alice", person::PASSWORD);
    assert_eq!(answer.status, 200, "{:#?}\n{}", denied(&redis), gateway.output());
    let tokens = issuing::Tokens::of(answer);
    let next = issuing::Tokens::of(client.refresh(&tokens.refresh));
    assert_eq!(client.sessions(&next.access).len(), 1);
    client.logout(&next.access).expect(204);
    assert_eq!(client.call(&next.access), 401);
    let reused = client.login("alice");
    issuing::Tokens::of(client.refresh(&reused.refresh));
    let other = client.post("refresh").header("User-Agent", "another");
    other.json(&json!({ "refresh_token": reused.refresh })).send().refused(401);
    client.login("alice");
    let last = client.login("alice");
    client.post("logout?all=true").bearer(&last.access).send().expect(204);
    drop(gateway);
    let gateway = Gateway::start(&as_user(person::setup(&app), &redis));
    let alice = Person::log_in(&gateway, "alice");
    assert_eq!(alice.call(), 200);
    alice.script("POST", "/_postern/logout").send().expect(204);
    drop(gateway);
    let gateway = Gateway::start(&as_user(oauth::setup(&app), &redis));
    oauth::granted(&gateway, "billing");
    let assertion = oauth::assertion().sign(oauth::reports());
    let used = || oauth::with_assertion(&gateway, &assertion);
    used().expect(200);
    oauth::refused(used(), 401, "invalid_client");
    let said = denied(&redis);
    assert!(said.is_empty(), "{said:#?}");
}

/// What is missing is named, in the log of the gateway that gets nowhere.
#[test]
fn rights_that_are_missing_are_told() {
    let app = Upstream::start();
    let limit = "[{ by = \"account\", rate = \"50/1h\", count = \"failures\" }]";
    each([("[]", "the store was not certain"), (limit, "whoever it is for gets 503")], |row| {
        let (limits, says) = row;
        let redis = Redis::with(&[&user(&[])]);
        let setup = issuing::setup(&app).set("issuing", "login_limits", limits);
        let gateway = Gateway::start(&as_user(setup, &redis));
        issuing::client(&gateway).login_as("alice", person::PASSWORD).refused(503);
        gateway.says(says);
        gateway.says("NOPERM");
    });
}
