//! Writing, reading and listing entries in a cluster, where an entry and the index lie in
//! different slots.
//!
//! The entry is written first, by one script over its one key, and waited for; that is the
//! revocation. Its line in the index follows as a second command. A line that cannot be written
//! costs nothing but its place in listings: it is written as soon as the index can be reached, and
//! again whenever what this gateway remembers is asserted.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use redis::{Cmd, Value};
use tokio::time::{Instant, sleep_until};

use super::Cluster;
use super::router::{Group, Kind};
use super::slot;
use crate::store::redis::answer;
use crate::store::redis::entries::{
    DELETE, LIST, PLACES_MAX, PUTS_AT_ONCE, Put, SWEEP, SWEEP_NAMES, cursor, listed, living, place,
    put_command, scored_names, wait_command, wait_deadline, waited, warn_mute,
};
use crate::store::redis::lookup::generation_text;
use crate::store::redis::warnings;
use crate::store::{Entry, Error, Page, Record};
use crate::time::UnixTime;

/// KEYS index; ARGV suffix, expiry or `+inf`. Never makes a line end earlier.
const INDEX: &str = r"
local kind = redis.call('TYPE', KEYS[1]).ok
if kind ~= 'zset' and kind ~= 'none' then redis.call('DEL', KEYS[1]) end
local old = redis.call('ZSCORE', KEYS[1], ARGV[1])
if old and (old == 'inf' or ARGV[2] ~= '+inf' and tonumber(old) >= tonumber(ARGV[2])) then
  return 0
end
return redis.call('ZADD', KEYS[1], ARGV[2], ARGV[1])
";

/// Lines that wait for the index to be reached; more are left to the assertion.
const UNINDEXED_MAX: usize = 10_000;

/// Lines of the index: suffix and score.
pub(super) type Lines = BTreeMap<String, String>;

impl Cluster {
    /// As [`crate::store::Store::put`].
    pub(in crate::store) async fn put(
        &self,
        suffix: &str,
        record: &Record,
        ttl: Option<Duration>,
        now: UnixTime,
    ) -> Result<Entry, Error> {
        let key = self.entry_key(suffix);
        let slot = slot::of(key.as_bytes());
        let put = put_command(&key, None, suffix, record, ttl, &self.names.revoked)?;
        for _ in 0..PLACES_MAX {
            self.hold(slot).await?;
            let begun = Instant::now();
            let (written, waited) = self.write(&key, put.clone()).await?;
            let known = self.control.topology().confirmed(self.deadline()).await?;
            if known.settled(slot).is_none_or(|settled| settled > begun) {
                continue; // To a master that is none any more: nothing is certain.
            }
            let put = Put::read(written)?;
            if put.mute {
                warn_mute(&self.mute, &self.names.revoked);
            }
            self.index(Lines::from([(suffix.to_owned(), score(put.ends))])).await;
            waited?;
            return Ok(put.entry(suffix, record, ttl, now));
        }
        Err(Error::Lost)
    }

    /// Completes when what is written to the slot's master holds on every gateway.
    async fn hold(&self, slot: u16) -> Result<(), Error> {
        self.control.topology().ready(self.deadline()).await?;
        if let Some(settled) = self.control.topology().settled(slot) {
            sleep_until(settled).await;
        }
        Ok(())
    }

    /// The answer to a put, and whether enough replicas have it.
    async fn write(&self, key: &str, put: Cmd) -> Result<(Value, Result<(), Error>), Error> {
        let Some(replicated) = &self.replicated else {
            return Ok((self.control.run(key, put, self.deadline()).await?, Ok(())));
        };
        let _one_at_a_time = replicated.turn.lock().await;
        let wait = wait_command(replicated.replicas, self.timeout);
        let groups = [group(key, vec![put, wait])];
        let mut answers = replicated.router.ask(&groups, wait_deadline(self.timeout)).await;
        let mut values = answers.pop().unwrap_or(Err(Error::Lost))?.into_iter();
        let written = answer::checked(values.next().unwrap_or_default())?;
        Ok((written, waited(values.next().unwrap_or_default(), replicated.replicas)))
    }

    /// As [`crate::store::Store::put_all`].
    pub(in crate::store) async fn put_all(
        &self,
        entries: &[Entry],
        now: UnixTime,
    ) -> Result<(), Error> {
        for chunk in entries.chunks(PUTS_AT_ONCE) {
            let mut groups = Vec::with_capacity(chunk.len());
            for entry in chunk {
                let ttl = entry.expires.map(|end| UnixTime(end).since(now));
                let key = self.entry_key(&entry.suffix);
                let put = put_command(&key, None, &entry.suffix, &entry.record, ttl, "")?;
                groups.push(group(&key, vec![put]));
            }
            let answers = self.control.ask(&groups, self.deadline()).await;
            let mut lines = Lines::new();
            for (entry, values) in chunk.iter().zip(answers) {
                let put = Put::read(values?.pop().unwrap_or_default())?;
                lines.insert(entry.suffix.clone(), score(put.ends));
            }
            self.write_index(&lines).await?;
        }
        Ok(())
    }

    /// As [`crate::store::Store::delete`]: the entry, then its line. When the line could not be
    /// taken out that is an error, so that it is tried again; a second time it counts as there.
    pub(in crate::store) async fn delete(&self, suffix: &str) -> Result<bool, Error> {
        self.unindexed().remove(suffix);
        let key = self.entry_key(suffix);
        let mut delete = redis::cmd("EVAL");
        delete.arg(DELETE).arg(1).arg(&key).arg(suffix).arg(&self.names.revoked);
        let entries = answer::count(self.control.run(&key, delete, self.deadline()).await?)?;
        let mut remove = redis::cmd("ZREM");
        remove.arg(&self.names.index).arg(suffix);
        let lines = self.control.run(&self.names.index, remove, self.deadline()).await?;
        Ok(entries > 0 || answer::count(lines)? > 0)
    }

    /// As [`crate::store::Store::get`].
    pub(in crate::store) async fn get(
        &self,
        suffix: &str,
        now: UnixTime,
    ) -> Result<Option<Entry>, Error> {
        let key = self.entry_key(suffix);
        let commands = ["GET", "TTL"].map(|word| {
            let mut command = redis::cmd(word);
            command.arg(&key);
            command
        });
        let mut answers =
            self.control.ask(&[group(&key, commands.to_vec())], self.deadline()).await;
        let mut values = answers.pop().unwrap_or(Err(Error::Lost))?.into_iter();
        let mut next = || values.next().unwrap_or_default();
        let (value, ttl) = (next(), next());
        living(suffix, value, ttl, now)
    }

    /// As [`crate::store::Store::exist`]; the generation is that of the slots asked.
    pub(in crate::store) async fn exist(
        &self,
        suffixes: &[String],
    ) -> Result<(Vec<bool>, Option<Arc<str>>), Error> {
        let groups = suffixes.iter().map(|suffix| {
            let key = self.entry_key(suffix);
            let mut exists = redis::cmd("EXISTS");
            exists.arg(&key);
            let slot = slot::of(key.as_bytes());
            let commands = vec![exists, self.markers.read(slot)];
            Group { slot, commands, kind: Kind::Lookup }
        });
        let groups: Vec<Group> = groups.collect();
        let mut exist = Vec::with_capacity(suffixes.len());
        let mut markers: Vec<Option<Arc<str>>> = Vec::new();
        for values in self.control.ask(&groups, self.deadline()).await {
            let mut values = values?.into_iter();
            exist.push(answer::count(values.next().unwrap_or_default())? > 0);
            let marker = answer::string(values.next().unwrap_or_default())?;
            let marker = marker.as_deref().map(generation_text);
            if !markers.contains(&marker) {
                markers.push(marker);
            }
        }
        let generation = if markers.len() == 1 { markers.pop().flatten() } else { None };
        Ok((exist, generation))
    }

    /// As [`crate::store::Store::list`].
    pub(in crate::store) async fn list(
        &self,
        limit: usize,
        after: Option<&str>,
    ) -> Result<Page, Error> {
        let (score, name) = place(after);
        let mut list = redis::cmd("EVAL");
        list.arg(LIST).arg(1).arg(&self.names.index).arg(name).arg(score).arg(limit);
        let names =
            scored_names(self.control.run(&self.names.index, list, self.deadline()).await?)?;
        let next = cursor(&names, limit);
        let groups = names.iter().map(|(suffix, _)| {
            let key = self.entry_key(suffix);
            let mut get = redis::cmd("MGET");
            get.arg(&key);
            group(&key, vec![get])
        });
        let groups: Vec<Group> = groups.collect();
        let mut entries = Vec::with_capacity(names.len());
        let answers = self.control.ask(&groups, self.deadline()).await;
        for (name, values) in names.into_iter().zip(answers) {
            let mut value = answer::strings(values?.pop().unwrap_or_default(), 1)?;
            entries.extend(value.pop().flatten().map(|value| listed(name, value)));
        }
        Ok(Page { entries, next })
    }

    /// As [`crate::store::Store::sweep`].
    pub(in crate::store) async fn sweep(&self) -> Result<u64, Error> {
        let mut sweep = redis::cmd("EVAL");
        sweep.arg(SWEEP).arg(1).arg(&self.names.index).arg(SWEEP_NAMES);
        answer::count(self.control.run(&self.names.index, sweep, self.deadline()).await?)
    }

    /// The clock of one node, always the same while the cluster stays as it is.
    pub(in crate::store) async fn time(&self) -> Result<UnixTime, Error> {
        let slot = self.markers.root_slot();
        let group = Group { slot, commands: vec![redis::cmd("TIME")], kind: Kind::Together };
        let mut answers = self.control.ask(&[group], self.deadline()).await;
        let answer = answers.pop().unwrap_or(Err(Error::Lost))?.pop().unwrap_or_default();
        crate::store::redis::entries::time(answer)
    }

    /// What the masters' settings mean for revocations, in words for the log.
    pub(in crate::store) async fn warnings(&self) -> Result<Vec<String>, Error> {
        let map = self.control.topology().ready(self.deadline()).await?;
        let mut by_words: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for host in map.masters() {
            let question = warnings::question(warnings::Kind::Cluster);
            let answers = self.control.send(host, &question, self.deadline()).await?;
            for warning in warnings::judge(warnings::Kind::Cluster, answers) {
                by_words.entry(warning).or_default().push(host.to_string());
            }
        }
        let mut words: Vec<String> = by_words
            .into_iter()
            .map(|(warning, hosts)| format!("{}: {warning}", hosts.join(", ")))
            .collect();
        if map.uncovered() > 0 {
            words.push(format!(
                "{} slots are served by no node: tokens and revocations with a key there get 503",
                map.uncovered()
            ));
        }
        Ok(words)
    }

    /// Writes lines of the index now, or keeps them for later.
    async fn index(&self, lines: Lines) {
        if let Err(error) = self.write_index(&lines).await {
            tracing::warn!(
                reason = error.reason(),
                detail = %error,
                "a revocation is in force and not yet in the list of revocations: the node that \
                 keeps the list was not reached"
            );
            let mut unindexed = self.unindexed();
            for (suffix, score) in lines {
                if unindexed.len() < UNINDEXED_MAX {
                    unindexed.insert(suffix, score);
                }
            }
        }
    }

    /// Writes lines that were kept for later.
    pub(super) async fn repair_index(&self) {
        let lines: Lines = self
            .unindexed()
            .iter()
            .take(PUTS_AT_ONCE)
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect();
        if !lines.is_empty() && self.write_index(&lines).await.is_ok() {
            self.unindexed().retain(|suffix, score| lines.get(suffix) != Some(score));
        }
    }

    async fn write_index(&self, lines: &Lines) -> Result<(), Error> {
        let command = |(suffix, score): (&String, &String)| {
            let mut index = redis::cmd("EVAL");
            index.arg(INDEX).arg(1).arg(&self.names.index).arg(suffix).arg(score);
            index
        };
        let commands: Vec<Cmd> = lines.iter().map(command).collect();
        let groups = [group(&self.names.index, commands)];
        for values in self.control.ask(&groups, self.deadline()).await {
            for value in values? {
                answer::checked(value)?;
            }
        }
        Ok(())
    }

    fn unindexed(&self) -> std::sync::MutexGuard<'_, Lines> {
        self.unindexed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn deadline(&self) -> Instant {
        Instant::now() + self.timeout
    }

    fn entry_key(&self, suffix: &str) -> String {
        format!("{}{suffix}", self.names.entry)
    }
}

fn group(key: &str, commands: Vec<Cmd>) -> Group {
    Group { slot: slot::of(key.as_bytes()), commands, kind: Kind::Together }
}

fn score(ends: i64) -> String {
    if ends < 0 { "+inf".to_owned() } else { ends.to_string() }
}
