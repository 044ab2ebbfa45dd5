//! Explicit limits on everything a client can make large or many (R36, R39, invariant 8).

use std::io::Read;
use std::time::Duration;

use crate::harness::gateway::Gateway;
use crate::harness::keys::Key;
use crate::harness::setup::{HOST, Setup};
use crate::harness::soon;
use crate::harness::tokens::Token;
use crate::harness::upstream::{After, Upstream};

#[test]
fn sizes_of_the_head() {
    let app = Upstream::start();
    let gateway = Gateway::standard(&app);
    // Just inside.
    let path = |length: usize| format!("/public/{}", "a".repeat(length - "/public/".len()));
    gateway.get(&path(8 * 1024)).send().expect(200);
    gateway.get("/public/x").header("X-Big", &"a".repeat(24 * 1024)).send().expect(200);
    let mut request = gateway.get("/public/x");
    for n in 0..90 {
        request = request.header(&format!("X-{n}"), "1");
    }
    request.send().expect(200);
    app.forget();
    // And outside.
    gateway.get(&path(8 * 1024 + 1)).send().expect(414);
    gateway.get("/public/x").header("X-Big", &"a".repeat(33 * 1024)).send().expect(431);
    for n in 90..120 {
        request = request.header(&format!("X-{n}"), "1");
    }
    request.send().expect(431);
    let long = "a".repeat(9 * 1024);
    gateway.get("/api/x").bearer(&long).send().refused(400);
    app.saw_nothing("heads that are too big");
}

#[test]
fn sizes_of_the_body() {
    let app = Upstream::start();
    let setup = Setup::standard(&app)
        .set("limits", "body_bytes", "\"1KiB\"")
        .route("big", "path = \"/big\"\nauth = \"none\"\nbody_bytes = \"1MiB\"");
    let gateway = Gateway::start(&setup);
    gateway.post("/public/x").body(vec![b'x'; 1024]).send().expect(200);
    gateway.post("/big").body(vec![b'x'; 1024 * 1024]).send().expect(200);
    app.forget();
    // Content-Length tells: refused before a byte of the body was read.
    let mut connection = gateway.https().connect();
    let head = format!("POST /public/x HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 1025\r\n\r\n");
    connection.write(head.as_bytes());
    connection.answer("POST").refused(413);
    app.saw_nothing("a body whose length says too much");
    // Chunked: found out on the way. It must never look complete to the upstream.
    let mut connection = gateway.https().connect();
    let head =
        format!("POST /public/x HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\n");
    connection.write(head.as_bytes());
    for _ in 0..8 {
        connection.write(format!("100\r\n{}\r\n", "x".repeat(256)).as_bytes());
    }
    connection.write(b"0\r\n\r\n");
    if let Ok(answer) = connection.try_answer("POST") {
        answer.refused(413);
    }
    assert!(connection.closes_within(Duration::from_secs(5)));
    assert!(app.seen().iter().all(|seen| !seen.complete), "{:?}", app.count());
}

#[test]
fn connections_of_one_client() {
    let app = Upstream::start();
    let gateway =
        Gateway::start(&Setup::standard(&app).set("limits", "connections_per_client", "5"));
    let mut held: Vec<_> = (0..5).map(|_| gateway.https().connect()).collect();
    for connection in &mut held {
        gateway.get("/public/x").on(connection).unwrap().expect(200);
    }
    assert!(gateway.get("/public/x").try_send().is_err(), "the sixth is closed");
    held.pop().unwrap().vanish();
    soon("a place is free again", || gateway.get("/public/x").try_send().is_ok());
}

#[test]
fn connections_in_all() {
    let app = Upstream::start();
    let gateway = Gateway::start(&Setup::standard(&app).set("limits", "connections", "5"));
    let held: Vec<_> = (0..5).map(|_| gateway.https().connect()).collect();
    // Refused, or waiting in the accept queue: not served.
    let endpoint = gateway.https();
    let waiting = std::thread::spawn(move || endpoint.request("GET", "/public/x").try_send());
    std::thread::sleep(Duration::from_millis(300));
    app.saw_nothing("above the limit");
    // The admin listener is not starved by it.
    assert_eq!(gateway.admin().request("GET", "/livez").send().status, 200);
    drop(held);
    drop(waiting.join().unwrap());
    soon("connections are free again", || gateway.get("/public/x").try_send().is_ok());
}

#[test]
fn requests_of_one_client_at_a_time() {
    let app = Upstream::with(|seen, stream| {
        if seen.target.ends_with("/hang") {
            let _end = stream.read(&mut [0; 1]);
            return After::Close;
        }
        crate::harness::upstream::reply(stream, "200 OK", &[], "");
        After::Keep
    });
    let gateway = Gateway::start(&Setup::standard(&app).set("limits", "requests_per_client", "3"));
    let mut held: Vec<_> = (0..3).map(|_| gateway.https().connect()).collect();
    for connection in &mut held {
        connection.write(&gateway.get("/public/hang").bytes());
    }
    soon("three requests hang", || app.count() == 3);
    let answer = gateway.get("/public/x").send().refused(503);
    assert!(answer.header("retry-after").is_some(), "503 carries Retry-After");
    assert_eq!(app.count(), 3);
    for connection in held {
        connection.vanish();
    }
    soon("there is room again", || gateway.get("/public/x").send().status == 200);
}

/// Streams, not copies: 64 MiB each way through a gateway that grows by far less.
#[test]
fn bodies_are_not_held_in_memory() {
    const SIZE: usize = 64 * 1024 * 1024;
    let app = Upstream::early(|seen, stream| {
        use std::io::Write;
        if seen.method == "GET" {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n");
            let block = vec![b'x'; 1 << 20];
            let sent = stream.write_all(head.as_bytes()).is_ok()
                && (0..SIZE >> 20).all(|_| stream.write_all(&block).is_ok());
            return if sent { After::Keep } else { After::Close };
        }
        let mut left = SIZE - seen.body.len();
        let mut block = vec![0; 1 << 20];
        while left > 0 {
            match stream.read(&mut block) {
                Ok(n) if n > 0 => left -= n,
                _ => return After::Close,
            }
        }
        crate::harness::upstream::reply(stream, "200 OK", &[], "");
        After::Close
    });
    let setup = Setup::standard(&app).set("limits", "body_bytes", "\"1GiB\"");
    let gateway = Gateway::start(&setup);
    gateway.get("/public/warm").send().expect(200);
    let before = gateway.resident_kib();
    let answer = gateway.get("/public/x").send().expect(200);
    assert_eq!(answer.body.len(), SIZE);
    gateway.post("/public/x").body(vec![b'x'; SIZE]).send().expect(200);
    let grown = gateway.resident_kib().saturating_sub(before);
    assert!(grown < 24 * 1024, "resident size grew by {grown} KiB");
}

/// A slow reader holds back the upstream instead of filling memory (R39: back-pressure).
#[test]
fn a_client_that_does_not_read_stops_the_upstream() {
    let written = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = written.clone();
    let app = Upstream::with(move |_, stream| {
        use std::io::Write;
        use std::sync::atomic::Ordering::SeqCst;
        let head = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n";
        let block = vec![b'x'; 64 * 1024];
        if stream.write_all(head).is_ok() {
            while stream.write_all(&block).is_ok() {
                count.fetch_add(block.len(), SeqCst);
            }
        }
        After::Close
    });
    let gateway = Gateway::standard(&app);
    let mut connection = gateway.https().connect();
    connection.write(&gateway.get("/public/x").bytes());
    let mut last = usize::MAX;
    soon("the upstream is held back", || {
        let now = written.load(std::sync::atomic::Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(300));
        let held = now > 0 && now == last;
        last = now;
        held
    });
    // Kernel buffers of three sockets hold some megabytes; the gateway holds nearly nothing.
    assert!(last < 64 * 1024 * 1024, "{last} bytes were taken from the upstream");
    connection.vanish();
}

/// R17: a flood of distinct tokens does not grow the cache beyond its size.
#[test]
fn the_token_cache_is_bounded() {
    let app = Upstream::start();
    let gateway = Gateway::start(
        &Setup::standard(&app)
            .set("token_cache", "bytes", "\"1MiB\"")
            .without_table("[[issuers]]")
            .issuer("main", "", &[Key::shared("HS256")]),
    );
    let mut connection = gateway.https().connect();
    let mut send = |n: usize| {
        let token = Token::good().claim("n", n).claim("fill", "x".repeat(3000));
        let signed = token.sign(Key::shared("HS256"));
        gateway.get("/api/x").bearer(&signed).on(&mut connection).unwrap().expect(200);
    };
    (0..500).for_each(&mut send);
    let before = gateway.resident_kib();
    app.forget();
    (500..3000).for_each(&mut send);
    let grown = gateway.resident_kib().saturating_sub(before);
    assert!(grown < 8 * 1024, "2500 tokens of 4 KiB grew the gateway by {grown} KiB");
}
