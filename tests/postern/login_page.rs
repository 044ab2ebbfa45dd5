//! `GET {prefix}/login` and the form that it sends, without a browser.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::audit::{audited, limit_file_sizes, log};
use crate::harness::client::{Answer, Request};
use crate::harness::gateway::Gateway;
use crate::harness::person::{
    CSRF, ORIGIN, PASSWORD, Person, SESSION, cookie_of, setup, try_log_in,
};
use crate::harness::redis::Redis;
use crate::harness::upstream::Upstream;
use crate::harness::{each, soon};

/// An open login page.
struct Page {
    nonce: String,
    fields: Vec<(String, String)>,
}

impl Page {
    fn open(gateway: &Gateway, query: &str) -> Self {
        let answer = gateway.get(&format!("/_postern/login{query}")).send().expect(200);
        let nonce = cookie_of(&answer, CSRF).expect("a nonce");
        Self { nonce, fields: fields(&answer) }
    }

    /// The form, filled in.
    fn form(&self, changed: &[(&str, &str)]) -> String {
        let mut body = String::new();
        for (name, value) in &self.fields {
            let value = changed.iter().find(|pair| pair.0 == name).map_or(&**value, |pair| pair.1);
            let value: String = form_urlencoded::byte_serialize(value.as_bytes()).collect();
            write!(body, "{name}={value}&").unwrap();
        }
        body
    }

    fn send(&self, gateway: &Gateway, changed: &[(&str, &str)]) -> Answer {
        self.request(gateway).form(&self.form(changed)).send()
    }

    fn request(&self, gateway: &Gateway) -> Request {
        let request = gateway.post("/_postern/login").header("Origin", ORIGIN);
        request.header("Cookie", &format!("{CSRF}={}", self.nonce))
    }
}

/// The fields of the page's form.
fn fields(answer: &Answer) -> Vec<(String, String)> {
    let attribute = |tag: &str, name: &str| {
        let value = tag.split(&format!(" {name}=\"")).nth(1)?.split('"').next()?;
        Some(value.replace("&#38;", "&"))
    };
    let html = answer.text();
    let tags = html.split("<input").skip(1).map(|rest| rest.split('>').next().unwrap());
    tags.map(|tag| (attribute(tag, "name").unwrap(), attribute(tag, "value").unwrap_or_default()))
        .collect()
}

const RIGHT: [(&str, &str); 2] = [("username", "alice"), ("password", PASSWORD)];

/// ASVS 5.0 3.4, 3.5: what a page with a password field is sent with.
#[test]
fn the_page_lets_nothing_in_and_nobody_frame_it() {
    let app = Upstream::start();
    let gateway = Gateway::start(&setup(&app));
    let answer = gateway.get("/_postern/login").send().expect(200);
    let policy = answer.header("content-security-policy").unwrap();
    for directive in ["default-src 'none'", "form-action 'self'", "frame-ancestors 'none'"] {
        assert!(policy.contains(directive), "{policy}");
    }
    for (name, value) in [
        ("content-type", "text/html; charset=utf-8"),
        ("cache-control", "no-store"),
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
        ("referrer-policy", "same-origin"),
        ("cross-origin-opener-policy", "same-origin"),
    ] {
        assert_eq!(answer.header(name), Some(value), "{name}");
    }
    assert!(answer.header("strict-transport-security").is_some());
    let head = gateway.request("HEAD", "/_postern/login").send().expect(200);
    assert!(head.body.is_empty());
    gateway.request("PUT", "/_postern/login").send().refused(405);
    let bearer = Gateway::start(&setup(&app).set("issuing.cookies", "login_page", "false"));
    bearer.get("/_postern/login").send().refused(405);
    let page = bearer.get("/local/x").header("Accept", "text/html").send();
    page.refused(401);
    app.saw_nothing("the page is the gateway's own");
}

#[test]
fn a_login_leads_back_to_where_it_was_asked_for() {
    let app = Upstream::start();
    let gateway = Gateway::start(&setup(&app));
    let asked = gateway.get("/local/caf%C3%A9?a=b&c=%2F%2F").header("Sec-Fetch-Mode", "navigate");
    let answer = asked.send().expect(303);
    let place = answer.header("location").unwrap();
    assert_eq!(place, "/_postern/login?return_to=/local/caf%25C3%25A9%3Fa%3Db%26c%3D%252F%252F");
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let page = Page::open(&gateway, place.strip_prefix("/_postern/login").unwrap());
    let answer = page.send(&gateway, &RIGHT).expect(303);
    assert_eq!(answer.header("location"), Some("/local/caf%C3%A9?a=b&c=%2F%2F"));
    assert!(answer.body.is_empty());
    let alice = Person::with_session(&gateway, cookie_of(&answer, SESSION).unwrap());
    assert_eq!(alice.call(), 200);
    // A page with a form to log out.
    let form = format!("csrf_token={}&return_to=/public/bye", alice.token);
    let out = alice.request("POST", "/_postern/logout").header("Origin", ORIGIN).form(&form);
    let answer = out.send().expect(303);
    assert_eq!(answer.header("location"), Some("/public/bye"));
    assert_eq!(cookie_of(&answer, SESSION).as_deref(), Some(""));
    assert_eq!(answer.header("clear-site-data"), Some("\"cache\""));
    let again = out.send().expect(303);
    assert_eq!(again.header("location"), Some("/public/bye"), "a second time");
    for name in [SESSION, CSRF] {
        assert_eq!(cookie_of(&again, name).as_deref(), Some(""), "{name}");
    }
    assert_eq!(alice.call(), 401);
}

/// A person who opens a page is shown the login; scripts, images and programs are told 401.
#[test]
fn only_a_persons_navigation_is_led_to_the_page() {
    let app = Upstream::start();
    let gateway = Gateway::start(&setup(&app));
    let html = ("Accept", "text/html,*/*;q=0.8");
    let dead = ("Cookie", "__Host-postern=x");
    each(
        [
            ("GET", "/local/x", vec![html], 303),
            ("GET", "/local/x", vec![html, dead], 303),
            ("GET", "/optional/x", vec![html, dead], 303),
            ("GET", "/optional/x", vec![html], 200),
            ("GET", "/local/x", vec![html, ("Sec-Fetch-Mode", "cors")], 401),
            ("GET", "/local/x", vec![html, ("Authorization", "Bearer x")], 401),
            ("GET", "/local/x", vec![("Accept", "application/json")], 401),
            ("HEAD", "/local/x", vec![html], 401),
            ("POST", "/local/x", vec![html], 401),
            ("GET", "/main/x", vec![html], 401),
        ],
        |(method, target, fields, status)| {
            let mut request = gateway.request(method, target);
            for (name, value) in &fields {
                request = request.header(name, value);
            }
            let answer = request.send();
            assert_eq!(answer.status, status, "{method} {target} {fields:?}");
            assert_eq!(answer.header("location").is_some(), status == 303);
        },
    );
    // A target that is too long to come back to is forgotten.
    let long = format!("/local/{}", "a".repeat(3000));
    let answer = gateway.get(&long).header(html.0, html.1).send().expect(303);
    assert_eq!(answer.header("location"), Some("/_postern/login"));
}

/// CWE-601, over the wire: `src/proxy/session/return_to.rs` has the long list.
#[test]
fn no_login_leads_to_another_site() {
    let app = Upstream::start();
    let gateway = Gateway::start(&setup(&app));
    let page = Page::open(&gateway, "");
    each(
        [
            "https://evil.test",
            "//evil.test",
            "/\\evil.test",
            "/%5Cevil.test",
            "/%2Fevil.test",
            "/\t/evil.test",
            "/a/..//evil.test",
            "/x\r\nSet-Cookie: a=b",
            "javascript:alert(1)",
            "/_postern/login",
            "/_POSTERN/logout",
        ],
        |evil| {
            let mut changed = RIGHT.to_vec();
            changed.push(("return_to", evil));
            let answer = page.send(&gateway, &changed).expect(303);
            assert_eq!(answer.header("location"), Some("/"), "{evil:?}");
            assert_eq!(answer.all("set-cookie").len(), 1);
            let query: String = form_urlencoded::byte_serialize(evil.as_bytes()).collect();
            let shown = gateway.get(&format!("/_postern/login?return_to={query}")).send().text();
            assert!(!shown.contains("evil"), "{evil:?}");
        },
    );
}

/// Login CSRF: the attacker logs the victim in as themselves (Barth et al. 2008; ASVS 5.0 3.5.1).
#[test]
fn no_other_page_logs_anybody_in() {
    let app = Upstream::start();
    let gateway = Gateway::start(&setup(&app));
    let (page, other) = (Page::open(&gateway, ""), Page::open(&gateway, ""));
    let mallory = Person::log_in(&gateway, "mallory");
    let right = page.form(&RIGHT);
    let token = &page.fields.iter().find(|field| field.0 == "csrf_token").unwrap().1;
    let bare = || gateway.post("/_postern/login");
    let json = format!("{{\"username\":\"alice\",\"password\":\"{PASSWORD}\"}}");
    each(
        [
            ("another's page", page.request(&gateway).form(&other.form(&RIGHT)), 403),
            ("no token", page.request(&gateway).form(&right.replace("csrf_token", "x")), 403),
            ("no cookie", bare().header("Origin", ORIGIN).form(&right), 403),
            (
                "a session's token",
                page.request(&gateway).form(&right.replace(token, &mallory.token)),
                403,
            ),
            ("two tokens", page.request(&gateway).form(&format!("{right}csrf_token={token}")), 400),
            (
                "another origin",
                page.request(&gateway).header("Origin", "https://evil.test").form(&right),
                403,
            ),
            (
                "cross-site",
                page.request(&gateway).header("Sec-Fetch-Site", "cross-site").form(&right),
                403,
            ),
            ("JSON as text/plain", bare().header("Content-Type", "text/plain").body(&json), 415),
            (
                "JSON from another origin",
                bare()
                    .header("Origin", "https://evil.test")
                    .header("Content-Type", "application/json")
                    .body(&json),
                403,
            ),
            (
                "JSON from nowhere",
                bare()
                    .header("Origin", "null")
                    .header("Content-Type", "application/json")
                    .body(&json),
                403,
            ),
        ],
        |(what, request, status): (&str, Request, u16)| {
            let answer = request.send();
            assert_eq!(answer.status, status, "{what}");
            assert_eq!(cookie_of(&answer, SESSION), None, "{what}");
        },
    );
    // The page that is shown for it is good at once.
    let shown = bare().header("Origin", ORIGIN).form(&right).send();
    let again = Page { nonce: cookie_of(&shown, CSRF).unwrap(), fields: fields(&shown) };
    again.send(&gateway, &RIGHT).expect(303);
    // And one that was open before somebody logged in elsewhere stays good.
    page.send(&gateway, &RIGHT).expect(303);
}

/// One message for every cause, and what was typed is text (CWE-79, CWE-204).
#[test]
fn a_refused_login_is_told_on_the_page() {
    let app = Upstream::start();
    let gateway = Gateway::start(&setup(&app));
    let page = Page::open(&gateway, "?return_to=/local/x");
    let messages: Vec<String> = [("alice", "wrong"), ("nobody", "wrong")]
        .iter()
        .map(|(name, password)| {
            let changed = [("username", *name), ("password", *password)];
            let answer = page.send(&gateway, &changed).expect(401);
            assert_eq!(answer.header("content-type"), Some("text/html; charset=utf-8"));
            assert!(answer.header("content-security-policy").is_some());
            assert!(answer.all("set-cookie").is_empty());
            let html = answer.text();
            assert!(html.contains("role=\"alert\"") && !html.contains("wrong"), "{html}");
            assert!(html.contains("value=\"/local/x\""), "where to go is kept");
            html.replace(name, "NAME")
        })
        .collect();
    assert_eq!(messages[0], messages[1]);
    let attack = "\"><script>alert(1)</script>";
    let html = page.send(&gateway, &[("username", attack), ("password", "x")]).expect(401).text();
    assert!(!html.contains(attack) && !html.contains("<script"), "{html}");
    assert!(try_log_in(&gateway, "alice", "wrong", "").refused(401).body.len() < 200, "JSON");
    let log = gateway.settled_output();
    assert!(log.contains("login_refused") && !log.contains("wrong"));
}

/// ASVS 5.0 16.3.2: a session that is refused is a denial, though its page is led to the login; a
/// login that is refused is written once, with or without a page.
#[test]
fn the_audit_log_has_what_pages_are_refused() {
    let app = Upstream::start();
    let gateway = Gateway::start(&audited(setup(&app)));
    let alice = Person::log_in(&gateway, "alice");
    assert_eq!(alice.call(), 200);
    gateway.revoke(&json!({ "sub": "alice", "of_issuer": "https://login.test" })).expect(201);
    app.forget();
    let navigate = ("Sec-Fetch-Mode", "navigate");
    gateway.get("/local/x").header(navigate.0, navigate.1).send().expect(303);
    Page::open(&gateway, "").send(&gateway, &[("username", "mallory"), ("password", "x")]);
    let refused = alice.request("GET", "/local/x").header(navigate.0, navigate.1);
    let refused = refused.send().expect(303);
    app.saw_nothing("revoked");
    let id = refused.header("x-request-id").unwrap();
    let of = |event: &str| -> Vec<Value> {
        let lines = log(&gateway.dir).into_iter();
        lines.filter(|line| line["event"] == event && line["outcome"] == "refused").collect()
    };
    soon("the denial is written", || of("denial").iter().any(|line| line["request_id"] == id));
    let denials = of("denial");
    assert_eq!(denials.len(), 1, "{denials:?}");
    for (name, value) in [("reason", "revoked"), ("cause", "revoked_sid"), ("subject", "alice")] {
        assert_eq!(denials[0][name], value, "{name} in {denials:?}");
    }
    assert_eq!(of("login").len(), 1);
}

/// CWE-204: while the audit log takes no lines, a person is told the same whatever was typed.
#[test]
fn a_full_disk_shows_one_page() {
    let (app, redis) = (Upstream::start(), Redis::start());
    let gateway = Gateway::start(&audited(setup(&app)).redis(&redis));
    let pages: Vec<Page> = (0..4).map(|_| Page::open(&gateway, "")).collect();
    let size = std::fs::metadata(gateway.dir.path().join("audit.log")).unwrap().len();
    limit_file_sizes(&gateway, Some(size + 10));
    let told: Vec<String> = pages
        .iter()
        .zip(["wrong", PASSWORD, "wrong", PASSWORD])
        .map(|(page, password)| {
            let fields = [("username", "alice"), ("password", password)];
            let answer = page.send(&gateway, &fields).expect(503);
            assert_eq!(answer.header("retry-after"), Some("1"));
            assert_eq!(cookie_of(&answer, SESSION), None);
            let html = answer.text();
            html.lines().filter(|line| !line.contains("csrf_token")).collect()
        })
        .collect();
    assert!(told[0].contains("role=\"alert\""), "{}", told[0]);
    assert!(told.iter().all(|page| *page == told[0]), "{told:?}");
}
