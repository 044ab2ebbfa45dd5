//! Reload by SIGHUP and by `POST /reload`: one snapshot a request, a bad file changes nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rustix::process::Signal;

use crate::harness::gateway::Gateway;
use crate::harness::keys::Key;
use crate::harness::setup::{Setup, private};
use crate::harness::tokens::Token;
use crate::harness::upstream::Upstream;
use crate::harness::{eventually, soon};

#[test]
fn routes_come_and_go_by_sighup() {
    let app = Upstream::start();
    let setup = Setup::standard(&app);
    let gateway = Gateway::start(&setup);
    gateway.get("/new").send().refused(404);
    gateway.rewrite(&setup.clone().route("new", "path = \"/new\"\nauth = \"none\""));
    gateway.signal(Signal::HUP);
    soon("the new route", || gateway.get("/new").send().status == 200);
    gateway.rewrite(&setup.without_table("name = \"public\""));
    gateway.signal(Signal::HUP);
    soon("it is gone", || gateway.get("/new").send().status == 404);
    gateway.get("/public/x").send().refused(404);
}

#[test]
fn rules_change_by_the_admin_listener() {
    let app = Upstream::start();
    let setup = Setup::standard(&app);
    let gateway = Gateway::start(&setup);
    let token = Token::good().sign(Key::shared("ES256"));
    gateway.get("/api/x").bearer(&token).send().expect(200);
    let stricter = setup.without_table("path = \"/api/*\"");
    let lines = "path = \"/api/*\"\nrequire = { roles = [\"admin\"] }";
    gateway.reload(&stricter.route("api", lines)).expect(200);
    // At once, for the cached token too, on every worker.
    app.forget();
    for _ in 0..10 {
        gateway.get("/api/x").bearer(&token).send().refused(403);
    }
    app.saw_nothing("the new rule");
}

/// A bad file changes nothing and says so, with place and reason.
#[test]
fn bad_files_change_nothing() {
    let app = Upstream::start();
    let setup = Setup::standard(&app);
    let gateway = Gateway::start(&setup);
    let token = Token::good().sign(Key::shared("ES256"));
    for (name, bad) in [
        ("unknown key", setup.clone().set("limits", "bodybytes", "1")),
        ("no TOML", setup.clone().set("limits", "body_bytes", "= =")),
        ("unknown upstream", setup.clone().route("x", "path = \"/x\"\nupstream = \"nobody\"")),
        (
            "missing key file",
            setup.clone().set("tls", "certificates", "[{ cert = \"no.pem\", key = \"no.pem\" }]"),
        ),
        ("weak key", setup.clone().issuer("weak", "", &[&Key::secret("HS256", "w", b"short")])),
    ] {
        let answer = gateway.reload(&bad);
        assert!(answer.status >= 400, "{name}: {}", answer.text());
        gateway.get("/api/x").bearer(&token).send().expect(200);
        gateway.get("/public/x").send().expect(200);
        let lines = gateway.stderr().all().len();
        gateway.signal(Signal::HUP);
        soon("the log says so", || gateway.stderr().all().len() > lines);
        gateway.get("/api/x").bearer(&token).send().expect(200);
    }
    soon("the file is named", || gateway.output().contains("postern.toml"));
    gateway.reload(&setup).expect(200);
}

/// What survives: limiter state, connections, the token cache's facts.
#[test]
fn limits_survive_a_reload() {
    let app = Upstream::start();
    let lines =
        "path = \"/login\"\nauth = \"none\"\nlimits = [{ by = \"client\", rate = \"2/1h\" }]";
    let setup = Setup::standard(&app).route("login", lines);
    let gateway = Gateway::start(&setup);
    for _ in 0..2 {
        gateway.post("/login").send().expect(200);
    }
    gateway.post("/login").send().refused(429);
    gateway.reload(&setup.route("other", "path = \"/other\"\nauth = \"none\"")).expect(200);
    gateway.get("/other").send().expect(200);
    gateway.post("/login").send().refused(429);
}

/// Revocations survive; a reload is not a way around the blocklist.
#[test]
fn revocations_survive_a_reload() {
    let app = Upstream::start();
    let setup = Setup::standard(&app);
    let gateway = Gateway::start(&setup);
    let token = Token::good();
    let signed = token.sign(Key::shared("ES256"));
    gateway.revoke_jti(token.jti());
    gateway.reload(&setup.route("other", "path = \"/other\"\nauth = \"none\"")).expect(200);
    app.forget();
    gateway.get("/api/x").bearer(&signed).send().refused(401);
    app.saw_nothing("after the reload");
}

/// An entry whose secret a slow command knows, and one before it with a watched file.
fn slow_setup(app: &Upstream) -> Setup {
    let slow = r#"issuer = "https://slow.test"
audiences = ["slow"]
algorithms = ["HS256"]
[[issuers.keys]]
algorithm = "HS256"
secret_command = ["sh", "-c", "touch began; sleep 4; echo 0123456789012345678901234567890123456789"]
"#;
    Setup::standard(app).issuer("slow", slow, &[])
}

/// A key file that is replaced while the gateway starts, after it was read: the old key must not
/// verify until somebody touches the file again.
#[test]
fn a_key_file_that_changes_during_the_start() {
    let app = Upstream::start();
    let setup = slow_setup(&app);
    let dir = tempfile::TempDir::new().unwrap();
    setup.write(dir.path());
    let (began, file) = (dir.path().join("began"), dir.path().join("main-shared-ES256.key"));
    let old = Key::shared("ES256");
    assert!(file.exists(), "the name of the shared key's file");
    let next = Key::generate("ES256", &old.kid);
    let pem = next.public_pem();
    let replaced = std::thread::spawn(move || {
        while !began.exists() {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        private(&file, pem.as_ref());
    });
    let gateway = Gateway::start_in(dir, &setup);
    replaced.join().unwrap();
    eventually("the new key", std::time::Duration::from_secs(15), || {
        gateway.get("/api/x").bearer(&Token::good().sign(&next)).send().status == 200
    });
    gateway.get("/api/x").bearer(&Token::good().sign(old)).send().refused(401);
}

/// A command of four seconds: who asks whether the gateway lives meanwhile is answered.
#[test]
fn a_slow_command_holds_up_nobody_else() {
    let app = Upstream::start();
    let setup = slow_setup(&app);
    let gateway = Gateway::start(&setup);
    let began = gateway.dir.path().join("began");
    std::fs::remove_file(&began).unwrap();
    gateway.signal(Signal::HUP);
    soon("the command runs", || began.exists());
    let start = std::time::Instant::now();
    gateway.admin().request("GET", "/livez").send().expect(200);
    assert!(start.elapsed() < std::time::Duration::from_secs(3), "{:?}", start.elapsed());
    eventually("it is reloaded", std::time::Duration::from_secs(20), || {
        gateway.stderr().text().contains("configuration reloaded")
    });
}

/// Traffic does not notice a reload: no error, no closed connection.
#[test]
fn traffic_does_not_notice() {
    let app = Upstream::start();
    let setup = Setup::standard(&app);
    let gateway = Gateway::start(&setup);
    let token = Token::good().sign(Key::shared("ES256"));
    let stop = Arc::new(AtomicBool::new(false));
    let served = Arc::new(AtomicUsize::new(0));
    let load: Vec<_> = (0..3)
        .map(|_| {
            let (stop, served) = (stop.clone(), served.clone());
            let (endpoint, request) = (gateway.https(), gateway.get("/api/x").bearer(&token));
            std::thread::spawn(move || {
                let mut connection = endpoint.connect();
                while !stop.load(Ordering::SeqCst) {
                    request.on(&mut connection).expect("kept open").expect(200);
                    served.fetch_add(1, Ordering::SeqCst);
                }
            })
        })
        .collect();
    for round in 0..10 {
        let before = served.load(Ordering::SeqCst);
        soon("requests flow", || served.load(Ordering::SeqCst) > before + 10);
        let lines = format!("path = \"/round/{round}\"\nauth = \"none\"");
        gateway.reload(&setup.clone().route("round", &lines)).expect(200);
    }
    stop.store(true, Ordering::SeqCst);
    for thread in load {
        thread.join().unwrap();
    }
}
