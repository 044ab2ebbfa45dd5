//! Revocation: what is on the blocklist is refused from that moment on, on every gateway
//! (R41, R45, R46, invariants 1 and 9).

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::gateway::Gateway;
use crate::harness::keys::{Key, base64url};
use crate::harness::redis::Redis;
use crate::harness::setup::Setup;
use crate::harness::tokens::{ISSUER, Token};
use crate::harness::upstream::Upstream;
use crate::harness::{soon, unix_now};

/// `ISSUER` as a key's component.
const ISSUER_KEY: &str = "https%3A%2F%2Fauth.test";

fn key() -> &'static Key {
    Key::shared("ES256")
}

fn accepted(gateway: &Gateway, token: &str) {
    gateway.get("/api/x").bearer(token).send().expect(200);
}

fn refused(gateway: &Gateway, app: &Upstream, token: &str, context: &str) {
    app.forget();
    let answer = gateway.get("/api/x").bearer(token).send();
    assert_eq!(answer.status, 401, "{context}: {}", answer.text());
    let answer = answer.refused(401);
    assert!(answer.header("www-authenticate").unwrap().contains("invalid_token"), "{context}");
    app.saw_nothing(context);
}

/// By jti and by token, through every door, with the token in the cache and not.
fn every_way_of_revoking(setup: &Setup, app: &Upstream) {
    let gateway = Gateway::start(setup);
    for cached in [true, false] {
        let token = || {
            let token = Token::good();
            let signed = token.sign(key());
            if cached {
                accepted(&gateway, &signed);
            }
            (token.jti().to_owned(), signed)
        };
        let (jti, signed) = token();
        let entry = gateway.revoke(&json!({"jti": jti, "reason": "stolen"})).expect(201).json();
        assert_eq!((&entry["kind"], &entry["value"]), (&json!("jti"), &json!(jti)), "{entry}");
        assert_eq!(entry["issuer"], ISSUER);
        assert_eq!(entry["reason"], "stolen");
        assert!(entry["id"].is_string() && entry["at"].as_i64().unwrap() <= unix_now(), "{entry}");
        refused(&gateway, app, &signed, "POST /revocations by jti");

        let (_, signed) = token();
        let entry = gateway.revoke(&json!({"token": signed})).expect(201).json();
        assert!(!entry.to_string().contains(&signed), "the entry does not hold the token");
        refused(&gateway, app, &signed, "POST /revocations by token");

        let (jti, signed) = token();
        let out = gateway.cli(&["revoke", "--config", "postern.toml", "--jti", &jti], "");
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        refused(&gateway, app, &signed, "postern revoke --jti");

        let (_, signed) = token();
        let arguments = ["revoke", "--config", "postern.toml", "--token-file", "-"];
        let out = gateway.cli(&arguments, &signed);
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        refused(&gateway, app, &signed, "postern revoke --token-file -");

        let (_, signed) = token();
        accepted(&gateway, &signed);
    }
}

#[test]
fn every_way_of_revoking_in_the_embedded_store() {
    let app = Upstream::start();
    every_way_of_revoking(&Setup::standard(&app), &app);
}

#[test]
fn every_way_of_revoking_in_redis() {
    let app = Upstream::start();
    for redis in [Redis::start(), Redis::tcp()] {
        every_way_of_revoking(&Setup::standard(&app).redis(&redis), &app);
    }
}

#[test]
fn redis_over_tls_and_with_a_user() {
    let app = Upstream::start();
    let redis = Redis::tls();
    redis.command(&["ACL", "SETUSER", "gate", "on", ">correct horse", "~postern:*", "+@all"]);
    redis.command(&["ACL", "SETUSER", "default", "off"]);
    let setup = Setup::standard(&app)
        .redis(&redis)
        .set("store", "username", "\"gate\"")
        .set("store", "password_file", "\"redis.password\"")
        .set("store", "ca", "\"ca.pem\"")
        .file("redis.password", "correct horse\n")
        .file("ca.pem", &crate::harness::pki::authority().pem);
    let gateway = Gateway::start(&setup);
    let token = Token::good();
    let signed = token.sign(key());
    accepted(&gateway, &signed);
    gateway.revoke_jti(token.jti());
    refused(&gateway, &app, &signed, "over TLS with a user");

    // A wrong password, and an authority that did not sign: no answer, so no admission (R42).
    for broken in [setup.clone().file("redis.password", "wrong"), setup.unset("store", "ca")] {
        let gateway = Gateway::start(&broken);
        app.forget();
        gateway.get("/api/x").bearer(&Token::good().sign(key())).send().refused(503);
        app.saw_nothing("Redis that cannot be asked");
        // Not before the log has said anything.
        soon("the log says why", || gateway.output().contains("cannot connect to the store"));
        assert!(!gateway.output().contains("correct horse"));
    }
}

/// What an operator, or another program, writes straight into Redis (contract: "Redis keys").
#[test]
fn keys_written_by_hand() {
    let app = Upstream::start();
    let redis = Redis::start();
    let gateway = Gateway::start(&Setup::standard(&app).redis(&redis));
    let token = Token::good().claim("sid", "s/1").claim("azp", "shop").claim("sub", "bøb");
    let signed = token.sign(key());
    let hash = |part: &str| {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, part.as_bytes());
        digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    let signing_input = signed.rsplit_once('.').unwrap().0;
    let now = unix_now();
    let dated = format!(r#"{{"reason":"","by":"test","at":{now},"issued_before":{}}}"#, now + 5);
    let plain = format!(r#"{{"reason":"","by":"test","at":{now}}}"#);
    for (suffix, value) in [
        (format!("jti:{ISSUER_KEY}:{}", token.jti()), &plain),
        (format!("sid:{ISSUER_KEY}:s%2F1"), &plain),
        (format!("issuer:{ISSUER_KEY}"), &plain),
        (format!("kid:{ISSUER_KEY}:shared-ES256"), &plain),
        (format!("token:{}", hash(signing_input)), &plain),
        (format!("sub:{ISSUER_KEY}:b%C3%B8b"), &dated),
        (format!("client:{ISSUER_KEY}:shop"), &dated),
        // What does not parse refuses (contract section 6).
        (format!("sub:{ISSUER_KEY}:b%C3%B8b"), &"not json".to_owned()),
        (format!("jti:{ISSUER_KEY}:{}", token.jti()), &String::new()),
    ] {
        accepted(&gateway, &signed);
        let name = format!("postern:blocklist:{suffix}");
        redis.command(&["SET", &name, value]);
        refused(&gateway, &app, &signed, &name);
        redis.command(&["DEL", &name]);
    }
    // Issued after the revocation: a new login works.
    let earlier = format!(r#"{{"reason":"","by":"test","at":{now},"issued_before":{}}}"#, now - 60);
    redis.command(&["SET", &format!("postern:blocklist:sub:{ISSUER_KEY}:b%C3%B8b"), &earlier]);
    accepted(&gateway, &signed);
    let no_iat = Token::good().claim("sub", "bøb").claim("iat", now - 120).sign(key());
    refused(&gateway, &app, &no_iat, "issued before");
    // A key of another type is there all the same.
    redis.command(&["SADD", &format!("postern:blocklist:jti:{ISSUER_KEY}:{}", token.jti()), "x"]);
    refused(&gateway, &app, &signed, "a set instead of a string");
}

/// `extra_keys`: what existing applications write.
#[test]
fn keys_of_other_applications() {
    let app = Upstream::start();
    let redis = Redis::start();
    let extra = "[\"blacklist:{jti}\", \"revoked/{token_sha256}\", \"user:{sub}:out\"]";
    let setup = Setup::standard(&app).redis(&redis).set("revocation", "extra_keys", extra);
    let gateway = Gateway::start(&setup);
    let token = Token::good();
    let signed = token.sign(key());
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, signed.as_bytes());
    let hash: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    for (command, name) in [
        ("SET", format!("blacklist:{}", token.jti())),
        ("SADD", format!("blacklist:{}", token.jti())),
        ("SET", format!("revoked/{hash}")),
        ("LPUSH", "user:alice:out".to_owned()),
    ] {
        accepted(&gateway, &signed);
        redis.command(&[command, &name, "1"]);
        refused(&gateway, &app, &signed, &name);
        redis.command(&["DEL", &name]);
    }
    // R46: a jti is data, not a pattern.
    redis.command(&["SET", "blacklist:abc", "1"]);
    accepted(&gateway, &Token::good().claim("jti", "*").sign(key()));
    accepted(&gateway, &Token::good().claim("jti", "ab?").sign(key()));
}

/// Invariant 9: after the answer to `revoke`, no request that starts later is let through, on any
/// gateway, whatever is cached and batched.
#[test]
fn nothing_is_accepted_after_the_acknowledgement() {
    let app = Upstream::start();
    let redis = Redis::start();
    let setup = Setup::standard(&app).redis(&redis);
    let gateways = [Gateway::start(&setup), Gateway::start(&setup)];
    for round in 0..8 {
        let token = Token::good();
        let signed = token.sign(key());
        let accepted: Mutex<Vec<Instant>> = Mutex::default();
        let stop = AtomicBool::new(false);
        let acknowledged = std::thread::scope(|scope| {
            for gateway in &gateways {
                for _ in 0..3 {
                    scope.spawn(|| {
                        let request = gateway.get("/api/x").bearer(&signed);
                        let mut connection = gateway.https().connect();
                        while !stop.load(Ordering::SeqCst) {
                            let start = Instant::now();
                            let answer = request.on(&mut connection).unwrap();
                            match answer.status {
                                200 => accepted.lock().unwrap().push(start),
                                401 => {}
                                other => panic!("{other}: {}", answer.text()),
                            }
                        }
                    });
                }
            }
            soon("requests flow", || accepted.lock().unwrap().len() > 50);
            gateways[round % 2].revoke_jti(token.jti());
            let acknowledged = Instant::now();
            std::thread::sleep(Duration::from_millis(200));
            stop.store(true, Ordering::SeqCst);
            acknowledged
        });
        let accepted = accepted.into_inner().unwrap();
        let late = accepted.iter().filter(|start| **start > acknowledged).count();
        assert_eq!(late, 0, "round {round}: accepted after the acknowledgement");
    }
}

/// The embedded store answers only once the entry is durable.
#[test]
fn the_embedded_store_survives_kill_9() {
    let app = Upstream::start();
    let setup = Setup::standard(&app);
    let gateway = Gateway::start(&setup);
    let tokens: Vec<_> = (0..20).map(|_| Token::good()).collect();
    for token in &tokens {
        gateway.revoke_jti(token.jti());
    }
    let dir = gateway.kill();
    let gateway = Gateway::start_in(dir, &setup);
    for token in &tokens {
        refused(&gateway, &app, &token.sign(key()), "after kill -9");
    }
    accepted(&gateway, &Token::good().sign(key()));
}

/// A second gateway on the same embedded store or state directory would not see the first one's
/// entries: it must not start.
#[test]
fn the_embedded_store_belongs_to_one_process() {
    let app = Upstream::start();
    let gateway = Gateway::standard(&app);
    let out = gateway.cli(&["run", "--config", "postern.toml"], "");
    assert!(!out.status.success());
    let said = String::from_utf8_lossy(&out.stderr).to_lowercase();
    assert!(said.contains("state") || said.contains("store"), "{said}");
}

/// An entry outlives the token that it is about, and not much more.
#[test]
fn entries_expire_with_their_tokens() {
    let app = Upstream::start();
    let redis = Redis::start();
    let gateway = Gateway::start(&Setup::standard(&app).redis(&redis));
    let token = Token::good().claim("exp", unix_now() + 100);
    gateway.revoke(&json!({"token": token.sign(key())})).expect(201);
    // A token that has a jti may be stored under it.
    let mut names = redis.keys("postern:blocklist:token:*");
    names.extend(redis.keys("postern:blocklist:jti:*"));
    assert_eq!(names.len(), 1, "{:?}", redis.keys("*"));
    let ttl: i64 = redis::from_redis_value(redis.command(&["TTL", &names[0]])).unwrap();
    assert!((100..=200).contains(&ttl), "exp + leeway, not {ttl} s");

    gateway.revoke_jti("never-seen");
    let name = format!("postern:blocklist:jti:{ISSUER_KEY}:never-seen");
    let ttl: i64 = redis::from_redis_value(redis.command(&["TTL", &name])).unwrap();
    assert!(ttl >= 24 * 3600, "as long as any token may live, not {ttl} s");
}

/// Invariant 1: a reload that takes a key away takes its cached tokens away.
#[test]
fn cached_tokens_die_with_their_key() {
    let app = Upstream::start();
    let (old, new) = (Key::generate("ES256", "old"), Key::generate("ES256", "new"));
    let with = |keys: &[&Key]| {
        let setup = Setup::standard(&app).without_table("[[issuers]]");
        setup.issuer("main", "", keys)
    };
    let gateway = Gateway::start(&with(&[&old, &new]));
    let tokens = [Token::good().sign(&old), Token::good().sign(&new)];
    for token in &tokens {
        accepted(&gateway, token);
    }
    gateway
        .reload(
            &with(&[&new])
                .file("cert.pem", pem(&gateway, "cert.pem"))
                .file("key.pem", pem(&gateway, "key.pem")),
        )
        .expect(200);
    refused(&gateway, &app, &tokens[0], "its key is gone");
    accepted(&gateway, &tokens[1]);
}

fn pem(gateway: &Gateway, name: &str) -> String {
    std::fs::read_to_string(gateway.dir.path().join(name)).unwrap()
}

/// What `POST /revocations` refuses.
#[test]
fn revocations_that_make_no_sense() {
    let app = Upstream::start();
    let gateway = Gateway::standard(&app);
    let foreign = Token::good().claim("iss", "https://other.test").sign(key());
    for body in [
        json!({}),
        json!({"jti": ""}),
        json!({"jti": 1}),
        json!({"jti": "a", "sub": "b"}),
        json!({"jti": "a", "unknown": 1}),
        json!({"jti": "a", "of_issuer": "https://nobody.test"}),
        json!({"jti": "a", "for": "soon"}),
        json!({"jti": "a", "for": "1s"}),
        json!({"token": "nonsense"}),
        json!({"token": foreign}),
        json!({"token": format!("{}.{}.", base64url("{}"), base64url("{}"))}),
        json!([]),
        json!("jti"),
    ] {
        let answer = gateway.revoke(&body);
        assert!((400..500).contains(&answer.status), "{body}: {}", answer.status);
    }
}
