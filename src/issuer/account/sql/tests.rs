//! A real SQLite file: what the query finds is an account, nobody, or a mistake; and names that
//! would be SQL elsewhere.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use serde_json::{Value, json};
use sqlx::ConnectOptions as _;
use sqlx::sqlite::SqliteConnectOptions;

use super::super::hash::Hash;
use super::super::settings::tests::compiled;
use super::super::{Accounts, Source};
use super::*;

const PASSWORD: &str = "correct horse battery staple";
const BCRYPT: &str = "$2b$04$EGHR8YS9/f/xHOyP/8r0/OfLtW2oTsNkS/AB/TgTo7RbF5IwHxeNy";
const SCRYPT: &str =
    "$scrypt$ln=5,r=8,p=1$MDEyMzQ1Njc4OWFiY2RlZg$O/PE5W91kFh2cnJ1CiUt50GKGzaXGDts2UqbWHbDfxo";
const QUERY: &str = "SELECT * FROM users WHERE email = $1";

async fn database(path: &Path, statements: &str) {
    let options = SqliteConnectOptions::new().filename(path).create_if_missing(true);
    let mut connection = options.connect().await.unwrap();
    let statements = statements.replace('H', BCRYPT).replace("S!", SCRYPT);
    sqlx::raw_sql(sqlx::AssertSqlSafe(statements)).execute(&mut connection).await.unwrap();
}

fn accounts(path: &Path, more: &str, query: &str) -> Accounts {
    let settings = compiled(&format!(
        "[issuing.users]\nsql = {{ url = \"sqlite:{}\", query = \"{query}\" {more} }}\n",
        path.display()
    ));
    Accounts::open(settings.unwrap(), &Handle::current()).unwrap()
}

async fn login(
    accounts: &Accounts,
    name: &str,
    password: &str,
) -> Result<Result<Account, Refused>, AccountsUnavailable> {
    let password = Secret::new(password.to_owned());
    let client = IpAddr::V4(Ipv4Addr::LOCALHOST);
    accounts.check(&Attempt { name, password: &password, client }).await
}

const PEOPLE: &str = "
    CREATE TABLE users (id INTEGER, email TEXT, password_hash TEXT, roles TEXT, disabled BOOLEAN);
    INSERT INTO users VALUES (7, 'alice@example.com', 'H', 'admin, editor', 0);
    INSERT INTO users VALUES (8, 'bob', 'S!', '[\"a\",\"b,c\"]', 0);
    INSERT INTO users VALUES (9, 'carol', 'H', NULL, 1);
    INSERT INTO users VALUES (10, 'twice', 'H', '', 0);
    INSERT INTO users VALUES (11, 'twice', 'H', '', 0);
    INSERT INTO users VALUES (12, 'nohash', NULL, '', 0);
    INSERT INTO users VALUES (13, 'md5', '$apr1$abcdefgh$82JubPF2dQkt1tVfvLnXS.', '', 0);
    INSERT INTO users VALUES (14, 'costly', '$argon2id$v=19$m=4194304,t=1,p=1$c2FsdHNhbHRzYWx0c2FsdA$ePtfNi94yPMHVcVQdthAbi/SDQQk3eJiZDDjz3FlkN4', '', 0);
    INSERT INTO users VALUES (NULL, 'noid', 'H', '', 0);
    INSERT INTO users VALUES (15, 'badroles', 'H', '[1]', 0);
    INSERT INTO users VALUES (16, 'client:billing', 'H', 'admin', 0);
    INSERT INTO users VALUES (17, ''' OR ''1''=''1', 'H', 'quoted', 0);
";

#[tokio::test]
async fn who_may_log_in() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("app.db");
    database(&path, PEOPLE).await;
    let accounts = accounts(&path, "", QUERY);
    let alice = login(&accounts, "alice@example.com", PASSWORD).await.unwrap().unwrap();
    assert_eq!((alice.subject.as_str(), alice.roles), ("7", vec!["admin".into(), "editor".into()]));
    let bob = login(&accounts, "bob", PASSWORD).await.unwrap().unwrap();
    assert_eq!(bob.roles, ["a", "b,c"]);
    for (name, password, refused) in [
        ("alice@example.com", "wrong", Refused::WrongPassword),
        ("alice@example.com", "", Refused::WrongPassword),
        ("Alice@example.com", PASSWORD, Refused::Unknown),
        ("nobody", PASSWORD, Refused::Unknown),
        ("carol", PASSWORD, Refused::Disabled),
        ("carol", "wrong", Refused::Disabled),
        ("twice", PASSWORD, Refused::Unusable),
        ("nohash", "", Refused::Unusable),
        ("md5", "x", Refused::Unusable),
        ("costly", PASSWORD, Refused::Unusable),
        ("noid", PASSWORD, Refused::Unusable),
        ("badroles", PASSWORD, Refused::Unusable),
        ("client:billing", PASSWORD, Refused::Unknown),
        ("", PASSWORD, Refused::Unknown),
        ("a\0b", PASSWORD, Refused::Unknown),
        // CWE-89: a name is never SQL.
        ("' OR '1'='1' --", PASSWORD, Refused::Unknown),
        ("alice@example.com' --", PASSWORD, Refused::Unknown),
        ("%", PASSWORD, Refused::Unknown),
        ("$1", PASSWORD, Refused::Unknown),
        ("'; DROP TABLE users; --", PASSWORD, Refused::Unknown),
    ] {
        let outcome = login(&accounts, name, password).await.unwrap();
        assert_eq!(outcome.map(|account| account.name), Err(refused), "{name:?}");
    }
    // What looks like an injection may be a name.
    let odd = login(&accounts, "' OR '1'='1", PASSWORD).await.unwrap().unwrap();
    assert_eq!(odd.roles, ["quoted"]);
    assert!(login(&accounts, "bob", PASSWORD).await.unwrap().is_ok(), "the table is still there");
}

#[tokio::test]
async fn columns_may_have_other_names_and_become_claims() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("app.db");
    database(
        &path,
        "CREATE TABLE users (login TEXT, hash TEXT, ok INTEGER, mail TEXT, age INTEGER, rights TEXT);
         INSERT INTO users VALUES ('alice', 'H', 1, 'a@example.com', 42, 'orders:read');
         INSERT INTO users VALUES ('bob', 'H', 0, NULL, NULL, NULL);
         INSERT INTO users VALUES ('carol', 'H', NULL, NULL, NULL, NULL);",
    )
    .await;
    let columns = ", columns = { subject = \"login\", password = \"hash\", enabled = \"ok\", permissions = \"rights\", \
                    claims = { email = \"mail\", age = \"age\" } }";
    let accounts = accounts(&path, columns, "SELECT * FROM users WHERE login = ?");
    let alice = login(&accounts, "alice", PASSWORD).await.unwrap().unwrap();
    assert_eq!((alice.subject.as_str(), alice.permissions), ("alice", vec!["orders:read".into()]));
    assert_eq!(Value::from(alice.claims), json!({"email": "a@example.com", "age": 42}));
    for name in ["bob", "carol"] {
        let outcome = login(&accounts, name, PASSWORD).await.unwrap();
        assert_eq!(outcome.map(|account| account.name), Err(Refused::Disabled), "{name}");
    }
    // A column that the configuration names must be there.
    let mistaken = self::accounts(
        &path,
        ", columns = { subject = \"login\", password = \"hash\", roles = \"role\" }",
        "SELECT * FROM users WHERE login = ?",
    );
    let outcome = login(&mistaken, "alice", PASSWORD).await;
    assert_eq!(outcome.map(|_| ()), Err(AccountsUnavailable::Unreachable));
}

/// A column that was renamed, a parameter too many, a statement that asks for nothing: nobody is
/// asked for, and the answer does not tell who is there (CWE-204). 503, and no session ends of it.
#[tokio::test]
async fn a_query_that_does_not_fit_is_answered_alike_for_everybody() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("app.db");
    database(
        &path,
        "CREATE TABLE users (id INTEGER, email TEXT, password_hash TEXT);
         INSERT INTO users VALUES (7, 'alice', 'H');",
    )
    .await;
    let unreachable = Err(AccountsUnavailable::Unreachable);
    for (columns, query, says) in [
        (
            ", columns = { subject = \"user_id\" }",
            QUERY,
            "column `user_id`, which is read as subject",
        ),
        (", columns = { password = \"hash\" }", QUERY, "column `hash`"),
        (", columns = { roles = \"role\" }", QUERY, "`sql.columns.roles`"),
        (", columns = { permissions = \"rights\" }", QUERY, "column `rights`"),
        (", columns = { disabled = \"locked\" }", QUERY, "column `locked`"),
        (", columns = { enabled = \"active\" }", QUERY, "column `active`"),
        (", columns = { claims = { mail = \"mail\" } }", QUERY, "read as claims.mail"),
        ("", "SELECT id FROM users WHERE email = $1", "column `password_hash`"),
        ("", "SELECT * FROM users WHERE email = $1 OR email = $2", "has 2 parameters"),
        ("", "SELECT * FROM users WHERE email = '$1'", "has 0 parameters"),
        ("", "SELECT * FROM people WHERE email = $1", "no such table: people"),
        ("", "SELEC * FROM users WHERE email = $1", "syntax error"),
        // What is no question is not executed: there is nothing to read of it.
        ("", "DELETE FROM users WHERE email = $1", "column `id`"),
        ("", "UPDATE users SET email = NULL WHERE email <> $1", "column `id`"),
    ] {
        let mistaken = accounts(&path, columns, query);
        for name in ["alice", "bob"] {
            for password in [PASSWORD, "wrong"] {
                let outcome = login(&mistaken, name, password).await;
                assert_eq!(outcome.map(|_| ()), unreachable, "{name} {columns} {query}");
            }
            let outcome = mistaken.look_up(name, "7").await;
            assert_eq!(outcome.map(|_| ()), unreachable, "{name} {columns} {query}");
        }
        let Source::Sql(sql) = &mistaken.source else { panic!() };
        let why = sql.probe().await.unwrap_err();
        assert!(matches!(why, ProbeError::Misfit(_)) && why.to_string().contains(says), "{why}");
    }
    let fitting = accounts(&path, "", QUERY);
    assert!(login(&fitting, "alice", PASSWORD).await.unwrap().is_ok());
    // The table is changed under it, and changed back.
    database(&path, "ALTER TABLE users RENAME COLUMN password_hash TO hash").await;
    for name in ["alice", "bob"] {
        assert_eq!(login(&fitting, name, PASSWORD).await.map(|_| ()), unreachable, "{name}");
    }
    database(&path, "ALTER TABLE users RENAME COLUMN hash TO password_hash").await;
    assert!(login(&fitting, "alice", PASSWORD).await.unwrap().is_ok());
    assert_eq!(login(&fitting, "bob", PASSWORD).await, Ok(Err(Refused::Unknown)));
}

/// What is wrong with one row is found out only where there is one: a login is refused like an
/// unknown account's (CWE-204), while a refresh, which knows that there is one, ends no session of
/// what says nothing about the account.
#[tokio::test]
async fn a_row_that_cannot_be_read_is_refused_like_an_unknown_account() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("app.db");
    database(
        &path,
        "CREATE TABLE users (id INTEGER, email TEXT, password_hash TEXT, level, extra TEXT);
         INSERT INTO users VALUES (7, 'blob', 'H', x'00ff', '[]');
         INSERT INTO users VALUES (8, 'real', 'H', 1.5, '[]');
         INSERT INTO users VALUES (9, 'list', 'H', '[1]', '[]');
         INSERT INTO users VALUES (10, 'json', 'H', 'a', '{');
         INSERT INTO users VALUES (11, 'overflow', 'H', -9223372036854775808, '[]');
         INSERT INTO users VALUES (12, 'good', 'H', 'a', '[]');",
    )
    .await;
    let query = "SELECT id, password_hash, level AS roles, json_extract(extra, '$') AS permissions, \
                 CASE email WHEN 'overflow' THEN abs(level) ELSE 0 END AS disabled FROM users \
                 WHERE email = $1";
    let accounts = accounts(&path, ", connections = 1", query);
    for (name, subject, at_refresh) in [
        ("blob", "7", Err(AccountsUnavailable::Unreachable)),
        ("real", "8", Err(AccountsUnavailable::Unreachable)),
        ("list", "9", Ok(LookedUp::Gone)),
        ("json", "10", Err(AccountsUnavailable::Unreachable)),
        ("overflow", "11", Err(AccountsUnavailable::Unreachable)),
        ("nobody", "1", Ok(LookedUp::Gone)),
    ] {
        let refused = if name == "nobody" { Refused::Unknown } else { Refused::Unusable };
        for password in [PASSWORD, "wrong"] {
            assert_eq!(login(&accounts, name, password).await, Ok(Err(refused)), "{name}");
        }
        assert_eq!(accounts.look_up(name, subject).await, at_refresh, "{name}");
        // On the same connection.
        assert!(login(&accounts, "good", PASSWORD).await.unwrap().is_ok(), "after {name}");
    }
}

/// A collation that ignores case finds one account under many spellings: it is one subject, so that
/// a revocation of it and the bound on its sessions hold for all of them (CWE-178).
#[tokio::test]
async fn one_account_is_one_subject_however_it_is_spelled() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("app.db");
    database(
        &path,
        "CREATE TABLE users (email TEXT COLLATE NOCASE, password_hash TEXT);
         INSERT INTO users VALUES ('alice@example.com', 'H');",
    )
    .await;
    let by_name = accounts(&path, ", columns = { subject = \"email\" }", QUERY);
    for spelling in ["alice@example.com", "Alice@Example.com", "ALICE@EXAMPLE.COM"] {
        let account = login(&by_name, spelling, PASSWORD).await.unwrap().unwrap();
        assert_eq!(account.subject, "alice@example.com");
        let found = by_name.look_up(spelling, "alice@example.com").await.unwrap();
        assert!(matches!(found, LookedUp::Present(_)), "{spelling}");
    }
    // Without a column that says who it is nobody logs in, under any spelling.
    let by_nothing = accounts(&path, "", QUERY);
    for spelling in ["alice@example.com", "Alice@Example.com"] {
        assert!(!matches!(login(&by_nothing, spelling, PASSWORD).await, Ok(Ok(_))), "{spelling}");
    }
}

/// A database that does not answer is never "wrong password".
#[tokio::test]
async fn what_cannot_be_asked_is_unavailable() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("app.db");
    let accounts = accounts(&path, ", timeout = \"300ms\"", QUERY);
    let unreachable = Err(AccountsUnavailable::Unreachable);
    let outcome = login(&accounts, "alice@example.com", PASSWORD).await;
    assert_eq!(outcome.map(|_| ()), unreachable, "no file");
    assert_eq!(accounts.look_up("alice@example.com", "7").await.map(|_| ()), unreachable);
    assert!(!path.exists(), "nothing is made");
    database(&path, "CREATE TABLE other (x)").await;
    let outcome = login(&accounts, "alice@example.com", PASSWORD).await;
    assert_eq!(outcome.map(|_| ()), unreachable, "no table");
    // It recovers by itself.
    database(&path, PEOPLE).await;
    assert!(login(&accounts, "alice@example.com", PASSWORD).await.unwrap().is_ok());
}

#[tokio::test]
async fn refresh_reads_roles_anew() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("app.db");
    database(&path, PEOPLE).await;
    let accounts = accounts(&path, "", QUERY);
    let found = accounts.look_up("alice@example.com", "7").await.unwrap();
    assert!(matches!(found, LookedUp::Present(account) if account.roles.len() == 2));
    for (name, subject) in [
        ("alice@example.com", "8"),
        ("carol", "9"),
        ("nobody", "1"),
        ("twice", "10"),
        ("client:billing", "16"),
    ] {
        let found = accounts.look_up(name, subject).await;
        assert_eq!(found, Ok(LookedUp::Gone), "{name}");
    }
}

/// Only where the configuration has a statement for it, and never over a newer hash.
#[tokio::test]
async fn hashes_are_made_anew_where_a_statement_says_how() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("app.db");
    database(&path, PEOPLE).await;
    let stored = async || {
        let mut connection = SqliteConnectOptions::new().filename(&path).connect().await.unwrap();
        let query = sqlx::query_scalar("SELECT password_hash FROM users WHERE email = 'bob'");
        let hash: String = query.fetch_one(&mut connection).await.unwrap();
        hash
    };
    let without = accounts(&path, "", QUERY);
    assert!(login(&without, "bob", PASSWORD).await.unwrap().is_ok());
    assert_eq!(stored().await, SCRYPT);
    let update = ", update = \"UPDATE users SET password_hash = $1 WHERE email = $2 AND \
                  password_hash = $3\"";
    let with = accounts(&path, update, QUERY);
    assert!(login(&with, "bob", "wrong").await.unwrap().is_err());
    assert!(login(&with, "bob", PASSWORD).await.unwrap().is_ok());
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    while stored().await == SCRYPT {
        assert!(std::time::Instant::now() < deadline, "the hash was not replaced");
        tokio::task::yield_now().await;
    }
    assert!(stored().await.starts_with("$argon2id$"));
    assert!(login(&with, "bob", PASSWORD).await.unwrap().is_ok());
}

/// Each kind that was seen is spent on every refusal from then on.
#[tokio::test]
async fn kinds_are_learned_as_they_are_seen() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("app.db");
    database(&path, PEOPLE).await;
    let accounts = accounts(&path, ", kinds = [\"$2b$04$\"]", QUERY);
    let Source::Sql(sql) = &accounts.source else { panic!() };
    let [bcrypt, scrypt] = [BCRYPT, SCRYPT].map(|hash| hash.parse::<Hash>().unwrap().work());
    let known = |work| sql.works.lock().unwrap().contains(work);
    assert!(known(bcrypt) && !known(scrypt));
    drop(login(&accounts, "bob", "wrong").await);
    assert!(known(bcrypt) && known(scrypt));
}
