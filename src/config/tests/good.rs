//! What is accepted, and what it means.

use std::time::Duration;

use super::super::*;
use super::{read, read_with, with};

const MINIMAL: &str = include_str!("../../../config/minimal.toml");

#[test]
fn the_minimal_file_is_whole() {
    let loaded = read(MINIMAL).expect("config/minimal.toml is valid");
    let route = loaded.config.routes[0].get_ref();
    assert_eq!(route.path.get_ref(), &PathPattern::Below(String::new()));
    assert_eq!(*route.auth.get_ref(), Auth::Required, "a route is protected unless it says so");
    assert_eq!(*route.preflight.get_ref(), Preflight::Deny);
    assert!(route.upgrade.is_empty(), "R32: no upgrade unless the route allows it");
}

#[test]
fn a_set_flag_beats_the_environment_which_beats_the_file() {
    let text = with("log.level = \"error\"\n");
    let environment = |name: &str| (name == "POSTERN_LOG").then(|| "warn".to_owned());
    let level = |sets: &[String], environment: Environment<'_>| {
        let source = Source::new("p.toml", ".", text.clone());
        let loaded = parse(source, sets, environment, Options::ONLINE).expect("valid");
        *loaded.config.log.level.get_ref()
    };
    assert_eq!(level(&[], &|_| None), LogLevel::Error);
    assert_eq!(level(&[], &environment), LogLevel::Warn);
    assert_eq!(level(&["log.level=trace".to_owned()], &environment), LogLevel::Trace);
}

#[test]
fn set_reaches_lists_tables_numbers_and_text() {
    let sets = [
        "limits.header_count=50",
        "limits.body_bytes=1MiB",
        "listen.trusted_proxies=[\"10.0.0.0/8\", \"::1\"]",
        "routes.0.auth=none",
        "upstreams.service.servers=http://[::1]:4000",
        "listen.https=127.0.0.1:0",
    ];
    let config = read_with(MINIMAL, &sets, Options::ONLINE).expect("valid").config;
    assert_eq!(config.limits.header_count.get_ref().get(), 50);
    let body = config.limits.body_bytes.get_ref().on().expect("not off");
    assert_eq!(body.get(), 1 << 20);
    assert_eq!(config.listen.trusted_proxies.iter().count(), 2);
    assert_eq!(*config.routes[0].get_ref().auth.get_ref(), Auth::None);
    let server = config.upstreams["service"].servers.iter().next().expect("one");
    assert_eq!((server.host(), server.port(), server.tls), ("::1", 4000, false));
    let https = config.listen.https.spanned()[0].get_ref();
    assert_eq!(https, &Address::Tcp("127.0.0.1:0".parse().expect("an address")));
}

#[test]
fn values_are_filled_in_and_remembered_for_redaction() {
    let text = with(
        "log.level = \"${LEVEL}\"\nadmin.listen = \"127.0.0.1:${PORT}\"\nstate.dir = \
         \"${NONE:-st$${x}}\"\nlog.access = \"${EMPTY:-stderr}\"\n",
    );
    let loaded = read(&text).expect("valid");
    assert_eq!(*loaded.config.log.level.get_ref(), LogLevel::Debug);
    assert_eq!(
        loaded.config.admin.listen.spanned()[0].get_ref(),
        &Address::Tcp("127.0.0.1:9999".parse().expect("an address"))
    );
    assert_eq!(*loaded.config.log.access.get_ref(), AccessLog::Stderr);
    let keys: Vec<_> = loaded.source.interpolated().iter().map(|i| i.key.as_str()).collect();
    assert_eq!(keys, ["admin.listen", "log.access", "log.level", "state.dir"]);
    let debug = format!("{:?}", loaded.source.interpolated());
    assert!(!debug.contains("9999") && debug.contains("[redacted]"), "{debug}");
}

#[test]
fn a_file_is_read_online_and_left_alone_offline() {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::write(dir.path().join("level"), "debug\r\n").expect("written");
    let text = with("log.level = \"${file:level}\"\n");
    let read =
        |options| parse(Source::new("p.toml", dir.path(), text.clone()), &[], &|_| None, options);
    let online = read(Options::ONLINE).expect("valid");
    assert_eq!(*online.config.log.level.get_ref(), LogLevel::Debug);
    let offline = read(Options::OFFLINE).expect_err("a level that is not known").to_string();
    assert!(offline.contains("--allow-commands"), "{offline}");
    assert_eq!(offline.lines().count(), 4, "one problem alone: {offline}");
}

#[test]
fn an_override_table_replaces_identity_headers() {
    let config = read(&with("[identity.headers]\nX-User = \"/a/b\"\n")).expect("valid").config;
    let headers: Vec<_> = config.identity.headers.keys().map(Spanned::get_ref).collect();
    assert_eq!(headers, ["X-User"]);
}

#[test]
fn stores_are_told_apart() {
    let url = |url: &str| {
        let config = read(&with(&format!("store.url = \"{url}\"\n"))).expect(url).config;
        config.store.url.into_inner()
    };
    let redis = |host: &str, port, db, tls| StoreUrl::Redis { host: host.into(), port, db, tls };
    assert_eq!(url("redis://cache"), redis("cache", 6379, 0, false));
    assert_eq!(url("rediss://[::1]:6380/3"), redis("::1", 6380, 3, true));
    let path = "/run/redis.sock".into();
    assert_eq!(url("redis+unix:///run/redis.sock?db=2"), StoreUrl::Unix { path, db: 2 });
    assert_eq!(url("embedded:a/b"), StoreUrl::Embedded { dir: "a/b".into() });
    let at = |host: &str, port| StoreHost { host: host.into(), port };
    let seeds = vec![at("a", 6379), at("10.0.0.1", 7000), at("::1", 7001)];
    let cluster = |tls| StoreUrl::Cluster { seeds: seeds.clone(), tls };
    assert_eq!(url("redis-cluster://a,10.0.0.1:7000,[::1]:7001"), cluster(false));
    assert_eq!(url("rediss-cluster://a,10.0.0.1:7000,[::1]:7001/0"), cluster(true));
    let sentinel = |service: &str, db, tls| {
        let sentinels = vec![at("a", 26379), at("b", 5000)];
        StoreUrl::Sentinel { sentinels, service: service.into(), db, tls }
    };
    assert_eq!(url("redis-sentinel://a,b:5000/my-main.1"), sentinel("my-main.1", 0, false));
    assert_eq!(url("rediss-sentinel://a,b:5000/main/2"), sentinel("main", 2, true));
}

/// A revocation that was acknowledged must survive a failover that nobody asked for.
#[test]
fn one_replica_is_waited_for_where_a_failover_is_expected() {
    let replicas = |lines: &str| read(&with(lines)).expect(lines).config.store.replicas();
    for (url, expected) in [
        ("redis://a", 0),
        ("redis+unix:///a", 0),
        ("embedded:a", 0),
        ("redis-sentinel://a/main", 1),
        ("redis-cluster://a", 1),
    ] {
        assert_eq!(replicas(&format!("store.url = \"{url}\"\n")), expected, "{url}");
    }
    let written = "[store]\nurl = \"redis-cluster://a\"\nwait_replicas = 0\n";
    assert_eq!(replicas(written), 0);
    assert_eq!(replicas(&written.replace("= 0", "= 2")), 2);
}

#[test]
fn client_certificates_are_off_or_a_table() {
    let text = with("tls.client_auth = { mode = \"required\", ca = \"ca.pem\" }\n");
    let config = read(&text).expect("valid").config;
    let ClientAuth::On { mode, ca } = config.tls.client_auth.get_ref() else { panic!("off") };
    assert_eq!((*mode, ca.get_ref().to_str()), (ClientAuthMode::Required, Some("ca.pem")));
    assert_eq!(text.get(ca.span()), Some("\"ca.pem\""), "places survive the hand-written visitor");
}

#[test]
fn defaults_are_those_of_the_contract() {
    let config = read(&with("")).expect("valid").config;
    assert_eq!(config.timeouts.connect.get_ref().get(), Duration::from_secs(2));
    assert_eq!(config.store.timeout.get_ref().get(), Duration::from_millis(250));
    assert_eq!(*config.revocation.on_unreachable.get_ref(), OnUnreachable::Deny);
    let rate = config.auth_failures.rate.get_ref().on().expect("not off");
    assert_eq!((rate.count.get(), rate.per), (20, Duration::from_secs(60)));
    assert!(config.listen.trusted_proxies.is_empty(), "nobody is trusted");
    assert_eq!(config.identity.headers.len(), 6);
}
