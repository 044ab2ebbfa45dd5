//! Keycloak, the provider that most have: rotation under load, outages, restarts. Run by
//! `tests/extended.sh`, which installs it.

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustix::process::Signal;
use serde_json::Value;

use crate::harness::client::Answer;
use crate::harness::eventually;
use crate::harness::gateway::Gateway;
use crate::harness::keycloak::Keycloak;
use crate::harness::load::Load;
use crate::harness::setup::Setup;
use crate::harness::upstream::Upstream;

fn setup(app: &Upstream, keycloak: &Keycloak, max_stale: &str) -> Setup {
    let lines = format!(
        "issuer = \"{}\"\nalgorithms = [\"RS256\"]\ndiscovery = true\ntoken_type = \"at+jwt\"\n\
         claims = {{ roles = \"/realm_access/roles\" }}\nrefresh = \"2s\"\ncooldown = \"1s\"\n\
         max_stale = \"{max_stale}\"\nbackchannel_logout = {{ client_id = \"app\" }}",
        keycloak.issuer()
    );
    Setup::bare()
        .upstream("app", &app.url())
        .issuer("keycloak", &lines, &[])
        .set("identity.headers", "X-Auth-Roles", "\"/realm_access/roles\"")
        .route("public", "path = \"/public/*\"\nauth = \"none\"")
        .route("api", "path = \"/api/*\"\nrequire = { roles = [\"reader\"] }")
        .route("admin", "path = \"/admin/*\"\nrequire = { roles = [\"admin\"] }")
}

fn call(gateway: &Gateway, token: &str) -> Answer {
    gateway.get("/api/x").bearer(token).send()
}

/// One Keycloak for everything: it takes long to start.
#[test]
#[ignore = "needs Keycloak: tests/extended.sh"]
fn all_of_it() {
    let (app, mut keycloak) = (Upstream::start(), Keycloak::start());
    println!("Keycloak listens on {}", keycloak.address);
    let gateway = Gateway::start(&setup(&app, &keycloak, "1h"));
    tokens(&gateway, &app, &keycloak);
    logout(&gateway, &keycloak);
    rotation(&gateway, &app, &keycloak);
    restarts_while_down(gateway, &app, &mut keycloak);
    outage(&app, &mut keycloak);
}

/// Discovery, access tokens of a client and of a user, roles from where Keycloak has them; ID tokens
/// refused.
fn tokens(gateway: &Gateway, app: &Upstream, keycloak: &Keycloak) {
    gateway.readyz(200);
    call(gateway, &keycloak.token()).expect(200);
    let (access, id) = keycloak.login();
    call(gateway, &access).expect(200);
    assert!(app.last().header("x-auth-roles").unwrap().contains("reader"));
    app.forget();
    gateway.get("/admin/x").bearer(&access).send().refused(403);
    call(gateway, &id).refused(401);
    app.saw_nothing("without the role; an ID token");
    println!("tokens: a client's and a user's access token 200, other role 403, ID token 401");
}

/// A session that Keycloak ends: its tokens are refused, another session's are not.
fn logout(gateway: &Gateway, keycloak: &Keycloak) {
    let address = gateway.address("https");
    keycloak.send_logouts_to(&format!("https://{address}/_postern/backchannel-logout"));
    let [(ended, _), (lives, _)] = [(); 2].map(|()| keycloak.login());
    for token in [&ended, &lives] {
        call(gateway, token).expect(200);
    }
    let payload = ended.split('.').nth(1).unwrap();
    let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap();
    keycloak.end_session(claims["sid"].as_str().unwrap());
    eventually("the session has ended", Duration::from_secs(10), || {
        call(gateway, &ended).status == 401
    });
    call(gateway, &lives).expect(200);
    println!("logout: the ended session's access token 401, another session's 200");
}

/// New keys that sign at once, and old ones taken back, under load.
fn rotation(gateway: &Gateway, app: &Upstream, keycloak: &Keycloak) {
    let old = keycloak.token();
    let load = Load::start(gateway, 3, vec![old.clone(), keycloak.token()]);
    let start = Instant::now();
    let mut signing = keycloak.first_key();
    for round in 1..=4 {
        let next = keycloak.add_key(1000 + round);
        let renewed = vec![keycloak.token(), keycloak.token()];
        for token in &renewed {
            load.add(token.clone());
        }
        load.flows(100);
        // Longer than the refresh, so that the background has been there as well.
        std::thread::sleep(Duration::from_secs(3));
        load.replace(renewed);
        keycloak.remove_key(&signing);
        load.flows(200);
        signing = next;
    }
    eventually("the first key is gone", Duration::from_secs(10), || {
        call(gateway, &old).status == 401
    });
    let served = load.end();
    app.forget();
    call(gateway, &old).refused(401);
    app.saw_nothing("a token of a key that was taken back");
    println!("rotation: {served} requests in {:?}, 4 rotations, none refused", start.elapsed());
}

/// The gateway restarted by SIGTERM and by SIGKILL while Keycloak is down.
fn restarts_while_down(mut gateway: Gateway, app: &Upstream, keycloak: &mut Keycloak) {
    let token = keycloak.token();
    call(&gateway, &token).expect(200);
    keycloak.stop();
    call(&gateway, &token).expect(200);
    let usual = setup(app, keycloak, "1h");
    gateway.signal(Signal::TERM);
    assert!(gateway.wait(Duration::from_secs(20)).success());
    for how in ["SIGTERM", "SIGKILL"] {
        gateway = Gateway::start_in(gateway.kill(), &usual);
        call(&gateway, &token).expect(200);
        gateway.readyz(200);
        println!("restart: after {how} with Keycloak down 200");
    }
    // Too old for this configuration: not used.
    let short = setup(app, keycloak, "2s");
    std::thread::sleep(Duration::from_millis(2100));
    let dir = gateway.kill();
    short.write(dir.path());
    let gateway = Gateway::start_in(dir, &short);
    app.forget();
    call(&gateway, &token).refused(503);
    app.saw_nothing("keys older than max_stale");
    gateway.get("/public/x").send().expect(200);
    gateway.readyz(503);
    println!("restart: with keys older than max_stale 503, not ready");
    keycloak.start_again();
    eventually("it recovers", Duration::from_secs(30), || call(&gateway, &token).status == 200);
    gateway.readyz(200);
    println!("restart: Keycloak is back, 200");
}

/// Down for less than max_stale, for more, and back.
fn outage(app: &Upstream, keycloak: &mut Keycloak) {
    let gateway = Gateway::start(&setup(app, keycloak, "30s"));
    let token = keycloak.token();
    call(&gateway, &token).expect(200);
    keycloak.stop();
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(10) {
        call(&gateway, &token).expect(200);
        std::thread::sleep(Duration::from_millis(100));
    }
    println!("outage: 200 for {:?}", start.elapsed());
    eventually("max_stale is over", Duration::from_secs(40), || {
        call(&gateway, &token).status != 200
    });
    app.forget();
    let answer = call(&gateway, &token).refused(503);
    assert!(answer.header("retry-after").is_some());
    app.saw_nothing("keys older than max_stale");
    println!("outage: 503 after {:?}", start.elapsed());
    keycloak.start_again();
    eventually("it recovers", Duration::from_secs(60), || call(&gateway, &token).status == 200);
    println!("outage: 200 again");
}
