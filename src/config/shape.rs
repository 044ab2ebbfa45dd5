//! From the tree to the types, with every error and not only the first.
//!
//! serde stops at its first error. So each error is recorded, the node that it points at is cut out
//! of the tree, and the rest is tried again until it passes. What is then missing because it was
//! cut out is not an error of its own.

use std::collections::BTreeSet;
use std::ops::Range;

use serde::Deserialize as _;
use toml::Spanned;
use toml::de::{DeTable, DeValue, Deserializer};

use super::Config;
use super::problem::{Problem, Problems};
use super::suggest::{listed, nearest};
use super::tree::{self, Step};

/// Errors looked for before giving up.
const ERRORS_MAX: usize = 100;

/// Keys that a table must have, by the pattern of its place. serde knows them too, but names only
/// the first that is missing.
const REQUIRED: [(&str, &[&str]); 16] = [
    ("clients[]", &["id"]),
    ("issuers[]", &["name", "issuer", "audiences", "algorithms"]),
    ("issuers[].keys[]", &["algorithm"]),
    ("issuing", &["issuer", "audiences"]),
    ("issuing.keys[]", &["kid", "algorithm"]),
    ("issuing.login_limits[]", &["by", "rate"]),
    ("issuing.refresh_limits[]", &["by", "rate"]),
    ("issuing.users.sql", &["query"]),
    ("issuing.users.upstream", &["url", "claims"]),
    ("routes[]", &["name", "path", "upstream"]),
    ("routes[].limits[]", &["by", "rate"]),
    ("tls.certificates[]", &["cert", "key"]),
    ("tls.client_auth", &["mode", "ca"]),
    ("upstreams.*", &["servers"]),
    ("upstreams.*.assertion", &["audience"]),
    ("upstreams.*.assertion.keys[]", &["kid", "algorithm"]),
];

/// A key of [`REQUIRED`] that is not missing where another key says so.
const REQUIRED_UNLESS: (&str, &str, (&str, &str)) =
    ("issuers[]", "algorithms", ("kind", "introspection"));

/// What stands in for required keys while the rest of their table is read.
const STAND_INS: [(&str, &str, &str); 11] = [
    ("clients[]", "id", "unreadable"),
    ("issuers[]", "issuer", "https://unreadable.invalid"),
    ("issuing", "issuer", "https://unreadable.invalid"),
    ("issuing.login_limits[]", "by", "client"),
    ("issuing.login_limits[]", "rate", "1/1m"),
    ("issuing.refresh_limits[]", "by", "client"),
    ("issuing.refresh_limits[]", "rate", "1/1m"),
    ("routes[]", "path", "/unreadable"),
    ("routes[].limits[]", "by", "client"),
    ("routes[].limits[]", "rate", "1/1m"),
    ("upstreams.*.assertion", "audience", "unreadable"),
];

/// The places of tables with fixed keys. serde would take a list there too, value by value in an
/// order that is written nowhere, so that `require = ["admin"]` would mean something by accident.
pub(super) const TABLES: [&str; 43] = [
    "admin",
    "audit",
    "auth_failures",
    "clients[]",
    "endpoints",
    "identity",
    "issuers[]",
    "issuers[].backchannel_logout",
    "issuers[].claims",
    "issuers[].keys[]",
    "issuing",
    "issuing.cookies",
    "issuing.keys[]",
    "issuing.login_limits[]",
    "issuing.refresh_limits[]",
    "issuing.users",
    "issuing.users.sql",
    "issuing.users.sql.columns",
    "issuing.users.sql.columns.claims",
    "issuing.users.upstream",
    "issuing.users.upstream.claims",
    "issuing.users.upstream.fields",
    "limits",
    "listen",
    "log",
    "revocation",
    "routes[]",
    "routes[].limits[]",
    "routes[].require",
    "routes[].timeouts",
    "routes[].token",
    "state",
    "store",
    "streams",
    "timeouts",
    "tls",
    "tls.certificates[]",
    "token_cache",
    "upstreams.*",
    "upstreams.*.assertion",
    "upstreams.*.assertion.keys[]",
    "identity.headers",
    "routes[].require.claims",
];

/// Keys that a later release will know, by the pattern of their table, with what to do until then.
const LATER: [(&str, &str, &str); 2] = [
    ("", "forward_auth", "leave the section out"),
    ("admin", "ready_requires_store", "leave it out"),
];

/// Names of keys under which a secret would stand in the file.
const LITERAL_SECRETS: [&str; 7] = [
    "client_secret",
    "passphrase",
    "password",
    "private_key",
    "secret",
    "sentinel_password",
    "token_secret",
];

/// What the file declares, whether or not it could be understood, so that one mistake is not
/// reported a second time wherever the name is used.
#[derive(Debug, Default)]
pub(super) struct Declared {
    /// The names of issuer entries; with a nameless one in it, any name may be right.
    pub(super) issuers: BTreeSet<String>,
    /// Whether every issuer entry has a name.
    pub(super) issuers_are_named: bool,
    /// The names of upstreams.
    pub(super) upstreams: BTreeSet<String>,
    /// Whether `[tls] certificates` is written and not an empty list.
    pub(super) certificates: bool,
    /// Whether `[[issuing.keys]]` is.
    pub(super) issuing_keys: bool,
    /// The names of upstreams whose assertion has keys.
    pub(super) assertion_keys: BTreeSet<String>,
    /// Whether there are `[[clients]]`.
    pub(super) clients: bool,
    /// The ids of clients.
    pub(super) client_ids: BTreeSet<String>,
}

impl Declared {
    /// Looks through the tree.
    pub(super) fn of(root: &DeTable<'_>) -> Self {
        let field = |section: &str, key: &str| root.get(section)?.get_ref().get(key);
        let empty = DeValue::Table(DeTable::new());
        let issuers = root.get("issuers").map_or(&empty, Spanned::get_ref).as_array();
        let names: Vec<_> = issuers
            .map(|issuers| issuers.iter().map(|issuer| issuer.get_ref().get("name")).collect())
            .unwrap_or_default();
        let names: Vec<_> =
            names.iter().map(|name| name.and_then(|name| name.get_ref().as_str())).collect();
        let upstreams = root.get("upstreams").and_then(|value| value.get_ref().as_table());
        let has_keys = |assertion: &DeValue<'_>| assertion.get("keys").is_some_and(is_written);
        let asserts = |upstream: &DeValue<'_>| {
            upstream.get("assertion").is_some_and(|assertion| has_keys(assertion.get_ref()))
        };
        let clients = root.get("clients").and_then(|list| list.get_ref().as_array());
        let ids = clients.into_iter().flat_map(|list| list.iter());
        let ids = ids.filter_map(|client| client.get_ref().get("id")?.get_ref().as_str());
        // Postern's own tokens are those of an issuer too.
        let local = root.contains_key("issuing").then_some("local");
        Self {
            issuers: names.iter().flatten().copied().chain(local).map(str::to_owned).collect(),
            issuers_are_named: names.iter().all(Option::is_some),
            upstreams: upstreams
                .map(|table| table.keys().map(|key| key.get_ref().to_string()).collect())
                .unwrap_or_default(),
            certificates: field("tls", "certificates").is_some_and(is_written),
            issuing_keys: field("issuing", "keys").is_some_and(is_written),
            assertion_keys: upstreams
                .into_iter()
                .flat_map(|table| table.iter())
                .filter(|(_, upstream)| asserts(upstream.get_ref()))
                .map(|(key, _)| key.get_ref().to_string())
                .collect(),
            clients: root.get("clients").is_some_and(is_written),
            client_ids: ids.map(str::to_owned).collect(),
        }
    }
}

/// Whether something is written there, and not an empty list.
fn is_written(list: &Spanned<DeValue<'_>>) -> bool {
    list.get_ref().as_array().is_none_or(|list| !list.is_empty())
}

/// What could be read.
pub(super) struct Shaped {
    /// The types.
    pub(super) config: Config,
    /// The places of tables and lists from which something was cut out: what they lack, they may
    /// lack for that reason.
    pub(super) cut: Vec<Range<usize>>,
}

/// Reads the types out of the tree. `None` when the errors outnumber what is looked for.
pub(super) fn read(root: &Spanned<DeTable<'_>>, problems: &mut Problems) -> Option<Shaped> {
    let mut rest = root.clone();
    let mut cut = Vec::new();
    // From the end, so that the numbers of what stands before stay true.
    for path in lists_for_tables(root.get_ref()).into_iter().rev() {
        if let Some(list) = tree::value_at(rest.get_ref(), &path) {
            problems.push(Problem::at(list.span(), "expected a table, found a list"));
        }
        tree::remove(rest.get_mut(), &path);
    }
    for _ in 0..ERRORS_MAX {
        let error = match Config::deserialize(Deserializer::from(rest.clone())) {
            Ok(config) => return Some(Shaped { config, cut }),
            Err(error) => error,
        };
        let path = record(&error, root.get_ref(), rest.get_ref(), problems)?;
        // What a table cannot do without is replaced, so that the rest of the table is read on.
        let place = tree::value_at(rest.get_ref(), &path).map(Spanned::span);
        if let (Some(text), Some(place)) = (stand_in(&path), place)
            && !cut.contains(&place)
            && tree::replace(rest.get_mut(), &path, text)
        {
            cut.push(place);
            continue;
        }
        let above = path.split_last().and_then(|(_, above)| tree::value_at(rest.get_ref(), above));
        cut.extend(above.map(Spanned::span));
        if !tree::remove(rest.get_mut(), &path) {
            return None;
        }
    }
    problems.push(Problem::new("too many errors; the rest of the file was not looked at"));
    None
}

/// A value that can be read, for a required key whose own value cannot.
fn stand_in(path: &[Step]) -> Option<&'static str> {
    let (Some(Step::Key(key)), above) = (path.last(), path.split_last().map_or(path, |(_, a)| a))
    else {
        return None;
    };
    let table = tree::pattern(above);
    let known = |(pattern, name, _): &&(&str, &str, &str)| *pattern == table && name == key;
    STAND_INS.iter().find(known).map(|(.., text)| *text)
}

/// The ways to lists that stand where a table belongs.
fn lists_for_tables(root: &DeTable<'_>) -> Vec<tree::Path> {
    let mut lists = Vec::new();
    tree::each(root, &mut |path, node| {
        if node.get_ref().is_array() && TABLES.contains(&tree::pattern(path).as_str()) {
            lists.push(path.clone());
            return false;
        }
        true
    });
    lists
}

/// Adds the error to the problems and returns the way to the node that it is about. `None` when
/// that cannot be told, and so the rest cannot be tried.
fn record(
    error: &toml::de::Error,
    root: &DeTable<'_>,
    rest: &DeTable<'_>,
    problems: &mut Problems,
) -> Option<tree::Path> {
    let message = error.message();
    let Some(span) = error.span() else {
        problems.push(Problem::new(message));
        return None;
    };
    let key = message.starts_with("unknown field").then(|| tree::find_key(rest, &span)).flatten();
    if let Some(path) = key {
        problems.push(unknown_key(&path, &span, message));
        return Some(path);
    }
    let value = tree::find_value(rest, &span);
    match &value {
        Some(path) if message.starts_with("missing field") => {
            missing_keys(root, path, &span, message, problems);
        }
        _ => problems.push(wrong_value(&span, message)),
    }
    value.or_else(|| tree::find_key(rest, &span))
}

/// An unknown key: a literal secret, a key of a later release, or a misspelling.
fn unknown_key(path: &[Step], span: &Range<usize>, message: &str) -> Problem {
    let (Some(Step::Key(key)), above) = (path.last(), path.split_last().map_or(path, |(_, a)| a))
    else {
        return Problem::at(span.clone(), message);
    };
    let table = tree::pattern(above);
    let known = expected(message);
    if let Some(word) = LITERAL_SECRETS.iter().find(|word| *word == key) {
        let stems = known.iter().filter_map(|known| known.strip_suffix("_file"));
        let stems = stems.filter(|stem| known.contains(&format!("{stem}_env").as_str()));
        let stems: Vec<&str> = stems.collect();
        // Where several secrets belong, the one that was meant.
        let meant = stems.iter().find(|stem| *stem == word).or_else(|| stems.first());
        let help = match meant {
            Some(stem) => format!("write {stem}_file = \"FILE\" or {stem}_env = \"NAME\""),
            None => "no secret belongs into this table".to_owned(),
        };
        return Problem::at(span.clone(), format!("`{word}`: a literal secret is refused"))
            .help(help);
    }
    if let Some((.., instead)) = LATER.iter().find(|later| (later.0, later.1) == (&table, key)) {
        return Problem::at(span.clone(), format!("`{key}` is not in this release")).help(*instead);
    }
    let place = match table.as_str() {
        "" => String::new(),
        table => format!(" in {}", header(table)),
    };
    let help = match nearest(key, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`? known here: {}", listed(known)),
        None => format!("known here: {}", listed(known)),
    };
    Problem::at(span.clone(), format!("unknown key `{key}`{place}")).help(help)
}

/// Every key that is missing from a table, except those that were cut out as wrong.
fn missing_keys(
    root: &DeTable<'_>,
    path: &[Step],
    span: &Range<usize>,
    message: &str,
    problems: &mut Problems,
) {
    // Numbers in `path` may have shifted when elements were cut out; the place has not.
    let written = tree::find_value(root, span).and_then(|path| tree::value_at(root, &path));
    let table = tree::pattern(path);
    let named: Vec<_> = message.split('`').skip(1).step_by(2).collect();
    let required = REQUIRED.iter().find(|(pattern, _)| *pattern == table);
    for key in required.map_or(named.as_slice(), |(_, keys)| keys) {
        let (of, excused, (switch, word)) = REQUIRED_UNLESS;
        let switch = written.and_then(|written| written.get_ref().get(switch));
        let is_excused = (of, excused) == (&table, *key)
            && switch.is_some_and(|switch| switch.get_ref().as_str() == Some(word));
        if !is_excused && written.is_none_or(|written| written.get_ref().get(*key).is_none()) {
            let message = format!("`{key}` is missing in {}", header(&table));
            problems.push(Problem::at(span.clone(), message));
        }
    }
}

/// A table's pattern as its header is written: `[limits]`, `[[routes.limits]]`.
fn header(pattern: &str) -> String {
    match pattern.strip_suffix("[]") {
        Some(list) => format!("[[{}]]", list.replace("[]", "")),
        None => format!("[{}]", pattern.replace("[]", "")),
    }
}

/// A value of the wrong type or without sense.
fn wrong_value(span: &Range<usize>, message: &str) -> Problem {
    if let Some(variant) = message.strip_prefix("unknown variant ") {
        let word = variant.rsplit_once(", expected ").map_or(variant, |(word, _)| word);
        let word = word.trim_matches('`');
        let known = expected(message);
        let problem = Problem::at(span.clone(), format!("{word:?} is not known here"));
        let near = nearest(word, known.iter().copied());
        let meant = near.map(|near| format!("did you mean \"{near}\"? ")).unwrap_or_default();
        return problem.help(format!("{meant}known here: {}", listed(known)));
    }
    if let Some((message, help)) = message.split_once('\n') {
        return Problem::at(span.clone(), message).help(help);
    }
    if message.starts_with("wanted exactly 1 element") {
        return Problem::at(span.clone(), "expected a word, found a table");
    }
    if message == "wanted string or table" {
        return Problem::at(span.clone(), "expected a word in quotation marks");
    }
    if let Some((found, _)) = message.split_once(", expected struct ") {
        return Problem::at(span.clone(), format!("{found}, expected a table"));
    }
    let plain = RUST_WORDS.iter().find_map(|(rust, plain)| {
        message.strip_suffix(rust).map(|message| format!("{message}{plain}"))
    });
    Problem::at(span.clone(), plain.as_deref().unwrap_or(message))
}

/// What serde calls some types, and what an operator does.
const RUST_WORDS: [(&str, &str); 3] = [
    (" a nonzero u32", " a whole number from 1 to 4294967295"),
    (" path string", " a path"),
    (" u8", " a whole number from 0 to 255"),
];

/// The words between backticks behind `, expected` in serde's message.
fn expected(message: &str) -> Vec<&str> {
    let list = message.rsplit_once(", expected ").map_or("", |(_, list)| list);
    list.split('`').skip(1).step_by(2).collect()
}
