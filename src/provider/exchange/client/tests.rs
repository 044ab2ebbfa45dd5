//! Kept connections: used again, given up in time, and never the reason for a wrong answer.

use super::*;
use crate::provider::scripted::{Act, Server, hasty, ok, ok_with, reach};

const MAX: usize = 1000;

fn form() -> Secret<String> {
    Secret::new("token=opaque-1&token_type_hint=access_token".to_owned())
}

async fn ask(client: &Client) -> Result<Answer, ExchangeError> {
    client.post_form(None, &form(), MAX).await
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..500 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{what}");
}

#[tokio::test]
async fn questions_share_a_connection() {
    for tls in [false, true] {
        let script = |_: &str, n: usize| Act::Say(ok(&format!("{{\"n\":{n}}}")));
        let server = match tls {
            true => Server::start_tls("localhost", script).await,
            false => Server::start(script).await,
        };
        let client = Client::new(server.url("/introspect"), reach());
        let basic = Secret::new("Basic Z2F0ZTpodW50ZXIy".to_owned());
        for n in 1..=3 {
            let answer = client.post_form(Some(&basic), &form(), MAX).await.unwrap();
            assert_eq!(answer.body, format!("{{\"n\":{n}}}").into_bytes());
        }
        assert_eq!((server.connections(), client.idle_connections()), (1, 1));
        let request = server.requests().remove(0);
        assert!(request.starts_with("POST /introspect HTTP/1.1\r\n"), "{request}");
        assert!(request.contains("content-type: application/x-www-form-urlencoded\r\n"));
        assert!(request.contains("authorization: Basic Z2F0ZTpodW50ZXIy\r\n"), "{request}");
        assert!(request.ends_with(&format!("\r\n\r\n{}", form().expose())), "{request}");
    }
}

/// The server closes after each answer without saying so, as one whose keep-alive ran out.
#[tokio::test]
async fn a_connection_that_died_idle_is_replaced_once() {
    let server = Server::start(|_, _| Act::Break(ok("{}"))).await;
    let client = Client::new(server.url("/"), reach());
    for n in 1..=5 {
        ask(&client).await.unwrap();
        assert_eq!(server.requests().len(), n);
    }
    // It takes the question and closes: asked once more, on a new connection, and no third time.
    let server = Server::start(|_, n| match n {
        1 | 3 => Act::Say(ok("{}")),
        _ => Act::Break(String::new()),
    })
    .await;
    let client = Client::new(server.url("/"), reach());
    ask(&client).await.unwrap();
    ask(&client).await.unwrap();
    assert_eq!((server.requests().len(), server.connections()), (3, 2));
    let error = ask(&client).await.unwrap_err();
    assert!(matches!(error.cause, Cause::Incomplete(_)), "{error}");
    assert_eq!((server.requests().len(), server.connections()), (5, 3));
}

#[tokio::test]
async fn connections_are_kept_only_as_long_as_the_server_says() {
    let never = [
        "connection: close\r\n",
        "keep-alive: timeout=0\r\n",
        "keep-alive: timeout=1\r\n",
        "keep-alive: max=100, timeout=1\r\n",
    ];
    for fields in never {
        let server = Server::start(move |_, _| Act::Say(ok_with(fields, "{}"))).await;
        let client = Client::new(server.url("/"), reach());
        ask(&client).await.unwrap();
        assert_eq!(client.idle_connections(), 0, "{fields}");
        until("closed", || server.open() == 0).await;
    }
    let times = [
        ("", 30),
        ("timeout=5", 4),
        ("timeout=5, max=1000", 4),
        ("timeout=99999999999", 30),
        ("timeout=x", 30),
    ];
    for (word, seconds) in times {
        let mut headers = HeaderMap::new();
        headers.insert("keep-alive", word.parse().unwrap());
        assert_eq!(idle_time(&headers), Duration::from_secs(seconds), "{word}");
    }
}

/// Nobody asks any more: the connection is closed all the same, and the task ends.
#[tokio::test]
async fn idle_connections_are_closed_without_another_question() {
    let script = |_: &str, _: usize| Act::Say(ok_with("keep-alive: timeout=2\r\n", "{}"));
    let server = Server::start(script).await;
    let client = Client::new(server.url("/"), reach());
    for round in 1..=2 {
        ask(&client).await.unwrap();
        assert_eq!(client.idle_connections(), 1);
        until("closed", || server.open() == 0 && !client.shared.idle().swept).await;
        assert_eq!((client.idle_connections(), server.connections()), (0, round));
    }
    ask(&client).await.unwrap();
    drop(client);
    until("closed with the client", || server.open() == 0).await;
}

#[tokio::test]
async fn exchanges_and_idle_connections_are_bounded() {
    let script = |_: &str, _: usize| Act::Late(Duration::from_millis(50), ok("{}"));
    let server = Server::start(script).await;
    let client = Arc::new(Client::new(server.url("/"), reach()));
    let asked: Vec<_> = (0..150)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { ask(&client).await.map(|answer| answer.body) })
        })
        .collect();
    for task in asked {
        assert_eq!(task.await.unwrap().unwrap(), b"{}");
    }
    assert!(server.open_max() <= EXCHANGES_MAX + IDLE_MAX, "{}", server.open_max());
    assert_eq!(client.idle_connections(), IDLE_MAX);
    until("surplus connections are closed", || server.open() == IDLE_MAX).await;
}

#[tokio::test]
async fn whoever_gets_no_turn_in_time_is_told_so() {
    let server = Server::start(|_, _| Act::Say(ok("{}"))).await;
    let client = Client::new(server.url("/"), hasty());
    let all = client.shared.turns.acquire_many(EXCHANGES_MAX as u32).await.unwrap();
    let error = ask(&client).await.unwrap_err();
    assert!(matches!(error.cause, Cause::Busy(_)), "{error}");
    assert_eq!(server.connections(), 0);
    drop(all);
    ask(&client).await.unwrap();
}

#[tokio::test]
async fn an_answer_that_is_none_keeps_no_connection() {
    let rows: [(&str, Act); 4] = [
        ("401", Act::Say("HTTP/1.1 401 x\r\ncontent-length: 0\r\n\r\n".into())),
        // No redirect at all: it would take the client's secret along.
        ("302", Act::Say("HTTP/1.1 302 x\r\nlocation: /x\r\ncontent-length: 0\r\n\r\n".into())),
        ("large", Act::Say(ok(&"x".repeat(MAX + 1)))),
        ("slow", Act::Hang("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{".into())),
    ];
    for (what, act) in rows {
        let act = Mutex::new(Some(act));
        let server = Server::start(move |_, _| act.lock().unwrap().take().unwrap()).await;
        let client = Client::new(server.url("/x?key=hunter2"), hasty());
        let error = ask(&client).await.unwrap_err();
        let expected = match &error.cause {
            Cause::Status(status) => status.as_str(),
            Cause::TooLarge(_) => "large",
            Cause::Timeout(_) => "slow",
            other => panic!("{what}: {other}"),
        };
        assert_eq!(what, expected);
        assert!(!error.to_string().contains("hunter2") && !error.to_string().contains("opaque"));
        assert_eq!((client.idle_connections(), server.requests().len()), (0, 1), "{what}");
        until("closed", || server.open() == 0).await;
    }
    let client = Client::new("https://idp.example/".parse().unwrap(), hasty());
    let broken = Secret::new("Basic hunter2\r\nx: y".to_owned());
    let error = client.post_form(Some(&broken), &form(), MAX).await.unwrap_err();
    assert!(matches!(error.cause, Cause::Authorization), "{error}");
    assert!(!error.to_string().contains("hunter2"));
}

/// Bytes behind an answer must not become the answer to the next question (R34).
#[tokio::test]
async fn a_second_answer_that_nobody_asked_for_is_never_taken() {
    let server = Server::start(|_, n| match n {
        1 => Act::Say(ok("{\"n\":1}") + &ok("{\"active\":true}")),
        _ => Act::Say(ok("{\"n\":2}")),
    })
    .await;
    let client = Client::new(server.url("/"), reach());
    assert_eq!(ask(&client).await.unwrap().body, b"{\"n\":1}");
    assert_eq!(ask(&client).await.unwrap().body, b"{\"n\":2}");
    assert_eq!(server.connections(), 2);
}

/// Workers have runtimes of their own; a connection ends with the one that opened it.
#[tokio::test]
async fn a_client_serves_several_runtimes() {
    let server = Server::start(|_, _| Act::Say(ok("{}"))).await;
    let client = Arc::new(Client::new(server.url("/"), reach()));
    ask(&client).await.unwrap();
    for _ in 0..2 {
        let client = client.clone();
        let worker = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async {
                // Another runtime's connection serves too where there is none of one's own.
                ask(&client).await.unwrap();
                assert_eq!(client.idle_connections(), 1);
            });
        });
        tokio::task::spawn_blocking(move || worker.join().unwrap()).await.unwrap();
    }
    assert_eq!(server.connections(), 1);
    let another = client.clone();
    let worker = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let kept = another.shared.take().unwrap();
            ask(&another).await.unwrap();
            drop(kept);
        });
    });
    tokio::task::spawn_blocking(move || worker.join().unwrap()).await.unwrap();
    // What the ended runtime opened is dead; asking goes on.
    ask(&client).await.unwrap();
    ask(&client).await.unwrap();
    assert_eq!(server.connections(), 3);
}
