//! What login and refresh do when something behind them is down or slow, where accounts are, and
//! what the audit log says of it all.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::gateway::{Gateway, refuses_to_start};
use crate::harness::issuing::{HASH, PASSWORD, PREFIX, Tokens, client, setup, users};
use crate::harness::redis::Redis;
use crate::harness::soon;
use crate::harness::upstream::{After, Upstream, reply};

/// Design: "503 when the store cannot be asked, whatever on_unreachable says"; R42: a store that
/// hangs is one that cannot be asked.
#[test]
fn without_the_store_there_are_no_tokens() {
    let app = Upstream::start();
    let mut redis = Redis::start();
    let setup = setup(&app)
        .redis(&redis)
        .set("store", "timeout", "\"500ms\"")
        .set("issuing", "login_limits", "[{ by = \"account\", rate = \"9/15m\" }]")
        .set("revocation", "on_unreachable", "\"allow\"");
    let gateway = Gateway::start(&setup);
    let client = client(&gateway);
    let tokens = client.login("alice");
    redis.freeze();
    let begun = Instant::now();
    for answer in [
        client.refresh(&tokens.refresh),
        client.login_as("alice", PASSWORD),
        client.login_as("alice", "wrong"),
        client.logout(&tokens.access),
        gateway.get(&format!("{PREFIX}/sessions")).bearer(&tokens.access).send(),
    ] {
        let answer = answer.refused(503);
        assert_eq!(answer.header("retry-after"), Some("1"));
    }
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert_eq!(client.call(&tokens.access), 200, "allowed by name");
    redis.thaw();
    let mut latest = None;
    soon("a retry works", || {
        let answer = client.refresh(&tokens.refresh);
        latest = Some(answer.status);
        answer.status == 200
    });
    redis.kill();
    client.refresh(&tokens.refresh).refused(503);
    client.login_as("alice", PASSWORD).refused(503);
    // An unknown token and a made-up one are not told from a good one.
    client.refresh(&format!("{}.{}", "A".repeat(22), "A".repeat(43))).refused(503);
}

/// The team's own service checks the password; its fields become claims.
#[test]
fn an_upstream_checks_the_password() {
    let service = Upstream::with(|seen, stream| {
        let body: Value = serde_json::from_slice(&seen.body).unwrap_or_default();
        if body["mail"] == "alice@example.com" && body["secret"] == PASSWORD {
            let answer = r#"{"user":{"id":7,"roles":["clerk"],"tenant":"acme"}}"#;
            reply(stream, "200 OK", &[("Content-Type", "application/json")], answer);
        } else {
            reply(stream, "422 Unprocessable Content", &[], "no");
        }
        After::Keep
    });
    let app = Upstream::start();
    let sub = "{ sub = \"/user/id\", roles = \"/user/roles\", tenant = \"/user/tenant\" }";
    let setup = setup(&app)
        .unset("issuing.users", "file")
        .set("issuing.users", "upstream.url", &format!("\"{}/login\"", service.url()))
        .set("issuing.users", "upstream.claims", sub)
        .set("issuing.users", "upstream.fields", "{ username = \"mail\", password = \"secret\" }");
    let gateway = Gateway::start(&setup);
    let client = client(&gateway);
    client.login_as("alice@example.com", "wrong").refused(401);
    client.login_as("nobody@example.com", PASSWORD).refused(401);
    let tokens = Tokens::of(client.login_as("alice@example.com", PASSWORD));
    assert_eq!(tokens.claim("sub"), "7");
    assert_eq!(tokens.claim("roles"), json!(["clerk"]));
    assert_eq!(tokens.claim("tenant"), "acme");
    assert_eq!(client.call(&tokens.access), 200);
    // It cannot be asked about a refresh: what it said at the login holds.
    let next = Tokens::of(client.refresh(&tokens.refresh));
    assert_eq!(next.claim("tenant"), "acme");
    drop(service);
    client.login_as("alice@example.com", PASSWORD).refused(503);
    Tokens::of(client.refresh(&next.refresh));
}

/// A table of the team's own: here SQLite; PostgreSQL and MariaDB are in `sql_accounts.rs`.
#[test]
fn a_table_has_the_accounts() {
    let app = Upstream::start();
    let dir = tempfile::TempDir::new().unwrap();
    let path = dir.path().join("app.db");
    let change = |statements: &str| {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            use sqlx::{ConnectOptions as _, Connection as _};
            let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&path);
            let mut connection = options.create_if_missing(true).connect().await.unwrap();
            sqlx::raw_sql(sqlx::AssertSqlSafe(statements.to_owned()))
                .execute(&mut connection)
                .await
                .unwrap();
            connection.close().await.unwrap();
        });
    };
    change(&format!(
        "CREATE TABLE users (id INTEGER, email TEXT, password_hash TEXT, roles TEXT);
         INSERT INTO users VALUES (12, 'alice@example.com', '{HASH}', 'clerk,admin');"
    ));
    let query = "\"SELECT id, password_hash, roles FROM users WHERE email = $1\"";
    let setup = setup(&app)
        .unset("issuing.users", "file")
        .set("issuing.users", "sql.url", &format!("\"sqlite:{}\"", path.display()))
        .set("issuing.users", "sql.query", query);
    let gateway = Gateway::start(&setup);
    let client = client(&gateway);
    client.login_as("alice@example.com", "wrong").refused(401);
    client.login_as("' OR 1=1 --", PASSWORD).refused(401);
    client.login_as("alice@example.com\0", PASSWORD).refused(401);
    let tokens = Tokens::of(client.login_as("alice@example.com", PASSWORD));
    assert_eq!(tokens.claim("sub"), "12");
    assert_eq!(tokens.claim("roles"), json!(["clerk", "admin"]));
    change("UPDATE users SET roles = 'clerk'");
    let tokens = Tokens::of(client.refresh(&tokens.refresh));
    assert_eq!(tokens.claim("roles"), json!(["clerk"]));
    change("DELETE FROM users");
    client.refresh(&tokens.refresh).refused(401);
    assert_eq!(client.call(&tokens.access), 401);
}

/// Password checks run on threads of their own, a bounded number, and a bounded number waits: while
/// they are busy, requests on the one worker go through.
#[test]
fn password_checks_hold_up_no_request() {
    let app = Upstream::start();
    let setup = setup(&app).set("listen", "workers", "1").env("POSTERN_WORKERS", "1");
    let gateway = Gateway::start(&setup);
    let client = client(&gateway);
    let tokens = client.login("bob");
    let guesses: Vec<_> = (0..60)
        .map(|i| {
            let client = client.clone();
            std::thread::spawn(move || client.login_as(&format!("user-{i}"), "guess").status)
        })
        .collect();
    let mut served = 0;
    while guesses.iter().any(|guess| !guess.is_finished()) {
        assert_eq!(client.call(&tokens.access), 200);
        served += usize::from(guesses.iter().any(|guess| !guess.is_finished()));
    }
    let statuses: Vec<u16> = guesses.into_iter().map(|guess| guess.join().unwrap()).collect();
    assert!(statuses.iter().all(|status| [401, 503].contains(status)), "{statuses:?}");
    assert!(served > 0, "no request was served while passwords were checked");
}

/// R52: what cannot work is said at the start, and by `postern check` where that can know it.
#[test]
fn accounts_that_cannot_be_used_are_an_error() {
    let app = Upstream::start();
    let missing = setup(&app).set("issuing.users", "file", "\"nowhere\"");
    let (code, said) = refuses_to_start(&missing);
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("[issuing.users]") && said.contains("nowhere"), "{said}");
    let broken = setup(&app).file("users", "alice:plain:admin\n");
    let (code, said) = refuses_to_start(&broken);
    assert_eq!(code, 2, "{said}");
    assert!(!said.contains("plain:admin"), "{said}");
    // A change of the section is put in force by a reload, or not at all.
    let gateway = Gateway::start(&setup(&app).file("others", users(&["erin::"])));
    let client = client(&gateway);
    gateway.reload(&missing).expect(422);
    Tokens::of(client.login_as("alice", PASSWORD));
    let other = setup(&app).file("others", users(&["erin::"]));
    gateway.reload(&other.set("issuing.users", "file", "\"others\"")).expect(200);
    client.login_as("alice", PASSWORD).refused(401);
    Tokens::of(client.login_as("erin", PASSWORD));
}

/// ASVS 16.3.1: login success and failure, refresh, reuse and logout are in the audit log with the
/// cause that the client does not learn, and without a token or a password.
#[test]
fn the_audit_log_has_it_all() {
    let app = Upstream::start();
    let setup = setup(&app)
        .set("audit", "file", "\"audit.jsonl\"")
        .set("audit", "key_file", "\"audit.key\"")
        .file("audit.key", "0123456789abcdef0123456789abcdef0123456789abcdef");
    let gateway = Gateway::start(&setup);
    let client = client(&gateway);
    client.login_as("alice", "wrong").refused(401);
    client.login_as("nobody", "wrong").refused(401);
    let first = client.login("alice");
    let second = Tokens::of(client.refresh(&first.refresh));
    client.refresh(&second.refresh).expect(200);
    client.refresh(&first.refresh).refused(401);
    client.refresh(&first.refresh).refused(401);
    let bob = client.login("bob");
    client.logout(&bob.access).expect(204);
    let path = gateway.dir.path().join("audit.jsonl");
    let read = || std::fs::read_to_string(&path).unwrap();
    soon("it is written", || read().contains("refresh_reused_before"));
    let text = read();
    for secret in [&first.refresh, &first.access, &second.refresh, "wrong\"", PASSWORD] {
        assert!(!text.contains(secret), "{secret} is in the audit log");
    }
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let told: Vec<String> = lines
        .iter()
        .filter(|line| {
            let kind = line["event"].as_str().unwrap_or_default();
            ["login", "refresh", "reuse", "logout", "denial"].contains(&kind)
        })
        .map(|line| {
            let word = |name: &str| line[name].as_str().unwrap_or("-").to_owned();
            [word("event"), word("outcome"), word("subject"), word("reason")].join(" ")
        })
        .collect();
    let expected = [
        "login refused alice wrong_password",
        "login refused nobody account_unknown",
        "login done alice -",
        "refresh done alice -",
        "refresh done alice -",
        "reuse done alice refresh_reused",
        "refresh refused - refresh_reused_before",
        "login done bob -",
        "logout asked bob -",
        "logout done bob -",
    ];
    assert_eq!(told, expected, "{text}");
    let login = lines.iter().find(|line| line["event"] == "login").unwrap();
    assert_eq!(login["address"], "127.0.0.1", "{login}");
    assert!(login["request_id"].is_string(), "{login}");
}
