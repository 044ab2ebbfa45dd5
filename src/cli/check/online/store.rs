//! The store: whether it answers within its own time limit, as what, and what its settings mean for
//! revocations.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Found, Probe};
use crate::config::{Loaded, Problems};
use crate::run::{environment, store};
use crate::store::{Address, Host, Settings, Store};
use crate::time::UnixTime;

/// How far the store's clock may be from this machine's before it is worth a word: revocations and
/// shared limits go by the one, tokens by the other.
const CLOCK_SKEW_MAX: Duration = Duration::from_secs(5);

pub(super) fn probe(loaded: &Loaded, now: UnixTime) -> Option<Probe> {
    let settings = store::settings(&loaded.config, &loaded.source, &environment);
    let name = settings.as_ref().map_or_else(|_| String::new(), name);
    Some(super::probe("store", name, async move {
        match settings {
            Ok(Settings { address: Address::Embedded { dir }, .. }) => embedded(&dir),
            Ok(settings) => redis(&settings, now).await,
            Err(problems) => Found::failed(unreadable(&problems)),
        }
    }))
}

fn name(settings: &Settings) -> String {
    match &settings.address {
        Address::Embedded { dir } => format!("embedded:{}", dir.display()),
        Address::Tcp { host, port, tls } => {
            format!("{}://{host}:{port}", scheme(*tls))
        }
        Address::Unix { path } => format!("redis+unix://{}", path.display()),
        Address::Sentinel { sentinels, service, tls } => {
            format!("{}-sentinel://{}/{service}", scheme(*tls), list(sentinels))
        }
        Address::Cluster { seeds, tls } => format!("{}-cluster://{}", scheme(*tls), list(seeds)),
    }
}

const fn scheme(tls: bool) -> &'static str {
    if tls { "rediss" } else { "redis" }
}

fn list(hosts: &[Host]) -> String {
    let hosts: Vec<String> = hosts.iter().map(ToString::to_string).collect();
    hosts.join(",")
}

fn unreadable(problems: &Problems) -> String {
    let messages: Vec<&str> =
        problems.sorted().into_iter().map(|problem| problem.message.as_str()).collect();
    messages.join("; ")
}

async fn redis(settings: &Settings, now: UnixTime) -> Found {
    let store = match Store::open(settings) {
        Ok(store) => store,
        Err(error) => return Found::failed(error),
    };
    // Connecting includes authentication and the role; the time is asked of a master only.
    let theirs = match store.time(now).await {
        Ok(time) => time,
        Err(error) => return Found::failed(error),
    };
    let mut warnings = match store.warnings().await {
        Ok(warnings) => warnings,
        Err(error) => return Found::failed(error),
    };
    let ours = UnixTime::now();
    let skew = ours.since(theirs).max(theirs.since(ours));
    if skew > CLOCK_SKEW_MAX {
        warnings.push(format!("its clock is {} s away from this machine's", skew.as_secs()));
    }
    Found::with_warnings(format!("a master, answers within {:?}", settings.timeout), &warnings)
}

/// The file is looked at and not opened as a database: a gateway may be using it, and opening it
/// may change it.
fn embedded(dir: &Path) -> Found {
    if !dir.exists() {
        return match existing(dir).map(std::fs::metadata) {
            Some(Ok(above)) if above.is_dir() && !above.permissions().readonly() => {
                Found::good("will be made at the first start")
            }
            _ => Found::failed("it does not exist and cannot be made there"),
        };
    }
    match std::fs::read_dir(dir) {
        Ok(_) => Found::good("the directory is there"),
        Err(error) => Found::failed(format!("{}: {error}", dir.display())),
    }
}

/// The nearest directory above that exists.
fn existing(dir: &Path) -> Option<PathBuf> {
    let mut above = dir
        .ancestors()
        .skip(1)
        .map(|path| if path.as_os_str().is_empty() { PathBuf::from(".") } else { path.to_owned() });
    above.find(|path| path.exists())
}
