//! The providers: their keys, and their word on a token that belongs to nobody.

use std::sync::Arc;

use super::{Found, Probe, probe};
use crate::auth::VerificationKey;
use crate::policy::Snapshot;
use crate::policy::provider::KeySource;
use crate::provider::document::fetch_keys;
use crate::provider::introspection::try_out;

/// Keys that are named one by one.
const NAMED_MAX: usize = 8;

pub(super) fn probes(snapshot: &Snapshot) -> Vec<Probe> {
    let sources = snapshot.key_sources.iter().map(|source| {
        let source = source.clone();
        probe("keys", &*source.entry.clone(), keys(source))
    });
    let asked = snapshot.introspections.iter().map(|asked| {
        let asked = asked.clone();
        probe("introspection", &*asked.entry.clone(), async move {
            match try_out(&asked).await {
                Ok(()) => Found::good("the endpoint takes the client and knows no made-up token"),
                Err(error) => Found::failed(error),
            }
        })
    });
    sources.chain(asked).collect()
}

async fn keys(source: Arc<KeySource>) -> Found {
    match fetch_keys(&source).await {
        Ok(published) => {
            let count = published.keys.len();
            let plural = if count == 1 { "" } else { "s" };
            let mut words = format!("{count} key{plural}: {}", named(&published.keys));
            if let Some(max_age) = published.max_age {
                words.push_str(&format!(", to be used for {}s", max_age.as_secs()));
            }
            Found::with_warnings(words, &published.notes)
        }
        Err(error) => Found::failed(error),
    }
}

fn named(keys: &[VerificationKey]) -> String {
    let name = |key: &VerificationKey| {
        let kid: String = key.kid().unwrap_or("no kid").chars().take(40).collect();
        format!("{} {}", key.algorithm(), kid.escape_default())
    };
    let mut names: Vec<String> = keys.iter().take(NAMED_MAX).map(name).collect();
    if keys.len() > NAMED_MAX {
        names.push("...".to_owned());
    }
    names.join(", ")
}
