//! Which keys a local copy is about: the blocklist's own, the canary, and those of other
//! applications by what they begin with.

use std::borrow::Cow;

use crate::store::Key;
use crate::store::redis::keys::Names;

/// What keys begin with.
#[derive(Debug)]
pub(super) struct Prefixes {
    canary: String,
    heads: Vec<String>,
    /// None of these begins with another: Redis would refuse that.
    tracked: Vec<String>,
    /// As `SCAN` wants them; the canary needs not be found.
    patterns: Vec<String>,
}

impl Prefixes {
    pub(super) fn new(names: &Names, canary: String, heads: &[String]) -> Self {
        let scanned = shortest(std::iter::once(&names.entry).chain(heads));
        let tracked = shortest(std::iter::once(&canary).chain(&scanned));
        let patterns = scanned.iter().map(|prefix| format!("{}*", escaped(prefix))).collect();
        Self { canary, heads: heads.to_vec(), tracked, patterns }
    }

    /// What changes are reported of.
    pub(super) fn tracked(&self) -> &[String] {
        &self.tracked
    }

    /// The pattern of this number.
    pub(super) fn pattern(&self, number: usize) -> Option<&str> {
        self.patterns.get(number).map(String::as_str)
    }

    /// What a key is: none, one or two of ours. Keys that are no text are in no token's lookup.
    pub(super) fn sort(&self, names: &Names, key: &[u8], keys: &mut Vec<Key>) {
        let Ok(key) = std::str::from_utf8(key) else { return };
        if key == self.canary {
            keys.push(Key::Canary);
        } else if key == names.generation {
            keys.push(Key::Generation);
        } else if key == names.index {
            return;
        } else if let Some(suffix) = key.strip_prefix(&names.entry) {
            keys.push(Key::Entry(suffix.into()));
        }
        if self.heads.iter().any(|head| key.starts_with(head)) {
            keys.push(Key::Extra(key.into()));
        }
    }

    /// The key as Redis has it.
    pub(super) fn full<'k>(&'k self, names: &'k Names, key: &'k Key) -> Cow<'k, str> {
        match key {
            Key::Canary => Cow::Borrowed(&self.canary),
            Key::Entry(suffix) => Cow::Owned(format!("{}{suffix}", names.entry)),
            Key::Extra(key) => Cow::Borrowed(key),
            Key::Generation => Cow::Borrowed(&names.generation),
        }
    }
}

/// Those that begin with none of the others.
fn shortest<'a>(prefixes: impl Iterator<Item = &'a String> + Clone) -> Vec<String> {
    let mut kept: Vec<String> = Vec::new();
    for prefix in prefixes.clone() {
        let is_covered = |other: &String| other != prefix && prefix.starts_with(other.as_str());
        if !kept.contains(prefix) && !prefixes.clone().any(is_covered) {
            kept.push(prefix.clone());
        }
    }
    kept
}

/// As a pattern that means itself.
fn escaped(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len());
    for c in text.chars() {
        if "*?[]\\^".contains(c) {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefixes(heads: &[&str]) -> Prefixes {
        let heads: Vec<String> = heads.iter().map(ToString::to_string).collect();
        Prefixes::new(&Names::new("p:"), "p:canary:x".to_owned(), &heads)
    }

    /// Redis refuses prefixes of which one begins with another.
    #[test]
    fn no_prefix_covers_another() {
        for (heads, tracked) in [
            (&[][..], &["p:canary:x", "p:blocklist:"][..]),
            (&["b:", "b:"], &["p:canary:x", "p:blocklist:", "b:"]),
            (&["b:", "b:x", "a"], &["p:canary:x", "p:blocklist:", "b:", "a"]),
            (&["p:", "b:"], &["p:", "b:"]),
            (&["p"], &["p"]),
            (&["p:blocklist:mine:"], &["p:canary:x", "p:blocklist:"]),
        ] {
            assert_eq!(prefixes(heads).tracked(), tracked, "{heads:?}");
        }
    }

    #[test]
    fn a_pattern_means_what_the_operator_wrote() {
        assert_eq!(prefixes(&["a*[b]?\\"]).pattern(1), Some("a\\*\\[b\\]\\?\\\\*"));
        assert_eq!(prefixes(&[]).pattern(0), Some("p:blocklist:*"));
        assert_eq!(prefixes(&[]).pattern(1), None);
    }

    #[test]
    fn keys_are_told_apart() {
        let names = Names::new("p:");
        let prefixes = prefixes(&["b:", "p:blocklist:x"]);
        let sorted = |key: &[u8]| {
            let mut keys = Vec::new();
            prefixes.sort(&names, key, &mut keys);
            keys
        };
        assert_eq!(sorted(b"p:canary:x"), [Key::Canary]);
        assert_eq!(sorted(b"p:blocklist:generation"), [Key::Generation]);
        assert_eq!(sorted(b"p:blocklist:index"), []);
        assert_eq!(sorted(b"p:blocklist:jti:i:1"), [Key::Entry("jti:i:1".into())]);
        assert_eq!(sorted(b"b:1"), [Key::Extra("b:1".into())]);
        let both = [Key::Entry("x1".into()), Key::Extra("p:blocklist:x1".into())];
        assert_eq!(sorted(b"p:blocklist:x1"), both);
        assert_eq!(sorted(b"b:\xff"), []);
        assert_eq!(prefixes.full(&names, &both[0]), "p:blocklist:x1");
    }
}
