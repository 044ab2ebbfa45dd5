//! Chromium in front of the gateway, driven by `tests/browser/session.mjs`: what only a real browser
//! can show. Needs Chromium and Node; `tests/extended.sh` runs it.

use std::process::Command;

use crate::harness::apps::{installed, root};
use crate::harness::gateway::Gateway;
use crate::harness::person::{PASSWORD, setup};
use crate::harness::redis::free_port;
use crate::harness::upstream::Upstream;

#[test]
#[ignore = "needs Chromium"]
fn a_person_logs_in_and_out_and_nobody_else_does() {
    let folder = root().join("tests/browser");
    installed(&folder.join("node_modules"));
    // A port for the service that the script plays.
    let port = free_port();
    let nowhere = Upstream::start();
    let setup = setup(&nowhere)
        .upstream("app", &format!("http://127.0.0.1:{port}"))
        .set("issuing", "access_lifetime", "\"6s\"")
        .set("issuing", "refresh_grace", "\"5s\"");
    let gateway = Gateway::start(&setup);
    let shots = root().join("tests/.cache/screenshots");
    std::fs::create_dir_all(&shots).unwrap();
    let chromium = std::env::var("CHROMIUM").unwrap_or_else(|_| "/usr/bin/chromium".to_owned());
    let output = Command::new("node")
        .arg("session.mjs")
        .current_dir(folder)
        .env("CHROMIUM", chromium)
        .env("GATEWAY_PORT", gateway.address("https").port().to_string())
        .env("APP_PORT", port.to_string())
        .env("CERTIFICATE", gateway.dir.path().join("cert.pem"))
        .env("KEY", gateway.dir.path().join("key.pem"))
        .env("PASSWORD", PASSWORD)
        .env("SHOTS", &shots)
        .output()
        .expect("node");
    let said = String::from_utf8_lossy(&output.stdout);
    println!("{said}");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{errors}\n{}", gateway.output());
}
