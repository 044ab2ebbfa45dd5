//! `[store]` → the store's settings, its files and secrets read.

use std::ops::Range;
use std::path::PathBuf;

use crate::blocklist::tracked::Limits;
use crate::config::{
    Config, Environment, OnLoss, Problem, Problems, SecretSource, Source, Spanned, StoreHost,
    StoreUrl,
};
use crate::secret::Secret;
use crate::store::{Address, Host, Settings};
use crate::{blocklist, config};

/// Builds the settings.
///
/// # Errors
///
/// Files and secrets that cannot be read.
pub fn settings(
    config: &Config,
    source: &Source,
    environment: Environment<'_>,
) -> Result<Settings, Problems> {
    let raw = &config.store;
    let mut problems = Problems::new();
    let (address, db) = match raw.url.get_ref() {
        StoreUrl::Embedded { dir } => (Address::Embedded { dir: source.resolve(dir) }, 0),
        StoreUrl::Redis { host, port, db, tls } => {
            (Address::Tcp { host: host.clone(), port: *port, tls: *tls }, *db)
        }
        StoreUrl::Unix { path, db } => (Address::Unix { path: path.clone() }, *db),
        StoreUrl::Sentinel { sentinels, service, db, tls } => {
            let sentinels = hosts(sentinels);
            (Address::Sentinel { sentinels, service: service.clone(), tls: *tls }, *db)
        }
        StoreUrl::Cluster { seeds, tls } => {
            (Address::Cluster { seeds: hosts(seeds), tls: *tls }, 0)
        }
    };
    let mut settings = Settings::new(address);
    settings.db = i64::from(db);
    settings.timeout = raw.timeout.get_ref().get();
    settings.prefix.clone_from(raw.prefix.get_ref());
    settings.wait_replicas = u32::from(raw.replicas());
    settings.username = named(&raw.username);
    let mut secret = |stem: &str, from: Option<SecretSource>, place: Range<usize>| {
        let read = password(stem, from?, source, environment);
        read.map_err(|message| problems.push(Problem::at(place, message))).ok()
    };
    settings.password = secret("password", raw.password(), raw.password_place());
    settings.sentinel_username = named(&raw.sentinel_username);
    let (of_sentinels, place) = (raw.sentinel_password(), raw.sentinel_password_place());
    settings.sentinel_password = secret("sentinel_password", of_sentinels, place);
    settings.ca = read(raw.ca.as_ref(), source, &mut problems);
    settings.client_cert = read(raw.client_cert.as_ref(), source, &mut problems);
    if let Some(key) = &raw.client_key
        && let Err(error) = config::check_key_permissions(&source.resolve(key.get_ref()))
    {
        problems.push(Problem::at(key.span(), error.to_string()));
    }
    settings.client_key = read(raw.client_key.as_ref(), source, &mut problems).map(Secret::new);
    if problems.is_empty() { Ok(settings) } else { Err(problems) }
}

fn hosts(written: &[StoreHost]) -> Vec<Host> {
    written.iter().map(|host| Host { name: host.host.clone(), port: host.port }).collect()
}

fn named(username: &Spanned<String>) -> Option<String> {
    let username = username.get_ref();
    (!username.is_empty()).then(|| username.clone())
}

fn password(
    stem: &str,
    from: SecretSource,
    source: &Source,
    environment: Environment<'_>,
) -> Result<Secret<String>, String> {
    let bytes =
        from.read(source.dir(), environment).map_err(|error| format!("[store] {stem}: {error}"))?;
    String::from_utf8(bytes.expose().clone())
        .map(Secret::new)
        .map_err(|_| format!("[store] the {stem} is not text"))
}

/// `[revocation] check` and what belongs to it.
#[must_use]
pub fn check(config: &Config) -> blocklist::Check {
    let revocation = &config.revocation;
    match revocation.check.get_ref() {
        config::Check::EveryRequest => blocklist::Check::EveryRequest,
        config::Check::Off => blocklist::Check::Off,
        config::Check::Tracked => {
            let templates = revocation.extra_keys.spanned();
            let mut heads: Vec<String> = templates
                .filter_map(|template| match template.get_ref().parts().first() {
                    Some(config::TemplatePart::Literal(head)) => Some(head.clone()),
                    _ => None,
                })
                .collect();
            heads.sort_unstable();
            heads.dedup();
            let max_entries = revocation.max_entries.get_ref().get();
            let limits = Limits {
                max_staleness: revocation.max_staleness.get_ref().get(),
                max_entries: usize::try_from(max_entries).unwrap_or(usize::MAX),
            };
            blocklist::Check::Tracked { limits, heads }
        }
    }
}

/// `[revocation] on_loss`.
#[must_use]
pub fn on_loss(config: &Config) -> blocklist::OnLoss {
    match config.revocation.on_loss.get_ref() {
        OnLoss::Remember => blocklist::OnLoss::Remember,
        OnLoss::RefuseOlder => blocklist::OnLoss::RefuseOlder,
    }
}

fn read(
    file: Option<&Spanned<PathBuf>>,
    source: &Source,
    problems: &mut Problems,
) -> Option<Vec<u8>> {
    let file = file?;
    let path = source.resolve(file.get_ref());
    std::fs::read(&path)
        .map_err(|error| {
            let message = format!("{} cannot be read: {error}", path.display());
            problems.push(Problem::at(file.span(), message));
        })
        .ok()
}
