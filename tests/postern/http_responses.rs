//! Answers of an upstream that is broken or hostile (R34; RFC 9112 §6.3, §8): the client gets 502
//! or a connection that ends visibly early, never an answer that looks whole and is not, and never
//! a byte that belongs to somebody else's answer.

use std::io::Write;
use std::net::Shutdown;
use std::time::Duration;

use crate::harness::each;
use crate::harness::gateway::Gateway;
use crate::harness::setup::Setup;
use crate::harness::upstream::{After, Upstream, reply};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Must {
    /// 502.
    Refuse,
    /// 502, or an answer in normal form with exactly the body `ok`.
    RefuseOrNormalise,
    /// 502, or a connection that is cut before the answer is whole.
    Cut,
}
use Must::{Cut, Refuse, RefuseOrNormalise};

/// Source, what to do, and what the upstream sends before it closes.
const ANSWERS: &[(&str, Must, &str)] = &[
    ("closes without an answer", Refuse, ""),
    ("half a status line", Refuse, "HTTP/1."),
    ("half a head", Refuse, "HTTP/1.1 200 OK\r\nContent-"),
    ("no HTTP at all", Refuse, "SSH-2.0-OpenSSH_9.2\r\n"),
    ("RFC 9112 §2.3 version", Refuse, "HTTP/3.7 200 OK\r\nContent-Length: 2\r\n\r\nok"),
    ("RFC 9112 §4 status text", Refuse, "HTTP/1.1 abc OK\r\nContent-Length: 2\r\n\r\nok"),
    ("RFC 9112 §4 status of two digits", Refuse, "HTTP/1.1 20 OK\r\nContent-Length: 2\r\n\r\nok"),
    (
        "RFC 9112 §6.3 CL and TE",
        RefuseOrNormalise,
        "HTTP/1.1 200 OK\r\nContent-Length: 12\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    ),
    (
        "RFC 9112 §6.3 a shorter CL beside TE",
        RefuseOrNormalise,
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    ),
    (
        "RFC 9112 §6.3 two lengths",
        Refuse,
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 4\r\n\r\nokno",
    ),
    (
        "RFC 9112 §6.3 equal lengths",
        RefuseOrNormalise,
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok",
    ),
    ("RFC 9110 §8.6 plus", Refuse, "HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok"),
    ("RFC 9110 §8.6 text", Refuse, "HTTP/1.1 200 OK\r\nContent-Length: two\r\n\r\nok"),
    (
        "RFC 9110 §8.6 overflow",
        Refuse,
        "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\nok",
    ),
    ("RFC 9110 §5.5 NUL", Refuse, "HTTP/1.1 200 OK\r\nX: a\x00b\r\nContent-Length: 2\r\n\r\nok"),
    ("RFC 9110 §5.6.2 name", Refuse, "HTTP/1.1 200 OK\r\nX(a: b\r\nContent-Length: 2\r\n\r\nok"),
    ("empty name", Refuse, "HTTP/1.1 200 OK\r\n: b\r\nContent-Length: 2\r\n\r\nok"),
    ("no colon", Refuse, "HTTP/1.1 200 OK\r\nContent-Length 2\r\n\r\nok"),
    (
        "RFC 9110 §15.2.2 unsolicited 101",
        Refuse,
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\nok",
    ),
    ("RFC 9112 §6.3 body too short", Cut, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nok"),
    (
        "RFC 9112 §7.1 no last chunk",
        Cut,
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n",
    ),
    (
        "RFC 9112 §7.1 half a chunk",
        Cut,
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nok",
    ),
    (
        "RFC 9112 §7.1 bad size",
        Cut,
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxx\r\nok\r\n0\r\n\r\n",
    ),
    (
        "RFC 9112 §7.1 long data",
        Cut,
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nok\r\n0\r\n\r\n",
    ),
    (
        "RFC 9112 §7.1 overflow",
        Cut,
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000002\r\nok\r\n0\r\n\r\n",
    ),
];

#[test]
fn broken_answers() {
    each(ANSWERS, |(source, must, bytes)| {
        let app = Upstream::raw(*bytes);
        let gateway = Gateway::standard(&app);
        let answer = gateway.get("/public/x").try_send();
        match answer {
            Ok(answer) if answer.status == 502 => drop(answer.refused(502)),
            Ok(answer) => {
                assert!(*must == RefuseOrNormalise, "{source}: {answer:?}");
                assert_eq!((answer.status, answer.text().as_str()), (200, "ok"), "{source}");
            }
            Err(why) => assert!(*must == Cut, "{source}: {why}"),
        }
    });
}

#[test]
fn a_reset_in_the_middle_of_a_body_is_visible() {
    let app = Upstream::with(|_, stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nstart").unwrap();
        std::thread::sleep(Duration::from_millis(100));
        let socket = socket2::SockRef::from(&*stream);
        socket.set_linger(Some(Duration::ZERO)).unwrap();
        stream.shutdown(Shutdown::Both).unwrap();
        After::Close
    });
    let gateway = Gateway::standard(&app);
    let answer = gateway.get("/public/x").try_send();
    assert!(answer.is_err(), "{answer:?}");
}

#[test]
fn heads_of_64_kib_are_refused_and_do_no_harm() {
    let app = Upstream::with(|seen, stream| {
        if seen.target.ends_with("/big") {
            let big = "x".repeat(64 * 1024);
            reply(stream, "200 OK", &[("X-Big", &big)], "ok");
        } else {
            reply(stream, "200 OK", &[], "ok");
        }
        After::Keep
    });
    let gateway = Gateway::standard(&app);
    gateway.get("/public/big").send().refused(502);
    gateway.get("/public/small").send().expect(200);
}

/// What comes after an answer belongs to nobody (R34).
#[test]
fn bytes_after_an_answer_reach_no_other_client() {
    let app = Upstream::with(|seen, stream| {
        let poison = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\nX-Poison: 1\r\n\r\npoison";
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood{poison}");
        let plain = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood";
        let bytes = if seen.target.ends_with("/first") { answer.as_str() } else { plain };
        drop(stream.write_all(bytes.as_bytes()));
        After::Keep
    });
    let gateway = Gateway::start(&Setup::standard(&app).env("POSTERN_WORKERS", "1"));
    for _ in 0..10 {
        gateway.get("/public/first").send();
        for _ in 0..3 {
            let answer = gateway.get("/public/next").send();
            assert_eq!(answer.header("x-poison"), None);
            assert!(answer.status == 502 || answer.text() == "good", "{answer:?}");
        }
    }
}

/// A body on an answer that can have none (HEAD, 304) is the next answer's poison.
#[test]
fn bodies_where_none_belong_reach_no_other_client() {
    let app = Upstream::with(|seen, stream| {
        let poison = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\nX-Poison: 1\r\n\r\npoison";
        let bytes = match (seen.method.as_str(), seen.target.as_str()) {
            ("HEAD", _) => format!("HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{poison}"),
            (_, "/public/304") => format!("HTTP/1.1 304 Not Modified\r\n\r\n{poison}"),
            _ => "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood".to_owned(),
        };
        drop(stream.write_all(bytes.as_bytes()));
        After::Keep
    });
    let gateway = Gateway::start(&Setup::standard(&app).env("POSTERN_WORKERS", "1"));
    for (method, path) in [("HEAD", "/public/x"), ("GET", "/public/304")] {
        for _ in 0..5 {
            gateway.request(method, path).send();
            let answer = gateway.get("/public/next").send();
            assert_eq!(answer.header("x-poison"), None, "{method}");
            assert!(answer.status == 502 || answer.text() == "good", "{answer:?}");
        }
    }
}

#[test]
fn an_upstream_that_stalls_in_the_body_is_cut_off() {
    let app = Upstream::with(|_, stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nok").unwrap();
        std::thread::sleep(Duration::from_secs(8));
        After::Close
    });
    let gateway = Gateway::start(&Setup::standard(&app).set("timeouts", "body_idle", "\"500ms\""));
    let start = std::time::Instant::now();
    assert!(gateway.get("/public/x").try_send().is_err());
    assert!(start.elapsed() < Duration::from_secs(6), "{:?}", start.elapsed());
}
