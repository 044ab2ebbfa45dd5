//! Revocations as operators speak of them.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use percent_encoding::percent_decode_str;
use serde::Serialize;

use crate::store::{self, Entry};
use crate::time::UnixTime;
use crate::token::{Kind, Selector};

/// Longest claim value and issuer (design: "a claim over 1 KiB is refused").
const VALUE_BYTES_MAX: usize = 1024;
/// Longest reason and longest name of who revokes.
const TEXT_BYTES_MAX: usize = 1024;

/// What to revoke, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// Which tokens.
    pub selector: Selector,
    /// When the entry may be forgotten.
    pub end: End,
    /// Up to when the tokens were issued that are refused (`sub`, `client`: always; others: never).
    pub issued_before: Option<IssuedBefore>,
    /// Why, in the operator's words.
    pub reason: String,
    /// Who revokes.
    pub by: String,
}

/// The last `iat` that an entry refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IssuedBefore {
    /// This second.
    At(UnixTime),
    /// The moment of the revocation by the store's clock in whole seconds, and this much later:
    /// an issuer whose clock is ahead has dated a token from before so.
    Now {
        /// What the issuer's clock may be ahead.
        leeway: Duration,
    },
}

/// The end of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// At this second: the token's `exp` plus leeway.
    At(UnixTime),
    /// After this time from now.
    For(Duration),
    /// Without end.
    Never,
}

/// Why a revocation did not take effect everywhere.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RevokeError {
    /// The token has expired, leeway included: it is refused anyway.
    #[error("it has expired already")]
    AlreadyOver,
    /// The revocation makes no sense.
    #[error("{0}")]
    Invalid(&'static str),
    /// The store did not confirm it. It may hold it nevertheless, and after
    /// [`store::Error::NotReplicated`] it does.
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// Why entries could not be listed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ListError {
    /// `after` is none of our cursors.
    #[error("after is not a cursor of an earlier answer")]
    Cursor,
    /// The store did not answer.
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// An entry as the admin API shows it. Times are Unix seconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Item {
    /// Names the entry in `DELETE /revocations/{id}`.
    pub id: String,
    /// `jti`, `sub` ...
    pub kind: &'static str,
    /// The claim's value; `sha256.` and hex for a long one; empty for an issuer.
    pub value: String,
    /// The issuer; empty for a token's digest.
    pub issuer: String,
    /// Tokens issued up to this second are refused.
    pub issued_before: Option<i64>,
    /// When the entry ends; `null` is never.
    pub expires: Option<i64>,
    /// Why.
    pub reason: String,
    /// Who revoked.
    pub by: String,
    /// When it was revoked.
    pub at: i64,
}

/// One page of items.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Items {
    /// The entries, in no stated order.
    pub items: Vec<Item>,
    /// Hand this in as `after` to read on; `null` at the end.
    pub next: Option<String>,
}

impl Item {
    /// Says in the application log that it was revoked: by which logout token, on which request,
    /// if by one.
    pub fn log(&self, jti: Option<&str>, request_id: Option<&str>) {
        tracing::info!(
            id = self.id,
            kind = self.kind,
            value = self.value,
            issuer = self.issuer,
            issued_before = self.issued_before,
            expires = self.expires,
            by = self.by,
            reason = self.reason,
            jti,
            request_id,
            "revoked"
        );
    }
}

impl Revocation {
    /// Whether it makes sense, whatever the store says.
    pub(super) fn validate(&self) -> Result<(), RevokeError> {
        let Selector { kind, issuer, value } = &self.selector;
        let is_digest =
            value.len() == 64 && value.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let fault = if issuer.len() > VALUE_BYTES_MAX || value.len() > VALUE_BYTES_MAX {
            Some("a value over 1 KiB")
        } else if *kind == Kind::Token && !is_digest {
            Some("a token is named by 64 lower-case hexadecimal digits")
        } else if *kind != Kind::Token && issuer.is_empty() {
            Some("the issuer is missing")
        } else if *kind != Kind::Issuer && value.is_empty() {
            Some("the value is missing")
        } else if self.issued_before.is_some() != kind.is_dated() {
            Some("issued_before belongs to sub and client, and to no other")
        } else if self.reason.len() > TEXT_BYTES_MAX || self.by.len() > TEXT_BYTES_MAX {
            Some("a text over 1 KiB")
        } else {
            None
        };
        fault.map_or(Ok(()), |fault| Err(RevokeError::Invalid(fault)))
    }

    /// How long the entry must live; `None` is without end.
    pub(super) fn time_to_live(&self, now: UnixTime) -> Result<Option<Duration>, RevokeError> {
        match self.end {
            End::Never => Ok(None),
            End::At(end) if end <= now => Err(RevokeError::AlreadyOver),
            End::At(end) => Ok(Some(end.since(now))),
            End::For(span) if span.is_zero() => Err(RevokeError::Invalid("no time at all")),
            // Whole seconds, upwards: an entry must not end before it was asked to.
            End::For(span) => {
                let up = u64::from(span.subsec_nanos() > 0);
                Ok(Some(Duration::from_secs(span.as_secs().saturating_add(up))))
            }
        }
    }
}

impl Item {
    /// `None` for a name that is none of ours: others may have written into the index.
    #[must_use]
    pub fn of(entry: &Entry) -> Option<Self> {
        let (kind, rest) = entry.suffix.split_once(':')?;
        let kind: Kind = kind.parse().ok()?;
        let (issuer, value) = match kind {
            Kind::Issuer => (rest, ""),
            Kind::Token => ("", rest),
            Kind::Client | Kind::Jti | Kind::Kid | Kind::Sid | Kind::Sub => rest.split_once(':')?,
        };
        Some(Self {
            id: URL_SAFE_NO_PAD.encode(&entry.suffix),
            kind: kind.as_str(),
            value: decoded(value),
            issuer: decoded(issuer),
            issued_before: entry.record.issued_before,
            expires: entry.expires,
            reason: entry.record.reason.clone(),
            by: entry.record.by.clone(),
            at: entry.record.at,
        })
    }
}

fn decoded(component: &str) -> String {
    percent_decode_str(component).decode_utf8_lossy().into_owned()
}

/// The store's cursor, wrapped so that it travels in a URL.
pub(super) fn wrap_cursor(cursor: &str) -> String {
    URL_SAFE_NO_PAD.encode(cursor)
}

pub(super) fn unwrap_cursor(after: &str) -> Option<String> {
    String::from_utf8(URL_SAFE_NO_PAD.decode(after).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::store::Record;

    fn entry(suffix: String) -> Entry {
        let (reason, by) = (String::new(), String::new());
        Entry { suffix, record: Record { reason, by, at: 0, issued_before: None }, expires: None }
    }

    proptest! {
        /// R46: whatever a claim holds, it is shown as it was, under an id that leads back to it.
        #[test]
        fn an_item_shows_what_was_revoked(
            issuer in ".{1,40}",
            value in ".{1,40}",
            kind in "client|issuer|jti|kid|sid|sub|token",
        ) {
            let kind: Kind = kind.parse().unwrap();
            let value = match kind {
                Kind::Issuer => String::new(),
                Kind::Token => crate::token::sha256_hex(value.as_bytes()),
                _ => value,
            };
            let selector = Selector { kind, issuer: issuer.clone(), value: value.clone() };
            let entry = entry(selector.suffix());
            let item = Item::of(&entry).unwrap();
            prop_assert_eq!(Selector::suffix_of_id(&item.id), Some(entry.suffix));
            prop_assert_eq!(item.kind, kind.as_str());
            if !item.value.starts_with("sha256.") {
                prop_assert_eq!(item.value, value);
            }
            if kind != Kind::Token && !item.issuer.starts_with("sha256.") {
                prop_assert_eq!(item.issuer, issuer);
            }
        }
    }

    #[test]
    fn foreign_names_in_the_index_are_not_shown() {
        for suffix in ["", "jti", "jti:i", "what:i:1", "generation"] {
            let record =
                Record { reason: String::new(), by: String::new(), at: 0, issued_before: None };
            let entry = Entry { suffix: suffix.to_owned(), record, expires: None };
            assert_eq!(Item::of(&entry), None, "{suffix}");
        }
    }
}
