//! `[issuing.cookies]`: one opaque cookie, the tokens behind it, and who sees what of it.

use std::time::{Duration, Instant};

use http_body_util::Full;
use sqlx::ConnectOptions as _;

use crate::harness::gateway::Gateway;
use crate::harness::h2::H2;
use crate::harness::keys::Key;
use crate::harness::person::{
    CSRF, HASH, PASSWORD, Person, SESSION, cookie_of, setup, try_log_in, users,
};
use crate::harness::redis::Redis;
use crate::harness::setup::{HOST, private};
use crate::harness::tokens::Token;
use crate::harness::upstream::{After, Upstream, reply};
use crate::harness::{each, soon};

/// RFC 6265bis §4.1.3.2; OWASP Session Management.
#[test]
fn a_login_gives_one_opaque_cookie_and_no_token() {
    let app = Upstream::start();
    let gateway = Gateway::start(&setup(&app));
    let answer = try_log_in(&gateway, "alice", PASSWORD, "").expect(204);
    let line = answer.header("set-cookie").unwrap();
    let id = cookie_of(&answer, SESSION).unwrap();
    assert_eq!(line, format!("{SESSION}={id}; HttpOnly; SameSite=Lax; Secure; Path=/"));
    assert_eq!((id.len(), answer.body.len()), (43, 0), "256 bits, and nothing else");
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let alice = Person::with_session(&gateway, id.clone());
    let seen = alice.request("GET", "/local/x").header("Cookie", "theme=dark").send();
    seen.expect(200);
    let seen = app.last();
    assert_eq!(seen.header("x-auth-subject"), Some("alice"));
    assert_eq!(seen.header("cookie"), Some("theme=dark"));
    assert_eq!(seen.header("authorization"), None, "the tokens stay on the server");
    assert!(!format!("{seen:?}").contains(&id));
    for wrong in [("alice", "wrong"), ("nobody", PASSWORD)] {
        let answer = try_log_in(&gateway, wrong.0, wrong.1, "").refused(401);
        assert!(answer.all("set-cookie").is_empty());
    }
    // Nothing of it in any log.
    let log = gateway.settled_output();
    assert!(!log.contains(&id) && !log.contains(&alice.token) && !log.contains(&alice.nonce));
}

/// Cookie tossing (RFC 6265bis §8.6), R14, RFC 6750 §2: one token, or none. PortSwigger 2025,
/// "Cookie Chaos": a sibling host plants the name with a Unicode space before it.
#[test]
fn what_is_not_one_session_is_refused() {
    let app = Upstream::start();
    let gateway = Gateway::start(&setup(&app));
    let alice = Person::log_in(&gateway, "alice");
    let id = alice.session.as_str();
    let bearer = format!("Bearer {}", Token::good().sign(Key::shared("RS256")));
    let cookie = |value: &str| ("Cookie", format!("{SESSION}={value}"));
    each(
        [
            (vec![cookie(id), cookie(id)], 400),
            (vec![cookie(id), cookie("x")], 400),
            (vec![("Cookie", format!("{SESSION}={id}; {SESSION}={id}"))], 400),
            (vec![("Cookie", format!("{SESSION}=; {SESSION}={id}"))], 400),
            (vec![cookie(id), ("Authorization", bearer.clone())], 400),
            (vec![cookie(id), ("Authorization", "Bearer x".to_owned())], 400),
            (vec![cookie("x")], 401),
            (vec![cookie(&id[1..])], 401),
            (vec![cookie(&format!("{id}A"))], 401),
            (vec![cookie(&"A".repeat(43))], 401),
            (vec![cookie(&format!("\"{id}\""))], 401),
            (vec![cookie("")], 401),
            (vec![("Cookie", format!("__host-postern={id}"))], 401),
            (vec![("Cookie", format!("x{SESSION}={id}"))], 401),
            (vec![("Cookie", format!("\u{a0}{SESSION}={id}"))], 401),
            (vec![("Cookie", format!("\u{2000}{SESSION}={id}"))], 401),
            (vec![("Cookie", format!("a=1; {SESSION}\u{85}={id}"))], 401),
            (vec![], 401),
        ],
        |(fields, status)| {
            let mut request = gateway.get("/local/x");
            for (name, value) in &fields {
                request = request.header(name, value);
            }
            request.send().refused(status);
        },
    );
    app.saw_nothing("no session");
    let dead = gateway.get("/local/x").header("Cookie", &format!("{SESSION}=x"));
    assert!(dead.send().all("set-cookie").is_empty(), "it may arrive after a new login");
    let page = dead.header("Sec-Fetch-Mode", "navigate").send().expect(303);
    assert_eq!(cookie_of(&page, SESSION).as_deref(), Some(""), "it is taken back");
    // Planted beside the session it neither takes its place nor locks anybody out.
    let planted = format!("\u{2000}{SESSION}=evil; \u{a0}{CSRF}=evil");
    alice.request("GET", "/local/x").header("Cookie", &planted).send().expect(200);
    assert_eq!(app.last().header("cookie"), None);
    alice.script("POST", "/local/x").header("Cookie", &planted).send().expect(200);
    app.forget();
    // A route for another issuer's tokens does not look at it, nor does a bad one harm there.
    alice.request("GET", "/main/x").send().refused(401);
    let other = alice.request("GET", "/main/x").header("Authorization", &bearer).send();
    other.expect(200);
    assert_eq!(app.last().header("cookie"), None);
}

/// R40: each invented id is a question to the store, and a failed attempt. A browser that goes on
/// with the cookie of a session that is over fails once, and is not locked out.
#[test]
fn guessing_sessions_is_bounded() {
    let app = Upstream::start();
    let gateway = Gateway::start(&setup(&app).set("auth_failures", "rate", "\"5/1h\""));
    let alice = Person::log_in(&gateway, "alice");
    assert_eq!(alice.call(), 200);
    app.forget();
    let invented = |n: u8| format!("{}{}", char::from(b'a' + n), "A".repeat(42));
    let ask = |target: &str, id: &str| {
        gateway.get(target).header("Cookie", &format!("{SESSION}={id}")).send().status
    };
    for _ in 0..10 {
        assert_eq!(ask("/local/x", &invented(0)), 401, "counted once");
        assert_eq!(ask("/local/x", "malformed"), 401, "counted once");
    }
    assert_eq!(ask("/_postern/sessions", &invented(1)), 401);
    assert_eq!(ask("/optional/x", &invented(2)), 401);
    let leaving = Person::with_session(&gateway, invented(3));
    leaving.script("POST", "/_postern/logout").send().refused(401);
    let late = Person::with_session(&gateway, invented(4));
    for target in ["/local/x", "/optional/x", "/_postern/sessions"] {
        assert_eq!(ask(target, &late.session), 429, "{target}");
    }
    let answer = late.script("POST", "/_postern/logout").send().refused(429);
    assert!(answer.header("retry-after").is_some());
    assert_eq!(ask("/local/x", &invented(0)), 401, "the store is not asked");
    app.saw_nothing("no session");
    assert_eq!(alice.call(), 200, "whoever is remembered asks nothing of the store");
}

/// Design: "Postern's cookies never forwarded", public routes, preflights and upgrades included.
#[test]
fn no_upstream_sees_or_sets_them() {
    let evil = format!("{SESSION}=evil; Path=/; Secure");
    let app = Upstream::with(move |seen, stream| {
        let status = match seen.header("upgrade") {
            Some(_) => "101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket",
            None => "200 OK",
        };
        let nameless = format!("={CSRF}=evil");
        let spaced = format!("\u{a0}{SESSION}=evil");
        let fields = ["own=1", &evil, &nameless, &spaced].map(|line| ("Set-Cookie", line));
        reply(stream, status, &fields, "");
        After::Close
    });
    let gateway = Gateway::start(&setup(&app));
    let alice = Person::log_in(&gateway, "alice");
    let upgrade = |target: &str| {
        let request = alice.script("GET", target).header("Connection", "Upgrade");
        let request = request.header("Upgrade", "websocket").header("Sec-WebSocket-Version", "13");
        request.header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
    };
    let preflight = alice.request("OPTIONS", "/preflight/x").header("Origin", "https://a.test");
    let bearer = Token::good().sign(Key::shared("RS256"));
    each(
        [
            ("public", alice.request("GET", "/public/x"), 200),
            ("a public POST", alice.request("POST", "/public/x").form("a=b"), 200),
            ("optional", alice.request("GET", "/optional/x"), 200),
            ("required", alice.request("GET", "/local/x"), 200),
            ("an unsafe method", alice.script("POST", "/local/x").form("a=b"), 200),
            ("another issuer's", alice.request("GET", "/main/x").bearer(&bearer), 200),
            (
                "not quite a preflight",
                preflight.header("Access-Control-Request-Method", "PUT"),
                200,
            ),
            ("upgrade", upgrade("/local/ws"), 101),
        ],
        |(what, request, status)| {
            app.forget();
            let live = format!("own=1; \u{2000}{SESSION}={}; b=\"2 3\"", alice.session);
            let answer = request.header("Cookie", &live).send();
            assert_eq!(answer.status, status, "{what}");
            assert_eq!(app.last().header("cookie"), Some("own=1; b=\"2 3\""), "{what}");
            assert_eq!(answer.all("set-cookie"), ["own=1"], "{what}");
        },
    );
}

/// RFC 9113 §8.2.3: an HTTP/2 client may send each cookie in a field of its own.
#[test]
fn http2_may_split_the_cookies() {
    let app = Upstream::start();
    let gateway = Gateway::start(&setup(&app));
    let alice = Person::log_in(&gateway, "alice");
    let h2 = H2::connect(gateway.address("https"), HOST);
    let send = |cookies: &[String]| {
        let mut request = h2.request("GET", "/local/x");
        for cookie in cookies {
            request = request.header("cookie", cookie);
        }
        h2.send(request.body(Full::default()).unwrap()).unwrap().status
    };
    let (session, nonce) = (format!("{SESSION}={}", alice.session), format!("{CSRF}=n"));
    assert_eq!(send(&["a=1".to_owned(), session.clone(), "b=2".to_owned(), nonce]), 200);
    assert_eq!(app.last().header("cookie"), Some("a=1; b=2"));
    app.forget();
    assert_eq!(send(&[session.clone(), "a=1".to_owned(), session.clone()]), 400);
    app.saw_nothing("two sessions");
}

/// CWE-384: the attacker plants a session id before the login.
#[test]
fn a_planted_session_is_never_taken_over() {
    let app = Upstream::start();
    let gateway = Gateway::start(&setup(&app));
    let attacker = Person::log_in(&gateway, "mallory");
    for planted in [attacker.session.clone(), "A".repeat(43), "x".to_owned()] {
        let cookies = format!("{SESSION}={planted}");
        let answer = try_log_in(&gateway, "alice", PASSWORD, &cookies).expect(204);
        let alice = Person::with_session(&gateway, cookie_of(&answer, SESSION).unwrap());
        assert_ne!(alice.session, planted);
        assert_eq!(alice.call(), 200);
        assert_eq!(app.last().header("x-auth-subject"), Some("alice"));
        app.forget();
        gateway.get("/local/x").header("Cookie", &cookies).send().refused(401);
        app.saw_nothing("the planted session is over");
    }
    // A login that fails ends nothing.
    let alice = Person::log_in(&gateway, "alice");
    try_log_in(&gateway, "alice", "wrong", &alice.cookies()).refused(401);
    assert_eq!(alice.call(), 200);
}

/// Invariant 9 with a cookie: the other gateway remembers the session and asks all the same.
#[test]
fn a_session_that_was_ended_is_over_everywhere() {
    let app = Upstream::start();
    let redis = Redis::start();
    let setup = setup(&app).redis(&redis);
    let (one, two) = (Gateway::start(&setup), Gateway::start(&setup));
    for all in ["", "?all=true"] {
        let alice = Person::log_in(&one, "alice");
        let there = alice.at(&two);
        assert_eq!((alice.call(), there.call(), there.call()), (200, 200, 200));
        let answer = alice.script("POST", &format!("/_postern/logout{all}")).send().expect(204);
        assert_eq!(cookie_of(&answer, SESSION).as_deref(), Some(""));
        assert_eq!(cookie_of(&answer, CSRF).as_deref(), Some(""));
        assert_eq!(answer.header("clear-site-data"), Some("\"cache\""));
        app.forget();
        there.request("GET", "/local/x").send().refused(401);
        there.request("GET", "/local/x").send().refused(401);
        alice.request("GET", "/local/x").send().refused(401);
        app.saw_nothing("logged out");
        alice.script("POST", "/_postern/logout").send().refused(401);
        // The second after revoking the subject is waited out: a new login works at once.
        assert_eq!(Person::log_in(&two, "alice").call(), 200);
    }
    // By an operator, too.
    let alice = Person::log_in(&one, "alice");
    assert_eq!(alice.at(&two).call(), 200);
    one.revoke(&serde_json::json!({ "sub": "alice", "of_issuer": "https://login.test" }))
        .expect(201);
    alice.at(&two).request("GET", "/local/x").send().refused(401);
}

/// How often the only family has rotated.
fn turn(redis: &Redis) -> String {
    let families = redis.keys("postern:refresh:*").into_iter();
    let mut families =
        families.filter(|key| redis.command(&["HEXISTS", key, "turn"]) == redis::Value::Int(1));
    match redis.command(&["HGET", &families.next().expect("a family"), "turn"]) {
        redis::Value::BulkString(bytes) => String::from_utf8(bytes).unwrap(),
        other => panic!("{other:?}"),
    }
}

/// RFC 9700 §4.14: rotation, once, however many requests come at the end of a token.
#[test]
fn many_requests_renew_once() {
    let app = Upstream::start();
    let redis = Redis::start();
    let setup = setup(&app).redis(&redis).set("issuing", "access_lifetime", "\"8s\"").set(
        "issuing",
        "refresh_grace",
        "\"8s\"",
    );
    let (one, two) = (Gateway::start(&setup), Gateway::start(&setup));
    let alice = Person::log_in(&one, "alice");
    let there = alice.at(&two);
    assert_eq!((alice.call(), there.call()), (200, 200));
    let turn = || turn(&redis);
    assert_eq!(turn(), "0", "no renewal is due yet");
    std::thread::sleep(Duration::from_millis(8100));
    std::thread::scope(|scope| {
        let calls: Vec<_> = (0..50)
            .map(|n| if n % 2 == 0 { alice.clone() } else { there.clone() })
            .map(|person| scope.spawn(move || person.call()))
            .collect();
        let statuses: Vec<u16> = calls.into_iter().map(|call| call.join().unwrap()).collect();
        assert!(statuses.iter().all(|status| *status == 200), "{statuses:?}");
    });
    assert_eq!(turn(), "1", "fifty requests, two gateways, one rotation");
    assert_eq!((alice.call(), there.call()), (200, 200));
}

/// A session may be renewed from two networks, or by two browsers' names, at the same time: the
/// grace is the session's, not one client's.
#[test]
fn a_session_lasts_as_long_as_it_may_and_no_longer() {
    let app = Upstream::start();
    let redis = Redis::start();
    for setup in [setup(&app), setup(&app).redis(&redis)] {
        let setup = setup
            .set("issuing", "access_lifetime", "\"2s\"")
            .set("issuing", "refresh_grace", "\"2s\"")
            .set("issuing", "refresh_idle", "\"4s\"")
            .set("issuing", "refresh_lifetime", "\"4s\"");
        let gateway = Gateway::start(&setup);
        let alice = Person::log_in(&gateway, "alice");
        assert_eq!(alice.call(), 200);
        std::thread::sleep(Duration::from_millis(2500));
        assert_eq!(alice.call(), 200, "renewed");
        std::thread::sleep(Duration::from_millis(3000));
        app.forget();
        let answer = alice.request("GET", "/local/x").send().refused(401);
        assert!(answer.all("set-cookie").is_empty(), "a new login's cookie may be there already");
        app.saw_nothing("the session is over");
    }
}

/// A token that ends with its login is the last one: no request tries to prolong it.
#[test]
fn what_cannot_be_prolonged_is_not_renewed() {
    let app = Upstream::start();
    let redis = Redis::start();
    let setup = setup(&app)
        .redis(&redis)
        .set("issuing", "access_lifetime", "\"16s\"")
        .set("issuing", "refresh_grace", "\"8s\"")
        .set("issuing", "refresh_idle", "\"18s\"")
        .set("issuing", "refresh_lifetime", "\"18s\"");
    let gateway = Gateway::start(&setup);
    let begun = Instant::now();
    let alice = Person::log_in(&gateway, "alice");
    // The last two seconds of the first token, and then of the second, which ends with the login.
    std::thread::sleep(Duration::from_millis(14_200));
    assert_eq!(alice.call(), 200);
    soon("it is renewed", || turn(&redis) == "1");
    std::thread::sleep(Duration::from_millis(1900));
    for _ in 0..3 {
        // On a busy machine the login may be over by now.
        assert!(alice.call() == 200 || begun.elapsed() > Duration::from_secs(17));
    }
    assert_eq!(turn(&redis), "1");
    soon("the login ends", || alice.call() == 401);
}

/// A removed account's session ends with its access token.
#[test]
fn a_removed_account_has_no_session() {
    let app = Upstream::start();
    let setup = setup(&app).set("issuing", "access_lifetime", "\"2s\"").set(
        "issuing",
        "refresh_grace",
        "\"2s\"",
    );
    let gateway = Gateway::start(&setup);
    let alice = Person::log_in(&gateway, "alice");
    private(&gateway.dir.path().join("users"), users(&["mallory"]).as_bytes());
    soon("the session ends", || alice.call() == 401);
    assert!(alice.call() == 401);
}

/// A token that still counts waits for no database: neither for one that hangs nor for the next
/// try.
#[test]
fn a_slow_account_database_holds_up_no_good_token() {
    let app = Upstream::start();
    let dir = tempfile::TempDir::new().unwrap();
    let path = dir.path().join("app.db");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut database = runtime.block_on(async {
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&path);
        options.create_if_missing(true).connect().await.unwrap()
    });
    let mut run = |statements: String| {
        let statements = sqlx::raw_sql(sqlx::AssertSqlSafe(statements));
        runtime.block_on(statements.execute(&mut database)).unwrap();
    };
    run(format!(
        "CREATE TABLE users (id INTEGER, name TEXT, password_hash TEXT);
         INSERT INTO users VALUES (12, 'alice', '{HASH}');"
    ));
    let query = "\"SELECT id, password_hash FROM users WHERE name = $1\"";
    let setup = setup(&app)
        .set("issuing", "access_lifetime", "\"24s\"")
        .unset("issuing.users", "file")
        .set("issuing.users", "sql.url", &format!("\"sqlite:{}\"", path.display()))
        .set("issuing.users", "sql.query", query);
    let gateway = Gateway::start(&setup);
    let alice = Person::log_in(&gateway, "alice");
    assert_eq!(alice.call(), 200);
    // The last three seconds of the token, in which it is renewed.
    std::thread::sleep(Duration::from_millis(21_500));
    run("BEGIN EXCLUSIVE".to_owned());
    for _ in 0..3 {
        let begun = Instant::now();
        assert_eq!(alice.call(), 200);
        // The database's own limit is two seconds.
        assert!(begun.elapsed() < Duration::from_millis(1500), "{:?}", begun.elapsed());
    }
    run("COMMIT".to_owned());
    std::thread::sleep(Duration::from_millis(3500));
    soon("it goes on", || alice.call() == 200);
}

/// R44: what cannot be asked is refused, and is not the end of the session.
#[test]
fn a_store_that_does_not_answer_is_503() {
    let app = Upstream::start();
    let redis = Redis::start();
    let setup = setup(&app).redis(&redis).set("store", "timeout", "\"250ms\"");
    let (one, two) = (Gateway::start(&setup), Gateway::start(&setup));
    let alice = Person::log_in(&one, "alice");
    assert_eq!(alice.call(), 200);
    redis.freeze();
    app.forget();
    for person in [alice.clone(), alice.at(&two)] {
        let answer = person.request("GET", "/local/x").send().refused(503);
        assert!(answer.all("set-cookie").is_empty());
        person.request("GET", "/optional/x").send().refused(503);
    }
    app.saw_nothing("the store is frozen");
    redis.thaw();
    soon("it goes on", || alice.call() == 200 && alice.at(&two).call() == 200);
}

/// RFC 9111 §3.5 protects what Authorization fetches; a cookie needs the gateway's help.
#[test]
fn what_a_session_fetches_is_for_nobody_else() {
    let app = Upstream::with(|seen, stream| {
        let said = seen.header("x-say").unwrap_or_default().to_owned();
        let fields = [("Cache-Control", said.as_str())];
        reply(stream, "200 OK", if said.is_empty() { &[] } else { &fields }, "x");
        After::Keep
    });
    let gateway = Gateway::start(&setup(&app));
    let alice = Person::log_in(&gateway, "alice");
    let fetch = |target: &str, said: &str| {
        let answer = alice.request("GET", target).header("X-Say", said).send().expect(200);
        (answer.all("cache-control").join(", "), answer.all("vary").join(", "))
    };
    let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    assert_eq!(fetch("/local/x", ""), pair("no-store", ""));
    assert_eq!(fetch("/local/x", "max-age=60"), pair("max-age=60, private", "Cookie"));
    assert_eq!(fetch("/local/x", "public, max-age=60"), pair("public, max-age=60", ""));
    assert_eq!(fetch("/public/x", ""), pair("", ""), "nobody's session was asked for");
    assert_eq!(fetch("/public/x", "max-age=60"), pair("max-age=60", ""));
}

/// `GET /sessions` with the cookie; ending one is a change and needs the token.
#[test]
fn own_sessions_are_seen_and_ended_with_the_cookie() {
    let app = Upstream::start();
    let gateway = Gateway::start(&setup(&app));
    let (here, lost) = (Person::log_in(&gateway, "alice"), Person::log_in(&gateway, "alice"));
    let list = here.request("GET", "/_postern/sessions").send().expect(200).json();
    let sessions = list["sessions"].as_array().unwrap();
    assert_eq!(sessions.len(), 2);
    let other = sessions.iter().find(|session| session["current"] == false).unwrap();
    let target = format!("/_postern/sessions/{}", other["sid"].as_str().unwrap());
    here.request("DELETE", &target).send().refused(403);
    here.request("DELETE", &target).header("X-CSRF-Token", &lost.token).send().refused(403);
    assert_eq!(lost.call(), 200);
    here.script("DELETE", &target).send().expect(204);
    assert_eq!((here.call(), lost.call()), (200, 401));
}
