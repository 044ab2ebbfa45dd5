//! What is printed for configurations that are wrong: R52 ("one clear line naming file and
//! field"), and all problems at once.

use proptest::prelude::*;

use super::super::*;
use super::{read, read_with, refusal, with};

/// The configurations.
const CASES: &str = include_str!("broken.txt");

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

/// A route on [`BASE`].
const ROUTE: &str = "[[routes]]\nname = \"r\"\npath = \"/*\"\nupstream = \"orders\"\n";

/// An HMAC entry with the beginning of a key on [`BASE`].
const KEY: &str = "[[issuers]]\nname = \"b\"\nissuer = \"i\"\naudiences = \"off\"\n\
                   algorithms = \"HS256\"\n[[issuers.keys]]\n";

/// What stands before a case.
fn head(name: &str) -> String {
    match name {
        "base" => BASE.to_owned(),
        "issuer" => format!("{BASE}[[issuers]]\n"),
        "key" => format!("{BASE}{KEY}"),
        "plain" => with(""),
        "route" => format!("{BASE}{ROUTE}"),
        "whole" => String::new(),
        other => panic!("no head is called {other}"),
    }
}

/// Title and text of each configuration.
fn cases() -> Vec<(&'static str, String)> {
    let cases = CASES.split("## ").skip(1);
    cases
        .map(|case| {
            let (first, body) = case.split_once('\n').expect("a title");
            let (name, title) = first.split_once(": ").expect("a head and a title");
            (title, format!("{}{}", head(name), body.trim_end_matches('\n')))
        })
        .collect()
}

#[test]
fn every_problem_is_printed_with_its_place_and_what_to_write() {
    let mut printed = String::new();
    assert!(cases().len() > 60, "the table was read");
    for (title, text) in cases() {
        let refusal = refusal(&text);
        assert!(!refusal.contains("hunter2"), "{title}: {refusal}");
        printed.push_str(&format!("## {title}\n{refusal}\n"));
    }
    insta::assert_snapshot!("broken", printed);
}

#[test]
fn problems_of_overrides_name_the_override() {
    let sets = ["nonsense", "a..b=1", "log.level.x=1", "limits.body_bytes=lots", "log.foo=1"];
    let failure = read_with(&with("log.level = \"info\"\n"), &sets, Options::ONLINE);
    insta::assert_snapshot!(failure.expect_err("refused").to_string(), @r#"
    p.toml: `--set` takes KEY=VALUE, and there is no `=`
    p.toml: --set a..b: not a key such as `limits.body_bytes`
    p.toml: --set log.level.x: there is no such place in the configuration
    --set limits.body_bytes: "lots" is not a size
      help: write bytes or a number and a unit: 8192, "32KiB", "10MiB"
    --set log.foo: unknown key `foo` in [log]
      help: known here: level, format, access
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
    let keys = "listen|https|tls|certificates|store|url|issuers|name|keys|routes|path|limits|by\
                |rate|upstreams|servers|identity|headers|token|require|claims|log|level|zz";
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
            prop_assert!(!printed.contains("could not be understood"), "{}\n{}", text, printed);
        }
    }

    #[test]
    fn no_override_makes_loading_panic(
        set in "[a-z.\"=\\[\\]{}0-9 \n']{0,24}",
        text in fragment(),
    ) {
        let _ = read_with(&text, &[&set], Options::OFFLINE);
        let set = format!("{}={set}", text.trim().trim_matches(['[', ']']));
        let _ = read_with(&text, &[&set], Options::OFFLINE);
    }
}
