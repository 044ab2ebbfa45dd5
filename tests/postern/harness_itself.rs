//! The harness is tested before it is trusted.

use std::collections::HashSet;

use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::{Value, json};

use crate::harness::apps::{express, flask};
use crate::harness::client::Endpoint;
use crate::harness::keys::{ALGORITHMS, Key};
use crate::harness::redis::Redis;
use crate::harness::tokens::{AUDIENCE, ISSUER, Token};
use crate::harness::upstream::{After, Upstream};

/// The token builder and the keys agree with a verifier that is not the gateway's own code.
#[test]
fn good_tokens_of_every_algorithm_verify() {
    for name in ALGORITHMS {
        let key = Key::shared(name);
        let token = Token::good().roles(&["admin"]).sign(key);
        let claims = verify(&token, &decoding_key(key), name).unwrap();
        assert_eq!(claims["sub"], "alice", "{name}");
        let forged = Token::good().sign(&Key::generate(name, &key.kid));
        assert!(verify(&forged, &decoding_key(key), name).is_err(), "{name}: another key's");
    }
}

#[test]
fn public_keys_are_the_same_as_pem_and_as_jwk() {
    for name in ALGORITHMS.iter().filter(|name| !name.starts_with("HS")) {
        let key = Key::shared(name);
        let token = Token::good().sign(key);
        let jwk = serde_json::from_value(key.jwk()).unwrap();
        assert!(verify(&token, &DecodingKey::from_jwk(&jwk).unwrap(), name).is_ok(), "{name}");
    }
}

#[test]
fn hostile_tokens_say_what_they_were_told_to() {
    let key = Key::shared("HS256");
    let token = Token::good().header("alg", "none").edited_payload("\"alice\"", "1e999").sign(key);
    let part = |n: usize| {
        use base64::Engine;
        let part = token.split('.').nth(n).unwrap();
        let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(part).unwrap();
        String::from_utf8(bytes).unwrap()
    };
    assert!(part(0).contains(r#""alg":"none""#));
    assert!(part(1).contains(r#""sub":1e999"#));
}

#[test]
fn redis_is_killed_frozen_and_restarted_empty() {
    for mut redis in [Redis::start(), Redis::tcp(), Redis::tls()] {
        redis.command(&["SET", "a", "1"]);
        assert_eq!(redis.keys("*"), ["a"]);
        redis.restart();
        assert!(redis.keys("*").is_empty(), "{}", redis.url());
        redis.kill();
        assert!(redis.try_command(&["PING"]).is_err());
    }
    let redis = Redis::start();
    redis.freeze();
    assert!(redis.try_command(&["PING"]).is_err());
    redis.thaw();
    redis.command(&["PING"]);
}

#[test]
fn redis_takes_users_and_passwords() {
    let redis = Redis::with(&["user gate on >word ~* +@all", "requirepass other"]);
    assert!(redis.try_command(&["PING"]).is_err());
}

#[test]
fn the_upstream_records_what_arrives() {
    let upstream = Upstream::start();
    let to = Endpoint::http(upstream.address);
    let answer = to.request("POST", "/a%20b?c=d").header("X-A", "1").body("hello").send();
    assert_eq!(answer.expect(200).json()["body_length"], 5);
    let seen = upstream.last();
    assert_eq!((seen.method.as_str(), seen.target.as_str()), ("POST", "/a%20b?c=d"));
    assert_eq!((seen.header("x-a"), &*seen.body), (Some("1"), &b"hello"[..]));
    assert!(seen.complete);

    let mut connection = to.connect();
    let chunked = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
                   3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
    connection.write(chunked.as_bytes());
    connection.answer("POST").expect(200);
    assert_eq!(upstream.last().body, b"abcde");
    upstream.close_connections();
    assert!(connection.closes_within(std::time::Duration::from_secs(5)));

    upstream.forget();
    upstream.saw_nothing("after forgetting");
}

/// A test that reads a broken answer must notice; a lenient client would hide smuggling.
#[test]
fn the_client_is_strict() {
    let broken = [
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nBad Name: x\r\n\r\n",
        "ICY 200 OK\r\n\r\n",
        "",
    ];
    for bytes in broken {
        let upstream = Upstream::raw(bytes);
        let answer = Endpoint::http(upstream.address).request("GET", "/").try_send();
        assert!(answer.is_err(), "{bytes:?} was read as {answer:?}");
    }
    let upstream = Upstream::raw(
        "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
         3\r\nabc\r\n0\r\nDigest: x\r\n\r\n",
    );
    let answer = Endpoint::http(upstream.address).request("GET", "/").send();
    assert_eq!((answer.interim, answer.body), (vec![103], b"abc".to_vec()));
    assert_eq!(answer.trailers, [("Digest".to_owned(), "x".to_owned())]);
}

#[test]
fn early_upstreams_answer_before_the_body() {
    let upstream = Upstream::early(|_, stream| {
        crate::harness::upstream::reply(stream, "403 Forbidden", &[], "no");
        After::Close
    });
    let mut connection = Endpoint::http(upstream.address).connect();
    connection.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n");
    connection.answer("POST").expect(403);
}

/// The tutorial apps answer by themselves, without any gateway.
#[test]
fn the_apps_run() {
    for app in [express(), flask()] {
        let to = Endpoint::http(app.address);
        let items = to.request("GET", "/api/items").send().expect(200).json();
        assert_eq!(items[0]["name"], "Lamp", "{}", app.name);
        let login = |password: &str| {
            let body = json!({"email": "alice@example.com", "password": password});
            to.request("POST", "/api/login").json(&body).send()
        };
        assert_eq!(login("wonderland").expect(200).json()["role"], "admin");
        login("wrong").expect(401);
        to.request("GET", "/api/admin/users").send().expect(200);
        let seen = to.request("GET", "/headers").header("X-Seen", "yes").send().json();
        assert_eq!(seen["headers"]["x-seen"], "yes", "{}", app.name);
    }
}

fn decoding_key(key: &Key) -> DecodingKey {
    match &key.algorithm[..2] {
        "HS" => DecodingKey::from_secret(key.secret_bytes()),
        "RS" | "PS" => DecodingKey::from_rsa_pem(key.public_pem().as_bytes()).unwrap(),
        "ES" => DecodingKey::from_ec_pem(key.public_pem().as_bytes()).unwrap(),
        _ => DecodingKey::from_ed_pem(key.public_pem().as_bytes()).unwrap(),
    }
}

fn verify(token: &str, key: &DecodingKey, algorithm: &str) -> jsonwebtoken::errors::Result<Value> {
    // An error means that another test has installed it already.
    let _installed = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
    let algorithm: Algorithm = algorithm.parse()?;
    let mut validation = Validation::new(algorithm);
    validation.set_issuer(&[ISSUER]);
    validation.set_audience(&[AUDIENCE]);
    validation.required_spec_claims = HashSet::from(["exp".into(), "iss".into(), "aud".into()]);
    jsonwebtoken::decode::<Value>(token, key, &validation).map(|data| data.claims)
}
