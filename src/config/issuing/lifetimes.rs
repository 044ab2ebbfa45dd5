//! How long tokens live, unless the file says otherwise.

use toml::Spanned;

use super::super::duration::Period;
use super::super::unplaced;

const DAY: u64 = 24 * 3600;

pub(super) fn access() -> Spanned<Period> {
    unplaced(Period::seconds(15 * 60))
}

pub(super) fn idle() -> Spanned<Period> {
    unplaced(Period::seconds(7 * DAY))
}

pub(super) fn login() -> Spanned<Period> {
    unplaced(Period::seconds(30 * DAY))
}

pub(super) fn grace() -> Spanned<Period> {
    unplaced(Period::seconds(10))
}
