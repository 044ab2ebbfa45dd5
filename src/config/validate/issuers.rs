//! `[[issuers]]`.

use std::collections::BTreeSet;

use toml::Spanned;

use super::super::issuer::{Issuer, Key};
use super::super::list::ListOrOff;
use super::super::problem::{Problem, Problems};
use super::super::scalar::OrOff;
use super::{SecretKeys, distinct, label, providers, unique};

pub(super) fn validate(issuers: &[Spanned<Issuer>], problems: &mut Problems) {
    unique(issuers.iter().map(|issuer| &issuer.get_ref().name), "another issuer", problems);
    for placed in issuers {
        let issuer = placed.get_ref();
        label(&issuer.name, "an issuer's name", problems);
        if issuer.name.get_ref() == "local" {
            problems.push(Problem::at(
                issuer.name.span(),
                "`local` is the name of the issuer that Postern itself is: see [issuing]",
            ));
        }
        if let ListOrOff::On(audiences) = &issuer.audiences {
            if audiences.is_empty() {
                problems.push(
                    Problem::at(
                        audiences.span(),
                        "audiences is an empty list: no token could pass",
                    )
                    .help("name the audiences, or write \"off\" for tokens without aud"),
                );
            }
            distinct(audiences.spanned(), "this audience is listed twice", problems);
        }
        if !issuer.introspects() {
            algorithms(placed, problems);
            keys(issuer, problems);
        }
        providers::validate(placed, problems);
        if let OrOff::On(lifetime) = issuer.max_lifetime.get_ref()
            && let OrOff::On(age) = issuer.max_age.get_ref()
            && age > lifetime
        {
            problems.push(Problem::at(
                issuer.max_age.span(),
                "max_age is longer than max_lifetime, and so has no effect",
            ));
        }
    }
}

fn algorithms(placed: &Spanned<Issuer>, problems: &mut Problems) {
    let issuer = placed.get_ref();
    distinct(issuer.algorithms.spanned(), "this algorithm is listed twice", problems);
    if issuer.algorithms.is_empty() {
        let problem = match issuer.algorithms.span() {
            nowhere if nowhere.is_empty() => {
                Problem::at(placed.span(), "`algorithms` is missing in [[issuers]]")
            }
            span => Problem::at(span, "algorithms is an empty list: no token could pass"),
        };
        let help = "write the algorithms that this issuer signs with, as in [\"RS256\"]";
        problems.push(problem.help(help));
    }
    let mut hmac = issuer.algorithms.spanned().filter(|a| a.get_ref().is_hmac());
    if let Some(first) = hmac.next()
        && issuer.algorithms.iter().any(|algorithm| !algorithm.is_hmac())
    {
        // The entry in which a public key could be taken for a secret (R3).
        problems.push(
            Problem::at(first.span(), "HMAC and public-key algorithms never share an entry")
                .help("write two entries; both may name the same issuer"),
        );
    }
}

fn keys(issuer: &Issuer, problems: &mut Problems) {
    let mut kids = BTreeSet::new();
    for key in &issuer.keys {
        let span = key.span();
        let key = key.get_ref();
        if let Some(kid) = &key.kid {
            let text = kid.get_ref();
            if text.is_empty() || text.len() > 1024 || text.chars().any(char::is_control) {
                problems.push(Problem::at(kid.span(), "this is no key id"));
            }
            if !kids.insert(text) {
                let message = format!("another key of this issuer has the kid {text:?}");
                problems.push(Problem::at(kid.span(), message));
            }
        }
        if !issuer.algorithms.iter().any(|algorithm| algorithm == key.algorithm.get_ref()) {
            problems.push(
                Problem::at(
                    key.algorithm.span(),
                    format!(
                        "{} is not among the entry's algorithms",
                        key.algorithm.get_ref().as_str()
                    ),
                )
                .help("add it to algorithms, or correct the key"),
            );
        }
        SecretKeys {
            stem: "secret",
            file: &key.secret_file,
            env: &key.secret_env,
            command: &key.secret_command,
        }
        .validate(problems);
        if let Some(problem) = material(key) {
            problems.push(Problem { span: Some(span), ..problem });
        }
    }
}

/// A secret for HMAC, a public key for everything else, never both (R3).
fn material(key: &Key) -> Option<Problem> {
    let algorithm = key.algorithm.get_ref().as_str();
    let hmac = key.algorithm.get_ref().is_hmac();
    match (key.secret().is_some(), key.public_key_file.is_some()) {
        (true, true) => Some(Problem::new("a key is either secret or public, not both")),
        (false, false) if hmac => Some(
            Problem::new(format!("this {algorithm} key has no secret"))
                .help("write secret_file, secret_env or secret_command"),
        ),
        (false, false) => Some(
            Problem::new(format!("this {algorithm} key has no public key"))
                .help("write public_key_file = \"FILE\""),
        ),
        (true, false) if !hmac => Some(
            Problem::new(format!("{algorithm} is verified with a public key, not with a secret"))
                .help("write public_key_file = \"FILE\""),
        ),
        (false, true) if hmac => Some(
            Problem::new(format!("{algorithm} is verified with a secret, not with a public key"))
                .help("write secret_file, secret_env or secret_command"),
        ),
        (true, false) | (false, true) => None,
    }
}
