//! Refused logins, refreshes and clients in the audit log: each line is there before the answer is,
//! and while there can be none, no answer tells what was right.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::audit::{audited, is_good, limit_file_sizes, log};
use crate::harness::client::Answer;
use crate::harness::gateway::Gateway;
use crate::harness::oauth::{ISSUER, PASSWORD, basic, billing, login, post, setup};
use crate::harness::redis::Redis;
use crate::harness::upstream::Upstream;
use crate::harness::{is_so_within, soon};

fn try_log_in(gateway: &Gateway, name: &str, password: &str) -> Answer {
    let body = json!({ "username": name, "password": password });
    gateway.post("/_postern/login").json(&body).send()
}

fn refresh(gateway: &Gateway, token: &str) -> Answer {
    gateway.post("/_postern/refresh").json(&json!({ "refresh_token": token })).send()
}

/// A client's token, by `billing` with this secret.
fn by_client(gateway: &Gateway, endpoint: &str, secret: &str) -> Answer {
    let pairs = [("grant_type", "client_credentials"), ("token", "x")];
    let request = post(gateway, endpoint, &pairs[..if endpoint == "token" { 1 } else { 2 }]);
    request.header("Authorization", &basic("billing", secret)).send()
}

fn id(answer: &Answer) -> String {
    answer.header("x-request-id").unwrap().to_owned()
}

/// A refusal of which nothing but the request id may differ.
fn says(answer: &Answer) -> (u16, Value, Vec<String>) {
    let mut body = answer.json();
    body.as_object_mut().unwrap().remove("request_id");
    let field = |name: &&str| format!("{name}: {:?}", answer.header(name));
    let fields = ["content-type", "retry-after", "www-authenticate", "cache-control"];
    (answer.status, body, fields.iter().map(field).collect())
}

/// No room for one more line, on a disk that is full.
fn fill(gateway: &Gateway) {
    let size = std::fs::metadata(gateway.dir.path().join("audit.log")).unwrap().len();
    limit_file_sizes(gateway, Some(size + 10));
}

fn line_of(dir: &TempDir, id: &str) -> Option<Value> {
    log(dir).into_iter().find(|line| line["request_id"] == id)
}

/// ASVS 6.3.8, CWE-204, CWE-778: while the log takes no lines, right and wrong get one answer, from
/// the first on, and what was tried is written when there is room again.
#[test]
fn a_full_disk_tells_nobody_which_password_is_right() {
    let (app, redis) = (Upstream::start(), Redis::start());
    let gateway = Gateway::start(&audited(setup(&app)).redis(&redis));
    let (_, token) = login(&gateway);
    for (first, expected) in
        [("wrong", ("refused", "wrong_password")), (PASSWORD, ("failed", "audit_unavailable"))]
    {
        fill(&gateway);
        let mut answers = vec![try_log_in(&gateway, "alice", first)];
        for _ in 0..3 {
            for (name, password) in [("alice", "wrong"), ("alice", PASSWORD), ("nobody", "wrong")] {
                answers.push(try_log_in(&gateway, name, password));
            }
        }
        answers.extend([refresh(&gateway, &token), refresh(&gateway, "unknown")]);
        let unlike = answers.iter().find(|answer| says(answer) != says(&answers[0]));
        assert_eq!(unlike.map(says), None, "{:?}", says(&answers[0]));
        assert_eq!(answers[0].header("retry-after"), Some("1"));
        assert_eq!(answers[0].status, 503);
        limit_file_sizes(&gateway, None);
        let last = id(answers.last().unwrap());
        soon("it is written", || line_of(&gateway.dir, &last).is_some());
        for answer in &answers {
            let line = line_of(&gateway.dir, &id(answer)).expect("a line for every answer");
            assert!(line["outcome"] != "done", "{line}");
        }
        let line = line_of(&gateway.dir, &id(&answers[0])).unwrap();
        let told = (line["outcome"].as_str().unwrap(), line["reason"].as_str().unwrap());
        assert_eq!(told, expected, "{line}");
        soon("it is judged again", || try_log_in(&gateway, "alice", "wrong").status == 401);
        try_log_in(&gateway, "alice", PASSWORD).expect(200);
    }
    // A change that was refused leaves nothing to be written, and nobody to wait for.
    fill(&gateway);
    gateway.revoke(&json!({ "jti": "x", "of_issuer": ISSUER })).expect(503);
    limit_file_sizes(&gateway, None);
    try_log_in(&gateway, "alice", "wrong").refused(401);
    // Nothing was rotated meanwhile: whoever was answered 503 need not hurry.
    let renewed = id(&refresh(&gateway, &token).expect(200));
    assert_eq!(line_of(&gateway.dir, &renewed).unwrap()["turn"], 1);
    is_good(&gateway.dir);
}

/// The same for a client's secret, at each endpoint that takes one.
#[test]
fn a_full_disk_tells_nobody_which_secret_is_right() {
    let (app, redis) = (Upstream::start(), Redis::start());
    let gateway = Gateway::start(&audited(setup(&app)).redis(&redis));
    let (access, token) = login(&gateway);
    fill(&gateway);
    let right = by_client(&gateway, "token", &billing().secret);
    assert_eq!((right.status, right.header("retry-after")), (503, Some("1")));
    for endpoint in ["token", "revoke", "introspect"] {
        let wrong = by_client(&gateway, endpoint, "wrong");
        assert_eq!(says(&wrong), says(&right), "{endpoint}");
    }
    // Another client's token, by whoever has it.
    let pairs = [("grant_type", "refresh_token"), ("refresh_token", &token)];
    let field = basic("billing", &billing().secret);
    let others = post(&gateway, "token", &pairs).header("Authorization", &field).send();
    assert_eq!(says(&others), says(&right));
    let others = post(&gateway, "revoke", &[("token", &access)]).header("Authorization", &field);
    let others = others.send();
    assert_eq!(says(&others), says(&right));
    limit_file_sizes(&gateway, None);
    for endpoint in ["token", "revoke", "introspect"] {
        let wrong = by_client(&gateway, endpoint, "wrong").expect(401);
        let line = line_of(&gateway.dir, &id(&wrong)).expect("at once");
        assert_eq!((&line["event"], &line["reason"]), (&json!("denial"), &json!("client_secret")));
    }
    assert_eq!(line_of(&gateway.dir, &id(&others)).unwrap()["reason"], "client_token");
    is_good(&gateway.dir);
}

/// kill -9 right behind the answers: every 401 has its line, whatever was wrong.
#[test]
fn every_refusal_survives_a_kill() {
    let app = Upstream::start();
    let setup = audited(setup(&app));
    let gateway = Gateway::start(&setup);
    let answered = Mutex::new(BTreeSet::new());
    let attempt = |worker: usize| match worker % 4 {
        0 => by_client(&gateway, "token", "wrong"),
        1 => refresh(&gateway, &format!("{}.{}", "A".repeat(22), "A".repeat(43))),
        2 => try_log_in(&gateway, "nobody", "wrong"),
        _ => try_log_in(&gateway, "alice", "wrong"),
    };
    std::thread::scope(|scope| {
        for worker in 0..8 {
            let (answered, attempt) = (&answered, &attempt);
            scope.spawn(move || {
                loop {
                    let answer =
                        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| attempt(worker)));
                    // Killed.
                    let Ok(answer) = answer else { return };
                    assert_eq!(answer.status, 401);
                    answered.lock().unwrap().insert(id(&answer));
                }
            });
        }
        // Killed in any case: nothing else stops those who ask.
        let many = || answered.lock().unwrap().len() >= 80;
        let are_many = is_so_within(Duration::from_secs(60), many);
        gateway.signal(Signal::KILL);
        assert!(are_many, "80 answers within a minute");
    });
    let answered = answered.into_inner().unwrap();
    let dir = gateway.kill();
    let lines = log(&dir).into_iter();
    let written: BTreeSet<String> =
        lines.filter_map(|line| line["request_id"].as_str().map(str::to_owned)).collect();
    let lost: Vec<_> = answered.difference(&written).collect();
    assert!(lost.is_empty(), "{} of {} are lost: {lost:?}", lost.len(), answered.len());
    let gateway = Gateway::start_in(dir, &setup);
    is_good(&gateway.dir);
}
