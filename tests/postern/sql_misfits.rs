//! Accounts in a table that does not fit the configuration, or has rows that cannot be used, through
//! the whole gateway: whoever tries names learns nothing of it (CWE-204), and the log says all.

use std::path::Path;

use sqlx::ConnectOptions as _;
use sqlx::sqlite::SqliteConnectOptions;
use tempfile::TempDir;

use crate::harness::client::Answer;
use crate::harness::gateway::{Gateway, run};
use crate::harness::issuing::{self, HASH, PASSWORD};
use crate::harness::setup::Setup;
use crate::harness::upstream::Upstream;
use crate::harness::{each, soon};

fn database(dir: &Path, statements: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let path = dir.join("app.db");
        let options = SqliteConnectOptions::new().filename(path).create_if_missing(true);
        let mut connection = options.connect().await.unwrap();
        let statements = sqlx::AssertSqlSafe(statements.replace("HASH", HASH));
        sqlx::raw_sql(statements).execute(&mut connection).await.unwrap();
        sqlx::Connection::close(connection).await.unwrap();
    });
}

fn setup(app: &Upstream) -> Setup {
    issuing::setup(app)
        .unset("issuing.users", "file")
        .set("issuing.users", "sql.url", "\"sqlite:app.db\"")
        .set("issuing.users", "sql.query", "\"SELECT * FROM users WHERE email = $1\"")
        .set("issuing.users", "sql.columns.roles", "\"role\"")
        .set("issuing.users", "sql.timeout", "\"10s\"")
}

/// What a client can tell one refusal from another by.
fn seen(answer: &Answer) -> (u16, Vec<(String, String)>, String) {
    let id = answer.header("x-request-id").unwrap().to_owned();
    let of_each = |(name, _): &&(String, String)| !matches!(name.as_str(), "date" | "x-request-id");
    let headers = answer.headers.iter().filter(of_each).cloned().collect();
    (answer.status, headers, answer.text().replace(&id, "ID"))
}

#[test]
fn a_query_that_does_not_fit_says_nothing_about_who_is_there() {
    let app = Upstream::start();
    let gateway = Gateway::start(&setup(&app));
    let client = issuing::client(&gateway);
    // It starts while its database is away.
    gateway.says("the accounts' database cannot be asked yet");
    client.login_as("alice", PASSWORD).refused(503);
    database(
        gateway.dir.path(),
        "CREATE TABLE users (id INTEGER, email TEXT, password_hash TEXT, roles TEXT);
         INSERT INTO users VALUES (7, 'alice', 'HASH', 'admin');",
    );
    let there = seen(&client.login_as("alice", PASSWORD).refused(503));
    for (name, password) in [("alice", "wrong"), ("nobody", PASSWORD), ("nobody", "wrong")] {
        assert_eq!(seen(&client.login_as(name, password)), there, "{name}");
    }
    gateway.says("no column `role`, which is read as roles");
    gateway.says("`sql.columns.roles`");
    database(gateway.dir.path(), "ALTER TABLE users RENAME COLUMN roles TO role");
    let tokens = client.login("alice");
    assert_eq!(tokens.claim("roles"), serde_json::json!(["admin"]));
    client.login_as("nobody", PASSWORD).refused(401);
    // A session outlives what is nobody's fault.
    database(gateway.dir.path(), "ALTER TABLE users RENAME COLUMN role TO roles");
    client.refresh(&tokens.refresh).refused(503);
    database(gateway.dir.path(), "ALTER TABLE users RENAME COLUMN roles TO role");
    soon("the session goes on", || client.refresh(&tokens.refresh).status == 200);
    assert_eq!(app.count(), 0);
}

/// A start says it before anybody logs in.
#[test]
fn the_log_of_a_start_names_what_does_not_fit() {
    let app = Upstream::start();
    let dir = TempDir::new().unwrap();
    let setup = setup(&app);
    setup.write(dir.path());
    database(dir.path(), "CREATE TABLE users (id INTEGER, email TEXT, password_hash TEXT)");
    let gateway = Gateway::start_in(dir, &setup);
    gateway.says("no column `role`");
}

#[test]
fn a_row_that_cannot_be_used_is_an_unknown_account() {
    let app = Upstream::start();
    let dir = TempDir::new().unwrap();
    let setup = setup(&app);
    setup.write(dir.path());
    database(
        dir.path(),
        "CREATE TABLE users (id INTEGER, email TEXT, password_hash TEXT, role);
         INSERT INTO users VALUES (1, 'alice', 'HASH', 'admin');
         INSERT INTO users VALUES (2, 'nohash', NULL, '');
         INSERT INTO users VALUES (3, 'md5', '$apr1$abcdefgh$82JubPF2dQkt1tVfvLnXS.', '');
         INSERT INTO users VALUES (NULL, 'noid', 'HASH', '');
         INSERT INTO users VALUES (5, 'badlist', 'HASH', '[1]');
         INSERT INTO users VALUES (6, 'blob', 'HASH', x'00ff');
         INSERT INTO users VALUES (7, 'twice', 'HASH', '');
         INSERT INTO users VALUES (8, 'twice', 'HASH', '');",
    );
    let gateway = Gateway::start_in(dir, &setup);
    let client = issuing::client(&gateway);
    let unknown = seen(&client.login_as("nobody", PASSWORD).refused(401));
    each(["alice", "nohash", "md5", "noid", "badlist", "blob", "twice"], |name| {
        let passwords: &[_] = if name == "alice" { &["wrong"] } else { &[PASSWORD, "wrong"] };
        for password in passwords {
            assert_eq!(seen(&client.login_as(name, password)), unknown, "{name}");
        }
    });
    for word in ["password_hash` is NULL", "`id` is NULL", "`role` is not a list", "several rows"] {
        gateway.says(word);
    }
    client.login("alice");
}

/// `postern check --online` finds it before anybody logs in, and shows no password.
#[test]
fn check_online_looks_at_the_query() {
    let app = Upstream::start();
    let check = |setup: &Setup, statements: &str| {
        let dir = TempDir::new().unwrap();
        setup.write(dir.path());
        if !statements.is_empty() {
            database(dir.path(), statements);
        }
        let output = run(&dir, &["check", "--online", "--config", "postern.toml"], "");
        let said = String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr);
        let line = said.lines().find(|line| line.contains("accounts sql")).map(str::to_owned);
        (output.status.code(), line.unwrap_or_else(|| panic!("{said}")), said)
    };
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let away = setup(&app)
        .unset("issuing.users", "sql.url")
        .set("issuing.users", "sql.url_file", "\"users-url\"")
        .set("issuing.users", "sql.timeout", "\"500ms\"")
        .file("users-url", format!("postgres://app:hunter2@{closed}/app"));
    let fits = "CREATE TABLE users (id INTEGER, email TEXT, password_hash TEXT, role TEXT)";
    for (setup, statements, outcome, word) in [
        (setup(&app), fits, "good", "the query gives the columns"),
        (setup(&app), "CREATE TABLE users (id, email, password_hash)", "failed", "column `role`"),
        (setup(&app), "CREATE TABLE people (id)", "failed", "no such table: users"),
        (setup(&app), "", "failed", "app.db cannot be opened"),
        (away, "", "failed", "within the timeout"),
    ] {
        let (code, line, said) = check(&setup, statements);
        assert!(line.starts_with(outcome) && line.contains(word), "{line}");
        assert_eq!(code, Some(i32::from(outcome == "failed")), "{said}");
        assert!(!said.contains("hunter2"), "{said}");
    }
}
