//! TLS to the accounts' database: a server whose certificate is not good for the name that the URL
//! has, or that speaks none, is told nothing at all (CWE-295, CWE-297, CWE-319). What was said is
//! read off the wire between the two.

use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::harness::blackhole::BlackHole;
use crate::harness::pki::{Authority, Certificate, authority};

/// The database's user: what must not be on the wire.
const READER: &str = "postern_reader";
/// Its password, too.
const WORD: &str = "a-word-for-the-database";

/// What the server is like.
enum Shown {
    Good,
    Expired,
    Nothing,
}

/// How the gateway is to connect, and what comes of it.
struct Case {
    host: &'static str,
    parameters: &'static str,
    /// What the log says of it, where it is refused.
    refused: Option<&'static str>,
    /// Whether the connection may be read by anybody.
    plain: bool,
}

const fn refused(host: &'static str, parameters: &'static str, why: &'static str) -> Case {
    Case { host, parameters, refused: Some(why), plain: false }
}

const fn accepted(parameters: &'static str, plain: bool) -> Case {
    Case { host: "localhost", parameters, refused: None, plain }
}

const RIGHT: &str = "?sslmode=verify-full&sslrootcert=ca.pem";
const PLAIN: &str = "?sslmode=disable";

/// For a server with a certificate for `localhost` and no other name.
const GOOD: [Case; 7] = [
    accepted(RIGHT, false),
    accepted("", false),
    accepted("?sslrootcert=ca.pem", false),
    // An authority of the same name.
    refused("localhost", "?sslmode=verify-full&sslrootcert=other.pem", "BadSignature"),
    refused("localhost", "?sslmode=verify-full", "UnknownIssuer"),
    refused("127.0.0.1", RIGHT, "not valid for name"),
    accepted(PLAIN, true),
];
const EXPIRED: [Case; 2] =
    [refused("localhost", RIGHT, "certificate expired"), accepted(PLAIN, true)];
const NO_TLS: [Case; 4] = [
    refused("localhost", RIGHT, "server does not support TLS"),
    refused("localhost", "?sslrootcert=ca.pem", "server does not support TLS"),
    accepted(PLAIN, true),
    // To this machine, where nothing is said.
    accepted("", true),
];

/// Puts a certificate where the server looks for one, or none.
fn show(dir: &Path, shown: &Shown) {
    let Certificate { chain, key } = match shown {
        Shown::Good => authority().issue(&["localhost"]),
        Shown::Expired => authority().issue_until(&["localhost"], 2020),
        Shown::Nothing => return std::fs::remove_file(dir.join("server.crt")).unwrap(),
    };
    for (name, text) in [("server.crt", chain), ("server.key", key)] {
        let path = dir.join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::chown(&path, Some(NOBODY), Some(NOBODY)).unwrap();
        }
    }
}

/// The port that the server in this directory has.
fn port(dir: &Path) -> u16 {
    let path = dir.join("port");
    let known = std::fs::read_to_string(&path).ok().and_then(|text| text.parse().ok());
    known.unwrap_or_else(|| {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        std::fs::write(&path, port.to_string()).unwrap();
        port
    })
}

fn initdb_with_certificate(dir: &Path) -> Command {
    show(dir, &Shown::Good);
    initdb(dir)
}

fn postgres_over_tls(dir: &Path) -> Command {
    let mut command = postgres(dir);
    command.args(["-c", "listen_addresses=127.0.0.1"]).arg("-p").arg(port(dir).to_string());
    if dir.join("server.crt").exists() {
        for (setting, file) in [("ssl_cert_file", "server.crt"), ("ssl_key_file", "server.key")] {
            command.arg("-c").arg(format!("{setting}={}", dir.join(file).display()));
        }
        command.args(["-c", "ssl=on"]);
    }
    command
}

fn psql_at_port(dir: &Path) -> Command {
    let mut command = psql(dir);
    command.arg(format!("--port={}", port(dir)));
    command
}

fn install_mariadb_with_certificate(dir: &Path) -> Command {
    show(dir, &Shown::Good);
    install_mariadb(dir)
}

fn mariadbd_over_tls(dir: &Path) -> Command {
    let mut command = mariadbd(dir);
    command.args(["--skip-networking=0", "--bind-address=127.0.0.1"]);
    command.arg(format!("--port={}", port(dir)));
    if dir.join("server.crt").exists() {
        command.arg(format!("--ssl-cert={}", dir.join("server.crt").display()));
        command.arg(format!("--ssl-key={}", dir.join("server.key").display()));
    } else {
        command.arg("--skip-ssl");
    }
    command
}

/// A login through a gateway whose database is behind `relay`.
fn judge(relay: &BlackHole, url: impl Fn(&str, u16) -> String, place: &str, case: &Case) {
    let app = Upstream::start();
    let url = url(case.host, relay.port()) + case.parameters;
    let query = format!("SELECT id, password_hash FROM users WHERE email = {place}");
    let setup = issuing::setup(&app)
        .unset("issuing.users", "file")
        .set("issuing.users", "sql.url_env", "\"USERS_URL\"")
        .set("issuing.users", "sql.query", &format!("{query:?}"))
        .set("issuing.users", "sql.timeout", "\"10s\"")
        .env("USERS_URL", &url)
        .file("ca.pem", &authority().pem)
        .file("other.pem", &Authority::new().pem);
    let gateway = Gateway::start(&setup);
    let client = issuing::client(&gateway);
    let what = format!("{}{}", case.host, case.parameters);
    if let Some(why) = case.refused {
        for name in ["alice", "nobody"] {
            client.login_as(name, PASSWORD).refused(503);
        }
        gateway.says(why);
    } else {
        assert_eq!(client.login_as("alice", PASSWORD).status, 200, "{what}");
        client.login_as("nobody", PASSWORD).refused(401);
    }
    let sent = relay.sent();
    // MariaDB speaks first: to one without TLS nothing is said at all.
    assert!(case.refused.is_some() || !sent.is_empty(), "{what}: it went another way");
    for word in [READER, WORD, "password_hash", "alice"] {
        let heard = sent.windows(word.len()).any(|window| window == word.as_bytes());
        // A password of the database's is never sent as it is, and one of a user's not at all.
        let may = case.plain && word != WORD;
        assert_eq!(heard, may, "{what}: {word} on the wire");
    }
    let said = gateway.settled_output();
    assert!(!said.contains(WORD) && !said.contains(PASSWORD), "{what}: {said}");
}

fn all(
    server: &mut Server,
    client: fn(&Path) -> Command,
    url: impl Fn(&str, u16) -> String,
    place: &str,
) {
    let address = ([127, 0, 0, 1], port(server.dir.path())).into();
    for (shown, cases) in
        [(Shown::Good, &GOOD[..]), (Shown::Expired, &EXPIRED), (Shown::Nothing, &NO_TLS)]
    {
        if !matches!(shown, Shown::Good) {
            server.process.signal(Signal::TERM);
            server.process.wait(Duration::from_secs(60));
            show(server.dir.path(), &shown);
            server.restart();
            server.sql(client, "SELECT 1;");
        }
        for case in cases {
            judge(&BlackHole::start(address), &url, place, case);
        }
    }
}

const PEOPLE: &str = "CREATE TABLE users (id INT, email VARCHAR(200), password_hash VARCHAR(200));
    INSERT INTO users VALUES (7, 'alice', 'BCRYPT');";

#[test]
#[ignore = "needs PostgreSQL: tests/extended.sh installs it"]
fn postgresql_is_spoken_to_over_tls_that_is_checked() {
    let mut server = Server::start(initdb_with_certificate, postgres_over_tls);
    let people = format!(
        "{PEOPLE} CREATE ROLE {READER} LOGIN PASSWORD '{WORD}'; GRANT SELECT ON users TO {READER};"
    );
    server.sql(psql_at_port, &people);
    let url = |host: &str, port: u16| format!("postgres://{READER}:{WORD}@{host}:{port}/postgres");
    // Who is between the two says that the server speaks no TLS: it is not believed.
    let relay = BlackHole::start(([127, 0, 0, 1], port(server.dir.path())).into());
    relay.change_from_server(|bytes| if bytes == b"S" { b"N".to_vec() } else { bytes });
    let stripped = refused("localhost", RIGHT, "server does not support TLS");
    judge(&relay, url, "$1", &stripped);
    all(&mut server, psql_at_port, url, "$1");
}

#[test]
#[ignore = "needs MariaDB: tests/extended.sh installs it"]
fn mariadb_is_spoken_to_over_tls_that_is_checked() {
    let mut server = Server::start(install_mariadb_with_certificate, mariadbd_over_tls);
    let mut people = format!("CREATE DATABASE app; USE app; {PEOPLE}");
    for host in ["localhost", "127.0.0.1"] {
        let user = format!("'{READER}'@'{host}'");
        people += &format!("CREATE USER {user} IDENTIFIED BY '{WORD}';");
        people += &format!("GRANT SELECT ON app.users TO {user};");
    }
    server.sql(mariadb, &people);
    let url = |host: &str, port: u16| format!("mariadb://{READER}:{WORD}@{host}:{port}/app");
    all(&mut server, mariadb, url, "?");
}
