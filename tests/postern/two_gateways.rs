//! Invariant 9 over two gateways and one Redis: once `revoke` has answered on the one, no request
//! that starts afterwards is let through by the other. Few rounds here; 10,000 in
//! `tests/extended.sh`.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::client::Connection;
use crate::harness::gateway::Gateway;
use crate::harness::keys::Key;
use crate::harness::redis::Redis;
use crate::harness::setup::Setup;
use crate::harness::tokens::{ISSUER, Token};
use crate::harness::upstream::Upstream;

/// Every kind in turn; issuer and kid name all tokens, and are lifted in the same round.
const KINDS: [&str; 7] = ["jti", "sub", "sid", "client", "token", "issuer", "kid"];

/// A gateway with open connections to both its listeners, as a client in a hurry has them.
struct Side {
    gateway: Gateway,
    secret: String,
    https: Connection,
    admin: Connection,
}

impl Side {
    fn start(setup: &Setup) -> Self {
        let gateway = Gateway::start(setup);
        let (https, admin) = (gateway.https().connect(), gateway.admin().connect());
        Self { secret: gateway.admin_secret(), https, admin, gateway }
    }

    fn status(&mut self, token: &str) -> u16 {
        self.gateway.get("/api/x").bearer(token).on(&mut self.https).unwrap().status
    }

    fn revoke(&mut self, body: &Value) -> Value {
        let request = self.gateway.admin().request("POST", "/revocations").bearer(&self.secret);
        request.json(body).on(&mut self.admin).unwrap().expect(201).json()
    }

    fn lift(&mut self, entry: &Value) {
        let path = format!("/revocations/{}", entry["id"].as_str().unwrap());
        let request = self.gateway.admin().request("DELETE", &path).bearer(&self.secret);
        request.on(&mut self.admin).unwrap().expect(204);
    }
}

/// What names the token of this round.
fn selector(kind: &str, token: &Token, signed: &str, round: usize) -> Value {
    match kind {
        "jti" => json!({ "jti": token.jti() }),
        "token" => json!({ "token": signed }),
        "issuer" => json!({ "issuer": ISSUER }),
        "kid" => json!({ "kid": Key::shared("ES256").kid }),
        kind => json!({ kind: format!("{kind}-{round}") }),
    }
}

/// Rounds of one revocation on one gateway and a request to the other right behind its answer,
/// taking turns; the token is in the other's cache in half of them. Returns the slowest round trip
/// from the acknowledgement to the refusal.
fn trial(rounds: usize) -> Duration {
    let (app, redis) = (Upstream::start(), Redis::start());
    let quiet = Setup::standard(&app).set("log", "level", "\"warn\"");
    // A busy machine must not turn a 401 into a 503: that would be no admission either, but this
    // is about what the store answers.
    let patient = quiet.set("log", "access", "\"off\"").set("store", "timeout", "\"10s\"");
    let setup = patient.redis(&redis);
    let mut sides = [Side::start(&setup), Side::start(&setup)];
    let mut slowest = Duration::ZERO;
    for round in 0..rounds {
        sides.reverse();
        let [one, other] = &mut sides;
        let kind = KINDS[round % KINDS.len()];
        let token = Token::good()
            .claim("sub", format!("sub-{round}"))
            .claim("sid", format!("sid-{round}"))
            .claim("azp", format!("client-{round}"));
        // With a jti it would be revoked by that.
        let token = if kind == "token" { token.without("jti") } else { token };
        let signed = token.sign(Key::shared("ES256"));
        // Each gateway's cache in turn, so that the other has seen the token or has not.
        let is_cached = (round / KINDS.len()).is_multiple_of(2);
        let first = if is_cached { &mut *other } else { &mut *one };
        assert_eq!(first.status(&signed), 200, "round {round}: before {kind}");
        app.forget();
        let entry = one.revoke(&selector(kind, &token, &signed, round));
        let acknowledged = Instant::now();
        let status = other.status(&signed);
        slowest = slowest.max(acknowledged.elapsed());
        let log = || other.gateway.output();
        assert_eq!(status, 401, "round {round}: {kind} was acknowledged: {entry}\n{}", log());
        assert_eq!(app.count(), 0, "round {round}: the service saw a revoked token");
        assert_eq!(one.status(&signed), 401, "round {round}: {kind}");
        if ["issuer", "kid"].contains(&kind) {
            // These name the next rounds' tokens too; and lifting counts as much.
            one.lift(&entry);
            assert_eq!(other.status(&signed), 200, "round {round}: {kind} was lifted");
        }
    }
    slowest
}

#[test]
fn a_revocation_holds_on_the_other_gateway_at_once() {
    trial(300);
}

#[test]
#[ignore = "ten thousand rounds; run by tests/extended.sh"]
fn ten_thousand_revocations_hold_on_the_other_gateway_at_once() {
    let start = Instant::now();
    let slowest = trial(10_000);
    println!(
        "10000 revocations, each followed at once by a request to the other gateway: none got \
         through; {:.1?} in all, slowest refusal {slowest:.1?} after the acknowledgement",
        start.elapsed()
    );
}
