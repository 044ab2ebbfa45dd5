//! The unmodified upstreams: a small Express app and a small Flask app, each started once.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use super::eventually;
use super::process::Process;

/// An app and where it listens.
pub struct App {
    pub name: &'static str,
    pub address: SocketAddr,
}

impl App {
    /// `http://127.0.0.1:PORT`
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

/// `tests/apps/express`, run by node.
pub fn express() -> &'static App {
    static APP: OnceLock<App> = OnceLock::new();
    APP.get_or_init(|| {
        let modules = root().join("tests/apps/express/node_modules");
        installed(&modules);
        start("express", "node tests/apps/express/app.js")
    })
}

/// `tests/apps/flask`, run by its own virtual environment.
pub fn flask() -> &'static App {
    static APP: OnceLock<App> = OnceLock::new();
    APP.get_or_init(|| {
        let python = root().join("tests/.cache/flask/bin/python");
        installed(&python);
        start("flask", "tests/.cache/flask/bin/python -u tests/apps/flask/app.py")
    })
}

/// The repository.
pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Fails with what to do when `path` has not been installed yet.
pub fn installed(path: &std::path::Path) {
    assert!(path.exists(), "{} is missing: run tests/run.sh, which installs it", path.display());
}

fn start(name: &'static str, program: &str) -> App {
    // Statics are never dropped: the shell ends the app when this process closes the pipe.
    static RUNNING: Mutex<Vec<Process>> = Mutex::new(Vec::new());
    let script = format!("{program} & app=$!; cat >/dev/null; kill $app");
    let mut command = Command::new("sh");
    command.arg("-c").arg(script).env("PORT", "0").current_dir(root());
    let process = Process::spawn(&mut command, "");
    let mut address = None;
    eventually("the app says where it listens", Duration::from_secs(30), || {
        let text = process.stdout.text() + "\n" + &process.stderr.text();
        let found = text
            .split("http://")
            .nth(1)
            .and_then(|rest| rest.split_whitespace().next().and_then(|word| word.parse().ok()));
        address = found;
        address.is_some()
    });
    RUNNING.lock().unwrap().push(process);
    App { name, address: address.unwrap() }
}
