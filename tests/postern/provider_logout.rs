//! A real provider logs its users out here: oidc-provider sends the logout token over TLS, and the
//! access tokens that it issued are refused by every gateway.

use crate::harness::gateway::Gateway;
use crate::harness::provider::Provider;
use crate::harness::redis::Redis;
use crate::harness::setup::Setup;
use crate::harness::upstream::Upstream;

/// Two gateways of one store, the first of which hears of logouts for this client.
fn gateways(provider: &Provider, app: &Upstream, redis: &Redis, client: &str) -> [Gateway; 2] {
    let logout = format!("backchannel_logout = {{ client_id = \"{client}\" }}");
    let setup = Setup::bare()
        .upstream("app", &app.url())
        .redis(redis)
        .set("store", "timeout", "\"5s\"")
        .issuer("provider", &provider.entry(&logout), &[])
        .route("api", "path = \"/api/*\"");
    let gateways = [Gateway::start(&setup), Gateway::start(&setup)];
    gateways.iter().for_each(|gateway| gateway.readyz(200));
    let address = gateways[0].address("https");
    provider.send_logouts_to(&format!("https://{address}/_postern/backchannel-logout"));
    gateways
}

fn call(gateway: &Gateway, token: &str) -> u16 {
    gateway.get("/api/x").bearer(token).send().status
}

/// Registered with `backchannel_logout_session_required`: by `sid`.
#[test]
fn the_end_of_a_session_ends_its_access_tokens() {
    let (app, redis, provider) = (Upstream::start(), Redis::start(), Provider::start());
    let gateways = gateways(&provider, &app, &redis, "web");
    let (mut desktop, on_desktop) = provider.login("web", "alice");
    let (_phone, on_phone) = provider.login("web", "alice");
    for gateway in &gateways {
        assert_eq!((call(gateway, &on_desktop), call(gateway, &on_phone)), (200, 200));
    }
    app.forget();
    provider.logout(&mut desktop);
    assert_eq!(provider.logouts(), ["success"], "{}", gateways[0].output());
    for gateway in &gateways {
        assert_eq!(call(gateway, &on_desktop), 401);
    }
    app.saw_nothing("the session has ended");
    for gateway in &gateways {
        assert_eq!(call(gateway, &on_phone), 200, "another session of the same user");
    }
    gateways[0].says("\"by\":\"backchannel-logout\"");
    // Right after a rotation, by a key that no gateway has seen.
    let (mut browser, token) = provider.login("web", "bob");
    assert_eq!(call(&gateways[1], &token), 200);
    provider.publish_new_keys();
    provider.sign_with_new_keys();
    provider.logout(&mut browser);
    assert_eq!(provider.logouts(), ["success", "success"]);
    assert_eq!(call(&gateways[1], &token), 401);
}

/// Registered without it: by `sub`, and so every session of the user.
#[test]
fn the_end_of_a_user_ends_all_her_sessions() {
    let (app, redis, provider) = (Upstream::start(), Redis::start(), Provider::start());
    let gateways = gateways(&provider, &app, &redis, "web-users");
    let (mut desktop, on_desktop) = provider.login("web-users", "alice");
    let (_phone, on_phone) = provider.login("web-users", "alice");
    let (_other, of_bob) = provider.login("web-users", "bob");
    provider.logout(&mut desktop);
    assert_eq!(provider.logouts(), ["success"], "{}", gateways[0].output());
    for gateway in &gateways {
        assert_eq!((call(gateway, &on_desktop), call(gateway, &on_phone)), (401, 401));
        assert_eq!(call(gateway, &of_bob), 200);
    }
}

/// Sent for a client that the gateway is not: the provider is told that it failed.
#[test]
fn a_logout_for_another_client_is_refused() {
    let (app, redis, provider) = (Upstream::start(), Redis::start(), Provider::start());
    let gateways = gateways(&provider, &app, &redis, "web-users");
    let (mut browser, token) = provider.login("web", "alice");
    provider.logout(&mut browser);
    let told = provider.logouts();
    assert!(told.len() == 1 && told[0].contains("400"), "{told:?}");
    assert_eq!(call(&gateways[0], &token), 200);
}
