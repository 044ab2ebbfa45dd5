//! Redis killed, frozen, emptied, slow, talking nonsense (R42 to R45): never a wrong answer, and
//! recovery by itself.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use crate::harness::client::Answer;
use crate::harness::gateway::Gateway;
use crate::harness::keys::Key;
use crate::harness::redis::Redis;
use crate::harness::setup::Setup;
use crate::harness::tokens::Token;
use crate::harness::upstream::Upstream;
use crate::harness::{eventually, soon, unix_now};

/// The contract's deadline is 250 ms; the rest is a loaded machine's.
const PROMPT: Duration = Duration::from_secs(2);
/// R44: recovery within 2 s of repair.
const RECOVERY: Duration = Duration::from_secs(5);

fn key() -> &'static Key {
    Key::shared("ES256")
}

/// 503 with Retry-After, in time, and the upstream saw nothing; public routes go on.
fn outage(gateway: &Gateway, app: &Upstream, token: &str, context: &str) {
    app.forget();
    let start = Instant::now();
    let answer = gateway.get("/api/x").bearer(token).send();
    assert_eq!(answer.status, 503, "{context}: {}", answer.text());
    let took = start.elapsed();
    assert!(took < PROMPT, "{context}: answered after {took:?}");
    let retry = answer.refused(503).header("retry-after").map(str::to_owned);
    assert!(retry.as_ref().is_some_and(|s| s.parse::<u32>().is_ok()), "{context}: {retry:?}");
    app.saw_nothing(context);
    gateway.get("/public/x").send().expect(200);
}

fn recovers(gateway: &Gateway, token: &str) {
    let works = || gateway.get("/api/x").bearer(token).send().status == 200;
    eventually("the gateway asks Redis again", RECOVERY, works);
}

#[test]
fn redis_is_killed_and_comes_back() {
    let app = Upstream::start();
    for mut redis in [Redis::start(), Redis::tcp()] {
        let gateway = Gateway::start(&Setup::standard(&app).redis(&redis));
        let token = Token::good().sign(key());
        gateway.get("/api/x").bearer(&token).send().expect(200);
        redis.kill();
        for _ in 0..5 {
            outage(&gateway, &app, &token, "Redis is dead");
        }
        redis.restart();
        recovers(&gateway, &token);
    }
}

/// R43: waiters do not queue behind each other.
#[test]
fn redis_hangs() {
    let app = Upstream::start();
    let redis = Redis::tcp();
    let gateway = Gateway::start(&Setup::standard(&app).redis(&redis));
    let token = Token::good().sign(key());
    gateway.get("/api/x").bearer(&token).send().expect(200);
    redis.freeze();
    app.forget();
    let mut waiting: Vec<_> = (0..100).map(|_| gateway.https().connect()).collect();
    let request = gateway.get("/api/x").bearer(&token);
    let start = Instant::now();
    for connection in &mut waiting {
        connection.write(&request.bytes());
    }
    for connection in &mut waiting {
        connection.answer("GET").refused(503);
    }
    assert!(start.elapsed() < PROMPT, "100 waiters took {:?}", start.elapsed());
    app.saw_nothing("a frozen Redis");
    redis.thaw();
    recovers(&gateway, &token);
}

/// R44: the gateway starts without Redis, refuses, and is red until it has had its store once.
#[test]
fn redis_is_not_there_at_the_start() {
    let app = Upstream::start();
    let mut redis = Redis::tcp();
    redis.kill();
    let gateway = Gateway::start(&Setup::standard(&app).redis(&redis));
    let token = Token::good().sign(key());
    outage(&gateway, &app, &token, "never seen Redis");
    assert_eq!(gateway.admin().request("GET", "/readyz").send().status, 503);
    assert_eq!(gateway.admin().request("GET", "/livez").send().status, 200);
    redis.restart();
    recovers(&gateway, &token);
    gateway.readyz(200);
    // Not merely because Redis is down later on: public routes still work.
    redis.kill();
    outage(&gateway, &app, &token, "Redis is gone again");
    assert_eq!(gateway.admin().request("GET", "/readyz").send().status, 200);
}

/// R45: what this gateway has seen stays refused, is written back, and the loss is told.
#[test]
fn redis_comes_back_empty() {
    let app = Upstream::start();
    let mut redis = Redis::start();
    let gateway = Gateway::start(&Setup::standard(&app).redis(&redis));
    let (revoked, good) = (Token::good(), Token::good().sign(key()));
    let signed = revoked.sign(key());
    gateway.revoke_jti(revoked.jti());
    gateway.get("/api/x").bearer(&signed).send().refused(401);
    redis.restart();
    recovers(&gateway, &good);
    app.forget();
    gateway.get("/api/x").bearer(&signed).send().refused(401);
    app.saw_nothing("un-revoked by a restart");
    let pattern = format!("postern:blocklist:jti:*:{}", revoked.jti());
    eventually("it is written back", RECOVERY, || redis.keys(&pattern).len() == 1);
    let verbose = gateway.admin().request("GET", "/readyz?verbose").send().text().to_lowercase();
    assert!(verbose.contains("lost") || verbose.contains("loss"), "{verbose}");
    soon("the log says so", || {
        let log = gateway.output().to_lowercase();
        log.contains("lost") || log.contains("loss")
    });

    // FLUSHALL is a loss too, not "nothing is revoked".
    redis.command(&["FLUSHALL"]);
    for _ in 0..5 {
        gateway.get("/api/x").bearer(&signed).send().refused(401);
    }
    app.saw_nothing("un-revoked by FLUSHALL");
}

/// A lifted entry is lifted: the generation tells it from a lost one.
#[test]
fn a_deleted_entry_is_lifted() {
    let app = Upstream::start();
    let redis = Redis::start();
    let gateway = Gateway::start(&Setup::standard(&app).redis(&redis));
    let token = Token::good();
    let signed = token.sign(key());
    gateway.revoke_jti(token.jti());
    gateway.get("/api/x").bearer(&signed).send().refused(401);
    let names = redis.keys(&format!("postern:blocklist:jti:*:{}", token.jti()));
    redis.command(&["DEL", &names[0]]);
    gateway.get("/api/x").bearer(&signed).send().expect(200);
}

#[test]
fn refuse_older_refuses_what_was_issued_before_the_loss() {
    let app = Upstream::start();
    let redis = Redis::start();
    let setup = Setup::standard(&app).redis(&redis);
    let gateway = Gateway::start(&setup.set("revocation", "on_loss", "\"refuse-older\""));
    let older = Token::good().claim("iat", unix_now() - 30).sign(key());
    gateway.get("/api/x").bearer(&older).send().expect(200);
    redis.command(&["FLUSHALL"]);
    app.forget();
    let status = || gateway.get("/api/x").bearer(&older).send().status;
    eventually("older tokens are refused", RECOVERY, || status() == 401);
    app.forget();
    gateway.get("/api/x").bearer(&older).send().refused(401);
    app.saw_nothing("issued before the loss");
    let newer = || Token::good().claim("iat", unix_now()).sign(key());
    let works = || gateway.get("/api/x").bearer(&newer()).send().status == 200;
    eventually("newer ones are not", RECOVERY, works);
}

/// A server that is no Redis, or a Redis in trouble (R42). It answers each read with `answer`.
fn impostor(answer: &'static [u8], delay: Duration) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let serve = move |mut stream: TcpStream| {
        let mut buffer = [0; 4096];
        while stream.read(&mut buffer).is_ok_and(|n| n > 0) {
            std::thread::sleep(delay);
            if answer == b"close" || stream.write_all(answer).is_err() {
                return;
            }
        }
    };
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || serve(stream));
        }
    });
    format!("redis://{address}")
}

#[test]
fn redis_talks_nonsense() {
    let app = Upstream::start();
    for answer in [
        &b"close"[..],
        b"",
        b"-LOADING Redis is loading the dataset in memory\r\n",
        b"-OOM command not allowed when used memory > 'maxmemory'.\r\n",
        b"-NOAUTH Authentication required.\r\n",
        b"-MOVED 3999 127.0.0.1:6381\r\n",
        b"-MASTERDOWN Link with MASTER is down\r\n",
        b"-BUSY Redis is busy running a script\r\n",
        b"-ERR unknown command\r\n",
        b"+OK\r\n",
        b":0\r\n",
        b"$-1\r\n",
        b"*0\r\n",
        b"*-1\r\n",
        b"$5\r\nab",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\x00\xff\xfe garbage \r\n",
        b"$99999999999999999999\r\n",
        b"*2147483647\r\n",
    ] {
        let url = impostor(answer, Duration::ZERO);
        let gateway =
            Gateway::start(&Setup::standard(&app).set("store", "url", &format!("\"{url}\"")));
        let context = format!("Redis answers {:?}", String::from_utf8_lossy(answer));
        for _ in 0..2 {
            outage(&gateway, &app, &Token::good().sign(key()), &context);
        }
    }
}

#[test]
fn redis_is_slow() {
    let app = Upstream::start();
    let url = impostor(b"+OK\r\n", Duration::from_secs(3));
    let gateway = Gateway::start(&Setup::standard(&app).set("store", "url", &format!("\"{url}\"")));
    outage(&gateway, &app, &Token::good().sign(key()), "Redis takes 3 s");
}

/// A generation of another type, a canary that is a list: every wrong shape refuses.
#[test]
fn redis_holds_the_wrong_types() {
    let app = Upstream::start();
    let redis = Redis::start();
    let gateway = Gateway::start(&Setup::standard(&app).redis(&redis));
    let token = Token::good().sign(key());
    gateway.get("/api/x").bearer(&token).send().expect(200);
    redis.command(&["DEL", "postern:blocklist:generation"]);
    redis.command(&["LPUSH", "postern:blocklist:generation", "x"]);
    app.forget();
    let answer: Answer = gateway.get("/api/x").bearer(&token).send();
    // Refused, or healed by writing a generation anew: never a crash, never an open door.
    assert!([200, 401, 503].contains(&answer.status), "{}", answer.status);
    gateway.get("/public/x").send().expect(200);
}

/// The one exception, chosen by name (invariant 6).
#[test]
fn on_unreachable_is_the_operators_choice() {
    let app = Upstream::start();
    let mut redis = Redis::start();
    let setup = Setup::standard(&app)
        .redis(&redis)
        .route("open", "path = \"/open\"\non_unreachable = \"allow\"")
        .route("maybe", "path = \"/maybe\"\nauth = \"optional\"");
    let gateway = Gateway::start(&setup);
    let (token, revoked) = (Token::good().sign(key()), Token::good());
    gateway.revoke_jti(revoked.jti());
    redis.kill();
    gateway.get("/open").bearer(&token).send().expect(200);
    app.forget();
    gateway.get("/open").bearer("bad.token.x").send().refused(401);
    gateway.get("/api/x").bearer(&token).send().refused(503);
    gateway.get("/maybe").bearer(&token).send().refused(503);
    app.saw_nothing("allow is per route");
    gateway.get("/maybe").send().expect(200);
    // What this gateway itself revoked stays revoked.
    app.forget();
    gateway.get("/open").bearer(&revoked.sign(key())).send().refused(401);
    app.saw_nothing("revoked by this gateway");
    // A revocation that the store did not take was not made.
    let answer = gateway.revoke(&serde_json::json!({"jti": "x"}));
    assert_eq!(answer.status, 503, "{}", answer.text());
}
