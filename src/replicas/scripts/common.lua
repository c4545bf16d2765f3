-- Put before every script. Amounts are whole microdollars and the femtodollars that remain, each an
-- integer below 2^53, which Lua's numbers hold exactly.

-- The present of this store: leases do not depend on the clocks of replicas.
local function now_ms()
  local now = redis.call('TIME')
  return tonumber(now[1]) * 1000 + math.floor(tonumber(now[2]) / 1000)
end

-- Adds to what a counter has spent in a bucket. Either part may be below zero.
local function spend(counter, bucket, micro, femto, keep)
  micro, femto = tonumber(micro), tonumber(femto)
  local rest = redis.call('HINCRBY', counter, 'f' .. bucket, femto)
  local carry = math.floor(rest / 1000000000)
  if carry ~= 0 then
    redis.call('HINCRBY', counter, 'f' .. bucket, -carry * 1000000000)
  end
  redis.call('HINCRBY', counter, 's' .. bucket, micro + carry)
  redis.call('PEXPIRE', counter, keep)
end

-- Spent (micro, femto) and held of a counter; buckets before the oldest are forgotten.
local function position(counter, oldest)
  local fields = redis.call('HGETALL', counter)
  local micro, femto, held = 0, 0, 0
  oldest = tonumber(oldest)
  for i = 1, #fields, 2 do
    local name, value = fields[i], tonumber(fields[i + 1])
    local kind = string.sub(name, 1, 1)
    if kind == 'h' then
      held = value
    elseif tonumber(string.sub(name, 2)) < oldest then
      redis.call('HDEL', counter, name)
    elseif kind == 's' then
      micro = micro + value
    else
      femto = femto + value
    end
  end
  local carry = math.floor(femto / 1000000000)
  return micro + carry, femto - carry * 1000000000, held
end

-- A hold is a list of {counter, bucket, keep, amount}, as texts: cjson rounds numbers.
local function hold(holds, call, record)
  for _, one in ipairs(record) do
    redis.call('HINCRBY', one[1], 'h', one[4])
    redis.call('PEXPIRE', one[1], one[3])
  end
  redis.call('HSET', holds, call, cjson.encode(record))
  -- Those of epochs that are over are never taken back.
  redis.call('PEXPIRE', holds, 172800000)
end

-- Takes a hold out of a table of holds; nil where it is not there.
local function take(holds, call)
  local text = redis.call('HGET', holds, call)
  if not text then return nil end
  redis.call('HDEL', holds, call)
  -- An empty list is an empty table in either form.
  return cjson.decode(text)
end

local function give_back(record)
  for _, one in ipairs(record) do
    -- Not -tonumber(): the negative of nothing is -0, which is no integer to Redis.
    redis.call('HINCRBY', one[1], 'h', 0 - tonumber(one[4]))
  end
end

-- Counts holds as spent, or (sign -1) takes that back.
local function spend_record(record, sign)
  for _, one in ipairs(record) do
    spend(one[1], one[2], sign * tonumber(one[4]), 0, one[3])
  end
end

-- Numbers of a replica follow one another without a gap, each taken once: why this one is not, or
-- nil.
local function out_of_turn(epoch, replica, id, number)
  if redis.call('HGET', epoch, 'id') ~= id then return 'changed' end
  local last = tonumber(redis.call('HGET', replica, 'seq'))
  if not last then return 'changed' end
  if tonumber(number) <= last then return 'again' end
  if tonumber(number) > last + 1 then return 'gap' end
  redis.call('HSET', replica, 'seq', number)
end

-- Whether somebody keeps others from summing up, and reads nothing.
local function is_late(summing)
  return string.sub(summing, 1, 5) == 'late:'
end

-- Notes whether a replica has settled calls that are not in its ledger yet.
local function say_behind(behind, replica, is_behind, ends)
  if is_behind == '1' then
    redis.call('ZADD', behind, ends, replica)
  else
    redis.call('ZREM', behind, replica)
  end
end
