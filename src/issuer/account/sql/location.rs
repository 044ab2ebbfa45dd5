//! Where a database is: its URL, read strictly.
//!
//! The library's own reading falls back on the environment, warns with values in it, and by default
//! speaks TLS without looking at the certificate. So it is not used.
//!
//! It must never put a part of the URL into an error: there is a password in it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use percent_encoding::percent_decode_str;
use sqlx::mysql::{MySqlConnectOptions, MySqlSslMode};
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::sqlite::SqliteConnectOptions;
use thiserror::Error;
use url::{Host, Url};

use crate::secret::Secret;

/// Why a URL is not a database's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum LocationError {
    /// `require` and `prefer` encrypt to whoever answers, and `verify-ca` to whoever has a
    /// certificate of any public authority: yours is added to those (CWE-297).
    #[error(
        "sslmode of the database's URL does not check who answers: write verify-full (your \
         authority: sslrootcert), or disable"
    )]
    Mode,
    /// A parameter that is not known here.
    #[error(
        "the database's URL has a parameter that is not known: sslmode, sslrootcert, sslcert, \
         sslkey and socket are"
    )]
    Parameter,
    /// No host, no user or no database.
    #[error("the database's URL has no {0}")]
    Part(&'static str),
    /// Another scheme.
    #[error("the database's URL begins with none of postgres://, mysql://, mariadb://, sqlite:")]
    Scheme,
    /// Not a URL.
    #[error("the database's URL is none")]
    Url,
}

/// How to connect, by kind of database.
pub(in super::super) enum Location {
    MySql(Box<MySqlConnectOptions>),
    Postgres(Box<PgConnectOptions>),
    Sqlite(Box<SqliteConnectOptions>),
}

/// How the server's certificate is judged.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tls {
    Full,
    Off,
    /// On this machine: if the server insists.
    Opportunistic,
}

/// The parts of a server's URL.
struct Server {
    host: String,
    port: Option<u16>,
    user: String,
    password: Secret<String>,
    database: String,
    tls: Tls,
    root: Option<PathBuf>,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    socket: Option<PathBuf>,
}

impl Location {
    /// Reads a URL; relative paths begin at `base`. `write`: whether the gateway writes hashes
    /// back.
    pub(in super::super) fn parse(
        url: &Secret<String>,
        base: &Path,
        write: bool,
        timeout: Duration,
    ) -> Result<Self, LocationError> {
        let url = url.expose().trim();
        if let Some(path) = url.strip_prefix("sqlite:") {
            return sqlite(path, base, write, timeout);
        }
        let url = Url::parse(url).map_err(|_| LocationError::Url)?;
        match url.scheme() {
            "postgres" | "postgresql" => {
                Ok(Self::Postgres(Box::new(postgres(server(&url, base)?))))
            }
            "mysql" | "mariadb" => Ok(Self::MySql(Box::new(mysql(server(&url, base)?)))),
            _ => Err(LocationError::Scheme),
        }
    }
}

fn sqlite(
    path: &str,
    base: &Path,
    write: bool,
    timeout: Duration,
) -> Result<Location, LocationError> {
    let path = path.strip_prefix("//").unwrap_or(path);
    if path.is_empty() {
        return Err(LocationError::Part("file"));
    }
    if path.contains(['?', '#']) {
        return Err(LocationError::Parameter);
    }
    let options = SqliteConnectOptions::new()
        .filename(base.join(path))
        .create_if_missing(false)
        .read_only(!write)
        .busy_timeout(timeout);
    Ok(Location::Sqlite(Box::new(options)))
}

fn server(url: &Url, base: &Path) -> Result<Server, LocationError> {
    let decoded = |text: &str| -> Result<String, LocationError> {
        let text = percent_decode_str(text).decode_utf8().map_err(|_| LocationError::Url)?;
        Ok(text.into_owned())
    };
    let part = |text: String, part| {
        if text.is_empty() { Err(LocationError::Part(part)) } else { Ok(text) }
    };
    let parameters = Parameters::read(url, base)?;
    let host = url.host_str().unwrap_or_default();
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let here = parameters.socket.is_some() || is_loopback(&host);
    // Who names an authority means it to be asked, behind a tunnel on this machine, too.
    let checked = !here || parameters.root.is_some();
    if host.is_empty() && parameters.socket.is_none() {
        return Err(LocationError::Part("host"));
    }
    Ok(Server {
        host,
        port: url.port(),
        user: part(decoded(url.username())?, "user")?,
        password: Secret::new(decoded(url.password().unwrap_or_default())?),
        database: part(decoded(url.path().trim_start_matches('/'))?, "database")?,
        tls: parameters.tls.unwrap_or(if checked { Tls::Full } else { Tls::Opportunistic }),
        root: parameters.root,
        certificate: parameters.certificate,
        key: parameters.key,
        socket: parameters.socket,
    })
}

/// What follows `?`.
#[derive(Default)]
struct Parameters {
    tls: Option<Tls>,
    root: Option<PathBuf>,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    socket: Option<PathBuf>,
}

impl Parameters {
    fn read(url: &Url, base: &Path) -> Result<Self, LocationError> {
        let mut read = Self::default();
        for (name, value) in url.query_pairs() {
            let path = || Some(base.join(&*value));
            match &*name {
                "sslmode" | "ssl-mode" => read.tls = Some(tls(&value)?),
                "sslrootcert" | "ssl-ca" => read.root = path(),
                "sslcert" | "ssl-cert" => read.certificate = path(),
                "sslkey" | "ssl-key" => read.key = path(),
                "socket" => read.socket = path(),
                "host" if value.starts_with('/') => read.socket = path(),
                _ => return Err(LocationError::Parameter),
            }
        }
        Ok(read)
    }
}

/// In PostgreSQL's words and in MySQL's.
fn tls(word: &str) -> Result<Tls, LocationError> {
    match word.to_ascii_lowercase().replace('_', "-").as_str() {
        "disable" | "disabled" => Ok(Tls::Off),
        "verify-full" | "verify-identity" => Ok(Tls::Full),
        _ => Err(LocationError::Mode),
    }
}

fn is_loopback(host: &str) -> bool {
    match Host::parse(host) {
        Ok(Host::Ipv4(address)) => address.is_loopback(),
        Ok(Host::Domain(name)) => name == "localhost",
        // Without its brackets, an IPv6 address is no URL's host.
        Ok(Host::Ipv6(_)) | Err(_) => host == "::1",
    }
}

fn postgres(server: Server) -> PgConnectOptions {
    // Everything that the environment might say is said: `PGPASSWORD` is nobody's business here.
    let mut options = PgConnectOptions::new_without_pgpass()
        .host(&server.host)
        .port(server.port.unwrap_or(5432))
        .username(&server.user)
        .password(server.password.expose())
        .database(&server.database)
        .application_name("postern")
        .ssl_mode(match server.tls {
            Tls::Full => PgSslMode::VerifyFull,
            Tls::Off => PgSslMode::Disable,
            Tls::Opportunistic => PgSslMode::Prefer,
        });
    if let Some(path) = server.socket {
        options = options.socket(path);
    }
    if let Some(path) = server.root {
        options = options.ssl_root_cert(path);
    }
    if let Some(path) = server.certificate {
        options = options.ssl_client_cert(path);
    }
    if let Some(path) = server.key {
        options = options.ssl_client_key(path);
    }
    options
}

fn mysql(server: Server) -> MySqlConnectOptions {
    let mut options = MySqlConnectOptions::new()
        .host(&server.host)
        .port(server.port.unwrap_or(3306))
        .username(&server.user)
        .database(&server.database)
        .ssl_mode(match server.tls {
            Tls::Full => MySqlSslMode::VerifyIdentity,
            Tls::Off => MySqlSslMode::Disabled,
            Tls::Opportunistic => MySqlSslMode::Preferred,
        });
    // An empty one is none: MySQL tells the two apart.
    if !server.password.expose().is_empty() {
        options = options.password(server.password.expose());
    }
    if let Some(path) = server.socket {
        options = options.socket(path);
    }
    if let Some(path) = server.root {
        options = options.ssl_ca(path);
    }
    if let Some(path) = server.certificate {
        options = options.ssl_client_cert(path);
    }
    if let Some(path) = server.key {
        options = options.ssl_client_key(path);
    }
    options
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<Location, LocationError> {
        let url = Secret::new(url.to_owned());
        Location::parse(&url, Path::new("/etc/postern"), false, Duration::from_secs(1))
    }

    fn pg_mode(url: &str) -> String {
        match parse(url) {
            Ok(Location::Postgres(options)) => format!("{:?}", options.get_ssl_mode()),
            Ok(_) => "another database".to_owned(),
            Err(error) => error.to_string(),
        }
    }

    /// A certificate that nobody looks at is no protection (R51 in spirit; CWE-295).
    #[test]
    fn another_machine_is_spoken_to_over_tls_that_is_checked() {
        for (url, mode) in [
            ("postgres://u:p@db.example.com/app", "VerifyFull"),
            ("postgresql://u@10.0.0.7/app", "VerifyFull"),
            ("postgres://u:p@localhost/app?sslrootcert=ca.pem", "VerifyFull"),
            ("postgres://u:p@localhost/app?sslrootcert=ca.pem&sslmode=disable", "Disable"),
            ("postgres://u:p@db/app?sslmode=disable", "Disable"),
            ("postgres://u:p@127.0.0.1/app", "Prefer"),
            ("postgres://u:p@[::1]/app", "Prefer"),
            ("postgres://u:p@localhost/app", "Prefer"),
            ("postgres://u:p@localhost.example.com/app", "VerifyFull"),
            ("postgres://u:p@localhost/app?host=/run/postgresql", "Prefer"),
            ("postgres://u:p@db/app?socket=/run/postgresql", "Prefer"),
        ] {
            assert_eq!(pg_mode(url), mode, "{url}");
        }
        let Ok(Location::MySql(options)) = parse("mariadb://u:p@db/app") else { panic!() };
        assert!(matches!(options.get_ssl_mode(), MySqlSslMode::VerifyIdentity));
    }

    #[test]
    fn hostile_and_half_urls() {
        for (url, refused) in [
            ("", LocationError::Url),
            ("users", LocationError::Url),
            ("http://u:hunter2@db/app", LocationError::Scheme),
            ("redis://u:hunter2@db/0", LocationError::Scheme),
            ("postgres://db/app", LocationError::Part("user")),
            ("postgres://u:hunter2@db", LocationError::Part("database")),
            ("postgres://u:hunter2@db/", LocationError::Part("database")),
            ("postgres://u:hunter2@db/app?sslmode=prefer", LocationError::Mode),
            ("postgres://u:hunter2@db/app?sslmode=require", LocationError::Mode),
            ("postgres://u:hunter2@db/app?sslmode=allow", LocationError::Mode),
            ("postgres://u:hunter2@db/app?sslmode=verify-ca", LocationError::Mode),
            ("postgres://u:hunter2@db/app?sslmode=", LocationError::Mode),
            ("mysql://u:hunter2@db/app?ssl-mode=REQUIRED", LocationError::Mode),
            ("mysql://u:hunter2@db/app?ssl-mode=VERIFY_CA", LocationError::Mode),
            ("postgres://u@db/app?passwrd=hunter2", LocationError::Parameter),
            ("postgres://u@db/app?options=-csearch_path%3Dx", LocationError::Parameter),
            ("postgres://u@db/app?host=elsewhere", LocationError::Parameter),
            ("sqlite:", LocationError::Part("file")),
            ("sqlite:users.db?mode=rwc", LocationError::Parameter),
        ] {
            let error = parse(url).err();
            assert_eq!(error, Some(refused), "{url}");
            assert!(!error.unwrap().to_string().contains("hunter2"));
        }
    }

    #[test]
    fn paths_begin_at_the_configuration() {
        for (url, path) in [
            ("sqlite:users.db", "/etc/postern/users.db"),
            ("sqlite://users.db", "/etc/postern/users.db"),
            ("sqlite:/srv/users.db", "/srv/users.db"),
            ("sqlite:///srv/users.db", "/srv/users.db"),
        ] {
            let Ok(Location::Sqlite(options)) = parse(url) else { panic!("{url}") };
            assert_eq!(options.get_filename(), Path::new(path), "{url}");
        }
    }
}
