//! `[upstreams.NAME.assertion]`.

use std::time::Duration;

use http::HeaderName;
use toml::Spanned;

use super::super::Config;
use super::super::assertion::Assertion;
use super::super::claim::ClaimPath;
use super::super::problem::{Problem, Problems};
use super::{identity, signing_keys};

/// How long an assertion may live. Below the least it would be over before a slow upstream looks
/// at it, for it is used again until half of its life is left.
const TTL: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(60));

/// Claims that the gateway writes.
const OWN: [&str; 9] = ["aud", "exp", "iat", "iss", "jti", "nbf", "route", "sub", "sub_id"];

/// Claims that would make it another kind of token: an ID token, a logout token or security event,
/// an introspection answer, a token with a key or an actor of its own.
const FOREIGN: [&str; 9] = [
    "act",
    "at_hash",
    "c_hash",
    "cnf",
    "events",
    "may_act",
    "nonce",
    "s_hash",
    "token_introspection",
];

/// `has_keys`: whether keys are written, readable or not.
pub(super) fn validate(
    config: &Config,
    placed: &Spanned<Assertion>,
    has_keys: bool,
    problems: &mut Problems,
) {
    let assertion = placed.get_ref();
    header(&assertion.header, problems);
    issuer(config, placed, problems);
    audience(config, assertion, problems);
    let ttl = assertion.ttl.get_ref().get();
    if !(TTL.0..=TTL.1).contains(&ttl) || ttl.subsec_nanos() != 0 {
        problems.push(
            Problem::at(assertion.ttl.span(), "ttl is between 5s and 60s, in whole seconds")
                .help("it is made anew in time; what is let on is checked on every request"),
        );
    }
    claims(assertion, problems);
    if !has_keys {
        problems
            .push(Problem::at(placed.span(), "the assertion has no key to sign with").help(
                "write [[upstreams.NAME.assertion.keys]]; `postern keys generate` makes one",
            ));
    }
    signing_keys::validate(&assertion.keys, "assertion", problems);
    if let Some(place) = signing_keys::mixed(&assertion.keys) {
        problems.push(
            Problem::at(place, "HMAC and public-key algorithms never share an assertion's keys")
                .help("let the upstream expect one of them, and change over at once"),
        );
    }
}

fn header(header: &Spanned<String>, problems: &mut Problems) {
    const OWN_NAME: &str = "choose a name of its own, such as X-Postern-Assertion";
    let text = header.get_ref();
    let Ok(name) = text.parse::<HeaderName>() else {
        problems.push(Problem::at(header.span(), format!("{text:?} is not a header name")));
        return;
    };
    if identity::NEVER.contains(&name.as_str()) {
        problems.push(
            Problem::at(header.span(), format!("`{text}` cannot carry an assertion"))
                .help(OWN_NAME),
        );
    }
    if name.as_str().contains('_') {
        problems.push(
            Problem::at(header.span(), format!("`{text}` has an underscore"))
                .help("write `-`: most servers take the two for the same"),
        );
    }
}

/// Who says so: a name that is this gateway's own.
fn issuer(config: &Config, placed: &Spanned<Assertion>, problems: &mut Problems) {
    let assertion = placed.get_ref();
    let place = assertion.issuer.as_ref().map_or_else(|| placed.span(), Spanned::span);
    let Some(issuer) = assertion.issuer_or(config.listen.public_url.get_ref().origin()) else {
        problems.push(
            Problem::at(place, "the assertion has no issuer: [listen] public_url is not set")
                .help("write issuer = \"https://api.example.com\" here, or public_url there"),
        );
        return;
    };
    let is_ours = |text: &str| text == issuer;
    for other in &config.issuers {
        if other.get_ref().issuer.get_ref().on().is_some_and(|text| is_ours(&text.0)) {
            let name = other.get_ref().name.get_ref();
            let message = format!("{issuer:?} is the issuer of [[issuers]] {name:?}");
            problems.push(Problem::at(place.clone(), message).help(
                "write issuer = \"...\" with a name of this gateway's own: nobody else makes these",
            ));
        }
    }
}

/// Where access tokens are taken, those of logins or of a client, an assertion must not be.
fn audience(config: &Config, assertion: &Assertion, problems: &mut Problems) {
    let Some(issuing) = &config.issuing else { return };
    let audience = &assertion.audience.get_ref().0;
    let place = || assertion.audience.span();
    let help = "give the upstream a name of its own, such as \"https://orders.internal\"";
    if issuing.get_ref().audiences.iter().any(|other| other.0 == *audience) {
        let message = "[issuing] access tokens have this audience";
        problems.push(Problem::at(place(), message).help(help));
    }
    for client in config.clients.iter().map(Spanned::get_ref) {
        let mut audiences = client.audiences.iter().flat_map(|audiences| audiences.iter());
        if audiences.any(|other| other.0 == *audience) {
            let id = &client.id.get_ref().0;
            let message = format!("access tokens of the client {id:?} have this audience");
            problems.push(Problem::at(place(), message).help(help));
        }
    }
}

fn claims(assertion: &Assertion, problems: &mut Problems) {
    let mut seen: Vec<String> = Vec::new();
    for claim in assertion.claims.spanned() {
        let Some(name) = name(claim.get_ref()) else {
            problems.push(
                Problem::at(claim.span(), "this JSON Pointer ends in no name")
                    .help("the claim is called like the pointer's last step: \"/org/id\" is `id`"),
            );
            continue;
        };
        if OWN.contains(&name.as_str()) {
            problems.push(
                Problem::at(claim.span(), format!("the gateway itself writes `{name}`"))
                    .help("leave it out"),
            );
        } else if FOREIGN.contains(&name.as_str()) {
            problems.push(
                Problem::at(claim.span(), format!("`{name}` would make it another kind of token"))
                    .help("leave it out"),
            );
        } else if seen.contains(&name) {
            problems.push(Problem::at(claim.span(), format!("there are two claims `{name}`")));
        }
        seen.push(name);
    }
}

/// What the claim is called in the assertion: its own name, or the last step of a pointer.
fn name(claim: &ClaimPath) -> Option<String> {
    let path = crate::token::ClaimPath::parse(claim.as_str()).ok()?;
    let name = path.tokens().last()?;
    let is_name = !name.is_empty() && !name.chars().all(|c| c.is_ascii_digit());
    is_name.then(|| name.clone())
}
