//! What is printed for configurations that are wrong: R52 ("one clear line naming file and
//! field"), and all problems at once.

use proptest::prelude::*;

use super::super::*;
use super::{read, read_with, refusal, with};

/// An issuer, an upstream and a certificate, for routes to stand on.
const BASE: &str = "\
[tls]
certificates = [{ cert = \"c.pem\", key = \"k.pem\" }]
[[issuers]]
name = \"main\"
issuer = \"https://id.example\"
audiences = \"api\"
algorithms = \"RS256\"
jwks_file = \"jwks.json\"
[upstreams.orders]
servers = \"http://10.0.0.4:3000\"
";

/// A route on [`BASE`] with `more` in it.
fn route(more: &str) -> String {
    format!("{BASE}[[routes]]\nname = \"r\"\npath = \"/*\"\nupstream = \"orders\"\n{more}\n")
}

/// A second issuer entry on [`BASE`].
fn issuer(more: &str) -> String {
    format!("{BASE}[[issuers]]\n{more}\n")
}

/// An HMAC entry with one key.
fn key(more: &str) -> String {
    issuer(&format!(
        "name = \"b\"\nissuer = \"i\"\naudiences = \"off\"\nalgorithms = \"HS256\"\n\
         [[issuers.keys]]\n{more}"
    ))
}

/// Each configuration with what it shows. What is printed for each is in the snapshot.
fn cases() -> Vec<(&'static str, String)> {
    let mut cases = vec![
        ("nothing is written", String::new()),
        ("syntax", "[listen\nhttps = 5".into()),
        ("syntax beside a secret", "[store]\npassword = \"hunter2-hunter2\n".into()),
        ("a key twice", "[log]\nlevel = \"info\"\nlevel = \"warn\"\n".into()),
    ];
    cases.extend(sections());
    cases.extend(issuers());
    cases.extend(routes());
    cases
}

fn sections() -> Vec<(&'static str, String)> {
    vec![
        ("unknown key", with("[limits]\nheader_byte = 5\n")),
        ("unknown section", with("[limit]\nx = 1\n")),
        ("unknown word", with("log.level = \"inf\"\n")),
        ("unknown word without a likeness", with("log.format = \"xml\"\n")),
        (
            "several in one file",
            with(
                "[limits]\nbody_bytes = \"10 M\"\nconnections = 0\nfoo = 1\n[timeouts]\nheader = \"0s\"\ndrain = \"-5s\"\nconnect = 5\n[log]\nlevel = \"loud\"\n",
            ),
        ),
        (
            "later sections",
            with(
                "[issuing]\nissuer = \"x\"\n[streams]\ngrace = \"30s\"\n[[clients]]\nid = \"x\"\n",
            ),
        ),
        ("tracked revocation", with("[revocation]\ncheck = \"tracked\"\nmax_staleness = \"2s\"\n")),
        ("a literal secret", with("[store]\npassword = \"hunter2-hunter2\"\n")),
        ("a password in the URL", with("store.url = \"redis://:hunter2-hunter2@cache\"\n")),
        ("cluster", with("store.url = \"redis-cluster://a,b\"\n")),
        ("no store", with("store.url = \"memcached://a\"\n")),
        (
            "settings of another store",
            with("[store]\nusername = \"u\"\npassword_env = \"P\"\nca = \"ca.pem\"\n"),
        ),
        ("half a client certificate", with("[store]\nurl = \"rediss://a\"\nclient_cert = \"c\"\n")),
        ("two places for one secret", with("[admin]\nsecret_file = \"a\"\nsecret_env = \"B\"\n")),
        (
            "a secret where its variable's name belongs",
            with("[admin]\nsecret_env = \"hunter2-hunter2\"\n"),
        ),
        ("prefix", with("store.prefix = \"a{b}\"\n")),
        ("nothing to serve", "listen.https = \"off\"\n".into()),
        ("https without certificates", "listen.https = \"127.0.0.1:0\"\n".into()),
        ("a name to listen on", with("admin.listen = \"localhost:9901\"\n")),
        ("plain for nobody", with("").replace("unix:run/p.sock", "0.0.0.0:8080")),
        ("PROXY protocol from nobody", with("listen.proxy_protocol = \"required\"\n")),
        ("two listeners on one address", with("listen.health = \"127.0.0.1:9901\"\n")),
        ("off beside an address", with("listen.health = [\"off\", \"127.0.0.1:9902\"]\n")),
        ("public_url", with("listen.public_url = \"http://api.example.com/\"\n")),
        ("public_url with a path", with("listen.public_url = \"https://api.example.com/v1\"\n")),
        ("networks", with("listen.trusted_proxies = [\"10.0.0.1/8\", \"everyone\"]\n")),
        ("client_auth", with("tls.client_auth = { mode = \"require\", ca = \"x\" }\n")),
        ("client_auth without ca", with("tls.client_auth = { mode = \"required\" }\n")),
        (
            "half a certificate",
            with("[tls]\ncertificates = [{ cert = \"a\" }, { cret = \"b\", key = \"c\" }]\n"),
        ),
        ("a rate without window", with("auth_failures.rate = \"20\"\n")),
        ("a rate of nothing", with("auth_failures.rate = \"0/1m\"\n")),
        ("an empty window", with("auth_failures.rate = \"5/0s\"\n")),
        (
            "absurd sizes",
            with(
                "[limits]\nheader_bytes = \"1KiB\"\ntarget_bytes = \"1GiB\"\nbody_bytes = \"9999999GiB\"\n",
            ),
        ),
        (
            "absurd times",
            with("[timeouts]\nheader = \"48h\"\ndrain = \"18446744073709551615s 1000ms\"\n"),
        ),
        ("extra keys", with("revocation.extra_keys = [\"blacklist:\", \"b:{foo}\", \"{jti\"]\n")),
        (
            "identity headers",
            with(
                "[identity.headers]\nHost = \"sub\"\n\"X-A B\" = \"sub\"\nx_user = \"sub\"\nX-A = \"\"\n",
            ),
        ),
        ("reserved headers", with("identity.reserved = [\"X-*\", \"Ho*\", \"*\", \"a*b\"]\n")),
        (
            "a variable that is not set",
            with(
                "[log]\nlevel = \"${NOWHERE}\"\nformat = \"${NOWHERE:?say json or text}\"\naccess = \"${\"\n[state]\ndir = \"${a b}\"\n",
            ),
        ),
        (
            "an interpolated value that is wrong",
            with("[log]\nlevel = \"${PASSWORD}\"\n[auth_failures]\nrate = \"5/${PASSWORD}\"\n"),
        ),
        (
            "an upstream",
            with(
                "[upstreams.\"a b\"]\nservers = [\"http://a/path\", \"ftp://b\", \"http://u:hunter2@c\", \"http://d:99999\"]\n[upstreams.empty]\nservers = []\nca = \"x\"\n[upstreams.none]\n",
            ),
        ),
    ]
}

fn issuers() -> Vec<(&'static str, String)> {
    vec![
        ("an issuer with nothing", issuer("leeway = \"2m\"")),
        (
            "an issuer of a later release",
            issuer(
                "name = \"b\"\nissuer = \"i\"\naudiences = \"a\"\nalgorithms = \"RS256\"\njwks_url = \"https://id.example/jwks\"\ndiscovery = true",
            ),
        ),
        (
            "R3: HMAC beside a public key",
            issuer(
                "name = \"b\"\nissuer = \"i\"\naudiences = \"a\"\nalgorithms = [\"RS256\", \"HS256\"]\njwks_file = \"f\"",
            ),
        ),
        (
            "an empty issuer, and echoes of what is cut out",
            issuer(
                "name = \"b\"\nissuer = \"\"\naudiences = [5]\nalgorithms = [\"RS257\", \"HS1\"]\njwks_file = 7",
            ),
        ),
        (
            "R2: none",
            issuer(
                "name = \"b\"\nissuer = \"i\"\naudiences = \"a\"\nalgorithms = [\"none\"]\njwks_file = \"f\"",
            ),
        ),
        (
            "an issuer's name twice",
            issuer(
                "name = \"main\"\nissuer = \"i\"\naudiences = []\nalgorithms = []\njwks_file = \"f\"\nmax_age = \"48h\"",
            ),
        ),
        ("a secret in the file", key("algorithm = \"HS256\"\nsecret = \"hunter2-hunter2\"")),
        (
            "R3: a public key as a secret",
            key("algorithm = \"HS256\"\npublic_key_file = \"rs.pem\""),
        ),
        ("a key of another algorithm", key("algorithm = \"ES256\"\nsecret_file = \"f\"")),
        (
            "R5: a kid twice",
            key(
                "kid = \"1\"\nalgorithm = \"HS256\"\nsecret_file = \"f\"\n[[issuers.keys]]\nkid = \"1\"\nalgorithm = \"HS256\"\nsecret_file = \"g\"",
            ),
        ),
    ]
}

fn routes() -> Vec<(&'static str, String)> {
    vec![
        ("names that lead nowhere", route("issuers = [\"mian\", \"x\"]").replace("upstream = \"orders\"", "upstream = \"order\"")),
        ("an upstream that is wrong itself is not missed", route("").replace("http://10", "htp://10")),
        ("an issuer that is wrong itself is not missed", route("issuers = \"main\"").replace("\"RS256\"", "\"RS257\"")),
        ("no issuer", with("[upstreams.u]\nservers = \"http://a\"\n[[routes]]\nname = \"r\"\npath = \"/\"\nupstream = \"u\"\n")),
        ("a route with nothing", format!("{BASE}[[routes]]\n")),
        ("a route's name twice, and one that is none", format!("{}[[routes]]\nname = \"r\"\npath = \"/a\"\nupstream = \"orders\"\n[[routes]]\nname = \"a b\"\npath = \"/b\"\nupstream = \"orders\"\n", route(""))),
        ("R19: paths that never arrive", ["api", "/a//b", "/a/../b", "/a;b", "/a%2Fb", "/%61", "/*/a", "/a?b", "/é"].iter().enumerate().fold(BASE.to_owned(), |text, (n, path)| format!("{text}[[routes]]\nname = \"r{n}\"\npath = \"{path}\"\nupstream = \"orders\"\n"))),
        ("R21: methods", route("methods = [\"GET\", \"post\", \"TRACE\", \"CONNECT\", \"G T\", \"GET\"]")),
        ("hosts", route("hosts = [\"https://a\", \"a.*\", \"a:80\", \"*.example.com\"]")),
        ("rules that would not hold", route("auth = \"none\"\nissuers = [\"main\"]\nrequire = { roles = \"admin\" }\ntoken = { cookie = \"c\" }")),
        ("a rule that anonymous requests pass", route("auth = \"optional\"\nrequire = { roles = \"admin\" }")),
        ("requirements", route("require = { role = \"admin\", claims = { \"/a~2\" = 1, b = 1.5 } }")),
        ("cookies and parameters", route("token = { cookie = \"a=b\", query = \"a&b\" }")),
        ("limits", route("limits = [{ by = \"ip\", rate = \"5/15m\" }, { by = \"client\", rate = \"5 per minute\" }, { by = \"client\" }, { by = \"claim:sub\", rate = \"1/1s\", count = \"fail\" }, { by = \"json:/a+form:b\", rate = \"1/1s\", shared = true }]")),
        ("limits by claims and bodies that are not there", route("auth = \"none\"\nupgrade = \"websocket\"\nmethods = [\"GET\"]\nlimits = [{ by = \"claim:sub\", rate = \"1/1s\" }, { by = \"json:/a\", rate = \"1/1s\" }, { by = \"form:a\", rate = \"1/1s\" }]")),
        ("words of a later release", route("csrf = \"double-submit\"\nupgrade = \"h2c\"\nhost = \"a/b\"")),
    ]
}

#[test]
fn every_problem_is_printed_with_its_place_and_what_to_write() {
    let mut printed = String::new();
    for (title, text) in cases() {
        let refusal = refusal(&text);
        assert!(!refusal.contains("hunter2"), "{title}: {refusal}");
        printed.push_str(&format!("## {title}\n{refusal}\n"));
    }
    insta::assert_snapshot!("broken", printed);
}

#[test]
fn problems_of_overrides_name_the_override() {
    let sets = ["limits.body_bytes=lots", "limits.foo=1", "nonsense", "a..b=1", "log.level.x=1"];
    let failure = read_with(&with("log.level = \"info\"\n"), &sets, Options::ONLINE);
    insta::assert_snapshot!(failure.expect_err("refused").to_string(), @r#"
    p.toml: `--set` takes KEY=VALUE, and there is no `=`
    p.toml: --set a..b: not a key such as `limits.body_bytes`
    p.toml: --set log.level.x: there is no such place in the configuration
    --set limits.body_bytes: "lots" is not a size
      help: write bytes or a number and a unit: 8192, "32KiB", "10MiB"
    --set limits.foo: unknown key `foo` in [limits]
      help: known here: header_bytes, header_count, target_bytes, authorization_bytes, body_bytes, connections, connections_per_client, requests_per_client
    "#);
}

#[test]
fn problems_of_later_layers_are_merged_by_place() {
    let text = with("log.level = \"info\"\n");
    let loaded = read(&text).expect("valid");
    let mut problems = Problems::new();
    problems.push(Problem::at(loaded.config.log.level.span(), "later").help("do"));
    problems.push(Problem::at(0..6, "earlier"));
    problems.push(Problem::at(0..0, "a default has no place"));
    insta::assert_snapshot!(problems.render(&loaded.source), @r#"
    p.toml: a default has no place
    p.toml:1:1: earlier
      | listen.https = "off"
      | ^^^^^^
    p.toml:3:13: later
      | log.level = "info"
      |             ^^^^^^
      help: do
    "#);
}

#[test]
fn nothing_of_the_file_reaches_the_terminal_raw() {
    let printed = refusal("x = 5 # \u{1b}[31m\u{7}");
    assert!(!printed.contains('\u{1b}') && !printed.contains('\u{7}'), "{printed:?}");
}

/// Fragments from which a text is put together that gets past the first parser.
fn fragment() -> impl Strategy<Value = String> {
    let keys = "listen|https|tls|certificates|store|url|issuers|name|keys|routes|path|limits|by|rate\
                |upstreams|servers|identity|headers|token|require|claims|log|level|timeouts|zz";
    let values = prop_oneof![
        Just("\"off\"".to_owned()),
        Just("[{}]".to_owned()),
        Just("{ a = 1 }".to_owned()),
        Just("-1".to_owned()),
        Just("9999999999999999999999".to_owned()),
        Just("1.5".to_owned()),
        Just("1979-05-27".to_owned()),
        "\"[a-zé0-9/:*%.@{}$+-]{0,12}\"",
        Just("\"${PASSWORD}${\"".to_owned()),
    ];
    let key = format!("({keys})(\\.({keys})){{0,2}}");
    let key = || prop::string::string_regex(&key).expect("a pattern");
    prop_oneof![
        (key(), values).prop_map(|(key, value)| format!("{key} = {value}\n")),
        key().prop_map(|key| format!("[{key}]\n")),
        key().prop_map(|key| format!("[[{key}]]\n")),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_makes_loading_panic(text in any::<String>()) {
        if let Err(failure) = read(&text) {
            prop_assert!(!failure.to_string().is_empty());
        }
    }

    #[test]
    fn no_configuration_makes_loading_panic(parts in prop::collection::vec(fragment(), 0..12)) {
        let text = parts.concat();
        if let Err(failure) = read(&text) {
            let printed = failure.to_string();
            prop_assert!(printed.starts_with("p.toml:"), "{}", printed);
            prop_assert!(!printed.contains("hunter2"), "{}", printed);
        }
    }

    #[test]
    fn no_override_makes_loading_panic(set in "[a-z.\"=\\[\\]{}0-9 \n']{0,24}", text in fragment()) {
        let _ = read_with(&text, &[&set], Options::OFFLINE);
        let set = format!("{}={set}", text.trim().trim_matches(['[', ']']));
        let _ = read_with(&text, &[&set], Options::OFFLINE);
    }
}
