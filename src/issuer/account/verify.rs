//! Checking a password against what is stored, so that every failure takes the same time.
//!
//! **How times are made equal.** By work, not by waiting: a wait until a fixed moment still lets
//! the noise of real work show through, and under load it shows nothing but. Each source knows the
//! kinds of hashes that it holds ([`Works`]: kind and cost). A failed login does one verification
//! *of each*, whoever it was about: of the account's own hash, and of the other kinds for nothing;
//! for an unknown account all of them for nothing. So every failure is exactly the same work, no
//! less than the slowest hash; with one kind in use it is one verification. A login that succeeds
//! stops at its own: its time tells nothing to somebody who has the password.
//!
//! A password that is not in NFC form is tried twice against each, whether or not anything is
//! stored, so that this, too, depends on the password alone.

use super::Refused;
use super::hash::{ComputeError, Hash, Work};
use super::password::Password;
use crate::secret::Secret;

/// Kinds of hashes that one source may hold: as many verifications is every failed login.
pub(super) const WORKS_MAX: usize = 8;

/// The kinds of hashes that a source holds; never none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Works(Vec<Work>);

/// A source holds more than [`WORKS_MAX`] kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "has hashes of more than {WORKS_MAX} kinds and costs, and every failed login would try each"
)]
pub struct TooManyWorks;

impl Works {
    /// Those of the hashes; without any, that of the hashes made here.
    pub(super) fn of(works: impl IntoIterator<Item = Work>) -> Result<Self, TooManyWorks> {
        let mut all = Self(Vec::new());
        for work in works {
            all.insert(work)?;
        }
        if all.0.is_empty() { Ok(Self::current()) } else { Ok(all) }
    }

    /// Only that of the hashes made here.
    pub(super) fn current() -> Self {
        Self(vec![Work::CURRENT])
    }

    /// Whether there is one of this kind.
    pub(super) fn contains(&self, work: Work) -> bool {
        self.0.contains(&work)
    }

    /// What a failed login does besides the work of the account's own hash; of an unknown account,
    /// all.
    fn besides(&self, own: Option<Work>) -> impl Iterator<Item = Work> {
        self.0.iter().copied().filter(move |work| Some(*work) != own)
    }

    /// Adds a kind.
    pub(super) fn insert(&mut self, work: Work) -> Result<(), TooManyWorks> {
        if self.contains(work) {
            return Ok(());
        }
        if self.0.len() >= WORKS_MAX {
            return Err(TooManyWorks);
        }
        self.0.push(work);
        Ok(())
    }
}

/// What is stored about the account.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) hash: Hash,
    pub(super) disabled: bool,
}

/// The password was right.
#[derive(Debug)]
pub(super) struct Matched {
    /// The hash made anew, where the stored one is outdated.
    pub(super) upgrade: Option<Secret<String>>,
}

/// Checks; takes as long for every failure. `None`: no such account. `upgrade`: whether a new hash
/// could be stored.
pub(super) fn verify(
    password: &Password,
    stored: Option<&Stored>,
    works: &Works,
    upgrade: bool,
) -> Result<Result<Matched, Refused>, ComputeError> {
    let mut refused = Refused::Unknown;
    if let Some(Stored { hash, disabled }) = stored {
        refused = if *disabled { Refused::Disabled } else { Refused::WrongPassword };
        for typed in password.tries() {
            let matches = hash.verify(typed)?;
            if matches && !disabled && !password.is_none() {
                return matched(password, hash, upgrade).map(Ok);
            }
        }
    }
    for work in works.besides(stored.map(|stored| stored.hash.work())) {
        for typed in password.tries() {
            work.spend(typed)?;
        }
    }
    Ok(Err(refused))
}

fn matched(password: &Password, hash: &Hash, upgrade: bool) -> Result<Matched, ComputeError> {
    let outdated = upgrade && hash.is_outdated();
    let upgrade = outdated.then(|| Hash::make(password.whole())).transpose()?;
    Ok(Matched { upgrade: upgrade.map(|(_, text)| text) })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWORD: &str = "correct horse battery staple";
    const BCRYPT: &str = "$2b$04$EGHR8YS9/f/xHOyP/8r0/OfLtW2oTsNkS/AB/TgTo7RbF5IwHxeNy";

    fn stored(disabled: bool) -> Stored {
        Stored { hash: BCRYPT.parse().unwrap(), disabled }
    }

    fn outcome(password: &Password, stored: Option<&Stored>) -> Result<bool, Refused> {
        let works = Works::of(stored.map(|stored| stored.hash.work())).unwrap();
        let outcome = verify(password, stored, &works, true).unwrap();
        outcome.map(|matched| matched.upgrade.is_some())
    }

    #[test]
    fn only_the_right_password_of_an_enabled_account_passes() {
        let right = Password::typed(PASSWORD).unwrap();
        let wrong = Password::typed("wrong").unwrap();
        let cheap = Works::of(["$2y$04".parse().unwrap()]).unwrap();
        assert_eq!(outcome(&right, Some(&stored(false))), Ok(true));
        assert_eq!(outcome(&right, Some(&stored(true))), Err(Refused::Disabled));
        assert_eq!(outcome(&wrong, Some(&stored(true))), Err(Refused::Disabled));
        assert_eq!(outcome(&wrong, Some(&stored(false))), Err(Refused::WrongPassword));
        let unknown = verify(&right, None, &cheap, true).unwrap();
        assert_eq!(unknown.err(), Some(Refused::Unknown));
        // What stands for no password opens nothing, though a hash of it may have been imported.
        let empty = "$2b$04$ujPEtTkznE0mLmeylvyd5eLl5f7soyjn8JufCaQU.b3ByDMPjw.8G";
        let empty = Stored { hash: empty.parse().unwrap(), disabled: false };
        assert!(empty.hash.verify(b"").unwrap());
        let none = verify(&Password::none(), Some(&empty), &cheap, true).unwrap();
        assert_eq!(none.err(), Some(Refused::WrongPassword));
    }

    #[test]
    fn nothing_is_hashed_anew_where_it_cannot_be_stored() {
        let right = Password::typed(PASSWORD).unwrap();
        let works = Works::of(["$2y$04".parse().unwrap()]).unwrap();
        let outcome = verify(&right, Some(&stored(false)), &works, false).unwrap().unwrap();
        assert!(outcome.upgrade.is_none());
    }

    /// The old system took the bytes that it was sent; the new hash is of the NFC form.
    #[test]
    fn an_imported_hash_of_raw_bytes_is_found() {
        let raw = "Zoe\u{308} schl\u{e4}ft gern";
        let hash = "$2b$04$CwtiC9yFMuy.V3wrTrTE0eE2qJZAB9FTFMnPself2hqJ3jpQy0.3S";
        let stored = Stored { hash: hash.parse().unwrap(), disabled: false };
        let works = Works::of([stored.hash.work()]).unwrap();
        let typed = Password::typed(raw).unwrap();
        let matched = verify(&typed, Some(&stored), &works, true).unwrap().unwrap();
        let upgraded: Hash = matched.upgrade.unwrap().expose().parse().unwrap();
        assert!(upgraded.verify("Zo\u{eb} schl\u{e4}ft gern".as_bytes()).unwrap());
        assert!(!upgraded.verify(raw.as_bytes()).unwrap());
    }

    /// Every refusal is one verification of each kind, whoever it is about.
    #[test]
    fn refusals_are_the_same_work() {
        let kinds = ["$2y$12", "$argon2id$v=19$m=19456,t=2,p=1", "$scrypt$ln=15,r=8,p=1"];
        let kinds = kinds.map(|head| head.parse::<Work>().unwrap());
        let works = Works::of(kinds).unwrap();
        for own in kinds.map(Some).into_iter().chain([None]) {
            let mut spent: Vec<_> = own.into_iter().chain(works.besides(own)).collect();
            spent.sort_by_key(|work| kinds.iter().position(|kind| kind == work));
            assert_eq!(spent, kinds, "{own:?}");
        }
    }

    #[test]
    fn kinds_are_counted_once_and_bounded() {
        let work = |cost: usize| format!("$2y${cost:02}").parse::<Work>().unwrap();
        assert_eq!(Works::of([]).unwrap().0, [Work::CURRENT]);
        assert_eq!(Works::of([work(4), work(5), work(4)]).unwrap().0.len(), 2);
        assert!(Works::of((4..4 + WORKS_MAX).map(work)).is_ok());
        assert_eq!(Works::of((4..=4 + WORKS_MAX).map(work)), Err(TooManyWorks));
    }
}
