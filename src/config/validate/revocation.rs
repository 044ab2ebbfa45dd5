//! `[revocation]`.

use std::time::Duration;

use super::super::Config;
use super::super::problem::{Problem, Problems};
use super::super::revocation::{Check, TemplatePart};
use super::super::store::StoreUrl;

/// Below this the pauses of an ordinary network and of a busy machine would count as outages.
const STALENESS_MIN: Duration = Duration::from_millis(250);
/// Above this a local copy is no answer any more.
const STALENESS_MAX: Duration = Duration::from_secs(60);
/// Entries of about fifty bytes each.
const ENTRIES_MAX: u32 = 20_000_000;

/// `check = "off"` is the operator's to choose, but nothing at run time would say what it costs.
pub(super) fn warn(config: &Config, warnings: &mut Problems) {
    let check = &config.revocation.check;
    if *check.get_ref() != Check::Off {
        return;
    }
    let message = if config.issuing.is_some() {
        "[revocation] check is off: after a logout or a revocation the access token works until it \
         expires; only the next refresh is refused"
    } else {
        "[revocation] check is off: a revoked token works until it expires"
    };
    let warning = Problem::at(check.span(), message);
    warnings.push(warning.help("write check = \"every-request\", or leave it out"));
}

pub(super) fn validate(config: &Config, problems: &mut Problems) {
    let revocation = &config.revocation;
    let staleness = revocation.max_staleness.get_ref().get();
    if !(STALENESS_MIN..=STALENESS_MAX).contains(&staleness) {
        let place = revocation.max_staleness.span();
        problems.push(Problem::at(place, "max_staleness is between 250ms and 1m"));
    }
    if revocation.max_entries.get_ref().get() > ENTRIES_MAX {
        let place = revocation.max_entries.span();
        problems.push(Problem::at(place, format!("max_entries is at most {ENTRIES_MAX}")));
    }
    if *revocation.check.get_ref() != Check::Tracked {
        return;
    }
    if matches!(config.store.url.get_ref(), StoreUrl::Cluster { .. }) {
        problems.push(
            Problem::at(
                revocation.check.span(),
                "a local copy of a Redis Cluster is not offered: each of its nodes reports its own \
                 changes only",
            )
            .help("write check = \"every-request\", or name one Redis or its sentinels"),
        );
    }
    for template in revocation.extra_keys.spanned() {
        if !matches!(template.get_ref().parts().first(), Some(TemplatePart::Literal(_))) {
            problems.push(
                Problem::at(
                    template.span(),
                    "with check = \"tracked\" a key must begin with text: Redis would otherwise \
                     report every key that anybody writes",
                )
                .help("write a key such as \"blacklist:{jti}\", or check = \"every-request\""),
            );
        }
    }
}
