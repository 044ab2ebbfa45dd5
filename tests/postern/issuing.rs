//! Login, refresh, logout and sessions (docs/issuing.md): what a token's whole life looks like
//! from outside. Attacks are in `issuing_attacks.rs`.

use std::time::Duration;

use serde_json::json;

use crate::harness::gateway::Gateway;
use crate::harness::issuing::{ISSUER, PASSWORD, PREFIX, Tokens, client, setup, users};
use crate::harness::keys::Key;
use crate::harness::live::{End, Kind, Live, Service};
use crate::harness::redis::Redis;
use crate::harness::tokens::Token;
use crate::harness::upstream::Upstream;
use crate::harness::{soon, unix_now};

/// RFC 9068 §2.2, RFC 6749 §5.1: what a login gives, and that it opens what it should.
#[test]
fn a_login_opens_what_the_account_may_do() {
    let app = Upstream::start();
    let gateway = Gateway::start(&setup(&app));
    let client = client(&gateway);
    let answer = client.login_as("bob", PASSWORD).expect(200);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let body = answer.json();
    assert_eq!(body["expires_in"], 900, "{body}");
    assert_eq!(body["refresh_expires_in"], 604_800, "{body}");
    let bob = Tokens::of(answer);
    for (name, value) in [
        ("iss", json!(ISSUER)),
        ("aud", json!("https://api.test")),
        ("sub", json!("bob")),
        ("client_id", json!("postern")),
        ("roles", json!(["admin"])),
        ("permissions", json!([])),
    ] {
        assert_eq!(bob.claim(name), value, "{name}");
    }
    let alice = client.login("alice");
    assert_eq!((client.call(&bob.access), client.call(&alice.access)), (200, 200));
    let admin = |tokens: &Tokens| gateway.get("/admin/x").bearer(&tokens.access).send().status;
    assert_eq!((admin(&bob), admin(&alice)), (200, 403));
    assert_eq!(app.last().header("x-auth-subject"), Some("bob"));
    // As a form too.
    let form = "username=alice&password=correct+horse+battery+staple";
    Tokens::of(client.post("login").form(form).send());
    // A token of another issuer does not open what is for ours.
    let other = Token::good().sign(Key::shared("RS256"));
    assert_eq!(client.call(&other), 401);
}

#[test]
fn a_refresh_gives_both_tokens_anew_with_the_rights_of_now() {
    let app = Upstream::start();
    let gateway = Gateway::start(&setup(&app).set("issuing", "refresh_grace", "\"1s\""));
    let client = client(&gateway);
    let first = client.login("alice");
    let second = Tokens::of(client.refresh(&first.refresh));
    assert_ne!(first.refresh, second.refresh);
    assert_ne!(first.access, second.access);
    assert_eq!(first.sid(), second.sid());
    assert_eq!(client.call(&second.access), 200);
    let form = format!("refresh_token={}", second.refresh);
    let third = Tokens::of(client.post("refresh").form(&form).send());
    // Roles are read anew; a removed user gets nothing.
    let path = gateway.dir.path().join("users");
    crate::harness::setup::private(&path, users(&["alice::admin,clerk"]).as_bytes());
    let mut latest = third;
    soon("the role is there", || {
        latest = Tokens::of(client.refresh(&latest.refresh));
        latest.claim("roles") == json!(["admin", "clerk"])
    });
    crate::harness::setup::private(&path, users(&["bob::"]).as_bytes());
    let mut refused = None;
    soon("she is gone", || {
        let answer = client.refresh(&latest.refresh);
        if answer.status == 200 {
            latest = Tokens::of(answer);
            return false;
        }
        refused = Some(answer);
        true
    });
    refused.unwrap().refused(401);
    assert_eq!(client.call(&latest.access), 401, "her session has ended");
}

/// Invariant 9, on the gateway that was not asked; ASVS 7.4.1.
#[test]
fn a_logout_is_known_on_every_gateway_at_once() {
    let (app, redis) = (Upstream::start(), Redis::start());
    let setup = setup(&app).redis(&redis);
    let gateways = [Gateway::start(&setup), Gateway::start(&setup)];
    let [one, other] = [client(&gateways[0]), client(&gateways[1])];
    let tokens = one.login("alice");
    let stays = other.login("alice");
    assert_eq!((one.call(&tokens.access), other.call(&tokens.access)), (200, 200));
    app.forget();
    let answer = one.logout(&tokens.access).expect(204);
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(other.call(&tokens.access), 401);
    assert_eq!(one.call(&tokens.access), 401);
    app.saw_nothing("the session has ended");
    other.refresh(&tokens.refresh).refused(401);
    // A second time there is nobody to log out.
    other.logout(&tokens.access).refused(401);
    assert_eq!(one.call(&stays.access), 200, "another session of hers");
}

#[test]
fn everywhere_is_everywhere_and_a_new_login_works_at_once() {
    let (app, redis) = (Upstream::start(), Redis::start());
    let setup = setup(&app).redis(&redis);
    let gateways = [Gateway::start(&setup), Gateway::start(&setup)];
    let [one, other] = [client(&gateways[0]), client(&gateways[1])];
    let sessions: Vec<Tokens> = (0..4).map(|i| [&one, &other][i % 2].login("alice")).collect();
    let bob = one.login("bob");
    one.post("logout?all=true").bearer(&sessions[0].access).send().expect(204);
    for tokens in &sessions {
        assert_eq!((one.call(&tokens.access), other.call(&tokens.access)), (401, 401));
        other.refresh(&tokens.refresh).refused(401);
    }
    assert_eq!(one.call(&bob.access), 200);
    let again = other.login("alice");
    assert_eq!((one.call(&again.access), other.call(&again.access)), (200, 200));
    assert_eq!(one.sessions(&again.access).len(), 1);
    for wrong in ["logout?all", "logout?all=1", "logout?all=true&all=false"] {
        one.post(wrong).bearer(&again.access).send().refused(400);
    }
    assert_eq!(one.call(&again.access), 200);
}

/// The access token has expired; the refresh token shows whose session it is.
#[test]
fn a_logout_with_the_refresh_token() {
    let app = Upstream::start();
    let gateway = Gateway::start(&setup(&app));
    let client = client(&gateway);
    let tokens = client.login("alice");
    let body = json!({ "refresh_token": tokens.refresh });
    client.post("logout").json(&body).send().expect(204);
    assert_eq!(client.call(&tokens.access), 401);
    client.post("logout").json(&body).send().refused(401);
    // A forged access token is not helped by a refresh token.
    let live = client.login("alice");
    let body = json!({ "refresh_token": live.refresh });
    client.post("logout").bearer("a.b.c").json(&body).send().refused(401);
    assert_eq!(client.call(&live.access), 200);
}

/// Design: a token of an external issuer has its jti revoked; its sessions are another's to end.
#[test]
fn a_logout_with_another_issuers_token() {
    let app = Upstream::start();
    let gateway = Gateway::start(&setup(&app));
    let client = client(&gateway);
    let call = |token: &str| gateway.get("/any/x").bearer(token).send().status;
    let good = || Token::good().claim("sid", "s").sign(Key::shared("RS256"));
    let [one, other] = [good(), good()];
    assert_eq!((call(&one), call(&other)), (200, 200));
    client.post("logout?all=true").bearer(&one).send().refused(400);
    client.logout(&one).expect(204);
    assert_eq!((call(&one), call(&other)), (401, 200));
    client.logout(&one).refused(401);
    gateway.get(&format!("{PREFIX}/sessions")).bearer(&other).send().refused(401);
}

#[test]
fn sessions_are_shown_and_ended_by_their_owner_alone() {
    let app = Upstream::start();
    let gateway = Gateway::start(&setup(&app));
    let client = client(&gateway);
    let before = unix_now();
    let login = |agent: &str| {
        let body = json!({ "username": "alice", "password": PASSWORD });
        let request = client.post("login").header("User-Agent", agent);
        Tokens::of(request.json(&body).send())
    };
    let (laptop, phone) = (login("laptop/1"), login("phone/1"));
    let mallory = client.login("mallory");
    let sessions = client.sessions(&laptop.access);
    assert_eq!(sessions.len(), 2);
    for session in &sessions {
        let (tokens, agent, current) = if session["sid"] == laptop.sid().as_str() {
            (&laptop, "laptop/1", true)
        } else {
            (&phone, "phone/1", false)
        };
        assert_eq!(session["sid"], tokens.sid().as_str());
        assert_eq!((&session["user_agent"], &session["current"]), (&json!(agent), &json!(current)));
        assert_eq!(session["address"], "127.0.0.1");
        for name in ["created_at", "last_used_at"] {
            assert!((before - 2..=unix_now() + 2).contains(&session[name].as_i64().unwrap()));
        }
        let members: Vec<&String> = session.as_object().unwrap().keys().collect();
        assert_eq!(members.len(), 6, "{members:?}");
    }
    let end = |tokens: &Tokens, sid: &str| {
        let target = format!("{PREFIX}/sessions/{sid}");
        gateway.request("DELETE", &target).bearer(&tokens.access).send()
    };
    // Another's session is not there (CWE-639).
    end(&mallory, &phone.sid()).refused(404);
    end(&laptop, "AAAAAAAAAAAAAAAAAAAAAA").refused(404);
    assert_eq!(client.call(&phone.access), 200);
    end(&laptop, &phone.sid()).expect(204);
    assert_eq!((client.call(&phone.access), client.call(&laptop.access)), (401, 200));
    client.refresh(&phone.refresh).refused(401);
    end(&laptop, &phone.sid()).refused(404);
    assert_eq!(client.sessions(&laptop.access).len(), 1);
    gateway.get(&format!("{PREFIX}/sessions")).send().refused(401);
}

/// ASVS 7.4.1: what goes on by a session ends with it, on another gateway too.
#[test]
fn live_websockets_of_an_ended_session_are_closed() {
    let (service, redis) = (Service::start(), Redis::start());
    let setup = setup(&service.upstream).redis(&redis);
    let setup = setup.route("ws", "path = \"/ws\"\nupgrade = [\"websocket\"]");
    let gateways = [Gateway::start(&setup), Gateway::start(&setup)];
    let one = client(&gateways[0]);
    let stays = one.login("bob");
    let bobs = Live::begin(&gateways[1], Kind::WebSocket, &stays.access);
    // A logout, and a reuse that ends the session without anybody asking.
    for reuse in [false, true] {
        let tokens = one.login("alice");
        let live: Vec<Live> = gateways
            .iter()
            .map(|gateway| Live::begin(gateway, Kind::WebSocket, &tokens.access))
            .collect();
        soon("both are open", || service.open() == 3);
        if reuse {
            let next = Tokens::of(one.refresh(&tokens.refresh));
            Tokens::of(one.refresh(&next.refresh));
            one.refresh(&tokens.refresh).refused(401);
        } else {
            one.logout(&tokens.access).expect(204);
        }
        for live in live {
            let (end, _) = live.ends_within(Duration::from_secs(5));
            assert_eq!(end, End::Code(1008), "reuse: {reuse}");
        }
        soon("the service knows", || service.open() == 1);
    }
    assert!(bobs.goes_on());
}
