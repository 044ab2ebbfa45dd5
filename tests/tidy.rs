//! The repository's own rules as a test: layers, file openings, sizes, names.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test may panic"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Lines of code that a file may have, its inline tests not counted.
const LINES: usize = 500;
/// Columns that a line may have.
const COLUMNS: usize = 100;
/// Names that say nothing about what is inside.
const EMPTY_NAMES: [&str; 6] = ["util", "utils", "helpers", "common", "misc", "types"];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// All `.rs` files below `folder`, with their text, by path from the repository's root.
fn sources(folder: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut left = vec![root().join(folder)];
    while let Some(path) = left.pop() {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            if name != "node_modules" && name != ".cache" && name != "fuzz" {
                left.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let shown = path.strip_prefix(root()).unwrap().display().to_string();
            found.insert(shown, std::fs::read_to_string(&path).unwrap());
        }
    }
    found
}

fn everything() -> BTreeMap<String, String> {
    let mut all = sources("src");
    all.extend(sources("tests"));
    if root().join("benches").is_dir() {
        all.extend(sources("benches"));
    }
    all
}

/// Fails with all findings at once.
fn report(rule: &str, findings: &[String]) {
    assert!(findings.is_empty(), "{rule}:\n  {}", findings.join("\n  "));
}

/// The table in `src/lib.rs`: module → layer.
fn layers() -> BTreeMap<String, u32> {
    let text = std::fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let mut layers = BTreeMap::new();
    for row in text.lines().filter_map(|line| line.strip_prefix("//! | ")) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let Ok(layer) = cells[0].parse() else { continue };
        for module in cells[1].split(',') {
            let name = module.trim().trim_matches(['[', ']', '`']);
            layers.insert(name.to_owned(), layer);
        }
    }
    layers
}

/// The text without line comments; strings stay, which does no harm here.
fn code(text: &str) -> String {
    let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

/// The modules that `text` names as `crate::module` or `crate::{module, …}`.
fn imported(text: &str) -> Vec<String> {
    let mut names = Vec::new();
    let word = |text: &str| {
        let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
        text[..end].to_owned()
    };
    for (at, _) in text.match_indices("crate::") {
        let rest = &text[at + "crate::".len()..];
        let Some(list) = rest.strip_prefix('{') else {
            names.push(word(rest));
            continue;
        };
        let (mut depth, mut first) = (1, true);
        for (at, c) in list.char_indices() {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 1 => first = true,
                c if first && c.is_alphabetic() => {
                    names.push(word(&list[at..]));
                    first = false;
                }
                _ => {}
            }
            if depth == 0 {
                break;
            }
        }
    }
    names
}

fn module(path: &str) -> &str {
    let below = path.strip_prefix("src/").unwrap();
    below.split('/').next().unwrap().trim_end_matches(".rs")
}

/// Whether a module may use another one.
fn allowed(layers: &BTreeMap<String, u32>, from: &str, to: &str) -> bool {
    let (Some(own), Some(other)) = (layers.get(from), layers.get(to)) else { return false };
    let engine = ["auth", "limit", "blocklist"].contains(&from);
    // Layer 0 is one vocabulary; engines never know what the operator typed.
    from == to || (own > other && !(engine && to == "config")) || (*own == 0 && *other == 0)
}

#[test]
fn modules_import_only_lower_layers() {
    let layers = layers();
    assert!(layers.len() > 10, "the table in src/lib.rs was not read: {layers:?}");
    let mut findings = Vec::new();
    for (path, text) in sources("src") {
        let from = module(&path);
        if ["lib", "main"].contains(&from) {
            continue;
        }
        if !layers.contains_key(from) {
            findings.push(format!("{path}: `{from}` is not in the table of src/lib.rs"));
            continue;
        }
        for to in imported(&code(&text)) {
            if layers.contains_key(&to) && !allowed(&layers, from, &to) {
                findings.push(format!("{path}: `{from}` must not import `{to}`"));
            }
        }
    }
    report("layers (src/lib.rs)", &findings);
}

/// The checker itself: what it must see and what it must not.
#[test]
fn imports_are_found() {
    assert_eq!(imported("use crate::auth::Key;"), ["auth"]);
    assert_eq!(imported("let x = crate::time::UnixTime(0);"), ["time"]);
    let list = "use crate::{auth::{Key, Alg}, time,\n    secret::Secret};";
    assert_eq!(imported(list), ["auth", "time", "secret"]);
    assert_eq!(imported(&code("// see crate::proxy\n    /// crate::run")), [""; 0]);
    let layers = layers();
    for (from, to, answer) in [
        ("proxy", "auth", true),
        ("auth", "proxy", false),
        ("auth", "config", false),
        ("auth", "limit", false),
        ("policy", "config", true),
        ("token", "time", true),
        ("server", "admin", false),
        ("cli", "run", true),
    ] {
        assert_eq!(allowed(&layers, from, to), answer, "{from} → {to}");
    }
}

#[test]
fn every_file_says_what_it_is() {
    let silent = |(path, text): (String, String)| (!text.starts_with("//! ")).then_some(path);
    let findings: Vec<_> = everything().into_iter().filter_map(silent).collect();
    report("a file opens with `//!`", &findings);
}

#[test]
fn files_have_one_subject() {
    let mut findings = Vec::new();
    for (path, text) in everything() {
        let is_tests = path.ends_with("/tests.rs") || path.contains("/tests/");
        let own = text.split("#[cfg(test)]\nmod tests {").next().unwrap().lines().count();
        if own > LINES && !is_tests {
            findings.push(format!("{path}: {own} lines"));
        }
    }
    report(&format!("at most {LINES} lines without tests"), &findings);
}

#[test]
fn lines_fit() {
    let mut findings = Vec::new();
    for (path, text) in everything() {
        for (number, line) in text.lines().enumerate() {
            // Tables of wire bytes and vectors in tests are read as rows, however long.
            let row = path.contains("tests");
            if line.chars().count() > COLUMNS && !row {
                findings.push(format!("{path}:{}", number + 1));
            }
        }
    }
    report(&format!("at most {COLUMNS} columns"), &findings);
}

#[test]
fn names_mean_something() {
    let mut findings = Vec::new();
    for path in everything().into_keys() {
        let parts = Path::new(&path).iter().map(|part| part.to_string_lossy().into_owned());
        if parts.into_iter().any(|part| EMPTY_NAMES.contains(&part.trim_end_matches(".rs"))) {
            findings.push(path);
        }
    }
    report("names that say nothing", &findings);
}

#[test]
fn nothing_is_unsafe() {
    let keyword = concat!("un", "safe");
    let mut findings = Vec::new();
    for (path, text) in everything() {
        for form in [" {", " fn", " impl", " trait", " extern"] {
            if code(&text).contains(&format!("{keyword}{form}")) {
                findings.push(path.clone());
            }
        }
    }
    report("no unsafe code", &findings);
}
