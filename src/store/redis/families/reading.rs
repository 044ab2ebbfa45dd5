//! What the scripts' answers say. Every form but the expected one is an error.

use std::time::Duration;

use redis::Value;

use super::super::answer;
use crate::store::Error;
use crate::store::family::{Advanced, Begun, Dead, KeptSession, Live, Login, Standing};
use crate::time::UnixTime;
use crate::token::Kind;

const NONSENSE: Error = Error::Shape("a family's script answered something else");
const DAMAGED: Error = Error::Shape("a family lacks what every family has");

/// A script's answer: a word and what belongs to it.
pub(super) struct Reply {
    word: String,
    rest: Vec<Value>,
}

impl Reply {
    pub(super) fn of(value: Value) -> Result<Self, Error> {
        let Value::Array(mut items) = value else { return Err(NONSENSE) };
        if items.is_empty() {
            return Err(NONSENSE);
        }
        let rest = items.split_off(1);
        let word = items.pop().and_then(answer::text).and_then(|w| String::from_utf8(w).ok());
        Ok(Self { word: word.ok_or(NONSENSE)?, rest })
    }

    pub(super) fn begun(self) -> Result<Begun, Error> {
        match (self.word.as_str(), self.rest.as_slice()) {
            ("kept", [at, until, turn, surplus @ ..]) => {
                let surplus = surplus.iter().cloned().map(string).collect::<Result<_, _>>()?;
                Ok(Begun::Kept { standing: standing(at, until, turn)?, surplus })
            }
            ("wait", [millis]) => Ok(Begun::Wait(Duration::from_millis(number(millis)?))),
            (word, []) => match kind(word) {
                Some(kind) => Ok(Begun::Revoked(kind)),
                None => Err(NONSENSE),
            },
            _ => Err(NONSENSE),
        }
    }

    pub(super) fn advanced(self) -> Result<Advanced, Error> {
        match (self.word.as_str(), self.rest.as_slice()) {
            ("rotated", [at, until, turn]) => Ok(Advanced::Rotated(standing(at, until, turn)?)),
            ("again", [at, until, turn, Value::BulkString(answer)]) => {
                Ok(Advanced::Again { standing: standing(at, until, turn)?, answer: answer.clone() })
            }
            ("reused", [at]) => Ok(Advanced::Reused { at: seconds(at)? }),
            (word, []) => dead(word).map(Advanced::Refused).ok_or(NONSENSE),
            _ => Err(NONSENSE),
        }
    }

    pub(super) fn ended(self) -> Result<bool, Error> {
        match (self.word.as_str(), self.rest.as_slice()) {
            ("ended", [was_alive]) => Ok(number(was_alive)? > 0),
            _ => Err(NONSENSE),
        }
    }

    pub(super) fn live(self, login: Login) -> Result<Result<Live, Dead>, Error> {
        match (self.word.as_str(), self.rest.as_slice()) {
            ("live", [at, until, turn, current, used, address, agent]) => Ok(Ok(Live {
                login,
                standing: standing(at, until, turn)?,
                current: string(current.clone())?,
                used_at: seconds(used)?,
                address: string(address.clone())?,
                user_agent: string(agent.clone())?,
            })),
            (word, []) => dead(word).map(Err).ok_or(NONSENSE),
            _ => Err(NONSENSE),
        }
    }
}

/// The answer to `HMGET` of [`super::LOGIN`].
pub(super) fn login_of(sid: &str, value: Value) -> Result<Result<Login, Dead>, Error> {
    let fields: [Option<Vec<u8>>; 7] =
        answer::strings(value, super::LOGIN.len())?.try_into().map_err(|_| NONSENSE)?;
    let [state, subject, client, account, known, begun, session] = fields;
    let Some(state) = state else { return Ok(Err(Dead::Unknown)) };
    let text = |field: Option<Vec<u8>>| {
        field.and_then(|bytes| String::from_utf8(bytes).ok()).ok_or(DAMAGED)
    };
    let state = text(Some(state))?;
    if state != "live" {
        return dead(&state).map(Err).ok_or(DAMAGED);
    }
    let begun: i64 = text(begun)?.parse().map_err(|_| DAMAGED)?;
    Ok(Ok(Login {
        sid: sid.to_owned(),
        subject: text(subject)?,
        client: text(client)?,
        account: text(account)?,
        known: text(known)?,
        at: UnixTime(begun.div_euclid(1000)),
        session: Some(text(session)?).filter(|hash| !hash.is_empty()),
    }))
}

/// The answer to `HMGET sid turn refresh access`.
pub(super) fn session(value: Value) -> Result<Option<KeptSession>, Error> {
    let fields: [Option<Vec<u8>>; 4] =
        answer::strings(value, 4)?.try_into().map_err(|_| NONSENSE)?;
    let [sid, turn, refresh, access] = fields;
    let (Some(sid), Some(turn), Some(refresh)) = (sid, turn, refresh) else { return Ok(None) };
    let turn = std::str::from_utf8(&turn).ok().and_then(|turn| turn.parse().ok());
    Ok(Some(KeptSession {
        sid: String::from_utf8(sid).map_err(|_| DAMAGED)?,
        turn: turn.ok_or(DAMAGED)?,
        refresh,
        access,
    }))
}

/// An array of texts.
pub(super) fn texts(value: Value) -> Result<Vec<String>, Error> {
    let Value::Array(items) = answer::checked(value)? else { return Err(NONSENSE) };
    items.into_iter().map(string).collect()
}

fn string(value: Value) -> Result<String, Error> {
    let bytes = answer::string(value)?.ok_or(NONSENSE)?;
    String::from_utf8(bytes).map_err(|_| NONSENSE)
}

fn standing(at: &Value, until: &Value, turn: &Value) -> Result<Standing, Error> {
    Ok(Standing { at: seconds(at)?, until: seconds(until)?, turn: number(turn)? })
}

fn seconds(millis: &Value) -> Result<UnixTime, Error> {
    let seconds = i64::try_from(number(millis)? / 1000).map_err(|_| NONSENSE)?;
    Ok(UnixTime(seconds))
}

fn number(value: &Value) -> Result<u64, Error> {
    answer::count(value.clone())
}

fn dead(word: &str) -> Option<Dead> {
    match word {
        "ended" => Some(Dead::Ended),
        "expired" => Some(Dead::Expired),
        "reused" => Some(Dead::Reused),
        "unknown" => Some(Dead::Unknown),
        word => kind(word).map(Dead::Revoked),
    }
}

/// Only the kinds that a login is asked about.
fn kind(word: &str) -> Option<Kind> {
    ["client", "issuer", "sid", "sub"].contains(&word).then(|| word.parse().ok()).flatten()
}
