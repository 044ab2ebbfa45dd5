//! Whether the time of a refused login tells which accounts exist: measured by the script in
//! `tests/timing`, never as a timed test.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::sync::Arc;

use postern::issuer::account::{Accounts, Attempt};
use postern::secret::Secret;
use serde_json::Value;
use tempfile::TempDir;

/// Three kinds, each cheap, so that a small difference shows; the passwords do not matter.
const USERS: &str = "\
bcrypt:$2b$08$EGHR8YS9/f/xHOyP/8r0/OfLtW2oTsNkS/AB/TgTo7RbF5IwHxeNy
scrypt:$scrypt$ln=12,r=8,p=1$MDEyMzQ1Njc4OWFiY2RlZg$O/PE5W91kFh2cnJ1CiUt50GKGzaXGDts2UqbWHbDfxo
argon2:$argon2id$v=19$m=8192,t=1,p=1$EceVegqKVm1mU7qQpO8ztA$9n5IVpSRdDB4275DF8XDTf8zBFa0leXpFkI8pvWhf6o
disabled:$2b$08$EGHR8YS9/f/xHOyP/8r0/OfLtW2oTsNkS/AB/TgTo7RbF5IwHxeNy::::disabled
";

/// Answers 401 to every login, once `accounts` has refused it.
fn serve(stream: &TcpStream, accounts: &Accounts) -> Option<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut reader = BufReader::new(stream);
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
            let line = line.trim_end().to_ascii_lowercase();
            if let Some(value) = line.strip_prefix("content-length: ") {
                length = value.parse().ok()?;
            }
            if line.is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        let body: Value = serde_json::from_slice(&body).ok()?;
        let password = Secret::new(body["password"].as_str()?.to_owned());
        let client = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let attempt = Attempt { name: body["username"].as_str()?, password: &password, client };
        let outcome = runtime.block_on(accounts.check(&attempt)).unwrap();
        assert!(outcome.is_err());
        let mut writer: &TcpStream = stream;
        writer.write_all(b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n").ok()?;
    }
}

#[test]
#[ignore = "takes minutes, and quiet: measures times"]
fn refusals_take_the_same_time() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("users");
    std::fs::write(&path, USERS).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    let accounts = Arc::new(Accounts::from_file(&path).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/login", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let accounts = accounts.clone();
            std::thread::spawn(move || serve(&stream.unwrap(), &accounts));
        }
    });
    let runs = std::env::var("POSTERN_TIMING_RUNS").unwrap_or_else(|_| "200".to_owned());
    let mut command = Command::new("python3");
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/timing/login_timing.py"));
    command.arg(url).args(["--runs", &runs]);
    for name in ["bcrypt", "scrypt", "argon2", "disabled"] {
        command.args(["--known", name]);
    }
    let output = command.output().unwrap();
    println!("{}", String::from_utf8_lossy(&output.stdout));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
