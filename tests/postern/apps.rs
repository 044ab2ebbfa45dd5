//! The main job: an unmodified Express app and an unmodified Flask app behind the gateway, which
//! know nothing of tokens and need not.

use serde_json::json;

use crate::harness::apps::{App, express, flask};
use crate::harness::gateway::Gateway;
use crate::harness::h2::H2;
use crate::harness::keys::Key;
use crate::harness::redis::Redis;
use crate::harness::setup::{HOST, Setup};
use crate::harness::tokens::Token;

fn in_front_of(app: &App, redis: &Redis) -> Gateway {
    let login = "path = \"/api/login\"\nmethods = [\"POST\"]\nauth = \"none\"\n\
                 limits = [{ by = \"client+json:/email\", rate = \"5/15m\" }]";
    let setup = Setup::bare()
        .redis(redis)
        .upstream("app", &app.url())
        .issuer("main", "", &[Key::shared("RS256")])
        .route("login", login)
        .route("items", "path = \"/api/items/*\"")
        .route("admin", "path = \"/api/admin/*\"\nrequire = { roles = [\"admin\"] }")
        .route("headers", "path = \"/headers\"\nauth = \"optional\"");
    Gateway::start(&setup)
}

fn whole_story(app: &App) {
    let redis = Redis::start();
    let gateway = in_front_of(app, &redis);
    let key = Key::shared("RS256");
    let (user, admin) = (Token::good().sign(key), Token::good().roles(&["admin"]));
    let admin_signed = admin.sign(key);

    // Without a token, with one, with the wrong one.
    gateway.get("/api/items").send().refused(401);
    let items = gateway.get("/api/items").bearer(&user).send().expect(200).json();
    assert_eq!(items[0]["name"], "Lamp", "{}", app.name);
    let created = gateway.post("/api/items").bearer(&user).json(&json!({"name": "Sofa"})).send();
    let created = created.expect(201);
    assert!(created.header("location").unwrap().contains("/api/items/"));
    gateway.get("/api/admin/users").bearer(&user).send().refused(403);
    gateway.get("/api/admin/users").bearer(&admin_signed).send().expect(200);
    gateway.request("DELETE", "/api/admin/users/99").bearer(&user).send().refused(403);
    gateway.request("DELETE", "/api/admin/users/99").bearer(&admin_signed).send().expect(404);
    gateway.request("GET", "/api/login").send().refused(405);
    gateway.get("/static/app.js").bearer(&admin_signed).send().refused(404);

    // The app sees who it is, and cannot be told otherwise.
    let forged = gateway.get("/headers").bearer(&user).header("X-Auth-Roles", "admin");
    let seen = forged.header("X_Auth_Subject", "root").send().expect(200).json();
    assert_eq!(seen["headers"]["x-auth-subject"], "alice", "{seen}");
    assert!(seen["headers"].get("x-auth-roles").is_none(), "{seen}");
    assert!(!seen.to_string().contains("root"), "{seen}");
    let anonymous = gateway.get("/headers").header("X-Auth-Subject", "root").send().json();
    assert!(anonymous["headers"].get("x-auth-subject").is_none(), "{anonymous}");

    // Logins are limited per account; the app decides who is right.
    let login = |email: &str, password: &str| {
        let body = json!({"email": email, "password": password});
        gateway.post("/api/login").json(&body).send()
    };
    assert_eq!(login("alice@example.com", "wonderland").expect(200).json()["role"], "admin");
    for _ in 0..4 {
        login("alice@example.com", "guess").expect(401);
    }
    login("Alice@example.com ", "wonderland").refused(429);
    login("bob@example.com", "builder").expect(200);

    // HTTP/2 in front of an app that speaks HTTP/1.1.
    let h2 = H2::connect(gateway.address("https"), HOST);
    h2.get("/api/items", Some(&user)).unwrap().expect(200);
    h2.get("/api/items", None).unwrap().refused(401);

    // Logged out is logged out.
    gateway.revoke_jti(admin.jti());
    gateway.get("/api/admin/users").bearer(&admin_signed).send().refused(401);
    h2.get("/api/admin/users", Some(&admin_signed)).unwrap().refused(401);
    gateway.get("/api/items").bearer(&user).send().expect(200);
}

#[test]
fn express_behind_the_gateway() {
    whole_story(express());
}

#[test]
fn flask_behind_the_gateway() {
    whole_story(flask());
}
