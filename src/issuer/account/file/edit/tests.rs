//! Changes of a users file: whole, alone, and leaving what they are not about.

use std::fs;
use std::os::unix::fs::symlink;

use super::super::super::hash::Hash;
use super::super::htpasswd::{ImportError, import};
use super::*;

const HASH: &str = "$2b$04$EGHR8YS9/f/xHOyP/8r0/OfLtW2oTsNkS/AB/TgTo7RbF5IwHxeNy";
const NO_WAIT: Duration = Duration::ZERO;

fn open(path: &Path) -> UsersFile {
    UsersFile::open(path, Duration::from_secs(10)).unwrap()
}

fn hash() -> Secret<String> {
    Secret::new(HASH.to_owned())
}

fn named(name: &str) -> NewEntry {
    NewEntry { name: name.to_owned(), ..NewEntry::default() }
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_change_leaves_everything_else() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("users");
    fs::write(&path, format!("# people\n\nalice:{HASH}:admin:7\nbob:{HASH}\n")).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    let mut users = open(&path);
    users.add(&NewEntry { roles: vec!["a:b".into()], ..named("carol") }, &hash()).unwrap();
    let (_, new) = Hash::make(b"another password").unwrap();
    users.set_hash("alice", &new).unwrap();
    users.remove("bob").unwrap();
    let table = users.write().unwrap();
    assert_eq!(table.entries().len(), 2);
    let text = fs::read_to_string(&path).unwrap();
    assert_eq!(text, format!("# people\n\nalice:{}:admin:7\ncarol:{HASH}:a%3Ab\n", new.expose()));
    assert_eq!(names(dir.path()), ["users", "users.lock"], "nothing else is left");
}

#[test]
fn what_cannot_be_changed_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("users");
    let mut users = open(&path);
    users.add(&named("alice"), &hash()).unwrap();
    assert!(matches!(users.add(&named("alice"), &hash()), Err(EditError::Exists(_))));
    assert!(matches!(users.add(&named("a:b"), &hash()), Err(EditError::Line(_))));
    assert!(matches!(users.remove("bob"), Err(EditError::Missing(_))));
    assert!(matches!(users.set_hash("bob", &hash()), Err(EditError::Missing(_))));
    users.write().unwrap();
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600, "a new file is private");
    // Removed and added again within one change.
    let mut users = open(&path);
    users.remove("alice").unwrap();
    users.add(&named("alice"), &hash()).unwrap();
    assert_eq!(users.write().unwrap().entries().len(), 1);
}

/// A change that would make the file unreadable is not written (two accounts, one `sub`).
#[test]
fn what_could_not_be_read_again_is_not_written() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("users");
    let mut users = open(&path);
    users.add(&named("alice"), &hash()).unwrap();
    users.write().unwrap();
    let before = fs::read(&path).unwrap();
    let mut users = open(&path);
    users.add(&NewEntry { id: Some("alice".into()), ..named("bob") }, &hash()).unwrap();
    assert!(matches!(users.write(), Err(FileError::Lines { .. })));
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[test]
fn one_process_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("users");
    let users = open(&path);
    assert!(matches!(UsersFile::open(&path, NO_WAIT), Err(FileError::Locked(_))));
    drop(users);
    assert!(UsersFile::open(&path, NO_WAIT).is_ok());
}

#[test]
fn changes_side_by_side_are_all_there() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("users");
    thread::scope(|scope| {
        for writer in 0..4 {
            let path = &path;
            scope.spawn(move || {
                for number in 0..8 {
                    let mut users = open(path);
                    users.add(&named(&format!("{writer}-{number}")), &hash()).unwrap();
                    users.write().unwrap();
                }
            });
        }
    });
    assert_eq!(Table::load(&path).unwrap().entries().len(), 32);
}

/// Root's file that a gateway reads through its group must stay readable to it.
#[test]
fn mode_and_link_stay() {
    let dir = tempfile::tempdir().unwrap();
    let (real, link) = (dir.path().join("real"), dir.path().join("users"));
    fs::write(&real, format!("alice:{HASH}\n")).unwrap();
    fs::set_permissions(&real, Permissions::from_mode(0o600)).unwrap();
    symlink(&real, &link).unwrap();
    let mut users = open(&link);
    users.before = users.before.map(|(_, group)| (0o644, group));
    users.add(&named("bob"), &hash()).unwrap();
    users.write().unwrap();
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(fs::metadata(&real).unwrap().mode() & 0o777, 0o640, "others never");
}

#[test]
fn a_file_of_another_user_is_not_taken_over() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("users");
    fs::write(&path, "").unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    // Giving a file away takes root, which is what containers run tests as.
    if chown(&path, Some(65534), None).is_ok() {
        let refused = UsersFile::open(&path, NO_WAIT).err().unwrap();
        assert!(refused.to_string().contains("sudo -u '#65534'"), "{refused}");
    }
}

#[test]
fn htpasswd_is_taken_over_line_by_line() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("users");
    let mut users = open(&path);
    users.add(&NewEntry { roles: vec!["admin".into()], ..named("alice") }, &hash()).unwrap();
    let other = HASH.replace("$04$", "$05$").replace("$2b$", "$2y$");
    let text = format!(
        "# from Apache\nalice:{other}\nbob:{other}\ncarol:$apr1$abcdefgh$82JubPF2dQkt1tVfvLnXS.\n\
         dave:{{SHA}}nU4eI71bcnBGqeO0t9tXvY1u5oQ=\neve:rqXexS6ZhobKA\nfrank\n\
         bob:{other}\ngrace:{other}:admin\nclient:{other}\n:{other}\n"
    );
    let roles = ["member".to_owned()];
    let imported = import(&mut users, &text, &roles, false);
    assert_eq!(imported.taken, ["bob", "client"]);
    let refused: Vec<_> =
        imported.refused.iter().map(|(line, error)| format!("{line}: {error}")).collect();
    assert!(refused.iter().all(|text| !text.contains("82Jub") && !text.contains("rqXex")));
    let lines: Vec<_> = imported.refused.iter().map(|(line, _)| *line).collect();
    assert_eq!(lines, [2, 4, 5, 6, 7, 8, 9, 11], "{refused:?}");
    assert!(matches!(imported.refused[0].1, ImportError::Exists(_)), "{refused:?}");
    assert!(matches!(imported.refused[6].1, ImportError::Columns), "{refused:?}");
    let again = import(&mut users, &format!("alice:{other}\n"), &roles, true);
    assert_eq!(again.taken, ["alice"]);
    let table = users.write().unwrap();
    assert_eq!(table.get("alice").unwrap().roles, ["admin"], "the hash alone is replaced");
    assert_eq!(table.get("alice").unwrap().hash, other.parse().unwrap());
    assert_eq!(table.get("bob").unwrap().roles, ["member"]);
}
