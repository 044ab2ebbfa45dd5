//! Something that begins, goes on for a while and ends: said when it begins and when it is over,
//! however many requests met it.

use std::sync::{Mutex, PoisonError};

use crate::time::UnixTime;

/// Whether it is going on, and since when.
#[derive(Debug, Default)]
pub struct Phase(Mutex<Option<Course>>);

#[derive(Clone, Copy, Debug)]
struct Course {
    since: UnixTime,
    last: UnixTime,
    requests: u64,
}

/// What there is to say of a phase that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Past {
    /// Requests that met it.
    pub requests: u64,
    /// From the first to the last of them, in seconds.
    pub seconds: u64,
}

impl Phase {
    /// A request met it; true when it begins with this one.
    pub fn meet(&self, now: UnixTime) -> bool {
        let mut course = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *course {
            Some(course) => {
                course.last = now.max(course.last);
                course.requests += 1;
                false
            }
            None => {
                *course = Some(Course { since: now, last: now, requests: 1 });
                true
            }
        }
    }

    /// Whether it is going on.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Ends it when no request has met it for `quiet_seconds`.
    pub fn end_if_quiet(&self, quiet_seconds: u64, now: UnixTime) -> Option<Past> {
        let mut course = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let met = (*course)?;
        if now.since(met.last).as_secs() < quiet_seconds {
            return None;
        }
        *course = None;
        Some(Past { requests: met.requests, seconds: met.last.since(met.since).as_secs() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_begins_once_and_ends_once() {
        let phase = Phase::default();
        assert_eq!(phase.end_if_quiet(0, UnixTime(0)), None, "it never began");
        assert!(phase.meet(UnixTime(100)));
        assert!(!phase.meet(UnixTime(107)) && !phase.meet(UnixTime(105)));
        assert_eq!(phase.end_if_quiet(3, UnixTime(109)), None, "two seconds are not three");
        assert!(phase.is_on());
        let past = Past { requests: 3, seconds: 7 };
        assert_eq!(phase.end_if_quiet(3, UnixTime(110)), Some(past));
        assert!(!phase.is_on());
        assert_eq!(phase.end_if_quiet(3, UnixTime(120)), None);
        assert!(phase.meet(UnixTime(121)), "and may begin again");
    }

    /// A clock that is set back neither ends it early nor keeps it for ever.
    #[test]
    fn a_clock_that_leaps_back_does_no_harm() {
        let phase = Phase::default();
        phase.meet(UnixTime(1000));
        assert_eq!(phase.end_if_quiet(3, UnixTime(10)), None);
        assert!(phase.end_if_quiet(3, UnixTime(1003)).is_some());
    }
}
