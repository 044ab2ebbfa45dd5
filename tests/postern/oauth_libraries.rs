//! OAuth clients as people write them: openid-client and oauth4webapi (Node), Authlib (Python),
//! against discovery, client_credentials in three ways, refresh, revoke and introspect. They know
//! the issuer's URL and nothing else of Postern.

use std::path::Path;
use std::process::Command;

use crate::harness::apps::{installed, root};
use crate::harness::gateway::Gateway;
use crate::harness::oauth::{PASSWORD, billing, other, reports, setup};
use crate::harness::pki::authority;
use crate::harness::redis::free_port;
use crate::harness::upstream::Upstream;

const STEPS: [&str; 6] = [
    "discovery",
    "client_secret_basic",
    "client_secret_post",
    "private_key_jwt",
    "refusals",
    "refresh",
];

/// A gateway at an address that others can find by its issuer's URL.
fn gateway(app: &Upstream) -> (Gateway, String) {
    let port = free_port();
    let origin = format!("https://localhost:{port}");
    let setup = setup(app)
        .set("listen", "https", &format!("\"127.0.0.1:{port}\""))
        .set("listen", "public_url", &format!("{origin:?}"))
        .set("issuing", "issuer", &format!("\"{origin}/tenant\""))
        .file("ca.pem", &authority().pem)
        .file("reports.pem", reports().private_pem());
    (Gateway::start(&setup), origin)
}

fn run(gateway: &Gateway, origin: &str, mut command: Command) {
    let file = |name: &str| gateway.dir.path().join(name);
    command
        .env("ISSUER", format!("{origin}/tenant"))
        .env("API", format!("{origin}/local/x"))
        .env("SECRET", &billing().secret)
        .env("OTHER_SECRET", &other().secret)
        .env("KEY_FILE", file("reports.pem"))
        .env("USERNAME", "alice")
        .env("PASSWORD", PASSWORD)
        .env("NODE_EXTRA_CA_CERTS", file("ca.pem"))
        .env("REQUESTS_CA_BUNDLE", file("ca.pem"))
        .current_dir(root());
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let wrong = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{wrong}\n{}", gateway.stderr().text());
    assert_eq!(said.lines().collect::<Vec<_>>(), STEPS, "{wrong}");
}

#[test]
fn openid_client_and_oauth4webapi_work() {
    installed(&root().join("tests/clients/node/node_modules"));
    let app = Upstream::start();
    let (gateway, origin) = gateway(&app);
    let mut command = Command::new("node");
    command.arg("tests/clients/node/client.mjs");
    run(&gateway, &origin, command);
}

#[test]
fn authlib_works() {
    let python = Path::new("tests/.cache/oauth-python/bin/python");
    installed(&root().join(python));
    let app = Upstream::start();
    let (gateway, origin) = gateway(&app);
    let mut command = Command::new(root().join(python));
    command.arg("tests/clients/python/client.py");
    run(&gateway, &origin, command);
}
