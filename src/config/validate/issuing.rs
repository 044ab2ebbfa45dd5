//! `[issuing]`.

use std::time::Duration;

use toml::Spanned;

use super::super::Config;
use super::super::duration::Period;
use super::super::issuing::Issuing;
use super::super::problem::{Problem, Problems};
use super::super::shape::Declared;
use super::super::store::StoreUrl;
use super::{SecretKeys, distinct, signing_keys};

/// The longest grace: long enough for a retry over a bad line, too short for a thief's convenience.
const GRACE_MAX: (Duration, &str) = (Duration::from_secs(60), "a minute");
/// The longest that an access token lives: until then only the blocklist ends it.
const ACCESS_MAX: (Duration, &str) = (Duration::from_secs(24 * 3600), "a day");
/// The longest that a login may be renewed.
const LOGIN_MAX: (Duration, &str) = (Duration::from_secs(366 * 24 * 3600), "366 days");

pub(super) fn validate(config: &Config, declared: &Declared, problems: &mut Problems) {
    let Some(placed) = &config.issuing else { return };
    let issuing = placed.get_ref();
    if issuing.audiences.is_empty() {
        let span = issuing.audiences.span();
        problems.push(Problem::at(span, "audiences is an empty list: nobody could take a token"));
    }
    distinct(issuing.audiences.spanned(), "this audience is listed twice", problems);
    client_id(issuing, problems);
    lifetimes(issuing, problems);
    limits(issuing, problems);
    keys(placed, declared, problems);
    somebody(placed, declared, problems);
    others(config, issuing, problems);
    store(config, placed, problems);
    cookies(issuing, declared, problems);
}

/// RFC 6749 §A.1; and no client can take the name of accounts' tokens for its own.
fn client_id(issuing: &Issuing, problems: &mut Problems) {
    let id = &issuing.client_id.get_ref().0;
    if id.len() > 128 || !id.chars().all(|c| c.is_ascii_graphic()) {
        problems.push(
            Problem::at(issuing.client_id.span(), "this is no client id")
                .help("write 1 to 128 visible ASCII characters"),
        );
    }
}

fn lifetimes(issuing: &Issuing, problems: &mut Problems) {
    let at_most = |name: &str, period: &Spanned<Period>, (most, words): (Duration, &str)| {
        (period.get_ref().get() > most)
            .then(|| Problem::at(period.span(), format!("{name} is longer than {words}")))
    };
    let whole = |name: &str, period: &Spanned<Period>| {
        (period.get_ref().get().subsec_nanos() != 0).then(|| {
            Problem::at(period.span(), format!("{name} is not in whole seconds"))
                .help("times in tokens are whole seconds")
        })
    };
    let not_above = |(name, a): (&str, &Spanned<Period>), (other, b): (&str, &Spanned<Period>)| {
        (a.get_ref() > b.get_ref()).then(|| {
            // Of the two, the one that stands in the file.
            let span = if a.span().is_empty() { b.span() } else { a.span() };
            Problem::at(span, format!("{name} is longer than {other}"))
        })
    };
    let access = ("access_lifetime", &issuing.access_lifetime);
    let idle = ("refresh_idle", &issuing.refresh_idle);
    let login = ("refresh_lifetime", &issuing.refresh_lifetime);
    let grace = ("refresh_grace", &issuing.refresh_grace);
    let found = [
        at_most(access.0, access.1, ACCESS_MAX),
        at_most(login.0, login.1, LOGIN_MAX),
        at_most(grace.0, grace.1, GRACE_MAX),
        not_above(access, idle),
        not_above(idle, login),
        not_above(grace, access),
        whole(access.0, access.1),
        whole(idle.0, idle.1),
        whole(login.0, login.1),
        whole(grace.0, grace.1),
    ];
    found.into_iter().flatten().for_each(|problem| problems.push(problem));
}

fn limits(issuing: &Issuing, problems: &mut Problems) {
    for limit in &issuing.refresh_limits {
        let by = &limit.get_ref().by;
        if by.get_ref().account {
            problems.push(
                Problem::at(by.span(), "refresh_limits count by client: no account is named there")
                    .help("write by = \"client\""),
            );
        }
    }
}

fn keys(placed: &Spanned<Issuing>, declared: &Declared, problems: &mut Problems) {
    let issuing = placed.get_ref();
    // One that could not be read has been told.
    if !declared.issuing_keys {
        problems.push(
            Problem::at(placed.span(), "[issuing] has no key to sign with")
                .help("write [[issuing.keys]]; `postern keys generate` makes one"),
        );
    }
    signing_keys::validate(&issuing.keys, "issuing", problems);
    if let Some(place) = signing_keys::mixed(&issuing.keys) {
        problems.push(
            Problem::at(place, "HMAC and public-key algorithms never share an issuer's keys")
                .help("change over at once: logins go on, access tokens are made anew"),
        );
    }
}

/// Tokens are for accounts, or for clients; those without a grant ask about tokens, or revoke them.
fn somebody(placed: &Spanned<Issuing>, declared: &Declared, problems: &mut Problems) {
    if placed.get_ref().users.is_none() && !declared.clients {
        problems.push(
            Problem::at(placed.span(), "[issuing] issues to nobody: nobody can log in").help(
                "write [issuing.users] with one of file, sql and upstream: file = \"users\" is \
                 made by `postern user add`; or [[clients]], for tokens of programs alone",
            ),
        );
    }
}

/// Nobody else makes tokens with our `iss`: what Postern revokes, and renews, is all of them.
fn others(config: &Config, issuing: &Issuing, problems: &mut Problems) {
    for placed in &config.issuers {
        let issuer = &placed.get_ref().issuer;
        if issuer.get_ref().on().is_some_and(|text| text.0 == issuing.issuer.get_ref().0) {
            problems.push(
                Problem::at(issuer.span(), "[issuing] issues with this `issuer` already")
                    .help("leave the entry out: routes take tokens of the issuer \"local\""),
            );
        }
    }
}

/// Cookies need a secret, and somebody who can log in.
fn cookies(issuing: &Issuing, declared: &Declared, problems: &mut Problems) {
    let Some(placed) = &issuing.cookies else { return };
    let cookies = placed.get_ref();
    SecretKeys {
        stem: "cookie_secret",
        file: &cookies.cookie_secret_file,
        env: &cookies.cookie_secret_env,
        command: &cookies.cookie_secret_command,
    }
    .validate(problems);
    if cookies.cookie_secret().is_none() {
        problems.push(
            Problem::at(placed.span(), "[issuing.cookies] has no secret for its CSRF tokens").help(
                "write cookie_secret_file = \"FILE\": 32 random bytes or more, the same on \
                       every gateway",
            ),
        );
    }
    // Without clients there is nobody at all, which has been said.
    if issuing.users.is_none() && declared.clients {
        problems.push(
            Problem::at(placed.span(), "[issuing.cookies] has no effect: nobody can log in")
                .help("write [issuing.users], or leave the section out"),
        );
    }
}

/// A login and the revocations that are asked about in the same step must be in one place.
fn store(config: &Config, placed: &Spanned<Issuing>, problems: &mut Problems) {
    if matches!(config.store.url.get_ref(), StoreUrl::Cluster { .. }) {
        problems.push(
            Problem::at(placed.span(), "[issuing] is not offered with a Redis Cluster")
                .help("keep logins in a Redis behind sentinels, or in one server"),
        );
    }
}
