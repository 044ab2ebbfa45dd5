//! Two GiB up and two GiB down, each at a flat resident size. Run by `tests/extended.sh`.

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::harness::gateway::Gateway;
use crate::harness::setup::{HOST, Setup};
use crate::harness::upstream::{After, Seen, Upstream, reply};

const SIZE: u64 = 2 * 1024 * 1024 * 1024;
const BLOCK: usize = 1024 * 1024;
/// How far the resident size may move while two GiB pass.
const FLAT_KIB: u64 = 16 * 1024;

fn serve(seen: &Seen, stream: &mut TcpStream) -> After {
    if seen.method == "GET" {
        let block = vec![b'x'; BLOCK];
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n");
        let blocks = SIZE / BLOCK as u64;
        let sent = stream.write_all(head.as_bytes()).is_ok()
            && (0..blocks).all(|_| stream.write_all(&block).is_ok());
        return if sent { After::Keep } else { After::Close };
    }
    let mut left = SIZE - seen.body.len() as u64;
    let mut block = vec![0; BLOCK];
    while left > 0 {
        match stream.read(&mut block) {
            Ok(n) if n > 0 => left -= n as u64,
            _ => return After::Close,
        }
    }
    reply(stream, "200 OK", &[], "all of it");
    After::Close
}

fn gateway(app: &Upstream) -> Gateway {
    let gateway = Gateway::start(&Setup::standard(app).set("limits", "body_bytes", "\"off\""));
    // Every path that a first request opens is open before the size is read.
    gateway.get("/nowhere").send().refused(404);
    gateway
}

fn flat(gateway: &Gateway, before: u64, highest: u64) {
    println!("resident size: {before} KiB before, at most {highest} KiB");
    assert!(highest < before + FLAT_KIB, "{before} KiB before, {highest} KiB at most");
    assert!(gateway.resident_kib() < before + FLAT_KIB);
}

#[test]
#[ignore = "two GiB: tests/extended.sh"]
fn two_gib_up() {
    let app = Upstream::early(serve);
    let gateway = gateway(&app);
    let before = gateway.resident_kib();
    let mut highest = before;
    let mut connection = gateway.https().connect();
    let head = format!("POST /public/x HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {SIZE}\r\n\r\n");
    connection.try_write(head.as_bytes()).unwrap();
    let block = vec![b'x'; BLOCK];
    for n in 0..SIZE / BLOCK as u64 {
        connection.try_write(&block).unwrap();
        if n % 64 == 0 {
            highest = highest.max(gateway.resident_kib());
        }
    }
    assert_eq!(connection.answer("POST").expect(200).text(), "all of it");
    flat(&gateway, before, highest);
}

#[test]
#[ignore = "two GiB: tests/extended.sh"]
fn two_gib_down() {
    let app = Upstream::early(serve);
    let gateway = gateway(&app);
    let before = gateway.resident_kib();
    let (mut highest, mut got, mut reads) = (before, 0u64, 0u64);
    let mut connection = gateway.https().connect();
    connection.write(&gateway.get("/public/x").bytes());
    while got < SIZE {
        let some = connection.read_some().unwrap();
        assert!(!some.is_empty(), "cut off after {got} bytes");
        got += some.len() as u64;
        reads += 1;
        if reads.is_multiple_of(4096) {
            highest = highest.max(gateway.resident_kib());
        }
    }
    assert!(got < SIZE + 4096, "head and body, not {got} bytes");
    flat(&gateway, before, highest);
}
