//! The tables of families: written together, in one transaction.

use redb::{ReadableTable as _, Table, TableDefinition, WriteTransaction};

use super::row::{Row, SessionRow, State, encode, parse};
use crate::store::family::Login;
use crate::time::UnixTime;

/// `sid` → row as JSON.
pub(super) const FAMILIES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("families");
/// (When, `sid`): what may be forgotten, first first.
pub(super) const ENDS: TableDefinition<'_, (i64, &str), ()> = TableDefinition::new("family_ends");
/// (Subject, `sid`) → end, for live families.
pub(super) const SUBJECTS: TableDefinition<'_, (&str, &str), i64> =
    TableDefinition::new("family_subjects");
/// (End of the grace, `sid`) → when it rotated: sealed successors that are to be dropped.
pub(super) const ANSWERS: TableDefinition<'_, (i64, &str), i64> =
    TableDefinition::new("family_answers");
/// Hash → row as JSON.
pub(super) const SESSIONS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("sessions");

/// The tables of one write transaction.
pub(super) struct Tables<'t> {
    pub(super) families: Table<'t, &'static str, &'static [u8]>,
    pub(super) ends: Table<'t, (i64, &'static str), ()>,
    pub(super) subjects: Table<'t, (&'static str, &'static str), i64>,
    pub(super) answers: Table<'t, (i64, &'static str), i64>,
    pub(super) sessions: Table<'t, &'static str, &'static [u8]>,
}

impl<'t> Tables<'t> {
    pub(super) fn open(transaction: &'t WriteTransaction) -> Result<Self, redb::Error> {
        Ok(Self {
            families: transaction.open_table(FAMILIES)?,
            ends: transaction.open_table(ENDS)?,
            subjects: transaction.open_table(SUBJECTS)?,
            answers: transaction.open_table(ANSWERS)?,
            sessions: transaction.open_table(SESSIONS)?,
        })
    }

    pub(super) fn family(&self, sid: &str) -> Result<Option<Row>, redb::Error> {
        self.families.get(sid)?.map(|row| parse(row.value())).transpose()
    }

    pub(super) fn session(&self, hash: &str) -> Result<Option<SessionRow>, redb::Error> {
        self.sessions.get(hash)?.map(|row| parse(row.value())).transpose()
    }

    /// Keeps a row that was to be forgotten `before`.
    pub(super) fn keep(
        &mut self,
        sid: &str,
        row: &Row,
        before: Option<i64>,
    ) -> Result<(), redb::Error> {
        self.families.insert(sid, encode(row)?.as_slice())?;
        if let Some(before) = before {
            self.ends.remove((before, sid))?;
        }
        self.ends.insert((row.forget_at, sid), ())?;
        if row.state == State::Live {
            self.subjects.insert((row.subject.as_str(), sid), row.until)?;
        } else {
            self.subjects.remove((row.subject.as_str(), sid))?;
        }
        Ok(())
    }

    pub(super) fn keep_session(
        &mut self,
        hash: &str,
        row: &Row,
        (sid, refresh): (&str, Vec<u8>),
    ) -> Result<(), redb::Error> {
        let sid = sid.to_owned();
        let session = SessionRow { sid, until: row.until, turn: row.turn, refresh, access: None };
        self.sessions.insert(hash, encode(&session)?.as_slice())?;
        Ok(())
    }

    /// Leaves a tombstone.
    pub(super) fn bury(
        &mut self,
        login: &Login,
        row: Row,
        state: State,
    ) -> Result<(), redb::Error> {
        let before = row.forget_at;
        if let Some(hash) = &row.session {
            self.sessions.remove(hash.as_str())?;
        }
        let (known, address, user_agent) = (String::new(), String::new(), String::new());
        let tombstone = Row {
            state,
            current: String::new(),
            rotation: None,
            known,
            address,
            user_agent,
            ..row
        };
        self.keep(&login.sid, &tombstone, Some(before))
    }

    /// The subject's live families above the bound, longest unused first, without the one that has
    /// just begun.
    pub(super) fn surplus(
        &self,
        login: &Login,
        per_subject: u32,
        now: UnixTime,
    ) -> Result<Vec<String>, redb::Error> {
        let mut live = sids_of(&self.subjects, &login.subject)?;
        live.retain(|(sid, until)| *until > now.seconds() && *sid != login.sid);
        let most = usize::try_from(per_subject).unwrap_or(usize::MAX).saturating_sub(1);
        let surplus = live.len().saturating_sub(most);
        if surplus == 0 {
            return Ok(Vec::new());
        }
        let mut used = Vec::with_capacity(live.len());
        for (sid, _) in live {
            used.push((self.family(&sid)?.map_or(i64::MIN, |row| row.used), sid));
        }
        used.sort_unstable();
        Ok(used.into_iter().take(surplus).map(|(_, sid)| sid).collect())
    }

    /// Drops the sealed successor of a rotation whose grace has ended.
    pub(super) fn drop_answer(
        &mut self,
        end: i64,
        sid: &str,
        rotated: i64,
    ) -> Result<(), redb::Error> {
        self.answers.remove((end, sid))?;
        let Some(mut row) = self.family(sid)? else { return Ok(()) };
        let Some(rotation) = &mut row.rotation else { return Ok(()) };
        if rotation.at == rotated {
            rotation.answer = Vec::new();
            self.families.insert(sid, encode(&row)?.as_slice())?;
        }
        Ok(())
    }

    pub(super) fn forget(&mut self, end: i64, sid: &str) -> Result<(), redb::Error> {
        self.ends.remove((end, sid))?;
        let Some(row) = self.family(sid)?.filter(|row| row.forget_at == end) else { return Ok(()) };
        self.families.remove(sid)?;
        self.subjects.remove((row.subject.as_str(), sid))?;
        if let Some(hash) = &row.session {
            self.sessions.remove(hash.as_str())?;
        }
        Ok(())
    }
}

pub(super) fn sids_of(
    table: &impl redb::ReadableTable<(&'static str, &'static str), i64>,
    subject: &str,
) -> Result<Vec<(String, i64)>, redb::Error> {
    let mut sids = Vec::new();
    for row in table.range((subject, "")..)? {
        let (key, until) = row?;
        let (whose, sid) = key.value();
        if whose != subject {
            break;
        }
        sids.push((sid.to_owned(), until.value()));
    }
    Ok(sids)
}
