//! Logins against a users file: equal refusals, upgrades, changes from outside.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};

use super::super::{Accounts, EndedWhy};
use super::*;

const PASSWORD: &str = "correct horse battery staple";
const BCRYPT: &str = "$2b$04$EGHR8YS9/f/xHOyP/8r0/OfLtW2oTsNkS/AB/TgTo7RbF5IwHxeNy";
const SCRYPT: &str =
    "$scrypt$ln=5,r=8,p=1$MDEyMzQ1Njc4OWFiY2RlZg$O/PE5W91kFh2cnJ1CiUt50GKGzaXGDts2UqbWHbDfxo";

fn put(path: &Path, text: &str) {
    crate::private_file::write(path, text.as_bytes()).unwrap();
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

fn settle(accounts: &Accounts) -> bool {
    accounts.reload().unwrap();
    accounts.reload().unwrap()
}

#[tokio::test]
async fn who_may_log_in() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("users");
    put(
        &path,
        &format!("alice:{BCRYPT}:admin:7:a%3Ab\nbob:{SCRYPT}:::::\n")
            .replace(":::::", "::::disabled"),
    );
    let accounts = Accounts::from_file(&path).unwrap();
    let alice = login(&accounts, "alice", PASSWORD).await.unwrap().unwrap();
    assert_eq!((alice.name.as_str(), alice.subject.as_str()), ("alice", "7"));
    assert_eq!(
        (alice.roles, alice.permissions),
        (vec!["admin".to_owned()], vec!["a:b".to_owned()])
    );
    let long = "x".repeat(2000);
    for (name, password, refused) in [
        ("alice", "wrong", Refused::WrongPassword),
        ("alice", "", Refused::Unknown),
        ("alice", &long, Refused::Unknown),
        ("alice", "correct horse battery staple\0", Refused::Unknown),
        ("Alice", PASSWORD, Refused::Unknown),
        ("alice ", PASSWORD, Refused::Unknown),
        ("", PASSWORD, Refused::Unknown),
        ("client:billing", PASSWORD, Refused::Unknown),
        ("ali\0ce", PASSWORD, Refused::Unknown),
        (&long, PASSWORD, Refused::Unknown),
        ("bob", PASSWORD, Refused::Disabled),
        ("bob", "wrong", Refused::Disabled),
    ] {
        let outcome = login(&accounts, name, password).await.unwrap();
        let outcome = outcome.map(|account| account.name);
        // What is no password is not even compared.
        let expected = if ["", &long, "correct horse battery staple\0"].contains(&password) {
            Refused::WrongPassword
        } else {
            refused
        };
        assert_eq!(outcome, Err(expected), "{name:?}");
    }
}

/// Written back once, with the whole password; a bcrypt account takes 72 bytes until then.
#[tokio::test]
async fn an_outdated_hash_is_made_anew_at_login() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("users");
    let head = "x".repeat(72);
    let long = "$2b$04$HRDpsOgWFsytw0sFGeqQZOk.HAxvQAxFfQH0cjMyhcm3wN6I8zCvO";
    put(&path, &format!("# kept\nalice:{long}:admin\nbob:{SCRYPT}\n"));
    let accounts = Accounts::from_file(&path).unwrap();
    let whole = format!("{head}tail");
    assert!(login(&accounts, "alice", "wrong").await.unwrap().is_err());
    assert!(fs::read_to_string(&path).unwrap().contains(long), "not at a failure");
    assert!(login(&accounts, "alice", &whole).await.unwrap().is_ok());
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.starts_with("# kept\nalice:$argon2id$v=19$m=19456,t=2,p=1$"), "{text}");
    assert!(text.contains(":admin\n") && text.contains(SCRYPT), "{text}");
    // At once, without a reload: the whole password, and nothing shorter.
    assert!(login(&accounts, "alice", &head).await.unwrap().is_err());
    assert!(login(&accounts, "alice", &whole).await.unwrap().is_ok());
    assert_eq!(fs::read_to_string(&path).unwrap(), text, "no second time");
    // The next one once this change was seen like any other.
    assert!(login(&accounts, "bob", PASSWORD).await.unwrap().is_ok());
    assert!(fs::read_to_string(&path).unwrap().contains("$scrypt$"));
    assert!(settle(&accounts));
    assert!(login(&accounts, "bob", PASSWORD).await.unwrap().is_ok());
    assert!(!fs::read_to_string(&path).unwrap().contains("$scrypt$"));
}

/// `postern user passwd` between the check and the write: its hash stays.
#[tokio::test]
async fn a_password_set_meanwhile_wins() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("users");
    put(&path, &format!("alice:{BCRYPT}\n"));
    let accounts = Accounts::from_file(&path).unwrap();
    let (_, set) = Hash::make(b"set meanwhile").unwrap();
    let mut users = UsersFile::open(&path, UPGRADE_WAIT).unwrap();
    users.set_hash("alice", &set).unwrap();
    users.write().unwrap();
    // The table in memory is still the old one.
    assert!(login(&accounts, "alice", PASSWORD).await.unwrap().is_ok());
    assert!(fs::read_to_string(&path).unwrap().contains(set.expose()), "not written over");
    assert!(settle(&accounts));
    assert!(login(&accounts, "alice", PASSWORD).await.unwrap().is_err());
    assert!(login(&accounts, "alice", "set meanwhile").await.unwrap().is_ok());
}

/// An editor knows nothing of the lock: what it is about to write is not replaced under its hands,
/// and half a file is never taken for the whole (CWE-367).
#[tokio::test]
async fn a_file_that_is_being_edited_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("users");
    put(&path, &format!("alice:{BCRYPT}\nbob:{SCRYPT}:member\n"));
    let accounts = Accounts::from_file(&path).unwrap();
    // Half of it so far, in place.
    fs::write(&path, format!("alice:{BCRYPT}:admin\n")).unwrap();
    let untouched = || fs::read_to_string(&path).unwrap().contains(BCRYPT);
    assert!(login(&accounts, "alice", PASSWORD).await.unwrap().is_ok());
    assert!(untouched(), "before it was seen");
    assert!(!accounts.reload().unwrap());
    assert!(login(&accounts, "alice", PASSWORD).await.unwrap().is_ok());
    assert!(untouched(), "before it held still");
    assert!(login(&accounts, "bob", PASSWORD).await.unwrap().is_ok(), "as it was read last");
    fs::write(&path, format!("alice:{BCRYPT}:admin\nbob:{SCRYPT}:admin\n")).unwrap();
    assert!(settle(&accounts));
    assert!(login(&accounts, "alice", PASSWORD).await.unwrap().is_ok());
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.starts_with("alice:$argon2id$") && text.contains(&format!("bob:{SCRYPT}:admin")));
    // A change right behind the new hash is read, too.
    fs::write(&path, text.replace(":admin", ":editor")).unwrap();
    assert!(settle(&accounts));
    let found = accounts.look_up("bob", "bob").await.unwrap();
    assert!(matches!(found, LookedUp::Present(account) if account.roles == ["editor"]));
}

/// The last look is right before the file is replaced; then nothing of the new one stays.
#[test]
fn a_change_at_the_last_moment_wins() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("users");
    put(&path, &format!("alice:{BCRYPT}\n"));
    let (_, hash) = Hash::make(b"another password").unwrap();
    let mut users = UsersFile::open(&path, UPGRADE_WAIT).unwrap();
    users.set_hash("alice", &hash).unwrap();
    let edited = format!("alice:{SCRYPT}\n");
    let written = users.write_if(|| {
        fs::write(&path, &edited).unwrap();
        false
    });
    assert!(written.unwrap().is_none());
    assert_eq!(fs::read_to_string(&path).unwrap(), edited);
    let names: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(names.iter().all(|name| name == "users" || name == "users.lock"), "{names:?}");
}

/// A lock that is held, and a directory that cannot be written, cost nobody the login.
#[tokio::test]
async fn a_login_does_not_hang_on_the_upgrade() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("users");
    put(&path, &format!("alice:{BCRYPT}\n"));
    let accounts = Accounts::from_file(&path).unwrap();
    let users = UsersFile::open(&path, UPGRADE_WAIT).unwrap();
    assert!(login(&accounts, "alice", PASSWORD).await.unwrap().is_ok());
    drop(users);
    assert!(fs::read_to_string(&path).unwrap().contains(BCRYPT));
    // A directory in the lock's place: nothing can be written beside the file.
    fs::remove_file(dir.path().join("users.lock")).unwrap();
    fs::create_dir(dir.path().join("users.lock")).unwrap();
    assert!(login(&accounts, "alice", PASSWORD).await.unwrap().is_ok());
    assert!(fs::read_to_string(&path).unwrap().contains(BCRYPT));
    // Once noticed, no hash is made for nothing until the file changes.
    fs::remove_dir(dir.path().join("users.lock")).unwrap();
    assert!(login(&accounts, "alice", PASSWORD).await.unwrap().is_ok());
    assert!(fs::read_to_string(&path).unwrap().contains(BCRYPT));
    put(&path, &format!("alice:{BCRYPT}:admin\n"));
    assert!(settle(&accounts));
    assert!(login(&accounts, "alice", PASSWORD).await.unwrap().is_ok());
    assert!(fs::read_to_string(&path).unwrap().contains("$argon2id$"));
}

/// ASVS 5.0 7.4.2: told once, when the change is in force, and by `sub`.
#[test]
fn who_is_gone_is_told_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("users");
    put(&path, &format!("alice:{BCRYPT}::7\nbob:{BCRYPT}\ncarol:{BCRYPT}\n"));
    let accounts = Accounts::from_file(&path).unwrap();
    let told = || -> Vec<_> {
        let ended = accounts.take_ended().into_iter();
        ended.map(|ended| (ended.subject, ended.why)).collect()
    };
    let gone = vec![("7".to_owned(), EndedWhy::Removed), ("carol".to_owned(), EndedWhy::Disabled)];
    assert!(told().is_empty());
    assert!(accounts.stands("alice", "7") && !accounts.stands("alice", "alice"));
    put(&path, &format!("bob:{BCRYPT}\ncarol:{BCRYPT}::::disabled\n"));
    assert!(!accounts.reload().unwrap());
    assert!(told().is_empty(), "before it holds still");
    assert!(accounts.reload().unwrap());
    assert!(!accounts.stands("alice", "7") && !accounts.stands("carol", "carol"));
    assert_eq!(told(), gone);
    assert!(told().is_empty());
    // What cannot be read says nothing about anybody.
    for wrong in ["bob\n", &format!("bob:{BCRYPT}\nbo")] {
        put(&path, wrong);
        assert!(!accounts.reload().unwrap());
        assert!(accounts.reload().is_err());
        assert!(!accounts.reload().unwrap());
        assert!(told().is_empty() && accounts.stands("bob", "bob"), "{wrong}");
    }
    fs::remove_file(&path).unwrap();
    assert!(!settle_or_fail(&accounts));
    assert!(told().is_empty() && accounts.stands("bob", "bob"), "a file that is gone");
    // Another file in its place, by the configuration.
    put(&path, &format!("carol:{BCRYPT}\n"));
    let other = Accounts::from_file(&path).unwrap();
    assert_eq!(
        other.ended_since(&accounts),
        [Ended { subject: "bob".to_owned(), why: EndedWhy::Removed }]
    );
}

fn settle_or_fail(accounts: &Accounts) -> bool {
    accounts.reload().is_ok_and(|read| read) || accounts.reload().is_ok_and(|read| read)
}

/// What the system did not allow (a mode, a full table of open files) is tried again, though the
/// file does not change: an account that was removed must not stay for that.
#[test]
fn a_file_that_could_not_be_read_is_tried_again() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("users");
    put(&path, &format!("alice:{BCRYPT}\nbob:{BCRYPT}\n"));
    let accounts = Accounts::from_file(&path).unwrap();
    let mode = |mode| fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    put(&path, &format!("bob:{BCRYPT}\n"));
    mode(0o644);
    assert!(!accounts.reload().unwrap());
    assert!(accounts.reload().is_err());
    assert!(!accounts.reload().unwrap(), "told once");
    assert!(accounts.stands("alice", "alice"));
    mode(0o600);
    assert!(accounts.reload().unwrap());
    assert!(!accounts.stands("alice", "alice"));
    assert_eq!(accounts.take_ended().len(), 1);
}

/// Removed, disabled or given another password while the old one was being checked: the table in
/// force decides (CWE-367).
#[test]
fn a_check_ends_with_the_table_in_force() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("users");
    let line = format!("alice:{BCRYPT}:admin\n");
    let (_, other) = Hash::make(b"another password").unwrap();
    let password = Password::typed(PASSWORD).unwrap();
    for (text, refused) in [
        (String::new(), Refused::Unknown),
        (format!("alice:{BCRYPT}::::disabled\n"), Refused::Disabled),
        (format!("alice:{}\n", other.expose()), Refused::WrongPassword),
    ] {
        put(&path, &line);
        let file = FileAccounts::open(&path).unwrap();
        let old = file.table.load_full();
        let entry = old.get("alice").unwrap();
        assert!(file.still_has(entry));
        file.table.store(Arc::new(Table::read(&path, &text).unwrap()));
        assert!(!file.still_has(entry), "{text}");
        assert_eq!(file.verify("alice", &password).unwrap(), Err(refused), "{text}");
    }
}

#[tokio::test]
async fn a_changed_file_counts_once_it_holds_still() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("users");
    put(&path, &format!("alice:{BCRYPT}:admin\n"));
    let accounts = Accounts::from_file(&path).unwrap();
    assert!(!accounts.reload().unwrap());
    put(&path, &format!("alice:{BCRYPT}:editor\n"));
    assert!(!accounts.reload().unwrap(), "seen for the first time");
    assert!(accounts.reload().unwrap());
    let roles = |found| match found {
        LookedUp::Present(account) => account.roles,
        other => panic!("{other:?}"),
    };
    assert_eq!(roles(accounts.look_up("alice", "alice").await.unwrap()), ["editor"]);
    // A file that cannot be meant changes nothing, and is complained about once.
    put(&path, "alice\n");
    assert!(!accounts.reload().unwrap());
    assert!(accounts.reload().is_err());
    assert!(!accounts.reload().unwrap());
    assert_eq!(roles(accounts.look_up("alice", "alice").await.unwrap()), ["editor"]);
    // Gone from the file, disabled, or another person under the name.
    for (text, name) in [
        (format!("bob:{BCRYPT}\n"), "removed"),
        (format!("alice:{BCRYPT}::::disabled\n"), "disabled"),
        (format!("alice:{BCRYPT}::8\n"), "another subject"),
    ] {
        put(&path, &text);
        assert!(settle(&accounts), "{name}");
        assert_eq!(accounts.look_up("alice", "alice").await, Ok(LookedUp::Gone), "{name}");
    }
    fs::remove_file(&path).unwrap();
    assert!(!accounts.reload().unwrap());
    assert!(accounts.reload().is_err(), "a file that is gone is a mistake, not an empty one");
}
