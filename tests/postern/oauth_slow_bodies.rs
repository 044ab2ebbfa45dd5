//! Bodies that come slowly to the gateway's own endpoints: what they are judged by, and how long they
//! may take.

use std::time::{Duration, Instant};

use crate::harness::client::Connection;
use crate::harness::gateway::Gateway;
use crate::harness::keys::Key;
use crate::harness::oauth::{basic, call, form, granted, login, other, refused, setup};
use crate::harness::setup::HOST;
use crate::harness::upstream::Upstream;

/// A request whose head was read and answered with 100, so that what comes now is its body.
fn begun(gateway: &Gateway, endpoint: &str, lines: &str, length: usize) -> Connection {
    let mut connection = gateway.https().connect();
    let head = format!(
        "POST /_postern/{endpoint} HTTP/1.1\r\nHost: {HOST}\r\nExpect: 100-continue\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {length}\r\n\
         {lines}\r\n"
    );
    connection.write(head.as_bytes());
    let go_on = b"HTTP/1.1 100 Continue\r\n\r\n";
    assert_eq!(connection.exactly(go_on.len()), go_on, "{endpoint}");
    connection
}

/// A client that was taken out of the configuration is out, although its request began before
/// (CWE-367).
#[test]
fn whoever_was_locked_out_meanwhile_is_out() {
    let app = Upstream::start();
    let setup = setup(&app);
    let gateway = Gateway::start(&setup);
    let (access, _) = login(&gateway);
    let token = granted(&gateway, "elsewhere");
    let requests = [
        ("elsewhere", "token", form(&[("grant_type", "client_credentials")])),
        ("gatekeeper", "introspect", form(&[("token", &token)])),
        ("janitor", "revoke", form(&[("token", &access)])),
    ];
    let begun = requests.map(|(id, endpoint, body)| {
        let line = format!("Authorization: {}\r\n", basic(id, &other().secret));
        let mut connection = begun(&gateway, endpoint, &line, body.len());
        connection.write(&body.as_bytes()[..1]);
        (connection, endpoint, body)
    });
    let locked = ["elsewhere", "gatekeeper", "janitor"]
        .iter()
        .fold(setup, |setup, id| setup.without_table(&format!("id = \"{id}\"")));
    gateway.reload(&locked).expect(200);
    for (mut connection, endpoint, body) in begun {
        connection.write(&body.as_bytes()[1..]);
        let answer = refused(connection.answer("POST"), 401, "invalid_client");
        assert!(!answer.text().contains("active"), "{endpoint}");
    }
    assert_eq!(call(&gateway, "/local/x", &access), 200, "it was not revoked");
}

/// The gap between two pieces is not all that is bounded (R37): a body has 10 seconds as a whole.
#[test]
fn a_body_that_trickles_has_its_end() {
    let app = Upstream::start();
    let lines = "backchannel_logout = { client_id = \"postern\" }";
    let setup = setup(&app).without_table("name = \"main\"");
    let setup = setup.issuer("main", lines, &[Key::shared("RS256")]);
    let gateway = Gateway::start(&setup.set("timeouts", "body_idle", "\"60s\""));
    let endpoints =
        ["backchannel-logout", "introspect", "login", "logout", "refresh", "revoke", "token"];
    let trickling = endpoints.map(|endpoint| {
        let mut connection = begun(&gateway, endpoint, "", 100);
        std::thread::spawn(move || {
            let start = Instant::now();
            while start.elapsed() < Duration::from_secs(9) {
                connection.try_write(b"a").unwrap();
                std::thread::sleep(Duration::from_millis(300));
            }
            connection.tcp().set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            let answer = connection.try_answer("POST");
            let status = answer.unwrap_or_else(|why| panic!("{endpoint}: {why}")).status;
            assert_eq!(status, 408, "{endpoint}");
        })
    });
    for thread in trickling {
        thread.join().unwrap();
    }
}
