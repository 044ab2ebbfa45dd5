//! `login_limits` and `refresh_limits`: how often somebody may try.

use std::num::NonZeroU32;
use std::time::Duration;

use serde::Deserialize;
use toml::Spanned;

use super::super::rate::Rate;
use super::super::route::Count;
use super::super::scalar::Scalar;
use super::super::unplaced;

/// One limit on the issuing endpoints.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IssuingLimit {
    /// What is counted by.
    pub by: Spanned<IssuingLimitKey>,
    /// How many in how long.
    pub rate: Spanned<Rate>,
    /// Which tries count; default all.
    #[serde(default)]
    pub count: Count,
}

/// `"client"`, `"account"`, or both: `"client+account"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Scalar")]
pub struct IssuingLimitKey {
    /// By the client's address (IPv6 by /64).
    pub client: bool,
    /// By the account's name, folded and trimmed.
    pub account: bool,
}

impl TryFrom<Scalar> for IssuingLimitKey {
    type Error = String;

    fn try_from(scalar: Scalar) -> Result<Self, String> {
        let text = scalar.text("what to count by, such as \"client+account\"")?;
        let mut key = Self { client: false, account: false };
        for word in text.split('+') {
            let part = match word {
                "client" => &mut key.client,
                "account" => &mut key.account,
                _ => {
                    return Err(format!(
                        "{text:?} is not what this limit can count by\nwrite client, account or \
                         client+account"
                    ));
                }
            };
            if std::mem::replace(part, true) {
                return Err(format!("{text:?} names a part twice"));
            }
        }
        Ok(key)
    }
}

const CLIENT: IssuingLimitKey = IssuingLimitKey { client: true, account: false };

/// One account cannot be locked out by a stranger's five tries, and one client cannot try
/// everybody.
pub(super) fn login() -> Vec<Spanned<IssuingLimit>> {
    let both = IssuingLimitKey { client: true, account: true };
    let account = IssuingLimitKey { client: false, account: true };
    vec![
        limit(both, (5, 15 * 60), Count::All),
        limit(account, (50, 3600), Count::Failures),
        limit(CLIENT, (100, 3600), Count::Failures),
    ]
}

pub(super) fn refresh() -> Vec<Spanned<IssuingLimit>> {
    vec![limit(CLIENT, (60, 60), Count::Failures)]
}

fn limit(by: IssuingLimitKey, (count, seconds): (u32, u64), which: Count) -> Spanned<IssuingLimit> {
    let count = NonZeroU32::new(count).unwrap_or(NonZeroU32::MIN);
    let rate = Rate { count, per: Duration::from_secs(seconds) };
    unplaced(IssuingLimit { by: unplaced(by), rate: unplaced(rate), count: which })
}
