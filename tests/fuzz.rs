//! The fuzz targets on a stable compiler: the same properties (`tests/fuzz/properties`) over the
//! saved inputs, and over changes of them. `tests/fuzz/README.md` says how to fuzz in earnest.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

#[path = "fuzz/properties/mod.rs"]
mod properties;

use std::path::{Path, PathBuf};

use proptest::prelude::*;
use proptest::sample::Index;

/// Most bytes that a changed input may have.
const BYTES_MAX: usize = 8192;

/// The saved inputs of a target with their files: the committed ones, and what fuzzing here has
/// found besides.
fn inputs(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz");
    let mut inputs = Vec::new();
    for folder in ["seeds", "corpus"].map(|kind| root.join(kind).join(target)) {
        let Ok(files) = std::fs::read_dir(folder) else { continue };
        for file in files {
            let path = file.unwrap().path();
            let bytes = std::fs::read(&path).unwrap();
            inputs.push((path, bytes));
        }
    }
    inputs.sort();
    inputs
}

/// Every saved input holds, and both outcomes are among them.
fn saved(target: &str, holds: fn(&[u8]) -> bool) {
    let inputs = inputs(target);
    assert!(inputs.len() >= 24, "the saved inputs of {target} are missing");
    let mut accepted = 0;
    for (path, bytes) in &inputs {
        let outcome = std::panic::catch_unwind(|| holds(bytes));
        accepted += usize::from(outcome.unwrap_or_else(|_| panic!("{}", path.display())));
    }
    assert!((3..inputs.len() - 3).contains(&accepted), "{accepted} accepted in {target}");
}

/// One change of an input.
#[derive(Clone, Debug)]
enum Change {
    /// Another byte there.
    Byte(Index, u8),
    /// Some bytes less.
    Cut(Index, Index),
    /// A piece of another input inside.
    Graft(Index, Index, Index, Index),
    /// These bytes inside.
    Insert(Index, Vec<u8>),
}

fn change() -> impl Strategy<Value = Change> {
    let place = any::<Index>;
    let telling = prop::sample::select(b"./%?#\\;:,_-{}[]\"= \n\0A019\xff".to_vec());
    let byte = prop_oneof![telling, any::<u8>()];
    prop_oneof![
        (place(), byte.clone()).prop_map(|(at, byte)| Change::Byte(at, byte)),
        (place(), place()).prop_map(|(from, to)| Change::Cut(from, to)),
        (place(), place(), place(), place()).prop_map(|(a, b, c, d)| Change::Graft(a, b, c, d)),
        (place(), prop::collection::vec(byte, 1..8)).prop_map(|(at, b)| Change::Insert(at, b)),
    ]
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>, others: &[(PathBuf, Vec<u8>)]) {
        let range = |from: &Index, to: &Index, length: usize| {
            let (from, to) = (from.index(length + 1), to.index(length + 1));
            from.min(to)..from.max(to)
        };
        let length = bytes.len();
        match self {
            Self::Byte(_, _) if length == 0 => {}
            Self::Byte(at, byte) => bytes[at.index(length)] = *byte,
            Self::Cut(from, to) => drop(bytes.drain(range(from, to, length))),
            Self::Graft(at, other, from, to) => {
                let other = &other.get(others).1;
                let piece = other[range(from, to, other.len())].to_vec();
                let at = at.index(length + 1);
                bytes.splice(at..at, piece);
            }
            Self::Insert(at, piece) => {
                let at = at.index(length + 1);
                bytes.splice(at..at, piece.iter().copied());
            }
        }
        bytes.truncate(BYTES_MAX);
    }
}

/// The property over changes of the saved inputs.
fn changed(target: &str, cases: u32, holds: fn(&[u8]) -> bool) {
    let inputs = inputs(target);
    let strategy = (any::<Index>(), prop::collection::vec(change(), 1..6));
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let tried = runner.run(&strategy, |(start, changes)| {
        let mut bytes = start.get(&inputs).1.clone();
        for change in &changes {
            change.apply(&mut bytes, &inputs);
        }
        let outcome = std::panic::catch_unwind(|| holds(&bytes));
        prop_assert!(outcome.is_ok(), "{:?}", String::from_utf8_lossy(&bytes));
        Ok(())
    });
    tried.unwrap();
}

#[test]
fn saved_claims_hold() {
    saved("claims", properties::claims::holds);
}

#[test]
fn saved_fields_hold() {
    saved("guard", properties::guard::holds);
}

#[test]
fn saved_key_sets_hold() {
    saved("jwks", properties::jwks::holds);
}

#[test]
fn saved_paths_hold() {
    saved("path", properties::path::holds);
}

#[test]
fn saved_tokens_hold() {
    saved("token", properties::token::holds);
}

#[test]
fn changed_claims_hold() {
    changed("claims", 4096, properties::claims::holds);
}

#[test]
fn changed_fields_hold() {
    changed("guard", 4096, properties::guard::holds);
}

#[test]
fn changed_key_sets_hold() {
    changed("jwks", 1024, properties::jwks::holds);
}

#[test]
fn changed_paths_hold() {
    changed("path", 8192, properties::path::holds);
}

#[test]
fn changed_tokens_hold() {
    changed("token", 2048, properties::token::holds);
}
