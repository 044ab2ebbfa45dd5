//! One event as a JSON object: what the log adds to it, and what is hashed.

use std::time::SystemTime;

use serde::Serialize;
use serde_json::{Map, Value};

use super::chain::Key;
use super::event::{Event, Selector};

/// What is written as a hash instead of a value (`[audit] hash`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hashed {
    /// Subjects, also as what a revocation is about.
    pub subject: bool,
    /// Addresses of clients.
    pub address: bool,
}

/// What the log knows of a line.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    pub(super) seq: u64,
    pub(super) at: SystemTime,
    pub(super) gateway: &'a str,
}

#[derive(Serialize)]
struct Line<'a> {
    seq: u64,
    at: String,
    unix: u64,
    gateway: &'a str,
    event: &'static str,
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    selector: Option<SelectorLine>,
    #[serde(flatten)]
    members: &'a Map<String, Value>,
}

#[derive(Serialize)]
struct SelectorLine {
    kind: String,
    value: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
}

/// The object's text, without its code.
pub(super) fn json(event: &Event, place: Place<'_>, key: &Key, hashed: Hashed) -> String {
    let since = place.at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let person = |name: &str, value: &str, hash: bool| {
        if hash { key.hashed(name, value) } else { value.to_owned() }
    };
    let line = Line {
        seq: place.seq,
        at: humantime::format_rfc3339_millis(SystemTime::UNIX_EPOCH + since).to_string(),
        unix: since.as_secs(),
        gateway: place.gateway,
        event: event.kind.as_str(),
        outcome: event.outcome.as_str(),
        subject: event.subject.as_ref().map(|value| person("subject", value, hashed.subject)),
        address: event.address.map(|value| person("address", &value.to_string(), hashed.address)),
        selector: event.selector.as_ref().map(|selector| selector_line(selector, key, hashed)),
        members: &event.members,
    };
    serde_json::to_string(&line).unwrap_or_default()
}

/// An entry's id is its key's name in another alphabet: of a subject's it would tell the subject.
fn selector_line(selector: &Selector, key: &Key, hashed: Hashed) -> SelectorLine {
    let hash = hashed.subject && &*selector.kind == "sub";
    let value = &*selector.value;
    SelectorLine {
        kind: selector.kind.as_ref().to_owned(),
        value: if hash { key.hashed("subject", value) } else { value.to_owned() },
        id: selector.id.as_deref().filter(|_| !hash).map(str::to_owned),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::event::{Kind, Outcome};
    use super::*;
    use crate::secret::Secret;

    fn line(event: &Event, hashed: Hashed) -> String {
        let key = Key::new(&Secret::new(vec![1; 32])).unwrap();
        let at = SystemTime::UNIX_EPOCH + Duration::from_millis(1_763_807_400_123);
        json(event, Place { seq: 7, at, gateway: "g" }, &key, hashed)
    }

    #[test]
    fn a_line_says_who_what_when_and_from_where() {
        let event = Event::new(Kind::Revocation, Outcome::Done)
            .actor("admin")
            .selector("sub", "alice", Some("c3ViOmk6YWxpY2U"))
            .address("192.0.2.1".parse().unwrap())
            .reason("laptop \"stolen\"\nyesterday");
        let plain = line(&event, Hashed::default());
        assert!(
            plain.starts_with(
                "{\"seq\":7,\"at\":\"2025-11-22T10:30:00.123Z\",\"unix\":1763807400,\
                 \"gateway\":\"g\",\"event\":\"revocation\",\"outcome\":\"done\","
            ),
            "{plain}"
        );
        assert!(plain.contains("\"address\":\"192.0.2.1\"") && !plain.contains('\n'), "{plain}");
        let hashed = line(&event, Hashed { subject: true, address: true });
        for person in ["alice", "c3ViOmk6YWxpY2U", "192.0.2.1"] {
            assert!(plain.contains(person) && !hashed.contains(person), "{person}: {hashed}");
        }
        assert!(hashed.contains("\"kind\":\"sub\",\"value\":\"hmac:"), "{hashed}");
    }

    #[test]
    fn what_strangers_send_is_bounded() {
        let long = "ü".repeat(10_000);
        let event = Event::new(Kind::Denial, Outcome::Refused)
            .subject(&long)
            .user_agent(&long)
            .jti(&long)
            .selector("jti", &long, None);
        assert!(line(&event, Hashed::default()).len() < 2000);
    }
}
