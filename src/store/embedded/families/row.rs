//! A family and a browser's session as rows, and what a presented token is to a family.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::store::family::{Dead, FREE, Login, RETRIES_MAX, Standing, Step, Terms, Trace};
use crate::time::UnixTime;
use crate::token::Kind;

/// A family as it is kept. A dead one stays as a tombstone without tokens until `forget_at`.
#[derive(Serialize, Deserialize)]
pub(super) struct Row {
    pub(super) state: State,
    pub(super) subject: String,
    pub(super) client: String,
    pub(super) account: String,
    pub(super) known: String,
    pub(super) session: Option<String>,
    pub(super) begun: i64,
    pub(super) until: i64,
    /// Later than `until`: whose an access token is must be known as long as it lives.
    pub(super) forget_at: i64,
    pub(super) used: i64,
    pub(super) turn: u64,
    pub(super) current: String,
    pub(super) rotation: Option<Rotation>,
    pub(super) address: String,
    pub(super) user_agent: String,
}

/// What the last rotation of a bearer's token left for retries.
#[derive(Serialize, Deserialize)]
pub(super) struct Rotation {
    pub(super) previous: String,
    pub(super) answer: Vec<u8>,
    pub(super) at: i64,
    pub(super) retries: u32,
    pub(super) mark: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum State {
    Client,
    Ended,
    Live,
    Reused,
    Sid,
    Sub,
}

#[derive(Serialize, Deserialize)]
pub(super) struct SessionRow {
    pub(super) sid: String,
    pub(super) until: i64,
    pub(super) turn: u64,
    pub(super) refresh: Vec<u8>,
    pub(super) access: Option<Vec<u8>>,
}

/// What a presented token is to a live family.
pub(super) enum Judged {
    Again(Vec<u8>),
    Current,
    Reused,
    /// An earlier token of the browser's session of this hash: a slower gateway's, not a thief's,
    /// because a session's token never leaves the store.
    Superseded(String),
}

impl Row {
    pub(super) fn begun(
        login: &Login,
        current: String,
        trace: Trace,
        at: UnixTime,
        terms: &Terms,
    ) -> Self {
        let until = at.plus(terms.idle.min(terms.lifetime));
        Self {
            state: State::Live,
            subject: login.subject.clone(),
            client: login.client.clone(),
            account: login.account.clone(),
            known: login.known.clone(),
            session: login.session.clone(),
            begun: at.seconds(),
            until: until.seconds(),
            forget_at: forget_at(until, terms),
            used: at.seconds(),
            turn: 0,
            current,
            rotation: None,
            address: trace.address,
            user_agent: trace.user_agent,
        }
    }

    pub(super) fn login(&self, sid: String) -> Login {
        Login {
            sid,
            subject: self.subject.clone(),
            client: self.client.clone(),
            account: self.account.clone(),
            known: self.known.clone(),
            at: UnixTime(self.begun),
            session: self.session.clone(),
        }
    }

    /// A login ends by the rules of now, should they have become stricter.
    pub(super) fn shorten(&mut self, terms: &Terms) {
        self.until = self.until.min(UnixTime(self.begun).plus(terms.lifetime).seconds());
    }

    pub(super) const fn standing(&self, at: UnixTime) -> Standing {
        Standing { at, until: UnixTime(self.until), turn: self.turn }
    }

    /// Counts a retry that is not free.
    pub(super) fn judge(&mut self, step: &Step, terms: &Terms, now: UnixTime) -> Judged {
        if self.current == step.presented {
            return Judged::Current;
        }
        if let Some(session) = &self.session {
            return Judged::Superseded(session.clone());
        }
        let Some(rotation) = &mut self.rotation else { return Judged::Reused };
        // A clock that went back gives nobody more time than the grace.
        let age = Duration::from_secs(now.seconds().abs_diff(rotation.at));
        let same_client = rotation.mark == step.trace.mark;
        if rotation.previous != step.presented || !same_client || age > terms.grace {
            return Judged::Reused;
        }
        // Whole seconds, cut off on both sides: what is free may last up to a second longer, never
        // shorter. A second that ends between two tabs must not count against them.
        if age > FREE {
            if rotation.retries >= RETRIES_MAX {
                return Judged::Reused;
            }
            rotation.retries += 1;
        }
        Judged::Again(rotation.answer.clone())
    }

    pub(super) fn rotate(&mut self, step: &Step, terms: &Terms, now: UnixTime) {
        let end = UnixTime(self.begun).plus(terms.lifetime).seconds();
        self.until = now.plus(terms.idle).seconds().min(end);
        self.forget_at = forget_at(UnixTime(self.until), terms);
        self.used = now.seconds();
        self.turn += 1;
        let previous = std::mem::replace(&mut self.current, step.next.clone());
        self.rotation = self.session.is_none().then(|| Rotation {
            previous,
            answer: step.sealed.clone(),
            at: now.seconds(),
            retries: 0,
            mark: step.trace.mark.clone(),
        });
        self.address.clone_from(&step.trace.address);
        self.user_agent.clone_from(&step.trace.user_agent);
    }
}

/// Seconds are cut off downwards on both sides.
fn forget_at(until: UnixTime, terms: &Terms) -> i64 {
    until.plus(terms.barred).seconds().saturating_add(2)
}

impl State {
    pub(super) const fn dead(self) -> Option<Dead> {
        match self {
            Self::Client => Some(Dead::Revoked(Kind::Client)),
            Self::Ended => Some(Dead::Ended),
            Self::Live => None,
            Self::Reused => Some(Dead::Reused),
            Self::Sid => Some(Dead::Revoked(Kind::Sid)),
            Self::Sub => Some(Dead::Revoked(Kind::Sub)),
        }
    }

    /// The state in which a revocation leaves a family; an issuer's is not for ever.
    pub(super) const fn of_revocation(dead: Dead) -> Option<Self> {
        match dead {
            Dead::Revoked(Kind::Client) => Some(Self::Client),
            Dead::Revoked(Kind::Sid) => Some(Self::Sid),
            Dead::Revoked(Kind::Sub) => Some(Self::Sub),
            Dead::Ended | Dead::Expired | Dead::Reused | Dead::Revoked(_) | Dead::Unknown => None,
        }
    }
}

/// A row that cannot be read is an error: dropping it would throw a user out, or worse.
pub(super) fn parse<'r, R: Deserialize<'r>>(bytes: &'r [u8]) -> Result<R, redb::Error> {
    serde_json::from_slice(bytes).map_err(|_| redb::Error::Corrupted("an unreadable row".into()))
}

pub(super) fn encode(row: &impl Serialize) -> Result<Vec<u8>, redb::Error> {
    serde_json::to_vec(row).map_err(|error| redb::Error::Corrupted(error.to_string()))
}
