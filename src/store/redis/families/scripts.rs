//! The scripts. Times are milliseconds of the store's clock unless they are called seconds.
//!
//! A family's fields: `state` (`live`, or why it is dead), `subject`, `client`, `account`,
//! `known`, `session`, `begun`, `until`, `used`, `turn`, `current`, `previous`, `rotated`,
//! `retries`, `mark`, `address`, `agent`, and `attempt` (of the step that killed it). A dead family
//! stays, as a tombstone without tokens, for as long as its last token could have been used, and
//! one that nobody used in time for as long as its last access token may be accepted somewhere.
//! The sealed successor of a bearer's token has a key of its own beside the family's, which is gone
//! after the grace.

/// The store's clock. Tests put their own in its place.
pub(super) const CLOCK: &str = r"
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
";

#[cfg(test)]
pub(super) const CLOCK_OF_TEST: &str = r"
local now = tonumber(redis.call('GET', 'clock'))
";

/// KEYS family; entries of sub, client, sid, issuer; blocklist index; the subject's list; session;
/// the sealed successor.
/// ARGV sid, the sid entry's name in the index, seconds that an ended session stays barred, `1`
/// when there is a session, the attempt.
pub(super) const FAMILY: &str = r"
local second = math.floor(now / 1000)
local function text(number) return string.format('%.0f', number) end

-- The last second up to which a dated entry refuses; what cannot be read refuses for ever.
local function refuses_until(key)
  local kind = redis.call('TYPE', key).ok
  if kind == 'none' then return -1 end
  if kind == 'string' then
    local fine, entry = pcall(cjson.decode, redis.call('GET', key))
    if fine and type(entry) == 'table' and type(entry.issued_before) == 'number'
        and entry.issued_before % 1 == 0 then
      return entry.issued_before
    end
  end
  return math.huge
end

-- The kind of revocation that stands against a login of this moment.
local function revoked(begun)
  if redis.call('EXISTS', KEYS[5]) == 1 then return 'issuer' end
  if redis.call('EXISTS', KEYS[4]) == 1 then return 'sid' end
  local login = math.floor(begun / 1000)
  if login <= refuses_until(KEYS[2]) then return 'sub' end
  if login <= refuses_until(KEYS[3]) then return 'client' end
end

-- Why the family gives no tokens; nothing when it is alive.
local function dead(state, begun, ends)
  if not state then return 'unknown' end
  if state ~= 'live' then return state end
  if now >= ends or begun > now + AHEAD_MAX then return 'expired' end
  return revoked(begun)
end

-- Keeps the family beyond its end: whose an access token is must be known as long as it lives.
local function keep(life)
  redis.call('PEXPIRE', KEYS[1], text(life + tonumber(ARGV[3]) * 1000))
end

-- Puts the session on the blocklist, as every other writer does: a longer life is not shortened.
-- A store that loses the tombstone has the family again, which could live on until it ends.
local function bar(head, ends)
  local ttl = tonumber(ARGV[3]) + math.max(0, math.ceil(((ends or now) - now) / 1000))
  local left = redis.call('TTL', KEYS[4])
  if left == -1 then return end
  if left > ttl then ttl = left end
  local value = head .. text(second) .. ',\34issued_before\34:null}'
  redis.call('SET', KEYS[4], value, 'EX', text(ttl))
  local index = redis.call('TYPE', KEYS[6]).ok
  if index ~= 'zset' and index ~= 'none' then redis.call('DEL', KEYS[6]) end
  redis.call('ZADD', KEYS[6], text(second + ttl), ARGV[2])
end

-- What is left says that there was a family, and why it ended.
local function bury(state)
  redis.call('HSET', KEYS[1], 'state', state, 'attempt', ARGV[5])
  redis.call('HDEL', KEYS[1], 'current', 'previous', 'rotated', 'retries',
    'mark', 'address', 'agent', 'known')
  redis.call('DEL', KEYS[9])
  if ARGV[4] == '1' then redis.call('DEL', KEYS[8]) end
  redis.call('ZREM', KEYS[7], ARGV[1])
end
";

/// ARGV from 6: digest of the first token; idle, lifetime, longest wait; sessions per subject;
/// subject, client, account, what is known of it; mark, address, agent; the session's name, its
/// sealed refresh token.
pub(super) const BEGIN: &str = r"
local known = redis.call('HMGET', KEYS[1], 'state', 'current', 'until', 'turn', 'begun')
if known[1] then
  if known[1] ~= 'live' or known[2] ~= ARGV[6] then return {'unknown'} end
  local kind = revoked(tonumber(known[5]))
  if kind == 'sid' then return {'unknown'} end
  if kind then return {kind} end
  return {'kept', tonumber(known[5]), tonumber(known[3]), tonumber(known[4])}
end
if redis.call('EXISTS', KEYS[5]) == 1 then return {'issuer'} end
for key, kind in pairs({[2] = 'sub', [3] = 'client'}) do
  local wait = (refuses_until(KEYS[key]) + 1) * 1000 - now
  if wait > tonumber(ARGV[9]) then return {kind} end
  if wait > 0 then return {'wait', wait} end
end
local life = math.min(tonumber(ARGV[7]), tonumber(ARGV[8]))
redis.call('HSET', KEYS[1], 'state', 'live', 'subject', ARGV[11], 'client', ARGV[12],
  'account', ARGV[13], 'known', ARGV[14], 'session', ARGV[18], 'begun', text(now),
  'until', text(now + life), 'used', text(now), 'turn', '0', 'current', ARGV[6],
  'mark', ARGV[15], 'address', ARGV[16], 'agent', ARGV[17])
keep(life)
if ARGV[4] == '1' then
  redis.call('HSET', KEYS[8], 'sid', ARGV[1], 'turn', '0', 'refresh', ARGV[19])
  redis.call('PEXPIRE', KEYS[8], text(life))
end
redis.call('ZREMRANGEBYSCORE', KEYS[7], '-inf', text(now))
local surplus = redis.call('ZCARD', KEYS[7]) + 1 - tonumber(ARGV[10])
local answer = {'kept', now, now + life, 0}
if surplus > 0 then
  -- The list is in the order in which they end; which one was used last they say themselves.
  local prefix, used = string.sub(KEYS[1], 1, -1 - #ARGV[1]), {}
  local sids = redis.call('ZRANGE', KEYS[7], 0, -1)
  for _, sid in ipairs(sids) do
    used[sid] = tonumber(redis.call('HGET', prefix .. sid, 'used') or 0)
  end
  table.sort(sids, function(a, b) return used[a] < used[b] end)
  for i = 1, surplus do answer[#answer + 1] = sids[i] end
end
redis.call('ZADD', KEYS[7], text(now + life), ARGV[1])
if redis.call('PTTL', KEYS[7]) < life then redis.call('PEXPIRE', KEYS[7], text(life)) end
return answer
";

/// ARGV from 6: digests of the presented token and of its successor; the sealed successor; grace,
/// the part of it that is free, retries after that; idle, lifetime; mark, address, agent; the head
/// of a blocklist entry.
pub(super) const ADVANCE: &str = r"
local f = redis.call('HMGET', KEYS[1], 'state', 'begun', 'until', 'current', 'previous', 'rotated',
  'retries', 'mark', 'turn', 'attempt')
if f[1] == 'reused' and f[10] == ARGV[5] then return {'reused', now} end
local begun, ends = tonumber(f[2]), tonumber(f[3])
if f[1] then ends = math.min(ends, begun + tonumber(ARGV[13])) end
local why = dead(f[1], begun, ends)
if why == 'sub' or why == 'client' or why == 'sid' then bury(why) end
if why then return {why} end
local turn = tonumber(f[9])
if f[4] == ARGV[6] then
  local life = math.min(tonumber(ARGV[12]), begun + tonumber(ARGV[13]) - now)
  ends = now + life
  turn = turn + 1
  redis.call('HSET', KEYS[1], 'current', ARGV[7], 'previous', ARGV[6],
    'rotated', text(now), 'retries', '0', 'used', text(now), 'until', text(ends),
    'turn', text(turn), 'mark', ARGV[14], 'address', ARGV[15], 'agent', ARGV[16])
  keep(life)
  redis.call('ZADD', KEYS[7], text(ends), ARGV[1])
  if redis.call('PTTL', KEYS[7]) < life then redis.call('PEXPIRE', KEYS[7], text(life)) end
  if ARGV[4] == '1' then
    redis.call('HSET', KEYS[8], 'sid', ARGV[1], 'turn', text(turn), 'refresh', ARGV[8])
    redis.call('HDEL', KEYS[8], 'access')
    redis.call('PEXPIRE', KEYS[8], text(life))
  else
    redis.call('SET', KEYS[9], ARGV[8], 'PX', ARGV[9])
  end
  return {'rotated', now, ends, turn}
end
if f[5] == ARGV[6] and f[4] == ARGV[7] then return {'rotated', now, ends, turn} end
if ARGV[4] == '1' then
  -- A session's token never leaves the store: an earlier one is a slower gateway's, not a thief's.
  local current = redis.call('HGET', KEYS[8], 'refresh')
  if not current then return {'unknown'} end
  return {'again', now, ends, turn, current}
end
if f[5] == ARGV[6] then
  -- A clock that went back gives nobody more time than the grace.
  local age = math.abs(now - tonumber(f[6]))
  local answer = redis.call('GET', KEYS[9])
  if answer and f[8] == ARGV[14] and age <= tonumber(ARGV[9]) then
    local free = age <= tonumber(ARGV[10])
    if free or tonumber(f[7]) < tonumber(ARGV[11]) then
      if not free then redis.call('HINCRBY', KEYS[1], 'retries', 1) end
      return {'again', now, ends, turn, answer}
    end
  end
end
bury('reused')
bar(ARGV[17], ends)
return {'reused', now}
";

/// ARGV 6: the head of a blocklist entry.
pub(super) const END: &str = r"
local f = redis.call('HMGET', KEYS[1], 'state', 'until', 'attempt')
if f[1] == 'ended' and f[3] == ARGV[5] then return {'ended', 1} end
local alive = f[1] == 'live' and now < tonumber(f[2]) + tonumber(ARGV[3]) * 1000
if f[1] == 'live' then bury('ended') end
bar(ARGV[6], tonumber(f[2]))
return {'ended', alive and 1 or 0}
";

/// What may be shown of a family. Changes nothing. ARGV 6: lifetime.
pub(super) const LOOK: &str = r"
local f = redis.call('HMGET', KEYS[1], 'state', 'begun', 'until', 'turn', 'current', 'used',
  'address', 'agent')
local begun, ends = tonumber(f[2]), tonumber(f[3])
if f[1] then ends = math.min(ends, begun + tonumber(ARGV[6])) end
local why = dead(f[1], begun, ends)
if why then return {why} end
return {'live', now, ends, tonumber(f[4]), f[5], tonumber(f[6]), f[7], f[8]}
";

/// KEYS session; ARGV turn, sealed access token.
pub(super) const KEEP: &str = r"
if redis.call('HGET', KEYS[1], 'turn') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'access', ARGV[2])
return 1
";
