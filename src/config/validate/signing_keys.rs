//! Keys that sign: `[[issuing.keys]]`, and those of an upstream's assertion.

use std::collections::BTreeSet;

use toml::Spanned;

use super::super::issuing::{IssuingKey, SigningAlgorithm};
use super::super::problem::{Problem, Problems};
use super::SecretKeys;

/// Judges each key, and that every kid names one. `of` is what they sign: "issuing", "assertion".
pub(super) fn validate(keys: &[Spanned<IssuingKey>], of: &str, problems: &mut Problems) {
    let mut kids = BTreeSet::new();
    for placed in keys {
        let key = placed.get_ref();
        let kid = key.kid.get_ref();
        if kid.is_empty() || kid.len() > 1024 || kid.chars().any(char::is_control) {
            problems.push(Problem::at(key.kid.span(), "this is no key id"));
        }
        if !kids.insert(kid) {
            let message = format!("another {of} key has the kid {kid:?}");
            problems.push(Problem::at(key.kid.span(), message));
        }
        one(placed, problems);
    }
}

/// The algorithm of the first HMAC key among keys that are not all HMAC (R3).
pub(super) fn mixed(keys: &[Spanned<IssuingKey>]) -> Option<std::ops::Range<usize>> {
    let is_hmac = |key: &&Spanned<IssuingKey>| key.get_ref().algorithm.get_ref().is_hmac();
    let first = keys.iter().find(is_hmac)?;
    let mixed = !keys.iter().all(|key| is_hmac(&key));
    mixed.then(|| first.get_ref().algorithm.span())
}

fn one(placed: &Spanned<IssuingKey>, problems: &mut Problems) {
    let key = placed.get_ref();
    let algorithm = key.algorithm.get_ref();
    if !algorithm.is_offered() {
        problems.push(
            Problem::at(key.algorithm.span(), format!("{} is not issued", algorithm.as_str()))
                .help(SigningAlgorithm::HELP),
        );
    }
    SecretKeys {
        stem: "private_key",
        file: &key.private_key_file,
        env: &key.private_key_env,
        command: &key.private_key_command,
    }
    .validate(problems);
    SecretKeys {
        stem: "secret",
        file: &key.secret_file,
        env: &key.secret_env,
        command: &key.secret_command,
    }
    .validate(problems);
    let (name, hmac) = (algorithm.as_str(), algorithm.is_hmac());
    let wanted = if hmac { "secret_file" } else { "private_key_file" };
    let message = match (key.private_key().is_some(), key.secret().is_some()) {
        (true, true) => "a key is either private or a shared secret, not both".to_owned(),
        (false, false) => format!("this {name} key has nothing to sign with"),
        (true, false) if hmac => format!("{name} signs with a secret, not with a private key"),
        (false, true) if !hmac => format!("{name} signs with a private key, not with a secret"),
        (true, false) | (false, true) => return,
    };
    let help = format!("write {wanted} = \"FILE\"");
    problems.push(Problem::at(placed.span(), message).help(help));
}
