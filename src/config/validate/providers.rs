//! What of `[[issuers]]` concerns the provider: where its keys are, how often they are fetched, and
//! whom to ask about opaque tokens.

use std::ops::Range;
use std::time::Duration;

use toml::Spanned;
use url::Url;

use super::super::duration::Period;
use super::super::issuer::Issuer;
use super::super::problem::{Problem, Problems};
use super::super::provider::{ProviderUrl, TokenType, provider_url};
use super::super::scalar::OrOff;
use super::{SecretKeys, distinct};

/// The shortest time between two fetches: below it a gateway is a burden to its provider.
const FETCH_INTERVAL_MIN: Duration = Duration::from_secs(1);

/// The longest time between two fetches: so long does a key that the provider took back verify on.
const REFRESH_MAX: Duration = Duration::from_secs(24 * 3600);

/// One exchange with a provider.
const TIMEOUT_MIN: Duration = Duration::from_millis(50);
const TIMEOUT_MAX: Duration = Duration::from_secs(60);

/// A key of the file, and where it is written; `None` when it is not.
type Written = (&'static str, Option<Range<usize>>);

pub(super) fn validate(issuer: &Spanned<Issuer>, problems: &mut Problems) {
    let span = issuer.span();
    let issuer = issuer.get_ref();
    if issuer.introspects() {
        introspection(issuer, span, problems);
    } else {
        sources(issuer, span, problems);
        token_type(issuer, problems);
        misplaced(&of_introspection(issuer), problems, |key| {
            let other = if key == "url" { "jwks_url, or " } else { "" };
            Problem::new(format!("`{key}` belongs to an entry that is introspected"))
                .help(format!("write {other}kind = \"introspection\", or leave it out"))
        });
        if issuer.fetches() {
            fetched(issuer, problems);
        } else {
            let idle = of_fetching(issuer).into_iter().chain(of_reaching(issuer));
            misplaced(&idle.collect::<Vec<_>>(), problems, |key| {
                Problem::new(format!("`{key}` has no effect: no key of this entry is fetched"))
                    .help("write jwks_url or discovery = true, or leave it out")
            });
        }
    }
    distinct(issuer.jwks_hosts.spanned(), "this host is listed twice", problems);
    distinct(issuer.provider_addresses.spanned(), "this network is listed twice", problems);
}

/// Exactly one place for the keys, besides those that are listed one by one.
fn sources(issuer: &Issuer, span: Range<usize>, problems: &mut Problems) {
    let given = [
        issuer.jwks_url.as_ref().map(Spanned::span),
        issuer.discovery.get_ref().then(|| issuer.discovery.span()),
        issuer.jwks_file.as_ref().map(Spanned::span),
    ];
    let mut given = given.into_iter().flatten();
    let first = given.next();
    if let Some(second) = given.next() {
        problems.push(
            Problem::at(second, "give one of jwks_url, discovery and jwks_file, not several")
                .help("write a second entry for keys from a second place"),
        );
    }
    if first.is_none() && issuer.keys.is_empty() {
        problems.push(Problem::at(span, format!("issuer `{}` has no key", issuer.name)).help(
            "write jwks_url = \"https://...\", discovery = true, jwks_file = \"FILE\", or a \
                 key in [[issuers.keys]]",
        ));
    }
}

/// RFC 9068 §2.2 requires `iss` and `aud`.
fn token_type(issuer: &Issuer, problems: &mut Problems) {
    let is_off = *issuer.issuer.get_ref() == OrOff::Off || issuer.audiences.is_off();
    if is_off && *issuer.token_type.get_ref() == TokenType::AtJwt {
        problems.push(
            Problem::at(issuer.token_type.span(), "an at+jwt token has both iss and aud")
                .help("write the issuer and the audiences, or token_type = \"any\""),
        );
    }
}

/// An entry whose keys are fetched.
fn fetched(issuer: &Issuer, problems: &mut Problems) {
    // R3: what a URL serves is known to whoever can read it.
    if let Some(hmac) = issuer.algorithms.spanned().find(|algorithm| algorithm.get_ref().is_hmac())
    {
        let name = hmac.get_ref().as_str();
        problems.push(
            Problem::at(hmac.span(), format!("{name} in an entry whose keys are fetched"))
                .help("a shared secret never comes from a URL: write an entry with a secret_file"),
        );
    }
    if *issuer.discovery.get_ref() {
        discovered(issuer, problems);
    } else if !issuer.jwks_hosts.is_empty() {
        problems.push(
            Problem::at(issuer.jwks_hosts.span(), "`jwks_hosts` has no effect without discovery")
                .help("leave it out: jwks_url names its host"),
        );
    }
    idle_ca(issuer, issuer.jwks_url.as_ref(), problems);
    schedule(issuer, problems);
    timeout(issuer, problems);
}

/// OpenID Connect Discovery 1.0 §4.1, RFC 8414 §2: the issuer is a URL without query and fragment.
fn discovered(issuer: &Issuer, problems: &mut Problems) {
    let place = issuer.issuer.span();
    let url = match issuer.issuer.get_ref() {
        OrOff::Off => {
            problems.push(
                Problem::at(place, "discovery needs the issuer's URL")
                    .help("write issuer = \"https://...\", as the provider's tokens name it"),
            );
            return;
        }
        OrOff::On(text) => provider_url(&text.0),
    };
    let message = match url.as_ref().map(Url::query) {
        Ok(None) => return,
        Ok(Some(_)) => "the URL has a query\nwrite jwks_url instead of discovery",
        Err(message) => message,
    };
    let (message, help) = message.split_once('\n').unwrap_or((message, ""));
    let problem = Problem::at(place, format!("discovery cannot start at this issuer: {message}"));
    problems.push(if help.is_empty() { problem } else { problem.help(help) });
}

/// How often, and how long afterwards.
fn schedule(issuer: &Issuer, problems: &mut Problems) {
    let (refresh, max_stale) = (&issuer.refresh, &issuer.max_stale);
    for (name, period) in [("refresh", refresh), ("cooldown", &issuer.cooldown)] {
        if period.get_ref().get() < FETCH_INTERVAL_MIN {
            problems.push(Problem::at(period.span(), format!("{name} is shorter than a second")));
        }
        if period.get_ref().get() > REFRESH_MAX {
            problems.push(Problem::at(period.span(), format!("{name} is longer than a day")));
        }
    }
    if max_stale.get_ref() < refresh.get_ref() {
        let place = [max_stale, refresh].into_iter().map(Spanned::span).find(|s| !s.is_empty());
        problems.push(
            Problem::at(place.unwrap_or_default(), "max_stale is shorter than refresh")
                .help("keys would run out between two fetches: write a shorter refresh"),
        );
    }
}

fn timeout(issuer: &Issuer, problems: &mut Problems) {
    let timeout: &Spanned<Period> = &issuer.timeout;
    if !(TIMEOUT_MIN..=TIMEOUT_MAX).contains(&timeout.get_ref().get()) {
        problems.push(Problem::at(timeout.span(), "timeout is not between 50ms and 1m"));
    }
}

/// An entry that asks the provider about each token.
fn introspection(issuer: &Issuer, span: Range<usize>, problems: &mut Problems) {
    misplaced(&of_signatures(issuer), problems, |key| {
        Problem::new(format!("`{key}` belongs to tokens that are verified by a signature"))
            .help("leave it out: here the provider is asked about each token")
    });
    let missing = [
        ("url", issuer.url.is_none(), "write url = \"https://...\", the introspection endpoint"),
        ("client_id", issuer.client_id.is_none(), "write the gateway's client id at the provider"),
        (
            "client_secret_file",
            issuer.client_secret().is_none(),
            "write client_secret_file, client_secret_env or client_secret_command",
        ),
    ];
    for (key, _, help) in missing.into_iter().filter(|(_, is_missing, _)| *is_missing) {
        let message = format!("`{key}` is missing: issuer `{}` is introspected", issuer.name);
        problems.push(Problem::at(span.clone(), message).help(help));
    }
    SecretKeys {
        stem: "client_secret",
        file: &issuer.client_secret_file,
        env: &issuer.client_secret_env,
        command: &issuer.client_secret_command,
    }
    .validate(problems);
    idle_ca(issuer, issuer.url.as_ref(), problems);
    timeout(issuer, problems);
}

/// As for upstreams: a `ca` that nothing is checked against looks like protection.
fn idle_ca(issuer: &Issuer, url: Option<&Spanned<ProviderUrl>>, problems: &mut Problems) {
    if let Some(ca) = &issuer.ca
        && url.is_some_and(|url| url.get_ref().0.scheme() == "http")
    {
        problems.push(
            Problem::at(ca.span(), "`ca` has no effect: the provider is not reached over TLS")
                .help("write an https:// URL, or leave it out"),
        );
    }
}

/// Points at each key that is written where it does nothing.
fn misplaced(keys: &[Written], problems: &mut Problems, problem: impl Fn(&str) -> Problem) {
    for (key, span) in keys {
        if let Some(span) = span {
            problems.push(Problem { span: Some(span.clone()), ..problem(key) });
        }
    }
}

/// The place of a value that has a default; `None` when it is the default's.
fn written<T>(value: &Spanned<T>) -> Option<Range<usize>> {
    Some(value.span()).filter(|span| !span.is_empty())
}

fn of_signatures(issuer: &Issuer) -> Vec<Written> {
    let mut keys = vec![
        ("algorithms", Some(issuer.algorithms.span()).filter(|span| !span.is_empty())),
        ("jwks_file", issuer.jwks_file.as_ref().map(Spanned::span)),
        ("jwks_url", issuer.jwks_url.as_ref().map(Spanned::span)),
        ("discovery", written(&issuer.discovery)),
        ("token_type", written(&issuer.token_type)),
        ("keys", issuer.keys.first().map(Spanned::span)),
    ];
    keys.extend(of_fetching(issuer));
    keys
}

fn of_fetching(issuer: &Issuer) -> [Written; 5] {
    [
        ("jwks_hosts", Some(issuer.jwks_hosts.span()).filter(|span| !span.is_empty())),
        ("refresh", written(&issuer.refresh)),
        ("cooldown", written(&issuer.cooldown)),
        ("max_stale", written(&issuer.max_stale)),
        ("required", written(&issuer.required)),
    ]
}

fn of_reaching(issuer: &Issuer) -> [Written; 3] {
    [
        (
            "provider_addresses",
            Some(issuer.provider_addresses.span()).filter(|span| !span.is_empty()),
        ),
        ("ca", issuer.ca.as_ref().map(Spanned::span)),
        ("timeout", written(&issuer.timeout)),
    ]
}

fn of_introspection(issuer: &Issuer) -> [Written; 7] {
    [
        ("url", issuer.url.as_ref().map(Spanned::span)),
        ("client_id", issuer.client_id.as_ref().map(Spanned::span)),
        ("client_secret_file", issuer.client_secret_file.as_ref().map(Spanned::span)),
        ("client_secret_env", issuer.client_secret_env.as_ref().map(Spanned::span)),
        ("client_secret_command", issuer.client_secret_command.as_ref().map(Spanned::span)),
        ("client_auth", written(&issuer.client_auth)),
        ("cache", written(&issuer.cache)),
    ]
}
