//! `[issuing.users]` as it is written, and what is said when it is wrong.

use crate::config::{Failure, Options, parse};

use super::*;

fn environment(name: &str) -> Option<String> {
    match name {
        "USERS_URL" => Some("postgres://app:hunter2@db.example.com/app".to_owned()),
        "BAD_URL" => Some("postgres://app:hunter2@db.example.com/app?sslmode=prefer".to_owned()),
        _ => None,
    }
}

/// The rest of an `[issuing]` that is valid.
const REST: &str = r#"
[issuing]
issuer = "https://login.example.com"
audiences = ["api"]
[[issuing.keys]]
kid = "1"
algorithm = "ES256"
private_key_file = "key.pem"
"#;

/// Compiles a configuration that has only this section; the error is what would be printed.
pub(in super::super) fn compiled(section: &str) -> Result<Settings, String> {
    let text =
        format!("listen.https = \"off\"\nlisten.plain = \"unix:run/p.sock\"\n{section}{REST}");
    let source = Source::new("p.toml", "/nowhere", text);
    let loaded = parse(source, &[], &environment, Options::ONLINE);
    let loaded = loaded.map_err(|failure: Failure| failure.to_string())?;
    let users = loaded.config.issuing.unwrap().into_inner().users.unwrap().into_inner();
    let mut problems = Problems::new();
    let settings = Settings::compile(&users, &loaded.source, &environment, true, &mut problems);
    match settings {
        Some(settings) if problems.is_empty() => Ok(settings),
        _ => Err(problems.render(&loaded.source)),
    }
}

fn users(line: &str) -> Result<Settings, String> {
    compiled(&format!("[issuing.users]\n{line}\n"))
}

#[test]
fn as_the_contract_writes_them() {
    let file = users("file = \"config/users\"").unwrap();
    assert_eq!(file.file(), Some(&PathBuf::from("/nowhere/config/users")));
    let sql = users(
        "sql = { url_env = \"USERS_URL\", query = \"SELECT id, password_hash, roles FROM users \
         WHERE email = $1\" }",
    );
    assert!(matches!(sql.unwrap().0, Kind::Sql(_)));
    let upstream = users(
        "upstream = { url = \"http://127.0.0.1:3000/api/login\", claims = { sub = \"/user/id\", \
         roles = \"/user/roles\", email = \"/user/email\" } }",
    );
    let Kind::Upstream(upstream) = upstream.unwrap().0 else { panic!() };
    assert_eq!(
        (upstream.subject.as_str(), upstream.roles.as_deref()),
        ("/user/id", Some("/user/roles"))
    );
    assert_eq!(upstream.claims.get("email").map(String::as_str), Some("/user/email"));
    assert_eq!(upstream.fields, ("username".to_owned(), "password".to_owned()));
}

/// A user alone tells nobody anything; with a password, or what may be one, the URL is kept
/// elsewhere.
#[test]
fn a_url_in_the_file_may_name_a_user_and_no_password() {
    let compiled = |url: &str| {
        users(&format!("sql = {{ url = \"{url}\", query = \"SELECT 1 WHERE a = $1\" }}"))
    };
    for url in ["postgres://u@h/d", "mysql://u@h:3306/d", "postgres://u%3Av@h/d", "sqlite:u.db"] {
        assert!(compiled(url).is_ok(), "{url}");
    }
    for url in [
        "postgres://u:hunter2@h/d",
        "postgres://u:@h/d",
        "postgres://:hunter2@h/d",
        "postgres://u:hunter2/@h/d",
        "postgres://u:hunter2?@h/d",
        "postgres://u@v:hunter2@h/d",
    ] {
        let error = compiled(url).err().unwrap_or_else(|| panic!("{url} is taken"));
        assert!(error.contains("a password in a URL that stands in the file"), "{error}");
        assert!(error.contains("url_env") && !error.contains("hunter2"), "{error}");
    }
}

#[test]
#[allow(clippy::too_many_lines, reason = "a table")]
fn what_cannot_be_meant_is_said_with_its_place() {
    let sql = |more: &str| {
        format!("sql = {{ url = \"sqlite:u.db\", query = \"SELECT 1 WHERE a = ?\" {more} }}")
    };
    let login = |more: &str| {
        format!("upstream = {{ url = \"https://app/login\", claims = {{ sub = \"/id\" }} {more} }}")
    };
    for (line, place, words) in [
        (String::new(), "p.toml:3:1", "says nowhere who has an account"),
        ("file = \"\"".into(), "p.toml:4:8", "names no file"),
        (format!("file = \"u\"\n{}", sql("")), "p.toml:5:7", "not several"),
        ("sql = { query = \"SELECT 1 WHERE a = ?\" }".into(), "p.toml:4:7", "no database's URL"),
        ("sql = { url = \"sqlite:u.db\" }".into(), "p.toml:4:7", "`query` is missing"),
        (sql(", url_env = \"X\""), "p.toml:4:15", "not both"),
        (sql(", url_env = \"A B\""), "p.toml:4", "not a variable's name"),
        (
            "sql = { url = \"postgres://u:hunter2@db/a\", query = \"SELECT ?\" }".into(),
            "p.toml:4:15",
            "is refused",
        ),
        (
            "sql = { url = \"sqlite:u.db\", query = \"SELECT 1\" }".into(),
            "p.toml:4:38",
            "by its name",
        ),
        (sql(", update = \"UPDATE u SET h = ?\""), "p.toml:4", "three parameters"),
        (sql(", connections = 0"), "p.toml:4", "between 1 and 64"),
        (sql(", timeout = \"1ms\""), "p.toml:4", "between 50ms and 1m"),
        (sql(", kinds = [\"bcrypt\"]"), "p.toml:4", "no known kind"),
        (sql(", kinds = [\"$argon2id$v=19$m=4194304,t=1,p=1\"]"), "p.toml:4", "costs more"),
        (sql(", columns = { claims = { exp = \"x\" } }"), "p.toml:4", "by the gateway alone"),
        (sql(", columns = { claims = { sub = \"x\" } }"), "p.toml:4", "subject = \"COLUMN\""),
        (sql(", colums = {}"), "p.toml:4", "did you mean `columns`"),
        ("sql = { url_env = \"UNSET\", query = \"SELECT ?\" }".into(), "p.toml:4:7", "is not set"),
        (
            "sql = { url_env = \"BAD_URL\", query = \"SELECT ?\" }".into(),
            "p.toml:4:7",
            "does not check who answers",
        ),
        ("upstream = { url = \"https://app/login\" }".into(), "p.toml:4:12", "`claims` is missing"),
        (
            "upstream = { url = \"https://app/login\", claims = { roles = \"/r\" } }".into(),
            "p.toml:4",
            "nobody would know who it is",
        ),
        (
            "upstream = { url = \"https://app/login\", claims = { sub = \"id\" } }".into(),
            "p.toml:4",
            "not a JSON Pointer",
        ),
        (
            "upstream = { url = \"https://app/login\", claims = { sub = \"/id\", iss = \"/i\" } }"
                .into(),
            "p.toml:4",
            "by the gateway alone",
        ),
        (
            "upstream = { url = \"http://app:3000/login\", claims = { sub = \"/id\" } }".into(),
            "p.toml:4:20",
            "in the clear",
        ),
        (
            "upstream = { url = \"https://u:p@app/login\", claims = { sub = \"/id\" } }".into(),
            "p.toml:4",
            "is refused",
        ),
        (login(", fields = { username = \"password\" }"), "p.toml:4", "the same field"),
        (login(", timeout = \"2m\""), "p.toml:4", "between 50ms and 1m"),
        (login(", ca = \"missing.pem\""), "p.toml:4", "missing.pem"),
        ("sql = []".into(), "p.toml:4:7", "expected a table, found a list"),
    ] {
        let said = users(&line).err().unwrap_or_else(|| panic!("accepted: {line}"));
        assert!(said.contains(place) && said.contains(words), "{line}\n{said}");
        assert!(!said.contains("hunter2"), "{said}");
    }
}

#[test]
fn a_private_network_may_be_spoken_to_in_the_clear_when_it_is_named() {
    let line = "upstream = { url = \"http://app:3000/login\", claims = { sub = \"/id\" }, addresses = [\"172.16.0.0/12\"] }";
    let Kind::Upstream(upstream) = users(line).unwrap().0 else { panic!() };
    assert!(upstream.reach.plain && upstream.reach.addresses.len() == 1);
}
