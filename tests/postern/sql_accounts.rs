//! Accounts in a real PostgreSQL and a real MariaDB: their types, their outages, their words for
//! arrays. Ignored unless asked for; `tests/extended.sh` installs both.

mod tls;

use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use postern::config::{Options, Problems, Source, parse};
use postern::issuer::account::{
    Account, Accounts, AccountsUnavailable, Attempt, LookedUp, Refused, Settings,
};
use postern::secret::Secret;
use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::harness::eventually;
use crate::harness::gateway::Gateway;
use crate::harness::issuing::{self, Client, Tokens};
use crate::harness::process::Process;
use crate::harness::upstream::Upstream;

const PASSWORD: &str = "correct horse battery staple";
const BCRYPT: &str = "$2b$04$EGHR8YS9/f/xHOyP/8r0/OfLtW2oTsNkS/AB/TgTo7RbF5IwHxeNy";
/// Whom a server runs as when the tests run as root: neither runs as root.
const NOBODY: u32 = 65534;

/// A database server of the test's own, on a unix socket.
struct Server {
    process: Process,
    dir: TempDir,
    command: fn(&Path) -> Command,
}

impl Server {
    /// Makes a data directory and starts a server on it.
    fn start(prepare: fn(&Path) -> Command, command: fn(&Path) -> Command) -> Self {
        let dir = TempDir::new().unwrap();
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::chown(dir.path(), Some(NOBODY), Some(NOBODY)).unwrap();
        }
        let output = unprivileged(prepare(dir.path())).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stdout));
        let process = Process::spawn(&mut unprivileged(command(dir.path())), "tests/extended.sh");
        Self { process, dir, command }
    }

    fn restart(&mut self) {
        drop(std::fs::remove_file(self.dir.path().join("postmaster.pid")));
        let mut command = unprivileged((self.command)(self.dir.path()));
        self.process = Process::spawn(&mut command, "tests/extended.sh");
    }

    /// Runs SQL with the database's own client, once the server answers.
    fn sql(&self, client: impl Fn(&Path) -> Command, text: &str) {
        let text = text.replace("BCRYPT", BCRYPT);
        eventually("the database takes SQL", Duration::from_secs(60), || {
            let mut command = client(self.dir.path());
            command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
            let mut child = command.spawn().unwrap();
            drop(std::io::Write::write_all(&mut child.stdin.take().unwrap(), text.as_bytes()));
            child.wait().unwrap().success()
        });
    }
}

fn unprivileged(mut command: Command) -> Command {
    if rustix::process::geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command.current_dir("/");
    command
}

/// The newest of Debian's installations, else what is in the path.
fn postgres_program(name: &str) -> PathBuf {
    let installed = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let newest =
        installed.filter_map(|entry| Some(entry.ok()?.path().join("bin").join(name))).max();
    newest.unwrap_or_else(|| name.into())
}

fn initdb(dir: &Path) -> Command {
    let mut command = Command::new(postgres_program("initdb"));
    command.args(["--auth=trust", "--username=app", "--encoding=UTF8", "--locale=C", "--no-sync"]);
    command.arg("--pgdata").arg(dir.join("data"));
    command
}

fn postgres(dir: &Path) -> Command {
    let mut command = Command::new(postgres_program("postgres"));
    command.arg("-D").arg(dir.join("data")).arg("-k").arg(dir);
    command.args(["-c", "listen_addresses=", "-c", "fsync=off"]);
    command
}

fn psql(dir: &Path) -> Command {
    let mut command = Command::new(postgres_program("psql"));
    command.arg("--host").arg(dir).args(["--username=app", "--dbname=postgres", "--quiet"]);
    command.args(["--set=ON_ERROR_STOP=1", "--single-transaction"]);
    command
}

fn install_mariadb(dir: &Path) -> Command {
    let mut command = Command::new("mariadb-install-db");
    command.args(["--no-defaults", "--auth-root-authentication-method=normal"]);
    command.arg(format!("--datadir={}", dir.join("data").display()));
    command
}

fn mariadbd(dir: &Path) -> Command {
    let mut command = Command::new("mariadbd");
    command.args(["--no-defaults", "--skip-networking"]);
    command.arg(format!("--datadir={}", dir.join("data").display()));
    command.arg(format!("--socket={}", dir.join("socket").display()));
    command.arg(format!("--pid-file={}", dir.join("pid").display()));
    command
}

fn mariadb(dir: &Path) -> Command {
    let mut command = Command::new("mariadb");
    command.args(["--no-defaults", "--user=root"]);
    command.arg(format!("--socket={}", dir.join("socket").display()));
    command
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

fn accounts(runtime: &Runtime, sql: &str) -> Accounts {
    // What the library says of an outage, for whoever watches the trial.
    drop(tracing_subscriber::fmt().with_test_writer().try_init());
    let text = format!(
        "listen.https = \"off\"\nlisten.plain = \"unix:run/p.sock\"\n[issuing.users]\n{sql}\n{REST}"
    );
    let source = Source::new("p.toml", "/", text);
    let loaded = parse(source, &[], &|_| None, Options::ONLINE).unwrap_or_else(|e| panic!("{e}"));
    let users = loaded.config.issuing.unwrap().into_inner().users.unwrap().into_inner();
    let mut problems = Problems::new();
    let settings = Settings::compile(&users, &loaded.source, &|_| None, true, &mut problems);
    let settings = settings.unwrap_or_else(|| panic!("{}", problems.render(&loaded.source)));
    Accounts::open(settings, runtime.handle()).unwrap()
}

/// Asked from another runtime than the one whose connections they are, as workers do.
fn login(
    accounts: &Accounts,
    name: &str,
    password: &str,
) -> Result<Result<Account, Refused>, AccountsUnavailable> {
    let worker = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let password = Secret::new(password.to_owned());
    let client = IpAddr::V4(Ipv4Addr::LOCALHOST);
    worker.block_on(accounts.check(&Attempt { name, password: &password, client }))
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

/// What every database must do alike.
fn everywhere(accounts: &Accounts) {
    let alice = login(accounts, "alice", PASSWORD).unwrap().unwrap();
    assert_eq!(alice.roles, ["admin", "b,c"]);
    for (name, password, refused) in [
        ("alice", "wrong", Refused::WrongPassword),
        ("nobody", PASSWORD, Refused::Unknown),
        ("carol", PASSWORD, Refused::Disabled),
        ("twice", PASSWORD, Refused::Unusable),
        ("' OR '1'='1", PASSWORD, Refused::Unknown),
        ("alice\\", PASSWORD, Refused::Unknown),
        ("$1", PASSWORD, Refused::Unknown),
        ("\u{1f511}", PASSWORD, Refused::Unknown),
    ] {
        let outcome = login(accounts, name, password).unwrap();
        assert_eq!(outcome.map(|account| account.name), Err(refused), "{name}");
    }
}

/// Nobody is asked for, so that nobody can ask who is there (CWE-204).
fn misfits(accounts: &Accounts, query: &str) {
    for name in ["alice", "nobody"] {
        for password in [PASSWORD, "wrong"] {
            let outcome = login(accounts, name, password);
            assert_eq!(outcome, Err(AccountsUnavailable::Unreachable), "{name}: {query}");
        }
    }
}

/// A row that the database cannot work out is refused like one that is not there, and the
/// connection is as good as before.
fn unreadable(accounts: &Accounts, row: &str) {
    for _ in 0..2 {
        assert_eq!(login(accounts, row, PASSWORD), Ok(Err(Refused::Unusable)), "{row}");
        assert_eq!(login(accounts, "nobody", PASSWORD), Ok(Err(Refused::Unknown)));
    }
}

/// Frozen: the answer comes when the time is over, and is not "wrong password".
fn frozen(accounts: &Accounts, server: &Server) {
    server.process.signal(Signal::STOP);
    // All of its threads stop, though not before the signal is sent.
    eventually("it is frozen", Duration::from_secs(30), || {
        let begun = Instant::now();
        let outcome = login(accounts, "alice", PASSWORD);
        assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
        outcome == Err(AccountsUnavailable::Unreachable) || {
            assert!(matches!(outcome, Ok(Ok(_))), "{outcome:?}");
            false
        }
    });
    server.process.signal(Signal::CONT);
    eventually("it recovers", Duration::from_secs(30), || {
        login(accounts, "alice", PASSWORD).is_ok()
    });
}

/// Killed and back: never "wrong password", and well again by itself.
fn killed(accounts: &Accounts, server: &mut Server) {
    server.process.kill();
    assert_eq!(login(accounts, "alice", "wrong"), Err(AccountsUnavailable::Unreachable));
    server.restart();
    eventually("it recovers", Duration::from_secs(60), || {
        matches!(login(accounts, "alice", PASSWORD), Ok(Ok(_)))
    });
}

#[test]
#[ignore = "needs PostgreSQL: tests/extended.sh installs it"]
fn postgresql() {
    let mut server = Server::start(initdb, postgres);
    server.sql(
        psql,
        "CREATE TYPE level AS ENUM ('low', 'high');
         CREATE TABLE users (id UUID, email VARCHAR(200), password_hash CHAR(70), roles TEXT[],
             permissions JSONB, active BOOLEAN, age INT, level level);
         INSERT INTO users VALUES
           ('67e55044-10b1-426f-9247-bb680e5fe0c8', 'alice', 'BCRYPT', '{admin,\"b,c\"}',
            '[\"orders:read\"]', true, 42, 'high'),
           ('67e55044-10b1-426f-9247-bb680e5fe0c9', 'carol', 'BCRYPT', NULL, NULL, false, 1, 'low'),
           ('67e55044-10b1-426f-9247-bb680e5fe0d0', 'twice', 'BCRYPT', '{}', NULL, true, 1, 'low'),
           ('67e55044-10b1-426f-9247-bb680e5fe0d1', 'twice', 'BCRYPT', '{}', NULL, true, 1, 'low');",
    );
    let runtime = runtime();
    let url = format!("postgres://app@localhost/postgres?host={}", server.dir.path().display());
    let sql = |query: &str, more: &str| {
        format!("sql = {{ url_command = [\"echo\", \"{url}\"], query = \"{query}\" {more} }}")
    };
    let columns = ", columns = { enabled = \"active\", claims = { age = \"age\" } }, \
                    timeout = \"2s\"";
    let plain = "SELECT * FROM users WHERE email = $1";
    let ours = accounts(&runtime, &sql(plain, columns));
    everywhere(&ours);
    let alice = login(&ours, "alice", PASSWORD).unwrap().unwrap();
    assert_eq!(alice.subject, "67e55044-10b1-426f-9247-bb680e5fe0c8");
    assert_eq!(alice.permissions, ["orders:read"]);
    assert_eq!(Value::from(alice.claims), json!({"age": 42}));
    let found = runtime.block_on(ours.look_up("alice", &alice.subject));
    assert!(matches!(found, Ok(LookedUp::Present(_))), "{found:?}");
    of_queries(&server, &|query, more| accounts(&runtime, &sql(query, more)));
    let update = ", columns = { enabled = \"active\" }, update = \"UPDATE users SET password_hash = \
                   $1 WHERE email = $2 AND password_hash = $3\"";
    server.sql(psql, "ALTER TABLE users ALTER COLUMN password_hash TYPE TEXT;");
    let upgrading = accounts(&runtime, &sql(plain, update));
    assert!(login(&upgrading, "alice", PASSWORD).unwrap().is_ok());
    eventually("the new hash is stored", Duration::from_secs(20), || {
        let mut count = psql(server.dir.path());
        let query = "SELECT count(*) FROM users WHERE password_hash LIKE '$argon2id$%'";
        let output = count.args(["--tuples-only", "--command", query]).output().unwrap();
        String::from_utf8_lossy(&output.stdout).trim() == "1"
    });
    assert!(login(&upgrading, "alice", PASSWORD).unwrap().is_ok());
    let of_gateway = format!("{plain} AND active");
    let (client, tokens, _running) = through_a_gateway(&server, &url, &of_gateway);
    // Each connection has a process of its own: to freeze the first freezes nobody.
    killed(&ours, &mut server);
    client.refresh(&tokens.refresh).expect(200);
}

/// Queries that do not fit, and rows that cannot be worked out.
fn of_queries(server: &Server, accounts: &dyn Fn(&str, &str) -> Accounts) {
    // A type of the database's own is refused until it is cast.
    let cast = "SELECT id, password_hash, level::text AS roles FROM users WHERE email = $1";
    assert!(login(&accounts(cast, ""), "alice", PASSWORD).unwrap().is_ok());
    for query in [
        "SELECT id, password_hash, level AS roles FROM users WHERE email = $1",
        "SELECT id, password_hash, age AS roles FROM users WHERE email = $1",
        "SELECT id, age AS password_hash FROM users WHERE email = $1",
        "SELECT active AS id, password_hash FROM users WHERE email = $1",
        "SELECT id, password_hash, permissions AS disabled FROM users WHERE email = $1",
        "SELECT * FROM nowhere WHERE a = $1",
        "SELECT nothing FROM users WHERE email = $1",
        "SELECT * FROM users WHERE email = $1 OR email = $2",
        "DELETE FROM users WHERE email = $1",
        "SELEC $1",
    ] {
        misfits(&accounts(query, ""), query);
    }
    server.sql(
        psql,
        "INSERT INTO users VALUES ('67e55044-10b1-426f-9247-bb680e5fe0d2', 'nocast', 'BCRYPT',
             '{words}');",
    );
    for (row, query) in [
        // 22P02: what is in the row cannot be cast.
        (
            "nocast",
            "SELECT id, password_hash, roles[1]::int::text AS roles FROM users WHERE email = $1",
        ),
        // 21000: a subquery finds two rows for those who have two roles.
        (
            "alice",
            "SELECT id, password_hash, (SELECT r FROM unnest(u.roles) r) AS roles FROM users u \
             WHERE email = $1",
        ),
    ] {
        unreadable(&accounts(query, ", connections = 1"), row);
    }
}

/// From the login page's endpoint to the table and back: who it says it is, what it may do now, and
/// that nobody takes an outage for a wrong password.
fn through_a_gateway(
    server: &Server,
    url: &str,
    query: &str,
) -> (Client, Tokens, (Upstream, Gateway)) {
    let app = Upstream::start();
    let setup = issuing::setup(&app)
        .unset("issuing.users", "file")
        .set("issuing.users", "sql.url_env", "\"USERS_URL\"")
        .env("USERS_URL", url)
        .set("issuing.users", "sql.query", &format!("{query:?}"));
    let gateway = Gateway::start(&setup);
    let client = issuing::client(&gateway);
    client.login_as("alice", "wrong").refused(401);
    client.login_as("carol", PASSWORD).refused(401);
    let tokens = client.login("alice");
    assert_eq!(tokens.claim("sub"), "67e55044-10b1-426f-9247-bb680e5fe0c8");
    assert_eq!(tokens.claim("roles"), json!(["admin", "b,c"]));
    assert_eq!(client.call(&tokens.access), 200);
    server.sql(psql, "UPDATE users SET roles = '{clerk}' WHERE email = 'alice';");
    let tokens = Tokens::of(client.refresh(&tokens.refresh));
    assert_eq!(tokens.claim("roles"), json!(["clerk"]));
    server.sql(psql, "ALTER TABLE users RENAME TO people;");
    client.login_as("alice", PASSWORD).refused(503);
    client.refresh(&tokens.refresh).refused(503);
    assert_eq!(client.call(&tokens.access), 200, "a token that is good needs no table");
    server.sql(psql, "ALTER TABLE people RENAME TO users;");
    eventually("it logs in again", Duration::from_secs(20), || {
        client.login_as("alice", PASSWORD).status == 200
    });
    (client, tokens, (app, gateway))
}

#[test]
#[ignore = "needs MariaDB: tests/extended.sh installs it"]
fn mariadb_server() {
    let mut server = Server::start(install_mariadb, mariadbd);
    server.sql(
        mariadb,
        "CREATE DATABASE app CHARACTER SET utf8mb4; USE app;
         CREATE TABLE users (id BIGINT UNSIGNED, email VARCHAR(200), password_hash VARCHAR(200),
             roles JSON, disabled TINYINT(1), level ENUM('low', 'high'));
         INSERT INTO users VALUES (7, 'alice', 'BCRYPT', '[\"admin\",\"b,c\"]', 0, 'high'),
             (8, 'carol', 'BCRYPT', NULL, 1, 'low'), (9, 'twice', 'BCRYPT', NULL, 0, 'low'),
             (10, 'twice', 'BCRYPT', NULL, 0, 'low');",
    );
    let runtime = runtime();
    let url = format!(
        "mariadb://root@localhost/app?socket={}",
        server.dir.path().join("socket").display()
    );
    let sql = |query: &str, more: &str| {
        format!("sql = {{ url_command = [\"echo\", \"{url}\"], query = \"{query}\" {more} }}")
    };
    let claims = ", columns = { claims = { level = \"level\" } }, timeout = \"2s\"";
    let ours = accounts(&runtime, &sql("SELECT * FROM users WHERE email = ?", claims));
    everywhere(&ours);
    let alice = login(&ours, "alice", PASSWORD).unwrap().unwrap();
    assert_eq!(
        (alice.subject.as_str(), Value::from(alice.claims)),
        ("7", json!({"level": "high"}))
    );
    let update = ", update = \"UPDATE users SET password_hash = ? WHERE email = ? AND \
                   password_hash = ?\"";
    let with = sql("SELECT * FROM users WHERE email = ?", update);
    let upgrading = accounts(&runtime, &with);
    assert!(login(&upgrading, "alice", PASSWORD).unwrap().is_ok());
    assert!(login(&upgrading, "alice", PASSWORD).unwrap().is_ok());
    for query in [
        "SELECT id, password_hash, 1.5e0 AS roles FROM users WHERE email = ?",
        "SELECT id, password_hash, id AS roles FROM users WHERE email = ?",
        "SELECT id, id AS password_hash FROM users WHERE email = ?",
        "SELECT id, password_hash, NOW() AS disabled FROM users WHERE email = ?",
        "SELECT * FROM users WHERE email = ? OR email = ?",
        "SELECT nothing FROM users WHERE email = ?",
        "DELETE FROM users WHERE email = ?",
        "SELEC ?",
    ] {
        misfits(&accounts(&runtime, &sql(query, "")), query);
    }
    // 21000: a subquery finds two rows. And what depends on the name has a type all the same.
    let two = "SELECT id, password_hash, (SELECT level FROM users v WHERE v.email = u.email) AS \
               roles FROM users u WHERE email = ? LIMIT 1";
    unreadable(&accounts(&runtime, &sql(two, ", connections = 1")), "twice");
    let named = "SELECT id, password_hash, CONCAT('of-', email) AS roles, ? AS typed FROM users";
    misfits(&accounts(&runtime, &sql(&format!("{named} WHERE email = ?"), "")), named);
    let by_name = "SELECT id, password_hash, CONCAT('of-', n.name) AS roles FROM users, (SELECT ? AS \
                   name) n WHERE email = n.name";
    let alice = login(&accounts(&runtime, &sql(by_name, "")), "alice", PASSWORD).unwrap().unwrap();
    assert_eq!(alice.roles, ["of-alice"]);
    frozen(&ours, &server);
    killed(&ours, &mut server);
}
