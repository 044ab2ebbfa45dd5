//! Lengths of time as they are written: `"250ms"`, `"15m"`, `"24h"`.

use std::time::Duration;

use serde::Deserialize;

use super::scalar::Scalar;

/// The longest period that is taken for meant: ten years.
const PERIOD_MAX: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// The longest text handed to the parser: long enough for anything below [`PERIOD_MAX`], too short
/// for the sums that would overflow `Duration`.
const TEXT_BYTES_MAX: usize = 20;

/// The most that clocks may differ (design: leeway "at most 60s").
const LEEWAY_MAX: Duration = Duration::from_secs(60);

/// The longest that an answer about a token is used again.
const REUSE_MAX: Duration = Duration::from_secs(3600);

/// A length of time above zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "Scalar")]
pub struct Period(Duration);

impl Period {
    /// A default of this many milliseconds.
    pub(super) const fn milliseconds(count: u64) -> Self {
        Self(Duration::from_millis(count))
    }

    /// A default of this many seconds.
    pub(super) const fn seconds(count: u64) -> Self {
        Self(Duration::from_secs(count))
    }

    /// The length; never zero.
    #[must_use]
    pub const fn get(self) -> Duration {
        self.0
    }
}

impl TryFrom<Scalar> for Period {
    type Error = String;

    fn try_from(scalar: Scalar) -> Result<Self, String> {
        let text = written(scalar)?;
        let period = parse(&text)?;
        if period.is_zero() {
            return Err(format!("{text:?} is no time at all; a duration is above zero"));
        }
        Ok(Self(period))
    }
}

/// How far the clocks of issuer and gateway may be apart: zero to sixty seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Scalar")]
pub struct Leeway(Duration);

impl Leeway {
    /// The contract's default, 30 s.
    pub(super) const DEFAULT: Self = Self(Duration::from_secs(30));

    /// The length; at most sixty seconds.
    #[must_use]
    pub const fn get(self) -> Duration {
        self.0
    }
}

impl TryFrom<Scalar> for Leeway {
    type Error = String;

    fn try_from(scalar: Scalar) -> Result<Self, String> {
        let text = written(scalar)?;
        let leeway = parse(&text)?;
        if leeway > LEEWAY_MAX {
            return Err(format!(
                "a leeway of {text:?} is too long; at most 60s\n\
                 a longer one keeps expired tokens alive: correct the clocks instead"
            ));
        }
        if leeway.subsec_nanos() != 0 {
            return Err(format!("a leeway of {text:?} is not in whole seconds"));
        }
        Ok(Self(leeway))
    }
}

/// How long an answer about a token is used again: zero to one hour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Scalar")]
pub struct Reuse(Duration);

impl Reuse {
    /// The contract's default: each request asks.
    pub(super) const NEVER: Self = Self(Duration::ZERO);

    /// The length; at most an hour.
    #[must_use]
    pub const fn get(self) -> Duration {
        self.0
    }
}

impl TryFrom<Scalar> for Reuse {
    type Error = String;

    fn try_from(scalar: Scalar) -> Result<Self, String> {
        let text = written(scalar)?;
        let reuse = parse(&text)?;
        if reuse > REUSE_MAX {
            return Err(format!(
                "a cache of {text:?} is too long; at most 1h\n\
                 a token that the provider has revoked passes for as long as the cache holds it"
            ));
        }
        Ok(Self(reuse))
    }
}

/// The text of a duration; a bare number is refused because its unit would be a guess.
pub(super) fn written(scalar: Scalar) -> Result<String, String> {
    match scalar {
        Scalar::Integer(number) => Err(format!(
            "a duration needs a unit, found the number {number}\nwrite \"{}s\" for seconds",
            number.unsigned_abs()
        )),
        other => other.text("a duration such as \"30s\""),
    }
}

/// Reads `text`, which may be zero.
pub(super) fn parse(text: &str) -> Result<Duration, String> {
    let parsed = (text.len() <= TEXT_BYTES_MAX).then(|| humantime::parse_duration(text));
    match parsed {
        Some(Ok(period)) if period <= PERIOD_MAX => Ok(period),
        Some(Ok(_)) => Err(format!("{text:?} is too long; at most ten years")),
        Some(Err(_)) | None => Err(format!(
            "{text:?} is not a duration\nwrite a number and a unit: \"250ms\", \"30s\", \"15m\", \
             \"24h\", \"7d\""
        )),
    }
}
