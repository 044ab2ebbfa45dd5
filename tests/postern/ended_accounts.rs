//! Accounts that are removed or disabled while a gateway runs, and passwords that are changed
//! (docs/accounts.md): sessions end, access tokens are refused, and nobody else notices.

use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::harness::gateway::{Gateway, run};
use crate::harness::issuing::{Client, PASSWORD, Tokens, client, setup, standard_users, users};
use crate::harness::live::{End, Kind, Live, Service};
use crate::harness::redis::Redis;
use crate::harness::setup::{Setup, private};
use crate::harness::soon;
use crate::harness::upstream::Upstream;

/// What the log says when it has been done.
const DONE: &str = "an account has ended";

fn with_audit(setup: Setup) -> Setup {
    setup
        .set("audit", "file", "\"audit.jsonl\"")
        .set("audit", "key_file", "\"audit.key\"")
        .file("audit.key", "0123456789abcdef0123456789abcdef0123456789abcdef")
}

fn said(output: &Output) -> String {
    String::from_utf8([&output.stdout[..], &output.stderr].concat()).unwrap()
}

fn remove(gateway: &Gateway, name: &str) {
    let output = gateway.cli(&["user", "remove", name], "");
    assert!(output.status.success(), "{}", said(&output));
}

fn users_file(gateway: &Gateway) -> PathBuf {
    gateway.dir.path().join("users")
}

/// Waits until these tokens are refused, and sees to it that neither half of them is good.
fn is_out(client: &Client, tokens: &Tokens) {
    soon("the access token is refused", || client.call(&tokens.access) == 401);
    client.refresh(&tokens.refresh).refused(401);
}

/// Sees to it that a session goes on; its tokens from now on.
fn goes_on(client: &Client, tokens: &Tokens) -> Tokens {
    assert_eq!(client.call(&tokens.access), 200);
    let next = Tokens::of(client.refresh(&tokens.refresh));
    assert_eq!(client.call(&next.access), 200);
    next
}

/// How often the log says `text`.
fn times(gateway: &Gateway, text: &str) -> usize {
    gateway.output().matches(text).count()
}

/// ASVS 5.0 7.4.2, with everything that goes on by a token: calls, refreshes, live connections.
#[test]
fn who_is_removed_or_disabled_is_out() {
    let service = Service::start();
    let setup = with_audit(setup(&service.upstream));
    let setup = setup.route("ws", "path = \"/ws\"\nupgrade = [\"websocket\"]");
    let gateway = Gateway::start(&setup);
    let client = client(&gateway);
    let alices = [client.login("alice"), client.login("alice")];
    let (mallory, bob) = (client.login("mallory"), client.login("bob"));
    let live = Live::begin(&gateway, Kind::WebSocket, &alices[0].access);
    let bobs = Live::begin(&gateway, Kind::WebSocket, &bob.access);
    remove(&gateway, "alice");
    for tokens in &alices {
        is_out(&client, tokens);
    }
    assert_eq!(live.ends_within(Duration::from_secs(5)).0, End::Code(1008));
    client.login_as("alice", PASSWORD).refused(401);
    let bob = goes_on(&client, &bob);
    let mallory = goes_on(&client, &mallory);
    let carol = client.login("carol");
    // Disabled, by an editor.
    let text = users(&["bob::admin", "mallory:::::disabled", "carol::"]);
    private(&users_file(&gateway), text.as_bytes());
    is_out(&client, &mallory);
    let bob = goes_on(&client, &bob);
    // Another id is somebody else.
    let carol = goes_on(&client, &carol);
    private(&users_file(&gateway), users(&["bob::admin", "carol:::17"]).as_bytes());
    is_out(&client, &carol);
    goes_on(&client, &bob);
    assert!(bobs.goes_on());
    // Whoever comes back logs in anew; what was refused stays so.
    let added = gateway.cli(&["user", "add", "alice"], PASSWORD);
    assert!(added.status.success(), "{}", said(&added));
    soon("she can log in", || client.login_as("alice", PASSWORD).status == 200);
    let again = client.login("alice");
    assert_eq!(client.call(&alices[1].access), 401);
    goes_on(&client, &again);
    let told = std::fs::read_to_string(gateway.dir.path().join("audit.jsonl")).unwrap();
    let lines = told.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let told: Vec<String> = lines
        .filter(|line| line["event"] == "revocation")
        .map(|line| {
            assert_eq!(line["actor"], "users-file", "{line}");
            let word = |word: &Value| word.as_str().unwrap().to_owned();
            let value = word(&line["selector"]["value"]);
            [word(&line["outcome"]), value, word(&line["reason"])].join(" ")
        })
        .collect();
    let expected = [
        "asked alice the account was removed",
        "done alice the account was removed",
        "asked mallory the account was disabled",
        "done mallory the account was disabled",
        "asked carol the account has another id",
        "done carol the account has another id",
    ];
    assert_eq!(told, expected);
}

/// Two gateways that read one file, and one store: both do it, and nobody is ended twice.
#[test]
fn two_gateways_end_the_same_account() {
    let (app, redis, shared) = (Upstream::start(), Redis::start(), TempDir::new().unwrap());
    let path = shared.path().join("users");
    private(&path, standard_users().as_bytes());
    let setup = setup(&app).redis(&redis);
    let setup = setup.set("issuing.users", "file", &format!("{:?}", path.display().to_string()));
    let gateways = [Gateway::start(&setup), Gateway::start(&setup)];
    let [one, other] = [client(&gateways[0]), client(&gateways[1])];
    let alices = [one.login("alice"), other.login("alice")];
    let bob = other.login("bob");
    remove(&gateways[0], "alice");
    for tokens in &alices {
        is_out(&one, tokens);
        is_out(&other, tokens);
    }
    gateways.iter().for_each(|gateway| gateway.says(DONE));
    goes_on(&one, &bob);
    private(&path, standard_users().as_bytes());
    for client in [&one, &other] {
        soon("she can log in", || client.login_as("alice", PASSWORD).status == 200);
    }
    let again = one.login("alice");
    goes_on(&other, &again);
}

/// What the store does not take is done once it is back, also when the account is back by then: it
/// was gone. A store that comes back empty has lost the sessions, and must not bring tokens back.
#[test]
fn a_store_that_is_away_hears_of_it_later() {
    for (name, is_killed) in [("frozen", false), ("killed", true)] {
        let (app, mut redis) = (Upstream::start(), Redis::start());
        let setup = setup(&app).redis(&redis).set("store", "timeout", "\"2s\"");
        let gateway = Gateway::start(&setup);
        let client = client(&gateway);
        let (alice, carol, bob) =
            (client.login("alice"), client.login("carol"), client.login("bob"));
        assert_eq!(client.call(&alice.access), 200);
        if is_killed {
            redis.kill();
        } else {
            redis.freeze();
        }
        remove(&gateway, "alice");
        gateway.says("could not be ended");
        assert_eq!(client.call(&alice.access), 503, "{name}");
        // Another one meanwhile, and the first is back.
        remove(&gateway, "carol");
        soon("read twice", || times(&gateway, "the users file was read again") == 2);
        let added = gateway.cli(&["user", "add", "alice"], PASSWORD);
        assert!(added.status.success(), "{}", said(&added));
        soon("read three times", || times(&gateway, "the users file was read again") == 3);
        assert_eq!(times(&gateway, DONE), 0, "{name}");
        if is_killed {
            redis.restart();
        } else {
            redis.thaw();
        }
        soon("both are done", || times(&gateway, DONE) == 2);
        for tokens in [&alice, &carol] {
            is_out(&client, tokens);
        }
        assert_eq!(client.call(&bob.access), 200, "{name}");
        let again = client.login("alice");
        assert_eq!(client.call(&again.access), 200, "{name}");
        assert_eq!(times(&gateway, "could not be ended"), 1, "{name}: said once");
    }
}

/// The password was right, and the session is to begin after the account has gone (CWE-367):
/// whichever of the two the store hears of first, the login is refused.
#[test]
fn a_login_under_way_when_its_account_goes() {
    let (app, redis) = (Upstream::start(), Redis::start());
    let setup = setup(&app).redis(&redis).set("store", "timeout", "\"20s\"");
    let gateway = Gateway::start(&setup);
    let client = client(&gateway);
    client.login("alice");
    redis.freeze();
    std::thread::scope(|scope| {
        let logins = ["alice", "bob"].map(|name| {
            let client = &client;
            scope.spawn(move || client.login_as(name, PASSWORD))
        });
        // Long enough for the password, which is not needed: the account is looked up at the end.
        std::thread::sleep(Duration::from_millis(500));
        remove(&gateway, "alice");
        gateway.says("the users file was read again");
        assert!(logins.iter().all(|login| !login.is_finished()), "the store does not answer");
        redis.thaw();
        let [alice, bob] = logins.map(|login| login.join().unwrap());
        alice.refused(401);
        goes_on(&client, &Tokens::of(bob));
    });
    gateway.says(DONE);
}

/// A file that cannot be meant as a whole says nothing about anybody (CWE-367).
#[test]
fn a_half_written_file_ends_nobody() {
    let app = Upstream::start();
    let gateway = Gateway::start(&setup(&app));
    let client = client(&gateway);
    let (alice, bob) = (client.login("alice"), client.login("bob"));
    let path = users_file(&gateway);
    let whole = users(&["carol::", "bob::admin", "alice::"]);
    // In place, as some editors do it; cut within the second line.
    std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    gateway.says("the users file cannot be used");
    std::fs::remove_file(&path).unwrap();
    soon("that is told, too", || times(&gateway, "the users file cannot be used") == 2);
    let alice = goes_on(&client, &alice);
    let bob = goes_on(&client, &bob);
    private(&path, whole.as_bytes());
    gateway.says("the users file was read again");
    goes_on(&client, &alice);
    // The same within a whole file counts.
    let mallory = client.login_as("mallory", PASSWORD);
    mallory.refused(401);
    goes_on(&client, &bob);
    assert_eq!(times(&gateway, DONE), 1, "mallory was gone from the whole one");
}

/// On doubt refused: that most are gone looks like a slip, is obeyed, and said loudly.
#[test]
fn most_of_the_accounts_at_once() {
    let app = Upstream::start();
    let names: Vec<String> = (0..12).map(|n| format!("user{n}::")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let gateway = Gateway::start(&setup(&app).file("users", users(&names)));
    let client = client(&gateway);
    let (first, last) = (client.login("user0"), client.login("user11"));
    private(&users_file(&gateway), users(&names[..5]).as_bytes());
    gateway.says("more than half of the accounts are gone");
    is_out(&client, &last);
    goes_on(&client, &first);
    soon("all are done", || times(&gateway, DONE) == 7);
}

/// A reload that names another file.
#[test]
fn another_users_file_by_the_configuration() {
    let app = Upstream::start();
    let setup = setup(&app).file("others", users(&["bob::admin"]));
    let gateway = Gateway::start(&setup);
    let client = client(&gateway);
    let (alice, bob) = (client.login("alice"), client.login("bob"));
    gateway.reload(&setup.set("issuing.users", "file", "\"others\"")).expect(200);
    is_out(&client, &alice);
    goes_on(&client, &bob);
}

/// What nobody saw happen: the limit that docs/accounts.md names.
#[test]
fn removed_while_no_gateway_runs() {
    let app = Upstream::start();
    let setup = setup(&app);
    let gateway = Gateway::start(&setup);
    let alice = client(&gateway).login("alice");
    let dir = gateway.kill();
    assert!(run(&dir, &["user", "remove", "alice"], "").status.success());
    let gateway = Gateway::start_in(dir, &setup);
    let client = client(&gateway);
    assert_eq!(client.call(&alice.access), 200, "until it expires");
    client.refresh(&alice.refresh).refused(401);
    assert_eq!(client.call(&alice.access), 401, "the refresh ended it");
}

/// ASVS 5.0 7.4.3. Whoever knows the old password logs in with it for as long as it is taken: none
/// of that outlives the command either.
#[test]
fn a_change_of_password_ends_all_sessions() {
    let app = Upstream::start();
    let gateway = Gateway::start(&setup(&app).file("users", users(&["alice::", "bob::", "c:::7"])));
    let client = client(&gateway);
    let (alice, bob) = (client.login("alice"), client.login("bob"));
    // Not asked for: they go on.
    let other = client.login("c");
    let passwd = gateway.cli(&["user", "passwd", "c"], "another password\n");
    assert!(passwd.status.success() && said(&passwd).contains("sessions go on"));
    soon("the new password is known", || client.login_as("c", "another password").status == 200);
    goes_on(&client, &other);
    let is_over = AtomicBool::new(false);
    let mut stolen = Vec::new();
    std::thread::scope(|scope| {
        // Not up to the end: a busy gateway may read the file later than the command waits for.
        let attack = scope.spawn(|| {
            let (mut stolen, begun) = (Vec::new(), Instant::now());
            while !is_over.load(Ordering::Relaxed) && begun.elapsed() < Duration::from_secs(2) {
                let answer = client.login_as("alice", PASSWORD);
                if answer.status == 200 {
                    stolen.push(Tokens::of(answer));
                }
                std::thread::sleep(Duration::from_millis(50));
            }
            stolen
        });
        let passwd =
            gateway.cli(&["user", "passwd", "alice", "--end-sessions"], "another password\n");
        is_over.store(true, Ordering::Relaxed);
        stolen = attack.join().unwrap();
        assert!(passwd.status.success(), "{}", said(&passwd));
        assert!(said(&passwd).contains("its sessions were ended"), "{}", said(&passwd));
    });
    assert!(!stolen.is_empty());
    for tokens in stolen.iter().chain([&alice]) {
        assert_eq!(client.call(&tokens.access), 401);
    }
    client.refresh(&alice.refresh).refused(401);
    client.login_as("alice", PASSWORD).refused(401);
    let again = Tokens::of(client.login_as("alice", "another password"));
    goes_on(&client, &again);
    goes_on(&client, &bob);
    // By the id that the tokens name, not by the account's name.
    let seven = Tokens::of(client.login_as("c", "another password"));
    assert_eq!(seven.claim("sub"), "7");
    let passwd = gateway.cli(&["user", "passwd", "c", "--end-sessions"], "yet another one\n");
    assert!(passwd.status.success(), "{}", said(&passwd));
    assert_eq!(client.call(&seven.access), 401);
}

/// The password is changed, the exit code says that this is all, and the line that it gives works.
#[test]
fn without_a_gateway_the_sessions_are_left_and_that_is_said() {
    let app = Upstream::start();
    let setup = setup(&app);
    let gateway = Gateway::start(&setup);
    let alice = client(&gateway).login("alice");
    let dir = gateway.kill();
    let passwd = ["user", "passwd", "alice", "--end-sessions"];
    let output = run(&dir, &passwd, "another password\n");
    let text = said(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("alice has another password") && text.contains("NOT ended"), "{text}");
    assert!(!text.contains("its sessions were ended"), "{text}");
    let line = text.split("end them by: ").nth(1).expect("a command").trim();
    let words: Vec<&str> = line.split(' ').collect();
    assert_eq!(words[..4], ["postern", "revoke", "--sub", "alice"], "{line}");
    revoked_by(&dir, &words[1..]);
    let gateway = Gateway::start_in(dir, &setup);
    let client = client(&gateway);
    assert_eq!(client.call(&alice.access), 401);
    client.refresh(&alice.refresh).refused(401);
    client.login_as("alice", PASSWORD).refused(401);
    Tokens::of(client.login_as("alice", "another password"));
    assert!(is_private(&users_file(&gateway)));
    // Wrong usage changes nothing.
    let output = gateway.cli(&[&passwd[..], &["--file", "users"]].concat(), "a third password\n");
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    Tokens::of(client.login_as("alice", "another password"));
}

fn revoked_by(dir: &TempDir, words: &[&str]) {
    let output = run(dir, words, "");
    assert!(output.status.success(), "{}", said(&output));
}

fn is_private(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    path.metadata().unwrap().permissions().mode() & 0o077 == 0
}
