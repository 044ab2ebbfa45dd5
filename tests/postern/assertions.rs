//! Tokens that are made for an upstream (`[upstreams.X.assertion]`): what they say, that nobody else
//! can say it, and that they are nothing else. The upstreams' side is other people's libraries.

use std::io::Write as _;
use std::process::{Command, Stdio};

use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{DecodingKey, Validation};
use serde_json::{Value, json};

use crate::harness::apps::{installed, root};
use crate::harness::gateway::{Gateway, refuses_to_start};
use crate::harness::h2::H2;
use crate::harness::keys::Key;
use crate::harness::pki::authority;
use crate::harness::setup::{HOST, Setup};
use crate::harness::tokens::{AUDIENCE, ISSUER, Token};
use crate::harness::unix_now;
use crate::harness::upstream::{After, Upstream, reply};

const HEADER: &str = "x-postern-assertion";
const GATEWAY: &str = "https://gateway.test";
const ORDERS: &str = "https://orders.internal";
const JWKS: &str = "/_postern/jwks.json";

/// An assertion section for the upstream `name`, signed by these keys.
fn asserting(setup: Setup, name: &str, audience: &str, keys: &[&Key]) -> Setup {
    let section = format!("upstreams.{name}.assertion");
    let mut setup = setup.set(&section, "audience", &format!("\"{audience}\"")).set(
        &section,
        "issuer",
        &format!("\"{GATEWAY}\""),
    );
    let mut list = Vec::new();
    for key in keys {
        let file = format!("assertion-{}.key", key.kid);
        let (source, content) = if key.algorithm.starts_with("HS") {
            ("secret_file", String::from_utf8(key.secret_bytes().to_vec()).unwrap())
        } else {
            ("private_key_file", key.private_pem())
        };
        list.push(format!(
            "{{ kid = \"{}\", algorithm = \"{}\", {source} = \"{file}\" }}",
            key.kid, key.algorithm
        ));
        setup = setup.file(&file, content);
    }
    setup.set(&section, "keys", &format!("[{}]", list.join(", ")))
}

/// The standard routes, an optional one and a second one, to an upstream with an assertion.
fn setup(app: &Upstream, keys: &[&Key]) -> Setup {
    let setup = Setup::standard(app)
        .route("optional", "path = \"/optional/*\"\nauth = \"optional\"")
        .route("ws", "path = \"/ws\"\nupgrade = [\"websocket\"]");
    asserting(setup, "app", ORDERS, keys)
}

fn es256(kid: &str) -> Key {
    Key::generate("ES256", kid)
}

fn jwks(gateway: &Gateway) -> JwkSet {
    let answer = gateway.get(JWKS).send().expect(200);
    let text = answer.text();
    for private in ["\"d\"", "\"k\"", "\"p\"", "oct"] {
        assert!(!text.contains(private), "{text}");
    }
    serde_json::from_str(&text).unwrap()
}

/// What an upstream does, with the library `jsonwebtoken`.
fn verified(keys: &JwkSet, assertion: &str) -> Result<Value, String> {
    let _installed = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
    let header = jsonwebtoken::decode_header(assertion).map_err(|e| e.to_string())?;
    if header.typ.as_deref() != Some("postern-assertion+jwt") {
        return Err(format!("typ {:?}", header.typ));
    }
    let key = keys.find(header.kid.as_deref().unwrap_or_default()).ok_or("no such key")?;
    let key = DecodingKey::from_jwk(key).map_err(|e| e.to_string())?;
    let mut validation = Validation::new(header.alg);
    validation.set_issuer(&[GATEWAY]);
    validation.set_audience(&[ORDERS]);
    validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    validation.leeway = 0;
    let token = jsonwebtoken::decode::<Value>(assertion, &key, &validation);
    token.map(|token| token.claims).map_err(|e| e.to_string())
}

fn assertion(app: &Upstream) -> String {
    app.last().header(HEADER).expect("an assertion").to_owned()
}

#[test]
fn the_upstream_verifies_it_with_the_published_keys() {
    let app = Upstream::start();
    for algorithm in ["ES256", "EdDSA", "RS256"] {
        let key = Key::generate(algorithm, "a1");
        let setup = setup(&app, &[&key]).set(
            "upstreams.app.assertion",
            "claims",
            "[\"email\", \"/realm/roles\", \"nobody\"]",
        );
        let gateway = Gateway::start(&setup);
        let token = Token::good()
            .claim("email", "Zoë\r\n")
            .claim("realm", json!({ "roles": ["a", "b"] }))
            .claim("phone", "555-0100");
        // The control character is no header's business: identity headers do not carry `email`.
        let setup = setup.set("identity.headers", "\"X-Auth-Subject\"", "\"sub\"");
        gateway.reload(&setup).expect(200);
        gateway.get("/api/x").bearer(&token.sign(Key::shared("ES256"))).send().expect(200);
        assert_eq!(app.last().header("x-auth-subject"), Some("alice"), "beside the headers");
        let claims = verified(&jwks(&gateway), &assertion(&app)).unwrap();
        let (iat, exp) = (claims["iat"].as_i64().unwrap(), claims["exp"].as_i64().unwrap());
        assert!((unix_now() - iat).abs() <= 5 && exp - iat == 60, "{claims}");
        let expected = json!({
            "iss": GATEWAY, "aud": ORDERS, "sub": "alice", "iat": iat, "exp": exp, "route": "api",
            "sub_id": { "format": "iss_sub", "iss": ISSUER, "sub": "alice" },
            "email": "Zoë\r\n", "roles": ["a", "b"],
        });
        assert_eq!(claims, expected, "{algorithm}: these and no others");
    }
}

/// The snippets of docs/upstream-tokens.md, run as they stand there.
#[test]
fn the_documented_snippets_verify_it_and_refuse_the_rest() {
    let folder = root().join("tests/apps/assertions");
    let python = root().join("tests/.cache/assertions/bin/python");
    installed(&folder.join("node_modules"));
    installed(&python);
    let page = std::fs::read_to_string(root().join("docs/upstream-tokens.md")).unwrap();
    for file in ["verify.mjs", "verify.py"] {
        let program = std::fs::read_to_string(folder.join(file)).unwrap();
        let language = if file.ends_with("py") { "```python\n" } else { "```js\n" };
        let shown = page.split(language).nth(1).unwrap().split("```").next().unwrap();
        for block in shown.split("\n\n\n").flat_map(|part| part.split("// ...\n")) {
            assert!(program.contains(block.trim()), "{file} lacks what the page shows:\n{block}");
        }
    }
    let (app, key) = (Upstream::start(), es256("a1"));
    let gateway = Gateway::start(&setup(&app, &[&key]));
    let token = Token::good().sign(Key::shared("ES256"));
    gateway.get("/api/x").bearer(&token).send().expect(200);
    let good = assertion(&app);
    let url = format!("https://{}{JWKS}", gateway.address("https"));
    let ca = gateway.dir.path().join("ca.pem");
    std::fs::write(&ca, &authority().pem).unwrap();
    let run = |program: &[&str], arguments: [&str; 4], input: &str| {
        let mut command = Command::new(program[0]);
        command.args(&program[1..]).args(arguments).current_dir(&folder);
        command.env("NODE_EXTRA_CA_CERTS", &ca).env("SSL_CERT_FILE", &ca);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    };
    let python = python.to_str().unwrap();
    for program in [vec!["node", "verify.mjs"], vec![python, "verify.py"]] {
        let output = run(&program, [&url, GATEWAY, ORDERS, "api"], &good);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{program:?}: {said}");
        let claims: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!((&claims["sub"], &claims["route"]), (&json!("alice"), &json!("api")));
        let forged = {
            let claims = json!({ "iss": GATEWAY, "aud": ORDERS, "sub": "root", "route": "api" });
            let token = claims
                .as_object()
                .unwrap()
                .iter()
                .fold(Token::good(), |token, (n, v)| token.claim(n, v.clone()));
            token.header("typ", "postern-assertion+jwt").sign(&es256("a1"))
        };
        for (why, arguments, input) in [
            ("another issuer", [&*url, "https://other", ORDERS, "api"], &good),
            ("another audience", [&*url, GATEWAY, "https://billing.internal", "api"], &good),
            ("another route", [&*url, GATEWAY, ORDERS, "admin"], &good),
            ("an access token", [&*url, ISSUER, AUDIENCE, "api"], &token),
            ("another key", [&*url, GATEWAY, ORDERS, "api"], &forged),
        ] {
            let output = run(&program, arguments, input);
            assert!(!output.status.success(), "{program:?} took {why}");
        }
    }
}

/// R24; sources as in `headers.rs`. On public and anonymous requests none goes on at all.
#[test]
fn clients_cannot_send_one() {
    let (app, key) = (Upstream::start(), es256("a1"));
    let token = Token::good().sign(Key::shared("ES256"));
    for (header, spellings) in [
        (
            "X-Postern-Assertion",
            ["x-postern-assertion", "X_Postern_Assertion", "X-POSTERN.Assertion"],
        ),
        ("Upstream-Token", ["upstream-token", "Upstream_Token", "UPSTREAM~TOKEN"]),
    ] {
        let setup = setup(&app, &[&key])
            .set("upstreams.app.assertion", "header", &format!("\"{header}\""))
            .upstream("other", &app.url())
            .route("other", "path = \"/other/*\"\nupstream = \"other\"");
        let gateway = Gateway::start(&setup);
        for spelling in spellings {
            for (path, token, own) in [
                ("/api/x", Some(&token), true),
                ("/optional/x", None, false),
                ("/public/x", None, false),
                ("/public/x", Some(&token), false),
                ("/other/x", Some(&token), false),
            ] {
                let mut request = gateway.get(path).header(spelling, "forged");
                request = request.header(spelling, "forged").header("Connection", spelling);
                if let Some(token) = token {
                    request = request.bearer(token);
                }
                request.send().expect(200);
                let seen = app.last();
                let text = format!("{:?}", seen.headers);
                assert!(!text.contains("forged"), "{spelling} on {path}: {text}");
                assert_eq!(seen.header(header).is_some(), own, "{spelling} on {path}: {text}");
            }
        }
    }
}

/// Cached per token and route: the same bytes again, others for another route or token; revoked is
/// revoked, cached or not (invariant 1).
#[test]
fn one_for_each_token_and_route_and_never_a_decision() {
    let (app, key) = (Upstream::start(), es256("a1"));
    let setup = setup(&app, &[&key]).route("second", "path = \"/second/*\"");
    let gateway = Gateway::start(&setup);
    let alice = Token::good();
    let (signed, again) = (alice.sign(Key::shared("ES256")), Token::good());
    let get = |path: &str, token: &str| {
        gateway.get(path).bearer(token).send().expect(200);
        assertion(&app)
    };
    let made = get("/api/x", &signed);
    for _ in 0..5 {
        assert_eq!(get("/api/y", &signed), made);
    }
    let second = get("/second/x", &signed);
    let keys = jwks(&gateway);
    assert_eq!(verified(&keys, &second).unwrap()["route"], "second");
    assert_eq!(verified(&keys, &made).unwrap()["route"], "api");
    assert_ne!(get("/api/x", &again.sign(Key::shared("ES256"))), made);
    gateway.revoke_jti(alice.jti());
    app.forget();
    gateway.get("/api/x").bearer(&signed).send().refused(401);
    gateway.get("/second/x").bearer(&signed).send().refused(401);
    app.saw_nothing("revoked");
    // Not bound: the same for every route.
    gateway.reload(&setup.set("upstreams.app.assertion", "bind", "\"off\"")).expect(200);
    let token = again.sign(Key::shared("ES256"));
    let free = get("/api/x", &token);
    assert_eq!(get("/second/x", &token), free);
    assert_eq!(verified(&keys, &free).unwrap().get("route"), None);
}

/// It never outlives the caller's token; what lives by the leeway alone gets none, and no entry.
#[test]
fn it_ends_with_the_callers_token() {
    let (app, key) = (Upstream::start(), es256("a1"));
    let other = "path = \"/other/*\"\nupstream = \"other\"";
    let setup = setup(&app, &[&key]).upstream("other", &app.url()).route("other", other);
    let gateway = Gateway::start(&setup);
    let ends = unix_now() + 20;
    let token = Token::good().claim("exp", ends).sign(Key::shared("ES256"));
    gateway.get("/api/x").bearer(&token).send().expect(200);
    let claims = verified(&jwks(&gateway), &assertion(&app)).unwrap();
    assert_eq!(claims["exp"], ends);
    let token = Token::good().claim("iat", unix_now() - 60).claim("exp", unix_now() - 5);
    let token = token.sign(Key::shared("ES256"));
    gateway.get("/other/x").bearer(&token).send().expect(200);
    app.forget();
    let answer = gateway.get("/api/x").bearer(&token).send().refused(401);
    assert_eq!(answer.header("www-authenticate"), Some("Bearer error=\"invalid_token\""));
    app.saw_nothing("expired, within the leeway");
    let line = gateway.access_line(answer.header("x-request-id").unwrap());
    assert_eq!(line["auth.reason"], "expired", "{line}");
}

/// RFC 8725 §3.11: Postern itself takes none, on any route, and not by any key.
#[test]
fn it_is_no_bearer_token() {
    let (app, key) = (Upstream::start(), es256("a1"));
    let gateway = Gateway::start(&setup(&app, &[&key]));
    let token = Token::good().sign(Key::shared("ES256"));
    gateway.get("/api/x").bearer(&token).send().expect(200);
    let made = assertion(&app);
    app.forget();
    for path in ["/api/x", "/optional/x", "/admin/x"] {
        gateway.get(path).bearer(&made).send().refused(401);
    }
    // By a key that is believed, with everything else right: the type alone refuses it.
    let typed = Token::good().header("typ", "postern-assertion+jwt").sign(Key::shared("ES256"));
    gateway.get("/api/x").bearer(&typed).send().refused(401);
    let typed = Token::good().header("typ", "application/postern-assertion+jwt");
    gateway.get("/api/x").bearer(&typed.sign(Key::shared("ES256"))).send().refused(401);
    app.saw_nothing("assertions");
    // And what is no assertion is none for the upstream.
    assert!(verified(&jwks(&gateway), &token).unwrap_err().contains("typ"));
}

#[test]
fn instead_of_the_identity_headers() {
    let (app, key) = (Upstream::start(), es256("a1"));
    let setup = setup(&app, &[&key]).set("identity", "preset", "\"envoy\"").set(
        "upstreams.app.assertion",
        "identity_headers",
        "false",
    );
    let gateway = Gateway::start(&setup);
    // A subject that no header could say is refused where headers are sent; here it is JSON.
    let token = Token::good().claim("email", "a\tb").sign(Key::shared("ES256"));
    gateway.get("/api/x").bearer(&token).header("X-Auth-Subject", "root").send().expect(200);
    let seen = app.last();
    let names: Vec<_> = seen.headers.iter().map(|(name, _)| name.to_lowercase()).collect();
    let told = |name: &&String| name.starts_with("x-auth") || name.starts_with("x-jwt");
    assert_eq!(names.iter().find(told), None, "{names:?}");
    assert_eq!(verified(&jwks(&gateway), &assertion(&app)).unwrap()["sub"], "alice");
}

/// The first signs, the others are published: a rotation without a gap.
#[test]
fn keys_rotate_by_a_reload() {
    let (app, old, new) = (Upstream::start(), es256("old"), es256("new"));
    let token = Token::good().sign(Key::shared("ES256"));
    let gateway = Gateway::start(&setup(&app, &[&old]));
    let get = || {
        gateway.get("/api/x").bearer(&token).send().expect(200);
        assertion(&app)
    };
    let kid = |text: &str| jsonwebtoken::decode_header(text).unwrap().kid.unwrap();
    let first = get();
    assert_eq!(kid(&first), "old");
    // Announced, not used: what was made still serves, for nothing has changed about it.
    gateway.reload(&setup(&app, &[&old, &new])).expect(200);
    assert_eq!(get(), first);
    assert!(jwks(&gateway).find("new").is_some() && jwks(&gateway).find("old").is_some());
    gateway.reload(&setup(&app, &[&new, &old])).expect(200);
    let second = get();
    assert_eq!(kid(&second), "new", "at once, though the old one was still young");
    for text in [&first, &second] {
        verified(&jwks(&gateway), text).unwrap();
    }
    gateway.reload(&setup(&app, &[&new])).expect(200);
    assert!(verified(&jwks(&gateway), &first).is_err());
    assert_eq!(get(), second);
    // Other settings are never served from before.
    let other = setup(&app, &[&new]).set("upstreams.app.assertion", "ttl", "\"10s\"");
    gateway.reload(&other).expect(200);
    let claims = verified(&jwks(&gateway), &get()).unwrap();
    assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 10);
    // A wrong configuration changes nothing.
    let wrong = setup(&app, &[&new]).set("upstreams.app.assertion", "ttl", "\"90s\"");
    assert_ne!(gateway.reload(&wrong).status, 200);
    get();
}

#[test]
fn a_secret_is_never_published() {
    let app = Upstream::start();
    let secret = Key::secret("HS256", "s1", b"0123456789abcdef0123456789abcdef");
    let gateway = Gateway::start(&setup(&app, &[&secret]));
    gateway.get(JWKS).send().refused(404);
    let token = Token::good().sign(Key::shared("ES256"));
    gateway.get("/api/x").bearer(&token).send().expect(200);
    let mut validation = Validation::new(jsonwebtoken::Algorithm::HS256);
    validation.set_audience(&[ORDERS]);
    let _installed = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
    let key = DecodingKey::from_secret(secret.secret_bytes());
    let claims = jsonwebtoken::decode::<Value>(&assertion(&app), &key, &validation).unwrap();
    assert_eq!(claims.claims["sub"], "alice");
    assert!(!gateway.settled_output().contains("0123456789abcdef"), "not in a log either");
}

/// WebSocket handshakes, HTTP/2, gRPC, bodies, and requests that are sent a second time.
#[test]
fn every_kind_of_request_carries_it() {
    let key = es256("a1");
    let app = Upstream::with(|seen, stream| {
        let again = seen.target.ends_with("/again") && seen.connection == 0;
        if seen.header("upgrade").is_some() {
            drop(stream.write_all(
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: \
                  Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
            ));
            return After::Close;
        }
        if again {
            return After::Close;
        }
        reply(stream, "200 OK", &[], "fine");
        After::Keep
    });
    let gateway = Gateway::start(&setup(&app, &[&key]));
    let token = Token::good().sign(Key::shared("ES256"));
    let check = |what: &str| {
        let claims = verified(&jwks(&gateway), &assertion(&app));
        assert_eq!(claims.unwrap()["sub"], "alice", "{what}");
    };
    // On the connection that the upstream then closes without an answer; sent once more.
    let mut client = gateway.https().connect();
    gateway.get("/api/x").bearer(&token).on(&mut client).unwrap().expect(200);
    app.forget();
    gateway.get("/api/again").bearer(&token).on(&mut client).unwrap().expect(200);
    let seen = app.seen();
    assert_eq!(seen.len(), 2, "it was sent twice");
    assert_eq!(seen[0].header(HEADER), seen[1].header(HEADER));
    check("again");
    gateway.post("/api/x").bearer(&token).body("pay").send().expect(200);
    check("POST");
    let h2 = H2::connect(gateway.address("https"), HOST);
    assert_eq!(h2.get("/api/x", Some(&token)).unwrap().status, 200);
    check("HTTP/2");
    let request = h2.request("POST", "/api/pkg.Service/Method").header("te", "trailers");
    let request = request.header("content-type", "application/grpc");
    let request = request.header("authorization", format!("Bearer {token}"));
    let request = request.header(HEADER, "forged").body(http_body_util::Full::default()).unwrap();
    assert_eq!(h2.send(request).unwrap().status, 200);
    check("gRPC");
    let mut connection = gateway.https().connect();
    let handshake = crate::harness::live::upgrade(&gateway, "/ws").bearer(&token);
    handshake.on(&mut connection).unwrap().expect(101);
    check("WebSocket");
}

/// Tokens that only their provider can judge: made of what it says, each time that it is asked.
#[test]
fn opaque_tokens_too() {
    let (app, key) = (Upstream::start(), es256("a1"));
    let provider = Upstream::with(|_, stream| {
        let said = json!({ "active": true, "sub": "ada", "aud": AUDIENCE, "email": "ada@test" });
        reply(stream, "200 OK", &[("Content-Type", "application/json")], &said.to_string());
        After::Keep
    });
    let lines = format!(
        "kind = \"introspection\"\nissuer = \"https://opaque.test\"\nmax_lifetime = \"off\"\n\
         url = \"{}/introspect\"\nclient_id = \"gateway\"\nclient_secret_file = \"client.secret\"",
        provider.url()
    );
    let setup = setup(&app, &[&key])
        .issuer("opaque", &lines, &[])
        .file("client.secret", "a secret")
        .set("upstreams.app.assertion", "claims", "[\"email\"]");
    let gateway = Gateway::start(&setup);
    gateway.get("/api/x").bearer("opaque-token").send().expect(200);
    let claims = verified(&jwks(&gateway), &assertion(&app)).unwrap();
    let issuer = &claims["sub_id"]["iss"];
    assert_eq!((&claims["sub"], issuer), (&json!("ada"), &json!("https://opaque.test")));
    assert_eq!(claims["email"], "ada@test");
    assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 60);
}

/// At the start and in `postern check`: every problem with its place and what to do.
#[test]
fn a_wrong_configuration_does_not_start() {
    let (app, key) = (Upstream::start(), es256("a1"));
    let section = "upstreams.app.assertion";
    for (setup, message) in [
        (setup(&app, &[&key]).unset(section, "issuer"), "public_url is not set"),
        (setup(&app, &[&key]).unset(section, "audience"), "`audience` is missing"),
        (setup(&app, &[&key]).unset(section, "keys"), "no key to sign with"),
        (setup(&app, &[&key]).set(section, "ttl", "\"61s\""), "between 5s and 60s"),
        (setup(&app, &[&key]).set(section, "claims", "[\"aud\"]"), "itself writes `aud`"),
        (setup(&app, &[&key]).set(section, "issuer", &format!("\"{ISSUER}\"")), "is the issuer of"),
        (setup(&app, &[Key::shared("ES256")]), "are verified with this key"),
        (
            setup(&app, &[&key]).set(section, "header", "\"x-auth-email\""),
            "identity header already",
        ),
    ] {
        let (code, said) = refuses_to_start(&setup);
        assert_eq!(code, 2, "{said}");
        assert!(said.contains(message) && said.contains("postern.toml"), "{message}: {said}");
    }
    // The public URL says who it is, and `routes` what the upstream gets.
    let setup = setup(&app, &[&key]).unset(section, "issuer").set(
        "listen",
        "public_url",
        &format!("\"https://{HOST}\""),
    );
    let gateway = Gateway::start(&setup);
    let token = Token::good().sign(Key::shared("ES256"));
    gateway.get("/api/x").bearer(&token).send().expect(200);
    let made = assertion(&app);
    let claims = jsonwebtoken::dangerous::insecure_decode::<Value>(&made).unwrap().claims;
    assert_eq!(claims["iss"], format!("https://{HOST}"));
    let routes = gateway.cli(&["routes", "--config", "postern.toml", "--json"], "");
    let routes: Value = serde_json::from_slice(&routes.stdout).unwrap();
    let of = |name: &str| {
        routes.as_array().unwrap().iter().find(|route| route["name"] == name).unwrap().clone()
    };
    assert_eq!(of("api")["assertion"], ORDERS);
    assert_eq!(of("public").get("assertion"), None);
}
