//! Time as a value. Everything that decides takes `now` as a parameter; only the edge of the
//! program (a request arriving, a command starting) reads the clock.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Seconds since 1970-01-01T00:00:00Z, leap seconds ignored (RFC 7519 §2 "NumericDate", whole
/// seconds: fractions in a token are cut off downwards).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixTime(pub i64);

impl UnixTime {
    /// The system clock. A clock before 1970 reads as 1970: every token is then "issued in the
    /// future" and refused, which is the safe side.
    #[must_use]
    #[allow(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
    pub fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Self(i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
    }

    /// Whole seconds since the epoch.
    #[must_use]
    pub const fn seconds(self) -> i64 {
        self.0
    }

    /// This instant plus `span` (whole seconds, rounded down), stopping at the end of time.
    #[must_use]
    pub fn plus(self, span: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(span.as_secs()).unwrap_or(i64::MAX)))
    }

    /// This instant minus `span` (whole seconds, rounded down), stopping at the beginning of time.
    #[must_use]
    pub fn minus(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(span.as_secs()).unwrap_or(i64::MAX)))
    }

    /// Seconds from `earlier` until this instant; zero when `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_secs(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

/// A point on a clock that is never set: milliseconds since some start. On Linux it goes on while
/// the machine is suspended, so that nothing stays young by sleeping.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(pub u64);

impl Moment {
    /// The clock.
    #[must_use]
    #[cfg(target_os = "linux")]
    pub fn now() -> Self {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let (seconds, nanoseconds) = (time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs());
        Self(seconds.saturating_mul(1000).saturating_add(nanoseconds / 1_000_000))
    }

    /// The clock.
    #[must_use]
    #[cfg(not(target_os = "linux"))]
    pub fn now() -> Self {
        use std::sync::LazyLock;
        static START: LazyLock<std::time::Instant> = LazyLock::new(std::time::Instant::now);
        Self(u64::try_from(START.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    /// This moment plus `span`, in whole milliseconds, rounded down.
    #[must_use]
    pub fn plus(self, span: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(span.as_millis()).unwrap_or(u64::MAX)))
    }

    /// The time from `earlier` until this moment; zero when `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_saturates_instead_of_wrapping() {
        assert_eq!(UnixTime(i64::MAX).plus(Duration::from_secs(1)), UnixTime(i64::MAX));
        assert_eq!(UnixTime(i64::MIN).minus(Duration::from_secs(1)), UnixTime(i64::MIN));
        assert_eq!(UnixTime(5).since(UnixTime(9)), Duration::ZERO);
        assert_eq!(UnixTime(9).since(UnixTime(5)), Duration::from_secs(4));
    }
}
