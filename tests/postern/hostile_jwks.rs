//! Providers that are broken, and strangers who pretend to be one: each document is refused with a
//! line that says what is wrong, the keys that worked go on working, and at the start there are
//! simply none yet.

use std::net::{IpAddr, ToSocketAddrs};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::client::Answer;
use crate::harness::gateway::Gateway;
use crate::harness::jwks_server::{JwksServer, Page};
use crate::harness::keys::{Key, base64url, random};
use crate::harness::setup::Setup;
use crate::harness::tokens::Token;
use crate::harness::upstream::Upstream;
use crate::harness::{each, eventually, soon};

/// What the server of a case publishes, by path below the case's own, and what the log says of it.
struct Case {
    name: &'static str,
    /// Asked for by `jwks_url`, or by discovery.
    discovery: bool,
    bad: Vec<(String, Page)>,
    says: &'static str,
}

fn key() -> &'static Key {
    Key::shared("ES256")
}

fn setup(app: &Upstream) -> Setup {
    Setup::bare()
        .upstream("app", &app.url())
        .route("public", "path = \"/public/*\"\nauth = \"none\"")
        .route("api", "path = \"/api/*\"")
}

fn call(gateway: &Gateway, token: &str) -> Answer {
    gateway.get("/api/x").bearer(token).send()
}

/// A line of the log that names the entry and says these words.
fn logged(gateway: &Gateway, entry: &str, words: &str) {
    let quoted = format!("\"{entry}\"");
    let says = |line: &String| line.contains(&quoted) && line.contains(words);
    let start = Instant::now();
    while !gateway.stderr().all().iter().any(says) {
        let about: Vec<String> =
            gateway.stderr().all().into_iter().filter(|line| line.contains(&quoted)).collect();
        assert!(
            start.elapsed() < Duration::from_secs(10),
            "{entry}: no line says {words:?}; there are {about:#?}"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn direct(name: &'static str, says: &'static str, bad: Page) -> Case {
    Case { name, discovery: false, bad: vec![(String::new(), bad)], says }
}

fn metadata(name: &'static str, says: &'static str, bad: Page) -> Case {
    let path = "/.well-known/openid-configuration".to_owned();
    Case { name, discovery: true, bad: vec![(path, bad)], says }
}

/// Many small keys that differ in their names alone.
fn many_keys(count: usize) -> Page {
    let mut jwk = key().jwk();
    let keys = (0..count).map(|number| {
        jwk["kid"] = json!(format!("key-{number}"));
        jwk.clone()
    });
    Page::json(&json!({ "keys": keys.collect::<Vec<Value>>() }))
}

/// An RSA key of so many bits; nobody has its private half.
fn rsa(bits: usize, exponent: &[u8]) -> Value {
    let mut modulus = random(bits / 8);
    modulus[0] |= 0x80;
    *modulus.last_mut().unwrap() |= 1;
    json!({"kty": "RSA", "kid": "weak", "alg": "RS256", "use": "sig",
           "n": base64url(modulus), "e": base64url(exponent)})
}

fn set_of(keys: &[Value]) -> Page {
    Page::json(&json!({ "keys": keys }))
}

/// Bodies, statuses, connections.
fn broken_answers(server: &JwksServer, other: &JwksServer) -> Vec<Case> {
    let good = || Page::keys(&[key()]);
    let html = "<!DOCTYPE html><html><title>Sign in</title></html>";
    let text = |body: &str| Page::text("application/json", body);
    let loops = format!("{}/redirect-loop", server.origin());
    vec![
        direct("slow", "within 500ms", good().after(Duration::from_secs(3))),
        direct("dripping", "within 500ms", good().dripping()),
        direct("huge", "over 1048576 bytes", text(&" ".repeat(65536)).endless()),
        direct("huge-length", "over 1048576 bytes", text(&" ".repeat(1 << 21))),
        direct("truncated", "no complete HTTP response", good().truncated()),
        direct("html", "HTML", Page::text("text/html", html)),
        direct("html-as-json", "HTML", Page::text("application/json", html)),
        direct("empty", "JWK", text("")),
        direct("no-json", "JWK", text("{\"keys\": [}")),
        direct("array", "JWK", text("[]")),
        direct("no-keys", "JWK", text("{}")),
        direct("keys-no-array", "JWK", text("{\"keys\": {}}")),
        direct("keys-twice", "JWK", text("{\"keys\": [], \"keys\": []}")),
        direct("no-key-at-all", "no usable key", text("{\"keys\": []}")),
        direct("not-found", "status 404", Page::status(404)),
        direct("unavailable", "status 503", Page::status(503)),
        direct("no-content", "status 204", Page::status(204)),
        direct("compressed", "Content-Encoding", good().header("Content-Encoding", "gzip")),
        direct("redirect-host", "redirect", Page::redirect(&format!("{}/ok", other.origin()))),
        direct("redirect-name", "redirect", Page::redirect(&server.origin_as("localhost"))),
        direct("redirect-metadata", "redirect", Page::redirect("https://169.254.169.254/latest/")),
        direct("redirect-nowhere", "redirect", Page::status(302)),
        direct("redirect-file", "redirect", Page::redirect("file:///etc/passwd")),
        direct("redirect-loop", "redirect", Page::redirect(&loops)),
        direct("ten-thousand-keys", "keys", many_keys(10_000)),
        direct("hundred-and-one-keys", "101 keys", many_keys(101)),
    ]
}

/// Keys that are none: nothing else in the document.
fn broken_keys() -> Vec<Case> {
    let oct = Key::shared("HS256").jwk();
    let twin = Key::generate("ES256", &key().kid).jwk();
    let with = |name: &str, value: Value| {
        let mut jwk = key().jwk();
        jwk[name] = value;
        set_of(&[jwk])
    };
    vec![
        // RFC 8725 §2.1, R3: everybody who can read the URL could sign.
        direct("oct", "no usable key", set_of(&[oct])),
        direct("duplicate-kid", "several different keys", set_of(&[key().jwk(), twin])),
        direct("rsa-1024", "no usable key", set_of(&[rsa(1024, &[1, 0, 1])])),
        direct("rsa-e-1", "no usable key", set_of(&[rsa(2048, &[1])])),
        direct("for-encryption", "no usable key", with("use", json!("enc"))),
        direct("for-signing-only", "no usable key", with("key_ops", json!(["sign"]))),
        direct("other-algorithm", "no usable key", with("alg", json!("RS512"))),
        direct("other-curve", "no usable key", with("crv", json!("P-521"))),
        direct("off-the-curve", "no usable key", with("x", json!(base64url([1; 32])))),
        direct("unknown-type", "no usable key", with("kty", json!("XYZ"))),
    ]
}

/// Metadata; its JWKS would be good.
fn broken_metadata(server: &JwksServer, other: &JwksServer) -> Vec<Case> {
    let good = format!("{}/ok", server.origin());
    let named = |name: &str| format!("{}/{name}", server.origin());
    let keys_at = |name: &str, at: &str| Page::metadata(&named(name), at);
    vec![
        // OpenID Connect Discovery 1.0 §4.3, RFC 8414 §3.3: the issuers MUST be identical.
        metadata("wrong-issuer", "issuer", Page::metadata("https://evil.test", &good)),
        metadata("issuer-slash", "issuer", keys_at("issuer-slash/", &good)),
        metadata("issuer-absent", "issuer", Page::json(&json!({ "jwks_uri": good }))),
        metadata("no-jwks-uri", "jwks_uri", Page::json(&json!({ "issuer": named("no-jwks-uri") }))),
        metadata("foreign-host", "jwks_hosts", keys_at("foreign-host", "https://keys.test/jwks")),
        metadata(
            "foreign-name",
            "jwks_hosts",
            keys_at("foreign-name", &other.origin_as("localhost").replace("https", "http")),
        ),
        metadata("plain-host", "jwks_uri", keys_at("plain-host", "http://keys.test/jwks")),
        metadata("file-uri", "jwks_uri", keys_at("file-uri", "file:///etc/passwd")),
        metadata(
            "private-uri",
            "link-local",
            keys_at("private-uri", "https://169.254.169.254/latest/meta-data/"),
        ),
        metadata("metadata-html", "HTML", Page::text("text/html", "<html></html>")),
        metadata("metadata-huge", "over 262144 bytes", Page::text("a/b", [b' '; 65536]).endless()),
        metadata("metadata-empty", "JSON", Page::json(&json!(null))),
        metadata("metadata-away", "redirect", Page::redirect(&format!("{}/m", other.origin()))),
    ]
}

/// All of it at one gateway, an issuer entry each: at the start, where there is nothing to fall
/// back on; when everything is good; and when it turns bad again.
#[test]
fn documents_that_are_refused() {
    let (app, server, other) = (Upstream::start(), JwksServer::start(), JwksServer::start());
    let mut cases = broken_answers(&server, &other);
    cases.extend(broken_keys());
    cases.extend(broken_metadata(&server, &other));
    server.set("/ok", Page::keys(&[key()]));
    other.set("/ok", Page::keys(&[key()]));
    let turn_bad = || {
        for case in &cases {
            for (path, page) in &case.bad {
                server.set(&format!("/{}{path}", case.name), page.clone());
            }
        }
    };
    turn_bad();
    let mut setup = setup(&app);
    for case in &cases {
        let lines = entry(&server, case, "refresh = \"1s\"\ntimeout = \"500ms\"");
        setup = setup.issuer(case.name, &lines, &[]);
    }
    let start = Instant::now();
    let gateway = Gateway::start(&setup);
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    gateway.get("/public/x").send().expect(200);
    gateway.readyz(503);
    app.forget();
    let of = |case: &Case| Token::good().claim("iss", issuer(&server, case)).sign(key());
    each(&cases, |case| {
        logged(&gateway, case.name, case.says);
        let answer = call(&gateway, &of(case));
        assert_eq!(answer.status, 503, "{}: {}", case.name, answer.text());
        answer.refused(503);
    });
    app.saw_nothing("no keys yet");
    assert_eq!(other.connections(), 0, "nobody is led to another host");
    // Two bodies have no end: what is over the limit is not read, but for what
    // the sockets hold.
    let sent = server.sent();
    assert!(sent < 256 << 20, "{sent} bytes went out");

    for case in &cases {
        let (path, page) = match case.discovery {
            false => (format!("/{}", case.name), Page::keys(&[key()])),
            true => (
                format!("/{}/.well-known/openid-configuration", case.name),
                Page::metadata(&issuer(&server, case), &format!("{}/ok", server.origin())),
            ),
        };
        server.set(&path, page);
    }
    let tokens: Vec<String> = cases.iter().map(of).collect();
    each(cases.iter().zip(&tokens), |(case, token)| {
        let good = || call(&gateway, token).status == 200;
        eventually(case.name, Duration::from_secs(20), good);
    });
    gateway.readyz(200);

    let fetches = || -> Vec<usize> {
        let path = |case: &Case| format!("/{}{}", case.name, case.bad[0].0);
        cases.iter().map(|case| server.fetches(&path(case))).collect()
    };
    turn_bad();
    let before = fetches();
    eventually("each is asked again, and again", Duration::from_secs(20), || {
        fetches().iter().zip(&before).all(|(now, before)| now >= &(before + 2))
    });
    each(cases.iter().zip(&tokens), |(case, token)| {
        assert_eq!(call(&gateway, token).status, 200, "{}", case.name);
        assert_eq!(call(&gateway, &of(case)).status, 200, "{}, a new token", case.name);
    });
    gateway.readyz(200);
    assert_eq!(other.connections(), 0, "nobody is led to another host");
}

fn issuer(server: &JwksServer, case: &Case) -> String {
    match case.discovery {
        true => format!("{}/{}", server.origin(), case.name),
        false => format!("https://{}.test", case.name),
    }
}

fn entry(server: &JwksServer, case: &Case, more: &str) -> String {
    let issuer = issuer(server, case);
    let keys = match case.discovery {
        // Listed, so that the address alone refuses it.
        true if case.name == "private-uri" => {
            "discovery = true\njwks_hosts = [\"169.254.169.254\"]".to_owned()
        }
        true => "discovery = true".to_owned(),
        false => format!("jwks_url = \"{}/{}\"", server.origin(), case.name),
    };
    format!("issuer = \"{issuer}\"\nalgorithms = [\"ES256\", \"RS256\"]\n{keys}\n{more}")
}

/// A key that cannot be used does not take the others with it, and is told about.
#[test]
fn one_bad_key_among_good_ones() {
    let (app, server) = (Upstream::start(), JwksServer::start());
    let good = key();
    let bad = Key::generate("ES256", "bad");
    let mut unfit = bad.jwk();
    unfit["use"] = json!("enc");
    let mut bare = bad.jwk();
    bare.as_object_mut().unwrap().remove("kty");
    let secret = Key::secret("HS256", "bad", &random(32));
    let twin = Key::generate("ES256", "bad");
    let rows = [
        ("with-oct", vec![secret.jwk()], &secret),
        ("with-weak-rsa", vec![rsa(1024, &[1, 0, 1])], &bad),
        ("with-encryption", vec![unfit], &bad),
        ("with-duplicates", vec![bad.jwk(), twin.jwk()], &bad),
        ("with-nonsense", vec![json!(7), json!([]), bare], &bad),
        ("with-unknown", vec![json!({"kty": "AKP", "alg": "ML-DSA-44", "kid": "bad"})], &bad),
    ];
    let mut setup = setup(&app);
    for (name, keys, _) in &rows {
        let mut keys = keys.clone();
        keys.push(good.jwk());
        server.set(&format!("/{name}"), set_of(&keys));
        let lines = format!(
            "issuer = \"https://{name}.test\"\nalgorithms = [\"ES256\", \"RS256\"]\n\
             jwks_url = \"{}/{name}\"",
            server.origin()
        );
        setup = setup.issuer(name, &lines, &[]);
    }
    let gateway = Gateway::start(&setup);
    gateway.readyz(200);
    each(&rows, |(name, _, bad)| {
        let token = || Token::good().claim("iss", format!("https://{name}.test"));
        logged(&gateway, name, "1 of ");
        call(&gateway, &token().sign(good)).expect(200);
        app.forget();
        let answer = call(&gateway, &token().sign(bad));
        assert_eq!(answer.status, 401, "{name}: {}", answer.text());
        app.saw_nothing(name);
    });
    assert!(
        !gateway.settled_output().contains(&base64url(secret.secret_bytes())),
        "a secret in the log"
    );
}

/// A name of this machine that is not `localhost` and leads to loopback, if it has one.
fn own_name() -> Option<String> {
    let hosts = std::fs::read_to_string("/etc/hosts").unwrap_or_default();
    let named = hosts.lines().filter(|line| line.starts_with("127.")).flat_map(|line| {
        let names = line.split('#').next().unwrap_or_default().split_whitespace().skip(1);
        names.map(str::to_owned).collect::<Vec<_>>()
    });
    let leads_here = |name: &String| {
        let found = (name.as_str(), 0).to_socket_addrs();
        found.is_ok_and(|mut all| all.all(|address| address.ip().is_loopback()))
    };
    named
        .filter(|name| !name.starts_with("localhost") && !name.ends_with("localhost"))
        .find(leads_here)
}

/// Server-side request forgery (OWASP A10:2021): no connection to addresses that the internet does
/// not have, however they are written, unless they are listed.
#[test]
fn addresses_that_are_not_connected_to() {
    let app = Upstream::start();
    let here = JwksServer::tls(&["127.0.0.1", "own.test"]);
    here.set("/jwks", Page::keys(&[key()]));
    let mut rows = vec![
        ("metadata", "169.254.169.254".to_owned(), "link-local"),
        ("rfc1918", "10.0.0.1".to_owned(), "private"),
        ("rfc1918-16", "192.168.0.1".to_owned(), "private"),
        ("shared", "100.64.0.1".to_owned(), "shared"),
        ("this-host", "0.0.0.0".to_owned(), "this network"),
        ("decimal", "2852039166".to_owned(), "link-local"),
        ("hexadecimal", "0xa9fea9fe".to_owned(), "link-local"),
        ("octal", "0251.0376.0251.0376".to_owned(), "link-local"),
        ("mapped", "[::ffff:169.254.169.254]".to_owned(), "link-local"),
        ("nat64", "[64:ff9b::a9fe:a9fe]".to_owned(), "NAT64"),
        ("unique-local", "[fd00:ec2::254]".to_owned(), "private"),
        ("link-local-6", "[fe80::1]".to_owned(), "link-local"),
        ("multicast", "224.0.0.1".to_owned(), "multicast"),
    ];
    // The configured URL names no loopback address, but its name leads to one.
    rows.extend(own_name().map(|name| ("own-name", name, "loopback")));
    let mut setup = setup(&app).file("ca.pem", &crate::harness::pki::authority().pem);
    for (name, host, _) in &rows {
        let lines = format!(
            "issuer = \"https://{name}.test\"\nalgorithms = [\"ES256\"]\nrequired = false\n\
             timeout = \"2s\"\nca = \"ca.pem\"\njwks_url = \"https://{host}:{}/jwks\"",
            here.address.port()
        );
        setup = setup.issuer(name, &lines, &[]);
    }
    let gateway = Gateway::start(&setup);
    each(&rows, |(name, _, says)| {
        logged(&gateway, name, says);
        logged(&gateway, name, "provider_addresses");
        let token = Token::good().claim("iss", format!("https://{name}.test")).sign(key());
        call(&gateway, &token).refused(503);
    });
    // None of them is required.
    gateway.readyz(200);
    assert_eq!(here.connections(), 0);
    drop(gateway);

    // Listed: connected to, under the certificate's name all the same.
    let Some(name) = own_name() else { return };
    let here = JwksServer::tls(&[&name]);
    here.set("/jwks", Page::keys(&[key()]));
    let lines = format!(
        "algorithms = [\"ES256\"]\nca = \"ca.pem\"\nprovider_addresses = [\"127.0.0.0/8\"]\n\
         jwks_url = \"{}/jwks\"",
        here.origin_as(&name)
    );
    let listed = self::setup(&app).file("ca.pem", &crate::harness::pki::authority().pem);
    let gateway = Gateway::start(&listed.issuer("listed", &lines, &[]));
    gateway.readyz(200);
    let listed: IpAddr = here.address.ip();
    assert!(listed.is_loopback());
    call(&gateway, &Token::good().sign(key())).expect(200);
    soon("it was asked", || here.fetches("/jwks") == 1);
}
