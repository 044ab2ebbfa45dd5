//! What a server's settings mean for revocations.

use redis::{Pipeline, Value};

use super::answer;

/// The settings that [`judge`] reads, in its order.
const SETTINGS: [&str; 5] = ["maxmemory-policy", "maxmemory", "save", "appendonly", "appendfsync"];

/// What may happen to a server beside a crash.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// It stands alone, or whoever replaces it is not our business.
    Single,
    /// Sentinels may put a replica in its place.
    Sentinel,
    /// It is one of a cluster's masters.
    Cluster,
}

impl Kind {
    /// The setting that matters to this kind alone.
    const fn own(self) -> Option<&'static str> {
        match self {
            Self::Single => None,
            Self::Sentinel => Some("min-replicas-to-write"),
            Self::Cluster => Some("cluster-allow-reads-when-down"),
        }
    }
}

/// Asks for every setting that [`judge`] reads.
pub(super) fn question(kind: Kind) -> Pipeline {
    let mut pipeline = Pipeline::with_capacity(SETTINGS.len() + 1);
    for name in SETTINGS.into_iter().chain(kind.own()) {
        pipeline.cmd("CONFIG").arg("GET").arg(name);
    }
    pipeline
}

/// Words an operator can act on; empty when all is well.
pub(super) fn judge(kind: Kind, mut answers: Vec<Value>) -> Vec<String> {
    let own = kind.own().and_then(|_| answers.pop()).and_then(setting);
    let settings: Option<Vec<String>> = answers.into_iter().map(setting).collect();
    let Some([policy, memory, save, append, fsync]) =
        settings.and_then(|s| <[String; 5]>::try_from(s).ok())
    else {
        return vec![
            "the store's user may not CONFIG GET: whether entries may be evicted and whether \
             they are persisted could not be checked (grant +config|get)"
                .to_owned(),
        ];
    };
    let mut warnings = Vec::new();
    if policy != "noeviction" && memory != "0" {
        warnings.push(format!(
            "maxmemory-policy is {policy}: under memory pressure the store evicts revocations; \
             set noeviction"
        ));
    }
    if append != "yes" && save.is_empty() {
        warnings.push(
            "the store persists nothing: a restart forgets every revocation; set appendonly yes"
                .to_owned(),
        );
    } else if append != "yes" {
        warnings.push(
            "the store keeps only snapshots: a crash forgets the revocations since the last one; \
             set appendonly yes"
                .to_owned(),
        );
    } else if fsync != "always" {
        warnings.push(format!(
            "appendfsync is {fsync}: a crash of the store's machine may forget the last second's \
             revocations; set always if that is too much"
        ));
    }
    warnings.extend(beside_crashes(kind, own.as_deref()).map(str::to_owned));
    warnings
}

fn beside_crashes(kind: Kind, setting: Option<&str>) -> Option<&'static str> {
    match (kind, setting) {
        (Kind::Sentinel, Some("0")) => Some(
            "min-replicas-to-write is 0: a master that is cut off from its replicas goes on taking \
             writes, which are lost when it comes back; set min-replicas-to-write 1 and \
             min-replicas-max-lag 10",
        ),
        (Kind::Cluster, Some("yes")) => Some(
            "cluster-allow-reads-when-down is yes: a node that is cut off from the cluster goes on \
             answering with what it knew, without the revocations made since; set it to no",
        ),
        _ => None,
    }
}

/// What the same answers mean for logins; empty when all is well, and when they could not be read,
/// which [`judge`] tells.
pub(super) fn judge_issuing(answers: Vec<Value>) -> Vec<String> {
    let settings: Option<Vec<String>> = answers.into_iter().map(setting).collect();
    let Some([.., append, fsync]) = settings.and_then(|s| <[String; 5]>::try_from(s).ok()) else {
        return Vec::new();
    };
    if append == "yes" && fsync == "always" {
        return Vec::new();
    }
    let what = if append == "yes" {
        format!("appendfsync is {fsync}")
    } else {
        "appendonly is no".to_owned()
    };
    vec![format!(
        "[issuing] {what}: a crash of the store may forget the last logins and refreshes, and \
         those users log in again; set appendonly yes and appendfsync always if that is too much"
    )]
}

/// The value in an answer to `CONFIG GET`.
fn setting(answer: Value) -> Option<String> {
    let value = match answer::checked(answer).ok()? {
        Value::Map(members) => members.into_iter().next()?.1,
        Value::Array(items) => items.into_iter().nth(1)?,
        _ => return None,
    };
    String::from_utf8(answer::text(value)?).ok()
}
