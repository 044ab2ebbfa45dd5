//! `[store]`.

use std::ops::Range;
use std::time::Duration;

use toml::Spanned;

use super::super::Config;
use super::super::problem::{Problem, Problems};
use super::super::store::{Store, StoreUrl};
use super::SecretKeys;

/// The longest that one request may wait for the store.
const TIMEOUT_MAX: Duration = Duration::from_secs(60);

pub(super) fn validate(config: &Config, problems: &mut Problems) {
    let store = &config.store;
    if store.timeout.get_ref().get() > TIMEOUT_MAX {
        problems.push(Problem::at(store.timeout.span(), "timeout is longer than a minute"));
    }
    let prefix = store.prefix.get_ref();
    // `{` and `}` would choose the slot of every key in Redis Cluster.
    let legal = |c: char| c.is_ascii_graphic() && !"{}*?[]\\".contains(c);
    if prefix.is_empty() || prefix.len() > 128 || !prefix.chars().all(legal) {
        problems.push(
            Problem::at(store.prefix.span(), "prefix is not what a key can begin with")
                .help("write 1 to 128 visible characters without {}*?[]\\, as in \"postern:\""),
        );
    }
    SecretKeys {
        stem: "password",
        file: &store.password_file,
        env: &store.password_env,
        command: &store.password_command,
    }
    .validate(problems);
    SecretKeys {
        stem: "sentinel_password",
        file: &store.sentinel_password_file,
        env: &store.sentinel_password_env,
        command: &store.sentinel_password_command,
    }
    .validate(problems);
    unused(config, problems);
}

/// Keys that belong to another kind of store.
fn unused(config: &Config, problems: &mut Problems) {
    let store = &config.store;
    let certificate = store.client_cert.as_ref().map(Spanned::span);
    let key = store.client_key.as_ref().map(Spanned::span);
    match (&certificate, &key) {
        (Some(span), None) => {
            problems.push(Problem::at(span.clone(), "client_cert needs its client_key"));
        }
        (None, Some(span)) => {
            problems.push(Problem::at(span.clone(), "client_key needs its client_cert"));
        }
        (None, None) | (Some(_), Some(_)) => {}
    }
    let url = store.url.get_ref();
    if !url.is_tls() {
        for span in [store.ca.as_ref().map(Spanned::span), certificate, key].into_iter().flatten() {
            problems.push(
                Problem::at(span, "this has no effect: the store is not reached over TLS")
                    .help("write url = \"rediss://HOST:6379/0\""),
            );
        }
    }
    if !matches!(url, StoreUrl::Sentinel { .. }) {
        for span in of_sentinels(store) {
            problems.push(
                Problem::at(span, "this has no effect: no sentinels are asked")
                    .help("write url = \"redis-sentinel://H1,H2,H3/SERVICE/0\", or leave it out"),
            );
        }
    }
    if matches!(url, StoreUrl::Embedded { .. }) {
        let username = (!store.username.get_ref().is_empty()).then(|| store.username.span());
        let password = [
            store.password_file.as_ref().map(Spanned::span),
            store.password_env.as_ref().map(Spanned::span),
            store.password_command.as_ref().map(Spanned::span),
        ];
        let replicas = store.wait_replicas.as_ref().filter(|n| *n.get_ref() > 0);
        let replicas = replicas.map(Spanned::span);
        for span in password.into_iter().chain([username, replicas]).flatten() {
            problems.push(
                Problem::at(span, "this has no effect: the store is embedded")
                    .help("write url = \"redis://HOST:6379/0\", or leave it out"),
            );
        }
    }
}

/// Where the sentinels' own user and password are written.
fn of_sentinels(store: &Store) -> impl Iterator<Item = Range<usize>> {
    let name = &store.sentinel_username;
    let written = [
        (!name.get_ref().is_empty()).then(|| name.span()),
        store.sentinel_password_file.as_ref().map(Spanned::span),
        store.sentinel_password_env.as_ref().map(Spanned::span),
        store.sentinel_password_command.as_ref().map(Spanned::span),
    ];
    written.into_iter().flatten()
}
