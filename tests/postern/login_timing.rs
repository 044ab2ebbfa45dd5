//! Whether the time of a refused login tells which accounts exist: measured at a gateway's endpoint
//! by the script in `tests/timing`, never as a timed test.

use std::process::Command;

use crate::harness::gateway::Gateway;
use crate::harness::issuing::{PREFIX, setup};
use crate::harness::upstream::Upstream;

/// Three kinds, each cheap, so that a small difference shows; the passwords do not matter.
const USERS: &str = "\
bcrypt:$2b$08$EGHR8YS9/f/xHOyP/8r0/OfLtW2oTsNkS/AB/TgTo7RbF5IwHxeNy
scrypt:$scrypt$ln=12,r=8,p=1$MDEyMzQ1Njc4OWFiY2RlZg$O/PE5W91kFh2cnJ1CiUt50GKGzaXGDts2UqbWHbDfxo
argon2:$argon2id$v=19$m=8192,t=1,p=1$EceVegqKVm1mU7qQpO8ztA$9n5IVpSRdDB4275DF8XDTf8zBFa0leXpFkI8pvWhf6o
disabled:$2b$08$EGHR8YS9/f/xHOyP/8r0/OfLtW2oTsNkS/AB/TgTo7RbF5IwHxeNy::::disabled
";

#[test]
#[ignore = "takes minutes, and quiet: measures times"]
fn refusals_take_the_same_time() {
    let app = Upstream::start();
    // No limits: 429 has a time of its own.
    let gateway = Gateway::start(&setup(&app).file("users", USERS));
    let url = format!("https://{}{PREFIX}/login", gateway.address("https"));
    let runs = std::env::var("POSTERN_TIMING_RUNS").unwrap_or_else(|_| "200".to_owned());
    let mut command = Command::new("python3");
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/timing/login_timing.py"));
    command.arg(url).args(["--insecure", "--runs", &runs]);
    for name in ["bcrypt", "scrypt", "argon2", "disabled"] {
        command.args(["--known", name]);
    }
    let output = command.output().unwrap();
    println!("{}", String::from_utf8_lossy(&output.stdout));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
