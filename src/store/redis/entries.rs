//! Writing, reading and listing entries. Every change of an entry and of the index is one script,
//! so that both happen or neither.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use redis::{Cmd, Pipeline, Value};
use tokio::time::Instant;

use super::lookup::generation_text;
use super::warnings::Kind;
use super::{Redis, answer};
use crate::store::{Entry, Error, Host, Page, Record};
use crate::time::UnixTime;

/// KEYS entry, and the index where it is in the same slot; ARGV suffix, JSON up to
/// `issued_before`'s value, that value or `null`, JSON behind it, seconds to live or empty, the
/// channel to publish the suffix on or empty. Answers {expiry or -1, issued_before or -1, 1 where
/// publishing failed}.
///
/// Never shortens a life, never narrows `issued_before`; a key of another type is replaced. A user
/// who may not publish may revoke all the same.
const PUT: &str = r"
local issued = tonumber(ARGV[3])
local ttl = tonumber(ARGV[5])
local kind = redis.call('TYPE', KEYS[1]).ok
if kind == 'string' then
  local fine, old = pcall(cjson.decode, redis.call('GET', KEYS[1]))
  if fine and type(old) == 'table' and type(old.issued_before) == 'number' then
    if not issued or old.issued_before > issued then issued = old.issued_before end
  end
end
if kind ~= 'none' then
  local left = redis.call('TTL', KEYS[1])
  if left == -1 then ttl = nil elseif ttl and left > ttl then ttl = left end
end
local number = issued and string.format('%.0f', issued) or 'null'
local value = ARGV[2] .. number .. ARGV[4]
local mute = 0
if ARGV[6] ~= '' then
  local told = redis.pcall('PUBLISH', ARGV[6], ARGV[1])
  if type(told) == 'table' and told.err then mute = 1 end
end
local ends = ttl and tonumber(redis.call('TIME')[1]) + ttl
if ttl then
  redis.call('SET', KEYS[1], value, 'EX', string.format('%.0f', ttl))
else
  redis.call('SET', KEYS[1], value)
end
if KEYS[2] then
  local index = redis.call('TYPE', KEYS[2]).ok
  if index ~= 'zset' and index ~= 'none' then redis.call('DEL', KEYS[2]) end
  redis.call('ZADD', KEYS[2], ends or '+inf', ARGV[1])
end
return {ends or -1, issued or -1, mute}
";

/// KEYS entry, and the index where it is in the same slot; ARGV suffix, the channel to publish it
/// on. Answers whether the entry was there. Who hears it looks, and forgets what was lifted before
/// it could write it back.
pub(super) const DELETE: &str = r"
if KEYS[2] then redis.call('ZREM', KEYS[2], ARGV[1]) end
local was = redis.call('DEL', KEYS[1])
redis.pcall('PUBLISH', ARGV[2], ARGV[1])
return was
";

/// KEYS index; ARGV most to drop. Drops names whose entries are over; answers how many.
pub(super) const SWEEP: &str = r"
local now = redis.call('TIME')[1]
local over = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, ARGV[1])
if #over > 0 then redis.call('ZREM', KEYS[1], unpack(over)) end
return #over
";

/// KEYS index; ARGV the last name that was read or empty, its score, how many. Answers names and
/// scores; goes on by name, or by score when that name has gone since.
pub(super) const LIST: &str = r"
local from = 0
if ARGV[1] ~= '' then
  local rank = redis.call('ZRANK', KEYS[1], ARGV[1])
  if rank then from = rank + 1 else from = redis.call('ZCOUNT', KEYS[1], '-inf', '(' .. ARGV[2]) end
end
return redis.call('ZRANGE', KEYS[1], from, from + ARGV[3] - 1, 'WITHSCORES')
";

/// How often a put is begun anew because the master changed on the way.
pub(super) const PLACES_MAX: usize = 3;
/// Entries written in one pipeline when many are asserted.
pub(super) const PUTS_AT_ONCE: usize = 200;
/// What a `WAIT` may take beyond its own time.
const WAIT_ALLOWANCE: Duration = Duration::from_millis(200);
/// Names that one sweep drops.
pub(super) const SWEEP_NAMES: u32 = 1000;

impl Redis {
    /// Stores an entry for `ttl` (`None`: for ever), joined with what is there; the expiry is
    /// told by `now`, so that clocks which differ do not shorten a life.
    pub(in crate::store) async fn put(
        &self,
        suffix: &str,
        record: &Record,
        ttl: Option<Duration>,
        now: UnixTime,
    ) -> Result<Entry, Error> {
        let put = self.put_command(suffix, record, ttl, &self.names.revoked)?;
        for _ in 0..PLACES_MAX {
            self.connector.hold().await;
            let mut answer = self.write(put.clone()).await;
            if answer.as_ref().is_err_and(|error| *error == Error::Lost) {
                // On a connection that was closed; putting twice changes nothing.
                answer = self.write(put.clone()).await;
            }
            let (written, place) = answer?;
            if !self.connector.is_right(place.as_deref()).await? {
                continue; // To a master that is none any more: nothing is certain.
            }
            let put = Put::read(written)?;
            if put.mute {
                self.warn_mute();
            }
            return Ok(put.entry(suffix, record, ttl, now));
        }
        Err(Error::Lost)
    }

    /// The answer to a put, and which server gave it, when others decide on that.
    async fn write(&self, put: Cmd) -> Result<(Value, Option<Arc<Host>>), Error> {
        let mut pipeline = Pipeline::with_capacity(2);
        pipeline.add_command(put);
        let Some(replicated) = &self.replicated else {
            let deadline = Instant::now() + self.timeout;
            let (answers, place) = self.control.ask_placed(&pipeline, deadline).await?;
            return Ok((single(answers)?, place));
        };
        let link = replicated.link.lock().await;
        // Together with what it waits for: on a connection that was made in between, `WAIT` would
        // count replicas that have nothing to wait for.
        pipeline.add_command(wait_command(replicated.replicas, self.timeout));
        let deadline = wait_deadline(self.timeout);
        let (answers, place) = link.ask_placed(&pipeline, deadline).await?;
        let mut answers = answers.into_iter();
        let written = answer::checked(answers.next().unwrap_or_default())?;
        waited(answers.next().unwrap_or_default(), replicated.replicas)?;
        Ok((written, place))
    }

    /// Stores many entries, as [`Redis::put`] does each, without waiting for replicas and without
    /// a word: they are known already.
    pub(in crate::store) async fn put_all(
        &self,
        entries: &[Entry],
        now: UnixTime,
    ) -> Result<(), Error> {
        for chunk in entries.chunks(PUTS_AT_ONCE) {
            let mut pipeline = Pipeline::with_capacity(chunk.len());
            for entry in chunk {
                let ttl = entry.expires.map(|end| UnixTime(end).since(now));
                pipeline.add_command(self.put_command(&entry.suffix, &entry.record, ttl, "")?);
            }
            for value in self.ask(&pipeline).await? {
                Put::read(value)?;
            }
        }
        Ok(())
    }

    fn put_command(
        &self,
        suffix: &str,
        record: &Record,
        ttl: Option<Duration>,
        channel: &str,
    ) -> Result<Cmd, Error> {
        let index = Some(self.names.index.as_str());
        put_command(&self.entry_key(suffix), index, suffix, record, ttl, channel)
    }

    fn warn_mute(&self) {
        warn_mute(&self.mute, &self.names.revoked);
    }

    /// Removes an entry; whether it was there.
    pub(in crate::store) async fn delete(&self, suffix: &str) -> Result<bool, Error> {
        let mut pipeline = Pipeline::with_capacity(1);
        pipeline.cmd("EVAL").arg(DELETE).arg(2);
        pipeline.arg(self.entry_key(suffix)).arg(&self.names.index);
        pipeline.arg(suffix).arg(&self.names.revoked);
        Ok(answer::count(self.ask_one(&pipeline).await?)? > 0)
    }

    /// One entry with its remaining life; `None` when absent. A value that is no record is an
    /// entry with an empty one: it refuses, and can be listed and removed.
    pub(in crate::store) async fn get(
        &self,
        suffix: &str,
        now: UnixTime,
    ) -> Result<Option<Entry>, Error> {
        let key = self.entry_key(suffix);
        let mut pipeline = Pipeline::with_capacity(2);
        pipeline.cmd("GET").arg(&key);
        pipeline.cmd("TTL").arg(&key);
        let mut answers = self.ask(&pipeline).await?.into_iter();
        let mut next = || answers.next().unwrap_or_default();
        let (value, ttl) = (next(), next());
        living(suffix, value, ttl, now)
    }

    /// Which of these entries exist, and the generation, read last.
    pub(in crate::store) async fn exist(
        &self,
        suffixes: &[String],
    ) -> Result<(Vec<bool>, Option<Arc<str>>), Error> {
        let mut pipeline = Pipeline::with_capacity(suffixes.len() + 1);
        for suffix in suffixes {
            pipeline.cmd("EXISTS").arg(self.entry_key(suffix));
        }
        pipeline.cmd("GET").arg(&self.names.generation);
        let mut answers = self.ask(&pipeline).await?;
        let generation = answer::string(answers.pop().unwrap_or_default())?;
        let exist = answers.into_iter().map(|n| Ok(answer::count(n)? > 0));
        Ok((exist.collect::<Result<_, Error>>()?, generation.as_deref().map(generation_text)))
    }

    /// At most `limit` entries behind `after`.
    pub(in crate::store) async fn list(
        &self,
        limit: usize,
        after: Option<&str>,
    ) -> Result<Page, Error> {
        let (score, name) = place(after);
        let mut pipeline = Pipeline::with_capacity(1);
        pipeline.cmd("EVAL").arg(LIST).arg(1).arg(&self.names.index);
        pipeline.arg(name).arg(score).arg(limit);
        let names = scored_names(self.ask_one(&pipeline).await?)?;
        let next = cursor(&names, limit);
        let entries = self.read(names).await?;
        Ok(Page { entries, next })
    }

    async fn read(&self, names: Vec<(String, String)>) -> Result<Vec<Entry>, Error> {
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let mut pipeline = Pipeline::with_capacity(1);
        pipeline.cmd("MGET");
        for (name, _) in &names {
            pipeline.arg(self.entry_key(name));
        }
        let values = answer::strings(self.ask_one(&pipeline).await?, names.len())?;
        Ok(names
            .into_iter()
            .zip(values)
            .filter_map(|(name, value)| Some(listed(name, value?)))
            .collect())
    }

    /// Drops index names whose entries are over; how many (more may be left when it is 1000).
    pub(in crate::store) async fn sweep(&self) -> Result<u64, Error> {
        let mut pipeline = Pipeline::with_capacity(1);
        pipeline.cmd("EVAL").arg(SWEEP).arg(1).arg(&self.names.index).arg(SWEEP_NAMES);
        answer::count(self.ask_one(&pipeline).await?)
    }

    /// The server's clock.
    pub(in crate::store) async fn time(&self) -> Result<UnixTime, Error> {
        let mut pipeline = Pipeline::with_capacity(1);
        pipeline.cmd("TIME");
        time(self.ask_one(&pipeline).await?)
    }

    /// The id of the contents; `None` when there is none.
    pub(in crate::store) async fn generation(&self) -> Result<Option<Arc<str>>, Error> {
        let mut pipeline = Pipeline::with_capacity(1);
        pipeline.cmd("GET").arg(&self.names.generation);
        let value = answer::string(self.ask_one(&pipeline).await?)?;
        Ok(value.as_deref().map(generation_text))
    }

    /// Sets the id unless there is one, and answers the one that now holds: gateways that race
    /// agree on the first.
    pub(in crate::store) async fn begin_generation(&self, id: &str) -> Result<Arc<str>, Error> {
        let mut pipeline = Pipeline::with_capacity(2);
        pipeline.cmd("SET").arg(&self.names.generation).arg(id).arg("NX");
        pipeline.cmd("GET").arg(&self.names.generation);
        let mut answers = self.ask(&pipeline).await?.into_iter();
        answer::checked(answers.next().unwrap_or_default())?;
        let value = answer::string(answers.next().unwrap_or_default())?;
        value.as_deref().map(generation_text).ok_or(Error::Shape("the generation did not stay"))
    }

    /// What the server's settings mean for revocations, in words for the log.
    pub(in crate::store) async fn warnings(&self) -> Result<Vec<String>, Error> {
        let answers = self.ask(&super::warnings::question(self.kind)).await?;
        Ok(super::warnings::judge(self.kind, answers))
    }

    /// The same for logins and refreshes.
    pub(in crate::store) async fn issuing_warnings(&self) -> Result<Vec<String>, Error> {
        let answers = self.ask(&super::warnings::question(Kind::Single)).await?;
        Ok(super::warnings::judge_issuing(answers))
    }

    fn entry_key(&self, suffix: &str) -> String {
        format!("{}{suffix}", self.names.entry)
    }

    async fn ask(&self, pipeline: &Pipeline) -> Result<Vec<Value>, Error> {
        self.control.ask(pipeline, Instant::now() + self.timeout).await
    }

    pub(super) async fn ask_one(&self, pipeline: &Pipeline) -> Result<Value, Error> {
        single(self.ask(pipeline).await?)
    }
}

/// Puts an entry, and its line in the index where there is one in the same slot.
pub(super) fn put_command(
    key: &str,
    index: Option<&str>,
    suffix: &str,
    record: &Record,
    ttl: Option<Duration>,
    channel: &str,
) -> Result<Cmd, Error> {
    let (head, tail) = json_around_issued_before(record)?;
    let issued = record.issued_before.map_or_else(|| "null".to_owned(), |s| s.to_string());
    let ttl = ttl.map_or_else(String::new, |ttl| ttl.as_secs().max(1).to_string());
    let mut put = redis::cmd("EVAL");
    put.arg(PUT).arg(1 + usize::from(index.is_some())).arg(key).arg(index);
    put.arg(suffix).arg(head).arg(issued).arg(tail).arg(ttl).arg(channel);
    Ok(put)
}

/// The answer to `TIME`, in whole seconds.
pub(super) fn time(value: Value) -> Result<UnixTime, Error> {
    let Value::Array(parts) = answer::checked(value)? else {
        return Err(Error::Shape("TIME answered no array"));
    };
    let seconds = parts.into_iter().next().and_then(answer::text);
    let seconds = seconds.and_then(|s| String::from_utf8(s).ok()?.parse().ok());
    seconds.map(UnixTime).ok_or(Error::Shape("TIME answered no seconds"))
}

/// Says once that the store's user may not publish.
pub(super) fn warn_mute(said: &AtomicBool, channel: &str) {
    if !said.swap(true, Ordering::Relaxed) {
        tracing::warn!(
            channel,
            "the store forbids to publish revocations (ACL: grant +publish and the channel); \
             other gateways' live streams hear of them two seconds later"
        );
    }
}

/// The answer to a single command.
fn single(mut answers: Vec<Value>) -> Result<Value, Error> {
    answer::checked(answers.pop().unwrap_or_default())
}

pub(super) fn wait_command(replicas: u32, timeout: Duration) -> Cmd {
    let patience = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX).max(1);
    let mut wait = redis::cmd("WAIT");
    wait.arg(replicas).arg(patience);
    wait
}

/// Until when a command and the `WAIT` behind it may take.
pub(super) fn wait_deadline(timeout: Duration) -> Instant {
    // The server looks at the clock ten times a second only.
    Instant::now() + timeout * 2 + WAIT_ALLOWANCE
}

/// Whether the answer to `WAIT` is enough.
pub(super) fn waited(answer: Value, wanted: u32) -> Result<(), Error> {
    let got = u32::try_from(answer::count(answer)?).unwrap_or(u32::MAX);
    if got < wanted { Err(Error::NotReplicated { got, wanted }) } else { Ok(()) }
}

/// The record's JSON without the number that the script decides on.
fn json_around_issued_before(record: &Record) -> Result<(String, &'static str), Error> {
    let undated = Record { issued_before: None, ..record.clone() };
    let json = serde_json::to_string(&undated).map_err(|_| Error::Shape("no JSON"))?;
    let head = json.strip_suffix("null}").ok_or(Error::Shape("no JSON"))?;
    Ok((head.to_owned(), "}"))
}

/// The entry that the answers to `GET` and `TTL` tell of.
pub(super) fn living(
    suffix: &str,
    value: Value,
    ttl: Value,
    now: UnixTime,
) -> Result<Option<Entry>, Error> {
    let value = answer::string(value)?;
    let Value::Int(ttl) = answer::checked(ttl)? else {
        return Err(Error::Shape("no number where one belongs"));
    };
    // A life of -2 has ended between the two answers.
    let Some(value) = value.filter(|_| ttl != -2) else { return Ok(None) };
    let expires = u64::try_from(ttl).ok().map(|s| now.plus(Duration::from_secs(s)).seconds());
    Ok(Some(Entry { suffix: suffix.to_owned(), record: lenient(&value), expires }))
}

/// An entry by its line in the index, and its value.
pub(super) fn listed((suffix, score): (String, String), value: Vec<u8>) -> Entry {
    // Fractions do not occur; `inf` is no number of seconds and means never.
    Entry { suffix, record: lenient(&value), expires: score.parse().ok() }
}

/// Where a page begins: the score and the name of the last line that was read.
pub(super) fn place(after: Option<&str>) -> (&str, &str) {
    after.and_then(|cursor| cursor.split_once(' ')).unwrap_or(("0", ""))
}

/// Where the next page begins, if there may be one.
pub(super) fn cursor(names: &[(String, String)], limit: usize) -> Option<String> {
    names.last().filter(|_| names.len() >= limit).map(|(name, score)| format!("{score} {name}"))
}

pub(super) fn lenient(value: &[u8]) -> Record {
    Record::parse(value).unwrap_or_else(|| Record {
        reason: "(unreadable value)".to_owned(),
        by: String::new(),
        at: 0,
        issued_before: None,
    })
}

/// The answer of [`PUT`].
pub(super) struct Put {
    /// When it ends by the server's clock, or -1.
    pub(super) ends: i64,
    issued_before: i64,
    /// Whether publishing failed.
    pub(super) mute: bool,
}

impl Put {
    /// What is kept now; `now` decides on the expiry, so that clocks which differ do not shorten a
    /// life.
    pub(super) fn entry(
        &self,
        suffix: &str,
        record: &Record,
        ttl: Option<Duration>,
        now: UnixTime,
    ) -> Entry {
        let expires = match ttl {
            Some(ttl) if self.ends >= 0 => Some(now.plus(ttl).seconds().max(self.ends)),
            Some(_) | None => None,
        };
        let mut record = record.clone();
        record.issued_before = (self.issued_before >= 0).then_some(self.issued_before);
        Entry { suffix: suffix.to_owned(), record, expires }
    }

    pub(super) fn read(value: Value) -> Result<Self, Error> {
        let numbers = match answer::checked(value)? {
            Value::Array(numbers) => numbers,
            _ => Vec::new(),
        };
        match numbers.as_slice() {
            [Value::Int(ends), Value::Int(issued_before), Value::Int(mute)] => {
                Ok(Self { ends: *ends, issued_before: *issued_before, mute: *mute != 0 })
            }
            _ => Err(Error::Shape("not three numbers")),
        }
    }
}

/// Names with scores as text. A script's `WITHSCORES` is a flat list.
pub(super) fn scored_names(value: Value) -> Result<Vec<(String, String)>, Error> {
    let Value::Array(items) = value else { return Err(Error::Shape("no array")) };
    let mut texts = items
        .into_iter()
        .map(|item| answer::text(item).and_then(|bytes| String::from_utf8(bytes).ok()));
    let mut names = Vec::new();
    while let Some(name) = texts.next() {
        match (name, texts.next().flatten()) {
            (Some(name), Some(score)) => names.push((name, score)),
            _ => return Err(Error::Shape("not names with scores")),
        }
    }
    Ok(names)
}
