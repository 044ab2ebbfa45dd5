//! One canonical path, used to route, to authorise and to forward (R18 to R21, invariant 4).

use crate::harness::gateway::Gateway;
use crate::harness::h2::H2;
use crate::harness::keys::Key;
use crate::harness::setup::{HOST, Setup};
use crate::harness::tokens::Token;
use crate::harness::upstream::Upstream;

/// Source and target: 400 for everybody, an administrator on a public route included.
const AMBIGUOUS: &[(&str, &str)] = &[
    ("CVE-2019-9901 double slash", "/public//x"),
    ("CVE-2019-9901 leading slashes", "//public/x"),
    ("RFC 3986 §6.2.2.3 dot", "/public/./x"),
    ("RFC 3986 §6.2.2.3 trailing dot", "/public/."),
    ("RFC 3986 §6.2.2.3 dot dot", "/public/../admin/x"),
    ("RFC 3986 §6.2.2.3 trailing dot dot", "/public/.."),
    ("RFC 3986 §6.2.2.3 above the root", "/../public/x"),
    ("encoded dots", "/public/%2e%2e/admin/x"),
    ("encoded dots, upper case", "/public/%2E%2E/admin/x"),
    ("half encoded dots", "/public/.%2e/admin/x"),
    ("encoded dot", "/public/%2e/x"),
    ("CVE-2021-29492 encoded slash", "/public/..%2fadmin/x"),
    ("CVE-2021-29492 encoded slash, upper", "/public%2Fx"),
    ("CVE-2021-29492 encoded backslash", "/public/..%5cadmin"),
    ("CVE-2021-29492 backslash", "/public/..\\admin"),
    ("backslash as slash", "/public\\x"),
    ("path parameter", "/public/x;jsessionid=1"),
    ("path parameter dots", "/public/..;/admin/x"),
    ("encoded semicolon", "/public/..%3b/admin/x"),
    ("NUL", "/public/x%00.html"),
    ("control character", "/public/x%0d%0aX:y"),
    ("tab", "/public/x%09"),
    ("DEL", "/public/x%7f"),
    ("double encoding of a slash", "/public/%252fadmin"),
    ("double encoding of a dot", "/public/%252e%252e/admin"),
    ("percent without digits", "/public/%"),
    ("percent with one digit", "/public/%2"),
    ("percent with no hex", "/public/%zz"),
    ("IIS unicode escape", "/public/%u002e%u002e/admin"),
    ("overlong slash", "/public/%c0%af"),
    ("overlong dot", "/public/%c0%ae%c0%ae/admin"),
    ("overlong in three", "/public/%e0%80%af"),
    ("surrogate", "/public/%ed%a0%80"),
    ("bad UTF-8", "/public/%ff"),
    ("truncated UTF-8", "/public/%e2%82"),
    ("raw non-ASCII", "/public/é"),
];

/// What is sent and what must arrive.
const CANONICAL: &[(&str, &str)] = &[
    ("/public", "/public"),
    ("/public/", "/public/"),
    ("/public/x", "/public/x"),
    ("/public/%61%7E%2d", "/public/a~-"),
    ("/public/%c3%a9", "/public/%C3%A9"),
    ("/public/a%20b", "/public/a%20b"),
    ("/public/a+b", "/public/a+b"),
    ("/public/a:b@c", "/public/a:b@c"),
    ("/public/..a", "/public/..a"),
    ("/public/a..b", "/public/a..b"),
    ("/public/x?a=%2F..%2f//./;%00", "/public/x?a=%2F..%2f//./;%00"),
    ("/public/x?", "/public/x?"),
    ("/public/x??", "/public/x??"),
];

#[test]
fn ambiguous_paths_are_refused() {
    let app = Upstream::start();
    let gateway = Gateway::standard(&app);
    let admin = Token::good().roles(&["admin"]).sign(Key::shared("ES256"));
    for (source, target) in AMBIGUOUS {
        let answer = gateway.get(target).bearer(&admin).send();
        assert_eq!(answer.status, 400, "{source}: {target}");
        app.saw_nothing(source);
    }
}

#[test]
fn ambiguous_paths_are_refused_over_http_2() {
    let app = Upstream::start();
    let gateway = Gateway::standard(&app);
    for (source, target) in AMBIGUOUS {
        let mut frames = crate::harness::h2::Frames::connect(gateway.address("https"), HOST);
        let fields =
            [(":method", "GET"), (":scheme", "https"), (":authority", HOST), (":path", target)];
        frames.head(1, &fields, true);
        assert_ne!(frames.outcome(1), crate::harness::h2::Outcome::Ok, "{source}");
        app.saw_nothing(source);
    }
}

#[test]
fn the_forwarded_path_is_the_canonical_one() {
    let app = Upstream::start();
    let gateway = Gateway::standard(&app);
    let h2 = H2::connect(gateway.address("https"), HOST);
    for (sent, arrives) in CANONICAL {
        let answer = gateway.get(sent).send();
        assert_eq!(answer.status, 200, "{sent}");
        assert_eq!(app.last().target, *arrives, "{sent}");
        h2.get(sent, None).unwrap().expect(200);
        // The client library may drop an empty query; the gateway must not add one.
        assert_eq!(app.last().target.trim_end_matches('?'), arrives.trim_end_matches('?'));
    }
}

/// CVE-2021-32779: a fragment takes part in nothing, and does not arrive.
#[test]
fn fragments_do_not_arrive() {
    let app = Upstream::start();
    let gateway = Gateway::standard(&app);
    for target in ["/public/x#/admin", "/public/x#?y", "/public/x#"] {
        let answer = gateway.get(target).send();
        match answer.status {
            400 => app.saw_nothing(target),
            _ => assert_eq!(app.last().target, "/public/x", "{target}"),
        }
    }
    app.forget();
    for target in ["/admin/x#/../public/x", "/admin#/public", "/api/x#public"] {
        let answer = gateway.get(target).send();
        assert!([400, 401].contains(&answer.status), "{target}: {}", answer.status);
        app.saw_nothing(target);
    }
}

/// R20: an encoded letter is the letter, for the rule as well.
#[test]
fn encoded_letters_meet_the_same_rule() {
    let app = Upstream::start();
    let gateway = Gateway::standard(&app);
    let user = Token::good().sign(Key::shared("ES256"));
    for path in ["/admin/x", "/%61dmin/x", "/adm%69n/x", "/%61%64%6d%69%6e"] {
        gateway.get(path).bearer(&user).send().refused(403);
    }
    app.saw_nothing("admin paths without the role");
}

/// R20 and "Routing" of the contract: many upstreams ignore case, trailing dots and spaces.
#[test]
fn variants_that_an_upstream_may_read_as_another_route() {
    let app = Upstream::start();
    let setup = Setup::standard(&app).route("rest", "path = \"/*\"\nauth = \"none\"");
    let gateway = Gateway::start(&setup);
    gateway.get("/other").send().expect(200);
    app.forget();
    for path in [
        "/Admin/x",
        "/ADMIN",
        "/aDmin/x",
        "/%41dmin/x",
        "/admin./x",
        "/admin%20/x",
        "/admin../x",
        "/Api/x",
        "/API",
    ] {
        assert_eq!(gateway.get(path).send().status, 400, "{path}");
        app.saw_nothing(path);
    }
    gateway.get("/Other").send().expect(200);
    gateway.get("/public/Admin").send().expect(200);
}

/// R18: no rule, no way; segments end where segments end.
#[test]
fn paths_without_a_route_are_not_found() {
    let app = Upstream::start();
    let gateway = Gateway::standard(&app);
    let admin = Token::good().roles(&["admin"]).sign(Key::shared("ES256"));
    for path in ["/", "/nowhere", "/publicx", "/public-x/y", "/apis", "/admins", "/livez"] {
        gateway.get(path).bearer(&admin).send().refused(404);
    }
    app.saw_nothing("paths without a route");
}

#[test]
fn the_longest_path_decides_then_the_method() {
    let app = Upstream::start();
    let setup = Setup::bare()
        .upstream("app", &app.url())
        .route("all", "path = \"/a/*\"\nauth = \"none\"")
        .route("read", "path = \"/a/b/*\"\nmethods = [\"GET\"]\nauth = \"none\"")
        .route("write", "path = \"/a/b/*\"\nmethods = [\"PUT\"]\nauth = \"none\"")
        .route("exact", "path = \"/a/b/c\"\nmethods = [\"DELETE\"]\nauth = \"none\"");
    let gateway = Gateway::start(&setup);
    for (method, path, status) in [
        ("POST", "/a/x", 200),
        ("GET", "/a/b", 200),
        ("HEAD", "/a/b/x", 200),
        ("PUT", "/a/b/x", 200),
        ("DELETE", "/a/b/c", 200),
        ("DELETE", "/a/b/c/", 200),
        // Never a shorter path because the longer one lacks the method.
        ("POST", "/a/b/x", 405),
        ("GET", "/a/b/c", 405),
        ("get", "/a/b/x", 405),
        ("GETX", "/a/b/x", 405),
    ] {
        let answer = gateway.request(method, path).send();
        assert_eq!(answer.status, status, "{method} {path}");
        if status == 405 {
            let allow = answer.header("allow").expect("Allow (RFC 9110 §15.5.6)");
            let wanted = if path.ends_with("/c") { "DELETE" } else { "GET" };
            assert!(allow.split(", ").any(|m| m == wanted), "{path}: {allow}");
        }
    }
}

#[test]
fn exact_hosts_beat_wildcards() {
    let app = Upstream::start();
    let setup = Setup::bare()
        .upstream("app", &app.url())
        .route("own", "path = \"/x\"\nhosts = [\"api.test\"]\nauth = \"none\"")
        .route("sub", "path = \"/x\"\nhosts = [\"*.test\"]")
        .issuer("main", "", &[Key::shared("ES256")]);
    let gateway = Gateway::start(&setup);
    for (host, status) in [
        ("api.test", 200),
        ("API.TEST", 200),
        ("api.test:8443", 200),
        ("other.test", 401),
        ("evil.example", 404),
        ("test", 404),
    ] {
        let answer = gateway.get("/x").host(host).send();
        assert_eq!(answer.status, status, "{host}");
    }
}

/// R21, RFC 9112 §3.2: the four forms of a target.
#[test]
fn forms_of_the_request_target() {
    let app = Upstream::start();
    let gateway = Gateway::standard(&app);
    let raw = |line: &str| {
        gateway.https().raw(format!("{line} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n"))
    };
    raw("GET https://api.test/public/x?y").expect(200);
    assert_eq!(app.last().target, "/public/x?y", "absolute-form becomes origin-form");
    assert_eq!(app.last().header("host"), Some(HOST));
    app.forget();
    for line in [
        "GET https://evil.test/public/x",
        "GET https://a:b@api.test/public/x",
        "GET ftp://api.test/public/x",
        "GET public/x",
        "GET api.test/public/x",
        "GET *",
        "GET ?x",
        "CONNECT evil.test:443",
        "CONNECT api.test:443",
        "TRACE /public/x",
        "TRACK /nowhere",
    ] {
        let answer = raw(line);
        assert!([400, 404, 405, 421, 501].contains(&answer.status), "{line}: {}", answer.status);
        app.saw_nothing(line);
    }
}

/// R23: a preflight has no token; the route says what becomes of it.
#[test]
fn preflights() {
    let app = Upstream::start();
    let setup = Setup::standard(&app)
        .route("cors", "path = \"/cors/*\"\npreflight = \"forward\"")
        .route("closed", "path = \"/closed\"\npreflight = \"deny\"");
    let gateway = Gateway::start(&setup);
    let preflight = |path: &str| {
        let request = gateway.request("OPTIONS", path).header("Origin", "https://app.test");
        request.header("Access-Control-Request-Method", "PUT")
    };
    preflight("/cors/x").send().expect(200);
    assert_eq!(app.last().method, "OPTIONS");
    app.forget();
    let bad = Token::good().claim("exp", 1).sign(Key::shared("ES256"));
    assert!(preflight("/closed").send().status >= 400);
    // Closed is also the default: only where the route says so.
    assert!(preflight("/api/x").send().status >= 400);
    // Not real preflights: they are requests like any other.
    preflight("/cors/x").bearer(&bad).send().refused(401);
    preflight("/cors/x").body("x").send().refused(401);
    preflight("/cors/x").header("Cookie", "a=b").send().refused(401);
    gateway.request("OPTIONS", "/cors/x").header("Origin", "https://a.test").send().refused(401);
    gateway.request("OPTIONS", "/cors/x").send().refused(401);
    app.saw_nothing("what only looks like a preflight");
}
