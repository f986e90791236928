"""What runs inside the server: each script is one atomic step, by the server's own clock.

Times are whole microseconds, exact in Lua's doubles until the year 2255. A script is known by
the hash of its text and a key carries `VERSION`, so that gateways of two versions may share a
server. All keys have one hash tag: in a cluster they are on one node, as one step needs.
"""

from hashlib import sha1

VERSION = 1
TAG = f"{{llm-gateway:{VERSION}}}"
LONGEST_MS = 400 * 24 * 3600 * 1000

_COMMON = (
    """
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local function whole(x) return string.format('%.0f', x) end
local function exact(x) return string.format('%.17g', x) end
local function expire(key, ms)
  redis.call('PEXPIRE', key, whole(math.min(math.max(1, math.ceil(ms)), """
    + str(LONGEST_MS)
    + """)))
end
local function keep(key, ms)
  if redis.call('PTTL', key) < ms then expire(key, ms) end
end
local function level(key, limit, rate)
  local known = redis.call('HMGET', key, 'v', 't')
  local passed = math.max(0, now - (tonumber(known[2]) or now)) / 1000000
  return math.min(limit, (tonumber(known[1]) or limit) + rate * passed)
end
local function fill(key, value, limit, rate, seconds)
  redis.call('HSET', key, 'v', exact(value), 't', whole(now))
  expire(key, (rate > 0 and (limit - value) / rate or seconds) * 1000)
end
"""
)

# KEYS: one for each take. ARGV: force, lease, then kind, amount, limit, rate, seconds for each;
# the kind 'f' is a window that has to be filled already.
# Returns {1, end of each window or ''…, free…}, {0, index, microseconds or -1, free…}, or
# {2, index} where a window is not filled.
_TAKE = """
local force, lease = ARGV[1] == '1', ARGV[2]
local takes, free, refused = {}, {}, 0
for i, key in ipairs(KEYS) do
  local at = 5 * i - 2
  local take = {kind = ARGV[at], amount = tonumber(ARGV[at + 1]), limit = tonumber(ARGV[at + 2]),
                rate = tonumber(ARGV[at + 3]), seconds = tonumber(ARGV[at + 4])}
  if take.kind == 'b' then
    take.value = level(key, take.limit, take.rate)
    free[i] = take.value
  elseif take.kind ~= 's' then
    local known = redis.call('HMGET', key, 'v', 'u')
    take.value, take.stop = tonumber(known[1]), tonumber(known[2])
    if not take.stop or now >= take.stop then
      if take.kind == 'f' then return {2, i - 1} end
      take.value, take.stop = 0, now + math.floor(take.seconds * 1000000)
    end
    free[i] = take.limit - take.value
  else
    redis.call('ZREMRANGEBYSCORE', key, '-inf', whole(now))
    free[i] = take.limit - redis.call('ZCARD', key)
  end
  if refused == 0 and not force and (take.amount > free[i] or take.limit <= 0) then refused = i end
  takes[i] = take
end
if refused > 0 then
  local take, wait = takes[refused], -1
  if take.amount <= take.limit and take.limit > 0 then
    if take.stop then wait = take.stop - now
    elseif take.kind == 's' then wait = 1000000
    elseif take.rate > 0 then
      wait = math.ceil((take.amount - free[refused]) / take.rate * 1000000)
    end
  end
  local answer = {0, refused - 1, wait}
  for i = 1, #KEYS do answer[3 + i] = math.floor(free[i]) end
  return answer
end
local answer = {1}
for i, key in ipairs(KEYS) do
  local take = takes[i]
  answer[1 + i] = ''
  if take.kind == 'b' then
    fill(key, take.value - take.amount, take.limit, take.rate, take.seconds)
  elseif take.stop then
    redis.call('HSET', key, 'v', exact(take.value + take.amount), 'u', whole(take.stop))
    expire(key, (take.stop - now) / 1000)
    answer[1 + i] = whole(take.stop)
  else
    for n = 1, take.amount do
      redis.call('ZADD', key, whole(now + take.seconds * 1000000), lease .. ':' .. n)
    end
    keep(key, take.seconds * 1000)
  end
  answer[1 + #KEYS + i] = math.floor(free[i] - take.amount)
end
return answer
"""

# KEYS: one for each take. ARGV: lease, then kind, taken, used, limit, rate, seconds, end for each.
_SETTLE = """
local lease = ARGV[1]
for i, key in ipairs(KEYS) do
  local at = 7 * i - 5
  local kind, taken, used = ARGV[at], tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
  local limit, rate = tonumber(ARGV[at + 3]), tonumber(ARGV[at + 4])
  local seconds, stop = tonumber(ARGV[at + 5]), ARGV[at + 6]
  if kind == 'b' then
    fill(key, math.min(limit, level(key, limit, rate) + taken - used), limit, rate, seconds)
  elseif kind == 'w' then
    local known = redis.call('HMGET', key, 'v', 'u')
    if known[2] == stop and now < tonumber(stop) then
      redis.call('HSET', key, 'v', exact(math.max(0, tonumber(known[1]) + used - taken)))
    end
  else
    for n = used + 1, taken do redis.call('ZREM', key, lease .. ':' .. n) end
    for n = taken + 1, used do
      redis.call('ZADD', key, whole(now + seconds * 1000000), lease .. ':' .. n)
      keep(key, seconds * 1000)
    end
  end
end
return 1
"""

# KEYS: a window's and a slots' for each. Returns what each pair holds.
_USED = """
local answer = {}
for i = 1, #KEYS, 2 do
  local known = redis.call('HMGET', KEYS[i], 'v', 'u')
  local held = 0
  if known[2] and now < tonumber(known[2]) then held = math.floor(tonumber(known[1])) end
  answer[#answer + 1] = held + redis.call('ZCOUNT', KEYS[i + 1], '(' .. whole(now), '+inf')
end
return answer
"""

# KEYS: one for each lease. ARGV: lease, slots, seconds for each. Those purged come back.
_RENEW = """
for i, key in ipairs(KEYS) do
  local lease, slots, seconds = ARGV[3 * i - 2], tonumber(ARGV[3 * i - 1]), tonumber(ARGV[3 * i])
  for n = 1, slots do
    redis.call('ZADD', key, whole(now + seconds * 1000000), lease .. ':' .. n)
  end
  keep(key, seconds * 1000)
end
return 1
"""

TAKE, SETTLE, USED, RENEW = ((_COMMON + text).encode() for text in (_TAKE, _SETTLE, _USED, _RENEW))
ALL = (TAKE, SETTLE, USED, RENEW)
NAMES = {script: sha1(script, usedforsecurity=False).hexdigest().encode() for script in ALL}
