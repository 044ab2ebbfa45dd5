//! Refresh families in the embedded store: the same steps as on Redis, each one transaction that is
//! durable before it is answered, under the lock under which revocations are written.
//!
//! The clock is the caller's, in whole seconds; every comparison leaves room for what that cuts
//! off. A caller's clock that lags a little behind a step already taken is put forward to it, so
//! that neither a login nor a revocation can be dated before something that it followed. One that
//! lags further was set back, and is followed: nobody could log in otherwise until time has come as
//! far as it once was by mistake. What was dated by that mistake is refused instead.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;

use redb::{ReadableDatabase as _, ReadableTable as _, ReadableTableMetadata as _};
use redb::{TableError, WriteTransaction};

use self::row::{Judged, Row, SessionRow, State, encode, parse};
use self::tables::{FAMILIES, SESSIONS, SUBJECTS, Tables, sids_of};
use super::{ENTRIES, Embedded, Inner, Kept, json};
use crate::store::family::{
    AHEAD_MAX, Advanced, BY, Begun, Dead, Entries, KeptSession, Live, Login, NewFamily, Step,
    Terms, WAIT_MAX, why,
};
use crate::store::{Entry, Error, Record};
use crate::time::UnixTime;
use crate::token::Kind;

mod row;
mod tables;

/// Most families held; more are refused with an error (invariant 8).
const FAMILIES_MAX: u64 = 1_000_000;
/// Families that one sweep removes.
const SWEEP_FAMILIES: usize = 1_000;

impl Embedded {
    pub(in crate::store) async fn begin_family(
        &self,
        new: NewFamily,
        terms: &Terms,
        now: UnixTime,
    ) -> Result<Begun, Error> {
        let terms = terms.clone();
        self.blocking(move |inner| inner.begin_family(new, &terms, now)).await
    }

    pub(in crate::store) async fn find_family(
        &self,
        sid: &str,
    ) -> Result<Result<Login, Dead>, Error> {
        let sid = sid.to_owned();
        let row = self.blocking(move |inner| Ok(inner.family(&sid)?.map(|row| (row, sid)))).await?;
        Ok(row.map_or(Err(Dead::Unknown), |(row, sid)| match row.state.dead() {
            Some(dead) => Err(dead),
            None => Ok(row.login(sid)),
        }))
    }

    pub(in crate::store) async fn advance_family(
        &self,
        login: &Login,
        step: Step,
        terms: &Terms,
        now: UnixTime,
    ) -> Result<Advanced, Error> {
        let (login, terms) = (login.clone(), terms.clone());
        self.blocking(move |inner| inner.advance_family(&login, step, &terms, now)).await
    }

    pub(in crate::store) async fn end_family(
        &self,
        login: &Login,
        terms: &Terms,
        now: UnixTime,
    ) -> Result<bool, Error> {
        let (login, terms) = (login.clone(), terms.clone());
        self.blocking(move |inner| inner.end_family(&login, &terms, now)).await
    }

    pub(in crate::store) async fn look_at_family(
        &self,
        sid: &str,
        terms: &Terms,
        now: UnixTime,
    ) -> Result<Result<Live, Dead>, Error> {
        let (sid, terms) = (sid.to_owned(), terms.clone());
        self.blocking(move |inner| {
            let Some(row) = inner.family(&sid)? else { return Ok(Err(Dead::Unknown)) };
            Ok(inner.live(row, &sid, &terms, now))
        })
        .await
    }

    pub(in crate::store) async fn sids(&self, subject: &str) -> Result<Vec<String>, Error> {
        let subject = subject.to_owned();
        self.blocking(move |inner| inner.sids_of(&subject)).await
    }

    pub(in crate::store) async fn list_families(
        &self,
        subject: &str,
        terms: &Terms,
        now: UnixTime,
    ) -> Result<Vec<Live>, Error> {
        let (subject, terms) = (subject.to_owned(), terms.clone());
        self.blocking(move |inner| {
            let mut live = Vec::new();
            for sid in inner.sids_of(&subject)? {
                let row = inner.family(&sid)?;
                live.extend(row.and_then(|row| inner.live(row, &sid, &terms, now).ok()));
            }
            Ok(live)
        })
        .await
    }

    pub(in crate::store) async fn session(
        &self,
        hash: &str,
        now: UnixTime,
    ) -> Result<Option<KeptSession>, Error> {
        let hash = hash.to_owned();
        let row = self.blocking(move |inner| inner.session(&hash)).await?;
        Ok(row.filter(|row| now.seconds() < row.until).map(|row| KeptSession {
            sid: row.sid,
            turn: row.turn,
            refresh: row.refresh,
            access: row.access,
        }))
    }

    pub(in crate::store) async fn keep_access(
        &self,
        hash: &str,
        turn: u64,
        access: Vec<u8>,
        now: UnixTime,
    ) -> Result<bool, Error> {
        let hash = hash.to_owned();
        self.blocking(move |inner| inner.keep_access(&hash, turn, access, now)).await
    }

    /// Forgets families of which no token is left; how many.
    pub(in crate::store) async fn sweep_families(&self, now: UnixTime) -> Result<usize, Error> {
        self.blocking(move |inner| inner.sweep_families(now)).await
    }
}

impl Inner {
    fn begin_family(
        &self,
        new: NewFamily,
        terms: &Terms,
        now: UnixTime,
    ) -> Result<Begun, redb::Error> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.not_before_the_latest(now);
        let entries = Entries::of(&new.login, terms);
        if self.holds(&entries.issuer, now) {
            return Ok(Begun::Revoked(Kind::Issuer));
        }
        for (suffix, kind) in [(&entries.sub, Kind::Sub), (&entries.client, Kind::Client)] {
            let over = self.refuses_until(suffix, now).saturating_add(1);
            let wait = u64::try_from(over.saturating_sub(now.seconds())).unwrap_or(0);
            match Duration::from_secs(wait) {
                Duration::ZERO => {}
                wait if wait <= WAIT_MAX => return Ok(Begun::Wait(wait)),
                _ => return Ok(Begun::Revoked(kind)),
            }
        }
        let NewFamily { login, current, trace, refresh } = new;
        let row = Row::begun(&login, current, trace, now, terms);
        let transaction = self.database.begin_write()?;
        let surplus = {
            let mut tables = Tables::open(&transaction)?;
            if tables.families.len()? >= FAMILIES_MAX {
                return Err(full());
            }
            tables.keep(&login.sid, &row, None)?;
            if let (Some(hash), Some(refresh)) = (&login.session, refresh) {
                tables.keep_session(hash, &row, (&login.sid, refresh))?;
            }
            tables.surplus(&login, terms.per_subject, now)?
        };
        transaction.commit()?;
        Ok(Begun::Kept { standing: row.standing(now), surplus })
    }

    fn advance_family(
        &self,
        login: &Login,
        step: Step,
        terms: &Terms,
        now: UnixTime,
    ) -> Result<Advanced, redb::Error> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.not_before_the_latest(now);
        let transaction = self.database.begin_write()?;
        let mut barred = None;
        let advanced = {
            let mut tables = Tables::open(&transaction)?;
            let Some(mut row) = tables.family(&login.sid)? else {
                return Ok(Advanced::Refused(Dead::Unknown));
            };
            let before = row.forget_at;
            row.shorten(terms);
            if let Some(dead) = self.dead(&row, &login.sid, terms, now) {
                let Some(state) = State::of_revocation(dead) else {
                    return Ok(Advanced::Refused(dead));
                };
                tables.bury(login, row, state)?;
                Advanced::Refused(dead)
            } else {
                match row.judge(&step, terms, now) {
                    Judged::Current => {
                        row.rotate(&step, terms, now);
                        tables.keep(&login.sid, &row, Some(before))?;
                        match &row.session {
                            Some(hash) => {
                                tables.keep_session(hash, &row, (&login.sid, step.sealed))?;
                            }
                            None => {
                                let grace_ends = now.plus(terms.grace).seconds();
                                tables.answers.insert((grace_ends, &*login.sid), now.seconds())?;
                            }
                        }
                        Advanced::Rotated(row.standing(now))
                    }
                    Judged::Superseded(session) => match tables.session(&session)? {
                        Some(kept) => {
                            let standing = row.standing(now);
                            return Ok(Advanced::Again { standing, answer: kept.refresh });
                        }
                        None => return Ok(Advanced::Refused(Dead::Unknown)),
                    },
                    Judged::Again(answer) => {
                        tables.keep(&login.sid, &row, Some(before))?;
                        Advanced::Again { standing: row.standing(now), answer }
                    }
                    Judged::Reused => {
                        let entry = bar(login, row.until, terms, Dead::Reused, now);
                        tables.bury(login, row, State::Reused)?;
                        barred = Some(self.keep_entry(&transaction, entry, now)?);
                        Advanced::Reused { at: now }
                    }
                }
            }
        };
        transaction.commit()?;
        self.remember(barred)?;
        Ok(advanced)
    }

    fn end_family(&self, login: &Login, terms: &Terms, now: UnixTime) -> Result<bool, redb::Error> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.not_before_the_latest(now);
        let transaction = self.database.begin_write()?;
        let (was_alive, barred) = {
            let mut tables = Tables::open(&transaction)?;
            let row = tables.family(&login.sid)?.filter(|row| row.state == State::Live);
            let was_alive = row.as_ref().is_some_and(|row| now.seconds() < row.forget_at);
            let until = row.as_ref().map_or_else(|| now.seconds(), |row| row.until);
            if let Some(row) = row {
                tables.bury(login, row, State::Ended)?;
            }
            let entry = bar(login, until, terms, Dead::Ended, now);
            (was_alive, self.keep_entry(&transaction, entry, now)?)
        };
        transaction.commit()?;
        self.remember(Some(barred))?;
        Ok(was_alive)
    }

    /// The caller's time, unless one a little later was acted upon already.
    pub(super) fn not_before_the_latest(&self, now: UnixTime) -> UnixTime {
        let follow = |latest: i64| match UnixTime(latest).since(now) {
            ahead if ahead > AHEAD_MAX => now.seconds(),
            _ => now.seconds().max(latest),
        };
        let before = self.latest.update(Ordering::AcqRel, Ordering::Acquire, follow);
        let ahead = UnixTime(before).since(now);
        if ahead > AHEAD_MAX {
            tracing::warn!(
                seconds = ahead.as_secs(),
                "the clock was set back; logins and revocations are dated by it again"
            );
        }
        UnixTime(follow(before))
    }

    fn holds(&self, suffix: &str, now: UnixTime) -> bool {
        self.read().get(suffix).is_some_and(|kept| !kept.is_over(now))
    }

    /// The last second up to which a dated entry refuses; what cannot be read refuses for ever.
    fn refuses_until(&self, suffix: &str, now: UnixTime) -> i64 {
        let entries = self.read();
        let Some(kept) = entries.get(suffix).filter(|kept| !kept.is_over(now)) else { return -1 };
        Record::parse(&kept.value).and_then(|record| record.issued_before).unwrap_or(i64::MAX)
    }

    /// Why a family gives no tokens; `None` when it is alive.
    fn dead(&self, row: &Row, sid: &str, terms: &Terms, now: UnixTime) -> Option<Dead> {
        if let Some(dead) = row.state.dead() {
            return Some(dead);
        }
        if now.seconds() >= row.until || UnixTime(row.begun) > now.plus(AHEAD_MAX) {
            return Some(Dead::Expired);
        }
        let entries = Entries::of(&row.login(sid.to_owned()), terms);
        let kind = if self.holds(&entries.issuer, now) {
            Kind::Issuer
        } else if self.holds(&entries.sid, now) {
            Kind::Sid
        } else if row.begun <= self.refuses_until(&entries.sub, now) {
            Kind::Sub
        } else if row.begun <= self.refuses_until(&entries.client, now) {
            Kind::Client
        } else {
            return None;
        };
        Some(Dead::Revoked(kind))
    }

    fn live(&self, mut row: Row, sid: &str, terms: &Terms, now: UnixTime) -> Result<Live, Dead> {
        row.shorten(terms);
        if let Some(dead) = self.dead(&row, sid, terms, now) {
            return Err(dead);
        }
        Ok(Live {
            login: row.login(sid.to_owned()),
            standing: row.standing(now),
            current: row.current,
            used_at: UnixTime(row.used),
            address: row.address,
            user_agent: row.user_agent,
        })
    }

    /// Puts an entry on the blocklist, joined with what is there; to be remembered once the
    /// transaction is durable.
    fn keep_entry(
        &self,
        transaction: &WriteTransaction,
        entry: Entry,
        now: UnixTime,
    ) -> Result<Entry, redb::Error> {
        let entry = self.joined(entry, now);
        let mut table = transaction.open_table(ENTRIES)?;
        table.insert(entry.suffix.as_str(), json(&entry)?.as_slice())?;
        Ok(entry)
    }

    fn remember(&self, entry: Option<Entry>) -> Result<(), redb::Error> {
        if let Some(entry) = entry {
            self.write().insert(entry.suffix.as_str().into(), Kept::of(&entry)?);
        }
        Ok(())
    }

    fn family(&self, sid: &str) -> Result<Option<Row>, redb::Error> {
        match self.database.begin_read()?.open_table(FAMILIES) {
            Ok(table) => table.get(sid)?.map(|row| parse(row.value())).transpose(),
            Err(TableError::TableDoesNotExist(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn session(&self, hash: &str) -> Result<Option<SessionRow>, redb::Error> {
        match self.database.begin_read()?.open_table(SESSIONS) {
            Ok(table) => table.get(hash)?.map(|row| parse(row.value())).transpose(),
            Err(TableError::TableDoesNotExist(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn sids_of(&self, subject: &str) -> Result<Vec<String>, redb::Error> {
        match self.database.begin_read()?.open_table(SUBJECTS) {
            Ok(table) => Ok(sids_of(&table, subject)?.into_iter().map(|(sid, _)| sid).collect()),
            Err(TableError::TableDoesNotExist(_)) => Ok(Vec::new()),
            Err(error) => Err(error.into()),
        }
    }

    fn keep_access(
        &self,
        hash: &str,
        turn: u64,
        access: Vec<u8>,
        now: UnixTime,
    ) -> Result<bool, redb::Error> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let transaction = self.database.begin_write()?;
        {
            let mut tables = Tables::open(&transaction)?;
            let Some(mut row) = tables.session(hash)? else { return Ok(false) };
            if row.turn != turn || now.seconds() >= row.until {
                return Ok(false);
            }
            row.access = Some(access);
            tables.sessions.insert(hash, encode(&row)?.as_slice())?;
        }
        transaction.commit()?;
        Ok(true)
    }

    fn sweep_families(&self, now: UnixTime) -> Result<usize, redb::Error> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let transaction = self.database.begin_write()?;
        let swept = {
            let mut tables = Tables::open(&transaction)?;
            let over: Vec<(i64, String)> = tables
                .ends
                .range(..(now.seconds().saturating_add(1), ""))?
                .take(SWEEP_FAMILIES)
                .map(|end| end.map(|(key, _)| (key.value().0, key.value().1.to_owned())))
                .collect::<Result<_, _>>()?;
            for (end, sid) in &over {
                tables.forget(*end, sid)?;
            }
            let answers: Vec<(i64, String, i64)> = tables
                .answers
                .range(..(now.seconds(), ""))?
                .take(SWEEP_FAMILIES)
                .map(|answer| {
                    answer.map(|(key, at)| (key.value().0, key.value().1.to_owned(), at.value()))
                })
                .collect::<Result<_, _>>()?;
            for (end, sid, rotated) in &answers {
                tables.drop_answer(*end, sid, *rotated)?;
            }
            over.len() + answers.len()
        };
        if swept > 0 {
            transaction.commit()?
        } else {
            transaction.abort()?
        }
        Ok(swept)
    }
}

/// The entry of a session that was ended, for as long as its family could have gone on unused.
fn bar(login: &Login, until: i64, terms: &Terms, dead: Dead, now: UnixTime) -> Entry {
    let until = UnixTime(until).max(now);
    Entry {
        suffix: Entries::of(login, terms).sid,
        record: Record {
            reason: why(dead).to_owned(),
            by: BY.to_owned(),
            at: now.seconds(),
            issued_before: None,
        },
        // Seconds are cut off downwards on both sides.
        expires: Some(until.plus(terms.barred).seconds().saturating_add(2)),
    }
}

fn full() -> redb::Error {
    redb::Error::Io(std::io::Error::other(format!("more than {FAMILIES_MAX} sessions")))
}
