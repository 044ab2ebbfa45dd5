//! Rates as they are written: `"5/15m"` is five in fifteen minutes.

use std::num::NonZeroU32;
use std::time::Duration;

use serde::Deserialize;

use super::duration;
use super::scalar::Scalar;

/// The longest window a limit may have: longer ones would be held in memory for a month.
const WINDOW_MAX: Duration = Duration::from_secs(31 * 24 * 3600);

/// So many in so long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Scalar")]
pub struct Rate {
    /// How many are let through in one window.
    pub count: NonZeroU32,
    /// The window; never zero, at most 31 days.
    pub per: Duration,
}

impl Rate {
    /// A default of `count` a minute.
    pub(super) const fn per_minute(count: NonZeroU32) -> Self {
        Self { count, per: Duration::from_secs(60) }
    }
}

impl TryFrom<Scalar> for Rate {
    type Error = String;

    fn try_from(scalar: Scalar) -> Result<Self, String> {
        let text = scalar.text("a rate such as \"5/15m\"")?;
        let refuse = |why: &str| {
            format!("{text:?} {why}\nwrite a count and a window: \"5/15m\", \"100/1s\"")
        };
        let (count, window) = text.split_once('/').ok_or_else(|| refuse("is not a rate"))?;
        let count = count.trim().parse::<u32>().map_err(|_| refuse("is not a rate"))?;
        let count = NonZeroU32::new(count)
            .ok_or_else(|| refuse("lets nothing through; the count is above zero"))?;
        let per = duration::parse(window.trim()).map_err(|_| refuse("is not a rate"))?;
        if per.is_zero() {
            return Err(refuse("has no window; it is above zero"));
        }
        if per > WINDOW_MAX {
            return Err(refuse("has too long a window; at most 31 days"));
        }
        Ok(Self { count, per })
    }
}
