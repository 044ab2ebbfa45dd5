//! Five minutes of load while Redis and the upstream restart and SIGHUP arrives: no wrong answer,
//! resident size flat. Run by `tests/extended.sh`; needs wrk.

use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::harness::gateway::Gateway;
use crate::harness::keys::Key;
use crate::harness::process::Process;
use crate::harness::redis::Redis;
use crate::harness::setup::Setup;
use crate::harness::tokens::Token;
use crate::harness::unix_now;
use crate::harness::upstream::Upstream;

/// Counts answers by status; `allowed` is a Lua table of statuses.
const SCRIPT: &str = r#"
local threads = {}
function setup(thread) table.insert(threads, thread) end
function init() good = 0; honest = 0; wrong = 0; last = 0 end
function response(status)
  if status == EXPECTED then good = good + 1
  elseif HONEST[status] then honest = honest + 1
  else wrong = wrong + 1; last = status end
end
function done()
  local sum = { good = 0, honest = 0, wrong = 0, last = 0 }
  for _, thread in ipairs(threads) do
    for name in pairs(sum) do sum[name] = sum[name] + thread:get(name) end
  end
  print(string.format("RESULT %d %d %d %d", sum.good, sum.honest, sum.wrong, sum.last))
end
"#;

/// What one kind of request got.
#[derive(Debug)]
struct Tally {
    good: u64,
    honest: u64,
}

/// One wrk: a token, the status that is right, and those that are honest in an outage.
struct Load {
    name: &'static str,
    process: Process,
}

impl Load {
    fn start(
        gateway: &Gateway,
        name: &'static str,
        token: &str,
        expected: u16,
        honest: &str,
        seconds: u64,
    ) -> Self {
        let script = SCRIPT.replace("EXPECTED", &expected.to_string()).replace("HONEST", honest);
        let path = gateway.dir.path().join(format!("{name}.lua"));
        std::fs::File::create(&path).unwrap().write_all(script.as_bytes()).unwrap();
        let process = Process::spawn(&mut wrk(gateway, &path, token, seconds), "Install wrk");
        Self { name, process }
    }

    fn finish(mut self) -> Tally {
        self.process.wait(Duration::from_secs(60));
        crate::harness::soon("wrk's result", || self.process.stdout.text().contains("RESULT"));
        let text = self.process.stdout.text();
        let line = text.lines().find(|line| line.starts_with("RESULT")).unwrap().to_owned();
        println!("{}: {line}", self.name);
        let numbers: Vec<u64> = line.split(' ').skip(1).map(|n| n.parse().unwrap()).collect();
        let [good, honest, wrong, last] = numbers[..] else { panic!("{line}") };
        assert_eq!(wrong, 0, "{}: {wrong} wrong answers, {last} among them", self.name);
        Tally { good, honest }
    }
}

fn wrk(gateway: &Gateway, script: &Path, token: &str, seconds: u64) -> Command {
    let url = format!("https://localhost:{}/api/x", gateway.address("https").port());
    let mut command = Command::new("wrk");
    command.args(["-t1", "-c8", "--timeout", "10s", "-d"]).arg(format!("{seconds}s"));
    command.arg("-s").arg(script).arg("-H").arg(format!("Authorization: Bearer {token}")).arg(url);
    command
}

fn duration() -> u64 {
    let text = std::env::var("POSTERN_SOAK_SECONDS").unwrap_or_else(|_| "300".to_owned());
    text.parse().expect("seconds")
}

/// Restarts what the gateway depends on, and reloads it, until the time is up; returns the
/// resident sizes that it saw, in KiB.
fn disturb(gateway: &Gateway, redis: &mut Redis, app: Upstream, seconds: u64) -> Vec<u64> {
    let (address, start) = (app.address, Instant::now());
    let (mut app, mut sizes, mut round) = (Some(app), Vec::new(), 0u64);
    while start.elapsed().as_secs() < seconds {
        std::thread::sleep(Duration::from_secs(1));
        round += 1;
        if round % 7 == 0 {
            gateway.signal(Signal::HUP);
        }
        if round % 11 == 0 {
            redis.restart();
        }
        if round % 17 == 0 {
            redis.freeze();
            std::thread::sleep(Duration::from_secs(1));
            redis.thaw();
        }
        if round % 13 == 0 {
            drop(app.take());
            std::thread::sleep(Duration::from_millis(500));
            app = Some(Upstream::start_at(address));
        }
        // The recorder would otherwise remember every request of the soak.
        if let Some(app) = &app {
            app.forget();
        }
        sizes.push(gateway.resident_kib());
    }
    sizes
}

/// Revokes a fresh token again and again; once acknowledged, it must never be let through.
fn revoke_and_ask(gateway: &Gateway, stop: &AtomicBool, checked: &AtomicUsize) {
    let mut revoked: Vec<String> = Vec::new();
    while !stop.load(Ordering::SeqCst) {
        let token = Token::good();
        let signed = token.sign(Key::shared("ES256"));
        if gateway.revoke(&serde_json::json!({"jti": token.jti()})).status == 201 {
            revoked.push(signed);
        }
        for signed in revoked.iter().rev().take(20) {
            let Ok(answer) = gateway.get("/api/x").bearer(signed).try_send() else { continue };
            assert!([401, 503].contains(&answer.status), "revoked, yet {}", answer.status);
            checked.fetch_add(1, Ordering::SeqCst);
        }
    }
}

#[test]
#[ignore = "five minutes: tests/extended.sh"]
fn soak() {
    let seconds = duration();
    let app = Upstream::start();
    let mut redis = Redis::tcp();
    let setup = Setup::standard(&app)
        .redis(&redis)
        .set("log", "level", "\"warn\"")
        .set("log", "access", "\"access.log\"")
        .set("limits", "requests_per_client", "10000");
    let gateway = Gateway::start(&setup);
    let key = Key::shared("ES256");
    let live = || Token::good().claim("exp", unix_now() + 3600);
    let revoked = live();
    gateway.revoke_jti(revoked.jti());
    let forged = live().sign(&Key::generate("ES256", &key.kid));
    let start = |name, token: &str, expected, honest| {
        Load::start(&gateway, name, token, expected, honest, seconds)
    };
    let loads = [
        start("valid", &live().sign(key), 200, "({[502]=true,[503]=true})"),
        start("revoked", &revoked.sign(key), 401, "({[503]=true})"),
        start("forged", &forged, 401, "({})"),
    ];
    let (stop, checked) = (AtomicBool::new(false), AtomicUsize::new(0));
    let sizes = std::thread::scope(|scope| {
        scope.spawn(|| revoke_and_ask(&gateway, &stop, &checked));
        let sizes = disturb(&gateway, &mut redis, app, seconds);
        stop.store(true, Ordering::SeqCst);
        sizes
    });
    for load in loads {
        let name = load.name;
        let tally = load.finish();
        assert!(tally.good > tally.honest / 4, "{name}: mostly served: {tally:?}");
    }
    assert!(checked.load(Ordering::SeqCst) > 100, "revocations were checked");
    let early = sizes[sizes.len() / 5..sizes.len() / 2].iter().max().unwrap();
    let late = sizes[sizes.len() / 2..].iter().max().unwrap();
    println!("resident size: {early} KiB in the first half, {late} KiB in the second");
    assert!(*late < early + early / 4 + 8 * 1024, "resident size grows: {sizes:?}");
}
