//! A service of one's own on loopback: what its answers mean, and what it is sent.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::sync::mpsc;
use std::thread;

use serde_json::json;
use tokio::runtime::Handle;

use super::super::settings::tests::compiled;
use super::super::{Accounts, LookedUp};
use super::*;

/// A service that gives every connection this answer, and tells what it was asked.
fn service(answer: &'static str) -> (u16, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (tell, told) = mpsc::channel();
    drop(thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut asked = Vec::new();
            let mut bytes = [0; 4096];
            loop {
                let read = stream.read(&mut bytes).unwrap_or(0);
                asked.extend_from_slice(&bytes[..read]);
                let text = String::from_utf8_lossy(&asked).into_owned();
                let whole = text.split_once("\r\n\r\n").is_some_and(|(head, body)| {
                    let length =
                        head.lines().find_map(|line| line.strip_prefix("content-length: "));
                    length.is_some_and(|length| body.len() >= length.parse::<usize>().unwrap())
                });
                if whole || read == 0 {
                    drop(tell.send(text));
                    break;
                }
            }
            drop(stream.write_all(answer.as_bytes()));
        }
    }));
    (port, told)
}

fn accounts(port: u16, more: &str) -> Accounts {
    let settings = compiled(&format!(
        "[issuing.users]\nupstream = {{ url = \"http://127.0.0.1:{port}/api/login?x=1\", claims = \
         {{ sub = \"/user/id\", roles = \"/user/roles\", permissions = \"/user/can\", email = \
         \"/user/email\" }}, timeout = \"2s\" {more} }}\n"
    ));
    Accounts::open(settings.unwrap(), &Handle::current()).unwrap()
}

async fn login(
    accounts: &Accounts,
    name: &str,
    password: &str,
) -> Result<Result<Account, Refused>, AccountsUnavailable> {
    let password = Secret::new(password.to_owned());
    let client = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 9));
    accounts.check(&Attempt { name, password: &password, client }).await
}

/// Sends one answer and takes what became of it.
async fn outcome(answer: String) -> Result<Result<Account, Refused>, AccountsUnavailable> {
    let (port, _told) = service(answer.leak());
    login(&accounts(port, ""), "alice", "secret").await
}

fn response(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

#[tokio::test]
async fn a_success_becomes_claims() {
    let body = r#"{"token":"theirs","user":{"id":42,"roles":["admin"],"can":"x","email":"a@b"}}"#;
    for status in ["200 OK", "201 Created"] {
        let account = outcome(response(status, body)).await.unwrap().unwrap();
        assert_eq!((account.name.as_str(), account.subject.as_str()), ("alice", "42"));
        assert_eq!((account.roles, account.permissions), (vec!["admin".into()], vec!["x".into()]));
        assert_eq!(Value::from(account.claims), json!({"email": "a@b"}));
    }
    let bare = outcome(response("200 OK", r#"{"user":{"id":"u1"}}"#)).await.unwrap().unwrap();
    assert_eq!((bare.subject.as_str(), bare.roles.len(), bare.claims.len()), ("u1", 0, 0));
}

#[tokio::test]
async fn other_answers() {
    let refused = Ok(Err(Refused::Upstream));
    for status in ["400 Bad Request", "401 Unauthorized", "403 Forbidden", "422 Unprocessable"] {
        assert_eq!(outcome(response(status, "{}")).await, refused, "{status}");
    }
    let unreachable = Err(AccountsUnavailable::Unreachable);
    let user = r#"{"user":{"id":"u1"}}"#;
    let big = format!("{{\"user\":{{\"id\":\"u1\"}},\"x\":\"{}\"}}", "x".repeat(300_000));
    for answer in [
        response("500 Internal Server Error", user),
        response("503 Service Unavailable", user),
        response("404 Not Found", user),
        response("405 Method Not Allowed", user),
        response("429 Too Many Requests", user),
        response("302 Found\r\nlocation: /elsewhere", user),
        response("204 No Content", ""),
        response("200 OK", ""),
        response("200 OK", "<html>"),
        response("200 OK", "[]"),
        response("200 OK", r#"{"user":{}}"#),
        response("200 OK", r#"{"user":{"id":null}}"#),
        response("200 OK", r#"{"user":{"id":true}}"#),
        response("200 OK", r#"{"user":{"id":1.5}}"#),
        response("200 OK", r#"{"user":{"id":""}}"#),
        response("200 OK", r#"{"user":{"id":"client:billing"}}"#),
        response("200 OK", r#"{"user":{"id":"a\nb"}}"#),
        response("200 OK", r#"{"user":{"id":"u1","roles":[1]}}"#),
        response("200 OK", r#"{"user":{"id":"u1","roles":{"admin":true}}}"#),
        response("200 OK", r#"{"user":{"id":"u1","roles":["a\u0000"]}}"#),
        response("200 OK\r\ncontent-encoding: gzip", user),
        response("200 OK", &big),
        "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{".to_owned(),
        "garbage\r\n\r\n".to_owned(),
        String::new(),
    ] {
        let shown: String = answer.chars().take(90).collect();
        assert_eq!(outcome(answer).await, unreachable, "{shown}");
    }
    // Nobody listens.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    assert_eq!(login(&accounts(port, ""), "alice", "secret").await, unreachable);
}

#[tokio::test]
async fn what_the_service_is_sent() {
    let (port, told) = service("HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n");
    let hostile = "s\"ec\\ret\u{1f511}\r\nX: y";
    drop(login(&accounts(port, ""), "a\"b", hostile).await);
    let asked = told.recv().unwrap();
    let (head, body) = asked.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("POST /api/login?x=1 HTTP/1.1\r\n"), "{head}");
    let has = |line: &str| head.lines().any(|found| found.eq_ignore_ascii_case(line));
    assert!(has("x-forwarded-for: 203.0.113.9") && has("content-type: application/json"), "{head}");
    let body: Value = serde_json::from_str(body).unwrap();
    assert_eq!(body, json!({"username": "a\"b", "password": hostile}));
    let more = ", fields = { username = \"email\", password = \"pass\" }";
    drop(login(&accounts(port, more), "alice", "secret").await);
    let asked = told.recv().unwrap();
    assert!(
        asked.ends_with(
            r#"{"email":"alice","password":"secret"}"#.replace("\"password\"", "\"pass\"").as_str()
        ),
        "{asked}"
    );
    // What is no name or no password is sent to nobody.
    for (name, password) in
        [("", "x"), ("client:x", "x"), ("a\0", "x"), ("alice", ""), ("alice", "\0")]
    {
        let refused = login(&accounts(port, ""), name, password).await;
        assert_eq!(refused, Ok(Err(Refused::Upstream)), "{name:?}");
    }
    assert!(told.try_recv().is_err());
}

/// Once, whatever happens: a second try would count twice where failures are counted.
#[tokio::test]
async fn a_password_is_sent_once() {
    let (port, told) = service("");
    let outcome = login(&accounts(port, ""), "alice", "secret").await;
    assert_eq!(outcome, Err(AccountsUnavailable::Unreachable));
    assert!(told.recv().is_ok() && told.try_recv().is_err());
}

#[tokio::test]
async fn nobody_can_be_looked_up() {
    let accounts = accounts(1, "");
    assert_eq!(accounts.look_up("alice", "42").await, Ok(LookedUp::AsAtLogin));
    assert!(!accounts.reload().unwrap());
}
