//! The way to a verdict: by the local copy, by asking the store, by what is remembered.

use std::sync::atomic::Ordering;

use super::tracked::{Answer, Standing};
use super::{
    Cause, NEVER, Shared, Sighting, Unavailable, Verdict, WorkerBlocklist, memory, verdict,
};
use crate::store::{Error, Hit};
use crate::time::UnixTime;
use crate::token::Lookup;

impl WorkerBlocklist {
    /// Asks whether a verified token is revoked.
    ///
    /// # Errors
    ///
    /// [`Unavailable`]: there is no exact answer in time.
    pub async fn check(&self, lookup: &Lookup, now: UnixTime) -> Result<Verdict, Unavailable> {
        let before = self.shared.footing();
        let shared = &*self.shared;
        if before.is_firm()
            && let Some(verdict) = shared.by_the_copy(lookup, now, before.era)
        {
            return Ok(verdict);
        }
        let found = match self.store.look_up(lookup, now).await {
            Ok(found) => found,
            // What this gateway knows to be revoked stays so, whether the store can be asked or
            // not; `on_unreachable = "allow"` is for the others.
            Err(error) => return shared.without_the_store(lookup, now).ok_or_else(|| error.into()),
        };
        if let Some((cause, hit)) = verdict::refusing(lookup, &found.hits) {
            shared.sighted(lookup, hit, now);
            return Ok(Verdict::Revoked(cause));
        }
        if shared.remembered.is_none() {
            return Ok(shared.aged(lookup));
        }
        let same = {
            let known = shared.known.load();
            let Some(known) = known.as_ref() else {
                shared.surprise.notify_one();
                return Err(Error::Down("first contact is not over".into()).into());
            };
            found.generation.as_deref() == Some(known.as_str())
        };
        if !same {
            shared.surprise.notify_one();
            let revoked = shared.without_the_store(lookup, now);
            return Ok(revoked.unwrap_or_else(|| shared.aged_at(lookup, now.seconds())));
        }
        if let Some(revoked) = shared.lost_by_the_copy(lookup, found.generation.as_deref(), now) {
            return Ok(revoked);
        }
        // Whatever changed on the way, the answer may come from before or from elsewhere.
        if before.is_firm() && before == shared.footing() {
            return Ok(shared.aged(lookup));
        }
        Ok(shared.by_memory(lookup, now).unwrap_or_else(|| shared.aged(lookup)))
    }
}

impl Shared {
    /// The refusal that is certain without asking the store: by remembered entries, or by what the
    /// copy held when it was last current.
    fn without_the_store(&self, lookup: &Lookup, now: UnixTime) -> Option<Verdict> {
        self.by_memory(lookup, now).or_else(|| {
            let standing = self.tracked.last_known(lookup)?;
            Some(Verdict::Revoked(verdict::cause_at(lookup, standing.place)))
        })
    }

    /// The refusal that remembered entries give by themselves.
    fn by_memory(&self, lookup: &Lookup, now: UnixTime) -> Option<Verdict> {
        let found = self.remembered.as_ref()?.look_up(lookup, now);
        verdict::refusing(lookup, &found.hits).map(|(cause, _)| Verdict::Revoked(cause))
    }

    /// What the local copy says, if it may be believed.
    fn by_the_copy(&self, lookup: &Lookup, now: UnixTime, era: u64) -> Option<Verdict> {
        match self.tracked.look_up(lookup, era) {
            Answer::Clear => Some(self.aged(lookup)),
            Answer::Refused(standing) => Some(self.refused_by(lookup, standing, now)),
            Answer::Unknown => None,
        }
    }

    /// The refusal by what the copy held of contents that the store has lost.
    fn lost_by_the_copy(
        &self,
        lookup: &Lookup,
        generation: Option<&str>,
        now: UnixTime,
    ) -> Option<Verdict> {
        let standing = self.tracked.lost(lookup, generation?)?;
        Some(self.refused_by(lookup, Standing { is_carried: true, ..standing }, now))
    }

    fn refused_by(&self, lookup: &Lookup, standing: Standing, now: UnixTime) -> Verdict {
        let hit = Hit { place: standing.place, value: standing.value() };
        if standing.is_carried {
            let until = standing.ends(now).unwrap_or(UnixTime(i64::MAX));
            self.sighted_until(lookup, &hit, until, true, now);
        } else {
            self.sighted(lookup, &hit, now);
        }
        Verdict::Revoked(verdict::cause_at(lookup, standing.place))
    }

    /// Clear, unless entries were lost and the token is from before.
    fn aged(&self, lookup: &Lookup) -> Verdict {
        match self.lost_at.load(Ordering::Acquire) {
            NEVER => Verdict::Clear,
            lost_at => self.aged_at(lookup, lost_at),
        }
    }

    fn aged_at(&self, lookup: &Lookup, lost_at: i64) -> Verdict {
        let is_older = lookup.issued_at.is_none_or(|issued_at| issued_at.seconds() <= lost_at);
        if is_older && self.refuse_older.load(Ordering::Acquire) {
            Verdict::Revoked(Cause::OlderThanLoss)
        } else {
            Verdict::Clear
        }
    }

    fn sighted(&self, lookup: &Lookup, hit: &Hit, now: UnixTime) {
        self.sighted_until(lookup, hit, lookup.until, false, now);
    }

    fn sighted_until(
        &self,
        lookup: &Lookup,
        hit: &Hit,
        until: UnixTime,
        is_lost: bool,
        now: UnixTime,
    ) {
        let Some(remembered) = &self.remembered else { return };
        let Some(name) = memory::name_of(lookup, hit.place) else { return };
        if !remembered.covers(&name, hit.value.as_deref(), now) {
            let sighting = Sighting { name, value: hit.value.clone(), until, is_lost };
            // A full queue means that it will be seen again or that many others are.
            let _ = self.sightings.try_send(sighting);
        }
    }
}
