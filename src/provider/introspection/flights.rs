//! Which questions are under way, and who waits for which: for each token at most one question
//! under way and one that has not begun, which everybody shares who comes meanwhile.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::{Answer, Unavailable};

/// Most tokens about which questions are under way. Requests that hung up leave theirs behind for
/// as long as the exchange takes, so the number of waiting requests does not bound it.
const OPEN_MAX: usize = 10_000;

type Outcome = Option<Result<Answer, Unavailable>>;

/// Where an answer is waited for.
pub(super) type Landing = watch::Receiver<Outcome>;

/// Who will have the answer.
pub(super) type Pilot = watch::Sender<Outcome>;

/// Token → the question after the one that is under way, if anybody waits for it.
#[derive(Default)]
pub(super) struct Flights(Mutex<HashMap<Box<str>, Option<Pilot>>>);

/// One token's questions, one after the other. Dropped, however it ends, the token is free again
/// and whoever waits learns that no answer comes.
pub(super) struct Flight<'f> {
    flights: &'f Flights,
    token: Box<str>,
    pilot: Option<Pilot>,
}

impl Flights {
    /// A place in the next question about this token that has not begun. With the place comes the
    /// pilot's seat when there is none under way: whoever gets it must begin at once. `None` when
    /// too many are under way.
    pub(super) fn board(&self, token: &str) -> Option<(Landing, Option<Pilot>)> {
        let mut open = self.lock();
        if let Some(next) = open.get_mut(token) {
            return Some((next.get_or_insert_with(|| Pilot::new(None)).subscribe(), None));
        }
        if open.len() >= OPEN_MAX {
            return None;
        }
        open.insert(token.into(), None);
        let pilot = Pilot::new(None);
        Some((pilot.subscribe(), Some(pilot)))
    }

    /// Takes off.
    pub(super) const fn begin(&self, token: Box<str>, pilot: Pilot) -> Flight<'_> {
        Flight { flights: self, token, pilot: Some(pilot) }
    }

    /// The map is whole after every single step.
    fn lock(&self) -> MutexGuard<'_, HashMap<Box<str>, Option<Pilot>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Flight<'_> {
    pub(super) fn token(&self) -> &str {
        &self.token
    }

    /// Who waits for the question that is next to be put; `None` when nobody does.
    pub(super) const fn pilot(&self) -> Option<&Pilot> {
        self.pilot.as_ref()
    }

    /// Tells everybody on board.
    pub(super) fn land(&self, outcome: Result<Answer, Unavailable>) {
        if let Some(pilot) = &self.pilot {
            pilot.send_replace(Some(outcome));
        }
    }

    /// Takes those on board who came meanwhile; frees the token when there are none.
    pub(super) fn turn_round(&mut self) {
        let mut open = self.flights.lock();
        self.pilot = open.get_mut(&self.token).and_then(Option::take);
        if self.pilot.is_none() {
            open.remove(&self.token);
        }
    }
}

impl Drop for Flight<'_> {
    /// Only a flight that did not end by itself still has a pilot.
    fn drop(&mut self) {
        if self.pilot.is_some() {
            self.flights.lock().remove(&self.token);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_comes_later_never_shares_what_is_under_way() {
        let flights = Flights::default();
        let (first, pilot) = flights.board("t").unwrap();
        let mut flight = flights.begin("t".into(), pilot.unwrap());
        let (second, none) = flights.board("t").unwrap();
        assert!(none.is_none(), "one question at a time");
        let (third, _) = flights.board("t").unwrap();
        assert!(flights.board("u").unwrap().1.is_some(), "another token");
        flight.land(Err(Unavailable::Failed));
        assert!(first.borrow().is_some());
        assert!(second.borrow().is_none() && third.borrow().is_none());
        flight.turn_round();
        let (fourth, _) = flights.board("t").unwrap();
        flight.land(Err(Unavailable::Late));
        assert!(second.same_channel(&third) && second.borrow().is_some());
        assert!(fourth.borrow().is_none());
        flight.turn_round();
        flight.land(Err(Unavailable::Late));
        flight.turn_round();
        assert!(flight.pilot().is_none());
        assert!(!flights.lock().contains_key("t"));
    }

    #[test]
    fn a_flight_that_breaks_off_frees_its_token() {
        let flights = Flights::default();
        let (first, pilot) = flights.board("t").unwrap();
        let flight = flights.begin("t".into(), pilot.unwrap());
        let (second, _) = flights.board("t").unwrap();
        drop(flight);
        assert!(first.has_changed().is_err() && second.has_changed().is_err());
        assert!(flights.board("t").unwrap().1.is_some());
    }

    #[test]
    fn the_number_of_tokens_under_way_is_bounded() {
        let flights = Flights::default();
        let kept: Vec<_> = (0..OPEN_MAX).map(|n| flights.board(&n.to_string())).collect();
        assert!(kept.iter().all(Option::is_some));
        assert!(flights.board("one more").is_none());
        assert!(flights.board("0").is_some(), "joins");
    }
}
