//! What the copy holds of one key, in 64 bits that are read and written as one.

use crate::time::Moment;

/// How a key stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Not there.
    Absent,
    /// There when it was last read.
    Held,
    /// Of contents that the store has lost: refuses until its end, whatever the store says now.
    Carried,
    /// Changed since it was read; it was there then.
    HeldUnread,
    /// Changed; of what was lost.
    CarriedUnread,
    /// Changed, and never read.
    Unread,
}

/// One key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Word {
    pub(super) state: State,
    /// Tokens issued up to this second are refused; `None`: every token.
    pub(super) issued_before: Option<i64>,
    /// When the store would have forgotten it, rounded up; `None`: never. Counts only once it is
    /// [`State::Carried`]: as long as the store answers, the store decides.
    pub(super) ends: Option<Moment>,
    /// Whether it was read since the last snapshot began.
    pub(super) confirmed: bool,
}

/// Bits of `issued_before`; all set stands for every token.
const ISSUED: u64 = (1 << 36) - 1;
/// Bits of `ends`; all set stands for never.
const ENDS: u64 = (1 << 24) - 1;
/// Milliseconds of one step of `ends`: 24 bits of them are more than two years.
const STEP: u64 = 4096;

impl Word {
    pub(super) const ABSENT: Self =
        Self { state: State::Absent, issued_before: None, ends: None, confirmed: false };

    /// `start` is the moment that ends are counted from.
    pub(super) fn pack(self, start: Moment) -> u64 {
        let state = match self.state {
            State::Absent => return 0,
            State::Held => 1,
            State::Carried => 2,
            State::HeldUnread => 3,
            State::CarriedUnread => 4,
            State::Unread => 5,
        };
        // What does not fit refuses more, never less.
        let issued = self.issued_before.map_or(ISSUED, |second| {
            u64::try_from(second.max(0)).map_or(ISSUED, |second| second.min(ISSUED))
        });
        let ends = self
            .ends
            .map_or(ENDS, |end| (end.0.saturating_sub(start.0) / STEP).saturating_add(1).min(ENDS));
        state | u64::from(self.confirmed) << 3 | issued << 4 | ends << 40
    }

    pub(super) fn unpack(word: u64, start: Moment) -> Self {
        let state = match word & 7 {
            0 => return Self::ABSENT,
            1 => State::Held,
            2 => State::Carried,
            3 => State::HeldUnread,
            4 => State::CarriedUnread,
            // What nobody wrote is asked about.
            _ => State::Unread,
        };
        let (issued, ends) = (word >> 4 & ISSUED, word >> 40);
        Self {
            state,
            issued_before: (issued != ISSUED).then(|| i64::try_from(issued).unwrap_or(i64::MAX)),
            ends: (ends != ENDS).then(|| Moment(start.0.saturating_add(ends * STEP))),
            confirmed: word & 8 != 0,
        }
    }

    /// Whether somebody changed it since it was read.
    pub(super) const fn is_unread(self) -> bool {
        matches!(self.state, State::HeldUnread | State::CarriedUnread | State::Unread)
    }

    /// Whether it is of lost contents.
    pub(super) const fn is_carried(self) -> bool {
        matches!(self.state, State::Carried | State::CarriedUnread)
    }

    /// The same key, changed by somebody.
    pub(super) const fn changed(self) -> Self {
        let state = match self.state {
            State::Absent | State::Unread => State::Unread,
            State::Held | State::HeldUnread => State::HeldUnread,
            State::Carried | State::CarriedUnread => State::CarriedUnread,
        };
        Self { state, ..self }
    }

    /// The same key before a new snapshot: what was there is there until the snapshot is complete.
    pub(super) const fn aged(self) -> Self {
        let state = match self.state {
            State::Absent | State::Unread => return Self::ABSENT,
            State::Held | State::HeldUnread => State::Held,
            State::Carried | State::CarriedUnread => State::Carried,
        };
        Self { state, confirmed: false, ..self }
    }

    /// The same key after the store has lost its contents.
    pub(super) const fn carried(self) -> Self {
        let aged = self.aged();
        match aged.state {
            State::Absent => aged,
            _ => Self { state: State::Carried, ..aged },
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const START: Moment = Moment(1_000_000);

    fn word() -> impl Strategy<Value = Word> {
        let state = prop_oneof![
            Just(State::Held),
            Just(State::Carried),
            Just(State::HeldUnread),
            Just(State::CarriedUnread),
            Just(State::Unread)
        ];
        (state, any::<Option<i64>>(), any::<Option<u64>>(), any::<bool>()).prop_map(
            |(state, issued_before, ends, confirmed)| Word {
                state,
                issued_before,
                ends: ends.map(Moment),
                confirmed,
            },
        )
    }

    proptest! {
        /// Packed and unpacked a word refuses no less than before: not fewer tokens, not shorter.
        #[test]
        fn a_word_never_refuses_less(word in word()) {
            let back = Word::unpack(word.pack(START), START);
            prop_assert_eq!((back.state, back.confirmed), (word.state, word.confirmed));
            let widest = |issued: Option<i64>| issued.unwrap_or(i64::MAX);
            prop_assert!(widest(back.issued_before) >= widest(word.issued_before));
            let latest = |end: Option<Moment>| end.map_or(u64::MAX, |end| end.0);
            prop_assert!(latest(back.ends) >= latest(word.ends));
            prop_assert_eq!(Word::unpack(back.pack(START), START).issued_before, back.issued_before);
        }
    }

    #[test]
    fn ordinary_values_stay_as_they_are() {
        let word = Word {
            state: State::Held,
            issued_before: Some(1_800_000_000),
            ends: Some(Moment(START.0 + 3_600_000)),
            confirmed: true,
        };
        let back = Word::unpack(word.pack(START), START);
        assert_eq!(back.issued_before, word.issued_before);
        assert!(back.ends.unwrap().since(word.ends.unwrap()).as_secs() < 5);
        assert_eq!(Word::unpack(0, START), Word::ABSENT);
    }
}
