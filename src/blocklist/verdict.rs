//! What the entries that were found mean for one token (design: "What an entry means").

use std::str::FromStr as _;

use crate::store::{self, Hit, Hits, Place, Record};
use crate::time::UnixTime;
use crate::token::{Kind, Lookup};

/// Whether a token stands on the blocklist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It does not.
    Clear,
    /// It does, because of this.
    Revoked(Cause),
}

/// Why a token is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// An entry of this kind.
    Entry(Kind),
    /// A key that another application wrote (`extra_keys`).
    Extra,
    /// Entries were lost, and `on_loss = "refuse-older"` refuses tokens from before.
    OlderThanLoss,
    /// A key exists whose value cannot be read: on doubt, refuse.
    Unreadable,
}

impl Cause {
    /// One word from a fixed list, for log lines and metric labels.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Entry(Kind::Client) => "revoked_client",
            Self::Entry(Kind::Issuer) => "revoked_issuer",
            Self::Entry(Kind::Jti) => "revoked_jti",
            Self::Entry(Kind::Kid) => "revoked_kid",
            Self::Entry(Kind::Sid) => "revoked_sid",
            Self::Entry(Kind::Sub) => "revoked_sub",
            Self::Entry(Kind::Token) => "revoked_token",
            Self::Extra => "revoked_extra_key",
            Self::OlderThanLoss => "older_than_loss",
            Self::Unreadable => "revoked_unreadable",
        }
    }
}

/// The blocklist could not be asked. What follows is the policy's word: 503, unless
/// `on_unreachable = "allow"`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the blocklist cannot be asked: {reason}")]
pub struct Unavailable {
    /// Why.
    #[from]
    #[source]
    pub reason: store::Error,
}

/// The first hit that refuses the token, with its cause.
pub(super) fn refusing<'a>(lookup: &Lookup, hits: &'a Hits) -> Option<(Cause, &'a Hit)> {
    let Hits::Some(hits) = hits else { return None };
    hits.iter().find_map(|hit| Some((cause(lookup, hit)?, hit)))
}

fn cause(lookup: &Lookup, hit: &Hit) -> Option<Cause> {
    let refuses = match hit.place {
        Place::Extra(_) | Place::Undated(_) | Place::Unknown => true,
        Place::Dated(_) => {
            is_refused_by_date(lookup.issued_at, issued_before(hit.value.as_deref()))
        }
    };
    refuses.then(|| cause_at(lookup, hit.place))
}

/// What an entry that refuses the token is called, by its place.
pub(super) fn cause_at(lookup: &Lookup, place: Place) -> Cause {
    match place {
        Place::Extra(_) => Cause::Extra,
        Place::Unknown => Cause::Unreadable,
        Place::Undated(i) => kind_cause(lookup.undated.get(i).map_or("", |s| s)),
        Place::Dated(i) => kind_cause(lookup.dated.get(i).map_or("", |s| s)),
    }
}

fn kind_cause(suffix: &str) -> Cause {
    let kind = suffix.split_once(':').and_then(|(kind, _)| Kind::from_str(kind).ok());
    kind.map_or(Cause::Unreadable, Cause::Entry)
}

/// The date in a dated entry's value; `None` when there is no readable one.
pub(super) fn issued_before(value: Option<&[u8]>) -> Option<i64> {
    value.and_then(Record::parse).and_then(|record| record.issued_before)
}

/// `iat <= issued_before`; an absent `iat` and an entry without a readable date refuse.
pub(super) fn is_refused_by_date(issued_at: Option<UnixTime>, issued_before: Option<i64>) -> bool {
    match (issued_at, issued_before) {
        (Some(issued_at), Some(issued_before)) => issued_at.seconds() <= issued_before,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lookup(issued_at: Option<i64>) -> Lookup {
        Lookup::new(
            vec!["jti:i:1".into()],
            vec!["sub:i:alice".into()],
            vec!["blacklist:1".into()],
            issued_at.map(UnixTime),
            UnixTime(1000),
        )
    }

    fn verdict(issued_at: Option<i64>, place: Place, value: Option<&str>) -> Option<Cause> {
        let hit = Hit { place, value: value.map(|v| v.as_bytes().to_vec()) };
        refusing(&lookup(issued_at), &Hits::Some(vec![hit])).map(|(cause, _)| cause)
    }

    /// Design section 6, "What an entry means", and "a value does not parse: refuse".
    #[test]
    fn a_dated_entry_refuses_what_was_issued_up_to_its_second() {
        let at_100 = Some(r#"{"reason":"","by":"","at":1,"issued_before":100}"#);
        let sub = Some(Cause::Entry(Kind::Sub));
        let dated = Place::Dated(0);
        for (issued_at, value, expected) in [
            (Some(99), at_100, sub),
            (Some(100), at_100, sub),
            (Some(101), at_100, None),
            (None, at_100, sub),
            (Some(101), Some("{}"), sub),
            (Some(101), Some(r#"{"issued_before":null}"#), sub),
            (Some(101), Some(r#"{"issued_before":"100"}"#), sub),
            (Some(101), Some(r#"{"issued_before":100.5}"#), sub),
            (Some(101), Some(r#"{"issued_before":1e400}"#), sub),
            (Some(101), Some(""), sub),
            (Some(101), Some("\u{0}"), sub),
            (Some(101), None, sub),
        ] {
            assert_eq!(verdict(issued_at, dated, value), expected, "{issued_at:?} {value:?}");
        }
    }

    #[test]
    fn any_other_entry_refuses_by_being_there() {
        for (place, expected) in [
            (Place::Undated(0), Cause::Entry(Kind::Jti)),
            (Place::Undated(7), Cause::Unreadable),
            (Place::Extra(0), Cause::Extra),
            (Place::Unknown, Cause::Unreadable),
        ] {
            assert_eq!(verdict(Some(i64::MAX), place, Some("nonsense")), Some(expected));
            assert_eq!(verdict(Some(i64::MAX), place, None), Some(expected));
        }
        assert_eq!(refusing(&lookup(None), &Hits::None), None);
    }
}
