//! The verbs against a real file: what is written, said, and never said.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;

use clap::Parser;
use serde_json::Value;

use super::*;

const BCRYPT: &str = "$2b$04$EGHR8YS9/f/xHOyP/8r0/OfLtW2oTsNkS/AB/TgTo7RbF5IwHxeNy";

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    user: UserArgs,
}

/// Exit code, standard output, standard error.
type Told = (u8, String, String);

fn told(arguments: &[&str], input: &str, ask: Option<Ask<'_>>) -> Told {
    let line = Line::try_parse_from(["user"].iter().chain(arguments)).unwrap();
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut input = input.as_bytes();
    let mut io = Io { input: &mut input, ask, out: &mut out, err: &mut err };
    let code = run(&line.user, &mut io);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (code, text(out), text(err))
}

fn in_file(path: &Path, arguments: &[&str], input: &str) -> Told {
    let path = path.to_str().unwrap();
    told(&[arguments, &["--file", path]].concat(), input, None)
}

#[test]
fn add_passwd_list_remove() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("users");
    let add =
        ["add", "alice", "--roles", "admin,editor", "--permissions", "orders:read", "--id", "7"];
    let (code, out, err) = in_file(&path, &add, "a good password\n");
    assert_eq!((code, out.as_str()), (0, ""), "{err}");
    assert!(!err.contains("good password"), "{err}");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let table = Table::load(&path).unwrap();
    let alice = table.get("alice").unwrap();
    assert!(alice.hash.verify(b"a good password").unwrap());
    assert_eq!(
        (alice.subject(), alice.permissions.as_slice()),
        ("7", &["orders:read".to_owned()][..])
    );
    let (code, _, err) = in_file(&path, &add, "a good password\n");
    assert!(code == 1 && err.contains("there already"), "{err}");
    assert_eq!(in_file(&path, &["passwd", "alice"], "another password").0, 0);
    let table = Table::load(&path).unwrap();
    assert!(table.get("alice").unwrap().hash.verify(b"another password").unwrap());
    let (code, out, _) = in_file(&path, &["list", "--format", "json"], "");
    assert!(code == 0 && !out.contains("$argon2"), "{out}");
    let list: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(list["accounts"][0]["roles"], serde_json::json!(["admin", "editor"]));
    assert_eq!(list["accounts"][0]["hash"], "argon2id");
    let (_, out, _) = in_file(&path, &["list"], "");
    assert_eq!(
        out,
        "ACCOUNT  ID  ROLES         PERMISSIONS  HASH      STATE\n\
         alice    7   admin,editor  orders:read  argon2id  active\n"
    );
    assert_eq!(in_file(&path, &["remove", "alice"], "").0, 0);
    assert!(Table::load(&path).unwrap().entries().is_empty());
    for verb in ["remove", "passwd"] {
        let (code, _, err) = in_file(&path, &[verb, "alice"], "whatever it is");
        assert!(code == 1 && err.contains("no account"), "{err}");
    }
}

#[test]
fn passwords_that_are_not_taken() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("users");
    let long = "x".repeat(1100);
    for (input, words) in [
        ("", "empty"),
        ("\n", "empty"),
        ("short\n", "fewer than 8"),
        ("Alice@Example.COM", "account's name"),
        ("two lines\nof it\n", "more than one line"),
        ("with\0nul-byte", "NUL"),
        (&long, "longer than 1024"),
    ] {
        let (code, _, err) = in_file(&path, &["add", "alice@example.com"], input);
        assert!(code != 0 && err.contains(words), "{input:?}: {err}");
        assert!(!path.exists());
    }
}

#[test]
fn a_password_is_asked_for_twice_or_read_from_a_private_file() {
    let dir = tempfile::tempdir().unwrap();
    let (path, kept) = (dir.path().join("users"), dir.path().join("password"));
    let shown = path.to_str().unwrap();
    let same = |_: &str| Ok("typed password".to_owned());
    assert_eq!(told(&["add", "a", "--file", shown], "", Some(&same)).0, 0);
    let other = |prompt: &str| Ok(format!("typed password {prompt}"));
    let (code, _, err) = told(&["add", "b", "--file", shown], "", Some(&other));
    assert!(code == 1 && err.contains("not the same"), "{err}");
    // `-` is standard input, also where there is a terminal.
    let stdin = ["add", "c", "--password-file", "-", "--file", shown];
    assert_eq!(told(&stdin, "typed password\r\n", Some(&other)).0, 0);
    fs::write(&kept, "kept password\n").unwrap();
    fs::set_permissions(&kept, Permissions::from_mode(0o644)).unwrap();
    let file = ["add", "d", "--password-file", kept.to_str().unwrap(), "--file", shown];
    let (code, _, err) = told(&file, "", Some(&other));
    assert!(code == 1 && err.contains("chmod 600"), "{err}");
    fs::set_permissions(&kept, Permissions::from_mode(0o600)).unwrap();
    assert_eq!(told(&file, "", Some(&other)).0, 0);
    let table = Table::load(&path).unwrap();
    for (name, password) in
        [("a", "typed password"), ("c", "typed password"), ("d", "kept password")]
    {
        assert!(table.get(name).unwrap().hash.verify(password.as_bytes()).unwrap(), "{name}");
    }
}

#[test]
fn hostile_names_are_wrong_usage() {
    for name in ["", "client:billing", "a:b", "#a", " a", "a\n", "a\u{1b}[2J"] {
        assert!(Line::try_parse_from(["user", "add", name]).is_err(), "{name:?}");
        assert!(Line::try_parse_from(["user", "remove", name]).is_err(), "{name:?}");
    }
    // Never as an argument.
    assert!(Line::try_parse_from(["user", "add", "alice", "secret"]).is_err());
    assert!(Line::try_parse_from(["user", "add", "alice", "--password", "secret"]).is_err());
}

#[test]
fn an_import_says_which_lines_it_leaves() {
    let dir = tempfile::tempdir().unwrap();
    let (path, from) = (dir.path().join("users"), dir.path().join("htpasswd"));
    fs::write(&from, format!("alice:{BCRYPT}\nbob:$apr1$abcdefgh$82JubPF2dQkt1tVfvLnXS.\n"))
        .unwrap();
    let import = ["import", from.to_str().unwrap(), "--roles", "member"];
    let (code, out, err) = in_file(&path, &import, "");
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(
        err.contains("htpasswd:2: the hash is an MD5 hash") && err.contains("1 taken over"),
        "{err}"
    );
    assert!(!err.contains("82Jub"), "{err}");
    assert_eq!(Table::load(&path).unwrap().get("alice").unwrap().roles, ["member"]);
    fs::write(&from, format!("alice:{BCRYPT}\n")).unwrap();
    let (code, _, err) = in_file(&path, &import, "");
    assert!(code == 1 && err.contains("--replace"), "{err}");
    assert_eq!(in_file(&path, &[&import[..], &["--replace"]].concat(), "").0, 0);
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

#[test]
fn the_file_of_the_configuration() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("postern.toml");
    let head = "listen.https = \"off\"\nlisten.plain = \"unix:run/p.sock\"\n";
    let with = |section: &str| {
        fs::write(&config, format!("{head}{section}{REST}")).unwrap();
        told(&["add", "alice", "--config", config.to_str().unwrap()], "a good password", None)
    };
    let (code, _, err) = with("[issuing.users]\nfile = \"people\"\n");
    assert_eq!(code, 0, "{err}");
    assert!(dir.path().join("people").exists());
    assert_eq!(with("").0, 2);
    assert_eq!(with("[issuing.users]\n").0, 2);
    // A password is changed, whether or not its sessions can be ended; the exit code tells. A file
    // that is no gateway's has no sessions.
    assert_eq!(with("[issuing.users]\nfile = \"people\"\n").0, 1, "there already");
    let passwd = ["passwd", "alice", "--end-sessions"];
    let path = dir.path().join("people");
    let file = ["--file", path.to_str().unwrap()];
    assert!(Line::try_parse_from(["user"].iter().chain(&passwd).chain(&file)).is_err());
    let here = ["--config", config.to_str().unwrap()];
    let (code, _, err) = told(&[&passwd[..], &here].concat(), "another password", None);
    assert_eq!(code, 1, "{err}");
    assert!(err.contains("alice has another password"), "{err}");
    let command = "NOT ended, end them by: postern revoke --sub alice --of-issuer \
                   https://login.example.com --config ";
    assert!(err.contains(command), "{err}");
    let table = Table::load(&path).unwrap();
    assert!(table.get("alice").unwrap().hash.verify(b"another password").unwrap());
    let sql = "[issuing.users]\nsql = { url = \"sqlite:u.db\", query = \"SELECT ?\" }\n";
    let (code, _, err) = with(sql);
    assert!(code == 2 && err.contains("is no file"), "{err}");
}
