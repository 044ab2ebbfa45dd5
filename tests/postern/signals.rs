//! Stopping (R49): finish what was begun, take nothing new, end with 0.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::harness::gateway::Gateway;
use crate::harness::h2::{Frames, H2, kind, runtime};
use crate::harness::setup::{HOST, Setup};
use crate::harness::soon;
use crate::harness::upstream::{After, Upstream, reply};

/// An upstream that answers `/public/slow` only once it is released.
fn held() -> (Upstream, Arc<AtomicBool>) {
    let release = Arc::new(AtomicBool::new(false));
    let flag = release.clone();
    let app = Upstream::with(move |seen, stream| {
        if seen.target.ends_with("/slow") {
            let start = Instant::now();
            while !flag.load(Ordering::SeqCst) && start.elapsed() < Duration::from_secs(30) {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        reply(stream, "200 OK", &[], "done");
        After::Keep
    });
    (app, release)
}

#[test]
fn in_flight_requests_are_finished() {
    for signal in [Signal::TERM, Signal::INT] {
        let (app, release) = held();
        let mut gateway = Gateway::standard(&app);
        let address = gateway.address("https");
        let mut idle = gateway.https().connect();
        gateway.get("/public/x").on(&mut idle).unwrap().expect(200);
        let mut busy = gateway.https().connect();
        busy.write(&gateway.get("/public/slow").bytes());
        let h2 = H2::connect(address, HOST);
        let stream = {
            let h2 = h2.clone();
            std::thread::spawn(move || h2.get("/public/slow", None))
        };
        soon("both are under way", || app.count() == 3);
        gateway.signal(signal);
        soon("the listener is closed", || std::net::TcpStream::connect(address).is_err());
        assert!(idle.closes_within(Duration::from_secs(10)), "idle connections are closed");
        assert!(gateway.runs(), "it waits for what is in flight");
        release.store(true, Ordering::SeqCst);
        let answer = busy.answer("GET").expect(200);
        assert_eq!(answer.text(), "done");
        assert_eq!(stream.join().unwrap().unwrap().expect(200).text(), "done");
        let status = gateway.wait(Duration::from_secs(15));
        assert_eq!(status.code(), Some(0), "{signal:?}");
    }
}

/// RFC 9113 §6.8.
#[test]
fn http_2_connections_are_told_to_go_away() {
    let (app, release) = held();
    let mut gateway = Gateway::standard(&app);
    let mut frames = Frames::connect(gateway.address("https"), HOST);
    let head =
        [(":method", "GET"), (":scheme", "https"), (":authority", HOST), (":path", "/public/slow")];
    frames.head(1, &head, true);
    soon("it is under way", || app.count() == 1);
    gateway.signal(Signal::TERM);
    loop {
        let frame = frames.next().expect("GOAWAY before the end");
        if frame.kind == kind::GOAWAY {
            break;
        }
    }
    release.store(true, Ordering::SeqCst);
    let mut answered = false;
    while let Some(frame) = frames.next() {
        answered |= frame.kind == kind::HEADERS && frame.stream == 1;
    }
    assert!(answered, "the stream was finished after GOAWAY");
    assert_eq!(gateway.wait(Duration::from_secs(15)).code(), Some(0));
}

/// `timeouts.drain` is the end of patience; the exit is an orderly one all the same.
#[test]
fn the_drain_has_a_limit() {
    let (app, _never) = held();
    let mut gateway = Gateway::start(&Setup::standard(&app).set("timeouts", "drain", "\"1s\""));
    let mut busy = gateway.https().connect();
    busy.write(&gateway.get("/public/slow").bytes());
    soon("it is under way", || app.count() == 1);
    let start = Instant::now();
    gateway.signal(Signal::TERM);
    assert_eq!(gateway.wait(Duration::from_secs(15)).code(), Some(0));
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(900) && took < Duration::from_secs(8), "{took:?}");
}

#[test]
fn an_idle_gateway_stops_at_once() {
    let app = Upstream::start();
    let mut gateway = Gateway::standard(&app);
    gateway.get("/public/x").send().expect(200);
    let start = Instant::now();
    gateway.signal(Signal::TERM);
    assert_eq!(gateway.wait(Duration::from_secs(10)).code(), Some(0));
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

/// R49: of the requests that were accepted, none is lost.
#[test]
fn no_accepted_request_is_lost_in_a_drain() {
    let app = Upstream::start();
    let mut gateway = Gateway::standard(&app);
    let h2 = H2::connect(gateway.address("https"), HOST);
    let (stop, lost) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let load = {
        let (stop, lost) = (stop.clone(), lost.clone());
        let get = gateway.get("/public/x");
        let endpoint = gateway.https();
        std::thread::spawn(move || {
            while !stop.load(Ordering::SeqCst) {
                // A connection that was refused or closed before the request was not accepted.
                let Ok(mut connection) = endpoint.try_connect() else { continue };
                for _ in 0..5 {
                    connection.write(&get.bytes());
                    match connection.try_answer("GET") {
                        Ok(answer) if answer.status == 200 => {}
                        Ok(answer) => panic!("{}", answer.status),
                        Err(why) if why.contains("HTTP/1.1") => {
                            lost.fetch_add(1, Ordering::SeqCst);
                        }
                        Err(_) => break,
                    }
                }
            }
        })
    };
    soon("requests flow", || app.count() > 100);
    gateway.signal(Signal::TERM);
    assert_eq!(gateway.wait(Duration::from_secs(15)).code(), Some(0));
    stop.store(true, Ordering::SeqCst);
    load.join().unwrap();
    assert_eq!(lost.load(Ordering::SeqCst), 0, "answers cut off");
    runtime().block_on(async { tokio::task::yield_now().await });
    assert!(h2.get("/public/x", None).is_err());
}

/// Whoever waits for the ready file may send a signal in the same moment.
#[test]
fn signals_are_taken_before_anybody_is_told() {
    let app = Upstream::start();
    for _ in 0..5 {
        let mut gateway = Gateway::standard(&app);
        gateway.signal(Signal::HUP);
        gateway.get("/public/x").send().expect(200);
        gateway.signal(Signal::TERM);
        assert!(gateway.wait(Duration::from_secs(20)).success());
    }
}
