//! What an answer says about limits: the RateLimit fields of
//! draft-ietf-httpapi-ratelimit-headers-10 and Retry-After.

use std::fmt::Write as _;
use std::time::Duration;

use http::HeaderValue;

use super::limiter::{Decision, Quota};

/// `RateLimit-Policy`: the quotas in force, each `"name";q=5;w=900`. `None` for none.
#[must_use]
pub fn policy_field<'l>(limits: impl IntoIterator<Item = (&'l str, Quota)>) -> Option<HeaderValue> {
    list(limits.into_iter().map(|(name, quota)| {
        format!("{};q={};w={}", quoted(name), quota.count, seconds(quota.per))
    }))
}

/// `RateLimit`: what is left of each, `"name";r=2;t=180`; within `t` seconds another unit comes
/// back. `None` for none.
#[must_use]
pub fn rate_limit_field<'l>(
    decisions: impl IntoIterator<Item = (&'l str, Decision)>,
) -> Option<HeaderValue> {
    list(decisions.into_iter().map(|(name, decision)| {
        format!("{};r={};t={}", quoted(name), decision.remaining, seconds(decision.reset))
    }))
}

/// `Retry-After` in whole seconds, rounded up (RFC 9110 §10.2.3), at least one.
#[must_use]
pub fn retry_after(decision: &Decision) -> HeaderValue {
    HeaderValue::from(seconds(decision.retry_after).max(1))
}

fn seconds(span: Duration) -> u64 {
    span.as_secs().saturating_add(u64::from(span.subsec_nanos() > 0))
}

/// A Structured Field String (RFC 9651 §3.3.3); what it cannot hold becomes `_`.
fn quoted(name: &str) -> String {
    let mut text = String::with_capacity(name.len() + 2);
    text.push('"');
    for character in name.chars() {
        match character {
            '"' | '\\' => {
                text.push('\\');
                text.push(character);
            }
            ' '..='~' => text.push(character),
            _ => text.push('_'),
        }
    }
    text.push('"');
    text
}

fn list(items: impl Iterator<Item = String>) -> Option<HeaderValue> {
    let mut text = String::new();
    for item in items {
        let separator = if text.is_empty() { "" } else { ", " };
        let _ = write!(text, "{separator}{item}");
    }
    if text.is_empty() { None } else { HeaderValue::try_from(text).ok() }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;

    const LOGIN: Quota =
        Quota { count: NonZeroU32::new(5).unwrap(), per: Duration::from_secs(900) };

    fn decision(remaining: u32, reset: Duration) -> Decision {
        Decision { allowed: remaining > 0, limit: 5, remaining, retry_after: reset, reset }
    }

    /// Source: draft-ietf-httpapi-ratelimit-headers-10, the form fixed in the design.
    #[test]
    fn fields_have_the_drafts_form() {
        assert_eq!(policy_field([]), None);
        assert_eq!(rate_limit_field([]), None);
        let policy = policy_field([("login", LOGIN), ("a\"\\é\n", LOGIN)]).unwrap();
        assert_eq!(policy, r#""login";q=5;w=900, "a\"\\__";q=5;w=900"#);
        let left = rate_limit_field([("login", decision(2, Duration::from_secs(180)))]).unwrap();
        assert_eq!(left, r#""login";r=2;t=180"#);
    }

    #[test]
    fn seconds_are_whole_and_rounded_up() {
        for (wait, text) in [
            (Duration::ZERO, "1"),
            (Duration::from_nanos(1), "1"),
            (Duration::from_secs(1), "1"),
            (Duration::from_millis(1001), "2"),
            (Duration::from_secs(179) + Duration::from_nanos(1), "180"),
        ] {
            assert_eq!(retry_after(&decision(0, wait)), text, "{wait:?}");
        }
    }
}
