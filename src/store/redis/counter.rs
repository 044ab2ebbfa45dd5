//! Rate limits that all gateways of a store share: one script decides and counts, by the store's
//! own clock, so that neither a race nor a clock that is wrong lets one more through.
//!
//! The arithmetic is that of the limiter in memory (GCRA): a key holds the moment at which its
//! quota is whole again, in microseconds. It leaves when it says nothing any more.
//!
//! A limit on failures holds a sorted set per key: that moment under the name `failed`, and each
//! request in flight under its id, scored with the moment from which it counts as a failure
//! although its gateway never said so (it crashed, or lost its connection).

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use redis::{Script, Value};
use tokio::time::Instant;

use super::road::Road;
use crate::store::{Error, Level, Meter, Outcome};

/// How long a request in flight is waited for before it counts as a failure.
pub(crate) const OUTCOME_MAX: Duration = Duration::from_secs(600);

/// The store's clock. Tests put their own in its place.
const CLOCK: &str = r"
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
";

/// ARGV microseconds per unit, units at once. `whole` is the moment at which all units are back:
/// never further away than the quota allows, whatever the clock or the key went through.
const RATE: &str = r"
local interval, count = tonumber(ARGV[1]), tonumber(ARGV[2])
local burst = interval * count
local function text(number) return string.format('%.0f', number) end
local function bounded(whole) return math.min(math.max(tonumber(whole) or 0, now), now + burst) end
";

/// KEYS meter; ARGV rate. Decides on one request and counts it when it is allowed. Answers
/// {1, units left} or {0, microseconds to wait}.
const COUNT: &str = r"
local whole = bounded(redis.call('GET', KEYS[1]))
local wait = whole + interval - burst - now
if wait > 0 then return {0, wait} end
whole = whole + interval
redis.call('SET', KEYS[1], text(whole), 'PX', text(math.ceil((whole - now) / 1000)))
return {1, math.floor((burst - (whole - now)) / interval)}
";

/// KEYS meter; ARGV rate, id. Brings the sorted set up to date without request `id`: what was
/// abandoned has failed at the moment at which it was given up.
const FLIGHT: &str = r"
redis.call('ZREM', KEYS[1], ARGV[3])
local failed = tonumber(redis.call('ZSCORE', KEYS[1], 'failed') or 0)
local function fail(at) failed = math.min(math.max(failed, at) + interval, at + burst) end
local over = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', text(now), 'WITHSCORES')
for i = 1, #over, 2 do
  if over[i] ~= 'failed' then fail(tonumber(over[i + 1])) end
end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', text(now))
redis.call('ZREM', KEYS[1], 'failed')
local flying = redis.call('ZCARD', KEYS[1])
local function keep()
  failed = bounded(failed)
  if failed > now then redis.call('ZADD', KEYS[1], text(failed), 'failed') end
  local last = redis.call('ZREVRANGE', KEYS[1], 0, 0, 'WITHSCORES')[2]
  if last then
    local life = tonumber(last) + flying * interval - now
    redis.call('PEXPIRE', KEYS[1], text(math.ceil(life / 1000)))
  end
end
";

/// ARGV rate, id, microseconds after which the request counts as abandoned. Lets it join those in
/// flight if one unit more than all of them would fit. Answers as [`COUNT`].
const RESERVE: &str = r"
local units = flying + 1
local wait = bounded(failed) + units * interval - burst - now
if wait <= 0 then
  flying = units
  redis.call('ZADD', KEYS[1], text(now + tonumber(ARGV[4])), ARGV[3])
end
keep()
if units > count then return {0, 0} end
if wait > 0 then return {0, wait} end
return {1, math.floor(-wait / interval)}
";

/// ARGV rate, id, 1 when it failed.
const SETTLE: &str = r"
if ARGV[4] == '1' then fail(now) end
keep()
return {1, 0}
";

static SCRIPTS: LazyLock<Scripts> = LazyLock::new(|| Scripts::on(CLOCK));

struct Scripts {
    count: Source,
    reserve: Source,
    settle: Source,
}

/// A script's text and the name that a server knows it by once it has seen it.
struct Source {
    text: String,
    name: Script,
}

impl Scripts {
    fn on(clock: &str) -> Self {
        let source = |parts: &[&str]| {
            let text = [&[clock, RATE], parts].concat().concat();
            Source { name: Script::new(&text), text }
        };
        Self {
            count: source(&[COUNT]),
            reserve: source(&[FLIGHT, RESERVE]),
            settle: source(&[FLIGHT, SETTLE]),
        }
    }
}

/// A worker's way to the limits that all gateways of its store share.
#[derive(Clone)]
pub struct Counter {
    road: Road,
    /// `{prefix}limit:`
    head: Arc<str>,
    timeout: Duration,
}

impl Counter {
    pub(super) fn new(road: Road, head: &str, timeout: Duration) -> Self {
        Self { road, head: head.into(), timeout }
    }

    /// Decides on one request and, when it is allowed, counts it.
    ///
    /// # Errors
    ///
    /// No certain answer within `[store] timeout`; it may be counted nevertheless.
    pub async fn count(&self, meter: &Meter) -> Result<Level, Error> {
        level(self.run(&SCRIPTS.count, meter, None).await?)
    }

    /// Lets request `id` join those in flight, if one more than all of them would fit. The id must
    /// be one that no other request has.
    ///
    /// # Errors
    ///
    /// No certain answer within `[store] timeout`; its unit may be held nevertheless.
    pub async fn reserve(&self, meter: &Meter, id: u128) -> Result<Level, Error> {
        level(self.run(&SCRIPTS.reserve, meter, Some((id, micros(OUTCOME_MAX)))).await?)
    }

    /// Request `id` has ended. A failure counts whether or not its unit is still held.
    ///
    /// # Errors
    ///
    /// No certain answer within `[store] timeout`. If the store did not hear it, the request
    /// counts as a failure ten minutes after it began.
    pub async fn settle(&self, meter: &Meter, id: u128, outcome: Outcome) -> Result<(), Error> {
        let failed = u64::from(outcome == Outcome::Failed);
        level(self.run(&SCRIPTS.settle, meter, Some((id, failed))).await?).map(drop)
    }

    /// Runs a script on a meter; `request` is its id and what else the script wants to know.
    async fn run(
        &self,
        script: &Source,
        meter: &Meter,
        request: Option<(u128, u64)>,
    ) -> Result<Value, Error> {
        let deadline = Instant::now() + self.timeout;
        match self.ask("EVALSHA", script.name.get_hash(), meter, request, deadline).await {
            Err(Error::Answer(code)) if &*code == "NOSCRIPT" => {
                self.ask("EVAL", &script.text, meter, request, deadline).await
            }
            answer => answer,
        }
    }

    async fn ask(
        &self,
        verb: &str,
        script: &str,
        meter: &Meter,
        request: Option<(u128, u64)>,
        deadline: Instant,
    ) -> Result<Value, Error> {
        let key = self.key(meter);
        let mut command = redis::cmd(verb);
        command.arg(script).arg(1).arg(&key);
        command.arg(micros(meter.interval).max(1)).arg(meter.count.get());
        if let Some((id, what)) = request {
            command.arg(format!("{id:032x}")).arg(what);
        }
        // On a lost connection it is asked again: counting twice is stricter than not at all.
        self.road.run(&key, command, deadline).await
    }

    fn key(&self, meter: &Meter) -> String {
        format!("{}{:016x}:{:032x}", self.head, meter.limit, meter.key)
    }
}

/// Whole microseconds, rounded up: never faster than the limiter in memory.
fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_nanos().div_ceil(1000)).unwrap_or(u64::MAX)
}

fn level(value: Value) -> Result<Level, Error> {
    let Value::Array(numbers) = value else {
        return Err(Error::Shape("a limit's script answered no array"));
    };
    match numbers.as_slice() {
        [Value::Int(1), Value::Int(left)] => u32::try_from(*left)
            .map(|left| Level::Allowed { left })
            .map_err(|_| Error::Shape("a limit has an impossible number of units left")),
        [Value::Int(0), Value::Int(wait)] => u64::try_from(*wait)
            .map(|wait| Level::Refused { wait: Duration::from_micros(wait) })
            .map_err(|_| Error::Shape("a limit is over in the past")),
        _ => Err(Error::Shape("a limit's script answered something else")),
    }
}

#[cfg(test)]
pub(crate) mod tests;
