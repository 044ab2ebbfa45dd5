//! `config/postern.toml` documents every key, its values are the defaults, and it is valid.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize as _;
use toml::de::{DeTable, DeValue, Deserializer};

use super::super::tree::{self, Step};
use super::super::*;
use super::{read, with};

const REFERENCE: &str = include_str!("../../../config/postern.toml");

/// A key that no table knows.
const PROBE: &str = "zzz";

/// The reference with every key that is off by default switched on.
fn switched_on() -> String {
    let is_key = |line: &&str| {
        line.strip_prefix('#')
            .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_lowercase()))
    };
    let lines: Vec<_> = REFERENCE
        .lines()
        .map(|line| if is_key(&line) { line.trim_start_matches('#') } else { line })
        .collect();
    lines.join("\n")
}

#[test]
fn the_reference_is_valid() {
    if let Err(failure) = read(REFERENCE) {
        panic!("{failure}");
    }
}

#[test]
fn every_documented_key_exists() {
    let text = switched_on();
    assert_ne!(text, REFERENCE, "there are keys that are off by default");
    if let Err(error) = toml::from_str::<Config>(&text) {
        panic!("{error}");
    }
}

/// Puts a key that no table knows into each table of the reference in turn, and takes from the
/// error which keys that table knows. A key that is new in the types and not in the reference, or
/// a whole section, fails here.
#[test]
fn every_key_is_documented() {
    let text = switched_on();
    let root = DeTable::parse(&text).expect("TOML");
    let mut documented: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut tables = vec![Vec::new()];
    tree::each(root.get_ref(), &mut |path, node| {
        tables.extend(node.get_ref().is_table().then(|| path.clone()));
        true
    });
    let mut known: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for path in &tables {
        let pattern = tree::pattern(path);
        let keys = keys_at(root.get_ref(), path);
        documented.entry(pattern.clone()).or_default().extend(keys);
        let mut probed = root.clone();
        probe(probed.get_mut(), path);
        let error = Config::deserialize(Deserializer::from(probed)).err();
        let message = error.as_ref().map_or("", |error| error.message());
        if message.starts_with("unknown field `zzz`") {
            let words = message.split('`').skip(3).step_by(2).map(str::to_owned);
            known.entry(pattern).or_default().extend(words);
        }
    }
    // Tables in which operators choose the keys take any.
    let free: BTreeSet<_> = tables.iter().map(|path| tree::pattern(path)).collect();
    let free: Vec<_> = free.iter().filter(|pattern| !known.contains_key(*pattern)).collect();
    let expected = [
        "identity.headers",
        "issuing.users.sql.columns.claims",
        "issuing.users.upstream.claims",
        "routes[].require.claims",
        "upstreams",
    ];
    assert_eq!(free, expected);
    assert!(known.len() >= 20, "{known:#?}");
    for (table, keys) in known {
        let fixed = table.is_empty() || shape::TABLES.contains(&table.as_str());
        assert!(fixed, "shape::TABLES lacks {table:?}");
        let missing: Vec<_> = keys.difference(&documented[&table]).collect();
        assert!(missing.is_empty(), "config/postern.toml lacks {missing:?} in {table:?}");
    }
}

fn keys_at(root: &DeTable<'_>, path: &[Step]) -> Vec<String> {
    let table = match tree::value_at(root, path) {
        Some(node) => node.get_ref().as_table().expect("a table"),
        None => root,
    };
    table.keys().map(|key| key.get_ref().to_string()).collect()
}

fn probe(root: &mut DeTable<'_>, path: &[Step]) {
    let mut table = root;
    let mut steps = path.iter().peekable();
    while let Some(step) = steps.next() {
        let Step::Key(key) = step else { panic!("an index comes behind a key") };
        let mut value = table.get_mut(key.as_str()).expect("it was collected").get_mut();
        while let Some(Step::Index(index)) = steps.peek() {
            let DeValue::Array(array) = value else { panic!("an index leads into an array") };
            value = array.get_mut(*index).expect("it was collected").get_mut();
            steps.next();
        }
        let DeValue::Table(inner) = value else { panic!("a table was collected") };
        table = inner;
    }
    let text = DeValue::String("text".into());
    table.insert(Spanned::new(1..2, PROBE.into()), Spanned::new(3..4, text));
}

#[test]
fn the_values_shown_are_the_defaults() {
    let shown = read(REFERENCE).expect("valid").config;
    let default = read(&with("")).expect("valid").config;
    assert_eq!(shown.listen, Listen::default());
    assert_eq!(shown.admin, default.admin);
    assert_eq!(shown.state, default.state);
    assert_eq!(shown.tls, Tls { certificates: shown.tls.certificates.clone(), ..Tls::default() });
    assert_eq!(shown.store, default.store);
    assert_eq!(shown.revocation, default.revocation);
    assert_eq!(shown.token_cache, default.token_cache);
    assert_eq!(shown.limits, default.limits);
    assert_eq!(shown.timeouts, default.timeouts);
    assert_eq!(shown.streams, default.streams);
    assert_eq!(shown.auth_failures, default.auth_failures);
    assert_eq!(shown.log, default.log);
    assert_eq!(shown.endpoints, default.endpoints);
    assert_eq!(shown.identity, default.identity);
}

#[test]
fn the_values_called_defaults_of_entries_are_theirs() {
    let bare = read(
        "[tls]\ncertificates = [{ cert = \"c\", key = \"k\" }]\n[[issuers]]\nname = \"main\"\n\
         issuer = \"https://auth.example.com\"\naudiences = \"https://api.example.com\"\n\
         algorithms = [\"RS256\", \"ES256\"]\njwks_url = \"https://auth.example.com/jwks.json\"\n\
         [issuing]\nissuer = \"https://login.example.com\"\n\
         audiences = \"https://api.example.com\"\n[[issuing.keys]]\nkid = \"2026-11\"\n\
         algorithm = \"ES256\"\nprivate_key_file = \"../certs/issuing.pem\"\n\
         [issuing.users]\nfile = \"users\"\n[issuing.cookies]\n\
         cookie_secret_file = \"../certs/cookie.key\"\n\
         [upstreams.orders]\nservers = \"http://10.0.0.4:3000\"\n\
         [upstreams.orders.assertion]\naudience = \"https://orders.internal\"\n\
         issuer = \"https://api.example.com\"\n[[upstreams.orders.assertion.keys]]\n\
         kid = \"orders-2026-11\"\nalgorithm = \"ES256\"\n\
         private_key_file = \"../certs/assertion.pem\"\n[[routes]]\nname = \"admin\"\n\
         path = \"/api/admin/*\"\nupstream = \"orders\"\n",
    );
    let bare = bare.expect("valid").config;
    let shown = read(REFERENCE).expect("valid").config;
    assert_eq!(shown.issuers[0], bare.issuers[0]);
    assert_eq!(shown.issuing, bare.issuing);
    assert_eq!(shown.upstreams, bare.upstreams);
    let shown = shown.routes[1].get_ref();
    let default = bare.routes[0].get_ref();
    let as_default = Route {
        require: default.require.clone(),
        timeouts: default.timeouts.clone(),
        on_unreachable: None,
        body_bytes: None,
        ..shown.clone()
    };
    assert_eq!(&as_default, default);
}
