-- Put before the scripts that know of calls at once. A counter of them is a set of the calls that
-- are open. Each replica has a table of its calls, that says in which counters each stands, and
-- with which connection it was said last.
local PLACES_KEPT = 172800000

-- A call stands in counters: said twice it changes nothing.
local function take_places(held, replica, generation, call, counters)
  for _, counter in ipairs(counters) do
    redis.call('SADD', counter, replica .. ':' .. call)
    redis.call('PEXPIRE', counter, PLACES_KEPT)
  end
  redis.call('HSET', held, call, cjson.encode({generation, counters}))
  redis.call('PEXPIRE', held, PLACES_KEPT)
end

-- A call has ended: said twice it changes nothing.
local function leave_places(held, replica, call)
  local text = redis.call('HGET', held, call)
  if not text then return end
  for _, counter in ipairs(cjson.decode(text)[2]) do
    redis.call('SREM', counter, replica .. ':' .. call)
  end
  redis.call('HDEL', held, call)
end

-- All calls of a replica have ended, but those that were told with this connection.
local function leave_all_places(held, replica, generation)
  local calls = redis.call('HGETALL', held)
  for i = 1, #calls, 2 do
    if cjson.decode(calls[i + 1])[1] ~= generation then leave_places(held, replica, calls[i]) end
  end
end

-- What a replica that may take no places now is told instead of an answer; nil where it may.
-- KEYS from there: epoch, replica, leases. ARGV from there: epoch, generation, replica.
local function shut(key, arg)
  local epoch = redis.call('HMGET', KEYS[key], 'id', 'opens')
  if epoch[1] ~= ARGV[arg] then return {'changed'} end
  local closed = tonumber(epoch[2]) - now_ms()
  if closed > 0 then return {'closed', closed} end
  if redis.call('HGET', KEYS[key + 1], 'gen') ~= ARGV[arg + 1] then return {'changed'} end
  -- Its lease ran out, and its places came back: it has to tell of them first.
  if not redis.call('ZSCORE', KEYS[key + 2], ARGV[arg + 2]) then return {'changed'} end
end

-- Which counters have room; a limit of one that has none lacks, and whether the call is refused.
-- KEYS from there: counters. ARGV from there, of each: most, limit, whether it enforces.
local function look_for_places(key, arg, count, lacks)
  local rooms, full = {}, false
  for i = 1, count do
    local a = arg + 3 * i - 3
    rooms[i] = redis.call('SCARD', KEYS[key + i - 1]) < tonumber(ARGV[a])
    if not rooms[i] then
      lacks[ARGV[a + 1]] = true
      full = full or ARGV[a + 2] == '1'
    end
  end
  return rooms, full
end
