-- Put before the scripts of rates, behind the buckets. A quota that tenants share fairly, without a
-- queue: by the rules of src/limits/fair.rs. Its clock says how much was paid for each weight; a
-- tenant's finish, at which time of that clock its backlog is paid. A hash has the clock and who a
-- tenant is, a sorted set the finishes. Each decision looks at one tenant, and at those that were
-- paid since, each of which some call had put there.
--
-- All numbers are whole and exact: an amount is a billion at most, in units of a 60,000th, and the
-- clock is set back in time. What a weight does not divide is to the cost of who takes, below one
-- unit for each weight; nothing is paid before its time, and less comes back rather than more.

-- Where the clock of lots begins again; and its half, which tells late from early.
local CLOCK_MAX, CLOCK_HALF = 1125899906842624, 562949953421312
-- How long after its hint a caller may come back for its claim, and the longest of all hints.
local CLAIM_GRACE, CLAIM_MAX = 6000, 126000

local function forget(quota, tenant)
  local weight = redis.call('HGET', quota.hash, 'w:' .. tenant)
  redis.call('ZREM', quota.finishes, tenant)
  redis.call('HDEL', quota.hash, 'w:' .. tenant, 'g:' .. tenant, 'b:' .. tenant)
  quota.weights = math.max(0, quota.weights - tonumber(weight or 0))
end

-- Pays backlogs off: those of all tenants at the same time, each by its weight.
local function pay(quota, paid)
  local left = math.min(paid, CLOCK_MAX) + quota.rest
  while true do
    local first = redis.call('ZRANGE', quota.finishes, 0, 0, 'WITHSCORES')
    if #first == 0 then
      -- Nobody has a backlog: nothing can be paid in advance.
      quota.rest, quota.backlog, quota.weights = 0, 0, 0
      return
    end
    local finish = tonumber(first[2])
    local needed = (finish - quota.clock) * quota.weights
    if needed > left then
      local steps = math.floor(left / quota.weights)
      quota.clock = quota.clock + steps
      quota.backlog = quota.backlog - steps * quota.weights
      quota.rest = left - steps * quota.weights
      return
    end
    quota.clock, quota.backlog, left = finish, quota.backlog - needed, left - needed
    forget(quota, first[1])
  end
end

-- Lets time pass in a quota, and finds a tenant in it. A clock that stepped back pays nothing.
local function open_quota(hash, finishes, tenant, now)
  local kept = redis.call('HMGET', hash, 'clock', 'base', 'rest', 'weights', 'backlog', 'at', 'rate',
    'born', 'claimer', 'claimed', 'until')
  local function number(index) return tonumber(kept[index] or 0) end
  local quota = {
    hash = hash, finishes = finishes, tenant = tenant, now = now,
    clock = number(1), base = number(2), rest = number(3), weights = number(4), backlog = number(5),
    rate = number(7), born = number(8), claimer = kept[9], claimed = number(10), ends = number(11),
  }
  pay(quota, math.max(0, now - tonumber(kept[6] or now)) * quota.rate)
  -- A claim that lies far ahead was made before the clock stepped back.
  if quota.ends <= now or quota.ends - now > CLAIM_MAX then quota.claimer = false end
  quota.finish = tonumber(redis.call('ZSCORE', finishes, tenant))
  if quota.finish then
    local own = redis.call('HMGET', hash, 'w:' .. tenant, 'g:' .. tenant, 'b:' .. tenant)
    quota.weight, quota.given, quota.birth = tonumber(own[1] or 1), tonumber(own[2] or 0), own[3]
  end
  return quota
end

-- How many milliseconds until an amount fits, if nobody else takes anything; zero: now.
local function quota_wait(quota, amount, rate, burst)
  local whole, asked = burst * UNITS, math.min(amount, burst) * UNITS
  local claimed = 0
  if quota.claimer and quota.claimer ~= quota.tenant then
    claimed = math.min(quota.claimed * UNITS, whole - asked)
  end
  -- The clock goes in whole steps, each of which pays all weights.
  local function ms_of(steps)
    return math.ceil(math.max(0, steps * quota.weights - quota.rest) / rate)
  end
  local over = quota.backlog + claimed + asked - whole
  local of_whole = ms_of(math.ceil(math.max(0, over) / math.max(1, quota.weights)))
  if not quota.finish then return of_whole end
  -- The tenant's backlog and the call within what is free, of which a step moves both sides; or
  -- until it has no backlog: then all that is free is its.
  local none = quota.finish - quota.clock
  over = math.max(0, over + none * quota.weight)
  local both = math.ceil(over / (quota.weights + quota.weight))
  return math.max(ms_of(math.min(both, none)), of_whole)
end

-- Notes that a tenant without a backlog found no room: the others leave it to it.
local function claim(quota, amount, wait)
  if quota.finish or (quota.claimer and quota.claimer ~= quota.tenant) then return end
  quota.claimer, quota.claimed = quota.tenant, amount
  quota.ends = quota.now + math.min(wait + CLAIM_GRACE, CLAIM_MAX)
end

-- Takes an amount, whether it fits or not. Answers: when it is paid, and which backlog it is in.
local function take_share(quota, amount, weight)
  local tenant = quota.tenant
  if quota.claimer == tenant then quota.claimer = false end
  if not quota.finish then
    -- No other backlog has that number, also of a quota that was forgotten meanwhile.
    quota.born = math.max(quota.born + 1, quota.now * 1000)
    quota.finish, quota.weight, quota.given = quota.clock, math.max(1, weight), 0
    quota.birth = string.format('%.0f', quota.born)
    quota.weights = quota.weights + quota.weight
    redis.call('HSET', quota.hash, 'w:' .. tenant, quota.weight, 'g:' .. tenant, 0,
      'b:' .. tenant, quota.birth)
  end
  local length = math.ceil(amount * UNITS / quota.weight)
  quota.finish = quota.finish + length
  quota.backlog = quota.backlog + length * quota.weight
  redis.call('ZADD', quota.finishes, quota.finish, tenant)
  return (quota.base + quota.finish + quota.given) % CLOCK_MAX, tonumber(quota.birth)
end

-- Gives back a part of what was taken, as far as it is not paid yet: what came back to the tenant
-- since is counted as this lot's, so that never too much comes back.
local function give_back_share(quota, ends, birth, amount)
  if not quota.finish or quota.birth ~= birth then return end
  local left = (ends - quota.base - quota.given - quota.clock) % CLOCK_MAX
  if left > CLOCK_HALF then return end
  local length = math.floor(amount * UNITS / quota.weight)
  length = math.min(length, left, quota.finish - quota.clock)
  quota.finish, quota.given = quota.finish - length, (quota.given + length) % CLOCK_MAX
  quota.backlog = quota.backlog - length * quota.weight
  if quota.finish <= quota.clock then
    forget(quota, quota.tenant)
    quota.finish = nil
  else
    redis.call('ZADD', quota.finishes, quota.finish, quota.tenant)
    redis.call('HSET', quota.hash, 'g:' .. quota.tenant, quota.given)
  end
end

-- The clock is set back before its numbers are no longer exact: once in days.
local function set_back(quota)
  local all = redis.call('ZRANGE', quota.finishes, 0, -1, 'WITHSCORES')
  for i = 1, #all, 2 do
    redis.call('ZADD', quota.finishes, tonumber(all[i + 1]) - quota.clock, all[i])
  end
  quota.base, quota.clock = (quota.base + quota.clock) % CLOCK_MAX, 0
end

-- Writes it down. One that nobody has taken of for a while need not be kept.
local function keep_quota(quota, rate)
  if quota.clock > CLOCK_HALF then set_back(quota) end
  redis.call('HSET', quota.hash, 'clock', quota.clock, 'base', quota.base, 'rest', quota.rest,
    'weights', quota.weights, 'backlog', quota.backlog, 'at', quota.now, 'rate', rate,
    'born', quota.born, 'claimer', quota.claimer or '', 'claimed', quota.claimed,
    'until', quota.claimer and quota.ends or 0)
  local lasts = math.ceil(quota.backlog / rate) + CLAIM_MAX
  redis.call('PEXPIRE', quota.hash, lasts)
  redis.call('PEXPIRE', quota.finishes, lasts)
end
