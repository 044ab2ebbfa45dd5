//! Rotation at a real provider: the most frequent outage of gateways that verify tokens. No valid
//! token is refused while keys come and go; a key that was taken back verifies nothing.

use std::time::{Duration, Instant};

use crate::harness::client::Answer;
use crate::harness::eventually;
use crate::harness::gateway::Gateway;
use crate::harness::load::Load;
use crate::harness::provider::Provider;
use crate::harness::setup::Setup;
use crate::harness::soon;
use crate::harness::upstream::Upstream;

/// A gateway in front of `app` that discovers `provider`.
fn gateway(app: &Upstream, provider: &Provider, lines: &str) -> Gateway {
    let setup = Setup::bare()
        .upstream("app", &app.url())
        .issuer("provider", &provider.entry(lines), &[])
        .route("public", "path = \"/public/*\"\nauth = \"none\"")
        .route("api", "path = \"/api/*\"");
    Gateway::start(&setup)
}

fn call(gateway: &Gateway, token: &str) -> Answer {
    gateway.get("/api/x").bearer(token).send()
}

/// A provider that signs with a key at the very moment that it publishes it: each new kid is met
/// by a request before any refresh. (Envoy and Istio answer 401 until their next interval.)
#[test]
fn a_key_that_signs_at_once_is_found_by_its_first_token() {
    let (app, provider) = (Upstream::start(), Provider::start());
    let gateway = gateway(&app, &provider, "refresh = \"1h\"\ncooldown = \"1s\"");
    gateway.readyz(200);
    let load = Load::start(&gateway, 3, vec![provider.token("/"), provider.token("/rs256")]);
    for _ in 0..3 {
        // The load goes on for longer than the cooldown, with tokens that nobody has seen before.
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(1100) {
            load.add(provider.token("/"));
            load.flows(20);
        }
        provider.publish_new_keys();
        provider.sign_with_new_keys();
        load.add(provider.token("/"));
        load.add(provider.token("/rs256"));
        load.flows(50);
    }
    println!("{} requests served", load.end());
}

/// A careful rotation: publish, sign, take back. The refresh in the background does it all; tokens
/// of the key that was taken back are refused, those in the cache, too.
#[test]
fn keys_come_and_go_by_refresh_alone() {
    let (app, provider) = (Upstream::start(), Provider::start());
    let gateway = gateway(&app, &provider, "refresh = \"1s\"\ncooldown = \"1h\"");
    let (cached, unseen) = (provider.token("/"), provider.token("/rs256"));
    call(&gateway, &cached).expect(200);
    let load = Load::start(&gateway, 3, vec![provider.token("/"), provider.token("/rs256")]);
    provider.publish_new_keys();
    let published = provider.kids().len() as u64;
    soon("a refresh brings the new keys", || gateway.keys_in_use() == published);
    provider.sign_with_new_keys();
    let renewed = vec![provider.token("/"), provider.token("/rs256")];
    for token in &renewed {
        load.add(token.clone());
    }
    load.flows(100);
    load.replace(renewed);
    provider.retire_old_keys();
    assert_eq!(provider.kids().len(), 2, "one of each algorithm");
    soon("the cached token of the old key is refused", || call(&gateway, &cached).status == 401);
    load.flows(100);
    println!("{} requests served", load.end());
    for token in [&cached, &unseen] {
        app.forget();
        let answer = call(&gateway, token).refused(401);
        assert!(answer.header("www-authenticate").unwrap().contains("invalid_token"));
        app.saw_nothing("a token of a key that was taken back");
    }
}

/// A reload in the middle of everything: no request meets a snapshot without fetched keys.
#[test]
fn a_reload_keeps_fetched_keys() {
    let (app, mut provider) = (Upstream::start(), Provider::start());
    let setup = Setup::bare()
        .upstream("app", &app.url())
        .issuer("provider", &provider.entry("refresh = \"1s\""), &[])
        .route("api", "path = \"/api/*\"");
    let gateway = Gateway::start(&setup);
    let load = Load::start(&gateway, 2, vec![provider.token("/"), provider.token("/rs256")]);
    for round in 0..5 {
        // A provider that is down has nothing to do with it.
        if round == 3 {
            provider.stop();
        }
        let lines = format!("path = \"/round/{round}\"\nauth = \"none\"");
        gateway.reload(&setup.clone().route("round", &lines)).expect(200);
        load.flows(30);
    }
    println!("{} requests served", load.end());
    // The entry under another name, and a changed setting: its keys are fetched again.
    let other = setup.without_table("name = \"provider\"");
    let other = other.issuer("renamed", &provider.entry("refresh = \"2s\""), &[]);
    provider.start_again();
    let token = provider.token("/");
    gateway.reload(&other).expect(200);
    eventually("the renamed entry has keys", Duration::from_secs(10), || {
        call(&gateway, &token).status == 200
    });
}
