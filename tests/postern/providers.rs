//! A real OpenID provider end to end: found by discovery, its access tokens taken, everything else
//! that it signs refused; several providers; opaque tokens.

use crate::harness::client::Answer;
use crate::harness::each;
use crate::harness::gateway::Gateway;
use crate::harness::jwks_server::{JwksServer, Page};
use crate::harness::keys::Key;
use crate::harness::pki::authority;
use crate::harness::provider::{GATEWAY_ID, GATEWAY_SECRET, Provider};
use crate::harness::setup::Setup;
use crate::harness::tokens::Token;
use crate::harness::upstream::Upstream;

fn setup(app: &Upstream) -> Setup {
    Setup::bare().upstream("app", &app.url()).route("api", "path = \"/api/*\"")
}

fn call(gateway: &Gateway, token: &str) -> Answer {
    gateway.get("/api/x").bearer(token).send()
}

/// Refused as every token that is not valid, and nothing of it reaches the upstream.
fn refused(gateway: &Gateway, app: &Upstream, target: &str, token: &str, context: &str) {
    app.forget();
    let answer = gateway.get(target).bearer(token).send();
    assert_eq!(answer.status, 401, "{context}: {}", answer.text());
    answer.refused(401);
    app.saw_nothing(context);
}

/// Access tokens of RFC 9068 in, ID tokens out (R13; RFC 9068 §5, OpenID Connect Core §2): also one
/// whose audience the gateway expects.
#[test]
fn access_tokens_and_id_tokens() {
    let (app, provider) = (Upstream::start(), Provider::start());
    let audiences = "audiences = [\"https://api.test\", \"app\"]";
    for (kind, nonces) in [("at+jwt", &[None, Some("n")][..]), ("any", &[Some("n")])] {
        let lines = format!("{audiences}\ntoken_type = \"{kind}\"");
        let gateway = Gateway::start(&setup(&app).issuer("provider", &provider.entry(&lines), &[]));
        gateway.readyz(200);
        for resource in ["/", "/rs256"] {
            app.forget();
            call(&gateway, &provider.token(resource)).expect(200);
            assert_eq!(app.last().header("x-auth-subject"), Some("app"), "{resource}");
        }
        for nonce in nonces {
            let token = provider.id_token(*nonce);
            refused(&gateway, &app, "/api/x", &token, &format!("{kind}, ID token {nonce:?}"));
        }
        refused(&gateway, &app, "/api/x", &provider.token("/opaque"), "an opaque token");
    }
}

/// A fetched key is revoked like a configured one, before it was ever fetched as well; what the
/// provider still publishes changes nothing about that.
#[test]
fn fetched_keys_and_their_issuer_can_be_revoked() {
    let (app, keys) = (Upstream::start(), JwksServer::start());
    let [first, second, third] = ["k1", "k2", "k3"].map(|kid| Key::generate("ES256", kid));
    keys.set("/jwks", Page::keys(&[&first, &second]));
    let entry = format!(
        "algorithms = [\"ES256\"]\njwks_url = \"{}/jwks\"\ncooldown = \"1s\"",
        keys.origin()
    );
    let gateway = Gateway::start(&setup(&app).issuer("main", &entry, &[]));
    let token = |key: &Key| Token::good().sign(key);
    let cached = token(&first);
    call(&gateway, &cached).expect(200);
    gateway.revoke(&serde_json::json!({"kid": "k1"})).expect(201);
    gateway.revoke(&serde_json::json!({"kid": "k3"})).expect(201);
    refused(&gateway, &app, "/api/x", &cached, "in the cache");
    refused(&gateway, &app, "/api/x", &token(&first), "fresh");
    call(&gateway, &token(&second)).expect(200);
    keys.set("/jwks", Page::keys(&[&first, &second, &third]));
    refused(&gateway, &app, "/api/x", &token(&third), "revoked before it was published");
    assert_eq!(gateway.keys_in_use(), 3, "it was fetched: the refusal is about the revocation");
    refused(&gateway, &app, "/api/x", &cached, "after a refresh");
    call(&gateway, &token(&second)).expect(200);
    gateway.revoke(&serde_json::json!({"issuer": crate::harness::tokens::ISSUER})).expect(201);
    refused(&gateway, &app, "/api/x", &token(&second), "its issuer");
}

/// `typ` and the claims that RFC 9068 §2.2 requires, one by one.
#[test]
fn what_an_access_token_must_have() {
    let (app, keys) = (Upstream::start(), JwksServer::start());
    let key = Key::shared("ES256");
    keys.set("/jwks", Page::keys(&[key]));
    let lines = format!(
        "algorithms = [\"ES256\"]\njwks_url = \"{}/jwks\"\ntoken_type = \"at+jwt\"",
        keys.origin()
    );
    let gateway = Gateway::start(&setup(&app).issuer("strict", &lines, &[]));
    let good = || Token::good().header("typ", "at+jwt").claim("client_id", "app");
    for typ in ["at+jwt", "AT+JWT", "application/at+jwt"] {
        call(&gateway, &good().header("typ", typ).sign(key)).expect(200);
    }
    let rows = [
        ("typ JWT", good().header("typ", "JWT")),
        ("no typ", good().header("typ", "(absent)")),
        ("typ at+jwt in another type", good().header("typ", "text/at+jwt")),
        ("no iss", good().without("iss")),
        ("no exp", good().without("exp")),
        ("no aud", good().without("aud")),
        ("no sub", good().without("sub")),
        ("no client_id", good().without("client_id")),
        ("no iat", good().without("iat")),
        ("no jti", good().without("jti")),
    ];
    each(rows, |(name, token)| refused(&gateway, &app, "/api/x", &token.sign(key), name));
}

/// Two providers: each has its own tokens, and routes say whose they take.
#[test]
fn two_providers() {
    let (app, one, two) = (Upstream::start(), Provider::start(), Provider::start());
    let setup = setup(&app)
        .issuer("one", &one.entry(""), &[])
        .issuer("two", &two.entry(""), &[])
        .route("of-one", "path = \"/one/*\"\nissuers = [\"one\"]")
        .route("of-two", "path = \"/two/*\"\nissuers = [\"two\"]");
    let gateway = Gateway::start(&setup);
    for (own, other, token) in
        [("/one/x", "/two/x", one.token("/")), ("/two/x", "/one/x", two.token("/"))]
    {
        gateway.get("/api/x").bearer(&token).send().expect(200);
        gateway.get(own).bearer(&token).send().expect(200);
        // Twice: the token is in the cache by now.
        for _ in 0..2 {
            refused(&gateway, &app, other, &token, other);
        }
    }
}

/// Two entries of one provider, told apart by the audience: whichever accepts a token counts, also
/// when the cache knows it from the other.
#[test]
fn two_entries_of_one_provider() {
    let (app, keys) = (Upstream::start(), JwksServer::start());
    let key = Key::shared("ES256");
    keys.set("/jwks", Page::keys(&[key]));
    let entry = |audience: &str| {
        format!(
            "audiences = [\"{audience}\"]\nalgorithms = [\"ES256\"]\njwks_url = \"{}/jwks\"",
            keys.origin()
        )
    };
    let setup = setup(&app)
        .issuer("web", &entry("web"), &[])
        .issuer("admin", &entry("admin"), &[])
        .route("web", "path = \"/web/*\"\nissuers = [\"web\"]")
        .route("admin", "path = \"/admin/*\"\nissuers = [\"admin\"]");
    let gateway = Gateway::start(&setup);
    let of = |audiences: &[&str]| Token::good().claim("aud", audiences).sign(key);
    let both = of(&["web", "admin"]);
    for target in ["/api/x", "/admin/x", "/web/x", "/admin/x"] {
        gateway.get(target).bearer(&both).send().expect(200);
    }
    let admin = of(&["admin"]);
    for _ in 0..2 {
        gateway.get("/api/x").bearer(&admin).send().expect(200);
        gateway.get("/admin/x").bearer(&admin).send().expect(200);
        refused(&gateway, &app, "/web/x", &admin, "of the other entry");
    }
    refused(&gateway, &app, "/api/x", &of(&["other"]), "of neither");
}

/// Over TLS with a private authority: trusted only where `ca` says so, and only under its own name.
#[test]
fn tls_to_the_provider() {
    let app = Upstream::start();
    let server = JwksServer::tls(&["127.0.0.1"]);
    let misnamed = JwksServer::tls(&["other.test"]);
    let key = Key::shared("ES256");
    for server in [&server, &misnamed] {
        server.set("/jwks", Page::keys(&[key]));
    }
    let entry = |name: &str, server: &JwksServer, ca: &str| {
        format!(
            "issuer = \"https://{name}.test\"\nalgorithms = [\"ES256\"]\ntimeout = \"2s\"\n\
             jwks_url = \"{}/jwks\"\n{ca}",
            server.origin()
        )
    };
    let setup = setup(&app)
        .file("ca.pem", &authority().pem)
        .issuer("good", &entry("good", &server, "ca = \"ca.pem\""), &[])
        .issuer("unknown-ca", &entry("unknown-ca", &server, ""), &[])
        .issuer("misnamed", &entry("misnamed", &misnamed, "ca = \"ca.pem\""), &[]);
    let gateway = Gateway::start(&setup);
    let of = |name: &str| Token::good().claim("iss", format!("https://{name}.test")).sign(key);
    call(&gateway, &of("good")).expect(200);
    for name in ["unknown-ca", "misnamed"] {
        app.forget();
        call(&gateway, &of(name)).refused(503);
        app.saw_nothing(name);
    }
    assert_eq!(
        (server.fetches("/jwks"), misnamed.fetches("/jwks")),
        (1, 0),
        "{}",
        gateway.output()
    );
}

/// Opaque tokens: the provider is asked, and what it has revoked is refused at once (RFC 7662).
#[test]
fn opaque_tokens() {
    let (app, mut provider) = (Upstream::start(), Provider::start());
    for method in ["basic", "post"] {
        let lines = format!(
            "kind = \"introspection\"\nissuer = \"{issuer}\"\nurl = \"{issuer}/token/introspection\"\n\
             client_id = \"{GATEWAY_ID}\"\nclient_secret_file = \"client.key\"\n\
             client_auth = \"{method}\"\nrequired_claims = []\ntimeout = \"2s\"",
            issuer = provider.issuer()
        );
        let setup = setup(&app).issuer("opaque", &lines, &[]).file("client.key", GATEWAY_SECRET);
        let gateway = Gateway::start(&setup);
        let token = provider.token("/opaque");
        for _ in 0..3 {
            call(&gateway, &token).expect(200);
        }
        refused(&gateway, &app, "/api/x", "nobody-knows-this-one", "an unknown token");
        provider.revoke(&token);
        refused(&gateway, &app, "/api/x", &token, "revoked at the provider");
        assert!(!gateway.settled_output().contains(GATEWAY_SECRET));
        if method == "post" {
            let token = provider.token("/opaque");
            call(&gateway, &token).expect(200);
            provider.stop();
            app.forget();
            let answer = call(&gateway, &token).refused(503);
            assert!(answer.header("retry-after").is_some());
            app.saw_nothing("the provider cannot be asked");
        }
    }
}
