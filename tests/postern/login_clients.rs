//! Clients as applications have them, with their own HTTP libraries: they log in, meet a 401, renew
//! their tokens and send the request again; and stay out once they have logged out.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::harness::apps::{express, installed, root};
use crate::harness::gateway::Gateway;
use crate::harness::issuing::{ISSUER, PASSWORD, setup};
use crate::harness::pki::authority;
use crate::harness::redis::Redis;
use crate::harness::upstream::Upstream;

/// Runs a client to its end, and says what it has seen. Whenever it names its access token, that is
/// revoked, so that its next request is refused.
fn seen_by(client: &mut Command, gateway: &Gateway) -> Value {
    let dir = tempfile::tempdir().unwrap();
    let ca = dir.path().join("ca.pem");
    std::fs::write(&ca, &authority().pem).unwrap();
    let mut child = client
        .current_dir(root())
        .env("BASE", format!("https://localhost:{}", gateway.address("https").port()))
        .env("ACCOUNT", "alice")
        .env("PASSWORD", PASSWORD)
        .env("NODE_EXTRA_CA_CERTS", &ca)
        .env("REQUESTS_CA_BUNDLE", &ca)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut to = child.stdin.take().unwrap();
    let mut seen = None;
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        if let Some(jti) = line.strip_prefix("token ") {
            let body = json!({ "jti": jti, "of_issuer": ISSUER });
            gateway.revoke(&body).expect(201);
            to.write_all(b"revoked\n").unwrap();
        } else if let Some(json) = line.strip_prefix("done ") {
            seen = Some(serde_json::from_str(json).unwrap());
        }
    }
    let status = child.wait().unwrap();
    assert!(status.success(), "{status}: {}", gateway.output());
    seen.expect("its last line")
}

fn gateway(app: &Upstream, redis: &Redis) -> Gateway {
    let api = "path = \"/api/*\"\nissuers = [\"local\"]\nupstream = \"express\"";
    let setup = setup(app).redis(redis).upstream("express", &express().url()).route("api", api);
    Gateway::start(&setup)
}

#[test]
fn an_axios_interceptor_renews_once_for_ten_requests() {
    installed(&root().join("tests/clients/axios/node_modules"));
    let (app, redis) = (Upstream::start(), Redis::start());
    let gateway = gateway(&app, &redis);
    let seen = seen_by(Command::new("node").arg("tests/clients/axios/client.mjs"), &gateway);
    let names: Vec<String> = (0..10).map(|n| format!("n{n}")).collect();
    assert_eq!(
        seen,
        json!({
            "wrong": 401,
            "first": 200,
            "posts": vec![201; 10],
            "echoed": names,
            "refreshes": 1,
            // Each with the same refresh token at once: one rotation, and one answer for both.
            "tabs": [200, 200],
            "tabsAgree": true,
            "logout": 204,
            "after": 401,
        })
    );
}

#[test]
fn a_script_with_requests_renews_and_goes_on() {
    let python = root().join("tests/.cache/requests/bin/python");
    installed(&python);
    let (app, redis) = (Upstream::start(), Redis::start());
    let gateway = gateway(&app, &redis);
    let seen = seen_by(Command::new(python).arg("tests/clients/requests/client.py"), &gateway);
    assert_eq!(
        seen,
        json!({
            "wrong": 401,
            "first": 200,
            "post": 201,
            "echoed": "seven",
            "refreshes": 1,
            "logout": 204,
            "after": 401,
            "refresh_after": 401,
        })
    );
}
