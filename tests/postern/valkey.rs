//! Valkey in Redis' place: `POSTERN_TEST_REDIS` names its binary, and every other test that starts
//! a server then starts that one (`tests/extended.sh` does both).

use serde_json::json;

use crate::harness::gateway::Gateway;
use crate::harness::keys::Key;
use crate::harness::redis::Redis;
use crate::harness::setup::Setup;
use crate::harness::soon;
use crate::harness::tokens::Token;
use crate::harness::upstream::Upstream;

/// The other tests would pass with Redis as well, so this one looks at what was started.
#[test]
#[ignore = "needs Valkey; run by tests/extended.sh"]
fn revocations_hold_in_valkey() {
    let (app, valkey) = (Upstream::start(), Redis::tcp());
    let info: String = redis::from_redis_value(valkey.command(&["INFO", "server"])).unwrap();
    assert!(info.contains("server_name:valkey"), "{info}");
    let version = info.lines().find(|line| line.starts_with("valkey_version:")).unwrap();
    println!("{version}");
    let setup = Setup::standard(&app).redis(&valkey);
    let [one, other] = [Gateway::start(&setup), Gateway::start(&setup)];
    soon("its settings are judged", || one.output().contains("persists nothing"));
    for kind in ["jti", "sub"] {
        let token = Token::good().claim("sub", "carol");
        let signed = token.sign(Key::shared("ES256"));
        let status = || other.get("/api/x").bearer(&signed).send().status;
        assert_eq!(status(), 200);
        let value = if kind == "jti" { token.jti() } else { "carol" };
        one.revoke(&json!({ kind: value })).expect(201);
        assert_eq!(status(), 401, "{kind}");
    }
}
