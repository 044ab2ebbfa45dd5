//! What a server's settings mean for revocations.

use redis::Value;

use super::answer;

/// The settings that [`judge`] reads, in its order.
pub(super) const SETTINGS: [&str; 5] =
    ["maxmemory-policy", "maxmemory", "save", "appendonly", "appendfsync"];

/// Words an operator can act on; empty when all is well.
pub(super) fn judge(answers: Vec<Value>) -> Vec<String> {
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
    warnings
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
        "[issuing] {what}: a crash of the store may forget the last logins and refreshes, and those \
         users log in again; set appendonly yes and appendfsync always if that is too much"
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
