//! Attacks on login, refresh and logout: who guesses, who confuses, who steals.

use serde_json::{Value, json};

use crate::harness::client::Answer;
use crate::harness::gateway::Gateway;
use crate::harness::issuing::{HASH, PASSWORD, PREFIX, Tokens, client, setup, users};
use crate::harness::redis::Redis;
use crate::harness::upstream::Upstream;
use crate::harness::{each, soon};

/// A refusal without what differs from request to request.
fn bare(answer: Answer) -> (u16, Vec<(String, String)>, Value) {
    let mut body = answer.json();
    body["request_id"] = json!("");
    let mut headers = answer.headers;
    headers.retain(|(name, _)| !["x-request-id", "date"].contains(&name.as_str()));
    (answer.status, headers, body)
}

/// CWE-203, ASVS 6.3.8, OWASP "Authentication Responses": one answer for every cause.
#[test]
fn a_refused_login_says_nothing_of_its_cause() {
    let app = Upstream::start();
    let users = users(&["alice::"]) + &format!("dora:{HASH}:::: disabled\n").replace(' ', "");
    let gateway = Gateway::start(&setup(&app).file("users", users));
    let client = client(&gateway);
    let long = "x".repeat(300);
    let wrong = bare(client.login_as("alice", "wrong"));
    assert_eq!(wrong.0, 401);
    let challenge = ("www-authenticate".to_owned(), "Bearer".to_owned());
    assert!(wrong.1.contains(&challenge), "{:?}", wrong.1);
    assert!(wrong.1.contains(&("cache-control".to_owned(), "no-store".to_owned())));
    each(
        [
            ("nobody", PASSWORD),
            ("dora", PASSWORD),
            ("Alice", PASSWORD),
            (" alice", PASSWORD),
            ("alice\0", PASSWORD),
            ("alice", "correct horse battery staple\0"),
            ("", PASSWORD),
            ("alice", ""),
            ("client:billing", PASSWORD),
            ("alice:x", PASSWORD),
            ("#alice", PASSWORD),
            (&long, PASSWORD),
            ("alice", &long),
        ],
        |(name, password)| {
            assert_eq!(bare(client.login_as(name, password)), wrong, "{name:?} {password:?}");
        },
    );
    Tokens::of(client.login_as("alice", PASSWORD));
    // What was typed into the password field is nowhere.
    assert!(!gateway.settled_output().contains("battery"));
}

/// CWE-436, RFC 8259 §4, RFC 9110 §8.3 and §8.4: a body that two readers could read differently.
#[test]
fn a_body_is_read_in_one_way_or_not_at_all() {
    let app = Upstream::start();
    let gateway = Gateway::start(&setup(&app));
    let client = client(&gateway);
    let (json, form) = ("application/json", "application/x-www-form-urlencoded");
    let good = format!("{{\"username\":\"alice\",\"password\":{PASSWORD:?}}}");
    let over = format!("{{\"username\":\"alice\",\"password\":\"{}\"}}", "x".repeat(9000));
    each(
        [
            (400, json, r#"{"username":"alice","username":"bob","password":"x"}"#.to_owned()),
            (400, json, r#"{"username":["alice"],"password":"x"}"#.to_owned()),
            (400, json, r#"{"username":"alice","password":1}"#.to_owned()),
            (400, json, r#"{"username":"alice","password":null}"#.to_owned()),
            (400, json, r#"{"username":"alice"}"#.to_owned()),
            (400, json, r#"[{"username":"alice","password":"x"}]"#.to_owned()),
            (400, json, String::new()),
            (400, json, "username=alice&password=x".to_owned()),
            (400, form, good.clone()),
            (400, form, "username=alice&username=bob&password=x".to_owned()),
            (400, form, "username=alice&password[]=x".to_owned()),
            (400, form, "username=alice;password=x".to_owned()),
            (415, "text/plain", good.clone()),
            (415, "application/json; charset=utf-7", good.clone()),
            (415, "multipart/form-data; boundary=x", good.clone()),
            (413, json, over),
        ],
        |(status, media, body)| {
            let answer = client.post("login").header("Content-Type", media).body(&body).send();
            assert_eq!(answer.status, status, "{media} {body:.60} {}", answer.text());
        },
    );
    // Two media types; a coding.
    let two = client.post("login").header("Content-Type", json).header("Content-Type", form);
    two.body(&good).send().refused(415);
    let coded = client.post("login").header("Content-Type", json);
    coded.header("Content-Encoding", "gzip").body(&good).send().refused(415);
    // In the target it is nobody's password.
    client.post(&format!("login?{}", "username=alice&password=x")).send().refused(400);
    Tokens::of(client.post("login").header("Content-Type", json).body(&good).send());
}

/// Login CSRF (OWASP CSRF Cheat Sheet, "Login CSRF"), RFC 6454 §7: no other site's page logs its
/// visitor in.
#[test]
fn another_sites_page_logs_nobody_in() {
    let app = Upstream::start();
    let setup = setup(&app).set("listen", "public_url", "\"https://api.test\"");
    let gateway = Gateway::start(&setup);
    let client = client(&gateway);
    let login = |fields: &[(&str, &str)]| {
        let body = json!({ "username": "alice", "password": PASSWORD });
        let request = client.post("login").json(&body);
        fields.iter().fold(request, |request, (name, value)| request.header(name, value)).send()
    };
    each(
        [
            &[("Origin", "https://evil.test")][..],
            &[("Origin", "null")],
            &[("Origin", "http://api.test")],
            &[("Origin", "https://api.test:8443")],
            &[("Origin", "https://www.api.test")],
            &[("Origin", "https://api.test"), ("Origin", "https://evil.test")],
            &[("Sec-Fetch-Site", "cross-site")],
            &[("Sec-Fetch-Site", "same-site")],
            &[("Origin", "https://api.test"), ("Sec-Fetch-Site", "cross-site")],
        ],
        |fields| {
            let answer = login(fields).refused(403);
            assert_eq!(answer.header("www-authenticate"), None, "{fields:?}");
            assert_eq!(answer.header("access-control-allow-origin"), None);
        },
    );
    for fields in [
        &[][..],
        &[("Origin", "https://api.test")],
        &[("Origin", "https://api.test"), ("Sec-Fetch-Site", "same-origin")],
    ] {
        Tokens::of(login(fields));
    }
}

/// RFC 9700 §4.14, RFC 9068 §4, RFC 8725 §3.12: each token in its own place alone.
#[test]
fn a_token_is_taken_in_its_own_place_alone() {
    let app = Upstream::start();
    let gateway = Gateway::start(&setup(&app));
    let client = client(&gateway);
    let tokens = client.login("alice");
    client.refresh(&tokens.access).refused(401);
    assert_eq!(client.call(&tokens.refresh), 401);
    client.logout(&tokens.refresh).refused(401);
    let body = json!({ "refresh_token": tokens.access });
    client.post("logout").json(&body).send().refused(401);
    gateway.get(&format!("{PREFIX}/sessions")).bearer(&tokens.refresh).send().refused(401);
    // Never in a target, where logs and histories have it.
    let target = format!("refresh?refresh_token={}", tokens.refresh);
    client.post(&target).send().refused(400);
    // Other spellings of the same bytes are other tokens.
    for wrong in [
        format!("{} ", tokens.refresh),
        format!("{}=", tokens.refresh),
        tokens.refresh.replacen('.', "%2E", 1),
        tokens.refresh.to_uppercase(),
        tokens.refresh[..tokens.refresh.len() - 1].to_owned(),
        format!("{}.x", tokens.refresh),
        String::new(),
        "\0".to_owned(),
    ] {
        client.refresh(&wrong).refused(401);
    }
    // A made-up secret of a real family ends nothing: its name is secret too.
    let (family, _) = tokens.refresh.split_once('.').unwrap();
    assert!(!family.contains(&tokens.sid()));
    app.forget();
    let fresh = Tokens::of(client.refresh(&tokens.refresh));
    assert_eq!(client.call(&fresh.access), 200);
    // No method but POST, on no other path, and nothing of it reaches the service.
    for (method, name, status) in
        [("GET", "refresh", 405), ("PUT", "login", 405), ("POST", "sessions", 405)]
    {
        let answer = gateway.request(method, &format!("{PREFIX}/{name}")).send().refused(status);
        assert!(answer.header("allow").is_some());
    }
    assert_eq!(app.count(), 1);
}

/// RFC 9700 §4.14.2, RFC 6819 §5.2.2.3: a thief and the owner cannot both have a session.
#[test]
fn reuse_ends_the_session_on_every_gateway() {
    let (app, redis) = (Upstream::start(), Redis::start());
    let setup = setup(&app).redis(&redis);
    let gateways = [Gateway::start(&setup), Gateway::start(&setup)];
    let [one, other] = [client(&gateways[0]), client(&gateways[1])];
    let stolen = one.login("alice");
    let stays = one.login("alice");
    let second = Tokens::of(one.refresh(&stolen.refresh));
    let third = Tokens::of(other.refresh(&second.refresh));
    assert_eq!((one.call(&third.access), other.call(&third.access)), (200, 200));
    // Not the direct predecessor any more: no grace.
    other.refresh(&stolen.refresh).refused(401);
    for client in [&one, &other] {
        for access in [&stolen.access, &second.access, &third.access] {
            assert_eq!(client.call(access), 401);
        }
        for refresh in [&stolen.refresh, &second.refresh, &third.refresh] {
            client.refresh(refresh).refused(401);
        }
    }
    assert_eq!(other.call(&stays.access), 200, "another session of hers");
    gateways[1].says("refresh_reused");
    let said = gateways[1].settled_output();
    assert!(said.contains("refresh_reused") && said.contains(&stolen.sid()), "{said}");
    for token in [&stolen.refresh, &second.refresh, &third.refresh, &third.access] {
        assert!(!said.contains(token.as_str()), "a token was logged");
    }
}

/// Design, "Settled details of issuing": the grace is for the client that had it, and no other.
#[test]
fn the_grace_is_for_the_same_client() {
    let app = Upstream::start();
    let gateway = Gateway::start(&setup(&app));
    let client = client(&gateway);
    let refresh = |token: &str, agent: &str| {
        let request = client.post("refresh").header("User-Agent", agent);
        request.json(&json!({ "refresh_token": token })).send()
    };
    let body = json!({ "username": "alice", "password": PASSWORD });
    let login = client.post("login").header("User-Agent", "browser/1").json(&body).send();
    let first = Tokens::of(login);
    let [a, b] = [(), ()].map(|()| Tokens::of(refresh(&first.refresh, "browser/1")));
    assert_eq!((&a.refresh, a.sid()), (&b.refresh, b.sid()), "a retry gets the same answer");
    assert_eq!((client.call(&a.access), client.call(&b.access)), (200, 200));
    refresh(&first.refresh, "curl/8").refused(401);
    assert_eq!((client.call(&a.access), client.call(&b.access)), (401, 401));
    refresh(&a.refresh, "browser/1").refused(401);
}

/// Design section 6 and "Refresh evaluates … revocations": revoking a user ends their logins too,
/// and a new one works at once.
#[test]
fn a_revoked_user_refreshes_nothing() {
    let (app, redis) = (Upstream::start(), Redis::start());
    let setup = setup(&app).redis(&redis);
    let gateways = [Gateway::start(&setup), Gateway::start(&setup)];
    let [one, other] = [client(&gateways[0]), client(&gateways[1])];
    for (by, names) in [("sub", "alice"), ("sid", "alice"), ("client", "alice")] {
        let tokens = one.login(names);
        let stays = (by != "client").then(|| one.login("bob"));
        let value = match by {
            "sub" => "alice".to_owned(),
            "sid" => tokens.sid(),
            _ => "postern".to_owned(),
        };
        let body = json!({ by: value, "of_issuer": "https://login.test", "reason": "test" });
        gateways[0].revoke(&body).expect(201);
        assert_eq!((one.call(&tokens.access), other.call(&tokens.access)), (401, 401), "{by}");
        other.refresh(&tokens.refresh).refused(401);
        if let Some(stays) = stays {
            assert_eq!(other.call(&stays.access), 200, "{by}");
        }
        let again = other.login("alice");
        assert_eq!((one.call(&again.access), other.call(&again.access)), (200, 200), "{by}");
        Tokens::of(one.refresh(&again.refresh));
    }
}

/// An operator sees and ends anybody's sessions; nobody else does.
#[test]
fn an_operator_ends_anybodys_session() {
    let app = Upstream::start();
    let gateway = Gateway::start(&setup(&app));
    let client = client(&gateway);
    let [one, two, bob] = ["alice", "alice", "bob"].map(|name| client.login(name));
    let list = |target: &str| gateway.admin_request("GET", target).send();
    let sessions = list("/sessions?sub=alice").expect(200).json();
    assert_eq!(sessions["sessions"].as_array().unwrap().len(), 2, "{sessions}");
    for wrong in ["/sessions", "/sessions?sub=a&sub=b", "/sessions?x=1"] {
        list(wrong).expect(400);
    }
    let target = format!("/sessions/{}", one.sid());
    gateway.admin().request("GET", "/sessions?sub=alice").send().expect(401);
    gateway.admin().request("DELETE", &target).send().expect(401);
    assert_eq!(client.call(&one.access), 200);
    gateway.admin_request("DELETE", &target).send().expect(204);
    assert_eq!(
        (client.call(&one.access), client.call(&two.access), client.call(&bob.access)),
        (401, 200, 200)
    );
    client.refresh(&one.refresh).refused(401);
    // Once more: it has ended, and that is what is said. One that never was is not there.
    gateway.admin_request("DELETE", &target).send().expect(204);
    gateway.admin_request("DELETE", "/sessions/AAAAAAAAAAAAAAAAAAAAAA").send().expect(404);
    // The command line, through the listener.
    let arguments = ["revoke", "--sub", "alice", "--of-issuer", "https://login.test"];
    assert!(gateway.cli(&arguments, "").status.success());
    assert_eq!((client.call(&two.access), client.call(&bob.access)), (401, 200));
    let none = list("/sessions?sub=alice").expect(200).json();
    assert_eq!(none["sessions"], json!([]));
}

/// CWE-613, ASVS 7.4.2: disabling an account ends what it has.
#[test]
fn a_disabled_user_refreshes_nothing() {
    let app = Upstream::start();
    let gateway = Gateway::start(&setup(&app));
    let client = client(&gateway);
    let tokens = client.login("alice");
    let disabled = format!("alice:{HASH}::::disabled\n");
    let path = gateway.dir.path().join("users");
    crate::harness::setup::private(&path, disabled.as_bytes());
    soon("she cannot log in", || client.login_as("alice", PASSWORD).status == 401);
    client.refresh(&tokens.refresh).refused(401);
    assert_eq!(client.call(&tokens.access), 401, "and her session has ended");
}
