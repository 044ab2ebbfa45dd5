//! Requests all the time while a store breaks: a valid token may be answered 200 or 503, a revoked
//! one 401 or 503, and nothing else, by any gateway.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::client::{Connection, Endpoint};
use super::eventually;
use super::gateway::Gateway;
use super::keys::Key;
use super::tokens::Token;

#[derive(Default)]
struct Shared {
    /// Held for reading during a request with a revoked token.
    revoked: RwLock<Vec<String>>,
    /// What became of requests with valid tokens, in order per thread.
    valid: Mutex<Vec<(Instant, u16)>>,
    refused: Mutex<BTreeMap<u16, usize>>,
    wrong: Mutex<Vec<String>>,
    stop: AtomicBool,
}

/// The threads that ask and the one that revokes.
pub struct Pressure {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

/// What came of it.
pub struct Tally {
    /// Requests with valid tokens that were served.
    pub served: usize,
    /// Requests with valid tokens that got 503.
    pub unavailable: usize,
    /// Requests with revoked tokens that were refused: 401.
    pub refused: usize,
    /// Revocations that were acknowledged.
    pub revoked: usize,
    valid: Vec<(Instant, u16)>,
}

impl Pressure {
    /// Two threads per gateway that ask with valid and revoked tokens in turn; and one that
    /// revokes a new token every few moments on each gateway in turn, and asks every other gateway
    /// for it right behind the acknowledgement.
    pub fn start(gateways: &[&Gateway]) -> Self {
        let shared = Arc::new(Shared::default());
        let mut threads = Vec::new();
        for gateway in gateways {
            for number in 0..2 {
                let (shared, endpoint) = (Arc::clone(&shared), gateway.https());
                threads.push(std::thread::spawn(move || ask(&shared, &endpoint, number)));
            }
        }
        let sides: Vec<Side> = gateways.iter().map(|gateway| Side::of(gateway)).collect();
        let revoker = Arc::clone(&shared);
        threads.push(std::thread::spawn(move || revoke(&revoker, sides)));
        Self { shared, threads }
    }

    /// Waits until `count` more valid requests were served and `revocations` more acknowledged.
    pub fn flows(&self, count: usize, revocations: usize) {
        let served = || self.shared.valid.lock().unwrap().iter().filter(|v| v.1 == 200).count();
        let revoked = || self.shared.revoked.read().unwrap().len();
        let (before, revoked_before) = (served(), revoked());
        eventually("requests and revocations flow", Duration::from_secs(60), || {
            served() >= before + count && revoked() >= revoked_before + revocations
        });
    }

    /// Stops. Fails when any answer was none of those that are allowed.
    pub fn end(self) -> Tally {
        self.shared.stop.store(true, Ordering::SeqCst);
        for thread in self.threads {
            thread.join().unwrap();
        }
        let wrong = self.shared.wrong.lock().unwrap();
        assert!(
            wrong.is_empty(),
            "{} wrong answers: {:#?}",
            wrong.len(),
            &wrong[..wrong.len().min(5)]
        );
        let mut valid = self.shared.valid.lock().unwrap().clone();
        valid.sort_unstable();
        let count = |status| valid.iter().filter(|v| v.1 == status).count();
        let refused = self.shared.refused.lock().unwrap().get(&401).copied().unwrap_or(0);
        Tally {
            served: count(200),
            unavailable: count(503),
            refused,
            revoked: self.shared.revoked.read().unwrap().len(),
            valid,
        }
    }
}

impl Tally {
    /// From `fault` to the last 503.
    pub fn recovery(&self, fault: Instant) -> Duration {
        let behind = self.valid.iter().filter(|(at, status)| *at >= fault && *status == 503);
        behind.map(|(at, _)| at.duration_since(fault)).max().unwrap_or_default()
    }
}

fn ask(shared: &Shared, endpoint: &Endpoint, number: usize) {
    let valid = Token::good().claim("sub", format!("valid-{number}")).sign(Key::shared("ES256"));
    let mut connection = None;
    let mut turn = number;
    while !shared.stop.load(Ordering::SeqCst) {
        std::thread::sleep(Duration::from_millis(3));
        turn += 1;
        if turn.is_multiple_of(2) {
            let status = status(endpoint, &mut connection, &valid);
            shared.valid.lock().unwrap().push((Instant::now(), status.unwrap_or(0)));
            if !matches!(status, Some(200 | 503)) {
                shared.wrong.lock().unwrap().push(format!("valid: {status:?}"));
            }
            continue;
        }
        let token = {
            let revoked = shared.revoked.read().unwrap();
            if revoked.is_empty() {
                continue;
            }
            revoked[fastrand(turn) % revoked.len()].clone()
        };
        let status = status(endpoint, &mut connection, &token);
        count(shared, status, "revoked");
    }
}

/// Cheap, and different enough from turn to turn.
const fn fastrand(turn: usize) -> usize {
    (turn.wrapping_mul(0x9E37_79B9) >> 7) ^ turn
}

fn count(shared: &Shared, status: Option<u16>, what: &str) {
    *shared.refused.lock().unwrap().entry(status.unwrap_or(0)).or_default() += 1;
    if !matches!(status, Some(401 | 503)) {
        shared.wrong.lock().unwrap().push(format!("{what}: {status:?}"));
    }
}

fn status(endpoint: &Endpoint, connection: &mut Option<Connection>, token: &str) -> Option<u16> {
    for _ in 0..2 {
        let request = endpoint.request("GET", "/api/x").bearer(token);
        match request.on(connection.get_or_insert_with(|| endpoint.connect())) {
            Ok(answer) => return Some(answer.status),
            // The gateway may close a connection on which a refusal was sent.
            Err(_) => *connection = None,
        }
    }
    None
}

/// A gateway with its two listeners.
struct Side {
    https: Endpoint,
    admin: Endpoint,
    secret: String,
}

impl Side {
    fn of(gateway: &Gateway) -> Self {
        Self { https: gateway.https(), admin: gateway.admin(), secret: gateway.admin_secret() }
    }
}

fn revoke(shared: &Shared, sides: Vec<Side>) {
    let mut connections: Vec<Option<Connection>> = sides.iter().map(|_| None).collect();
    let mut round = 0;
    while !shared.stop.load(Ordering::SeqCst) {
        std::thread::sleep(Duration::from_millis(10));
        round += 1;
        let side = &sides[round % sides.len()];
        let token = Token::good().claim("sub", format!("revoked-{round}"));
        let signed = token.sign(Key::shared("ES256"));
        // By jti and by sub in turn: entries without and with a date.
        let body = if round % 2 == 0 {
            serde_json::json!({ "jti": token.jti() })
        } else {
            serde_json::json!({ "sub": format!("revoked-{round}") })
        };
        let request = side.admin.request("POST", "/revocations").bearer(&side.secret);
        if request.json(&body).send().status != 201 {
            continue; // Not acknowledged: nothing is promised.
        }
        for (side, connection) in sides.iter().zip(&mut connections) {
            let status = status(&side.https, connection, &signed);
            count(shared, status, "just revoked");
        }
        shared.revoked.write().unwrap().push(signed);
    }
}
