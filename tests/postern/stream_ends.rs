//! How live streams are made to end: in a way that their clients understand, and whether these
//! like it or not.

use std::io::{ErrorKind, Read};
use std::time::Duration;

use crate::harness::client::Connection;
use crate::harness::gateway::Gateway;
use crate::harness::live::{End, KINDS, Live, Service, upgrade, websocket_end};
use crate::harness::redis::Redis;
use crate::harness::tokens::Token;
use crate::harness::{eventually, soon};
use crate::streams::{SECOND_LOOK, on_redis, reason, signed};

/// RFC 6455 §5.5.1: a Close frame stands between frames. Within one, only a reset is left.
#[test]
fn a_web_socket_is_closed_between_frames_and_reset_within_one() {
    let service = Service::start();
    let gateway = Gateway::start(&service.setup());
    // What is sent before the revocation, echoed by the service (so unmasked): whole frames, a
    // head's half, a payload's half, a fragment.
    for (sent, is_told) in [
        (&b"\x82\x02ab"[..], true),
        (&b"\x02\x01a\x89\x00"[..], true),
        (&b"\x82\x7e\x01"[..], false),
        (&b"\x82\x05ab"[..], false),
    ] {
        service.watched.received.lock().unwrap().clear();
        let token = Token::good();
        let mut connection = gateway.https().connect();
        upgrade(&gateway, "/ws").bearer(&signed(&token)).on(&mut connection).unwrap().expect(101);
        connection.write(sent);
        assert_eq!(connection.exactly(sent.len()), sent);
        gateway.revoke_jti(token.jti());
        let end = websocket_end(&mut connection);
        assert_eq!(end, if is_told { End::Code(1008) } else { End::Cut }, "{sent:?}");
        if is_told {
            // The service is told as well, by a masked frame, and nothing follows.
            soon("the service is told", || service.open() == 0);
            let received = service.watched.received.lock().unwrap().clone();
            let close = &received[sent.len()..];
            assert!(close[0] == 0x88 && close[1] & 0x80 != 0, "{close:?}");
            let code = [close[6] ^ close[2], close[7] ^ close[3]];
            assert_eq!(u16::from_be_bytes(code), 1008);
            assert_eq!(close.len(), 6 + usize::from(close[1] & 0x7f));
        }
        drop(connection);
        soon("the service's side is gone", || service.open() == 0);
    }
}

/// Whether the connection ends by a reset rather than as if by itself.
fn is_reset(connection: &Connection) -> bool {
    let mut raw = connection.tcp().try_clone().unwrap();
    raw.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    loop {
        match raw.read(&mut [0; 65536]) {
            Ok(0) => return false,
            Ok(_) => {}
            Err(error) => return error.kind() == ErrorKind::ConnectionReset,
        }
    }
}

/// What is cut short on HTTP/1 is reset: a client that takes the end of the connection for the end
/// of the answer (RFC 9112 §8) must not take this for a whole one.
#[test]
fn http1_answers_are_reset() {
    let service = Service::start();
    let gateway = Gateway::start(&service.setup());
    for path in ["/api/events", "/api/download"] {
        let token = Token::good();
        let mut connection = gateway.https().connect();
        connection.write(&gateway.get(path).bearer(&signed(&token)).bytes());
        soon("it is open", || service.open() == 1);
        gateway.revoke_jti(token.jti());
        assert!(is_reset(&connection), "{path}");
        soon("it is gone", || service.open() == 0);
    }
}

/// A message that has begun is not taken for a whole one: the stream is reset.
#[test]
fn a_grpc_stream_is_reset_within_a_message() {
    let service = Service::start();
    let gateway = Gateway::start(&service.setup());
    let token = Token::good();
    let (bearer, address) = (signed(&token), gateway.address("https"));
    let thread = std::thread::spawn(move || {
        let h2 = crate::harness::h2::H2::connect(address, crate::harness::setup::HOST);
        h2.get("/api/grpc-broken", Some(&bearer)).map(|answer| answer.trailers)
    });
    soon("it is open", || service.open() == 1);
    std::thread::sleep(Duration::from_millis(100));
    gateway.revoke_jti(token.jti());
    let error = thread.join().unwrap().unwrap_err();
    assert!(format!("{error:?}").contains("CANCEL"), "{error:?}");
}

/// A client that goes on sending is not heard any more.
#[test]
fn nothing_reaches_the_service_after_the_end() {
    let service = Service::start();
    let gateway = Gateway::start(&service.setup());
    let token = Token::good();
    let mut connection = gateway.https().connect();
    upgrade(&gateway, "/ws").bearer(&signed(&token)).on(&mut connection).unwrap().expect(101);
    connection.write(b"\x81\x06before");
    connection.exactly(8);
    gateway.revoke_jti(token.jti());
    assert_eq!(websocket_end(&mut connection), End::Code(1008));
    for _ in 0..20 {
        if connection.try_write(b"\x81\x05after").is_err() {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    soon("the service's side is gone", || service.open() == 0);
    let received = service.watched.received.lock().unwrap().clone();
    let after = received.windows(5).any(|window| window == b"after");
    assert!(!after, "{:?}", String::from_utf8_lossy(&received));
}

/// The request that came with a body of its own is refused as long as nothing was answered.
#[test]
fn uploads_end_with_their_token() {
    let service = Service::start();
    let gateway = Gateway::start(&service.setup());
    let token = Token::good();
    let mut connection = gateway.https().connect();
    let request = gateway.post("/api/upload").bearer(&signed(&token));
    let request = request.header("Content-Length", "1000000");
    connection.write(&request.bytes());
    connection.write(&[b'x'; 1000]);
    soon("the service hears of it", || service.upstream.connections() == 1);
    std::thread::sleep(Duration::from_millis(200));
    gateway.revoke_jti(token.jti());
    connection.answer("POST").refused(401);
    connection.write(&[b'y'; 1000]);
    soon("the service has seen the end", || service.upstream.count() == 1);
    let seen = service.upstream.last();
    assert!(!seen.complete && !seen.body.contains(&b'y'), "{} bytes", seen.body.len());
    assert_eq!(reason(&gateway, token.jti()), ("refused".to_owned(), "revoked".to_owned()));
}

/// A client that reads nothing has its connection reset all the same (HTTP/1, HTTP/2, WebSocket):
/// whatever stands in its way, it does not keep what is revoked.
#[test]
fn a_client_that_reads_nothing_keeps_nothing() {
    let service = Service::start();
    let gateway = Gateway::start(&service.setup());
    let token = Token::good();
    let mut http1 = gateway.https().connect();
    http1.write(&gateway.get("/api/firehose").bearer(&signed(&token)).bytes());
    let mut frames = crate::harness::h2::Frames::connect(gateway.address("https"), "api.test");
    let bearer = format!("Bearer {}", signed(&token));
    let fields = [
        (":method", "GET"),
        (":scheme", "https"),
        (":authority", "api.test"),
        (":path", "/api/firehose"),
        ("authorization", bearer.as_str()),
    ];
    frames.head(1, &fields, true);
    let mut web_socket = gateway.https().connect();
    let handshake = upgrade(&gateway, "/ws").bearer(&signed(&token));
    handshake.on(&mut web_socket).unwrap().expect(101);
    soon("all are open", || service.open() == 3);
    // What it sends comes back until every buffer on the way is full.
    web_socket.tcp().set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    let mut flood = vec![0x82, 0x7f, 0, 0, 0, 1, 0, 0, 0, 0];
    flood.resize(65536, 7);
    for _ in 0..400 {
        if web_socket.try_write(&flood).is_err() {
            break;
        }
        flood = vec![7; 65536];
    }
    std::thread::sleep(Duration::from_millis(500));
    gateway.revoke_jti(token.jti());
    eventually("all are gone", Duration::from_secs(5), || service.open() == 0);
    assert!(is_reset(&http1), "HTTP/1");
    assert!(is_reset(&web_socket), "WebSocket");
    assert!(frames.closes_within(Duration::from_secs(5)), "HTTP/2");
}

/// Revoked at the very moment in which it opens, again and again: no stream outlives the second
/// look, whichever came first.
#[test]
fn a_stream_that_opens_while_it_is_revoked_does_not_stay() {
    let (service, redis) = (Service::start(), Redis::start());
    let gateway = Gateway::start(&on_redis(&service, &redis));
    let (mut refused, mut ended) = (0, 0);
    for round in 0..60 {
        let kind = KINDS[round % KINDS.len()];
        let token = Token::good();
        let live = Live::begin(&gateway, kind, &signed(&token));
        // From before the request arrives until after its stream is open.
        std::thread::sleep(Duration::from_micros(700 * u64::try_from(round % 20).unwrap()));
        gateway.revoke_jti(token.jti());
        match live.ends_within(SECOND_LOOK).0 {
            End::Other(text) => {
                assert!(text.contains("401"), "{kind:?}: {text}");
                refused += 1;
            }
            end => {
                assert_eq!(end, Live::proper_end(kind));
                ended += 1;
            }
        }
    }
    println!("{refused} refused before they began, {ended} ended");
    assert!(ended > 0, "the race was never run: all {refused} were refused at once");
    soon("none is left", || service.open() == 0);
}
