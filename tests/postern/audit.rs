//! The audit log of the real binary: what is in it, and that nothing happens without it. Its files
//! are in `audit_files.rs`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, Signal, prlimit};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::gateway::{Gateway, run};
use crate::harness::jwks_server::{JwksServer, Page};
use crate::harness::keys::Key;
use crate::harness::metrics::Scrape;
use crate::harness::redis::Redis;
use crate::harness::setup::Setup;
use crate::harness::soon;
use crate::harness::tokens::Token;
use crate::harness::upstream::Upstream;

pub const KEY: &str = "an audit key of more than 32 bytes\n";

fn key() -> &'static Key {
    Key::shared("ES256")
}

/// A configuration with an audit log.
pub fn audited(setup: Setup) -> Setup {
    setup
        .set("audit", "file", "\"audit.log\"")
        .set("audit", "key_file", "\"audit.key\"")
        .file("audit.key", KEY)
}

/// The lines of one file, without one that is just being written.
pub fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}

pub fn log(dir: &TempDir) -> Vec<Value> {
    lines(&dir.path().join("audit.log"))
}

/// `postern audit verify` with the configuration's file, key and state directory.
pub fn verify(dir: &TempDir) -> Output {
    run(dir, &["audit", "verify", "--config", "postern.toml"], "")
}

pub fn is_good(dir: &TempDir) {
    let output = verify(dir);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
}

/// The events of a log as `event outcome`, those of the file itself and of start and stop left out.
fn story(lines: &[Value]) -> Vec<String> {
    let word = |line: &Value, name: &str| line[name].as_str().unwrap_or_default().to_owned();
    let own = ["open", "start", "drain", "stop"];
    let lines = lines.iter().filter(|line| !own.contains(&line["event"].as_str().unwrap()));
    lines.map(|line| format!("{} {}", word(line, "event"), word(line, "outcome"))).collect()
}

/// Changes are there when they are answered, before and after; denials soon after; with who, from
/// where and why. No token is ever in it.
#[test]
fn changes_and_denials_are_written() {
    let app = Upstream::start();
    let limits =
        "path = \"/few\"\nauth = \"none\"\nlimits = [{ by = \"client\", rate = \"1/1h\" }]";
    let setup = audited(Setup::standard(&app)).route("few", limits);
    let mut gateway = Gateway::start(&setup);
    let token = Token::good().claim("azp", "shop");
    let signed = token.sign(key());
    gateway.get("/api/x").bearer(&signed).send().expect(200);
    let entry = gateway.revoke(&json!({"jti": token.jti(), "reason": "lost laptop"})).expect(201);
    let id = entry.json()["id"].as_str().unwrap().to_owned();
    let written = log(&gateway.dir);
    assert_eq!(story(&written), ["revocation asked", "revocation done"], "before it is answered");
    let done = written.last().unwrap();
    assert_eq!(done["actor"], "admin");
    assert_eq!(done["address"], "127.0.0.1");
    assert_eq!(done["reason"], "lost laptop");
    assert_eq!(done["selector"], json!({"kind": "jti", "value": token.jti(), "id": id}));
    let refused = gateway.get("/api/x?secret=1").header("User-Agent", "curl/8").bearer(&signed);
    let refused = refused.send().refused(401);
    gateway.get("/admin/x").bearer(&Token::good().sign(key())).send().refused(403);
    gateway.get("/api/x").send().refused(401);
    gateway.get("/few").send().expect(200);
    gateway.get("/few").send().refused(429);
    // Neither is a denial: nobody was refused for who they are.
    gateway.get("/nowhere").send().refused(404);
    let file = gateway.dir.path().join("audit.log");
    soon("four denials", || lines(&file).iter().filter(|l| l["event"] == "denial").count() == 4);
    let denial = lines(&file).into_iter().find(|line| line["event"] == "denial").unwrap();
    tells_who_was_denied(&denial, token.jti(), refused.header("x-request-id"));
    gateway.admin_request("DELETE", &format!("/revocations/{id}")).send().expect(204);
    gateway.admin_request("POST", "/revocations/ack").send().expect(200);
    gateway.reload(&setup).expect(200);
    assert_eq!(gateway.reload(&setup.clone().set("log", "level", "\"loud\"")).status, 422);
    gateway.rewrite(&setup);
    gateway.signal(Signal::TERM);
    assert!(gateway.wait(Duration::from_secs(10)).success());
    let written = lines(&file);
    let after: Vec<String> = story(&written)[6..].to_vec();
    assert_eq!(
        after,
        [
            "lift asked",
            "lift done",
            "acknowledgement asked",
            "acknowledgement done",
            "reload asked",
            "reload done",
            "reload failed",
        ]
    );
    let ends: Vec<&str> =
        written.iter().rev().take(2).map(|line| line["event"].as_str().unwrap()).collect();
    assert_eq!(ends, ["stop", "drain"]);
    let start = &written[1];
    assert_eq!((start["event"].as_str(), start["seq"].as_u64()), (Some("start"), Some(2)));
    let done = written.iter().find(|l| l["event"] == "reload" && l["outcome"] == "done").unwrap();
    assert_eq!(start["configuration"], done["configuration"], "the same file");
    let text = std::fs::read_to_string(&file).unwrap();
    let signature = signed.rsplit('.').next().unwrap();
    assert!(!text.contains(signature) && !text.contains("secret=1"), "{text}");
    is_good(&gateway.dir);
}

/// Who was refused, from where, why, and where to look further.
fn tells_who_was_denied(denial: &Value, jti: &str, request_id: Option<&str>) {
    for (name, value) in [
        ("subject", json!("alice")),
        ("issuer", json!("main")),
        ("client", json!("shop")),
        ("jti", json!(jti)),
        ("reason", json!("revoked")),
        ("cause", json!("revoked_jti")),
        ("status", json!(401)),
        ("route", json!("api")),
        ("address", json!("127.0.0.1")),
        ("user_agent", json!("curl/8")),
        ("request_id", json!(request_id)),
    ] {
        assert_eq!(denial[name], value, "{name} in {denial}");
    }
}

/// What tells of a person is a keyed hash, the same for the same person, wherever it stands.
#[test]
fn persons_are_hashed() {
    let app = Upstream::start();
    let setup = audited(Setup::standard(&app)).set("audit", "hash", "[\"subject\", \"address\"]");
    let gateway = Gateway::start(&setup);
    let signed = Token::good().sign(key());
    gateway.get("/admin/x").bearer(&signed).send().refused(403);
    gateway.revoke(&json!({"sub": "alice"})).expect(201);
    let file = gateway.dir.path().join("audit.log");
    soon("the denial", || lines(&file).iter().any(|line| line["event"] == "denial"));
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(!text.contains("alice") && !text.contains("127.0.0.1"), "{text}");
    let written = lines(&file);
    let of = |event: &str| written.iter().find(|line| line["event"] == event).unwrap();
    let subject = of("denial")["subject"].as_str().unwrap();
    assert!(subject.starts_with("hmac:"), "{subject}");
    assert_eq!(of("revocation")["selector"], json!({"kind": "sub", "value": subject}));
    is_good(&gateway.dir);
}

/// While the log cannot be written (a full disk, a quota: here a limit on the size of files),
/// nothing is changed; what has happened waits, and is written when it can be.
#[test]
fn nothing_changes_while_it_cannot_be_written() {
    let (app, redis) = (Upstream::start(), Redis::start());
    let setup = audited(Setup::standard(&app)).redis(&redis);
    let gateway = Gateway::start(&setup);
    gateway.readyz(200);
    gateway.revoke_jti("before");
    let entries = redis.keys("postern:blocklist:jti:*").len();
    let size = std::fs::metadata(gateway.dir.path().join("audit.log")).unwrap().len();
    limit_file_sizes(&gateway, Some(size + 100));
    for _ in 0..3 {
        let answer = gateway.revoke(&json!({"jti": "during"})).expect(503);
        assert_eq!(answer.header("retry-after"), Some("1"));
        let detail = answer.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains("audit log") && detail.contains("nothing was revoked"), "{detail}");
    }
    assert_eq!(redis.keys("postern:blocklist:jti:*").len(), entries);
    assert_eq!(gateway.reload(&setup).status, 422, "a reload is a change, too");
    gateway.admin_request("POST", "/revocations/ack").send().expect(503);
    // Refused is refused, and whoever may pass passes.
    gateway.get("/api/x").send().refused(401);
    gateway.get("/api/x").bearer(&Token::good().sign(key())).send().expect(200);
    assert_eq!(Scrape::of(&gateway).get("postern_audit_up", &[]), Some(0.0));
    limit_file_sizes(&gateway, None);
    gateway.revoke(&json!({"jti": "after"})).expect(201);
    assert_eq!(Scrape::of(&gateway).get("postern_audit_up", &[]), Some(1.0));
    let file = gateway.dir.path().join("audit.log");
    soon("the denial is written", || lines(&file).iter().any(|line| line["event"] == "denial"));
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(!text.contains("\"during\"") && text.contains("\"after\""), "{text}");
    is_good(&gateway.dir);
}

/// No file of the gateway may grow beyond so many bytes, as on a disk that is full.
pub fn limit_file_sizes(gateway: &Gateway, bytes: Option<u64>) {
    let pid = Pid::from_raw(i32::try_from(gateway.pid()).unwrap());
    prlimit(pid, Resource::Fsize, Rlimit { current: bytes, maximum: None }).unwrap();
}

#[test]
fn a_thousand_revocations_at_once() {
    let app = Upstream::start();
    let gateway = Gateway::start(&audited(Setup::standard(&app)));
    std::thread::scope(|scope| {
        for worker in 0..20 {
            let gateway = &gateway;
            scope.spawn(move || {
                for n in 0..50 {
                    gateway.revoke_jti(&format!("many-{worker}-{n}"));
                }
            });
        }
    });
    let mut outcomes: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in log(&gateway.dir).iter().filter(|line| line["event"] == "revocation") {
        let jti = line["selector"]["value"].as_str().unwrap().to_owned();
        outcomes.entry(jti).or_default().push(line["outcome"].as_str().unwrap().to_owned());
    }
    assert_eq!(outcomes.len(), 1000);
    assert!(outcomes.values().all(|outcomes| *outcomes == ["asked", "done"]));
    is_good(&gateway.dir);
}

/// `postern revoke` without a gateway writes to the store itself, and to the log.
#[test]
fn revoking_without_a_gateway_is_audited() {
    let (app, redis) = (Upstream::start(), Redis::start());
    let setup = audited(Setup::standard(&app)).redis(&redis);
    let gateway = Gateway::start(&setup);
    gateway.readyz(200);
    gateway.revoke_jti("by-admin");
    let dir = gateway.kill();
    let output = run(&dir, &["revoke", "--jti", "by-cli", "--reason", "incident 7"], "");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let written = log(&dir);
    let own: Vec<&Value> = written.iter().filter(|line| line["actor"] == "cli").collect();
    assert_eq!(own.len(), 2, "asked and done");
    assert_eq!(own[1]["selector"]["value"], "by-cli");
    assert_eq!(own[1]["reason"], "incident 7");
    is_good(&dir);
    let gateway = Gateway::start_in(dir, &setup);
    is_good(&gateway.dir);
}

/// What nobody asked for is written, too: keys that change, a store that forgets.
#[test]
fn changes_from_outside_are_written() {
    let (app, redis, provider) = (Upstream::start(), Redis::start(), JwksServer::start());
    provider.set("/jwks", Page::keys(&[Key::shared("RS256")]));
    let url = format!("jwks_url = \"{}/jwks\"\nalgorithms = [\"RS256\"]", provider.origin());
    let setup = audited(Setup::standard(&app)).redis(&redis).issuer("fetched", &url, &[]);
    let gateway = Gateway::start(&setup);
    gateway.readyz(200);
    redis.command(&["FLUSHALL"]);
    let file = gateway.dir.path().join("audit.log");
    soon("the loss is written", || lines(&file).iter().any(|line| line["event"] == "loss"));
    let written = lines(&file);
    let change = written.iter().find(|line| line["event"] == "key_change").unwrap();
    assert_eq!((change["issuer"].as_str(), change["keys"].as_u64()), (Some("fetched"), Some(1)));
    let losses = || {
        let written = lines(&file).into_iter().filter(|line| line["event"] == "loss");
        written.map(|line| line["lost"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(losses(), [1]);
    is_good(&gateway.dir);
    // The same while nobody runs; what was written down is not written down again.
    let dir = gateway.kill();
    redis.command(&["FLUSHALL"]);
    let gateway = Gateway::start_in(dir, &setup);
    soon("the second loss is written", || losses().len() == 2);
    let gateway = Gateway::start_in(gateway.kill(), &setup);
    gateway.revoke_jti("later");
    assert_eq!(losses(), [1, 2]);
    is_good(&gateway.dir);
}

/// The gateway's files are where they are said to be.
#[test]
fn files_are_private() {
    use std::os::unix::fs::PermissionsExt as _;
    let app = Upstream::start();
    let gateway = Gateway::start(&audited(Setup::standard(&app)));
    let files: [PathBuf; 2] = ["audit.log".into(), "state/audit-head.json".into()];
    for file in files {
        let mode = std::fs::metadata(gateway.dir.path().join(&file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", file.display());
    }
}
