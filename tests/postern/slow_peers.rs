//! Peers that are slow or vanish (R37): each stage has its own end, and others do not wait.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::harness::gateway::Gateway;
use crate::harness::setup::{HOST, Setup};
use crate::harness::upstream::Upstream;

/// Generous: the timeouts below are one second.
const SOON: Duration = Duration::from_secs(6);

fn impatient(app: &Upstream) -> Gateway {
    let mut setup = Setup::standard(app);
    for name in ["handshake", "header", "body_idle", "keep_alive"] {
        setup = setup.set("timeouts", name, "\"1s\"");
    }
    Gateway::start(&setup)
}

#[test]
fn a_client_that_never_starts_tls() {
    let app = Upstream::start();
    let gateway = impatient(&app);
    let mut tcp = TcpStream::connect(gateway.address("https")).unwrap();
    tcp.set_read_timeout(Some(SOON)).unwrap();
    let start = Instant::now();
    assert!(matches!(tcp.read(&mut [0; 16]), Ok(0..=7) | Err(_)));
    assert!(start.elapsed() < SOON, "closed by the gateway");
}

#[test]
fn a_client_that_sends_one_byte_at_a_time() {
    let app = Upstream::start();
    let gateway = impatient(&app);
    let mut connection = gateway.https().connect();
    let start = Instant::now();
    for byte in
        format!("GET /public/x HTTP/1.1\r\nHost: {HOST}\r\nX-Slow: {}", "a".repeat(100)).bytes()
    {
        if connection.try_write(&[byte]).is_err() || start.elapsed() > SOON {
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(connection.closes_within(SOON));
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    app.saw_nothing("half a head");
}

#[test]
fn a_body_that_stops_coming() {
    let app = Upstream::start();
    let gateway = impatient(&app);
    let mut connection = gateway.https().connect();
    let head =
        format!("POST /public/x HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 100\r\n\r\nstart");
    connection.write(head.as_bytes());
    let start = Instant::now();
    if let Ok(answer) = connection.try_answer("POST") {
        answer.refused(408);
    }
    assert!(connection.closes_within(SOON));
    assert!(start.elapsed() < SOON * 2, "{:?}", start.elapsed());
    assert!(app.seen().iter().all(|seen| !seen.complete), "never looks complete");
}

#[test]
fn a_connection_that_idles() {
    let app = Upstream::start();
    let gateway = impatient(&app);
    let mut connection = gateway.https().connect();
    gateway.get("/public/x").on(&mut connection).unwrap().expect(200);
    assert!(connection.closes_within(SOON));
}

/// HTTP/2 connections end idle as well, and a header block must arrive in time.
#[test]
fn http_2_connections_that_idle() {
    let app = Upstream::start();
    let gateway = impatient(&app);
    let mut silent = crate::harness::h2::Frames::connect(gateway.address("https"), HOST);
    assert!(silent.closes_within(SOON * 2), "an idle connection");
    let mut half = crate::harness::h2::Frames::connect(gateway.address("https"), HOST);
    let block = crate::harness::h2::hpack(&[(":method", "GET")]);
    half.write(crate::harness::h2::kind::HEADERS, 1, 1, &block);
    assert!(half.closes_within(SOON * 2), "half a header block");
}

/// A slow body is fine as long as it moves.
#[test]
fn a_slow_body_that_moves() {
    let app = Upstream::start();
    let gateway = impatient(&app);
    let mut connection = gateway.https().connect();
    let head = format!("POST /public/x HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 5\r\n\r\n");
    connection.write(head.as_bytes());
    for byte in b"hello" {
        std::thread::sleep(Duration::from_millis(400));
        connection.write(&[*byte]);
    }
    connection.answer("POST").expect(200);
    assert_eq!(app.last().body, b"hello");
}

#[test]
fn clients_that_vanish_leave_nothing_behind() {
    let app = Upstream::start();
    let gateway = impatient(&app);
    let files = |gateway: &Gateway| {
        std::fs::read_dir(format!("/proc/{}/fd", gateway.pid())).map_or(0, Iterator::count)
    };
    let before = files(&gateway);
    for n in 0..200 {
        let mut connection = gateway.https().connect();
        let head =
            format!("POST /public/x HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 100\r\n\r\nstart");
        let part = &head.as_bytes()[..head.len() * (n % 4) / 3];
        connection.write(part);
        connection.vanish();
    }
    let mut raw = TcpStream::connect(gateway.address("https")).unwrap();
    raw.write_all(b"\x16\x03\x01").unwrap();
    drop(raw);
    crate::harness::soon("their connections are gone", || files(&gateway) <= before + 20);
    gateway.get("/public/x").send().expect(200);
}
