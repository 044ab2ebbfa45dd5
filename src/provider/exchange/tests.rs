//! What a hostile, broken or misplaced provider can send, and what comes of it.

use std::time::Instant as StdInstant;

use super::*;
use crate::provider::scripted::{Act, Server, client_of, hasty, ok, ok_with, reach};

const MAX: usize = 1000;

async fn fetch(server: &Server, path: &str) -> Result<Answer, ExchangeError> {
    get(&server.url(path), &reach(), MAX).await
}

/// What comes of one answer, the connection being closed after it.
async fn outcome(answer: impl Into<String>) -> Result<Answer, Cause> {
    let answer = answer.into();
    let server = Server::start(move |_, _| Act::Finish(answer.clone())).await;
    fetch(&server, "/jwks").await.map_err(|error| error.cause)
}

#[tokio::test]
async fn a_document_is_fetched_whatever_its_content_type() {
    let server =
        Server::start(|_, _| Act::Say(ok_with("content-type: text/plain\r\n", "{}"))).await;
    let answer = fetch(&server, "/jwks?tenant=a").await.unwrap();
    assert_eq!((answer.status, &*answer.body), (StatusCode::OK, &b"{}"[..]));
    assert_eq!(answer.url, server.url("/jwks?tenant=a"));
    let [request] = server.requests().try_into().unwrap();
    let host = format!("host: localhost:{}\r\n", server.address.port());
    let agent = concat!("user-agent: postern/", env!("CARGO_PKG_VERSION"), "\r\n");
    assert!(request.starts_with("GET /jwks?tenant=a HTTP/1.1\r\n"), "{request}");
    for field in [&host, agent, "accept-encoding: identity\r\n", "accept: application/json,"] {
        assert!(request.contains(field), "{field} in {request}");
    }
}

#[tokio::test]
async fn bodies_of_every_framing_are_read_to_their_end() {
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{\"\r\n3\r\na\":\r\n\
                   2\r\n1}\r\n0\r\n\r\n";
    assert_eq!(outcome(chunked).await.unwrap().body, b"{\"a\":1}");
    let until_close = "HTTP/1.1 200 OK\r\n\r\n{\"a\":2}";
    assert_eq!(outcome(until_close).await.unwrap().body, b"{\"a\":2}");
    let interim = format!("HTTP/1.1 103 Early Hints\r\n\r\n{}", ok("{}"));
    assert_eq!(outcome(interim).await.unwrap().body, b"{}");
    let plain = ok_with("content-encoding: identity\r\n", "{}");
    assert_eq!(outcome(plain).await.unwrap().body, b"{}");
    let large_head = format!("{}a: {}\r\n", "x: y\r\n".repeat(98), "z".repeat(31 * 1024));
    assert_eq!(outcome(ok_with(&large_head, "{}")).await.unwrap().body, b"{}");
    let largest = outcome(ok(&"x".repeat(MAX))).await.unwrap();
    assert_eq!(largest.body.len(), MAX);
}

#[tokio::test]
async fn every_other_status_is_an_error() {
    for status in ["204", "206", "300", "304", "400", "401", "403", "404", "429", "500", "503"] {
        let answer = format!("HTTP/1.1 {status} x\r\ncontent-length: 0\r\n\r\n");
        let cause = outcome(answer).await.unwrap_err();
        let Cause::Status(found) = cause else { panic!("{status}: {cause}") };
        assert_eq!(found.as_str(), status);
    }
}

#[tokio::test]
async fn too_large_is_refused_early_and_late() {
    // By its own word, before a byte of it is there.
    let announced = "HTTP/1.1 200 OK\r\ncontent-length: 1001\r\n\r\n";
    let server = Server::start(move |_, _| Act::Hang(announced.into())).await;
    let cause = fetch(&server, "/").await.unwrap_err().cause;
    assert!(matches!(cause, Cause::TooLarge(MAX)), "{cause}");
    // While it streams without end.
    let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    let endless = format!("{head}{}", format!("c8\r\n{}\r\n", "x".repeat(200)).repeat(6));
    let server = Server::start(move |_, _| Act::Hang(endless.clone())).await;
    let cause = fetch(&server, "/").await.unwrap_err().cause;
    assert!(matches!(cause, Cause::TooLarge(MAX)), "{cause}");
    let until_close = format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(MAX + 1));
    assert!(matches!(outcome(until_close).await, Err(Cause::TooLarge(MAX))));
    let absurd = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", u64::MAX - 2);
    assert!(matches!(outcome(absurd).await, Err(Cause::TooLarge(MAX))));
}

#[tokio::test]
async fn what_is_not_one_complete_response_is_refused() {
    let rows = [
        ("nothing", String::new()),
        ("not HTTP", "SSH-2.0-OpenSSH_9.9\r\n".into()),
        ("HTTP/0.9", "{\"keys\":[]}".into()),
        ("HTTP/2 preface", "HTTP/2.0 200 OK\r\n\r\n".into()),
        ("half a head", "HTTP/1.1 200 OK\r\ncontent-le".into()),
        ("short of Content-Length", "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{}".into()),
        ("cut chunk", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\n{}".into()),
        (
            "no last chunk",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n".into(),
        ),
        (
            "two lengths (RFC 9112 section 6.3)",
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{} ".into(),
        ),
        ("head over 32 KiB", ok_with(&format!("x: {}\r\n", "y".repeat(33 * 1024)), "{}")),
        ("over 100 fields", ok_with(&"x: y\r\n".repeat(101), "{}")),
        ("interim without end", "HTTP/1.1 100 Continue\r\n\r\n".repeat(50)),
    ];
    for (what, answer) in rows {
        let outcome = outcome(answer).await;
        assert!(matches!(outcome, Err(Cause::Incomplete(_))), "{what}: {outcome:?}");
    }
    let switched = outcome("HTTP/1.1 101 x\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n").await;
    assert!(matches!(switched, Err(Cause::Status(_))), "{switched:?}");
}

#[tokio::test]
async fn compressed_answers_are_refused() {
    for encoding in ["gzip", "br", "identity, gzip", "x"] {
        let outcome = outcome(ok_with(&format!("content-encoding: {encoding}\r\n"), "{}")).await;
        assert!(matches!(outcome, Err(Cause::Encoding)), "{encoding}: {outcome:?}");
    }
}

/// One deadline around everything: however the time is spent, it ends.
#[tokio::test]
async fn slowness_ends_with_the_timeout() {
    let head = "HTTP/1.1 200 OK\r\ncontent-length: 900\r\n\r\n";
    let rows = [
        ("no answer", Server::start(|_, _| Act::Hang(String::new())).await),
        ("a head byte by byte", Server::start(|_, _| Act::Trickle("HTTP/1.1 200 OK\r\nx: ")).await),
        ("a body that stops", Server::start(move |_, _| Act::Hang(head.into())).await),
        ("interim for ever", Server::start(|_, _| Act::Trickle("HTTP/1.1 100 x\r\n\r\n")).await),
        (
            "redirects, each in time",
            Server::start(|_, _| {
                let moved = "HTTP/1.1 302 x\r\nlocation: /x\r\ncontent-length: 0\r\n\r\n";
                Act::Late(Duration::from_millis(120), moved.into())
            })
            .await,
        ),
    ];
    for (what, server) in rows {
        let start = StdInstant::now();
        let error = get(&server.url("/x"), &hasty(), MAX).await.unwrap_err();
        assert!(matches!(error.cause, Cause::Timeout(_)), "{what}: {error}");
        assert!(start.elapsed() < Duration::from_secs(3), "{what}");
        assert!(error.to_string().ends_with("or `timeout` too short?"), "{error}");
    }
    // Nobody takes the connection up: TCP is there, TLS never comes.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://localhost:{}/", listener.local_addr().unwrap().port());
    let error = get(&url.parse().unwrap(), &hasty(), MAX).await.unwrap_err();
    assert!(matches!(error.cause, Cause::Timeout(_)), "{error}");
}

fn moved(status: u16, location: &str) -> String {
    format!("HTTP/1.1 {status} x\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n")
}

#[tokio::test]
async fn redirects_on_the_same_server_are_followed_three_times() {
    for status in [301, 302, 303, 307, 308] {
        let server = Server::start(move |request, number| match number {
            1 => Act::Finish(moved(status, "/a/b")),
            2 => Act::Finish(moved(status, "c?d=1")),
            3 => {
                let host = request.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
                Act::Finish(moved(status, &format!("http://{host}/end")))
            }
            _ => Act::Finish(ok("{}")),
        })
        .await;
        let answer = fetch(&server, "/start").await.unwrap();
        assert_eq!(answer.url, server.url("/end"), "{status}");
        let asked: Vec<String> =
            server.requests().iter().map(|r| r.lines().next().unwrap().to_owned()).collect();
        let paths = ["/start", "/a/b", "/a/c?d=1", "/end"].map(|p| format!("GET {p} HTTP/1.1"));
        assert_eq!(asked, paths, "{status}");
    }
    let server = Server::start(|_, _| Act::Finish(moved(302, "/again"))).await;
    let cause = fetch(&server, "/").await.unwrap_err().cause;
    assert!(matches!(&cause, Cause::Redirect(_)), "{cause}");
    assert_eq!(server.requests().len(), 4);
}

/// A redirect is the classic way from an allowed URL to a forbidden one (SSRF).
#[tokio::test]
async fn redirects_elsewhere_are_refused_and_name_the_host() {
    let other = Server::start(|_, _| Act::Finish(ok("{}"))).await;
    let other_port = format!("http://localhost:{}/jwks?secret=1", other.address.port());
    let rows = [
        ("https://evil.example/jwks?secret=1", "https://evil.example"),
        ("//evil.example/jwks", "http://evil.example"),
        ("http://169.254.169.254/latest/meta-data", "http://169.254.169.254"),
        (&other_port, &format!("localhost:{}", other.address.port())),
        ("http://127.0.0.1/", "http://127.0.0.1"),
        ("https://localhost/", "https://localhost"),
        ("file:///etc/passwd", "file://"),
        ("javascript:alert(1)", "javascript://"),
        ("http://[/", "what is no URL"),
    ];
    for (location, shown) in rows {
        let answer = moved(302, location);
        let server = Server::start(move |_, _| Act::Finish(answer.clone())).await;
        let error = fetch(&server, "/jwks").await.unwrap_err();
        assert!(matches!(error.cause, Cause::Redirect(_)), "{location}: {error}");
        let text = error.to_string();
        assert!(text.contains(shown) && !text.contains("secret"), "{location}: {text}");
        assert_eq!(server.requests().len(), 1, "{location}");
    }
    assert_eq!(other.connections(), 0);
    for fields in ["", "location: /a\r\nlocation: /b\r\n", "location: /\u{ff}\r\n"] {
        let answer = format!("HTTP/1.1 302 x\r\n{fields}content-length: 0\r\n\r\n");
        let outcome = outcome(answer).await;
        assert!(matches!(outcome, Err(Cause::Redirect(_))), "{fields:?}: {outcome:?}");
    }
    for (part, location) in [("user", "http://user@localhost"), ("#", "/jwks#x")] {
        let server = Server::start(move |request, _| {
            let host = request.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
            let port = host.rsplit(':').next().unwrap();
            let path = if location.starts_with('/') { "" } else { &format!(":{port}/") };
            Act::Finish(moved(302, &format!("{location}{path}")))
        })
        .await;
        let cause = fetch(&server, "/").await.unwrap_err().cause;
        assert!(matches!(cause, Cause::Url(_)), "{part}: {cause}");
        assert_eq!(server.requests().len(), 1);
    }
}

#[tokio::test]
async fn urls_that_carry_more_than_a_place_are_refused() {
    let rows = [
        ("https://user:hunter2@idp.example/", "user or password"),
        ("https://user@idp.example/", "user or password"),
        ("https://idp.example/#x", "fragment"),
        ("ftp://idp.example/", "https://"),
        ("file:///etc/passwd", "https://"),
    ];
    for (url, why) in rows {
        let error = get(&url.parse().unwrap(), &reach(), MAX).await.unwrap_err();
        let text = error.to_string();
        assert!(matches!(error.cause, Cause::Url(_)) && text.contains(why), "{url}: {text}");
        assert!(!text.contains("hunter2") && !text.contains("user@"), "{text}");
    }
    // Refused without a packet: 10.0.0.1 would not answer within the time.
    let error = get(&"https://10.0.0.1/x?y".parse().unwrap(), &reach(), MAX).await.unwrap_err();
    assert!(matches!(error.cause, Cause::Address(AddressError::Refused { .. })), "{error}");
    assert!(error.to_string().starts_with("https://10.0.0.1/x: the host 10.0.0.1"), "{error}");
    let error = get(&"http://8.8.8.8/".parse().unwrap(), &reach(), MAX).await.unwrap_err();
    assert!(matches!(error.cause, Cause::Address(AddressError::PlainHttp { .. })), "{error}");
}

#[tokio::test]
async fn freshness_is_read_from_cache_control_less_age() {
    let rows = [
        ("", None),
        ("cache-control: max-age=300\r\n", Some(300)),
        ("cache-control: public, max-age=21600, must-revalidate\r\n", Some(21600)),
        ("cache-control: public\r\ncache-control: max-age=60\r\n", Some(60)),
        ("cache-control: max-age=300\r\nage: 100\r\n", Some(200)),
        ("cache-control: max-age=300\r\nage: 301\r\n", Some(0)),
        ("cache-control: max-age=300\r\nage: x\r\n", Some(300)),
        ("cache-control: no-store\r\n", Some(0)),
        ("cache-control: no-cache, max-age=300\r\n", Some(0)),
        ("cache-control: public\r\n", None),
        ("cache-control: max-age=-1\r\n", None),
        ("cache-control: max-age=x\r\n", None),
        ("age: 100\r\n", None),
    ];
    for (fields, seconds) in rows {
        let max_age = outcome(ok_with(fields, "{}")).await.unwrap().max_age;
        assert_eq!(max_age, seconds.map(Duration::from_secs), "{fields:?}");
    }
}

#[tokio::test]
async fn https_needs_a_certificate_of_the_trusted_authority_for_the_host() {
    let script = |_: &str, _: usize| Act::Finish(ok("{}"));
    let good = Server::start_tls("localhost", script).await;
    assert_eq!(fetch(&good, "/").await.unwrap().body, b"{}");

    let stranger = Reach { tls: client_of(rustls::RootCertStore::empty()), ..reach() };
    let error = get(&good.url("/"), &stranger, MAX).await.unwrap_err();
    assert!(matches!(error.cause, Cause::Tls(_)), "{error}");
    assert!(error.to_string().contains("needs `ca`"), "{error}");

    let wrong_name = Server::start_tls("idp.example", script).await;
    let error = fetch(&wrong_name, "/").await.unwrap_err();
    assert!(matches!(error.cause, Cause::Tls(_)), "{error}");

    let plain = Server::start(script).await;
    let url = format!("https://localhost:{}/", plain.address.port()).parse().unwrap();
    let error = get(&url, &hasty(), MAX).await.unwrap_err();
    assert!(matches!(error.cause, Cause::Tls(_) | Cause::Timeout(_)), "{error}");
}

/// Truncation attack (RFC 8446 section 6.1): whoever cuts the wire must not choose where a body
/// without a length ends.
#[tokio::test]
async fn a_body_that_ends_without_close_notify_is_refused() {
    let head = "HTTP/1.1 200 OK\r\n\r\n{}";
    let whole = Server::start_tls("localhost", move |_, _| Act::Finish(head.into())).await;
    assert_eq!(fetch(&whole, "/").await.unwrap().body, b"{}");
    let cut = Server::start_tls("localhost", move |_, _| Act::Break(head.into())).await;
    let cause = fetch(&cut, "/").await.unwrap_err().cause;
    assert!(matches!(cause, Cause::Incomplete(_)), "{cause}");
}

#[tokio::test]
async fn errors_name_the_place_without_its_query_and_leave_nothing_open() {
    let server = Server::start(|_, _| Act::Hang("HTTP/1.1 500 x\r\n\r\n<secret>".into())).await;
    let error = fetch(&server, "/a/b?token=secret").await.unwrap_err();
    let port = server.address.port();
    let status = "status 500 Internal Server Error where 200 is expected";
    assert_eq!(error.to_string(), format!("http://localhost:{port}/a/b: {status}"));
    for _ in 0..200 {
        if server.open() == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("a connection stayed open");
}

#[test]
fn words_of_strangers_are_clipped_and_escaped() {
    assert_eq!(clipped("a\"b\r\n\u{1b}[31m\u{202e}é"), r#"a\"b\r\n\u{1b}[31m\u{202e}\u{e9}"#);
    assert_eq!(clipped(&"k".repeat(1000)).chars().count(), QUOTED_CHARS_MAX + 1);
    let long = format!("https://idp.example/{}", "p".repeat(5000)).parse().unwrap();
    assert_eq!(place(&long).chars().count(), 301);
    for (html, text) in [(true, "<!DOCTYPE html>"), (true, " \r\n<html>"), (false, "{\"a\":\"<\"}")]
    {
        assert_eq!(is_html(text.as_bytes()), html, "{text}");
    }
}
